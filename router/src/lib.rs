//! The front: every untrusted byte ends here. HTTP dialects, validation, scheduling, and the client of the shards.
//!
//! A request goes: dialect (`http`) → admission slot → [`request`] (validated) → [`schedule`] (queue, batch, KV blocks)
//! → [`shards`] → events back to the dialect.

#![forbid(unsafe_code)]

pub mod admission;
pub mod backend;
pub mod config;
pub mod error;
pub mod event;
mod http;
pub mod metrics;
pub mod request;
pub mod schedule;
pub mod server;
pub mod shards;

pub use config::Config;
pub use error::Error;
pub use server::run;
