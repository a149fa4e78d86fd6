//! An index and the files it names.

use std::os::unix::fs::symlink;

use serde_json::json;

use crate::writer::{Folder, INDEX, SINGLE, Safetensors};

const FIRST: &str = "model-00001-of-00002.safetensors";
const SECOND: &str = "model-00002-of-00002.safetensors";

fn file(tensor: &str) -> Vec<u8> {
    Safetensors::default().floats(tensor, &[2], &[1.0, 2.0]).bytes()
}

/// A good folder of two files.
fn two() -> Folder {
    let folder = Folder::new();
    folder.write(FIRST, &file("a"));
    folder.write(SECOND, &file("b"));
    folder.index(&[("a", FIRST), ("b", SECOND)]);
    folder
}

#[test]
fn all_files_are_opened() {
    let folder = two();
    let checkpoint = folder.open().expect("a good folder");
    for tensor in ["a", "b"] {
        let mut out = [0.0; 2];
        checkpoint.read_rows(tensor, 0..2, 0..1, &mut out).expect("reading");
        assert_eq!(out, [1.0, 2.0]);
    }
    assert_eq!(checkpoint.bytes(), (file("a").len() + file("b").len()) as u64);
    // The one file is taken where both are there.
    folder.write(SINGLE, &file("c"));
    folder.open().expect("a good folder").expect("c", &[2]).expect("the one file");
}

/// Model caches keep files elsewhere under their digests, and link to them.
#[test]
fn files_may_be_links_out_of_the_folder() {
    let blobs = tempfile::tempdir().expect("a folder");
    let folder = Folder::new();
    for (name, bytes) in [(FIRST, file("a")), (SECOND, file("b"))] {
        std::fs::write(blobs.path().join(name), bytes).expect("writing");
        symlink(blobs.path().join(name), folder.path().join(name)).expect("a link");
    }
    std::fs::rename(folder.path().join("config.json"), blobs.path().join("c")).expect("moving");
    symlink(blobs.path().join("c"), folder.path().join("config.json")).expect("a link");
    folder.index(&[("a", FIRST), ("b", SECOND)]);
    std::fs::rename(folder.path().join(INDEX), blobs.path().join("i")).expect("moving");
    symlink(blobs.path().join("i"), folder.path().join(INDEX)).expect("a link");
    folder.open().expect("a good folder").expect("b", &[2]).expect("it is there");
}

#[test]
fn links_that_lead_nowhere_are_told() {
    let folder = two();
    std::fs::remove_file(folder.path().join(SECOND)).expect("removing");
    symlink(SECOND, folder.path().join(SECOND)).expect("a link to itself");
    folder.refused(&[INDEX, "weight_map", SECOND]);
}

#[test]
fn missing_files_are_told() {
    let folder = two();
    std::fs::remove_file(folder.path().join(SECOND)).expect("removing");
    folder.refused(&[INDEX, "weight_map", SECOND, "does not exist"]);
    std::fs::create_dir(folder.path().join(SECOND)).expect("a folder");
    folder.refused(&[INDEX, "weight_map", SECOND]);
}

#[test]
fn names_outside_the_folder_are_refused() {
    let folder = two();
    let outside = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(outside.path(), file("a")).expect("writing");
    std::fs::create_dir(folder.path().join("sub")).expect("a folder");
    folder.write("sub/x.safetensors", &file("a"));
    let absolute = outside.path().to_str().expect("text");
    let names = [absolute, "../x.safetensors", "..", "sub/x.safetensors", "./model.safetensors", "a\\b"];
    for name in names {
        folder.index(&[("a", name), ("b", SECOND)]);
        folder.refused(&[INDEX, "weight_map", "is not the name of a file in this folder"]);
    }
    for name in ["", ".", "a\0b", "sub"] {
        folder.index(&[("a", name), ("b", SECOND)]);
        folder.refused(&[INDEX, "weight_map", "does not exist"]);
    }
}

#[test]
fn a_tensor_in_two_files_is_told() {
    let folder = two();
    folder.write(SECOND, &file("a"));
    folder.index(&[("a", FIRST), ("b", SECOND)]);
    folder.refused(&[SECOND, &format!("Key a was found in multiple files: {FIRST} and {SECOND}")]);
}

#[test]
fn a_tensor_that_is_not_where_the_index_says_is_told() {
    let folder = two();
    folder.index(&[("a", FIRST), ("b", SECOND), ("c", FIRST)]);
    folder.refused(&[INDEX, "weight_map", FIRST, "has no tensor c"]);
    folder.index(&[("a", FIRST), ("b", FIRST), ("c", SECOND)]);
    folder.refused(&[INDEX, "weight_map", "has no tensor"]);
    folder.index(&[("a", SECOND), ("b", FIRST)]);
    folder.refused(&[INDEX, "weight_map", "has no tensor"]);
}

#[test]
fn a_wrong_file_is_named() {
    let folder = two();
    let bytes = file("b");
    folder.write(SECOND, &bytes[..bytes.len() - 1]);
    folder.refused(&[SECOND, "tensor b"]);
    folder.write(SECOND, b"");
    folder.refused(&[SECOND, "0 bytes are too few"]);
}

#[test]
fn floods_are_refused() {
    let folder = two();
    let names: Vec<(String, String)> =
        (0..100_000).map(|n| (format!("t{n}"), format!("{n}.safetensors"))).collect();
    folder.index(&names.iter().map(|(t, f)| (t.as_str(), f.as_str())).collect::<Vec<_>>());
    folder.refused(&[INDEX, "weight_map", "100000 files, at most 1024"]);
    folder.index(&[("a", &"n".repeat(1_000_000))]);
    folder.refused(&[INDEX, "weight_map", "nnnn"]);
    folder.resize(INDEX, 1 << 30);
    folder.refused(&[INDEX, "1073741824 bytes, at most"]);
}

#[test]
fn an_index_that_is_none_is_told() {
    let folder = two();
    let deep = format!("{{\"weight_map\":{}", "[".repeat(100_000));
    let texts = ["", "{", "[]", "{}", "null", r#"{"weight_map":[]}"#, r#"{"weight_map":{"a":1}}"#, &deep];
    for text in texts {
        folder.write(INDEX, text.as_bytes());
        folder.refused(&[INDEX, "weight_map"]);
    }
    folder.write(INDEX, b"\xff\xfe");
    folder.refused(&[INDEX, "UTF-8"]);
    folder.write(INDEX, json!({"weight_map": {}}).to_string().as_bytes());
    let empty = folder.open().expect("an index of nothing");
    crate::writer::assert_refused(empty.expect("a", &[2]), &["weight a does not exist"]);
}
