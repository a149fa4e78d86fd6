//! The log of each program on standard output, in TGI's forms.

pub mod level;
pub mod shard_line;

use std::io::{IsTerminal, stdout};

use tracing_subscriber::fmt;

use crate::flags::{Log, Program};
use level::{filter, tracing_name};
use shard_line::ShardLines;

/// Starts the log of this process.
pub fn start(log: &Log) {
    match log.program {
        Program::Serve => start_launcher(log),
        Program::Router => start_router(log),
        Program::Shard | Program::Download => start_worker(log),
    }
}

fn start_launcher(log: &Log) {
    let subscriber = fmt().with_env_filter(filter(log.level.as_deref())).with_ansi(stdout().is_terminal());
    if log.json {
        subscriber.json().init();
    } else {
        subscriber.compact().init();
    }
}

/// JSON objects have the event's fields at the top.
fn start_router(log: &Log) {
    let subscriber = fmt()
        .with_env_filter(filter(log.level.as_deref()))
        .with_file(true)
        .with_line_number(true)
        .with_ansi(stdout().is_terminal() && !log.plain);
    if log.json {
        subscriber.json().flatten_event(true).init();
    } else {
        subscriber.init();
    }
}

/// JSON objects are those the launcher reads.
fn start_worker(log: &Log) {
    let level = tracing_name(log.level.as_deref().unwrap_or_default());
    let subscriber = fmt().with_env_filter(filter(Some(level))).with_ansi(false);
    if log.json {
        subscriber.event_format(ShardLines).init();
    } else {
        subscriber.init();
    }
}
