//! How a program logs.

use super::environment::Environment;
use super::flag::Program;
use super::raw::Raw;

/// What is logged, and in which form.
#[derive(Clone, Debug)]
pub struct Log {
    /// The program that logs.
    pub program: Program,
    /// `LOG_LEVEL`, or `--logger-level` of the programs that have that flag.
    pub level: Option<String>,
    /// One JSON object a line.
    pub json: bool,
    /// No colours, even on a terminal.
    pub plain: bool,
}

impl Log {
    /// What `raw` and the environment ask for. `LOG_COLORIZE=1` turns colours off, as in TGI.
    pub fn resolve(raw: &Raw, environment: &Environment) -> Self {
        let level = match raw.program() {
            Program::Serve | Program::Router => environment.text("LOG_LEVEL").map(str::to_owned),
            Program::Shard | Program::Download => raw.get("logger-level"),
        };
        let plain = environment.text("LOG_COLORIZE") == Some("1");
        Self { program: raw.program(), level, json: raw.switch("json-output"), plain }
    }
}
