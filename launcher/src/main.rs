//! The program.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    gristmill_launcher::run(&std::env::args_os().collect::<Vec<_>>())
}
