//! What a shard call can end with.

use std::time::Duration;

use thiserror::Error;

/// A failed call to a shard. `Display` is what clients see behind the route's own prefix.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ShardError {
    /// No socket, or nobody who speaks `generate.v3` behind it.
    #[error("Could not connect to Text Generation server: {0}")]
    Connection(String),
    /// The shard answered with an error.
    #[error("Server error: {0}")]
    Generation(String),
    /// The shard did not answer in time.
    #[error("Server error: {rpc} was not answered within {} s", .deadline.as_secs())]
    Late {
        /// The call.
        rpc: &'static str,
        /// The limit.
        deadline: Duration,
    },
    /// The shard answered something that makes no sense.
    #[error("Server error: malformed answer: {0}")]
    Malformed(String),
    /// A group of no shards.
    #[error("Sharded results are empty")]
    Empty,
}

impl From<tonic::Status> for ShardError {
    fn from(status: tonic::Status) -> Self {
        Self::Generation(status.message().to_owned())
    }
}
