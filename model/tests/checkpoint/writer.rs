//! Writes small checkpoint folders, right or wrong on purpose.

use std::fs::File;
use std::path::Path;

use gristmill_model::checkpoint::{Checkpoint, CheckpointError};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

/// The one weight file of a folder.
pub(crate) const SINGLE: &str = "model.safetensors";
/// The index of several.
pub(crate) const INDEX: &str = "model.safetensors.index.json";

/// A temporary checkpoint folder, with a `config.json` from the start.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        let folder = Self(tempfile::tempdir().expect("a folder"));
        folder.write("config.json", b"{}");
        folder
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path().join(name), bytes).expect("writing");
    }

    /// Makes a file this long; it takes no room for what is added.
    pub(crate) fn resize(&self, name: &str, bytes: u64) {
        let file = File::options().write(true).open(self.path().join(name)).expect("opening");
        file.set_len(bytes).expect("resizing");
    }

    /// Writes an index: tensor, file.
    pub(crate) fn index(&self, entries: &[(&str, &str)]) {
        let map: Map<String, Value> =
            entries.iter().map(|(tensor, file)| ((*tensor).into(), json!(file))).collect();
        self.write(INDEX, json!({"metadata": {"total_size": 1}, "weight_map": map}).to_string().as_bytes());
    }

    pub(crate) fn open(&self) -> Result<Checkpoint, CheckpointError> {
        Checkpoint::open(self.path())
    }

    /// Opens the folder, which must be refused in one line that names these.
    pub(crate) fn refused(&self, words: &[&str]) {
        assert_refused(self.open(), words);
    }
}

/// An error of one line, of bounded length, with all these words.
pub(crate) fn assert_refused<T>(result: Result<T, CheckpointError>, words: &[&str]) {
    let text = result.map(drop).expect_err(&format!("accepted, but {words:?} were expected")).to_string();
    for word in words {
        assert!(text.contains(word), "{word:?} is not in {text:?}");
    }
    assert!(!text.contains(char::is_control), "{text:?} is not one line");
    assert!(text.len() < 3000, "{} bytes of message", text.len());
}

/// A file of a header as given, and data.
pub(crate) fn raw(header: &[u8], data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header, data].concat()
}

/// A well-formed file in the making.
#[derive(Default)]
pub(crate) struct Safetensors {
    entries: Map<String, Value>,
    data: Vec<u8>,
}

impl Safetensors {
    pub(crate) fn tensor(mut self, name: &str, dtype: &str, shape: &[usize], data: &[u8]) -> Self {
        let begin = self.data.len();
        self.data.extend_from_slice(data);
        let entry = json!({"dtype": dtype, "shape": shape, "data_offsets": [begin, self.data.len()]});
        self.entries.insert(name.to_owned(), entry);
        self
    }

    pub(crate) fn floats(self, name: &str, shape: &[usize], values: &[f32]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensor(name, "F32", shape, &bytes)
    }

    pub(crate) fn metadata(mut self, key: &str, value: &str) -> Self {
        let metadata = self.entries.entry("__metadata__").or_insert(json!({}));
        metadata[key] = json!(value);
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        raw(Value::Object(self.entries.clone()).to_string().as_bytes(), &self.data)
    }
}
