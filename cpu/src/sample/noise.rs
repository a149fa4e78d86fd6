//! A draw from the softmax of logits: the token whose logit plus Gumbel noise is highest.
//!
//! The noise of a token is `-ln(-ln(u))` with `u` from Philox, keyed by the seed, at (token, position). Two logarithms for
//! each token of the vocabulary would cost more than the rest of a step, so a bound is tried first: `-ln(u) >= 1 - u`,
//! and the leading zeros of `1 - u` bound its logarithm. Few tokens get past it, and the result is the same.

use std::f32::consts::LN_2;

use crate::philox::{Purpose, uniform, words};
use crate::simd::{Isa, LANES, Simd, Task};

/// More than any noise: the highest is `33 ln 2`.
const MOST: f32 = 23.0;
/// Covers the rounding of the bound.
const SLACK: f32 = 1e-3;

/// Draws the token at `position`.
pub(super) fn draw(isa: Isa, logits: &[f32], seed: u64, position: u64) -> u32 {
    isa.run(Draw { logits, seed, position })
}

struct Draw<'a> {
    logits: &'a [f32],
    seed: u64,
    position: u64,
}

impl Task for Draw<'_> {
    type Output = u32;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> u32 {
        let (mut best, mut id) = (f64::NEG_INFINITY, 0);
        for (index, logits) in self.logits.chunks(LANES).enumerate() {
            let highest = s.largest(s.load_part(logits, f32::NEG_INFINITY));
            if f64::from(highest + MOST) <= best || highest == f32::NEG_INFINITY {
                continue;
            }
            let first = (index * LANES) as u32;
            let words: [u32; LANES] = words(self.seed, Purpose::Noise, self.position, first);
            for (lane, (&logit, word)) in logits.iter().zip(words).enumerate() {
                if f64::from(logit + bound(word)) <= best {
                    continue;
                }
                let score = f64::from(logit) + gumbel(word);
                if score > best {
                    (best, id) = (score, first + lane as u32);
                }
            }
        }
        id
    }
}

fn gumbel(word: u32) -> f64 {
    -(-uniform(word).ln()).ln()
}

/// Not below [`gumbel`].
#[inline(always)]
fn bound(word: u32) -> f32 {
    ((!word).leading_zeros() + 1) as f32 * LN_2 + SLACK
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All tokens in full.
    fn plain(logits: &[f32], seed: u64, position: u64) -> u32 {
        let score = |id: usize| {
            let [word] = words(seed, Purpose::Noise, position, id as u32);
            f64::from(logits[id]) + gumbel(word)
        };
        (0..logits.len()).reduce(|best, id| if score(id) > score(best) { id } else { best }).unwrap() as u32
    }

    proptest! {
        #[test]
        fn the_bound_changes_nothing(
            logits in prop::collection::vec(prop_oneof![-20.0f32..20.0, Just(f32::NEG_INFINITY)], 1..300),
            seed: u64,
            position: u64,
        ) {
            prop_assume!(logits.iter().any(|logit| logit.is_finite()));
            let expected = plain(&logits, seed, position);
            prop_assert_eq!(draw(Isa::detect(), &logits, seed, position), expected);
            prop_assert_eq!(draw(Isa::PORTABLE, &logits, seed, position), expected);
        }

        #[test]
        fn the_bound_holds(word: u32) {
            for word in [word, u32::MAX - word / 65536, word / 65536] {
                prop_assert!(gumbel(word) <= f64::from(bound(word)));
                prop_assert!(gumbel(word) < f64::from(MOST));
            }
        }
    }

    /// Pearson's test over 40,000 seeds: 9 degrees of freedom, 27.88 is exceeded by chance once in a thousand.
    #[test]
    fn draws_follow_the_softmax() {
        let logits = [0.0f32, 1.0, 2.0, -1.0, 0.5, 1.5, -2.0, 0.25, 1.25, -0.5];
        let total: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
        for position in [1, 100] {
            let mut counts = [0u32; 10];
            for seed in 0..40_000 {
                counts[draw(Isa::detect(), &logits, seed, position) as usize] += 1;
            }
            let distance: f64 = logits
                .iter()
                .zip(counts)
                .map(|(&logit, count)| {
                    let expected = 40_000.0 * f64::from(logit).exp() / total;
                    (f64::from(count) - expected).powi(2) / expected
                })
                .sum();
            assert!(distance < 27.88, "position {position}: {distance} {counts:?}");
        }
    }

    /// The same over positions under one seed.
    #[test]
    fn positions_are_independent() {
        let mut pairs = [0u32; 16];
        for position in 0..40_000u64 {
            let at = |position| draw(Isa::detect(), &[0.0; 4], 7, position) as usize;
            pairs[at(2 * position) * 4 + at(2 * position + 1)] += 1;
        }
        let distance: f64 = pairs.iter().map(|&count| (f64::from(count) - 2500.0).powi(2) / 2500.0).sum();
        assert!(distance < 37.7, "{distance} {pairs:?}");
    }
}
