//! Llama 2 and 3 (Touvron et al., 2023; Llama team, 2024).

use super::{bounds, rope};
use crate::checkpoint::CheckpointError;
use crate::checkpoint::config::Config;
use crate::dtype::Dtype;
use crate::spec::{Activation, ModelSpec, Norm};

pub(super) fn spec(config: &Config) -> Result<ModelSpec, CheckpointError> {
    let hidden = config.required("hidden_size", bounds::WIDTH)?;
    let heads = config.required("num_attention_heads", bounds::HEADS)?;
    let head_dim = head_dim(config, hidden, heads)?;
    let max_positions = config.count("max_position_embeddings", bounds::POSITIONS)?.unwrap_or(2048);
    Ok(ModelSpec {
        family: "llama".to_owned(),
        vocab: config.required("vocab_size", bounds::VOCAB)?,
        hidden,
        layers: config.required("num_hidden_layers", bounds::LAYERS)?,
        heads,
        kv_heads: kv_heads(config, heads)?,
        head_dim,
        intermediate: config.required("intermediate_size", bounds::WIDTH)?,
        norm: Norm::Rms { eps: config.number("rms_norm_eps", bounds::EPS)?.unwrap_or(1e-6) as f32 },
        activation: activation(config)?,
        rope: rope::read(config, head_dim, max_positions)?,
        attention_scale: 1.0 / (head_dim as f32).sqrt(),
        attention_bias: config.flag("attention_bias")?.unwrap_or(false),
        mlp_bias: config.flag("mlp_bias")?.unwrap_or(false),
        tied: config.flag("tie_word_embeddings")?.unwrap_or(false),
        max_positions,
        dtype: dtype(config)?,
    })
}

fn head_dim(config: &Config, hidden: usize, heads: usize) -> Result<usize, CheckpointError> {
    match config.count("head_dim", bounds::HEAD_DIM)? {
        Some(dim) if dim.is_multiple_of(2) => return Ok(dim),
        Some(dim) => return Err(config.error("head_dim", format!("{dim} is odd"))),
        None => {}
    }
    let dim = hidden / heads;
    if !hidden.is_multiple_of(heads) || !dim.is_multiple_of(2) || !bounds::HEAD_DIM.contains(&dim) {
        let problem = format!("{heads} heads do not divide hidden_size {hidden} into even parts");
        return Err(config.error("num_attention_heads", problem));
    }
    Ok(dim)
}

fn kv_heads(config: &Config, heads: usize) -> Result<usize, CheckpointError> {
    let kv_heads = config.count("num_key_value_heads", bounds::HEADS)?.unwrap_or(heads);
    if !heads.is_multiple_of(kv_heads) {
        let problem = format!("{kv_heads} does not divide num_attention_heads {heads}");
        return Err(config.error("num_key_value_heads", problem));
    }
    Ok(kv_heads)
}

fn activation(config: &Config) -> Result<Activation, CheckpointError> {
    let name = config.text("hidden_act")?.unwrap_or("silu");
    Activation::from_name(name)
        .ok_or_else(|| config.error("hidden_act", format!("unknown activation {name}")))
}

/// Transformers 5 writes `dtype`, earlier ones `torch_dtype`.
fn dtype(config: &Config) -> Result<Dtype, CheckpointError> {
    let field = if config.get("dtype").is_some() { "dtype" } else { "torch_dtype" };
    let name = config.text(field)?.unwrap_or("float32");
    Dtype::from_torch(name).ok_or_else(|| config.error(field, format!("unknown number format {name}")))
}
