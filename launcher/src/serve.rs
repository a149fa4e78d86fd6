//! The launcher: resolves flags, gets the model, starts shard and router, and watches them, in TGI's order.

mod attention;
mod children;
mod model_config;
mod prefill;

use std::path::PathBuf;

use tokio::runtime;
use tokio::task::spawn_blocking;

use crate::error::{Error, Failure};
use crate::flags::{Environment, Log, Raw, Serve};
use crate::supervise::{self, Stop};
use crate::{download, logging, runtime_env};
use attention::Attention;
use children::Children;
use model_config::ModelConfig;

/// Runs a server until it is stopped or something it needs ends.
///
/// # Errors
/// Whatever ends the server other than a signal.
pub fn run(raw: &Raw, environment: &Environment) -> Result<(), Failure> {
    logging::start(&Log::resolve(raw, environment));
    if raw.switch("env") {
        tracing::info!("{}", runtime_env::describe());
    }
    tracing::info!("{raw:#?}");
    let serve = Serve::resolve(raw, environment)?;
    for note in raw.notes() {
        tracing::info!("{note}");
    }
    let runtime =
        runtime::Builder::new_current_thread().enable_all().build().map_err(|error| no_runtime(&error))?;
    let outcome = runtime.block_on(until_stopped(&serve));
    runtime.shutdown_background();
    outcome
}

fn no_runtime(error: &std::io::Error) -> Error {
    tracing::error!("{error}");
    Error::ShardCannotStart
}

async fn until_stopped(serve: &Serve) -> Result<(), Failure> {
    let mut stop = Stop::catch().map_err(|error| no_runtime(&error))?;
    let folder = tokio::select! {
        folder = fetch(serve) => folder?,
        () = stop.requested() => return Ok(()),
    };
    let config = ModelConfig::read(&folder);
    let attention = Attention::choose(&config, serve);
    attention.log();
    let max_batch_prefill_tokens = serve.max_batch_prefill_tokens.unwrap_or_else(|| {
        let tokens = prefill::default_tokens(&config);
        tracing::info!("Default `max_batch_prefill_tokens` to {tokens}");
        tokens
    });
    let children = Children { serve, folder: &folder, attention: &attention, max_batch_prefill_tokens };
    supervise::run(children.shard(0), children.router(), serve.grace, &mut stop).await
}

/// Brings the model into one folder.
async fn fetch(serve: &Serve) -> Result<PathBuf, Error> {
    let model_id = serve.model.model_id.clone();
    tracing::info!("Starting check and download process for {model_id}");
    let source = serve.model.clone();
    let resolve = spawn_blocking(move || download::resolve(&source));
    let folder = resolve.await.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
    tracing::info!("Successfully downloaded weights for {model_id}");
    Ok(folder)
}

fn failed(error: &dyn std::error::Error) -> Error {
    tracing::error!("Download encountered an error: {error}");
    Error::DownloadError
}
