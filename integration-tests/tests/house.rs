//! The house is as ARCHITECTURE.md draws it: arrows between crates, unsafe code in one of them, sizes within bounds.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use gristmill_integration_tests::demo::root;

/// What each crate may use of the others.
const ARROWS: &[(&str, &[&str])] = &[
    ("proto", &[]),
    ("model", &[]),
    ("text", &[]),
    ("cpu", &["model"]),
    ("shard", &["cpu", "model", "proto", "text"]),
    ("router", &["model", "proto", "text"]),
    ("launcher", &["cpu", "model", "proto", "router", "shard", "text"]),
];
/// Lines of code a file may have, tests and tables apart.
const MAX_FILE: usize = 500;
/// Lines a function may have.
const MAX_FUNCTION: usize = 60;
/// Tables may be long.
const TABLES: &[&str] = &["launcher/src/flags/table.rs"];

#[test]
fn arrows_point_one_way() {
    for (name, allowed) in ARROWS {
        let manifest = fs::read_to_string(root().join(name).join("Cargo.toml")).unwrap();
        let used: BTreeSet<&str> = manifest
            .lines()
            .take_while(|line| !line.starts_with("[dev-dependencies]"))
            .filter_map(|line| line.strip_prefix("gristmill-"))
            .filter_map(|line| line.split(['.', ' ', '=']).next())
            .collect();
        let allowed: BTreeSet<&str> = allowed.iter().copied().collect();
        assert!(used.is_subset(&allowed), "{name} uses {used:?}, allowed is {allowed:?}");
    }
}

#[test]
fn unsafe_code_is_in_the_devices_only() {
    for (name, _) in ARROWS.iter().filter(|(name, _)| *name != "cpu") {
        let lib = fs::read_to_string(root().join(name).join("src/lib.rs")).unwrap();
        assert!(lib.contains("#![forbid(unsafe_code)]"), "{name}/src/lib.rs");
    }
}

#[test]
fn files_and_functions_are_small() {
    let mut lengths = Vec::new();
    for file in sources() {
        let name = file.strip_prefix(root()).unwrap().display().to_string();
        assert!(!name.ends_with("mod.rs"), "{name}");
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        let lines =
            code.lines().filter(|line| !line.trim().is_empty() && !line.trim().starts_with("//")).count();
        assert!(lines <= MAX_FILE || TABLES.contains(&name.as_str()), "{name} has {lines} lines of code");
        for (function, lines) in functions(code) {
            assert!(lines <= MAX_FUNCTION, "{name}: {function} has {lines} lines");
            lengths.push(lines);
        }
    }
    lengths.sort_unstable();
    let at = |share: f64| lengths[((lengths.len() - 1) as f64 * share) as usize];
    println!("{} functions: median {} lines, nine of ten under {}", lengths.len(), at(0.5), at(0.9));
    assert!(at(0.5) < 10 && at(0.9) < 40);
}

/// Every source file of the crates, tests apart.
fn sources() -> Vec<PathBuf> {
    let mut files = Vec::new();
    ARROWS.iter().for_each(|(name, _)| collect(&root().join(name).join("src"), &mut files));
    files
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Functions with their lines, told by indentation: the code is formatted.
fn functions(code: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = code.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let Some(name) = function_name(line.trim_start()) else { continue };
        let end = lines[start..]
            .iter()
            .position(|line| line.len() > indent && line.starts_with(&format!("{}}}", " ".repeat(indent))));
        if !line.ends_with(';') && !line.ends_with('}') {
            found.push((name.to_owned(), end.map_or(0, |end| end + 1)));
        }
    }
    found
}

fn function_name(line: &str) -> Option<&str> {
    let mut rest = line;
    for word in ["pub ", "pub(crate) ", "pub(super) ", "const ", "async ", "unsafe "] {
        rest = rest.strip_prefix(word).unwrap_or(rest);
    }
    rest.strip_prefix("fn ")?.split(['(', '<']).next()
}
