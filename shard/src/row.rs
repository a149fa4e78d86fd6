//! A running request: how far its prompt is computed, and what it has said.

use std::collections::BTreeSet;
use std::sync::Arc;

use gristmill_model::device::{Admission, BLOCK_SIZE, RowOutput, Sampled, Slot, StepRow};
use gristmill_proto::v3::{FinishReason, GeneratedText, Generation, Tokens};
use gristmill_text::{Detokenizer, Tokenizer};

use crate::error::CallError;
use crate::prompt::Prompt;
use crate::stopping::Stopping;

/// One row of a batch.
#[derive(Debug)]
pub(crate) struct Row {
    id: u64,
    slot: Slot,
    prompt: Vec<u32>,
    emitted: usize,
    more: bool,
    generated: Vec<u32>,
    /// Positions whose keys and values are in the cache.
    computed: usize,
    /// Positions the next step computes.
    next_len: usize,
    blocks: usize,
    /// Blocks the shard gave the row, to be given back.
    own_blocks: Vec<u32>,
    detokenizer: Detokenizer,
    stopping: Stopping,
    seed: Option<u64>,
    /// Log-probabilities of the prompt so far, when asked for.
    prefill: Option<Vec<f32>>,
}

/// A row's part in an answer, and whether it ended.
pub(crate) struct Advance {
    pub(crate) generation: Option<Generation>,
    pub(crate) ended: bool,
}

impl Row {
    /// A row whose prompt was admitted to `slot`. `own_blocks` are those the shard gave it.
    pub(crate) fn new(
        prompt: Prompt,
        slot: Slot,
        own_blocks: Vec<u32>,
        tokenizer: &Tokenizer,
        end_tokens: &Arc<BTreeSet<u32>>,
    ) -> Result<Self, CallError> {
        let given = prompt.ids.len() - prompt.emitted;
        let mut detokenizer = Detokenizer::new(tokenizer, &prompt.ids[..given])?;
        let mut stopping = Stopping::new(&prompt.stopping, prompt.more, end_tokens);
        for &id in &prompt.ids[given..] {
            stopping.replay(&detokenizer.push(tokenizer, id)?);
        }
        Ok(Self {
            id: prompt.id,
            slot,
            emitted: prompt.emitted,
            more: prompt.more,
            generated: Vec::new(),
            computed: prompt.cache_len,
            next_len: prompt.chunk_len,
            blocks: prompt.blocks.len().max(own_blocks.len()),
            own_blocks,
            detokenizer,
            stopping,
            seed: prompt.sampling.seed,
            prefill: prompt.prefill_logprobs.then(|| vec![f32::NAN]),
            prompt: prompt.ids,
        })
    }

    /// What the device must know of a request before its first step.
    ///
    /// A prefix hit is a whole number of blocks, except where a foreign router takes one token off a full hit so that
    /// something is left to compute: that token's position is in the cache too, in a block that others may share.
    pub(crate) fn admission<'a>(prompt: &'a Prompt, blocks: &'a [u32]) -> Admission<'a> {
        let full_hit = !prompt.cache_len.is_multiple_of(BLOCK_SIZE);
        let cached = prompt.cache_len + usize::from(full_hit);
        Admission { prompt: &prompt.ids, blocks, cached, sampling: prompt.sampling.clone() }
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn slot(&self) -> Slot {
        self.slot
    }

    pub(crate) fn next_len(&self) -> usize {
        self.next_len
    }

    /// Tokens its blocks hold.
    pub(crate) fn max_tokens(&self) -> usize {
        self.blocks * BLOCK_SIZE
    }

    /// Blocks to give back when the row goes.
    pub(crate) fn into_own_blocks(self) -> Vec<u32> {
        self.own_blocks
    }

    /// Prompt tokens not computed yet.
    pub(crate) fn remaining_prompt(&self) -> usize {
        self.prompt.len().saturating_sub(self.computed)
    }

    /// Sets the next step's share of a prompt that is still being computed.
    pub(crate) fn set_chunk(&mut self, len: usize) {
        self.next_len = len;
    }

    /// The row's part of the next step.
    pub(crate) fn step(&self) -> StepRow {
        let known = self.prompt.len() + self.generated.len();
        StepRow {
            slot: self.slot,
            start: self.computed,
            len: self.next_len,
            sample: self.computed + self.next_len == known,
            prompt_logprobs: self.prefill.is_some() && self.computed < self.prompt.len(),
            logits: false,
        }
    }

    /// Takes in what a step gave.
    pub(crate) fn advance(&mut self, output: RowOutput, tokenizer: &Tokenizer) -> Result<Advance, CallError> {
        self.computed += self.next_len;
        self.next_len = 1;
        if let Some(prefill) = &mut self.prefill {
            prefill.extend(output.prompt_logprobs);
        }
        match output.sampled {
            Some(sampled) => self.say(sampled, tokenizer),
            None => Ok(Advance { generation: None, ended: false }),
        }
    }

    fn say(&mut self, sampled: Sampled, tokenizer: &Tokenizer) -> Result<Advance, CallError> {
        let mut text = self.detokenizer.push(tokenizer, sampled.id)?;
        self.generated.push(sampled.id);
        let reason = self.stopping.push(sampled.id, &text);
        if reason.is_some_and(|reason| !(self.more && reason == FinishReason::Length)) {
            text.push_str(&self.detokenizer.finish());
        }
        let generated_text = reason.map(|reason| self.generated_text(reason, tokenizer)).transpose()?;
        let generation = Generation {
            request_id: self.id,
            prefill_tokens: self.prefill_tokens(tokenizer)?,
            tokens: Some(one_token(sampled.id, sampled.logprob, text, tokenizer)),
            generated_text,
            top_tokens: if sampled.top.is_empty() {
                Vec::new()
            } else {
                vec![top_tokens(sampled.top, tokenizer)?]
            },
        };
        Ok(Advance { generation: Some(generation), ended: reason.is_some() })
    }

    fn generated_text(
        &self,
        reason: FinishReason,
        tokenizer: &Tokenizer,
    ) -> Result<GeneratedText, CallError> {
        let earlier = &self.prompt[self.prompt.len() - self.emitted..];
        let ids: Vec<u32> = earlier.iter().chain(&self.generated).copied().collect();
        Ok(GeneratedText {
            text: tokenizer.decode_continuation(&ids, true)?,
            generated_tokens: self.stopping.generated() as u32,
            finish_reason: reason.into(),
            seed: self.seed,
        })
    }

    /// The prompt with its log-probabilities, once, with the first token.
    fn prefill_tokens(&mut self, tokenizer: &Tokenizer) -> Result<Option<Tokens>, CallError> {
        let Some(logprobs) = self.prefill.take() else { return Ok(None) };
        let texts = self
            .prompt
            .iter()
            .map(|&id| tokenizer.decode_continuation(&[id], false))
            .collect::<Result<_, _>>()?;
        let is_special = self.prompt.iter().map(|&id| tokenizer.is_special(id)).collect();
        Ok(Some(Tokens { ids: self.prompt.clone(), logprobs, texts, is_special }))
    }
}

fn one_token(id: u32, logprob: f32, text: String, tokenizer: &Tokenizer) -> Tokens {
    Tokens {
        ids: vec![id],
        logprobs: vec![logprob],
        texts: vec![text],
        is_special: vec![tokenizer.is_special(id)],
    }
}

fn top_tokens(top: Vec<(u32, f32)>, tokenizer: &Tokenizer) -> Result<Tokens, CallError> {
    let (ids, logprobs): (Vec<u32>, Vec<f32>) = top.into_iter().unzip();
    let texts =
        ids.iter().map(|&id| tokenizer.decode_continuation(&[id], false)).collect::<Result<_, _>>()?;
    let is_special = ids.iter().map(|&id| tokenizer.is_special(id)).collect();
    Ok(Tokens { ids, logprobs, texts, is_special })
}
