//! Rope scaling of a llama-type GGUF file, as `rope_scaling` of `config.json`.

use std::f64::consts::TAU;
use std::fs::File;
use std::os::unix::fs::FileExt;

use gristmill_model::checkpoint::CheckpointError;
use gristmill_model::checkpoint::gguf::{Encoding, Header, Tensor};
use gristmill_model::dtype::Dtype;
use serde_json::{Value, json};

use super::llama::decimal;

/// The tensor that divides each frequency; Llama 3.1 and later have it in place of scaling keys.
pub(super) const FACTORS: &str = "rope_freqs.weight";

/// Positions that Llama 3 was trained on before its context was stretched.
const LLAMA3_ORIGINAL: f64 = 8192.0;
/// Wavelengths over `LLAMA3_ORIGINAL / LLAMA3_LOW` are stretched in full.
const LLAMA3_LOW: f64 = 1.0;
/// Wavelengths under `LLAMA3_ORIGINAL / LLAMA3_HIGH` stay.
const LLAMA3_HIGH: f64 = 4.0;
/// The factors of models in use: Llama 3.1 and 3.3, Llama 3.2.
const LLAMA3_FACTORS: [f64; 2] = [8.0, 32.0];
/// How far a recorded f32 factor may be off.
const TOLERANCE: f64 = 1e-4;

/// `rope_scaling`, or `None` when positions are not scaled.
pub(super) fn scaling(header: &Header, head_dim: u64, theta: f32) -> Result<Option<Value>, CheckpointError> {
    if !(theta.is_finite() && theta > 0.0) {
        return Err(
            header.key_error("llama.rope.freq_base", &format!("{theta} is not a base of frequencies"))
        );
    }
    match (from_keys(header)?, from_factors(header, head_dim, theta)?) {
        (Some(_), Some(_)) => {
            Err(header.tensor_error(FACTORS, "is not served together with llama.rope.scaling keys"))
        }
        (keys, factors) => Ok(keys.or(factors)),
    }
}

fn from_keys(header: &Header) -> Result<Option<Value>, CheckpointError> {
    const TYPE: &str = "llama.rope.scaling.type";
    let kind = header.find::<&str>(TYPE)?.unwrap_or("linear");
    let factor = match header.find::<f32>("llama.rope.scaling.factor")? {
        None => header.find("llama.rope.scale_linear")?,
        factor => factor,
    };
    match (kind, factor) {
        ("none", _) | ("linear", None | Some(0.0 | 1.0)) => Ok(None),
        ("linear", Some(factor)) => Ok(Some(json!({"rope_type": "linear", "factor": decimal(factor)}))),
        ("yarn", Some(factor)) => yarn(header, factor).map(Some),
        ("yarn", None) => Err(header.key_error("llama.rope.scaling.factor", "is missing")),
        _ => Err(header.key_error(TYPE, &format!("{kind:?} is not served, only none, linear and yarn"))),
    }
}

fn yarn(header: &Header, factor: f32) -> Result<Value, CheckpointError> {
    for name in ["attn_factor", "yarn_log_multiplier", "yarn_ext_factor", "yarn_attn_factor"] {
        let key = format!("llama.rope.scaling.{name}");
        if header.find::<f32>(&key)?.is_some() {
            return Err(header.key_error(&key, "is not served"));
        }
    }
    let original: u64 = header.require("llama.rope.scaling.original_context_length")?;
    let mut scaling = json!({
        "rope_type": "yarn",
        "factor": decimal(factor),
        "original_max_position_embeddings": original,
    });
    for name in ["beta_fast", "beta_slow"] {
        if let Some(beta) = header.find(&format!("llama.rope.scaling.yarn_{name}"))? {
            scaling[name] = decimal(beta);
        }
    }
    Ok(scaling)
}

/// Finds the Llama 3 parameters that give the recorded factors.
fn from_factors(header: &Header, head_dim: u64, theta: f32) -> Result<Option<Value>, CheckpointError> {
    let Some(tensor) = header.tensors().get(FACTORS) else { return Ok(None) };
    let recorded = read_factors(header, tensor, head_dim)?;
    if recorded.iter().all(|factor| *factor == 1.0) {
        return Ok(None);
    }
    let matches = |factor: &&f64| {
        let expected =
            (0..recorded.len()).map(|pair| llama3_factor(**factor, wavelength(pair, head_dim, theta)));
        expected.zip(&recorded).all(|(expected, recorded)| (recorded / expected - 1.0).abs() < TOLERANCE)
    };
    match LLAMA3_FACTORS.iter().find(matches) {
        Some(factor) => Ok(Some(json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": LLAMA3_LOW,
            "high_freq_factor": LLAMA3_HIGH,
            "original_max_position_embeddings": LLAMA3_ORIGINAL as u64,
        }))),
        None => {
            Err(header
                .tensor_error(FACTORS, "its factors are not those of a Llama 3 model, which is not served"))
        }
    }
}

fn read_factors(header: &Header, tensor: &Tensor, head_dim: u64) -> Result<Vec<f64>, CheckpointError> {
    if tensor.encoding != Encoding::Plain(Dtype::F32) || tensor.dimensions != [head_dim / 2] {
        return Err(header.tensor_error(FACTORS, &format!("is not {} values of F32", head_dim / 2)));
    }
    let mut bytes = vec![0; tensor.bytes as usize];
    File::open(header.path())
        .and_then(|file| file.read_exact_at(&mut bytes, tensor.offset))
        .map_err(|e| header.tensor_error(FACTORS, &e.to_string()))?;
    Ok(bytes.as_chunks().0.iter().map(|bytes| f64::from(f32::from_le_bytes(*bytes))).collect())
}

/// Positions after which a pair of values has turned once.
fn wavelength(pair: usize, head_dim: u64, theta: f32) -> f64 {
    TAU * f64::from(theta).powf(2.0 * pair as f64 / head_dim as f64)
}

/// What Llama 3 divides the frequency of this wavelength by.
fn llama3_factor(factor: f64, wavelength: f64) -> f64 {
    let smooth = (LLAMA3_ORIGINAL / wavelength - LLAMA3_LOW) / (LLAMA3_HIGH - LLAMA3_LOW);
    match smooth {
        0.0..=1.0 => 1.0 / ((1.0 - smooth) / factor + smooth),
        ..0.0 => factor,
        _ => 1.0,
    }
}
