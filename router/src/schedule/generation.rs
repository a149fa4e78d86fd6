//! What a step gave.

use super::CachedBatch;
use crate::event::{FinishReason, PrefillToken, Token};

/// The outcome of a call. Of a Filter only the batch is set, of a Clear nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// New tokens; none for a row whose prompt is not finished.
    pub generations: Vec<Generation>,
    /// What the shards hold now. Absent when nothing is left.
    pub batch: Option<CachedBatch>,
}

/// The new tokens of one request.
#[derive(Clone, Debug, PartialEq)]
pub struct Generation {
    /// Whose.
    pub request: u64,
    /// The prompt, with the first token, when asked for.
    pub prefill: Option<Vec<PrefillToken>>,
    /// At least one.
    pub tokens: Vec<Generated>,
    /// On the last ones of the round.
    pub end: Option<RoundEnd>,
}

/// A token and its rivals.
#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    /// The token.
    pub token: Token,
    /// The most likely at its position, when asked for.
    pub top: Vec<Token>,
}

/// How a round ended for the shard.
#[derive(Clone, Debug, PartialEq)]
pub struct RoundEnd {
    /// The text without special tokens: of all rounds when the shard gets ids, else of this one.
    pub text: String,
    /// Why.
    pub reason: FinishReason,
    /// When sampling.
    pub seed: Option<u64>,
}
