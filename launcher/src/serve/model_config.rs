//! The few facts of a model's configuration that the launcher chooses defaults by.

use std::path::Path;

use gristmill_model::checkpoint::config::Config;

/// Bounds on heads, widths and positions: beyond them a fact is taken as unknown. The shard refuses such a file.
const SANE: std::ops::RangeInclusive<usize> = 1..=1 << 30;

/// Facts of `config.json`. An unknown one is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ModelConfig {
    /// `model_type`.
    pub(super) model_type: Option<String>,
    /// Width of an attention head.
    pub(super) head_dim: Option<usize>,
    /// Longest sequence the positions allow, in tokens.
    pub(super) max_positions: Option<usize>,
    /// The model takes images.
    pub(super) vision: bool,
    /// The model has an encoder beside its decoder.
    pub(super) encoder_decoder: bool,
}

impl ModelConfig {
    /// Reads `config.json` in `folder`. As in TGI a file that cannot be read is not fatal here: nothing is known.
    pub(super) fn read(folder: &Path) -> Self {
        Config::read(&folder.join("config.json")).map(|config| Self::of(&config)).unwrap_or_default()
    }

    fn of(config: &Config) -> Self {
        let model_type = config.text("model_type").ok().flatten().map(str::to_owned);
        Self {
            head_dim: head_dim(config, model_type.as_deref()),
            max_positions: first(config, &["max_position_embeddings", "max_seq_len", "n_positions"]),
            vision: config.get("vision_config").is_some(),
            encoder_decoder: config.flag("is_encoder_decoder").ok().flatten().unwrap_or(false),
            model_type,
        }
    }
}

fn head_dim(config: &Config, model_type: Option<&str>) -> Option<usize> {
    let text = || config.object("text_config").ok().flatten().and_then(|text| first(&text, &["head_dim"]));
    let gemma3 = || (model_type == Some("gemma3")).then_some(256);
    first(config, &["head_dim"]).or_else(|| divided(config)).or_else(text).or_else(gemma3)
}

fn divided(config: &Config) -> Option<usize> {
    let width = first(config, &["hidden_size", "n_embd"])?;
    let heads = first(config, &["num_attention_heads", "n_heads", "n_head"])?;
    Some(width / heads)
}

fn first(config: &Config, names: &[&str]) -> Option<usize> {
    names.iter().find_map(|name| config.count(name, SANE).ok().flatten())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> ModelConfig {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.json"), text).unwrap();
        ModelConfig::read(folder.path())
    }

    #[test]
    fn head_dim_is_found_in_each_of_its_places() {
        assert_eq!(
            read(r#"{"head_dim": 96, "hidden_size": 64, "num_attention_heads": 1}"#).head_dim,
            Some(96)
        );
        assert_eq!(read(r#"{"hidden_size": 576, "num_attention_heads": 9}"#).head_dim, Some(64));
        assert_eq!(read(r#"{"n_embd": 768, "n_head": 12}"#).head_dim, Some(64));
        assert_eq!(read(r#"{"text_config": {"head_dim": 128}}"#).head_dim, Some(128));
        assert_eq!(read(r#"{"model_type": "gemma3"}"#).head_dim, Some(256));
        assert_eq!(read(r#"{"hidden_size": 576, "num_attention_heads": 0}"#).head_dim, None);
    }

    #[test]
    fn positions_have_three_names_in_order() {
        assert_eq!(read(r#"{"max_position_embeddings": 7, "n_positions": 9}"#).max_positions, Some(7));
        assert_eq!(read(r#"{"max_seq_len": 8, "n_positions": 9}"#).max_positions, Some(8));
        assert_eq!(read(r#"{"n_positions": 9}"#).max_positions, Some(9));
    }

    #[test]
    fn what_cannot_be_read_is_unknown() {
        assert_eq!(read("{"), ModelConfig::default());
        assert_eq!(ModelConfig::read(Path::new("/nonexistent")), ModelConfig::default());
    }
}
