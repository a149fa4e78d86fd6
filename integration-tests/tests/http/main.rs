//! The HTTP routes of the real program, in front of shards without a model.

mod errors;
mod house;
mod numbers;
mod openai;
mod tgi;

use std::path::Path;

use gristmill_integration_tests::client::Client;
use gristmill_integration_tests::mock_shard::vocabulary::continuation;
use gristmill_integration_tests::mock_shard::{Call, Message, MockShards, Options};
use gristmill_integration_tests::server::Server;
use gristmill_proto::v3::Request;
use gristmill_text::Tokenizer;

/// A router and its shards. The router goes first: shards that are gone are an error to it.
struct Rig {
    server: Server,
    client: Client,
    shards: MockShards,
}

impl Rig {
    fn new(flags: &[&str]) -> Self {
        Self::with(Options::default(), flags)
    }

    fn with(options: Options, flags: &[&str]) -> Self {
        let shards = MockShards::start(options);
        let server = Server::router(&shards, flags);
        Self { client: server.client(), server, shards }
    }

    /// Waits until the shards have seen enough.
    fn wait_for(&self, enough: impl FnMut(&[Call]) -> bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(self.shards.wait_for(enough));
    }

    /// The last request that the shards were given.
    fn last_request(&self) -> Request {
        let prefill = |call: &Call| match &call.message {
            Message::Prefill(prefill) => prefill.batch.clone(),
            _ => None,
        };
        let batch = self.shards.calls().iter().rev().find_map(prefill).unwrap();
        batch.requests[0].clone()
    }

    /// Waits until a client that left is counted: from then on its request is cancelled.
    fn wait_for_dropped(&self) {
        let counted = || self.metric("tgi_request_failure{err=\"dropped\"}") == Some(1.0);
        assert!(std::iter::repeat_with(counted).take(100_000).any(|counted| counted));
    }

    /// A value in `/metrics`.
    fn metric(&self, line: &str) -> Option<f64> {
        let text = self.client.get("/metrics").body;
        let value = text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' '))?;
        Some(value.parse().unwrap())
    }
}

/// The ids of a prompt.
fn ids(prompt: &str, add_special_tokens: bool) -> Vec<u32> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/tiny/llama-plain");
    let tokenizer = Tokenizer::load(&folder).unwrap();
    tokenizer.encode(prompt, add_special_tokens).unwrap().ids
}

/// The `count` tokens that the shards generate for a prompt.
fn generated(prompt: &str, count: usize) -> Vec<u32> {
    continuation(&ids(prompt, true), count, 0)
}
