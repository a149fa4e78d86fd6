//! What TGI's routes take.

use serde::Deserialize;
use serde_json::Value;

use crate::request::{Draft, Invalid, Parameters};

/// Body of `/generate`, `/generate_stream` and `/tokenize`.
#[derive(Debug, Deserialize)]
pub(in crate::http) struct GenerateRequest {
    pub(in crate::http) inputs: String,
    #[serde(default = "parameters_if_absent")]
    pub(super) parameters: GenerateParameters,
}

/// Body of `POST /`.
#[derive(Debug, Deserialize)]
pub(in crate::http) struct CompatGenerateRequest {
    pub(super) inputs: String,
    #[serde(default = "parameters_if_absent")]
    pub(super) parameters: GenerateParameters,
    #[serde(default)]
    pub(super) stream: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct GenerateParameters {
    pub(super) best_of: Option<usize>,
    temperature: Option<f32>,
    repetition_penalty: Option<f32>,
    frequency_penalty: Option<f32>,
    top_k: Option<i32>,
    top_p: Option<f32>,
    typical_p: Option<f32>,
    do_sample: bool,
    max_new_tokens: Option<u32>,
    pub(super) return_full_text: Option<bool>,
    stop: Vec<String>,
    truncate: Option<usize>,
    watermark: bool,
    pub(super) details: bool,
    pub(super) decoder_input_details: bool,
    seed: Option<u64>,
    top_n_tokens: Option<u32>,
    grammar: Option<Value>,
    adapter_id: Option<String>,
}

/// TGI samples when there are no parameters at all, and does not when there are some.
fn parameters_if_absent() -> GenerateParameters {
    GenerateParameters { do_sample: true, ..GenerateParameters::default() }
}

impl GenerateRequest {
    /// What a stream does not do.
    pub(super) fn check_stream(&self) -> Result<(), Invalid> {
        if self.parameters.best_of.is_some_and(|count| count != 1) {
            return Err(Invalid::BestOfStream);
        }
        if self.parameters.decoder_input_details {
            return Err(Invalid::PrefillDetailsStream);
        }
        Ok(())
    }

    pub(super) fn into_draft(self) -> Draft {
        let given = self.parameters;
        let parameters = Parameters {
            best_of: given.best_of,
            temperature: given.temperature,
            repetition_penalty: given.repetition_penalty,
            frequency_penalty: given.frequency_penalty,
            top_k: given.top_k,
            top_p: given.top_p,
            typical_p: given.typical_p,
            do_sample: given.do_sample,
            max_new_tokens: given.max_new_tokens,
            stop: given.stop,
            truncate: given.truncate,
            watermark: given.watermark,
            decoder_input_details: given.decoder_input_details,
            seed: given.seed,
            top_n_tokens: given.top_n_tokens,
            grammar: given.grammar.is_some(),
            adapter_id: given.adapter_id,
        };
        Draft { inputs: self.inputs, add_special_tokens: true, parameters }
    }
}
