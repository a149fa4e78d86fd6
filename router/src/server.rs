//! The router as a process: from its configuration to the last answer after a signal.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use gristmill_text::{ChatTemplate, Tokenizer};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::admission::Admission;
use crate::backend::{Backend, Limits};
use crate::error::WebServerError;
use crate::http::{House, connections, routes};
use crate::request::{Bounds, Validator, Workers};
use crate::{Config, Error, metrics};

/// Runs the router until SIGTERM or SIGINT. It then takes no more connections, and returns when all that run have ended.
///
/// # Errors
/// When it cannot start; see [`Error`].
pub fn run(config: Config) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Error::Tokio)?;
    runtime.block_on(serve(config))
}

async fn serve(config: Config) -> Result<(), Error> {
    let mut ending = Ending::listen().map_err(Error::Tokio)?;
    let house = tokio::select! {
        house = open(config) => house?,
        () = ending.arrives() => return Ok(()),
    };
    let address = address(&house.config);
    let (backend, admission) = (house.backend.clone(), house.admission.clone());
    let routes = routes(Arc::new(house));
    tracing::info!("Connected");
    let listener = TcpListener::bind(address).await.map_err(|error| {
        tracing::error!("Failed to bind to {address}: {error}");
        WebServerError::Axum(error)
    })?;
    connections::serve(listener, routes, admission, ending.arrives()).await;
    backend.stop().await;
    Ok(())
}

/// Loads what the model folder has for the router, and starts the engine.
async fn open(config: Config) -> Result<House, Error> {
    let workers = Workers::new(config.validation_workers);
    let (folder, named) = (config.tokenizer_folder.clone(), config.tokenizer_config_path.clone());
    let loading = workers.run(move || {
        let template = ChatTemplate::load(&folder, named.as_deref()).unwrap_or_else(|error| {
            tracing::warn!("Chat template: {error}");
            None
        });
        Tokenizer::load(&folder).map(|tokenizer| (tokenizer, template))
    });
    let (loaded, backend) = tokio::join!(loading, Backend::start(&config));
    let (tokenizer, template) = loaded.map_err(tokenizer_error)?.map_err(tokenizer_error)?;
    let backend = backend?;
    let metrics = metrics::install(backend.limits())
        .map_err(|text| WebServerError::Axum(std::io::Error::other(text)))?;
    let validator = Validator::new(bounds(&config, backend.limits()), Arc::new(tokenizer), workers.clone());
    let admission = Admission::new(config.max_concurrent_requests);
    let template = template.map(Arc::new);
    Ok(House { config, backend, admission, validator, workers, template, metrics })
}

fn tokenizer_error(error: impl std::fmt::Display) -> WebServerError {
    tracing::error!("{error}");
    WebServerError::Tokenizer("Unable to load tokenizer.".to_owned())
}

fn bounds(config: &Config, limits: &Limits) -> Bounds {
    Bounds {
        max_best_of: config.max_best_of,
        max_stop_sequences: config.max_stop_sequences,
        max_top_n_tokens: config.max_top_n_tokens,
        max_input_tokens: limits.max_input_tokens,
        max_total_tokens: limits.max_total_tokens,
    }
}

fn address(config: &Config) -> SocketAddr {
    let ip = config.hostname.parse().unwrap_or_else(|_| {
        tracing::warn!("Invalid hostname, defaulting to 0.0.0.0");
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    });
    SocketAddr::new(ip, config.port)
}

/// The signals that end the router.
struct Ending {
    terminate: Signal,
    interrupt: Signal,
}

impl Ending {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn arrives(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
        tracing::info!("signal received, starting graceful shutdown");
    }
}
