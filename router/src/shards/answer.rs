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

#[cfg(test)]
mod tests {
    use super::*;

    fn step(request_id: u64, total_ns: u64) -> Step {
        let tokens = v3::Tokens {
            ids: vec![5],
            logprobs: vec![-0.5],
            texts: vec!["five".to_owned()],
            is_special: vec![false],
        };
        let generation = v3::Generation { request_id, tokens: Some(tokens), ..v3::Generation::default() };
        let batch = v3::CachedBatch { id: 3, request_ids: vec![1, 2], ..v3::CachedBatch::default() };
        let answer = v3::DecodeResponse {
            generations: vec![generation],
            batch: Some(batch),
            total_ns,
            ..v3::DecodeResponse::default()
        };
        Step::from(answer)
    }

    #[test]
    fn ranks_merge_to_all_generations_one_batch_and_the_slowest_times() {
        for (first, second) in [(10, 20), (20, 10)] {
            let merged = step(1, first).merge(step(2, second));
            assert_eq!(merged.timings.total, nanos(20));
            let answer = merged.into_answer().unwrap();
            assert_eq!(answer.generations.iter().map(|found| found.request).collect::<Vec<_>>(), [1, 2]);
            assert_eq!(answer.batch.unwrap().request_ids, [1, 2]);
        }
    }

    #[test]
    fn a_generation_whose_parts_do_not_go_together_is_an_error() {
        let broken: [fn(&mut v3::Generation); 4] = [
            |generation| generation.tokens = None,
            |generation| generation.tokens.as_mut().unwrap().texts.clear(),
            |generation| {
                let end = v3::GeneratedText { finish_reason: 9, ..v3::GeneratedText::default() };
                generation.generated_text = Some(end);
            },
            |generation| {
                generation.prefill_tokens = Some(v3::Tokens { ids: vec![1], ..v3::Tokens::default() });
            },
        ];
        for spoil in broken {
            let mut step = step(7, 1);
            spoil(&mut step.generations[0]);
            let error = step.into_answer().unwrap_err().to_string();
            assert!(error.starts_with("Server error: malformed answer: request 7: "), "{error}");
        }
    }
}
