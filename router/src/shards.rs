//! The client of the shard group: every rpc goes to every shard at once, and the answers become one.

pub mod deadlines;

mod answer;
mod client;
mod error;
mod probe;
mod request;
mod warmup;

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use futures::future::join_all;
use gristmill_proto::v3;

pub use answer::{Step, Timings};
use client::Client;
pub use error::ShardError;
pub use warmup::Warmed;

use crate::Config;
use crate::schedule::{CachedBatch, NewBatch};

/// All shards of a model, in rank order. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shards {
    clients: Vec<Client>,
}

impl Shards {
    /// Asks the shard at `master` for its group and connects to each of it.
    ///
    /// # Errors
    /// A shard that does not listen, does not answer in time, or does not speak `generate.v3`.
    pub async fn connect(master: &Path) -> Result<Self, ShardError> {
        let urls = Client::connect(master).await?.service_discovery().await?;
        let paths = urls.iter().map(|url| Path::new(url.strip_prefix("unix://").unwrap_or(url)));
        let clients = first_error(join_all(paths.map(Client::connect)).await)?;
        if clients.is_empty() {
            return Err(ShardError::Empty);
        }
        Ok(Self { clients })
    }

    /// What the model is. KV blocks are those of the shard with the fewest.
    ///
    /// # Errors
    /// The first shard's that failed, as everywhere here.
    pub async fn info(&self) -> Result<v3::InfoResponse, ShardError> {
        let infos = self.all(|client| client.info()).await?;
        let fewest = infos.iter().filter_map(|info| info.ext.as_ref()).map(|ext| ext.num_blocks).min();
        let mut info = infos.into_iter().last().ok_or(ShardError::Empty)?;
        if let (Some(ext), Some(fewest)) = (&mut info.ext, fewest) {
            ext.num_blocks = fewest;
        }
        Ok(info)
    }

    /// Drops a cached batch, or all of them.
    pub async fn clear_cache(&self, batch: Option<u64>) -> Result<(), ShardError> {
        self.all(|client| client.clear_cache(batch)).await.map(drop)
    }

    /// Keeps only some requests of a cached batch.
    pub async fn filter_batch(&self, batch: u64, keep: &[u64]) -> Result<Option<CachedBatch>, ShardError> {
        let answers = self.all(|client| client.filter_batch(batch, keep.to_vec())).await?;
        Ok(answers.into_iter().last().flatten().map(answer::cached_batch))
    }

    /// Runs the largest prefill that `config` allows; the least any shard supports.
    pub async fn warmup(&self, config: &Config) -> Result<Warmed, ShardError> {
        let request = warmup::request(config);
        let answers = self.all(|client| client.warmup(request.clone())).await?;
        answers.into_iter().map(Warmed::from).reduce(Warmed::least).ok_or(ShardError::Empty)
    }

    /// Starts a batch, optionally together with a cached one.
    pub async fn prefill(&self, new: NewBatch, cached: Option<CachedBatch>) -> Result<Step, ShardError> {
        let cached_batch = cached.map(request::cached_batch);
        let request = v3::PrefillRequest { batch: Some(request::batch(new)), cached_batch };
        let steps = self.all(|client| client.prefill(request.clone())).await?;
        steps.into_iter().map(Step::from).reduce(Step::merge).ok_or(ShardError::Empty)
    }

    /// One step of all batches, which become one.
    pub async fn decode(&self, batches: Vec<CachedBatch>) -> Result<Step, ShardError> {
        let batches = batches.into_iter().map(request::cached_batch).collect();
        let request = v3::DecodeRequest { batches };
        let steps = self.all(|client| client.decode(request.clone())).await?;
        steps.into_iter().map(Step::from).reduce(Step::merge).ok_or(ShardError::Empty)
    }

    /// Whether the devices answer.
    pub async fn device_health(&self) -> Result<(), ShardError> {
        self.all(|client| client.health()).await.map(drop)
    }

    /// Whether the model generates: a prefill of one token on block 0, which the shards drop at once.
    pub async fn model_health(&self) -> Result<(), ShardError> {
        let request = probe::request();
        self.all(|client| client.probe(request.clone())).await.map(drop)
    }

    /// Every shard answers before an error is returned, so that none is left in the middle of a call.
    async fn all<T, F>(&self, call: impl Fn(Client) -> F) -> Result<Vec<T>, ShardError>
    where
        F: Future<Output = Result<T, ShardError>>,
    {
        first_error(join_all(self.clients.iter().cloned().map(call)).await)
    }
}

fn first_error<T>(answers: Vec<Result<T, ShardError>>) -> Result<Vec<T>, ShardError> {
    answers.into_iter().collect()
}

/// Nanoseconds of the wire.
fn nanos(nanos: u64) -> Duration {
    Duration::from_nanos(nanos)
}
