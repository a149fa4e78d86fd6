//! Tokens from the highest value down, sorted only as far as they are asked for.
//!
//! Values are counted by the upper bits of their order-preserving integers. Whole bins are taken from the top until there
//! are enough, and only what they hold is sorted; each further batch is twice as large as all before it. Minus infinity,
//! the value of a token that was taken out, is not ranked.

use std::cmp::Reverse;

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
        self.batch.clear();
        let tokens = (0u32..).zip(self.values).filter(|&(_, &value)| bins.contains(&bin(value)));
        self.batch.extend(tokens.map(|(id, _)| id));
        self.batch.sort_unstable_by_key(|&id| (Reverse(order(self.values[id as usize])), id));
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
                0..2000,
            ),
        ) {
            let value = |id: &u32| values[*id as usize];
            let mut expected: Vec<u32> = (0..values.len() as u32).filter(|id| value(id) > f32::NEG_INFINITY).collect();
            expected.sort_by(|a, b| value(b).partial_cmp(&value(a)).unwrap());
            prop_assert_eq!(Ranking::new(&values).map(|(id, _)| id).collect::<Vec<_>>(), expected);
        }
    }
}
