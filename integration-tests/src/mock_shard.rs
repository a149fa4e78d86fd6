//! Shards without a model: they speak the real wire on real sockets, in process, and check every call they get.
//!
//! The next token is a hash of the ids so far, so every output is known beforehand: see [`vocabulary::continuation`]. A
//! router that breaks a rule of the wire is found when the value is dropped.

mod batch;
mod check;
mod control;
mod row;
mod service;
pub mod vocabulary;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gristmill_proto::v3::text_generation_service_server::TextGenerationServiceServer;
use tokio::net::UnixListener;
use tokio::runtime::{Builder, Runtime};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

use control::Control;
pub use control::{Call, Message, Rpc};
use service::Service;

/// Any size, as the real one.
const MAX_MESSAGE_BYTES: usize = i32::MAX as usize;

/// What kind of shards to be.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many shards the group has. Each request's tokens come from the one with `id % world == rank`.
    pub world: u64,
    /// Whether they say who they are and take token ids. A foreign shard does neither, and keeps ended rows until they
    /// are filtered.
    pub ours: bool,
    /// Whether prompts may come in chunks.
    pub chunking: bool,
    /// Tokens in a KV block.
    pub block_size: u32,
    /// Physical KV blocks, block 0 included.
    pub blocks: u32,
    /// Prompt and output that the shard allows when the router does not say.
    pub max_total_tokens: u32,
    /// About one token in so many is an end token; 0 is none.
    pub eos_every: u64,
    /// Whether the shard knows how many tokens its KV cache holds.
    pub measured: bool,
    /// Limits that the shard answers to Warmup whatever it was asked.
    pub stubborn: Option<(u32, u32)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            world: 1,
            ours: true,
            chunking: true,
            block_size: 16,
            blocks: 257,
            max_total_tokens: 4096,
            eos_every: 0,
            measured: true,
            stubborn: None,
        }
    }
}

/// A running group of shards.
pub struct MockShards {
    control: Arc<Control>,
    runtimes: Vec<Runtime>,
    folder: tempfile::TempDir,
}

impl MockShards {
    /// Starts listening.
    pub fn start(options: Options) -> Self {
        let options = Arc::new(options);
        let folder = tempfile::tempdir().unwrap();
        let control = Arc::new(Control::new());
        let paths: Vec<PathBuf> =
            (0..options.world).map(|rank| folder.path().join(format!("s-{rank}"))).collect();
        let urls: Vec<String> = paths.iter().map(|path| format!("unix://{}", path.display())).collect();
        let serve = |(rank, path): (usize, &PathBuf)| {
            let service = Service::new(rank as u64, options.clone(), urls.clone(), control.clone());
            listen(path, service)
        };
        let runtimes = paths.iter().enumerate().map(serve).collect();
        Self { control, runtimes, folder }
    }

    /// Socket of rank 0.
    pub fn master(&self) -> PathBuf {
        self.folder.path().join("s-0")
    }

    /// Every call so far, of every rank, in order of arrival.
    pub fn calls(&self) -> Vec<Call> {
        self.control.calls()
    }

    /// Waits until the calls satisfy `enough`.
    ///
    /// # Panics
    /// When that takes a minute.
    pub async fn wait_for(&self, enough: impl FnMut(&[Call]) -> bool) {
        self.control.wait_for(enough).await;
    }

    /// Lets calls of `rpc` arrive and wait, until [`MockShards::pass`] or [`MockShards::open`].
    pub fn hold(&self, rpc: Rpc) {
        self.control.hold(rpc);
    }

    /// Lets as many held calls through, now or later.
    pub fn pass(&self, rpc: Rpc, count: usize) {
        self.control.pass(rpc, count);
    }

    /// Holds no longer.
    pub fn open(&self, rpc: Rpc) {
        self.control.open(rpc);
    }

    /// Fails the next call of `rpc` on every rank.
    pub fn fail_next(&self, rpc: Rpc, message: &str) {
        for rank in 0..self.runtimes.len() as u64 {
            self.control.fail_next(rank, rpc, message);
        }
    }

    /// Fails the next call of `rpc` on one rank.
    pub fn fail_next_on(&self, rank: u64, rpc: Rpc, message: &str) {
        self.control.fail_next(rank, rpc, message);
    }

    /// Ends all shards at once, with every connection.
    pub fn die(&mut self) {
        self.runtimes.drain(..).for_each(Runtime::shutdown_background);
    }
}

impl Drop for MockShards {
    fn drop(&mut self) {
        self.die();
        let violations = self.control.violations();
        if !std::thread::panicking() {
            assert!(violations.is_empty(), "the router broke the wire's rules: {violations:#?}");
        }
    }
}

/// Serves on a runtime of its own, so that it can die with all its connections.
fn listen(path: &Path, service: Service) -> Runtime {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = {
        let _inside = runtime.enter();
        UnixListener::bind(path).unwrap()
    };
    let service = TextGenerationServiceServer::new(service)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let server = Server::builder().add_service(service);
    runtime.spawn(server.serve_with_incoming(UnixListenerStream::new(listener)));
    runtime
}
