//! What TGI's routes answer.

use serde::Serialize;

use super::GenerateRequest;
use crate::event::{Finish, FinishReason, PrefillToken, Token};
use crate::http::generation::Complete;

/// How the client wants to see the answer.
pub(super) struct View {
    /// The prompt, if the answer begins with it.
    prompt: Option<String>,
    /// Whether an answer at once has details.
    details: bool,
    /// Whether a stream's last event has details.
    stream_details: bool,
}

/// Answer of `/generate`.
#[derive(Serialize)]
pub(in crate::http) struct GenerateResponse {
    generated_text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Details>,
}

#[derive(Serialize)]
struct Details {
    #[serde(flatten)]
    sequence: Sequence,
    #[serde(skip_serializing_if = "Option::is_none")]
    best_of_sequences: Option<Vec<BestOfSequence>>,
}

#[derive(Serialize)]
struct BestOfSequence {
    generated_text: String,
    #[serde(flatten)]
    sequence: Sequence,
}

#[derive(Serialize)]
struct Sequence {
    finish_reason: &'static str,
    generated_tokens: u32,
    seed: Option<u64>,
    prefill: Vec<JsonPrefillToken>,
    tokens: Vec<JsonToken>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    top_tokens: Vec<Vec<JsonToken>>,
}

/// One event of `/generate_stream`.
#[derive(Serialize)]
pub(super) struct StreamResponse {
    index: u32,
    token: JsonToken,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    top_tokens: Vec<JsonToken>,
    generated_text: Option<String>,
    details: Option<StreamDetails>,
}

#[derive(Serialize)]
struct StreamDetails {
    finish_reason: &'static str,
    generated_tokens: u32,
    seed: Option<u64>,
    input_length: u32,
}

#[derive(Serialize)]
struct JsonToken {
    id: u32,
    text: String,
    logprob: f32,
    special: bool,
}

#[derive(Serialize)]
struct JsonPrefillToken {
    id: u32,
    text: String,
    logprob: Option<f32>,
}

impl From<Token> for JsonToken {
    fn from(Token { id, text, logprob, special }: Token) -> Self {
        Self { id, text, logprob, special }
    }
}

impl From<PrefillToken> for JsonPrefillToken {
    fn from(PrefillToken { id, text, logprob }: PrefillToken) -> Self {
        Self { id, text, logprob }
    }
}

fn json<T, J: From<T>>(tokens: Vec<T>) -> Vec<J> {
    tokens.into_iter().map(J::from).collect()
}

fn name(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Length => "length",
        FinishReason::EosToken => "eos_token",
        FinishReason::StopSequence => "stop_sequence",
    }
}

/// The end of a stream as its last event shows it.
#[derive(Default)]
pub(super) struct End {
    generated_text: Option<String>,
    details: Option<StreamDetails>,
}

impl View {
    pub(super) fn new(request: &GenerateRequest) -> Self {
        let parameters = &request.parameters;
        Self {
            prompt: parameters.return_full_text.unwrap_or(false).then(|| request.inputs.clone()),
            details: parameters.details || parameters.decoder_input_details,
            stream_details: parameters.details,
        }
    }

    pub(super) fn answer(&self, best: Complete, others: Option<Vec<Complete>>) -> GenerateResponse {
        let (generated_text, sequence) = self.shown(best);
        let others = others.map(|others| others.into_iter().map(|other| self.loser(other)).collect());
        let details = self.details.then_some(Details { sequence, best_of_sequences: others });
        GenerateResponse { generated_text, details }
    }

    fn loser(&self, complete: Complete) -> BestOfSequence {
        let (generated_text, sequence) = self.shown(complete);
        BestOfSequence { generated_text, sequence }
    }

    fn shown(&self, complete: Complete) -> (String, Sequence) {
        let Finish { text, generated_tokens, reason, seed, .. } = complete.finish;
        let sequence = Sequence {
            finish_reason: name(reason),
            generated_tokens,
            seed,
            prefill: json(complete.prefill),
            tokens: json(complete.tokens),
            top_tokens: complete.top_tokens.into_iter().map(json).collect(),
        };
        (self.text(text), sequence)
    }

    /// What the event with `finish` says beyond its token.
    pub(super) fn end(&self, finish: Option<Finish>, input_length: u32) -> End {
        let Some(finish) = finish else { return End::default() };
        let details = self.stream_details.then(|| StreamDetails {
            finish_reason: name(finish.reason),
            generated_tokens: finish.generated_tokens,
            seed: finish.seed,
            input_length,
        });
        End { generated_text: Some(self.text(finish.text)), details }
    }

    fn text(&self, generated: String) -> String {
        match &self.prompt {
            Some(prompt) => format!("{prompt}{generated}"),
            None => generated,
        }
    }
}

impl StreamResponse {
    pub(super) fn new(index: u32, token: Token, top: Vec<Token>, end: End) -> Self {
        let End { generated_text, details } = end;
        Self { index, token: token.into(), top_tokens: json(top), generated_text, details }
    }
}
