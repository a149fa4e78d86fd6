//! Why the router could not start or had to end. `Display` is TGI's text; the launcher prints the variant.

use thiserror::Error;

/// A router error that ends the process with exit code 1.
#[derive(Debug, Error)]
pub enum Error {
    /// A flag is wrong, or does not go with what the shard reported.
    #[error("Argument validation error: {0}")]
    ArgumentValidation(String),
    /// The shards could not be reached or used.
    #[error("Backend failed: {0}")]
    Backend(#[from] BackendError),
    /// The HTTP server failed.
    #[error("WebServer error: {0}")]
    WebServer(#[from] WebServerError),
    /// No runtime.
    #[error("Tokio runtime failed to start: {0}")]
    Tokio(#[source] std::io::Error),
}

/// What went wrong between router and shards.
#[derive(Debug, Error)]
pub enum BackendError {
    /// ClearCache failed.
    #[error("Unable to clear the Python model shards cache: {0}")]
    Cache(String),
    /// No connection.
    #[error("Unable to connect to the Python model shards: {0}")]
    Connection(String),
    /// Info failed.
    #[error("Unable to get the Python model shards info: {0}")]
    Info(String),
    /// Warmup failed.
    #[error("Unable to warmup the Python model shards: {0}")]
    Warmup(String),
    /// The KV cache is smaller than one request may be.
    #[error("Not enough memory to handle `max_total_tokens={0}`")]
    NotEnoughMemory(usize),
}

/// What went wrong in front.
#[derive(Debug, Error)]
pub enum WebServerError {
    /// The listener or a connection.
    #[error("Axum error: {0}")]
    Axum(#[from] std::io::Error),
    /// The tokenizer.
    #[error("Tokenizer error: {0}")]
    Tokenizer(String),
}
