//! What can go wrong in a shard, and which gRPC status it becomes.

use std::io;
use std::path::PathBuf;

use gristmill_model::checkpoint::CheckpointError;
use gristmill_model::device::DeviceError;
use gristmill_text::TextError;
use thiserror::Error;

/// Why a shard could not start or had to end.
#[derive(Debug, Error)]
pub enum ShardError {
    /// A file of the model is missing or wrong.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The tokenizer is missing or wrong.
    #[error(transparent)]
    Text(#[from] TextError),
    /// The device could not be set up.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A setting cannot be met.
    #[error("{0}")]
    Setting(String),
    /// The memory does not hold the model and one block.
    #[error("Not enough memory: {0}")]
    NoFit(String),
    /// The socket could not be opened.
    #[error("{}: {source}", path.display())]
    Socket {
        /// The socket's path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The gRPC server failed.
    #[error("gRPC server: {0}")]
    Serve(#[from] tonic::transport::Error),
    /// The runtime or a thread could not be started.
    #[error("cannot start: {0}")]
    Start(io::Error),
}

/// Why a call was refused. Nothing has changed, unless the device was lost.
#[derive(Debug, Error)]
pub(crate) enum CallError {
    #[error("Batch ID {0} not found in cache.")]
    UnknownBatch(u64),
    #[error("Must provide at least one batch")]
    NoBatch,
    #[error("Batch must have at least one request")]
    EmptyBatch,
    #[error("Request {request}: {problem}")]
    Request { request: u64, problem: String },
    #[error("Request ID {request} not found in batch {batch}.")]
    UnknownRequest { request: u64, batch: u64 },
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error(transparent)]
    Text(#[from] TextError),
    #[error("the engine has ended")]
    Ended,
}

impl CallError {
    pub(crate) fn request(request: u64, problem: impl Into<String>) -> Self {
        Self::Request { request, problem: problem.into() }
    }
}

/// TGI's shards answer every failure with INTERNAL and its text; its router reads nothing else.
impl From<CallError> for tonic::Status {
    fn from(error: CallError) -> Self {
        Self::internal(error.to_string())
    }
}
