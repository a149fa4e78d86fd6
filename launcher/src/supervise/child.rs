//! One child process.

use std::ffi::OsString;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{self, Command};
use tokio::time::timeout;

use super::stop::Stop;
use crate::flags::LAUNCHER_PID;

/// The program that is running now: the children are the same one.
pub const THIS_PROGRAM: &str = "/proc/self/exe";

/// How to start a child.
#[derive(Clone, Debug)]
pub struct ChildCommand {
    /// The program, [`THIS_PROGRAM`] but in tests.
    pub program: OsString,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// What its environment has beside the launcher's.
    pub environment: Vec<(&'static str, OsString)>,
}

/// A child in its own process group, so that a terminal's Ctrl-C reaches only the launcher.
#[derive(Debug)]
pub(super) struct Child {
    name: &'static str,
    pub(super) process: process::Child,
}

impl Child {
    /// Starts `command`; `name` is what the log calls it. Its output is the launcher's, or is `piped` to it.
    pub(super) fn spawn(name: &'static str, command: ChildCommand, piped: bool) -> io::Result<Self> {
        let output = || if piped { Stdio::piped() } else { Stdio::inherit() };
        let process = Command::new(command.program)
            .arg0("gristmill")
            .args(command.arguments)
            .envs(command.environment)
            .stdin(Stdio::null())
            .stdout(output())
            .stderr(output())
            .env(LAUNCHER_PID, std::process::id().to_string())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        Ok(Self { name, process })
    }

    /// True until the end of the process has been seen.
    pub(super) fn runs(&self) -> bool {
        self.process.id().is_some()
    }

    /// Waits for the end. `None` when the system cannot tell the status.
    pub(super) async fn ended(&mut self) -> Option<ExitStatus> {
        self.process.wait().await.ok()
    }

    /// Asks the process to end, and kills it after `grace` or at the next stop signal.
    pub(super) async fn terminate(&mut self, grace: Duration, stop: &mut Stop) {
        let name = self.name;
        tracing::info!("Terminating {name}");
        self.signal(Signal::TERM);
        tracing::info!("Waiting for {name} to gracefully shutdown");
        let ended = tokio::select! {
            ended = timeout(grace, self.ended()) => ended.is_ok(),
            () = stop.requested() => false,
        };
        if ended {
            return tracing::info!("{name} terminated");
        }
        tracing::info!("Killing {name}");
        self.signal(Signal::KILL);
        self.ended().await;
        tracing::info!("{name} killed");
    }

    /// The process is not yet waited for, so its id is still its own.
    fn signal(&self, signal: Signal) {
        let pid = self.process.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let sent = pid.map(|pid| kill_process(pid, signal));
        if let Some(Err(error)) = sent {
            tracing::warn!("{} could not be signalled: {error}", self.name);
        }
    }
}
