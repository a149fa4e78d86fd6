//! A request after validation: nothing in it is untrusted, and every dialect makes the same.

mod draft;
mod invalid;
mod random;
mod validator;
mod workers;

use std::sync::Arc;

pub use draft::{Draft, Parameters};
pub use invalid::Invalid;
pub use random::random;
pub use validator::{Bounds, Validator};
pub use workers::{WorkerFailed, Workers};

/// Output tokens that one scheduling round reserves, as TGI's rounds do.
pub const ROUND_TOKENS: u32 = 1024;

/// A request that may be queued.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidRequest {
    /// The prompt as the shard will tokenize it.
    pub inputs: Arc<str>,
    /// The prompt's token ids after truncation: what the shard will compute.
    pub ids: Arc<[u32]>,
    /// Prompt tokens kept, from the end.
    pub truncate: u32,
    /// Whether the tokenizer adds its special tokens (not for chat: the template has them).
    pub add_special_tokens: bool,
    /// Whether prompt log-probabilities are wanted.
    pub prefill_logprobs: bool,
    /// How many of the most likely tokens to report.
    pub top_n_tokens: u32,
    /// How tokens are chosen.
    pub chooser: Chooser,
    /// When it ends.
    pub stopping: Stopping,
}

/// How tokens are chosen, with every default filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Chooser {
    /// 1 is off.
    pub temperature: f32,
    /// 0 is off.
    pub top_k: u32,
    /// 1 is off.
    pub top_p: f32,
    /// 1 is off.
    pub typical_p: f32,
    /// Whether to sample at all.
    pub do_sample: bool,
    /// Always filled.
    pub seed: u64,
    /// 1 is off.
    pub repetition_penalty: f32,
    /// 0 is off.
    pub frequency_penalty: f32,
    /// Whether to watermark.
    pub watermark: bool,
}

/// When a request ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopping {
    /// Tokens the client may get; also beyond one scheduling round.
    pub max_new_tokens: u32,
    /// Texts that end the generation.
    pub stop_sequences: Vec<String>,
    /// For benchmarks.
    pub ignore_eos_token: bool,
}
