//! The router's engine: one task that drives the pure scheduler against the shards.
//!
//! [`Backend::start`] connects, clears, asks, warms up and checks; then [`driver::Driver`] owns the scheduler for the
//! life of the process. Everything else talks to it over one bounded channel.

mod driver;
mod events;
mod health;
mod limits;

use std::sync::Arc;

use tokio::sync::{Notify, mpsc, oneshot};

use crate::error::{BackendError, Error};
use crate::request::ValidRequest;
use crate::schedule::Scheduler;
use crate::shards::Shards;
use crate::{Config, event::EVENTS_PER_STREAM};
use driver::{Command, Driver};
pub use events::Events;
use health::Health;
pub use limits::Limits;

/// The engine as the dialects see it. Cheap to clone; the engine ends with [`Backend::stop`] or with the last clone.
#[derive(Clone)]
pub struct Backend {
    commands: mpsc::Sender<Command>,
    dropped: Arc<Notify>,
    health: Arc<Health>,
    limits: Limits,
}

impl Backend {
    /// Connects to the shards, empties their caches, warms them up, checks the limits that come out, and starts the
    /// task that serves requests.
    ///
    /// # Errors
    /// A flag that does not go with what the shards reported, or shards that cannot be reached or used.
    pub async fn start(config: &Config) -> Result<Self, Error> {
        limits::check_flags(config)?;
        let shards = Shards::connect(&config.master_shard_uds_path)
            .await
            .map_err(|error| BackendError::Connection(error.to_string()))?;
        shards.clear_cache(None).await.map_err(|error| BackendError::Cache(error.to_string()))?;
        let info = shards.info().await.map_err(|error| BackendError::Info(error.to_string()))?;
        tracing::info!("Warming up model");
        let warmed = shards.warmup(config).await.map_err(|error| BackendError::Warmup(error.to_string()))?;
        let settled = limits::settle(config, &info, warmed)?;
        let backend =
            Self::spawn(config, shards, Scheduler::new(settled.policy), settled.limits, info.speculate);
        tracing::info!("Using backend V3");
        Ok(backend)
    }

    fn spawn(config: &Config, shards: Shards, scheduler: Scheduler, limits: Limits, speculate: u32) -> Self {
        let (commands, inbox) = mpsc::channel(config.max_concurrent_requests.max(1) + 1);
        let dropped = Arc::new(Notify::new());
        let health = Arc::new(Health::new(shards.clone()));
        let driver = Driver::new(scheduler, shards, inbox, dropped.clone(), health.clone(), speculate);
        tokio::spawn(driver.run());
        Self { commands, dropped, health, limits }
    }

    /// What a request may ask for.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Queues a request. Dropping the answer cancels it. A reader that lets [`EVENTS_PER_STREAM`] events pile up is
    /// cut off: its stream ends with `Incomplete generation`, so that it never holds up the others.
    pub fn submit(&self, request: ValidRequest) -> Events {
        let (sender, receiver) = mpsc::channel(EVENTS_PER_STREAM);
        // When the engine has ended or its channel is full, the sender is dropped and the stream says so.
        let _ = self.commands.try_send(Command::Submit(Box::new(request), sender));
        Events::new(receiver, self.dropped.clone())
    }

    /// Whether the shards can generate. Answers within [`crate::shards::deadlines::PROBE`], and while a long step runs
    /// within [`crate::shards::deadlines::PROBE_BUSY`].
    pub async fn healthy(&self) -> bool {
        self.health.check(&self.commands).await
    }

    /// Ends the engine at once. Streams that still run end with `Incomplete generation`.
    pub async fn stop(&self) {
        let (done, stopped) = oneshot::channel();
        if self.commands.send(Command::Stop(done)).await.is_ok() {
            // An error means that it has ended already.
            let _ = stopped.await;
        }
    }
}
