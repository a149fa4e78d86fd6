//! Warpers: temperature, and filters that take tokens out by setting their logits to minus infinity.
//!
//! What they keep is what the warpers of TGI and transformers keep, and always at least one token. Cumulated mass is
//! summed in f64 in the order of the ranking.

use gristmill_model::sampling::Sampling;

use super::normalizer::Normalizer;
use super::ranking::Ranking;
use crate::simd::Isa;

pub(super) fn apply(isa: Isa, logits: &mut [f32], sampling: &Sampling) {
    if sampling.temperature != 1.0 {
        logits.iter_mut().for_each(|logit| *logit /= sampling.temperature);
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
    let normalizer = Normalizer::of(isa, logits);
    let (mut before, mut kept) = (0.0, Vec::new());
    for (id, logit) in Ranking::new(logits) {
        if before >= f64::from(mass) && !kept.is_empty() {
            break;
        }
        kept.push((id, logit));
        before += f64::from(normalizer.logprob(logit)).exp();
    }
    logits.fill(f32::NEG_INFINITY);
    kept.into_iter().for_each(|(id, logit)| logits[id as usize] = logit);
}

/// Keeps the tokens whose surprise is nearest to the expected one until their mass reaches `mass`, with ties.
fn typical_p(isa: Isa, logits: &mut [f32], mass: f32) {
    let normalizer = Normalizer::of(isa, logits);
    let entropy = normalizer.entropy(isa, logits);
    let nearness = |logit: f32| -(-normalizer.logprob(logit) - entropy).abs();
    let values: Vec<f32> = logits.iter().map(|&logit| nearness(logit)).collect();
    let (mut sum, mut last) = (0.0, f32::NEG_INFINITY);
    for (id, value) in Ranking::new(&values) {
        sum += f64::from(normalizer.logprob(logits[id as usize])).exp();
        if sum >= f64::from(mass) {
            last = value;
            break;
        }
    }
    filter(logits, |logit| nearness(logit) >= last);
}

fn filter(logits: &mut [f32], keep: impl Fn(f32) -> bool) {
    for logit in logits {
        if !keep(*logit) {
            *logit = f32::NEG_INFINITY;
        }
    }
}
