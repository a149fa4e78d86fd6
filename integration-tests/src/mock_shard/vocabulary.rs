//! A language whose every sentence is known: the text of token 17 is `17 `, and the next token is a hash of all before.

use gristmill_proto::v3::{FinishReason, StoppingCriteriaParameters, Tokens};

/// The end token.
pub const EOS: u32 = 2;

/// What follows `ids`; about one in `eos_every` is [`EOS`], or none when that is 0.
pub fn next_token(ids: &[u32], eos_every: u64) -> u32 {
    let mix = |hash: u64, id: &u32| (hash ^ u64::from(*id)).wrapping_mul(0x0000_0100_0000_01b3);
    let hash = ids.iter().fold(0xcbf2_9ce4_8422_2325, mix) >> 16;
    if eos_every > 0 && hash % eos_every == 0 { EOS } else { 10 + (hash % 990) as u32 }
}

/// The `count` tokens after `prompt`, fewer when an end token comes.
pub fn continuation(prompt: &[u32], count: usize, eos_every: u64) -> Vec<u32> {
    let mut ids = prompt.to_vec();
    while ids.len() < prompt.len() + count {
        ids.push(next_token(&ids, eos_every));
        if ids.last() == Some(&EOS) {
            break;
        }
    }
    ids.split_off(prompt.len())
}

/// The text of a token.
pub fn text(id: u32) -> String {
    if id == EOS { "</s>".to_owned() } else { format!("{id} ") }
}

/// The text of several.
pub fn texts(ids: &[u32]) -> String {
    ids.iter().map(|id| text(*id)).collect()
}

/// The last `truncate` tokens of a text. Words that are no tokens become one each.
pub fn tokenize(text: &str, truncate: u32) -> Vec<u32> {
    let word = |word: &str| word.parse().unwrap_or_else(|_| word.bytes().map(u32::from).sum());
    let ids: Vec<u32> = text.split_whitespace().map(word).collect();
    ids[ids.len().saturating_sub(truncate as usize)..].to_vec()
}

/// Tokens as a message, with the log-probabilities of this language.
pub(super) fn tokens(ids: &[u32]) -> Tokens {
    Tokens {
        ids: ids.to_vec(),
        logprobs: ids.iter().map(|id| logprob(*id)).collect(),
        texts: ids.iter().map(|id| text(*id)).collect(),
        is_special: ids.iter().map(|id| *id == EOS).collect(),
    }
}

/// The log-probability of a token, wherever it is.
pub fn logprob(id: u32) -> f32 {
    -(id as f32) / 1000.0
}

/// Why a row ends: in TGI's order, but where `more` rounds may follow, one that is full comes last.
pub(super) fn ending(
    full: bool,
    more: bool,
    last: u32,
    text: &str,
    stopping: &StoppingCriteriaParameters,
) -> Option<FinishReason> {
    if full && !more {
        Some(FinishReason::Length)
    } else if last == EOS && !stopping.ignore_eos_token {
        Some(FinishReason::EosToken)
    } else if stopping.stop_sequences.iter().any(|stop| text.ends_with(stop)) {
        Some(FinishReason::StopSequence)
    } else {
        full.then_some(FinishReason::Length)
    }
}
