//! One request from arrival to end, over all its rounds.

use std::sync::Arc;
use std::time::Instant;

use super::{Generation, RoundEnd};
use crate::event::{Finish, FinishReason, StreamEvent};
use crate::request::ValidRequest;

/// A request that waits or runs.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: u64,
    pub(super) request: Arc<ValidRequest>,
    arrived: Instant,
    /// Of the first prefill.
    started: Option<Instant>,
    /// Tokens given out so far.
    emitted: Vec<u32>,
    /// Text given out so far, without special tokens.
    text: String,
    /// Bytes of `text` from earlier rounds that the shard will not repeat at the end of this one.
    unrepeated: usize,
    /// Tokens given out when this round ends.
    round_end: usize,
    blocks: Vec<u32>,
}

/// What becomes of an entry after a step.
#[derive(Debug)]
pub(super) enum Fate {
    Runs,
    NextRound,
    Done,
}

impl Entry {
    pub(super) fn new(id: u64, request: ValidRequest, arrived: Instant) -> Self {
        Self {
            id,
            request: Arc::new(request),
            arrived,
            started: None,
            emitted: Vec::new(),
            text: String::new(),
            unrepeated: 0,
            round_end: 0,
            blocks: Vec::new(),
        }
    }

    /// Tokens the next prefill has to compute.
    pub(super) fn prompt(&self) -> u32 {
        count(self.request.ids.len()).saturating_add(self.emitted())
    }

    /// Tokens given out so far.
    pub(super) fn emitted(&self) -> u32 {
        count(self.emitted.len())
    }

    /// Tokens it may still give out.
    pub(super) fn remaining(&self) -> u32 {
        self.request.stopping.max_new_tokens.saturating_sub(self.emitted())
    }

    /// Prompt ids with those given out.
    pub(super) fn ids(&self) -> Vec<u32> {
        [&self.request.ids[..], &self.emitted].concat()
    }

    /// Prompt text with that given out.
    pub(super) fn inputs(&self) -> String {
        [&self.request.inputs[..], &self.text].concat()
    }

    /// Prompt tokens to keep. A shard that tokenizes text with earlier output in it must not find more than `prompt`.
    pub(super) fn truncate(&self) -> u32 {
        if self.emitted.is_empty() { self.request.truncate } else { self.prompt() }
    }

    /// Begins a round of `new` tokens on `blocks`. A shard that gets `ids` repeats earlier rounds in its final text.
    pub(super) fn start(&mut self, new: u32, blocks: Vec<u32>, ids: bool, now: Instant) {
        self.started.get_or_insert(now);
        self.unrepeated = if ids { 0 } else { self.text.len() };
        self.round_end = self.emitted.len() + new as usize;
        self.blocks = blocks;
    }

    pub(super) fn take_blocks(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.blocks)
    }

    /// Takes in a step's tokens: what to tell the client, and how it goes on.
    pub(super) fn advance(&mut self, generation: Generation, now: Instant) -> (Vec<StreamEvent>, Fate) {
        let mut events = Vec::with_capacity(generation.tokens.len() + 1);
        if self.request.prefill_logprobs {
            events.extend(generation.prefill.map(StreamEvent::Prefill));
        }
        for generated in generation.tokens {
            self.emitted.push(generated.token.id);
            if !generated.token.special {
                self.text.push_str(&generated.token.text);
            }
            events.push(StreamEvent::Token { token: generated.token, top: generated.top, finish: None });
        }
        let Some(end) = generation.end else { return (events, Fate::Runs) };
        if self.goes_on(&end) {
            return (events, Fate::NextRound);
        }
        if let Some(StreamEvent::Token { finish, .. }) = events.last_mut() {
            *finish = Some(self.finish(&end, now));
        }
        (events, Fate::Done)
    }

    /// Whether only the round is over: the shard stopped exactly where it was told to, short of what the client wants.
    fn goes_on(&self, end: &RoundEnd) -> bool {
        end.reason == FinishReason::Length && self.emitted.len() == self.round_end && self.remaining() > 0
    }

    fn finish(&self, end: &RoundEnd, now: Instant) -> Finish {
        let started = self.started.unwrap_or(self.arrived);
        Finish {
            text: [&self.text[..self.unrepeated], &end.text[..]].concat(),
            generated_tokens: self.emitted(),
            reason: end.reason,
            seed: end.seed,
            queued: started.saturating_duration_since(self.arrived),
            inference: now.saturating_duration_since(started),
        }
    }
}

fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
