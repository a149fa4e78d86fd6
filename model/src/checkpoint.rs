//! A model folder as data: its configuration, and which file holds which tensor.
//!
//! Files come from the network and are never trusted: headers are read by positioned reads and checked in
//! full before any weight is read, nothing is mapped, and every error names the file and the tensor or field.

pub mod blocks;
pub mod config;
pub mod gguf;
pub mod safetensors;

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use thiserror::Error;

use config::Config;
use safetensors::{Format, SafetensorsFile, Tensor};

/// The one weight file of a small model.
const SINGLE: &str = "model.safetensors";
/// Names the weight files of a large one.
const INDEX: &str = "model.safetensors.index.json";
/// Bytes of an index file; one of 10,000 tensors is about 1 MB.
const MAX_INDEX_BYTES: u64 = 32 << 20;
/// Weight files a checkpoint may have.
const MAX_FILES: usize = 1024;
/// Characters of what is wrong; room for the longest tensor name and two shapes.
const MAX_PROBLEM_CHARS: usize = 2000;

/// A file that cannot be served, with the file and what is wrong in it.
#[derive(Debug, Error)]
#[error("{}: {problem}", file.display())]
pub struct CheckpointError {
    /// The file.
    pub file: PathBuf,
    /// What is wrong, naming the tensor or field.
    pub problem: String,
}

impl CheckpointError {
    /// An error in `file`. The text becomes one line of bounded length, whatever it quotes.
    pub fn new(file: &Path, problem: impl Into<String>) -> Self {
        let mut line = String::new();
        for char in problem.into().chars().take(MAX_PROBLEM_CHARS) {
            if char.is_control() { line.extend(char.escape_default()) } else { line.push(char) }
        }
        Self { file: file.to_owned(), problem: line }
    }
}

/// The weights of a model folder, opened and checked, with its configuration.
#[derive(Debug)]
pub struct Checkpoint {
    folder: PathBuf,
    config: Config,
    files: Vec<SafetensorsFile>,
    tensors: HashMap<String, (usize, Tensor)>,
}

#[derive(Deserialize)]
struct Index {
    weight_map: HashMap<String, String>,
}

impl Checkpoint {
    /// Opens a folder with `config.json` and either `model.safetensors` or an index and its files.
    ///
    /// # Errors
    /// A file is missing or wrong: the error names it.
    pub fn open(folder: &Path) -> Result<Self, CheckpointError> {
        let config = Config::read(&folder.join("config.json"))?;
        let mut checkpoint =
            Self { folder: folder.to_owned(), config, files: Vec::new(), tensors: HashMap::new() };
        let index = folder.join(INDEX);
        if index.is_file() && !folder.join(SINGLE).is_file() {
            checkpoint.add_indexed(&index)?;
        } else {
            checkpoint.add_file(SINGLE)?;
        }
        Ok(checkpoint)
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Bytes of all weight files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(SafetensorsFile::bytes).sum()
    }

    /// Checks that a tensor is there with this shape, in a number format that can be read.
    ///
    /// # Errors
    /// It is missing, or has another shape or a format that is not served.
    pub fn expect(&self, name: &str, shape: &[usize]) -> Result<(), CheckpointError> {
        let (file, tensor) = self.find(name)?;
        if tensor.shape != shape {
            let problem =
                format!("tensor {name}: shape {:?}, but config.json asks for {shape:?}", tensor.shape);
            return Err(CheckpointError::new(file.path(), problem));
        }
        match tensor.format {
            Format::Plain(_) | Format::Blocks(_) => Ok(()),
            Format::Other(dtype) => {
                Err(CheckpointError::new(file.path(), format!("tensor {name}: dtype {dtype} is not served")))
            }
        }
    }

    /// Reads rows and columns of a matrix (or entries of a vector, which has one column), widened to f32.
    ///
    /// `out` must hold `rows.len() * cols.len()` values.
    ///
    /// # Errors
    /// The tensor is missing, has not these rows and columns or is in a format that is not served, or its file has
    /// become shorter.
    pub fn read_rows(
        &self,
        name: &str,
        rows: Range<usize>,
        cols: Range<usize>,
        out: &mut [f32],
    ) -> Result<(), CheckpointError> {
        let (file, tensor) = self.find(name)?;
        file.read_rows(tensor, rows, cols, out)
            .map_err(|problem| CheckpointError::new(file.path(), format!("tensor {name}: {problem}")))
    }

    fn find(&self, name: &str) -> Result<(&SafetensorsFile, &Tensor), CheckpointError> {
        match self.tensors.get(name) {
            Some((file, tensor)) => Ok((&self.files[*file], tensor)),
            None => Err(CheckpointError::new(&self.folder, format!("weight {name} does not exist"))),
        }
    }

    fn add_indexed(&mut self, path: &Path) -> Result<(), CheckpointError> {
        let fail = |problem: String| CheckpointError::new(path, format!("weight_map: {problem}"));
        let text = read_text(path, MAX_INDEX_BYTES)?;
        let index: Index = serde_json::from_str(&text).map_err(|e| fail(e.to_string()))?;
        let names: BTreeSet<&String> = index.weight_map.values().collect();
        if names.len() > MAX_FILES {
            return Err(fail(format!("names {} files, at most {MAX_FILES}", names.len())));
        }
        for name in names {
            if name.contains(['/', '\\']) || name.starts_with("..") {
                return Err(fail(format!("{name} is not the name of a file in this folder")));
            }
            if !self.folder.join(name).is_file() {
                return Err(fail(format!("file {name} does not exist")));
            }
            self.add_file(name)?;
        }
        match index.weight_map.iter().find(|(tensor, file)| !self.holds(file, tensor)) {
            Some((tensor, file)) => Err(fail(format!("file {file} has no tensor {tensor}"))),
            None => Ok(()),
        }
    }

    fn holds(&self, file: &str, tensor: &str) -> bool {
        self.tensors.get(tensor).is_some_and(|(index, _)| self.files[*index].name() == file)
    }

    fn add_file(&mut self, name: &str) -> Result<(), CheckpointError> {
        let (file, tensors) = SafetensorsFile::open(&self.folder.join(name))?;
        for (tensor, entry) in tensors {
            if let Some((other, _)) = self.tensors.get(&tensor) {
                let problem = format!(
                    "Key {tensor} was found in multiple files: {} and {name}",
                    self.files[*other].name()
                );
                return Err(CheckpointError::new(file.path(), problem));
            }
            self.tensors.insert(tensor, (self.files.len(), entry));
        }
        self.files.push(file);
        Ok(())
    }
}

/// A whole text file of at most `limit` bytes.
fn read_text(path: &Path, limit: u64) -> Result<String, CheckpointError> {
    let (file, bytes) = open_file(path)?;
    if bytes > limit {
        return Err(CheckpointError::new(path, format!("{bytes} bytes, at most {limit} are read")));
    }
    let mut text = String::new();
    file.take(limit).read_to_string(&mut text).map_err(|e| CheckpointError::new(path, e.to_string()))?;
    Ok(text)
}

/// Opens a regular file (links are followed), and its size in bytes. To open a pipe would block.
fn open_file(path: &Path) -> Result<(File, u64), CheckpointError> {
    let io = |e: std::io::Error| CheckpointError::new(path, e.to_string());
    if !std::fs::metadata(path).map_err(io)?.is_file() {
        return Err(CheckpointError::new(path, "is not a regular file"));
    }
    let file = File::open(path).map_err(io)?;
    let bytes = file.metadata().map_err(io)?.len();
    Ok((file, bytes))
}
