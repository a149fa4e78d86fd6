//! The program `gristmill`: launcher, router, shard and download in one, told apart by name or subcommand.
//!
//! Flags and environment end in [`flags`]; every other crate gets resolved structs.

#![forbid(unsafe_code)]

pub mod bug;
pub mod download;
pub mod error;
pub mod flags;
pub mod logging;
pub mod runtime_env;
pub mod serve;
pub mod supervise;
pub mod workers;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use error::{Error, Failure};
use flags::{Environment, Invocation, Program, Raw};

/// Does what the command line asks, program name included. Errors end on standard error as `Error: ...`.
pub fn run(line: &[OsString]) -> ExitCode {
    bug::end_process_on_panic();
    let ended = match flags::parse(line) {
        Ok(Invocation::Run(raw)) => run_program(&raw, &Environment::of_process()),
        Ok(Invocation::NotYet(name)) => {
            Err(Error::NotYet(format!("{name} is not yet supported by this version")).into())
        }
        Err(error) => return usage(&error),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let told = writeln!(std::io::stderr(), "Error: {}", failure.text);
            if told.is_ok() { failure.code.into() } else { error::FAILED.into() }
        }
    }
}

fn run_program(raw: &Raw, environment: &Environment) -> Result<(), Failure> {
    match raw.program() {
        Program::Serve => serve::run(raw, environment),
        Program::Router => workers::router(raw, environment),
        Program::Shard => workers::shard(raw, environment),
        Program::Download => workers::download(raw, environment),
    }
}

/// Prints help, version or what does not parse. Exit code 2 for the last.
fn usage(error: &clap::Error) -> ExitCode {
    let code = u8::try_from(error.exit_code()).unwrap_or(error::FAILED);
    match error.print() {
        Ok(()) => code.into(),
        Err(_) => error::FAILED.into(),
    }
}
