//! What a running request tells its dialect. The same for every dialect; each trims and frames it its own way.

use std::time::Duration;

use thiserror::Error;

/// A generated or prompt token.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// Token id.
    pub id: u32,
    /// Its text; empty while a character is incomplete.
    pub text: String,
    /// Log-probability after all warpers.
    pub logprob: f32,
    /// Whether it is a special token, whose text is not part of the answer.
    pub special: bool,
}

/// A prompt token with its log-probability, which the first one lacks.
#[derive(Clone, Debug, PartialEq)]
pub struct PrefillToken {
    /// Token id.
    pub id: u32,
    /// Its text.
    pub text: String,
    /// Log-probability given the tokens before it.
    pub logprob: Option<f32>,
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// As many tokens as allowed.
    Length,
    /// An end token.
    EosToken,
    /// A stop sequence.
    StopSequence,
}

/// The end of a generation.
#[derive(Clone, Debug, PartialEq)]
pub struct Finish {
    /// The whole text, special tokens removed, a stop sequence kept.
    pub text: String,
    /// Tokens generated.
    pub generated_tokens: u32,
    /// Why it ended.
    pub reason: FinishReason,
    /// The seed, when sampling.
    pub seed: Option<u64>,
    /// Time in the queue.
    pub queued: Duration,
    /// Time from the first prefill to the end.
    pub inference: Duration,
}

/// One event of a running request. A stream is: at most one `Prefill`, then `Token`s, the last with its `Finish`.
#[derive(Clone, Debug, PartialEq)]
pub enum StreamEvent {
    /// The prompt with log-probabilities, when asked for.
    Prefill(Vec<PrefillToken>),
    /// A generated token.
    Token {
        /// The token.
        token: Token,
        /// The most likely tokens at its position, when asked for.
        top: Vec<Token>,
        /// On the last token.
        finish: Option<Finish>,
    },
}

/// Why a request that was accepted ended without a [`Finish`].
#[derive(Clone, Debug, Error, PartialEq)]
pub enum GenerationError {
    /// A shard answered with an error, or died.
    #[error("{0}")]
    Shard(String),
    /// The server is ending.
    #[error("Incomplete generation")]
    Incomplete,
}

/// What arrives at the dialect.
pub type EventResult = Result<StreamEvent, GenerationError>;

/// Events a stream holds before its reader counts as slow.
pub const EVENTS_PER_STREAM: usize = 256;
