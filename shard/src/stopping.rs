//! When a row ends: TGI's order is length, end token, stop sequence. Where another round may follow, the length only ends
//! the round, so an end of the text comes first.

use std::collections::BTreeSet;
use std::sync::Arc;

use gristmill_proto::v3::{FinishReason, StoppingCriteriaParameters};
use gristmill_text::StopStrings;

/// One row's limits and how far it has come.
#[derive(Debug)]
pub(crate) struct Stopping {
    max_new_tokens: usize,
    /// Whether another round may follow.
    more: bool,
    generated: usize,
    end_tokens: Option<Arc<BTreeSet<u32>>>,
    stop_strings: StopStrings,
}

impl Stopping {
    pub(crate) fn new(
        parameters: &StoppingCriteriaParameters,
        more: bool,
        end_tokens: &Arc<BTreeSet<u32>>,
    ) -> Self {
        Self {
            max_new_tokens: parameters.max_new_tokens as usize,
            more,
            generated: 0,
            end_tokens: (!parameters.ignore_eos_token).then(|| Arc::clone(end_tokens)),
            stop_strings: StopStrings::new(&parameters.stop_sequences),
        }
    }

    /// Text of earlier rounds, which may hold the beginning of a stop sequence.
    pub(crate) fn replay(&mut self, text: &str) {
        self.stop_strings.push(text);
    }

    /// Counts a token with its text; says why the row ends with it, if it does.
    pub(crate) fn push(&mut self, id: u32, text: &str) -> Option<FinishReason> {
        self.generated += 1;
        let full = (self.generated >= self.max_new_tokens).then_some(FinishReason::Length);
        if full.is_some() && !self.more {
            return full;
        }
        if self.end_tokens.as_ref().is_some_and(|ids| ids.contains(&id)) {
            return Some(FinishReason::EosToken);
        }
        self.stop_strings.push(text).map(|_| FinishReason::StopSequence).or(full)
    }

    /// Tokens generated so far.
    pub(crate) fn generated(&self) -> usize {
        self.generated
    }
}
