//! One device's part of a model: rows, the step loop, and the token wire.
//!
//! The service turns calls into commands (tokenizing on the way); one thread, the engine, owns the device and all batches
//! and executes commands in the order of their arrival.

#![forbid(unsafe_code)]

mod batch;
mod blocks;
mod config;
mod end_tokens;
mod engine;
mod error;
mod load;
mod memory;
mod prompt;
mod row;
mod server;
mod service;
mod stopping;

pub use config::Config;
pub use error::ShardError;
pub use server::run;
