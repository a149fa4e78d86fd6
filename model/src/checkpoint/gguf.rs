//! GGUF files: the header (metadata and tensor entries) read and checked in full; tensor data is never touched.
//!
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>. Versions 2 and 3, little endian. What is
//! kept of a header takes no more memory than it takes in the file, up to the growth of a vector.

mod cursor;
mod tensor;
mod value;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

pub use tensor::{Encoding, Tensor};
pub use value::{FromValue, Numbers, Strings, Value};

use super::CheckpointError;
use cursor::Cursor;

/// Bytes of everything before the tensor data. The largest vocabularies in use (262,144 tokens) take 17 MB.
const MAX_HEADER_BYTES: u64 = 64 << 20;
/// Metadata keys; files in use have about 50.
const MAX_KEYS: u64 = 4096;
/// Tensors; one per expert and layer is a few ten thousand.
const MAX_TENSORS: u64 = 1 << 16;
/// Bytes of a key or of a tensor's name; ggml itself stops at 64 for tensors.
const MAX_NAME_BYTES: u64 = 1024;
/// Bytes of one string value; chat templates reach about 100 kB.
const MAX_STRING_BYTES: u64 = 4 << 20;
/// Entries of one array; the longest merge lists in use have 514,906.
const MAX_ARRAY_ENTRIES: u64 = 4 << 20;
/// Dimensions of a tensor, ggml's own limit.
const MAX_DIMENSIONS: u32 = 4;
/// Bytes that `general.alignment` may ask for.
const MAX_ALIGNMENT: u64 = 1 << 16;
/// What data is aligned to without `general.alignment`, in bytes.
const DEFAULT_ALIGNMENT: u64 = 32;
/// The fewest bytes a tensor entry takes: empty name, one dimension, type, offset.
const MIN_TENSOR_ENTRY: u64 = 8 + 4 + 8 + 4 + 8;
/// The fewest bytes a key takes: empty name, type, one byte of value.
const MIN_KEY_ENTRY: u64 = 8 + 4 + 1;

/// The header of a GGUF file.
#[derive(Debug)]
pub struct Header {
    path: PathBuf,
    metadata: BTreeMap<String, Value>,
    tensors: BTreeMap<String, Tensor>,
    data_offset: u64,
}

impl Header {
    /// Reads and checks a file's header: counts and lengths against limits and the file's size, names for
    /// repeats, and every tensor's type, size, alignment and place in the file.
    ///
    /// # Errors
    /// The file cannot be read or breaks a rule of the format: the error names the file and the key or tensor.
    pub fn read(path: &Path) -> Result<Self, CheckpointError> {
        let fail = |problem: String| CheckpointError::new(path, problem);
        let file = File::open(path).map_err(|e| fail(e.to_string()))?;
        let size = file.metadata().map_err(|e| fail(e.to_string()))?.len();
        let mut cursor = Cursor::new(file, size, MAX_HEADER_BYTES);
        let (tensor_count, key_count) = preamble(&mut cursor).map_err(fail)?;
        let metadata = read_metadata(&mut cursor, key_count).map_err(fail)?;
        let alignment = alignment(&metadata).map_err(fail)?;
        let mut tensors = read_tensors(&mut cursor, tensor_count).map_err(fail)?;
        let data_offset = cursor.position().next_multiple_of(alignment);
        tensor::place(&mut tensors, data_offset, alignment, size).map_err(fail)?;
        Ok(Self { path: path.to_owned(), metadata, tensors, data_offset })
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The first byte of tensor data.
    pub fn data_offset(&self) -> u64 {
        self.data_offset
    }

    /// Every tensor by name.
    pub fn tensors(&self) -> &BTreeMap<String, Tensor> {
        &self.tensors
    }

    /// The value of a key, if the file has the key.
    ///
    /// # Errors
    /// The value has another type.
    pub fn find<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<Option<T>, CheckpointError> {
        let Some(value) = self.metadata.get(key) else { return Ok(None) };
        match T::from_value(value) {
            Some(found) => Ok(Some(found)),
            None => Err(self.key_error(key, &format!("is {}, not {}", value.kind(), T::EXPECTED))),
        }
    }

    /// The value of a key.
    ///
    /// # Errors
    /// The key is missing or its value has another type.
    pub fn require<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<T, CheckpointError> {
        self.find(key)?.ok_or_else(|| self.key_error(key, "is missing"))
    }

    /// An error about a key of this file.
    pub fn key_error(&self, key: &str, problem: &str) -> CheckpointError {
        CheckpointError::new(&self.path, format!("key {key:?}: {problem}"))
    }

    /// An error about a tensor of this file.
    pub fn tensor_error(&self, name: &str, problem: &str) -> CheckpointError {
        CheckpointError::new(&self.path, format!("tensor {name:?}: {problem}"))
    }
}

/// Checks magic and version; gives the counts of tensors and keys.
fn preamble(cursor: &mut Cursor) -> Result<(u64, u64), String> {
    match cursor.bytes::<4>() {
        Ok(magic) if &magic == b"GGUF" => {}
        _ => return Err("not a GGUF file: it does not begin with the letters GGUF".to_owned()),
    }
    let version = cursor.u32().map_err(|e| format!("version: {e}"))?;
    match version {
        2 | 3 => {}
        _ if (1..=3).contains(&version.swap_bytes()) => {
            return Err("big-endian GGUF is not served".to_owned());
        }
        _ => return Err(format!("GGUF version {version} is not served, only 2 and 3")),
    }
    let tensors = cursor.u64().map_err(|e| format!("tensor count: {e}"))?;
    let keys = cursor.u64().map_err(|e| format!("key count: {e}"))?;
    cursor.check_count("tensor count", tensors, MAX_TENSORS, MIN_TENSOR_ENTRY)?;
    cursor.check_count("key count", keys, MAX_KEYS, MIN_KEY_ENTRY)?;
    Ok((tensors, keys))
}

fn read_metadata(cursor: &mut Cursor, count: u64) -> Result<BTreeMap<String, Value>, String> {
    let mut metadata = BTreeMap::new();
    for number in 0..count {
        let key = cursor.string(MAX_NAME_BYTES).map_err(|e| format!("name of key {number}: {e}"))?;
        let value = Value::read(cursor).map_err(|e| format!("key {key:?}: {e}"))?;
        if metadata.contains_key(&key) {
            return Err(format!("key {key:?}: appears twice"));
        }
        metadata.insert(key, value);
    }
    Ok(metadata)
}

fn read_tensors(cursor: &mut Cursor, count: u64) -> Result<BTreeMap<String, Tensor>, String> {
    let mut tensors = BTreeMap::new();
    for number in 0..count {
        let name = cursor.string(MAX_NAME_BYTES).map_err(|e| format!("name of tensor {number}: {e}"))?;
        let tensor = Tensor::read(cursor).map_err(|e| format!("tensor {name:?}: {e}"))?;
        if tensors.contains_key(&name) {
            return Err(format!("tensor {name:?}: appears twice"));
        }
        tensors.insert(name, tensor);
    }
    Ok(tensors)
}

fn alignment(metadata: &BTreeMap<String, Value>) -> Result<u64, String> {
    const KEY: &str = "general.alignment";
    let Some(value) = metadata.get(KEY) else { return Ok(DEFAULT_ALIGNMENT) };
    match u64::from_value(value) {
        Some(alignment) if alignment.is_power_of_two() && alignment <= MAX_ALIGNMENT => Ok(alignment),
        _ => Err(format!("key {KEY:?}: must be a power of two of at most {MAX_ALIGNMENT}")),
    }
}
