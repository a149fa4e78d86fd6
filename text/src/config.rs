//! The JSON files beside `tokenizer.json`, read whole and with a bound on their size.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::TextError;
use crate::limits::MAX_CONFIG_BYTES;

/// A JSON object with the path it came from, so that errors name the file.
pub(crate) struct Config {
    file: PathBuf,
    fields: Map<String, Value>,
}

impl Config {
    /// Reads `file`; a missing file is `None`.
    pub(crate) fn load(file: &Path) -> Result<Option<Self>, TextError> {
        let Some(bytes) = read_bounded(file, MAX_CONFIG_BYTES)? else { return Ok(None) };
        let fields = serde_json::from_slice(&bytes).map_err(|error| TextError::file(file, error))?;
        Ok(Some(Self { file: file.to_path_buf(), fields }))
    }

    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    pub(crate) fn get(&self, field: &str) -> Option<&Value> {
        self.fields.get(field).filter(|value| !value.is_null())
    }

    pub(crate) fn has(&self, field: &str) -> bool {
        self.fields.contains_key(field)
    }

    /// A special token's text: a string, or an object with `content`.
    pub(crate) fn token(&self, field: &str) -> Option<&str> {
        let value = self.get(field)?;
        value.as_str().or_else(|| value.get("content")?.as_str())
    }
}

/// Reads a file of at most `limit` bytes; a missing file is `None`.
pub(crate) fn read_bounded(file: &Path, limit: u64) -> Result<Option<Vec<u8>>, TextError> {
    let read = || {
        let mut bytes = Vec::new();
        File::open(file)?.take(limit + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    match read() {
        Ok(bytes) if bytes.len() as u64 > limit => {
            Err(TextError::file(file, format_args!("larger than {limit} bytes")))
        }
        Ok(bytes) => Ok(Some(bytes)),
        Err(source) if missing(&source) => Ok(None),
        Err(source) => Err(TextError::Read { file: file.to_path_buf(), source }),
    }
}

fn missing(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}
