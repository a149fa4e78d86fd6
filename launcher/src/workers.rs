//! The programs that the launcher starts, or that run by themselves under TGI's names.

use std::path::{Path, PathBuf};

use gristmill_model::device::DeviceError;
use gristmill_shard::ShardError;

use crate::error::{DEVICE_LOST, FAILED, Failure, NO_FIT};
use crate::flags::{Download, Environment, Log, Raw, Router, Shard};
use crate::supervise::orphan;
use crate::{download, logging};

/// Runs the router until it is stopped.
///
/// # Errors
/// Its arguments, its tokenizer, its shard or its port are unusable.
pub fn router(raw: &Raw, environment: &Environment) -> Result<(), Failure> {
    follow_launcher(environment)?;
    logging::start(&Log::resolve(raw, environment));
    let Router { model, mut config } = Router::resolve(raw, environment)?;
    log_notes(raw, environment);
    config.tokenizer_folder = folder(&model)?;
    gristmill_router::server::run(config)
        .map_err(|error| Failure { text: format!("{error:?}"), code: FAILED })
}

/// Runs the shard until it is stopped.
///
/// # Errors
/// Its arguments, its model or its socket are unusable.
pub fn shard(raw: &Raw, environment: &Environment) -> Result<(), Failure> {
    follow_launcher(environment)?;
    logging::start(&Log::resolve(raw, environment));
    let Shard { model, mut config } = Shard::resolve(raw, environment)?;
    log_notes(raw, environment);
    config.model = folder(&model)?;
    gristmill_shard::run(&config)
        .map_err(|error| Failure { text: error.to_string(), code: shard_code(&error) })
}

fn shard_code(error: &ShardError) -> u8 {
    match error {
        ShardError::NoFit(_) | ShardError::Device(DeviceError::Memory { .. }) => NO_FIT,
        ShardError::Device(DeviceError::Lost(_)) => DEVICE_LOST,
        _ => FAILED,
    }
}

/// Brings a model into one folder and ends.
///
/// # Errors
/// The model cannot be found or read.
pub fn download(raw: &Raw, environment: &Environment) -> Result<(), Failure> {
    logging::start(&Log::resolve(raw, environment));
    let model = Download::resolve(raw, environment)?;
    log_notes(raw, environment);
    if folder(&model)? == Path::new(&model.model_id) {
        tracing::info!("Files are already present on the host. Skipping download.");
    }
    Ok(())
}

/// Says what has no effect, unless the launcher has already said it.
fn log_notes(raw: &Raw, environment: &Environment) {
    if matches!(environment.launcher_pid(), Ok(None)) {
        raw.notes().iter().for_each(|note| tracing::info!("{note}"));
    }
}

fn folder(model: &Download) -> Result<PathBuf, Failure> {
    download::resolve(model).map_err(|error| Failure { text: error.to_string(), code: FAILED })
}

/// Ties this process to the launcher that started it, if one did.
fn follow_launcher(environment: &Environment) -> Result<(), Failure> {
    let Some(launcher) = environment.launcher_pid()? else { return Ok(()) };
    orphan::die_with(launcher).map_err(|text| Failure { text, code: FAILED })
}
