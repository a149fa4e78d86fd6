//! Sums over all logits of a row, in sixteen lanes (lane `i` takes logits `i`, `i + 16`, ...) and then across lanes.

use crate::exp::{LOWEST, exp};
use crate::simd::{Isa, LANES, Simd, Task};

/// What turns logits into log-probabilities.
#[derive(Clone, Copy, Debug)]
pub(super) struct Normalizer {
    pub(super) max: f32,
    /// Logarithm of the sum of `exp(logit - max)`.
    log_sum: f32,
}

impl Normalizer {
    pub(super) fn of(isa: Isa, logits: &[f32]) -> Self {
        let max = largest(isa, logits);
        Self { max, log_sum: isa.run(SumExp { logits, max }).ln() }
    }

    pub(super) fn logprob(&self, logit: f32) -> f32 {
        (logit - self.max) - self.log_sum
    }

    /// Of every token.
    pub(super) fn probabilities(&self, isa: Isa, logits: &[f32]) -> Vec<f32> {
        let mut out = vec![0.0; logits.len()];
        isa.run(Probabilities { logits, normalizer: *self, out: &mut out });
        out
    }

    /// `- sum of p ln p`.
    pub(super) fn entropy(&self, isa: Isa, logits: &[f32]) -> f32 {
        isa.run(Entropy { logits, normalizer: *self })
    }
}

/// The largest logit.
pub(super) fn largest(isa: Isa, logits: &[f32]) -> f32 {
    isa.run(Largest { logits })
}

struct Largest<'a> {
    logits: &'a [f32],
}

impl Task for Largest<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let mut most = s.splat(f32::NEG_INFINITY);
        for logits in self.logits.chunks(LANES) {
            most = s.max(s.load_part(logits, f32::NEG_INFINITY), most);
        }
        s.largest(most)
    }
}

struct SumExp<'a> {
    logits: &'a [f32],
    max: f32,
}

impl Task for SumExp<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let (max, mut sum) = (s.splat(self.max), s.zero());
        for logits in self.logits.chunks(LANES) {
            sum = s.add(sum, exp(s, s.sub(s.load_part(logits, f32::NEG_INFINITY), max)));
        }
        s.sum(sum)
    }
}

struct Probabilities<'a> {
    logits: &'a [f32],
    normalizer: Normalizer,
    out: &'a mut [f32],
}

impl Task for Probabilities<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (max, log_sum) = (s.splat(self.normalizer.max), s.splat(self.normalizer.log_sum));
        for (logits, out) in self.logits.chunks(LANES).zip(self.out.chunks_mut(LANES)) {
            let logprob = s.sub(s.sub(s.load_part(logits, f32::NEG_INFINITY), max), log_sum);
            s.store_part(exp(s, logprob), out);
        }
    }
}

struct Entropy<'a> {
    logits: &'a [f32],
    normalizer: Normalizer,
}

impl Task for Entropy<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let (max, log_sum) = (s.splat(self.normalizer.max), s.splat(self.normalizer.log_sum));
        let mut sum = s.zero();
        for logits in self.logits.chunks(LANES) {
            let logprob = s.sub(s.sub(s.load_part(logits, f32::NEG_INFINITY), max), log_sum);
            let term = s.mul(exp(s, logprob), logprob);
            sum = s.sub(sum, s.zero_below(term, logprob, s.splat(LOWEST)));
        }
        s.sum(sum)
    }
}
