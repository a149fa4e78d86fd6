//! Rope fields in both spellings: `rope_parameters` (transformers 5), or `rope_theta` with `rope_scaling`.

use super::bounds;
use crate::checkpoint::CheckpointError;
use crate::checkpoint::config::Config;
use crate::rope::{Rope, Scaling};

const THETA: std::ops::RangeInclusive<f64> = 1.000_001..=1e15;
const FACTOR: std::ops::RangeInclusive<f64> = 1e-6..=1e6;

pub(super) fn read(config: &Config, dim: usize, max_positions: usize) -> Result<Rope, CheckpointError> {
    let old = config.object("rope_scaling")?;
    let parameters = if old.is_some() { old } else { config.object("rope_parameters")? };
    let theta = match &parameters {
        Some(inner) if inner.get("rope_theta").is_some() => inner.number("rope_theta", THETA)?,
        _ => config.number("rope_theta", THETA)?,
    };
    let scaling = match parameters {
        Some(parameters) => scaling(&parameters, config, max_positions)?,
        None => Scaling::None,
    };
    Ok(Rope { theta: theta.unwrap_or(10_000.0), dim, scaling })
}

fn scaling(fields: &Config, config: &Config, max_positions: usize) -> Result<Scaling, CheckpointError> {
    let name = if fields.get("rope_type").is_some() { "rope_type" } else { "type" };
    let required =
        |field: &str| fields.number(field, FACTOR)?.ok_or_else(|| fields.error(field, "is missing"));
    Ok(match fields.text(name)?.unwrap_or("default") {
        "default" => Scaling::None,
        "linear" => Scaling::Linear { factor: required("factor")? },
        "dynamic" => Scaling::Dynamic { factor: required("factor")?, original: max_positions },
        "llama3" => {
            let (low, high) = (required("low_freq_factor")?, required("high_freq_factor")?);
            if high <= low {
                return Err(
                    fields.error("high_freq_factor", format!("{high} is not above low_freq_factor {low}"))
                );
            }
            Scaling::Llama3 {
                factor: required("factor")?,
                low,
                high,
                original: original(fields, config, max_positions)?,
            }
        }
        "yarn" => yarn(fields, required("factor")?, original(fields, config, max_positions)?)?,
        other => return Err(fields.error(name, format!("unknown rope scaling {other}"))),
    })
}

/// Positions of the original training; beside the other rope fields or, which then counts, in the configuration itself.
fn original(fields: &Config, config: &Config, max_positions: usize) -> Result<usize, CheckpointError> {
    let count = |config: &Config| config.count("original_max_position_embeddings", bounds::POSITIONS);
    Ok(count(config)?.or(count(fields)?).unwrap_or(max_positions))
}

/// In the optional fields 0 means what a missing field does.
fn yarn(fields: &Config, factor: f64, original: usize) -> Result<Scaling, CheckpointError> {
    let optional =
        |field: &str| Ok(fields.number(field, 0.0..=*FACTOR.end())?.filter(|&number| number > 0.0));
    let magnitude = |scale: f64| if factor <= 1.0 { 1.0 } else { 0.1 * scale * factor.ln() + 1.0 };
    let default = match (optional("mscale")?, optional("mscale_all_dim")?) {
        (Some(scale), Some(all)) => magnitude(scale) / magnitude(all),
        _ => magnitude(1.0),
    };
    Ok(Scaling::Yarn {
        factor,
        original,
        beta_fast: optional("beta_fast")?.unwrap_or(32.0),
        beta_slow: optional("beta_slow")?.unwrap_or(1.0),
        attention_factor: fields.number("attention_factor", FACTOR)?.unwrap_or(default),
        truncate: fields.flag("truncate")?.unwrap_or(true),
    })
}
