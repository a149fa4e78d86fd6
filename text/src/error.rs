//! What can go wrong with a model's text files or with text itself.

use std::path::{Path, PathBuf};

use thiserror::Error;

/// An error about a tokenizer, a chat template, or the files they come from.
#[derive(Debug, Error)]
pub enum TextError {
    /// A file could not be read.
    #[error("cannot read {}: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file was read, but what it says cannot be used.
    #[error("{}: {reason}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong; names the field where one is to blame.
        reason: String,
    },
    /// The tokenizer could not encode or decode.
    #[error("{0}")]
    Tokenizer(String),
    /// The chat template failed or ran into a limit.
    #[error("{0}")]
    Template(String),
}

impl TextError {
    pub(crate) fn file(file: &Path, reason: impl std::fmt::Display) -> Self {
        Self::File { file: file.to_path_buf(), reason: reason.to_string() }
    }
}

impl From<tokenizers::Error> for TextError {
    fn from(error: tokenizers::Error) -> Self {
        Self::Tokenizer(error.to_string())
    }
}
