//! A shard's process.

use std::convert::Infallible;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::time::{Instant, interval_at, sleep, timeout};

use super::child::{Child, ChildCommand};
use super::deadlines::{SHARD_START, SHARD_START_NEWS, SOCKET_LOOK, SOCKET_LOOK_MAX};
use super::output::Output;
use super::stop::Stop;
use crate::error::{Error, Failure};

/// How to start a shard.
#[derive(Clone, Debug)]
pub struct ShardCommand {
    /// Its rank.
    pub rank: usize,
    /// The socket it will listen on, rank included.
    pub socket: PathBuf,
    /// How to start its process.
    pub command: ChildCommand,
}

/// A shard that was started.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) child: Child,
    rank: usize,
    socket: PathBuf,
    started: Instant,
    output: Output,
    span: tracing::Span,
}

impl ShardCommand {
    pub(super) fn spawn(self) -> Result<Shard, Error> {
        let rank = self.rank;
        let span = tracing::info_span!("shard-manager", rank);
        span.in_scope(|| tracing::info!("Starting shard"));
        self.start(&span).map_err(|error| {
            tracing::error!("Shard {rank} failed to start: {error}");
            Error::ShardCannotStart
        })
    }

    fn start(self, span: &tracing::Span) -> io::Result<Shard> {
        remove_socket(&self.socket)?;
        let started = Instant::now();
        let mut child = Child::spawn("shard", self.command, true)?;
        let streams = child.process.stdout.take().zip(child.process.stderr.take());
        let (stdout, stderr) = streams.ok_or_else(|| io::Error::other("the shard has no output"))?;
        let output = Output::follow(stdout, stderr, span.clone());
        Ok(Shard { child, rank: self.rank, socket: self.socket, started, output, span: span.clone() })
    }
}

impl Shard {
    /// Waits until the shard accepts connections; an error when it ends first or takes too long.
    pub(super) async fn ready(&mut self) -> Result<(), Failure> {
        tokio::select! {
            listens = timeout(SHARD_START, listens(&self.socket)) => listens.map_err(|_| self.too_late())?,
            status = self.child.ended() => return Err(self.failed_to_start(status).await),
            never = news(&self.span) => match never {},
        }
        self.span.in_scope(|| tracing::info!("Shard ready in {:?}", self.started.elapsed()));
        Ok(())
    }

    fn too_late(&self) -> Failure {
        let (rank, socket, seconds) = (self.rank, self.socket.display(), SHARD_START.as_secs());
        tracing::error!("Shard {rank} does not listen on {socket} after {seconds} s");
        Error::ShardCannotStart.into()
    }

    /// Waits until the shard ends by itself.
    pub(super) async fn crashed(&mut self) -> Failure {
        let status = self.child.ended().await;
        self.report(status).await;
        tracing::error!("Shard {} crashed", self.rank);
        Failure::of_child(&Error::ShardFailed, status)
    }

    /// Leaves nothing of the shard behind.
    pub(super) async fn clear(mut self, grace: Duration, stop: &mut Stop) {
        if self.child.runs() {
            tracing::info!("Shutting down shards");
            self.child.terminate(grace, stop).await;
        }
        if let Err(error) = remove_socket(&self.socket) {
            tracing::warn!("{}: {error}", self.socket.display());
        }
    }

    async fn failed_to_start(&mut self, status: Option<ExitStatus>) -> Failure {
        self.report(status).await;
        tracing::error!("Shard {} failed to start", self.rank);
        Failure::of_child(&Error::ShardCannotStart, status)
    }

    /// Shows what the ended shard wrote to standard error.
    async fn report(&mut self, status: Option<ExitStatus>) {
        let errors = self.output.finish().await;
        self.span.in_scope(|| {
            tracing::error!("Shard complete standard error output:\n{}", errors.trim_end());
            if let Some(signal) = status.and_then(|status| status.signal()) {
                tracing::error!("Shard process was signaled to shutdown with signal {signal}");
            }
        });
    }
}

/// A shard that was killed leaves its socket behind.
fn remove_socket(socket: &Path) -> io::Result<()> {
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Returns once `socket` accepts a connection.
async fn listens(socket: &Path) {
    let mut pause = SOCKET_LOOK;
    while UnixStream::connect(socket).await.is_err() {
        sleep(pause).await;
        pause = SOCKET_LOOK_MAX.min(pause * 2);
    }
}

/// Says again and again that the shard is being waited for.
async fn news(span: &tracing::Span) -> Infallible {
    let mut ticks = interval_at(Instant::now() + SHARD_START_NEWS, SHARD_START_NEWS);
    loop {
        ticks.tick().await;
        span.in_scope(|| tracing::info!("Waiting for shard to be ready..."));
    }
}
