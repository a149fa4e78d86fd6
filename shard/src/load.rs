//! From a model folder to an engine: checks, plans the memory, takes it, reads the weights.

use std::io;
use std::sync::Arc;
use std::thread;

use gristmill_cpu::{CpuConfig, CpuDevice};
use gristmill_model::checkpoint::Checkpoint;
use gristmill_model::device::{BLOCK_SIZE, Device, KvSpec};
use gristmill_model::dtype::Dtype;
use gristmill_model::families;
use gristmill_model::plan::Ledger;
use gristmill_model::program::{Bucket, Program};
use gristmill_model::rope::Scaling;
use gristmill_model::spec::ModelSpec;
use gristmill_model::weights::{Rank, Weights};
use gristmill_proto::v3::{InfoExt, InfoResponse};
use gristmill_text::Tokenizer;

use crate::config::Config;
use crate::engine::Engine;
use crate::error::ShardError;
use crate::prompt::PromptRules;
use crate::service::Facts;
use crate::{end_tokens, memory};

/// The largest step of the CPU; larger ones run in slices.
const BUCKET: Bucket = Bucket { tokens: 512, outputs: 64 };
/// The cache takes at most this many bytes unless told otherwise.
const MAX_KV_BYTES: u64 = 4 << 30;
/// The cache takes one part in this many of free memory unless told otherwise.
const KV_SHARE: u64 = 4;
/// Version of the additions to the wire.
const EXT_VERSION: u32 = 1;
/// Additions to the wire this shard honours.
const FEATURES: [&str; 1] = ["ids"];

/// A model ready to run.
pub(crate) struct Loaded {
    pub(crate) engine: Engine,
    pub(crate) facts: Facts,
    pub(crate) tokenizer: Arc<Tokenizer>,
}

/// Loads the model of a configuration.
pub(crate) fn load(config: &Config) -> Result<Loaded, ShardError> {
    let checkpoint = Checkpoint::open(&config.model)?;
    let spec = spec(config, &checkpoint)?;
    let rank = Rank { index: config.rank, world: config.world };
    let weights = Weights::new(&spec, rank).map_err(|e| ShardError::Setting(e.to_string()))?;
    weights.check(&checkpoint)?;
    let dtype = dtype(config, &spec)?;
    let program = Program::decoder(&spec, &weights, BUCKET, Dtype::F32);
    let ledger = Ledger::new(&spec, &weights, rank, dtype, kv_dtype(dtype), &program);
    let kv = KvSpec { blocks: blocks(config, &ledger)?, dtype: kv_dtype(dtype) };
    tracing::info!("KV-cache blocks: {}, size: {BLOCK_SIZE}", kv.blocks);
    tracing::info!(
        weights = ledger.weights,
        kv = ledger.kv(kv),
        workspace = ledger.workspace,
        "Planned bytes"
    );
    let device = CpuConfig { threads: config.threads, weights: dtype, kv };
    // A large vocabulary takes as long to read as the weights of a small model.
    let (tokenizer, device) = thread::scope(|scope| {
        let tokenizer = scope.spawn(|| Tokenizer::load(&config.model));
        let device = CpuDevice::new(device, &spec, &weights, program, &checkpoint);
        (tokenizer.join(), device)
    });
    let tokenizer =
        Arc::new(tokenizer.map_err(|_| ShardError::Start(io::Error::other("the tokenizer's thread")))??);
    let end_tokens = end_tokens::read(&checkpoint, &tokenizer)?;
    let device: Box<dyn Device> = Box::new(device?);
    let engine =
        Engine::new(device, kv.blocks, Arc::clone(&tokenizer), end_tokens, (config.rank, config.world));
    Ok(Loaded { engine, facts: facts(config, &spec, dtype, kv), tokenizer })
}

fn spec(config: &Config, checkpoint: &Checkpoint) -> Result<ModelSpec, ShardError> {
    let mut spec = families::spec(checkpoint.config())?;
    match &config.rope_override {
        None => {}
        Some((kind, factor)) if kind == "linear" => {
            spec.rope.scaling = Scaling::Linear { factor: f64::from(*factor) }
        }
        Some((kind, factor)) if kind == "dynamic" => {
            spec.rope.scaling = Scaling::Dynamic { factor: f64::from(*factor), original: spec.max_positions };
        }
        Some((kind, _)) => {
            return Err(ShardError::Setting(format!("ROPE_SCALING: unknown rope scaling {kind}")));
        }
    }
    Ok(spec)
}

/// The format matrices are held in.
fn dtype(config: &Config, spec: &ModelSpec) -> Result<Dtype, ShardError> {
    match config.dtype.as_deref() {
        None | Some("auto") => Ok(spec.dtype),
        Some(name) => {
            Dtype::from_torch(name).ok_or_else(|| ShardError::Setting(format!("Unknown dtype {name}")))
        }
    }
}

/// Half keeps the logits within 2e-3 of their range where bf16 does not.
fn kv_dtype(weights: Dtype) -> Dtype {
    match weights {
        Dtype::F32 => Dtype::F32,
        Dtype::F16 | Dtype::Bf16 => Dtype::F16,
    }
}

fn blocks(config: &Config, ledger: &Ledger) -> Result<usize, ShardError> {
    let free = memory::free();
    let rest = free.saturating_sub(ledger.weights + ledger.workspace);
    let bytes = config.kv_bytes.unwrap_or((free / KV_SHARE).min(MAX_KV_BYTES).min(rest));
    let blocks = ledger.blocks(bytes);
    if blocks < 2 || (config.kv_bytes.is_some() && bytes > rest) {
        let Ledger { weights, kv_per_token, workspace } = ledger;
        return Err(ShardError::NoFit(format!(
            "weights take {weights} bytes, workspace {workspace}, KV cache {bytes} at {kv_per_token} a token; {free} are free"
        )));
    }
    Ok(blocks)
}

fn facts(config: &Config, spec: &ModelSpec, dtype: Dtype, kv: KvSpec) -> Facts {
    let capacity = (kv.blocks - 1) * BLOCK_SIZE;
    let ext = InfoExt {
        version: EXT_VERSION,
        features: FEATURES.map(str::to_owned).to_vec(),
        num_blocks: kv.blocks as u32,
    };
    let info = InfoResponse {
        requires_padding: false,
        dtype: dtype.torch().to_owned(),
        device_type: "cpu".to_owned(),
        window_size: None,
        speculate: 0,
        support_chunking: config.prefill_chunking,
        use_prefix_caching: config.prefix_caching,
        attention_impl: "flashdecoding".to_owned(),
        block_size: BLOCK_SIZE as u32,
        ext: Some(ext),
    };
    let rules = PromptRules {
        vocab: spec.vocab,
        watermark: config.watermark,
        prefill_logprobs: config.prefill_logprobs,
    };
    Facts {
        info,
        urls: (0..config.world)
            .map(|rank| format!("unix://{}-{rank}", config.uds_prefix.display()))
            .collect(),
        max_total_tokens: config.max_total_tokens.unwrap_or(spec.max_positions).min(capacity),
        rules,
    }
}
