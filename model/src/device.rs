//! What runs a [`crate::program::Program`]: a small trait with one implementation per kind of processor.
//!
//! A device keeps, per row slot, the tokens of the row (prompt and output), its block table and its sampling
//! parameters. A step only names positions; the token sampled by one step is the input of the next without
//! leaving the device.

use thiserror::Error;

use crate::dtype::Dtype;
use crate::sampling::Sampling;

/// Tokens of one KV block.
pub const BLOCK_SIZE: usize = 16;

/// A place for one running row on a device, chosen by the shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub u32);

/// What a device must know about a row before its first step.
#[derive(Clone, Debug)]
pub struct Admission<'a> {
    /// Prompt token ids, never empty, each below the vocabulary.
    pub prompt: &'a [u32],
    /// KV block ids in order of position: position `p` lives in `blocks[p / BLOCK_SIZE]`.
    pub blocks: &'a [u32],
    /// Leading positions whose keys and values are in the cache already; they are read and never written.
    pub cached: usize,
    /// How the row's tokens are chosen.
    pub sampling: Sampling,
}

/// One row's part of a step: the positions to compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepRow {
    /// The row.
    pub slot: Slot,
    /// First position computed. The token there is known: of the prompt, or sampled by an earlier step.
    pub start: usize,
    /// Positions computed, at least 1.
    pub len: usize,
    /// Whether the token after the last position is sampled and appended to the row.
    pub sample: bool,
    /// Whether the log-probability of each prompt token that follows a computed position is wanted.
    pub prompt_logprobs: bool,
    /// Whether the raw logits of the last position are wanted (tests of numerics).
    pub logits: bool,
}

/// What a step gave for one row, in the order of the step's rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowOutput {
    /// The sampled token, when asked for.
    pub sampled: Option<Sampled>,
    /// Log-probabilities of the prompt tokens at `start + 1 ..= start + len`, as far as the prompt goes.
    pub prompt_logprobs: Vec<f32>,
    /// Raw logits of the last position, when asked for.
    pub logits: Vec<f32>,
}

/// A sampled token.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampled {
    /// Token id.
    pub id: u32,
    /// Natural logarithm of its probability after all warpers.
    pub logprob: f32,
    /// The most likely tokens in descending order, when asked for.
    pub top: Vec<(u32, f32)>,
}

/// The name of a submitted step.
#[derive(Debug, PartialEq, Eq)]
pub struct Ticket(pub u64);

/// The KV cache of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvSpec {
    /// Blocks of [`BLOCK_SIZE`] tokens, block 0 included.
    pub blocks: usize,
    /// Number format of keys and values.
    pub dtype: Dtype,
}

/// A processor that holds one rank's weights and KV cache and runs steps in order.
pub trait Device: Send {
    /// Puts a row into a slot, whatever was there.
    fn admit(&mut self, slot: Slot, admission: &Admission<'_>) -> Result<(), DeviceError>;

    /// Empties a slot. Steps already submitted are not disturbed.
    fn retire(&mut self, slot: Slot);

    /// Starts a step. Steps run in the order they are submitted.
    fn submit(&mut self, rows: &[StepRow]) -> Result<Ticket, DeviceError>;

    /// Waits for a step: one output a row, in the order of its rows.
    fn collect(&mut self, ticket: Ticket) -> Result<Vec<RowOutput>, DeviceError>;
}

/// Why a device could not do what it was asked.
#[derive(Debug, Error)]
pub enum DeviceError {
    /// A weight could not be read.
    #[error(transparent)]
    Checkpoint(#[from] crate::checkpoint::CheckpointError),
    /// Memory could not be had.
    #[error("cannot allocate {bytes} bytes for the {what}")]
    Memory {
        /// What the memory was for.
        what: &'static str,
        /// Bytes asked for.
        bytes: usize,
    },
    /// A caller's mistake: the request is refused and nothing has changed.
    #[error("{0}")]
    Refused(String),
    /// The device can no longer be used.
    #[error("device lost: {0}")]
    Lost(String),
}
