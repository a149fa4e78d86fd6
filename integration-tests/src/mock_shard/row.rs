//! One request on the mock device.

use gristmill_proto::v3::{FinishReason, GeneratedText, Generation, Request};

use super::Options;
use super::vocabulary::{EOS, ending, next_token, text, tokenize, tokens};

/// A row of a cached batch.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) request: Request,
    /// Prompt and output.
    pub(super) ids: Vec<u32>,
    pub(super) prompt: usize,
    pub(super) computed: usize,
    /// Prompt tokens of the next forward.
    pub(super) chunk: usize,
    text: String,
    pub(super) ended: bool,
}

impl Row {
    pub(super) fn new(request: Request) -> Self {
        let ext = request.ext.clone();
        let ids = ext.map_or_else(|| tokenize(&request.inputs, request.truncate), |ext| ext.ids);
        let emitted = request.ext.as_ref().map_or(0, |ext| ext.emitted as usize);
        let said = ids[ids.len().saturating_sub(emitted)..].iter().filter(|id| **id != EOS);
        let text = said.map(|id| text(*id)).collect();
        let chunk = request.chunk_len.map_or(ids.len(), |chunk| chunk as usize);
        Self { prompt: ids.len(), computed: 0, chunk, text, ended: false, ids, request }
    }

    pub(super) fn id(&self) -> u64 {
        self.request.id
    }

    pub(super) fn max_new(&self) -> u32 {
        self.request.stopping_parameters.as_ref().map_or(0, |stopping| stopping.max_new_tokens)
    }

    /// Prompt tokens that are not computed yet.
    pub(super) fn left(&self) -> usize {
        self.prompt - self.computed
    }

    /// One forward of this row: a token, once the prompt is complete.
    pub(super) fn advance(&mut self, options: &Options) -> Option<Generation> {
        self.computed += self.chunk;
        self.chunk = 0;
        if self.left() > 0 {
            return None;
        }
        let first = self.ids.len() == self.prompt;
        let id = next_token(&self.ids, options.eos_every);
        self.ids.push(id);
        if id != EOS {
            self.text.push_str(&text(id));
        }
        let end = self.ending(id);
        self.ended = end.is_some();
        let prefill = self.request.prefill_logprobs && first;
        let top = self.request.top_n_tokens;
        Some(Generation {
            request_id: self.id(),
            prefill_tokens: prefill.then(|| {
                let mut prefill = tokens(&self.ids[..self.prompt]);
                prefill.logprobs[0] = f32::NAN;
                prefill
            }),
            tokens: Some(tokens(&[id])),
            generated_text: end.map(|reason| self.finish(reason)),
            top_tokens: if top > 0 { vec![tokens(&(id..id + top).collect::<Vec<_>>())] } else { Vec::new() },
        })
    }

    fn ending(&self, last: u32) -> Option<FinishReason> {
        let produced = (self.ids.len() - self.prompt) as u32;
        let stopping = self.request.stopping_parameters.clone().unwrap_or_default();
        let full = produced >= stopping.max_new_tokens;
        let more = self.request.ext.as_ref().is_some_and(|ext| ext.more);
        ending(full, more, last, &self.text, &stopping)
    }

    fn finish(&self, reason: FinishReason) -> GeneratedText {
        let sampled = self.request.parameters.as_ref().filter(|parameters| parameters.do_sample);
        GeneratedText {
            text: self.text.clone(),
            generated_tokens: (self.ids.len() - self.prompt) as u32,
            finish_reason: reason.into(),
            seed: sampled.map(|parameters| parameters.seed),
        }
    }
}
