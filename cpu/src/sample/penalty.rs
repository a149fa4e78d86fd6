//! What a row has said changes what it says next: watermark, repetition penalty, frequency penalty.

use gristmill_model::sampling::{Sampling, Watermark};

use super::history::History;
use crate::philox::{Purpose, uniform, words};
use crate::simd::LANES;

/// Times the last token, this is the key of the green list.
const WATERMARK_KEY: u64 = 15_485_863;

/// Extreme penalties stop here: beyond it, differences of logits would no longer be numbers.
const LARGEST: f32 = 1e30;

pub(super) fn apply(logits: &mut [f32], sampling: &Sampling, history: &History) {
    if let (Some(mark), Some(&last)) = (sampling.watermark, history.tokens().last()) {
        watermark(logits, mark, last);
    }
    let length = history.tokens().len() as f32;
    for (id, count) in history.counts() {
        let logit = &mut logits[id as usize];
        let penalty = sampling.repetition_penalty;
        let penalized = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
        *logit = penalized.clamp(-LARGEST, LARGEST);
        *logit -= count as f32 / length * sampling.frequency_penalty;
    }
}

fn watermark(logits: &mut [f32], mark: Watermark, last: u32) {
    for (index, chunk) in logits.chunks_mut(LANES).enumerate() {
        let words: [u32; LANES] =
            words(WATERMARK_KEY * u64::from(last), Purpose::Watermark, 0, (index * LANES) as u32);
        for (logit, word) in chunk.iter_mut().zip(words) {
            if uniform(word) < f64::from(mark.gamma) {
                *logit += mark.delta;
            }
        }
    }
}
