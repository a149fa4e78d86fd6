//! Tokens from the highest value down, sorted only as far as they are asked for.
//!
//! Values are counted by the upper bits of their order-preserving integers. Whole bins are taken from the top until there
//! are enough, and only what they hold is sorted; each further batch is twice as large as all before it. Minus infinity,
//! the value of a token that was taken out, is not ranked.

use std::cmp::Reverse;
use std::ops::Range;

/// Bits of a value's integer that choose its bin: sign, exponent and three of the fraction.
const BITS: u32 = 12;
/// Tokens of the first batch.
const FIRST: usize = 64;

/// The lowest bin of finite values; those below hold minus infinity.
const FINITE: usize = 8;

/// An iterator over (token, value), descending, the lower token first among equals.
pub(super) struct Ranking<'a> {
    values: &'a [f32],
    /// Values in each bin.
    bins: Vec<u32>,
    /// Bins below this are still to come.
    below: usize,
    batch: Vec<u32>,
    /// Of the batch, given out.
    given: usize,
    total: usize,
}

impl<'a> Ranking<'a> {
    pub(super) fn new(values: &'a [f32]) -> Self {
        let mut bins = vec![0; 1 << BITS];
        values.iter().for_each(|&value| bins[bin(value)] += 1);
        Self { values, bins, below: 1 << BITS, batch: Vec::new(), given: 0, total: 0 }
    }

    fn refill(&mut self) {
        let (mut count, end) = (0, self.below);
        let wanted = FIRST.max(2 * self.total);
        while self.below > FINITE && count < wanted {
            self.below -= 1;
            count += self.bins[self.below] as usize;
        }
        let bins = self.below..end;
        self.batch = sorted(self.values, bins);
        self.given = 0;
        self.total += count;
    }
}

impl Iterator for Ranking<'_> {
    type Item = (u32, f32);

    fn next(&mut self) -> Option<(u32, f32)> {
        if self.given == self.batch.len() {
            self.refill();
        }
        let id = *self.batch.get(self.given)?;
        self.given += 1;
        Some((id, self.values[id as usize]))
    }
}

/// The token at which the mass of all tokens down to it reaches `mass`, and its value; none when it never does.
///
/// Whole bins are passed over by their mass, summed in the order of tokens; only the bin in question is sorted.
pub(super) fn reach(values: &[f32], masses: &[f32], mass: f32) -> Option<(u32, f32)> {
    let mut bins = vec![0.0; 1 << BITS];
    values.iter().zip(masses).for_each(|(&value, &mass)| bins[bin(value)] += f64::from(mass));
    let mut sum = 0.0;
    for bin in (FINITE..1 << BITS).rev() {
        if sum + bins[bin] >= f64::from(mass) {
            let reaches = |id: &u32| {
                sum += f64::from(masses[*id as usize]);
                sum >= f64::from(mass)
            };
            let tokens = sorted(values, bin..bin + 1);
            let last = tokens.iter().copied().find(reaches).or(tokens.last().copied())?;
            return Some((last, values[last as usize]));
        }
        sum += bins[bin];
    }
    None
}

/// The tokens of some bins, ranked.
fn sorted(values: &[f32], bins: Range<usize>) -> Vec<u32> {
    let tokens = (0u32..).zip(values).filter(|&(_, &value)| bins.contains(&bin(value)));
    let mut tokens: Vec<u32> = tokens.map(|(id, _)| id).collect();
    tokens.sort_unstable_by_key(|&id| (Reverse(order(values[id as usize])), id));
    tokens
}

/// An integer that orders as the value does; the two zeros are one.
#[inline]
fn order(value: f32) -> u32 {
    let bits = (value + 0.0).to_bits();
    if bits >> 31 == 0 { bits | 1 << 31 } else { !bits }
}

#[inline]
fn bin(value: f32) -> usize {
    (order(value) >> (32 - BITS)) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn is_a_stable_descending_sort_of_what_is_finite(
            values in prop::collection::vec(
                prop_oneof![-20.0f32..20.0, 1.0f32..1.01, Just(f32::MIN), Just(0.0), Just(-0.0), Just(f32::NEG_INFINITY)],
                0..500,
            ),
        ) {
            let value = |id: &u32| values[*id as usize];
            let mut expected: Vec<u32> = (0..values.len() as u32).filter(|id| value(id) > f32::NEG_INFINITY).collect();
            expected.sort_by(|a, b| value(b).partial_cmp(&value(a)).unwrap());
            prop_assert_eq!(Ranking::new(&values).map(|(id, _)| id).collect::<Vec<_>>(), expected);
        }

        #[test]
        fn mass_is_reached_where_a_sorted_sum_reaches_it(
            values in prop::collection::vec(prop_oneof![-9.0f32..9.0, Just(1.0), Just(f32::NEG_INFINITY)], 1..300),
            mass in 0.01f32..1.2,
        ) {
            let total: f32 = values.iter().map(|value| value.exp()).sum();
            // Multiples of 2^-20, so that no order of summation rounds.
            let masses: Vec<f32> = values.iter().map(|value| (value.exp() / total * 1_048_576.0).floor() / 1_048_576.0).collect();
            let mut sum = 0.0;
            let expected = Ranking::new(&values).find(|&(id, _)| {
                sum += f64::from(masses[id as usize]);
                sum >= f64::from(mass)
            });
            prop_assert_eq!(reach(&values, &masses, mass), expected);
        }
    }
}
