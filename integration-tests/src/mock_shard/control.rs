//! What a test sees of the shards and does to them.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use gristmill_proto::v3::{DecodeRequest, FilterBatchRequest, PrefillRequest, WarmupRequest};
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::Status;

/// After this a test that waits is taken for hung.
const HUNG: Duration = Duration::from_secs(60);

/// The calls of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rpc {
    /// Info.
    Info,
    /// ServiceDiscovery.
    ServiceDiscovery,
    /// ClearCache.
    ClearCache,
    /// FilterBatch.
    FilterBatch,
    /// Warmup.
    Warmup,
    /// Prefill.
    Prefill,
    /// Decode.
    Decode,
    /// Health.
    Health,
}

/// A call that arrived.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Where.
    pub rank: u64,
    /// What.
    pub message: Message,
}

/// What was asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// Info, ServiceDiscovery and Health carry nothing.
    Empty(Rpc),
    /// ClearCache of this batch, or of all.
    ClearCache(Option<u64>),
    /// FilterBatch.
    FilterBatch(FilterBatchRequest),
    /// Warmup.
    Warmup(Box<WarmupRequest>),
    /// Prefill.
    Prefill(Box<PrefillRequest>),
    /// Decode.
    Decode(DecodeRequest),
}

impl Call {
    /// Which rpc it was.
    pub fn rpc(&self) -> Rpc {
        match &self.message {
            Message::Empty(rpc) => *rpc,
            Message::ClearCache(_) => Rpc::ClearCache,
            Message::FilterBatch(_) => Rpc::FilterBatch,
            Message::Warmup(_) => Rpc::Warmup,
            Message::Prefill(_) => Rpc::Prefill,
            Message::Decode(_) => Rpc::Decode,
        }
    }
}

/// Calls that may pass each held rpc of each rank; what is not in here is open.
type Gates = HashMap<Rpc, HashMap<u64, usize>>;

/// Shared by all ranks.
#[derive(Debug)]
pub(super) struct Control {
    calls: watch::Sender<Vec<Call>>,
    gates: watch::Sender<Gates>,
    failures: Mutex<Vec<(u64, Rpc, String)>>,
    violations: Mutex<Vec<String>>,
}

impl Control {
    pub(super) fn new() -> Self {
        Self {
            calls: watch::Sender::new(Vec::new()),
            gates: watch::Sender::new(HashMap::new()),
            failures: Mutex::new(Vec::new()),
            violations: Mutex::new(Vec::new()),
        }
    }

    /// Notes a call, holds it as long as the test wants, and fails it if the test wants.
    pub(super) async fn arrived(&self, rank: u64, message: Message) -> Result<(), Status> {
        let call = Call { rank, message };
        let rpc = call.rpc();
        self.calls.send_modify(|calls| calls.push(call));
        let mut gates = self.gates.subscribe();
        while !self.gates.send_if_modified(|gates| go_through(gates, rank, rpc)) {
            if !gates.borrow_and_update().contains_key(&rpc) {
                break;
            }
            gates.changed().await.unwrap();
        }
        let mut failures = self.failures.lock().unwrap();
        match failures.iter().position(|(at, failing, _)| (*at, *failing) == (rank, rpc)) {
            Some(index) => Err(Status::internal(failures.remove(index).2)),
            None => Ok(()),
        }
    }

    pub(super) fn calls(&self) -> Vec<Call> {
        self.calls.borrow().clone()
    }

    pub(super) async fn wait_for(&self, mut enough: impl FnMut(&[Call]) -> bool) {
        let mut calls = self.calls.subscribe();
        let waited = timeout(HUNG, calls.wait_for(|calls| enough(calls))).await;
        let rpcs = || self.calls().iter().map(|call| (call.rank, call.rpc())).collect::<Vec<_>>();
        assert!(waited.is_ok(), "never arrived; so far: {:?}", rpcs());
    }

    pub(super) fn hold(&self, rpc: Rpc) {
        self.gates.send_modify(|gates| drop(gates.insert(rpc, HashMap::new())));
    }

    pub(super) fn pass(&self, rpc: Rpc, count: usize) {
        self.gates.send_modify(|gates| {
            let gate = gates.get_mut(&rpc).unwrap();
            // Every rank has the same calls, and a test does not know how many ranks there are.
            (0..64).for_each(|rank| *gate.entry(rank).or_default() += count);
        });
    }

    pub(super) fn open(&self, rpc: Rpc) {
        self.gates.send_modify(|gates| drop(gates.remove(&rpc)));
    }

    pub(super) fn fail_next(&self, rank: u64, rpc: Rpc, message: &str) {
        self.failures.lock().unwrap().push((rank, rpc, message.to_owned()));
    }

    pub(super) fn violation(&self, text: String) {
        self.violations.lock().unwrap().push(text);
    }

    pub(super) fn violations(&self) -> Vec<String> {
        self.violations.lock().unwrap().clone()
    }
}

/// Uses up a pass of a held rpc, if there is one.
fn go_through(gates: &mut Gates, rank: u64, rpc: Rpc) -> bool {
    let left = gates.get_mut(&rpc).and_then(|gate| gate.get_mut(&rank)).filter(|left| **left > 0);
    left.map(|left| *left -= 1).is_some()
}
