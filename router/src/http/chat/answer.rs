//! What `/v1/chat/completions` answers.

use serde::Serialize;

use super::ChatRequest;
use crate::http::openai::Scored;
use crate::http::openai::pieces::Piece;
use crate::http::openai::stream::Wording;
use crate::http::openai::{Identity, Usage, logprob};

/// What the client wants to see beside the text.
#[derive(Clone, Copy)]
pub(super) struct Shown {
    logprobs: bool,
    top_logprobs: usize,
    usage: bool,
}

impl Shown {
    pub(super) fn new(request: &ChatRequest) -> Self {
        Self {
            logprobs: request.logprobs(),
            top_logprobs: request.top_logprobs(),
            usage: request.include_usage(),
        }
    }

    fn logprobs(&self, tokens: &[Scored]) -> Option<Logprobs> {
        let content = || tokens.iter().map(|scored| Logprob::new(scored, self.top_logprobs)).collect();
        self.logprobs.then(|| Logprobs { content: content() })
    }
}

/// The whole answer.
#[derive(Serialize)]
pub(super) struct ChatCompletion {
    #[serde(flatten)]
    identity: Identity,
    choices: [Choice; 1],
    usage: Usage,
}

#[derive(Serialize)]
struct Choice {
    index: u32,
    message: Message,
    logprobs: Option<Logprobs>,
    finish_reason: &'static str,
}

#[derive(Serialize)]
struct Message {
    role: &'static str,
    content: String,
}

/// A part of a streamed answer.
#[derive(Serialize)]
pub(super) struct ChatChunk {
    #[serde(flatten)]
    identity: Identity,
    choices: Vec<ChunkChoice>,
    usage: Option<Usage>,
}

#[derive(Serialize)]
struct ChunkChoice {
    index: u32,
    delta: Delta,
    logprobs: Option<Logprobs>,
    finish_reason: Option<&'static str>,
}

#[derive(Default, Serialize)]
struct Delta {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
}

#[derive(Serialize)]
struct Logprobs {
    content: Vec<Logprob>,
}

#[derive(Serialize)]
struct Logprob {
    #[serde(flatten)]
    token: TopLogprob,
    top_logprobs: Vec<TopLogprob>,
}

#[derive(Serialize)]
struct TopLogprob {
    token: String,
    logprob: f32,
    bytes: Vec<u8>,
}

impl Logprob {
    fn new(scored: &Scored, top: usize) -> Self {
        let top_logprobs = scored.top.iter().take(top).map(TopLogprob::from).collect();
        Self { token: TopLogprob::from(&scored.token), top_logprobs }
    }
}

impl From<&crate::event::Token> for TopLogprob {
    fn from(token: &crate::event::Token) -> Self {
        Self { token: token.text.clone(), logprob: logprob(token), bytes: token.text.clone().into_bytes() }
    }
}

impl ChatCompletion {
    pub(super) fn new(
        identity: Identity,
        shown: &Shown,
        piece: Piece,
        finish_reason: &'static str,
        usage: Usage,
    ) -> Self {
        let logprobs = shown.logprobs(&piece.tokens);
        let message = Message { role: "assistant", content: piece.text };
        Self { identity, choices: [Choice { index: 0, message, logprobs, finish_reason }], usage }
    }
}

/// The chunks of one answer: the role, the text, the finish reason, the usage.
pub(super) struct ChatChunks {
    identity: Identity,
    shown: Shown,
    begun: bool,
}

impl ChatChunks {
    pub(super) fn new(identity: Identity, shown: Shown) -> Self {
        Self { identity, shown, begun: false }
    }

    fn chunk(&self, delta: Delta, tokens: &[Scored], finish_reason: Option<&'static str>) -> ChatChunk {
        let logprobs = self.shown.logprobs(tokens).filter(|logprobs| !logprobs.content.is_empty());
        let choice = ChunkChoice { index: 0, delta, logprobs, finish_reason };
        ChatChunk { identity: self.identity.clone(), choices: vec![choice], usage: None }
    }
}

impl Wording for ChatChunks {
    type Chunk = ChatChunk;

    fn piece(&mut self, _index: u32, piece: Piece) -> Vec<ChatChunk> {
        let mut chunks = Vec::new();
        if !std::mem::replace(&mut self.begun, true) {
            let role = Delta { role: Some("assistant"), content: Some(String::new()) };
            chunks.push(self.chunk(role, &[], None));
        }
        if !piece.text.is_empty() {
            let text = Delta { role: None, content: Some(piece.text) };
            chunks.push(self.chunk(text, &piece.tokens, None));
        }
        if let Some((reason, _)) = piece.end {
            chunks.push(self.chunk(Delta::default(), &[], Some(reason)));
        }
        chunks
    }

    fn usage(&self, usage: Usage) -> Option<ChatChunk> {
        let chunk = || ChatChunk { identity: self.identity.clone(), choices: Vec::new(), usage: Some(usage) };
        self.shown.usage.then(chunk)
    }
}
