//! Everything a shard is told at start. The launcher resolves it from arguments and environment.

use std::path::PathBuf;

/// Resolved configuration of a shard.
#[derive(Clone, Debug)]
pub struct Config {
    /// Model folder.
    pub model: PathBuf,
    /// Socket to listen on.
    pub uds_path: PathBuf,
    /// The socket paths of all ranks are this, `-` and the rank.
    pub uds_prefix: PathBuf,
    /// This rank.
    pub rank: usize,
    /// Ranks in the group.
    pub world: usize,
    /// `float16`, `bfloat16`, `float32` or `auto`; the checkpoint's when absent.
    pub dtype: Option<String>,
    /// Threads that compute.
    pub threads: usize,
    /// Bytes of the KV cache; a quarter of free memory and at most 4 GiB when absent.
    pub kv_bytes: Option<u64>,
    /// Longest prompt in tokens.
    pub max_input_tokens: Option<usize>,
    /// Prompt and output in tokens.
    pub max_total_tokens: Option<usize>,
    /// Most sequences at once.
    pub max_batch_size: Option<usize>,
    /// Whether the router may reuse blocks of a common prefix.
    pub prefix_caching: bool,
    /// Whether a prompt may be computed in several steps.
    pub prefill_chunking: bool,
    /// Whether prompt log-probabilities may be asked for.
    pub prefill_logprobs: bool,
    /// Gamma and delta of the watermark.
    pub watermark: (f32, f32),
    /// Rope scaling and factor that replace the configuration's.
    pub rope_override: Option<(String, f32)>,
}
