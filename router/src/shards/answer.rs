//! What comes back: messages as the scheduler's types, and several shards' as one.

use std::time::Duration;

use gristmill_proto::v3;

use super::{ShardError, nanos};
use crate::event::{FinishReason, PrefillToken, Token};
use crate::schedule::{Answer, CachedBatch, Generated, Generation, RoundEnd};

/// The outcome of a Prefill or Decode, of one shard or of all.
#[derive(Clone, Debug)]
pub struct Step {
    generations: Vec<v3::Generation>,
    batch: Option<v3::CachedBatch>,
    /// The slowest shard's.
    pub timings: Timings,
}

/// Where a step's time went, as the shard measured it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timings {
    /// Forward.
    pub forward: Duration,
    /// Sampling and text.
    pub decode: Duration,
    /// All of it.
    pub total: Duration,
    /// Joining batches, when it happened.
    pub concat: Option<Duration>,
}

impl Step {
    /// One step of a group: all generations, any shard's batch, the slowest times.
    pub(super) fn merge(mut self, mut other: Self) -> Self {
        self.generations.append(&mut other.generations);
        let timings = if other.timings.total > self.timings.total { other.timings } else { self.timings };
        Self { generations: self.generations, batch: other.batch, timings }
    }

    /// For the scheduler.
    ///
    /// # Errors
    /// A generation whose parts do not go together.
    pub fn into_answer(self) -> Result<Answer, ShardError> {
        let generations = self.generations.into_iter().map(generation).collect::<Result<_, _>>()?;
        Ok(Answer { generations, batch: self.batch.map(cached_batch) })
    }
}

impl From<v3::PrefillResponse> for Step {
    fn from(answer: v3::PrefillResponse) -> Self {
        let timings = Timings {
            forward: nanos(answer.forward_ns),
            decode: nanos(answer.decode_ns),
            total: nanos(answer.total_ns),
            concat: answer.concat_ns.map(nanos),
        };
        Self { generations: answer.generations, batch: answer.batch, timings }
    }
}

impl From<v3::DecodeResponse> for Step {
    fn from(answer: v3::DecodeResponse) -> Self {
        let timings = Timings {
            forward: nanos(answer.forward_ns),
            decode: nanos(answer.decode_ns),
            total: nanos(answer.total_ns),
            concat: answer.concat_ns.map(nanos),
        };
        Self { generations: answer.generations, batch: answer.batch, timings }
    }
}

pub(super) fn cached_batch(batch: v3::CachedBatch) -> CachedBatch {
    CachedBatch {
        id: batch.id,
        request_ids: batch.request_ids,
        max_tokens: batch.max_tokens,
        current_tokens: batch.current_tokens,
    }
}

fn generation(generation: v3::Generation) -> Result<Generation, ShardError> {
    let id = generation.request_id;
    let found = tokens(generation.tokens.unwrap_or_default(), id)?;
    if found.is_empty() {
        return Err(malformed(id, "no tokens"));
    }
    let mut tops = generation.top_tokens.into_iter().map(|top| tokens(top, id));
    let mut generated = Vec::with_capacity(found.len());
    for token in found {
        generated.push(Generated { token, top: tops.next().transpose()?.unwrap_or_default() });
    }
    Ok(Generation {
        request: id,
        prefill: generation.prefill_tokens.map(|prefill| prefill_tokens(prefill, id)).transpose()?,
        tokens: generated,
        end: generation.generated_text.map(|end| round_end(end, id)).transpose()?,
    })
}

fn round_end(end: v3::GeneratedText, id: u64) -> Result<RoundEnd, ShardError> {
    let reason = match v3::FinishReason::try_from(end.finish_reason) {
        Ok(v3::FinishReason::Length) => FinishReason::Length,
        Ok(v3::FinishReason::EosToken) => FinishReason::EosToken,
        Ok(v3::FinishReason::StopSequence) => FinishReason::StopSequence,
        Err(unknown) => return Err(malformed(id, &format!("finish_reason {unknown}"))),
    };
    Ok(RoundEnd { text: end.text, reason, seed: end.seed })
}

fn tokens(tokens: v3::Tokens, id: u64) -> Result<Vec<Token>, ShardError> {
    let count = tokens.ids.len();
    if tokens.logprobs.len() != count || tokens.texts.len() != count || tokens.is_special.len() != count {
        return Err(malformed(id, "tokens of different counts"));
    }
    let parts = tokens.ids.into_iter().zip(tokens.logprobs).zip(tokens.texts).zip(tokens.is_special);
    Ok(parts.map(|(((id, logprob), text), special)| Token { id, text, logprob, special }).collect())
}

/// The first prompt token has no log-probability; the wire says NaN.
fn prefill_tokens(tokens: v3::Tokens, id: u64) -> Result<Vec<PrefillToken>, ShardError> {
    let count = tokens.ids.len();
    if tokens.logprobs.len() != count || tokens.texts.len() != count {
        return Err(malformed(id, "prefill_tokens of different counts"));
    }
    let parts = tokens.ids.into_iter().zip(tokens.logprobs).zip(tokens.texts);
    let prefill = parts.map(|((id, logprob), text)| PrefillToken {
        id,
        text,
        logprob: (!logprob.is_nan()).then_some(logprob),
    });
    Ok(prefill.collect())
}

fn malformed(id: u64, what: &str) -> ShardError {
    ShardError::Malformed(format!("request {id}: {what}"))
}
