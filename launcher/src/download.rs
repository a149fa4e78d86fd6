//! Getting a model: whatever `--model-id` names ends as one local folder with `config.json`, safetensors files
//! and `tokenizer.json`. Nothing after this step knows where a model came from.

mod cache;
mod folder;
mod gguf;
mod llama;
mod rope;
mod tokenizer;
mod vocabulary;
mod weights;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use gristmill_model::checkpoint::CheckpointError;

pub use gguf::gguf_to_folder;

use crate::flags::Download;

/// A model that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// A file of the model is wrong.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A file or folder cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// What was read or written.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A flag names something that is no model.
    #[error("{flag} {}: {problem}", model.display())]
    NotAModel {
        /// The flag.
        flag: &'static str,
        /// The path.
        model: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Nowhere to keep what a GGUF file is converted into.
    #[error("{}: no place for the converted model: set XDG_CACHE_HOME or HOME", .0.display())]
    NoCache(PathBuf),
    /// A model of a hub, which a later version brings.
    #[error("--model-id {0}: no such folder or file, and downloading from a hub is not supported yet")]
    HubNotYet(String),
}

impl DownloadError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}

/// The folder of the model that `source` names: a local folder is itself; a GGUF file, or a folder that holds one
/// and no `config.json`, is converted into a folder of the GGUF cache the first time. A weights override stands for
/// the model.
///
/// # Errors
/// Names `--model-id` or the file that is missing or wrong.
pub fn resolve(source: &Download) -> Result<PathBuf, DownloadError> {
    let (flag, path) = match &source.weights_override {
        Some(folder) => ("--weights-cache-override", folder.as_path()),
        None => ("--model-id", Path::new(&source.model_id)),
    };
    let problem = match contents(path)? {
        Contents::Folder => return Ok(path.to_owned()),
        Contents::Gguf(file) => return cache::converted(&file, source.gguf_cache.as_deref()),
        Contents::Nothing if source.weights_override.is_none() && !is_written_as_path(&source.model_id) => {
            return Err(DownloadError::HubNotYet(source.model_id.clone()));
        }
        Contents::Nothing => "does not exist".to_owned(),
        Contents::Unclear(problem) => problem,
    };
    Err(DownloadError::NotAModel { flag, model: path.to_owned(), problem })
}

/// What is at a local path.
enum Contents {
    /// A model in the one layout.
    Folder,
    /// One GGUF file.
    Gguf(PathBuf),
    /// Something that is no model, and why.
    Unclear(String),
    /// Nothing at all.
    Nothing,
}

fn contents(path: &Path) -> Result<Contents, DownloadError> {
    Ok(match (path.is_dir(), path.is_file(), is_gguf(path)) {
        (true, ..) if path.join("config.json").is_file() => Contents::Folder,
        (true, ..) => only_gguf(path)?,
        (_, true, true) => Contents::Gguf(path.to_owned()),
        (_, true, false) => Contents::Unclear("is neither a folder nor a .gguf file".to_owned()),
        _ => Contents::Nothing,
    })
}

fn only_gguf(folder: &Path) -> Result<Contents, DownloadError> {
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let paths = entries.map_err(DownloadError::io(folder))?.into_iter().map(|entry| entry.path());
    let mut files: Vec<_> = paths.filter(|path| is_gguf(path) && path.is_file()).collect();
    Ok(match (files.pop(), files.len()) {
        (Some(file), 0) => Contents::Gguf(file),
        (None, _) => Contents::Unclear("the folder has neither config.json nor a .gguf file".to_owned()),
        (Some(_), others) => Contents::Unclear(format!(
            "the folder has no config.json and {} .gguf files: name one of them",
            others + 1
        )),
    })
}

fn is_gguf(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
}

/// Whether this cannot be a hub's `owner/name`.
fn is_written_as_path(model_id: &str) -> bool {
    ["/", "./", "../", "~"].iter().any(|start| model_id.starts_with(start)) || is_gguf(Path::new(model_id))
}
