//! What a row has said so far, prompt included.

use std::collections::HashMap;

use gristmill_model::sampling::Sampling;

/// Tokens in order, and how often each came if a penalty asks.
#[derive(Debug)]
pub(crate) struct History {
    tokens: Vec<u32>,
    counts: Option<HashMap<u32, u32>>,
}

impl History {
    pub(crate) fn new(prompt: &[u32], sampling: &Sampling) -> Self {
        let counted = sampling.repetition_penalty != 1.0 || sampling.frequency_penalty != 0.0;
        let mut history = Self { tokens: Vec::new(), counts: counted.then(HashMap::new) };
        prompt.iter().for_each(|&id| history.push(id));
        history
    }

    pub(crate) fn push(&mut self, id: u32) {
        self.tokens.push(id);
        if let Some(counts) = &mut self.counts {
            *counts.entry(id).or_default() += 1;
        }
    }

    /// Prompt and output.
    pub(crate) fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// How often each token came, in no order; empty when no penalty asks.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (u32, u32)> {
        self.counts.iter().flatten().map(|(&id, &count)| (id, count))
    }
}
