//! The attention and prefix caching that children are told, by TGI's rules.

use super::model_config::ModelConfig;
use crate::flags::Serve;

/// What TGI falls back to when the compute capability is unknown, as it is without a GPU.
const FALLBACK: &str = "paged";

/// The values of `ATTENTION` and `PREFIX_CACHING`, and the lines that explain them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Attention {
    attention: Option<String>,
    prefix_caching: Option<String>,
    reasons: Vec<String>,
}

impl Attention {
    /// Chooses what the user left open.
    pub(super) fn choose(config: &ModelConfig, serve: &Serve) -> Self {
        let (attention, prefix_caching) = (serve.attention.clone(), serve.prefix_caching.clone());
        Self { attention, prefix_caching, reasons: Vec::new() }.completed(config, serve.adapters)
    }

    fn completed(mut self, config: &ModelConfig, adapters: bool) -> Self {
        self.by_model(config);
        self.by_head_dim(config, adapters);
        if self.attention.as_deref() == Some("paged") {
            self.no_prefix_caching("Disabling prefix caching on paged attention");
        }
        self
    }

    /// The value of `ATTENTION`.
    pub(super) fn attention(&self) -> &str {
        self.attention.as_deref().unwrap_or("flashinfer")
    }

    /// The value of `PREFIX_CACHING`.
    pub(super) fn prefix_caching(&self) -> &str {
        self.prefix_caching.as_deref().unwrap_or("true")
    }

    /// Logs the choice and why.
    pub(super) fn log(&self) {
        for reason in &self.reasons {
            tracing::info!("{reason}");
        }
        tracing::info!("Using attention {} - Prefix caching {}", self.attention(), self.prefix_caching());
    }

    fn by_model(&mut self, config: &ModelConfig) {
        if config.vision {
            self.no_prefix_caching("Disabling prefix caching because of VLM model");
        }
        if config.encoder_decoder {
            self.no_prefix_caching("Disabling prefix caching because of seq2seq model");
        }
    }

    fn by_head_dim(&mut self, config: &ModelConfig, adapters: bool) {
        match (config.head_dim, config.model_type.as_deref()) {
            (Some(64 | 128 | 256), model_type) => {
                if adapters {
                    self.no_prefix_caching("Disabling prefix caching because of lora adapters");
                }
                if let Some(model_type @ ("falcon" | "deepseek_v2")) = model_type {
                    self.fall_back(model_type);
                }
            }
            (Some(_), _) => self.fall_back_by_head_dim(),
            (None, _) => {}
        }
    }

    fn fall_back(&mut self, model_type: &str) {
        if self.attention.is_none() {
            self.reasons
                .push(format!("Forcing attention to '{FALLBACK}' because model {model_type} requires it"));
            self.attention = Some(FALLBACK.to_owned());
        }
        if self.attention() == "paged" {
            self.no_prefix_caching(
                "Disabling prefix caching because it is not supported with 'paged' attention",
            );
        }
    }

    fn fall_back_by_head_dim(&mut self) {
        if self.attention.is_none() {
            self.reasons.push(format!(
                "Forcing attention to '{FALLBACK}' because head dim is not supported by flashinfer, also disabling \
                 prefix caching"
            ));
            self.attention = Some(FALLBACK.to_owned());
        }
        if self.prefix_caching.is_none() {
            self.prefix_caching = Some("0".to_owned());
        }
    }

    fn no_prefix_caching(&mut self, reason: &str) {
        if self.prefix_caching.is_none() {
            self.reasons.push(reason.to_owned());
            self.prefix_caching = Some("0".to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(model_type: &str, head_dim: usize) -> ModelConfig {
        let model_type = Some(model_type.to_owned());
        ModelConfig { model_type, head_dim: Some(head_dim), ..ModelConfig::default() }
    }

    /// Attention and prefix caching, given what the user set.
    fn chosen(
        config: &ModelConfig,
        adapters: bool,
        set: (Option<&str>, Option<&str>),
    ) -> (String, String, Vec<String>) {
        let (attention, prefix_caching) = (set.0.map(str::to_owned), set.1.map(str::to_owned));
        let choice = Attention { attention, prefix_caching, reasons: Vec::new() }.completed(config, adapters);
        (choice.attention().to_owned(), choice.prefix_caching().to_owned(), choice.reasons)
    }

    #[test]
    fn the_table_of_tgi_without_a_gpu() {
        let vision = ModelConfig { vision: true, ..model("llava", 128) };
        let seq2seq = ModelConfig { encoder_decoder: true, ..model("t5", 64) };
        for (config, adapters, attention, prefix_caching) in [
            (model("llama", 64), false, "flashinfer", "true"),
            (ModelConfig::default(), false, "flashinfer", "true"),
            (vision, false, "flashinfer", "0"),
            (seq2seq, false, "flashinfer", "0"),
            (model("llama", 128), true, "flashinfer", "0"),
            (model("falcon", 64), false, "paged", "0"),
            (model("deepseek_v2", 128), false, "paged", "0"),
            (model("phi", 80), false, "paged", "0"),
        ] {
            let actual = chosen(&config, adapters, (None, None));
            assert_eq!(
                (actual.0.as_str(), actual.1.as_str()),
                (attention, prefix_caching),
                "{config:?} {adapters}"
            );
        }
    }

    #[test]
    fn the_user_has_the_first_word() {
        for (config, set, attention, prefix_caching) in [
            (model("llama", 64), (Some("paged"), None), "paged", "0"),
            (model("phi", 80), (Some("paged"), Some("1")), "paged", "1"),
            (model("phi", 80), (Some("flashdecoding"), None), "flashdecoding", "0"),
            (model("falcon", 64), (Some("flashdecoding"), None), "flashdecoding", "true"),
        ] {
            let actual = chosen(&config, false, set);
            assert_eq!(
                (actual.0.as_str(), actual.1.as_str()),
                (attention, prefix_caching),
                "{config:?} {set:?}"
            );
        }
    }

    #[test]
    fn every_step_is_explained_once() {
        let (_, _, reasons) = chosen(&model("falcon", 64), false, (None, None));
        assert_eq!(
            reasons,
            [
                "Forcing attention to 'paged' because model falcon requires it",
                "Disabling prefix caching because it is not supported with 'paged' attention",
            ]
        );
    }
}
