//! Model families: each maps `config.json` to a [`ModelSpec`].
//!
//! To add one, write one file and add its line to [`FAMILIES`].

mod llama;
mod rope;

use crate::checkpoint::CheckpointError;
use crate::checkpoint::config::Config;
use crate::spec::ModelSpec;

/// Makes a model's description from its configuration.
type Family = fn(&Config) -> Result<ModelSpec, CheckpointError>;

/// Every `model_type` that is served.
const FAMILIES: &[(&str, Family)] = &[("llama", llama::spec)];

/// The `quant_method` of weights kept in GGUF blocks.
const GGUF: &str = "gguf";

/// Describes the model of a configuration.
///
/// # Errors
/// The family is unknown, or a field is missing or out of bounds.
pub fn spec(config: &Config) -> Result<ModelSpec, CheckpointError> {
    check_quantization(config)?;
    let family = config.text("model_type")?.ok_or_else(|| config.error("model_type", "is missing"))?;
    match FAMILIES.iter().find(|(name, _)| *name == family) {
        Some((_, spec)) => spec(config),
        None => {
            let known: Vec<_> = FAMILIES.iter().map(|(name, _)| *name).collect();
            Err(config.error(
                "model_type",
                format!("Unsupported model type {family}; supported: {}", known.join(", ")),
            ))
        }
    }
}

/// A layout that is not served would only show as tensors that are missing or odd.
fn check_quantization(config: &Config) -> Result<(), CheckpointError> {
    let Some(quantization) = config.object("quantization_config")? else { return Ok(()) };
    match quantization.text("quant_method")? {
        None | Some(GGUF) => Ok(()),
        Some(other) => {
            Err(quantization.error("quant_method", format!("{other} is not served; supported: {GGUF}")))
        }
    }
}

/// Bounds of the numbers in a configuration. They are far above any model, and low enough that the bytes of all weights
/// and of any buffer stay below 2^60.
mod bounds {
    use std::ops::RangeInclusive;

    pub(super) const VOCAB: RangeInclusive<usize> = 1..=4_194_304;
    pub(super) const WIDTH: RangeInclusive<usize> = 1..=1_048_576;
    pub(super) const LAYERS: RangeInclusive<usize> = 1..=1024;
    pub(super) const HEADS: RangeInclusive<usize> = 1..=4096;
    pub(super) const HEAD_DIM: RangeInclusive<usize> = 2..=1024;
    pub(super) const POSITIONS: RangeInclusive<usize> = 1..=16_777_216;
    pub(super) const EPS: RangeInclusive<f64> = 0.0..=1.0;
}
