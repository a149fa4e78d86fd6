//! What `--model-id` may name.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use gristmill_launcher::download::{DownloadError, resolve};
use gristmill_launcher::flags::Download;

use crate::tiny::{self, save};

fn source(model_id: impl AsRef<Path>, cache: &Path) -> Download {
    Download {
        model_id: model_id.as_ref().to_str().expect("UTF-8").to_owned(),
        revision: None,
        hub_cache: None,
        weights_override: None,
        gguf_cache: Some(cache.to_owned()),
    }
}

fn problem(model_id: impl AsRef<Path>) -> String {
    let cache = tempfile::tempdir().expect("a folder");
    let error = resolve(&source(model_id, cache.path())).expect_err("refused").to_string();
    assert_eq!(fs::read_dir(cache.path()).expect("a folder").count(), 0);
    error
}

#[test]
fn a_folder_is_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("config.json"), "{}").expect("written");
    fs::write(folder.path().join("model.gguf"), "not looked at").expect("written");
    assert_eq!(resolve(&source(folder.path(), folder.path())).expect("found"), folder.path());
}

#[test]
fn a_weights_override_stands_for_the_model() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("config.json"), "{}").expect("written");
    let weights_override = Some(folder.path().to_owned());
    let source = Download { weights_override, ..source("some/model", folder.path()) };
    assert_eq!(resolve(&source).expect("found"), folder.path());
    let missing = Download { weights_override: Some("/no/such/folder".into()), ..source };
    assert_eq!(
        resolve(&missing).expect_err("refused").to_string(),
        "--weights-cache-override /no/such/folder: does not exist"
    );
}

#[test]
fn a_gguf_file_is_converted_once_for_each_state_of_it() {
    let saved = save(&tiny::model());
    let cache = saved.root.path().join("cache/gguf");
    let find = |model: &Path| resolve(&source(model, &cache)).expect("converted");
    let inode = |folder: &Path| fs::metadata(folder.join("model.safetensors")).expect("weights").ino();

    let first = find(&saved.gguf);
    assert_eq!(first.parent(), Some(cache.as_path()));
    assert!(first.file_name().expect("a name").to_str().expect("UTF-8").starts_with("tiny-"));
    let written = inode(&first);
    assert_eq!(find(&saved.gguf), first);
    assert_eq!(inode(&first), written, "kept, not written again");

    let later = SystemTime::now() + Duration::from_secs(60);
    File::options().write(true).open(&saved.gguf).and_then(|file| file.set_modified(later)).expect("touched");
    let touched = find(&saved.gguf);
    assert_ne!(touched, first);

    let mut changed = fs::read(&saved.gguf).expect("read");
    let last = changed.len() - 40;
    changed[last] ^= 1;
    fs::write(&saved.gguf, changed).expect("written");
    File::options().write(true).open(&saved.gguf).and_then(|file| file.set_modified(later)).expect("touched");
    assert_ne!(find(&saved.gguf), touched, "same size and time, other data");
    assert_eq!(fs::read_dir(&cache).expect("a folder").count(), 3);
}

#[test]
fn two_files_of_one_name_have_two_folders() {
    let (one, two) = (save(&tiny::model()), save(&tiny::model()));
    let time = SystemTime::UNIX_EPOCH;
    let folders: Vec<PathBuf> = [&one, &two]
        .into_iter()
        .map(|saved| {
            File::options()
                .write(true)
                .open(&saved.gguf)
                .and_then(|file| file.set_modified(time))
                .expect("touched");
            resolve(&source(&saved.gguf, one.root.path())).expect("converted")
        })
        .collect();
    assert_ne!(folders[0], folders[1]);
}

#[test]
fn a_folder_with_one_gguf_file_is_that_file() {
    let saved = save(&tiny::model());
    fs::write(saved.root.path().join("README.md"), "a model").expect("written");
    let cache = tempfile::tempdir().expect("a folder");
    let from_folder = resolve(&source(saved.root.path(), cache.path())).expect("converted");
    assert_eq!(from_folder, resolve(&source(&saved.gguf, cache.path())).expect("converted"));
    fs::write(saved.root.path().join("other.GGUF"), "another").expect("written");
    let folder = saved.root.path().display();
    assert_eq!(
        problem(saved.root.path()),
        format!("--model-id {folder}: the folder has no config.json and 2 .gguf files: name one of them")
    );
}

#[test]
fn what_is_no_model_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().display();
    assert_eq!(
        problem(folder.path()),
        format!("--model-id {path}: the folder has neither config.json nor a .gguf file")
    );
    fs::write(folder.path().join("weights.bin"), "").expect("written");
    let file = folder.path().join("weights.bin");
    assert_eq!(
        problem(&file),
        format!("--model-id {path}/weights.bin: is neither a folder nor a .gguf file")
    );
    for missing in ["/no/such/folder", "./no-such-folder", "no-such.gguf"] {
        assert_eq!(problem(missing), format!("--model-id {missing}: does not exist"));
    }
    let wrong = folder.path().join("wrong.gguf");
    fs::write(&wrong, "GGML").expect("written");
    let error = problem(&wrong);
    assert!(error.starts_with(&format!("{}: not a GGUF file", wrong.display())), "{error}");
}

#[test]
fn a_hub_model_is_not_fetched_yet() {
    let error = resolve(&source("owner/name", Path::new("/nowhere"))).expect_err("refused");
    assert!(matches!(&error, DownloadError::HubNotYet(id) if id == "owner/name"));
    assert_eq!(
        error.to_string(),
        "--model-id owner/name: no such folder or file, and downloading from a hub is not supported yet"
    );
}

#[test]
fn a_gguf_file_needs_a_place_to_convert_to() {
    let saved = save(&tiny::model());
    let homeless = Download { gguf_cache: None, ..source(&saved.gguf, Path::new("/nowhere")) };
    let expected =
        format!("{}: no place for the converted model: set XDG_CACHE_HOME or HOME", saved.gguf.display());
    assert_eq!(resolve(&homeless).expect_err("refused").to_string(), expected);
}
