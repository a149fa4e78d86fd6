//! The tokens that end a generation.

use std::collections::BTreeSet;
use std::path::Path;

use gristmill_model::checkpoint::{Checkpoint, CheckpointError, config::Config};
use gristmill_text::Tokenizer;
use serde_json::Value;

/// The tokenizer's end token with those of `generation_config.json`, or of `config.json` where that file is missing.
pub(crate) fn read(checkpoint: &Checkpoint, tokenizer: &Tokenizer) -> Result<BTreeSet<u32>, CheckpointError> {
    let generation = optional(&checkpoint.folder().join("generation_config.json"))?;
    let mut ids: BTreeSet<u32> =
        generation.as_ref().unwrap_or(checkpoint.config()).ids("eos_token_id")?.into_iter().collect();
    if let Some(config) = optional(&checkpoint.folder().join("tokenizer_config.json"))? {
        ids.extend(eos_token(&config).and_then(|token| tokenizer.token_to_id(token)));
    }
    Ok(ids)
}

fn optional(path: &Path) -> Result<Option<Config>, CheckpointError> {
    if path.is_file() { Config::read(path).map(Some) } else { Ok(None) }
}

/// Text, or an object with `content`.
fn eos_token(config: &Config) -> Option<&str> {
    match config.get("eos_token")? {
        Value::String(token) => Some(token),
        other => other.get("content")?.as_str(),
    }
}
