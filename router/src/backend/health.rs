//! Whether the shards can generate, for `/health`.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::timeout;

use super::driver::Command;
use crate::shards::Shards;
use crate::shards::deadlines::{PROBE, PROBE_AGAIN, PROBE_BUSY};

/// The last known state and how to renew it.
#[derive(Debug)]
pub(super) struct Health {
    shards: Shards,
    healthy: AtomicBool,
    /// A step is out: a shard that computes may answer late.
    busy: AtomicBool,
    /// When a probe was last answered, and how. Held while asking, so that one probe serves all who wait.
    last: Mutex<Option<(Instant, bool)>>,
}

impl Health {
    pub(super) fn new(shards: Shards) -> Self {
        Self { shards, healthy: AtomicBool::new(true), busy: AtomicBool::new(false), last: Mutex::new(None) }
    }

    /// What the last step or probe showed.
    pub(super) fn set(&self, healthy: bool) {
        self.healthy.store(healthy, Ordering::Relaxed);
    }

    pub(super) fn set_busy(&self, busy: bool) {
        self.busy.store(busy, Ordering::Relaxed);
    }

    /// Asks the devices when all was well so far, else has the driver try a real prefill between two steps. Only a
    /// step or that prefill makes it healthy again.
    pub(super) async fn check(&self, commands: &mpsc::Sender<Command>) -> bool {
        let asked = Instant::now();
        let mut last = self.last.lock().await;
        let known = self.healthy.load(Ordering::Relaxed);
        if let Some((at, answer)) = *last
            && answer == known
            && (at >= asked || (answer && at.elapsed() < PROBE_AGAIN))
        {
            return answer;
        }
        let answer = if known { self.devices().await } else { model(commands).await };
        if !answer {
            self.set(false);
        }
        *last = Some((Instant::now(), answer));
        answer
    }

    /// A shard that computes may answer only when it is done; whether it hangs is for the step's own deadline to say.
    async fn devices(&self) -> bool {
        let mut asking = pin!(self.shards.device_health());
        let answer = match timeout(PROBE_BUSY, &mut asking).await {
            Ok(answer) => answer,
            Err(_) if self.busy.load(Ordering::Relaxed) => return true,
            Err(_) => asking.await,
        };
        answer.inspect_err(|error| tracing::error!("{error}")).is_ok()
    }
}

async fn model(commands: &mpsc::Sender<Command>) -> bool {
    let (answer, answered) = oneshot::channel();
    if commands.try_send(Command::Probe(answer)).is_err() {
        return false;
    }
    matches!(timeout(PROBE, answered).await, Ok(Ok(true)))
}
