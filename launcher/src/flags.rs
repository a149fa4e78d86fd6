//! Flags and environment, in two steps: raw arguments by the table, then one resolved struct per program. Nothing else
//! in the workspace reads flags or the environment.

mod command;
mod download;
mod environment;
mod flag;
mod log;
mod raw;
mod router;
mod serve;
mod shard;
pub mod table;

pub use command::{Invocation, parse};
pub use download::Download;
pub use environment::{Environment, LAUNCHER_PID};
pub use flag::{Class, Flag, Kind, Program};
pub use log::Log;
pub use raw::Raw;
pub use router::Router;
pub use serve::{Rope, Serve, TokenLimits};
pub use shard::Shard;
