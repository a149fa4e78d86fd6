//! What ends a program, its text and its exit code.

use std::process::ExitStatus;

/// The exit code of any error without a code of its own, as in TGI.
pub const FAILED: u8 = 1;
/// The exit code when the model does not fit.
pub const NO_FIT: u8 = 3;
/// The exit code when a device is lost.
pub const DEVICE_LOST: u8 = 4;
/// The exit code of a bug: a panic anywhere.
pub const BUG: u8 = 70;

/// What ends the launcher. The debug form is what a user sees, as in TGI.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Flags that contradict each other, or a value that makes no sense.
    #[error("Invalid argument: {0}")]
    ArgumentValidation(String),
    /// `--sharded true` on a machine with too few devices.
    #[error("not enough cuda devices: {0}")]
    NotEnoughCUDADevices(String),
    /// A flag that a later version brings.
    #[error("{0}")]
    NotYet(String),
    /// A flag whose effect this server will not have.
    #[error("{0}")]
    Refused(String),
    /// The model could not be fetched or read.
    #[error("Download error")]
    DownloadError,
    /// A shard ended before it was ready, or was not ready in time.
    #[error("Shard cannot start")]
    ShardCannotStart,
    /// A shard ended while it served.
    #[error("Shard failed")]
    ShardFailed,
    /// The router ended while it served.
    #[error("Webserver failed")]
    WebserverFailed,
    /// The router could not be started.
    #[error("Webserver cannot start")]
    WebserverCannotStart,
}

/// The end of a program: what follows `Error: ` on standard error, and the exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The text.
    pub text: String,
    /// The exit code.
    pub code: u8,
}

impl Failure {
    /// `error`, caused by a child that ended with `status`: the codes of this project pass through the launcher.
    pub fn of_child(error: &Error, status: Option<ExitStatus>) -> Self {
        let code = match status.and_then(|status| status.code()).and_then(|code| u8::try_from(code).ok()) {
            Some(code @ (NO_FIT | DEVICE_LOST | BUG)) => code,
            _ => FAILED,
        };
        Self { text: format!("{error:?}"), code }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::of_child(&error, None)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn only_the_codes_of_this_project_pass_through() {
        for (wait_status, code) in
            [(0, 1), (1 << 8, 1), (2 << 8, 1), (3 << 8, 3), (4 << 8, 4), (70 << 8, 70), (9, 1)]
        {
            let failure = Failure::of_child(&Error::ShardFailed, Some(ExitStatus::from_raw(wait_status)));
            assert_eq!(failure, Failure { text: "ShardFailed".into(), code }, "wait status {wait_status}");
        }
    }
}
