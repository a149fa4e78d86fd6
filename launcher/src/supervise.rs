//! The shard and the router as child processes: started in order, watched, stopped in order.

mod child;
pub mod deadlines;
pub mod orphan;
mod output;
mod shard;
mod stop;

pub use child::{ChildCommand, THIS_PROGRAM};
pub use shard::ShardCommand;
pub use stop::Stop;

use std::time::Duration;

use crate::error::{Error, Failure};
use child::Child;
use shard::Shard;

/// Starts the shard and, when it is ready, the router; returns when all have ended.
///
/// # Errors
/// A child could not be started, or ended before it was asked to.
pub async fn run(
    shard: ShardCommand,
    router: ChildCommand,
    grace: Duration,
    stop: &mut Stop,
) -> Result<(), Failure> {
    let mut shard = shard.spawn()?;
    let ready = tokio::select! {
        ready = shard.ready() => Some(ready),
        () = stop.requested() => None,
    };
    let outcome = match ready {
        Some(Ok(())) => with_router(&mut shard, router, grace, stop).await,
        Some(Err(failure)) => Err(failure),
        None => Ok(()),
    };
    shard.clear(grace, stop).await;
    outcome
}

/// Runs the router until it, the shard or the user ends the server, and stops it.
async fn with_router(
    shard: &mut Shard,
    router: ChildCommand,
    grace: Duration,
    stop: &mut Stop,
) -> Result<(), Failure> {
    let mut router = start_router(router)?;
    let outcome = tokio::select! {
        () = stop.requested() => Ok(()),
        failure = shard.crashed() => Err(failure),
        status = router.ended() => {
            tracing::error!("Webserver Crashed");
            Err(Failure::of_child(&Error::WebserverFailed, status))
        }
    };
    if router.runs() {
        router.terminate(grace, stop).await;
    }
    outcome
}

/// Starts the router, which writes to the launcher's own output.
fn start_router(command: ChildCommand) -> Result<Child, Error> {
    tracing::info!("Starting Webserver");
    Child::spawn("webserver", command, false).map_err(|error| {
        tracing::error!("{error}");
        Error::WebserverCannotStart
    })
}
