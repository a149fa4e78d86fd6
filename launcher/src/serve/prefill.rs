//! The default of `--max-batch-prefill-tokens`.

use super::model_config::ModelConfig;

/// The default in tokens, when nothing says otherwise.
const DEFAULT: u32 = 4096;

/// The prompt tokens of one step by TGI's rule without a GPU: a constant, larger for models that read images, and never
/// beyond the model's positions.
pub(super) fn default_tokens(config: &ModelConfig) -> u32 {
    let default = match config.model_type.as_deref() {
        Some("qwen2_vl" | "qwen2_5_vl") => 10_000,
        Some("gemma3") => 8000,
        _ => DEFAULT,
    };
    let positions = config.max_positions.and_then(|positions| u32::try_from(positions).ok());
    positions.map_or(default, |positions| positions.min(default))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_cap_the_default_and_three_models_have_their_own() {
        for (model_type, max_positions, expected) in [
            ("llama", Some(8192), 4096),
            ("llama", Some(2048), 2048),
            ("llama", None, 4096),
            ("gemma3", None, 8000),
            ("qwen2_vl", Some(32_768), 10_000),
            ("qwen2_5_vl", Some(5000), 5000),
        ] {
            let config = ModelConfig {
                model_type: Some(model_type.to_owned()),
                max_positions,
                ..ModelConfig::default()
            };
            assert_eq!(default_tokens(&config), expected, "{model_type} {max_positions:?}");
        }
    }
}
