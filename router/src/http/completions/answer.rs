//! What `/v1/completions` answers.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::http::openai::Scored;
use crate::http::openai::pieces::Piece;
use crate::http::openai::stream::Wording;
use crate::http::openai::{Identity, Usage, logprob};

/// The whole answer, or a part of a streamed one.
#[derive(Serialize)]
pub(super) struct Completion {
    #[serde(flatten)]
    identity: Identity,
    choices: Vec<Choice>,
    usage: Option<Usage>,
}

/// The answer to one prompt, or a part of it.
#[derive(Serialize)]
pub(super) struct Choice {
    index: u32,
    text: String,
    logprobs: Option<Logprobs>,
    finish_reason: Option<&'static str>,
}

/// One entry for each token, and where in the text it begins, in characters.
#[derive(Default, Serialize)]
struct Logprobs {
    tokens: Vec<String>,
    token_logprobs: Vec<f32>,
    top_logprobs: Vec<BTreeMap<String, f32>>,
    text_offset: Vec<usize>,
}

impl Completion {
    pub(super) fn new(identity: Identity, choices: Vec<Choice>, usage: Option<Usage>) -> Self {
        Self { identity, choices, usage }
    }
}

impl Choice {
    /// With the `top` most likely tokens if log-probabilities are wanted; `offset` is that of the text, and moves on.
    pub(super) fn new(
        index: u32,
        piece: Piece,
        finish_reason: Option<&'static str>,
        top: Option<u32>,
        offset: &mut usize,
    ) -> Self {
        let logprobs = top.map(|top| Logprobs::new(&piece.tokens, top as usize, *offset));
        *offset += piece.text.chars().count();
        Self { index, text: piece.text, logprobs, finish_reason }
    }
}

impl Logprobs {
    fn new(tokens: &[Scored], top: usize, mut offset: usize) -> Self {
        let mut logprobs = Self::default();
        for scored in tokens {
            logprobs.text_offset.push(offset);
            offset += scored.token.text.chars().count();
            logprobs.tokens.push(scored.token.text.clone());
            logprobs.token_logprobs.push(logprob(&scored.token));
            let most_likely = scored.top.iter().take(top);
            logprobs
                .top_logprobs
                .push(most_likely.map(|token| (token.text.clone(), logprob(token))).collect());
        }
        logprobs
    }
}

/// The chunks of one answer; those of several prompts come as they are ready, told apart by `index`.
pub(super) struct CompletionChunks {
    identity: Identity,
    logprobs: Option<u32>,
    include_usage: bool,
    /// Characters sent, for each prompt.
    offsets: Vec<usize>,
}

impl CompletionChunks {
    pub(super) fn new(
        identity: Identity,
        logprobs: Option<u32>,
        include_usage: bool,
        prompts: usize,
    ) -> Self {
        Self { identity, logprobs, include_usage, offsets: vec![0; prompts] }
    }
}

impl Wording for CompletionChunks {
    type Chunk = Completion;

    fn piece(&mut self, index: u32, piece: Piece) -> Vec<Completion> {
        if piece.text.is_empty() && piece.end.is_none() {
            return Vec::new();
        }
        let reason = piece.end.map(|(reason, _)| reason);
        let offset = &mut self.offsets[index as usize];
        let choice = Choice::new(index, piece, reason, self.logprobs, offset);
        vec![Completion::new(self.identity.clone(), vec![choice], None)]
    }

    fn usage(&self, usage: Usage) -> Option<Completion> {
        self.include_usage.then(|| Completion::new(self.identity.clone(), Vec::new(), Some(usage)))
    }
}
