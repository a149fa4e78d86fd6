//! What the scheduler asks for.

use std::sync::Arc;

use crate::event::{EventResult, StreamEvent};
use crate::request::ValidRequest;

/// One call to the shards. Each maps to one rpc.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// Start new requests.
    Prefill {
        /// The requests.
        new: NewBatch,
        /// Running rows that take part in the same forward.
        cached: Option<CachedBatch>,
        /// Why it goes before the running rows' next step, if there are any.
        interrupt: Option<Interrupt>,
    },
    /// One step for all rows.
    Decode {
        /// They become one.
        batches: Vec<CachedBatch>,
    },
    /// Drop rows from a batch.
    Filter {
        /// Its id.
        batch: u64,
        /// The requests that stay.
        keep: Vec<u64>,
    },
    /// Drop a batch.
    Clear {
        /// Its id.
        batch: u64,
    },
}

/// Why a prefill goes before running rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupt {
    /// The queue is long enough.
    Backpressure,
    /// The queue has waited long enough.
    WaitExceeded,
    /// It does not hold them up: they take part.
    Chunking,
}

impl Interrupt {
    /// TGI's label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Backpressure => "backpressure",
            Self::WaitExceeded => "wait_exceeded",
            Self::Chunking => "chunking",
        }
    }
}

/// Requests that start together.
#[derive(Clone, Debug, PartialEq)]
pub struct NewBatch {
    /// Its id; the shards know it by that from now on.
    pub id: u64,
    /// In order of admission.
    pub requests: Vec<Admitted>,
    /// Tokens it can grow to.
    pub max_tokens: u32,
    /// Blocks of its largest request.
    pub max_blocks: u32,
}

/// A request with what it was granted.
#[derive(Clone, Debug, PartialEq)]
pub struct Admitted {
    /// Its id.
    pub id: u64,
    /// As validated.
    pub request: Arc<ValidRequest>,
    /// The prompt's text with the output of earlier rounds.
    pub inputs: String,
    /// The prompt's ids with the output of earlier rounds; absent when the shard takes none.
    pub ids: Option<Vec<u32>>,
    /// Tokens of earlier rounds.
    pub emitted: u32,
    /// Prompt tokens kept, from the end.
    pub truncate: u32,
    /// New tokens in this round.
    pub max_new_tokens: u32,
    /// Whether another round may follow.
    pub more: bool,
    /// Its KV blocks in order; empty when the shard budgets padded tokens.
    pub blocks: Vec<u32>,
    /// Its KV slots, one a position.
    pub slots: Vec<u32>,
    /// Prompt tokens in the first forward, when not all.
    pub chunk_len: Option<u32>,
}

/// A batch the shards hold, as they last described it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedBatch {
    /// Its id.
    pub id: u64,
    /// In the shards' order.
    pub request_ids: Vec<u64>,
    /// Tokens it can grow to.
    pub max_tokens: u32,
    /// Tokens its next forward processes.
    pub current_tokens: u32,
}

/// Something to tell a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// The request.
    pub id: u64,
    /// The event.
    pub event: EventResult,
}

impl Message {
    /// Whether nothing follows for this request.
    pub fn is_last(&self) -> bool {
        !matches!(self.event, Ok(StreamEvent::Prefill(_) | StreamEvent::Token { finish: None, .. }))
    }
}

/// How much waits and runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Waiting requests.
    pub queued: usize,
    /// Requests that hold KV.
    pub running: usize,
    /// Tokens the cached batches can grow to.
    pub max_tokens: u64,
}
