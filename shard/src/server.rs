//! The shard's process: loads, listens on its socket, ends on a signal.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gristmill_proto::v3::text_generation_service_server::TextGenerationServiceServer;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

use crate::config::Config;
use crate::error::ShardError;
use crate::load::{Loaded, load};
use crate::service::Service;

/// Messages of the wire are trusted and may have any size.
const MAX_MESSAGE_BYTES: usize = i32::MAX as usize;

/// Runs a shard until a signal or the loss of its device.
///
/// # Errors
/// The model cannot be served, or the device was lost.
pub fn run(config: &Config) -> Result<(), ShardError> {
    if config.world != 1 {
        return Err(ShardError::Setting("WORLD_SIZE: more than one shard is not yet supported".to_owned()));
    }
    let loaded = load(config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(ShardError::Start)?;
    runtime.block_on(serve(&config.uds_path, loaded))
}

async fn serve(path: &Path, loaded: Loaded) -> Result<(), ShardError> {
    let lost = Arc::new(Notify::new());
    let service = Service::start(loaded.facts, loaded.tokenizer, loaded.engine, Arc::clone(&lost))
        .map_err(ShardError::Start)?;
    let service = TextGenerationServiceServer::new(service).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(gristmill_proto::DESCRIPTORS)
        .build_v1()
        .map_err(|e| ShardError::Setting(e.to_string()))?;
    let socket = Socket::bind(path)?;
    let server = Server::builder().add_service(service).add_service(reflection);
    tracing::info!("Server started at unix://{}", path.display());
    tokio::select! {
        served = server.serve_with_incoming(UnixListenerStream::new(socket.listener)) => Ok(served?),
        name = end_signal()? => {
            tracing::info!("Exiting gracefully: Signal {name}");
            Ok(())
        }
        () = lost.notified() => Err(gristmill_model::device::DeviceError::Lost("the engine has ended".to_owned()).into()),
    }
}

/// The socket file goes with it.
struct Socket {
    listener: UnixListener,
    _file: SocketFile,
}

struct SocketFile(PathBuf);

impl Socket {
    /// Binds under another name first, so that whoever sees the socket finds it closed to others already.
    fn bind(path: &Path) -> Result<Self, ShardError> {
        let fail = |source| ShardError::Socket { path: path.to_owned(), source };
        let mut hidden = path.as_os_str().to_owned();
        hidden.push(".new");
        let hidden = SocketFile(PathBuf::from(hidden));
        drop(std::fs::remove_file(&hidden.0));
        let listener = UnixListener::bind(&hidden.0).map_err(fail)?;
        std::fs::set_permissions(&hidden.0, Permissions::from_mode(0o600)).map_err(fail)?;
        std::fs::rename(&hidden.0, path).map_err(fail)?;
        Ok(Self { listener, _file: SocketFile(path.to_owned()) })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

/// Waits for SIGINT or SIGTERM; gives its number.
fn end_signal() -> Result<impl Future<Output = i32>, ShardError> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ShardError::Start)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(ShardError::Start)?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => SignalKind::interrupt().as_raw_value(),
            _ = terminate.recv() => SignalKind::terminate().as_raw_value(),
        }
    })
}
