//! What holds after warmup: the flags against what the shards reported.

use gristmill_proto::v3::InfoResponse;

use crate::Config;
use crate::error::{BackendError, Error};
use crate::schedule::{Capacity, Policy};
use crate::shards::Warmed;

/// KV tokens assumed for a shard that does not measure its memory, at least.
const UNMEASURED_TOKENS: u32 = 16_000;

/// Launcher and router defaults of the waiting flags; other values are worth a warning when they have no effect.
const WAITING_DEFAULTS: ([f32; 2], usize) = ([0.3, 1.2], 20);

/// What a request may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest prompt.
    pub max_input_tokens: usize,
    /// Longest prompt with output.
    pub max_total_tokens: usize,
    /// Tokens in the KV cache.
    pub max_batch_total_tokens: u32,
}

/// Everything start-up found out.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) limits: Limits,
    pub(super) policy: Policy,
}

/// Flags that are wrong whatever the shards say.
pub(super) fn check_flags(config: &Config) -> Result<(), Error> {
    if config.validation_workers == 0 {
        return Err(argument("`validation_workers` must be > 0"));
    }
    if config.max_batch_size == Some(0) {
        return Err(argument("`max_batch_size` must be > 0"));
    }
    Ok(())
}

/// Settles the limits in TGI's order.
pub(super) fn settle(config: &Config, info: &InfoResponse, warmed: Warmed) -> Result<Settled, Error> {
    check_echo("max_input_tokens", config.max_input_tokens, warmed.max_input_tokens)?;
    check_echo("max_total_tokens", config.max_total_tokens, warmed.max_total_tokens)?;
    let max_batch_total_tokens = batch_total(config, warmed)?;
    let policy = policy(config, info, max_batch_total_tokens);
    let limits = limits(config, warmed, &policy, max_batch_total_tokens)?;
    tracing::info!("Setting max batch total tokens to {max_batch_total_tokens}");
    announce(config, info, &limits);
    check_limits(config, info, &limits)?;
    Ok(Settled { limits, policy })
}

/// A shard has to keep to the limits it was asked for.
fn check_echo(flag: &str, asked: Option<usize>, answered: u32) -> Result<(), Error> {
    match asked {
        Some(asked) if asked != answered as usize => Err(BackendError::Warmup(format!(
            "Server error: `{flag}` was set to {asked}, but the shard answered {answered}"
        ))
        .into()),
        _ => Ok(()),
    }
}

fn batch_total(config: &Config, warmed: Warmed) -> Result<u32, Error> {
    let Some(supported) = warmed.max_batch_total_tokens else {
        tracing::warn!("Model does not support automatic max batch total tokens");
        let least = UNMEASURED_TOKENS.max(warmed.max_total_tokens).max(config.max_batch_prefill_tokens);
        return Ok(config.max_batch_total_tokens.unwrap_or(least));
    };
    if config.max_batch_total_tokens.is_some() {
        tracing::warn!("`--max-batch-total-tokens` is deprecated for Flash Attention models.");
        tracing::warn!("Inferred max batch total tokens: {supported}");
    }
    if warmed.max_total_tokens > supported {
        return Err(BackendError::NotEnoughMemory(warmed.max_total_tokens as usize).into());
    }
    Ok(supported)
}

fn policy(config: &Config, info: &InfoResponse, max_batch_total_tokens: u32) -> Policy {
    let block_size = info.block_size.max(1);
    let counted = info.ext.as_ref().map(|ext| ext.num_blocks).filter(|blocks| *blocks > 0);
    let capacity = if info.requires_padding {
        Capacity::PaddedTokens(max_batch_total_tokens)
    } else {
        Capacity::Blocks(counted.unwrap_or(max_batch_total_tokens / block_size))
    };
    Policy {
        capacity,
        block_size,
        max_batch_prefill_tokens: config.max_batch_prefill_tokens,
        max_batch_size: config.max_batch_size,
        waiting_served_ratio: config.waiting_served_ratio,
        max_waiting_tokens: config.max_waiting_tokens,
        speculate: info.speculate,
        chunking: info.support_chunking,
        ids: info.ext.as_ref().is_some_and(|ext| ext.features.iter().any(|name| name == "ids")),
    }
}

/// One block of the cache is reserved, so the longest request may not fit where all of it was counted. A default is
/// lowered by that, a limit somebody asked for is refused: a request that never fits would wait for ever.
fn limits(
    config: &Config,
    warmed: Warmed,
    policy: &Policy,
    max_batch_total_tokens: u32,
) -> Result<Limits, Error> {
    let fits = policy.largest_total();
    if config.max_total_tokens.is_some() && warmed.max_total_tokens > fits {
        return Err(BackendError::NotEnoughMemory(warmed.max_total_tokens as usize).into());
    }
    let max_total_tokens = warmed.max_total_tokens.min(fits);
    let max_input_tokens = match config.max_input_tokens {
        Some(asked) => asked,
        None => warmed.max_input_tokens.min(max_total_tokens.saturating_sub(1)) as usize,
    };
    Ok(Limits { max_input_tokens, max_total_tokens: max_total_tokens as usize, max_batch_total_tokens })
}

fn announce(config: &Config, info: &InfoResponse, limits: &Limits) {
    if config.max_input_tokens.is_none() {
        tracing::info!("Maximum input tokens defaulted to {}", limits.max_input_tokens);
    }
    if config.max_total_tokens.is_none() {
        tracing::info!("Maximum total tokens defaulted to {}", limits.max_total_tokens);
    }
    let (ratios, waiting) = WAITING_DEFAULTS;
    let changed = !ratios.contains(&config.waiting_served_ratio) || config.max_waiting_tokens != waiting;
    if info.support_chunking && changed {
        tracing::warn!(
            "Model supports prefill chunking. `waiting_served_ratio` and `max_waiting_tokens` will be ignored."
        );
    }
}

fn check_limits(config: &Config, info: &InfoResponse, limits: &Limits) -> Result<(), Error> {
    let prefill = config.max_batch_prefill_tokens;
    let Limits { max_input_tokens: input, max_total_tokens: total, max_batch_total_tokens: batch } = limits;
    if input >= total {
        return Err(argument("`max_input_tokens` must be < `max_total_tokens`"));
    }
    if *input > prefill as usize && !info.support_chunking {
        return Err(argument(&format!(
            "`max_batch_prefill_tokens` must be >= `max_input_tokens`. Given: {prefill} and {input}"
        )));
    }
    if prefill > *batch {
        return Err(argument(&format!(
            "`max_batch_prefill_tokens` must be <= `max_batch_total_tokens`. Given: {prefill} and {batch}"
        )));
    }
    if *total > *batch as usize {
        return Err(argument(&format!(
            "`max_total_tokens` must be <= `max_batch_total_tokens`. Given: {total} and {batch}"
        )));
    }
    Ok(())
}

fn argument(text: &str) -> Error {
    Error::ArgumentValidation(text.to_owned())
}
