//! Rotary position embedding.
//!
//! For each token the angle of pair `i` is `position * inv_freq[i]`, one f32 product, as the reference does it; its
//! cosine and sine are computed once a slice and used by all layers. A head's values `x[i]` and `x[i + dim / 2]` are
//! rotated; values beyond `dim` stay. Every value is by itself, so there is no order to keep.

use gristmill_model::device::DeviceError;
use gristmill_model::program::Heads;
use gristmill_model::rope::Rope;

use crate::norm::GRAIN;
use crate::pool::Pool;

/// Frequencies, worked out once where they do not depend on the length of the sequence.
#[derive(Debug)]
pub(crate) struct Rotation {
    rope: Rope,
    /// Of sequences that have not grown.
    usual: Vec<f32>,
}

impl Rotation {
    pub(crate) fn new(rope: &Rope) -> Self {
        Self { rope: rope.clone(), usual: rope.inv_freq(1) }
    }

    /// Cosines, then sines, for each `(position, length of the sequence)`.
    pub(crate) fn fill(&self, tokens: impl Iterator<Item = (usize, usize)>, out: &mut [f32]) {
        let factor = self.rope.attention_factor();
        let (mut grown, mut grown_to) = (Vec::new(), 0);
        for ((position, length), out) in tokens.zip(out.chunks_exact_mut(self.rope.dim)) {
            let stretched = self.rope.grows_beyond().is_some_and(|original| length > original);
            if stretched && grown_to != length {
                (grown, grown_to) = (self.rope.inv_freq(length), length);
            }
            let frequencies = if stretched { &grown } else { &self.usual };
            let (cosines, sines) = out.split_at_mut(self.rope.dim / 2);
            for ((frequency, cosine), sine) in frequencies.iter().zip(cosines).zip(sines) {
                let angle = position as f32 * frequency;
                *cosine = angle.cos() * factor;
                *sine = angle.sin() * factor;
            }
        }
    }

    /// Rotates queries and keys of every token in `qkv`.
    pub(crate) fn apply(
        &self,
        pool: &Pool,
        heads: Heads,
        rotary: &[f32],
        qkv: &mut [f32],
    ) -> Result<(), DeviceError> {
        let (dim, width) = (self.rope.dim, (heads.query + 2 * heads.kv) * heads.dim);
        let rotated = (heads.query + heads.kv) * heads.dim;
        let tokens = (GRAIN / width).max(1);
        pool.chunks(qkv, tokens * width, |index, qkv| {
            for (angles, qkv) in
                rotary[index * tokens * dim..].chunks_exact(dim).zip(qkv.chunks_exact_mut(width))
            {
                qkv[..rotated].chunks_exact_mut(heads.dim).for_each(|head| rotate(angles, &mut head[..dim]));
            }
        })
    }
}

fn rotate(angles: &[f32], head: &mut [f32]) {
    let (cosines, sines) = angles.split_at(angles.len() / 2);
    let (low, high) = head.split_at_mut(angles.len() / 2);
    for (((low, high), cosine), sine) in low.iter_mut().zip(high).zip(cosines).zip(sines) {
        let (x, y) = (*low, *high);
        *low = x * cosine - y * sine;
        *high = y * cosine + x * sine;
    }
}

#[cfg(test)]
mod tests {
    use gristmill_model::rope::Scaling;

    use super::*;

    const HEADS: Heads = Heads { query: 2, kv: 1, dim: 6 };

    fn rope(scaling: Scaling) -> Rope {
        Rope { theta: 100.0, dim: 4, scaling }
    }

    #[test]
    fn rotates_pairs_of_queries_and_keys_only() {
        let rotation = Rotation::new(&rope(Scaling::None));
        let mut rotary = vec![0.0; 8];
        rotation.fill([(0, 9), (3, 9)].into_iter(), &mut rotary);
        let row: Vec<f32> = (1..=24).map(|value| value as f32).collect();
        let mut qkv = [row.clone(), row.clone()].concat();
        rotation.apply(&Pool::new(1).unwrap(), HEADS, &rotary, &mut qkv).unwrap();
        assert_eq!(qkv[..24], row);
        for (index, (x, out)) in row.iter().zip(&qkv[24..]).enumerate() {
            let (head, i) = (index / 6, index % 6);
            let angle = 3.0 * [1.0, 0.1][i % 2];
            let expected = match (head, i) {
                (0..3, 0..2) => x * f32::cos(angle) - (x + 2.0) * f32::sin(angle),
                (0..3, 2..4) => x * f32::cos(angle) + (x - 2.0) * f32::sin(angle),
                _ => *x,
            };
            assert!((out - expected).abs() < 1e-5, "{index}: {out} {expected}");
        }
    }

    #[test]
    fn grown_sequences_have_their_own_frequencies() {
        let rope = rope(Scaling::Dynamic { factor: 2.0, original: 8 });
        let mut rotary = vec![0.0; 16];
        let tokens = [(5, 8), (5, 9), (5, 30), (5, 7)];
        Rotation::new(&rope).fill(tokens.into_iter(), &mut rotary);
        for ((position, length), angles) in tokens.into_iter().zip(rotary.chunks_exact(4)) {
            for (frequency, cosine) in rope.inv_freq(length).iter().zip(angles) {
                assert_eq!(*cosine, (position as f32 * frequency).cos(), "{length}");
            }
        }
        assert_ne!(rotary[1], rotary[5]);
    }
}
