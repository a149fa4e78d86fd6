//! What `/v1/completions` takes.

use serde::Deserialize;
use serde_json::Value;

use crate::http::failure::Failure;
use crate::http::openai::{NotYet, Stop, StreamOptions, sampling};
use crate::request::{Draft, Invalid, Parameters};

/// Body of a completion. Unknown fields are ignored.
#[derive(Debug, Deserialize)]
pub(in crate::http) struct CompletionRequest {
    pub(super) model: Option<String>,
    prompt: Prompt,
    max_tokens: Option<u32>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    stream: Option<bool>,
    seed: Option<u64>,
    suffix: Option<String>,
    repetition_penalty: Option<f32>,
    frequency_penalty: Option<f32>,
    presence_penalty: Option<f32>,
    stop: Option<Stop>,
    stream_options: Option<StreamOptions>,
    /// How many of the most likely tokens are shown at each place; absent means no log-probabilities at all.
    pub(super) logprobs: Option<u32>,
    echo: Option<bool>,
    n: Option<u32>,
    best_of: Option<u32>,
    logit_bias: Option<Value>,
}

/// One prompt or several, never none.
#[derive(Debug, Deserialize)]
#[serde(try_from = "PromptDeserializer")]
struct Prompt(Vec<String>);

#[derive(Deserialize)]
#[serde(untagged)]
enum PromptDeserializer {
    One(String),
    Many(Vec<String>),
}

impl TryFrom<PromptDeserializer> for Prompt {
    type Error = &'static str;

    fn try_from(prompt: PromptDeserializer) -> Result<Self, Self::Error> {
        match prompt {
            PromptDeserializer::One(prompt) => Ok(Self(vec![prompt])),
            PromptDeserializer::Many(prompts) if prompts.is_empty() => {
                Err("Empty array detected. Do not use an empty array for the prompt.")
            }
            PromptDeserializer::Many(prompts) => Ok(Self(prompts)),
        }
    }
}

impl CompletionRequest {
    /// Refuses what cannot be honoured, and more than `limit` prompts.
    pub(super) fn check(&self, limit: usize) -> Result<(), Failure> {
        if self.suffix.is_some() {
            return Err(Failure::Suffix);
        }
        if self.prompts() > limit {
            return Err(Failure::BatchSize(limit));
        }
        if self.echo == Some(true) {
            return Err(Invalid::NotYet("echo").into());
        }
        if self.best_of.is_some_and(|count| count != 1) {
            return Err(Invalid::NotYet("best_of").into());
        }
        let fields = NotYet {
            n: self.n,
            presence_penalty: self.presence_penalty,
            logit_bias: self.logit_bias.as_ref(),
        };
        Ok(fields.check()?)
    }

    pub(super) fn prompts(&self) -> usize {
        self.prompt.0.len()
    }

    pub(super) fn streams(&self) -> bool {
        self.stream.unwrap_or(false)
    }

    pub(super) fn include_usage(&self) -> bool {
        StreamOptions::include_usage(self.stream_options)
    }

    /// The stop strings, and a draft for each prompt.
    pub(super) fn split(self) -> (Vec<String>, impl Iterator<Item = Draft>) {
        let stop = self.stop.map(Stop::strings).unwrap_or_default();
        let parameters = Parameters {
            repetition_penalty: self.repetition_penalty,
            frequency_penalty: self.frequency_penalty,
            max_new_tokens: self.max_tokens,
            stop: stop.clone(),
            seed: self.seed,
            top_n_tokens: self.logprobs,
            ..sampling(self.temperature, self.top_p)
        };
        let draft = move |inputs| Draft { inputs, add_special_tokens: true, parameters: parameters.clone() };
        (stop, self.prompt.0.into_iter().map(draft))
    }
}
