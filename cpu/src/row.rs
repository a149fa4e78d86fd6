//! A row as the device remembers it, and what may be asked of it.

use gristmill_model::device::{Admission, BLOCK_SIZE, DeviceError, StepRow};
use gristmill_model::sampling::Sampling;

use crate::sample::History;

/// What a slot holds.
#[derive(Debug)]
pub(crate) struct Row {
    /// Prompt and output.
    pub(crate) history: History,
    prompt: usize,
    /// KV blocks in order of position.
    pub(crate) blocks: Vec<u32>,
    /// Positions that were cached before the row came.
    pub(crate) cached: usize,
    /// Positions whose keys and values are in the cache.
    pub(crate) computed: usize,
    pub(crate) sampling: Sampling,
}

impl Row {
    /// A row, if it can be served by a cache of `blocks` blocks and a vocabulary of `vocab` tokens.
    pub(crate) fn new(admission: &Admission<'_>, vocab: usize, blocks: usize) -> Result<Self, DeviceError> {
        let Admission { prompt, blocks: table, cached, sampling } = admission;
        if prompt.is_empty() {
            return Err(refused("prompt is empty".to_owned()));
        }
        if let Some(id) = prompt.iter().find(|&&id| id as usize >= vocab) {
            return Err(refused(format!("prompt: token id {id} is not below the vocabulary of {vocab}")));
        }
        if let Some(id) = table.iter().find(|&&id| id as usize >= blocks) {
            return Err(refused(format!("blocks: block {id} is not below the cache's {blocks}")));
        }
        if *cached > prompt.len().min(table.len() * BLOCK_SIZE) {
            let (tokens, blocks) = (prompt.len(), table.len());
            let problem =
                format!("cached: {cached} positions, but the prompt has {tokens} tokens in {blocks} blocks");
            return Err(refused(problem));
        }
        check(sampling)?;
        Ok(Self {
            history: History::new(prompt, sampling),
            prompt: prompt.len(),
            blocks: table.to_vec(),
            cached: *cached,
            computed: *cached,
            sampling: sampling.clone(),
        })
    }

    /// Prompt token ids.
    pub(crate) fn prompt(&self) -> &[u32] {
        &self.history.tokens()[..self.prompt]
    }

    /// Whether a step may compute these positions now.
    pub(crate) fn allows(&self, step: &StepRow) -> Result<(), DeviceError> {
        let (slot, known) = (step.slot.0, self.history.tokens().len());
        let fail = |problem: String| Err(refused(format!("slot {slot}: {problem}")));
        let Some(end) = step.start.checked_add(step.len).filter(|&end| step.len > 0 && end <= known) else {
            return fail(format!("{} positions from {}, but {known} tokens are known", step.len, step.start));
        };
        if step.start > self.computed {
            return fail(format!(
                "start {} leaves a gap after the {} positions computed",
                step.start, self.computed
            ));
        }
        if end > self.blocks.len() * BLOCK_SIZE {
            return fail(format!("{} blocks do not cover {end} positions", self.blocks.len()));
        }
        if step.sample && end != known {
            return fail(format!(
                "a token is wanted after position {}, but {known} tokens are known",
                end - 1
            ));
        }
        Ok(())
    }
}

fn refused(problem: String) -> DeviceError {
    DeviceError::Refused(problem)
}

/// Checks that parameters are numbers that sampling can work with.
fn check(sampling: &Sampling) -> Result<(), DeviceError> {
    let fractions = [("top_p", sampling.top_p), ("typical_p", sampling.typical_p)];
    let positive =
        [("temperature", sampling.temperature), ("repetition_penalty", sampling.repetition_penalty)];
    let watermark = sampling.watermark.map_or([0.0; 2], |mark| [mark.gamma, mark.delta]);
    let finite = [
        ("frequency_penalty", sampling.frequency_penalty),
        ("watermark gamma", watermark[0]),
        ("watermark delta", watermark[1]),
    ];
    let bad = fractions.iter().find(|(_, value)| !(*value > 0.0 && *value <= 1.0));
    let bad = bad.or_else(|| positive.iter().find(|(_, value)| !(*value > 0.0 && value.is_finite())));
    match bad.or_else(|| finite.iter().find(|(_, value)| !value.is_finite())) {
        Some((name, value)) => Err(refused(format!("sampling: {name} is {value}"))),
        None => Ok(()),
    }
}
