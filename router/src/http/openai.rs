//! What the `/v1` routes share: OpenAI's words for things.

pub(super) mod pieces;
pub(super) mod stream;
mod trim;

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::House;
use super::timings::Timings;
use crate::event::Token;
use crate::request::{Invalid, Parameters, random};

pub(super) use trim::Scored;

/// The fields at the top of every answer and every chunk.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Identity {
    id: String,
    object: &'static str,
    created: u64,
    model: String,
    system_fingerprint: String,
}

impl Identity {
    /// A new one, with an id that begins with `prefix`.
    pub(super) fn new(prefix: &str, object: &'static str, house: &House, model: Option<String>) -> Self {
        Self {
            id: format!("{prefix}-{:016x}{:016x}", random(), random()),
            object,
            created: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            model: house.model_name(model),
            system_fingerprint: house.fingerprint(),
        }
    }
}

/// Tokens used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Usage {
    prompt_tokens: u32,
    completion_tokens: u32,
    total_tokens: u32,
}

impl From<Timings> for Usage {
    fn from(timings: Timings) -> Self {
        let Timings { prompt_tokens, generated_tokens, .. } = timings;
        Self {
            prompt_tokens,
            completion_tokens: generated_tokens,
            total_tokens: prompt_tokens.saturating_add(generated_tokens),
        }
    }
}

/// `stop`: one string or several.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Stop {
    One(String),
    Many(Vec<String>),
}

impl Stop {
    /// The strings that can stop anything.
    pub(super) fn strings(self) -> Vec<String> {
        let strings = match self {
            Self::One(string) => vec![string],
            Self::Many(strings) => strings,
        };
        strings.into_iter().filter(|string| !string.is_empty()).collect()
    }
}

/// `stream_options`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(super) struct StreamOptions {
    include_usage: Option<bool>,
}

impl StreamOptions {
    /// Whether a last chunk tells the usage.
    pub(super) fn include_usage(options: Option<Self>) -> bool {
        options.and_then(|options| options.include_usage).unwrap_or(false)
    }
}

/// Sampling as OpenAI means it: on unless `temperature` is 0, and `top_p` 1 is off.
pub(super) fn sampling(temperature: Option<f32>, top_p: Option<f32>) -> Parameters {
    if temperature == Some(0.0) {
        return Parameters::default();
    }
    let top_p = top_p.filter(|&top_p| top_p != 1.0);
    Parameters { do_sample: true, temperature, top_p, ..Parameters::default() }
}

/// Fields that cannot be honoured yet, refused when they ask for something.
pub(super) struct NotYet<'a> {
    pub(super) n: Option<u32>,
    pub(super) presence_penalty: Option<f32>,
    pub(super) logit_bias: Option<&'a Value>,
}

impl NotYet<'_> {
    /// Names the first of them.
    pub(super) fn check(&self) -> Result<(), Invalid> {
        let biased = match self.logit_bias {
            None | Some(Value::Null) => false,
            Some(Value::Object(biases)) => !biases.is_empty(),
            Some(Value::Array(biases)) => !biases.is_empty(),
            Some(_) => true,
        };
        let asked = [
            ("n", self.n.is_some_and(|n| n != 1)),
            ("presence_penalty", self.presence_penalty.is_some_and(|penalty| penalty != 0.0)),
            ("logit_bias", biased),
        ];
        asked.into_iter().find(|(_, asked)| *asked).map_or(Ok(()), |(field, _)| Err(Invalid::NotYet(field)))
    }
}

/// A log-probability as JSON can carry it: OpenAI's -9999 stands for minus infinity.
pub(super) fn logprob(token: &Token) -> f32 {
    token.logprob.max(-9999.0)
}
