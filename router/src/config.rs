//! Everything the router is told at start. The launcher resolves it from flags and environment.

use std::path::PathBuf;

/// Resolved configuration of a router.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address to listen on.
    pub hostname: String,
    /// HTTP port.
    pub port: u16,
    /// Accepted for compatibility; metrics are served on `port`.
    pub prometheus_port: u16,
    /// Socket of rank 0.
    pub master_shard_uds_path: PathBuf,
    /// Name shown in answers.
    pub model_id: String,
    /// Folder with tokenizer.json, tokenizer_config.json, config.json.
    pub tokenizer_folder: PathBuf,
    /// Used instead of the folder's tokenizer_config.json.
    pub tokenizer_config_path: Option<PathBuf>,
    /// Shown as model_sha.
    pub revision: Option<String>,
    /// Bearer key of the protected routes.
    pub api_key: Option<String>,
    /// Allowed origins; empty is any.
    pub cors_allow_origin: Vec<String>,
    /// Largest request body in bytes.
    pub payload_limit: usize,
    /// Requests in the house at once; above it 429.
    pub max_concurrent_requests: usize,
    /// Largest `best_of`.
    pub max_best_of: usize,
    /// Most stop sequences a request.
    pub max_stop_sequences: usize,
    /// Largest `top_n_tokens`.
    pub max_top_n_tokens: u32,
    /// Longest prompt in tokens; the shard decides when absent.
    pub max_input_tokens: Option<usize>,
    /// Prompt and output in tokens; the shard decides when absent.
    pub max_total_tokens: Option<usize>,
    /// How full the queue must be, relative to the running batch, before a prefill interrupts decoding.
    pub waiting_served_ratio: f32,
    /// Tokens in one prefill forward.
    pub max_batch_prefill_tokens: u32,
    /// Tokens in the KV cache; the shard measures it when absent.
    pub max_batch_total_tokens: Option<u32>,
    /// Decode steps after which waiting requests are forced in.
    pub max_waiting_tokens: usize,
    /// Most sequences at once.
    pub max_batch_size: Option<usize>,
    /// Threads that tokenize.
    pub validation_workers: usize,
    /// Most prompts in one `/v1/completions`.
    pub max_client_batch_size: usize,
    /// Requests with a grammar are refused.
    pub disable_grammar_support: bool,
    /// Shown in `/info`.
    pub docker_label: Option<String>,
    /// Value of the `x-compute-type` header.
    pub compute_type: String,
}
