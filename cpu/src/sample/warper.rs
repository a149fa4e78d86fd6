//! Warpers: temperature, and filters that take tokens out by setting their logits to minus infinity.
//!
//! What they keep is what the warpers of TGI and transformers keep, and always at least one token.

use gristmill_model::sampling::Sampling;

use super::normalizer::{Normalizer, largest};
use super::ranking::{Ranking, reach};
use crate::simd::Isa;

pub(super) fn apply(isa: Isa, logits: &mut [f32], sampling: &Sampling) {
    if sampling.temperature != 1.0 {
        // Relative to the largest, so that a tiny temperature leaves that one finite.
        let max = largest(isa, logits);
        logits.iter_mut().for_each(|logit| *logit = (*logit - max) / sampling.temperature);
    }
    if sampling.top_k > 0 && (sampling.top_k as usize) < logits.len() {
        top_k(logits, sampling.top_k as usize);
    }
    if sampling.top_p < 1.0 {
        top_p(isa, logits, sampling.top_p);
    }
    if sampling.typical_p < 1.0 {
        typical_p(isa, logits, sampling.typical_p);
    }
}

/// Keeps the `count` highest logits and those equal to the last of them.
fn top_k(logits: &mut [f32], count: usize) {
    if let Some((_, last)) = Ranking::new(logits).nth(count - 1) {
        filter(logits, |logit| logit >= last);
    }
}

/// Keeps the highest logits until their mass reaches `mass`.
fn top_p(isa: Isa, logits: &mut [f32], mass: f32) {
    let masses = Normalizer::of(isa, logits).probabilities(isa, logits);
    let Some((last, lowest)) = reach(logits, &masses, mass) else { return };
    for (id, logit) in (0..).zip(logits) {
        if *logit < lowest || (*logit == lowest && id > last) {
            *logit = f32::NEG_INFINITY;
        }
    }
}

/// Keeps the tokens whose surprise is nearest to the expected one until their mass reaches `mass`, with ties.
fn typical_p(isa: Isa, logits: &mut [f32], mass: f32) {
    let normalizer = Normalizer::of(isa, logits);
    let entropy = normalizer.entropy(isa, logits);
    let nearness = |logit: f32| -(-normalizer.logprob(logit) - entropy).abs();
    let values: Vec<f32> = logits.iter().map(|&logit| nearness(logit)).collect();
    if let Some((_, last)) = reach(&values, &normalizer.probabilities(isa, logits), mass) {
        filter(logits, |logit| nearness(logit) >= last);
    }
}

fn filter(logits: &mut [f32], keep: impl Fn(f32) -> bool) {
    for logit in logits {
        if !keep(*logit) {
            *logit = f32::NEG_INFINITY;
        }
    }
}
