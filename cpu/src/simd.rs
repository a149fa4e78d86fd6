//! Sixteen f32 lanes, written once for every instruction set.
//!
//! A kernel is a [`Task`]: code generic over [`Simd`], run by [`Isa::run`] in a function compiled for the best
//! instruction set this processor has. Every operation is one IEEE operation a lane (a fused multiply-add rounds
//! once), and reductions across lanes add lane `i` to lane `i + 8`, then 4, 2 and 1. So all instruction sets give
//! the same bits, and a wider one is one more file here. Everything a task calls must be `#[inline(always)]`, or
//! it is compiled without the instruction set.

mod avx2;
mod portable;

use half::{bf16, f16};

use avx2::Avx2;
use portable::Portable;

/// Lanes of a vector.
pub(crate) const LANES: usize = 16;

/// Vector operations. A value of an implementing type is the proof that the processor has them.
pub(crate) trait Simd: Copy {
    /// Sixteen lanes.
    type V: Copy;

    fn splat(self, x: f32) -> Self::V;
    fn load(self, x: &[f32; LANES]) -> Self::V;
    fn load_f16(self, x: &[f16; LANES]) -> Self::V;
    fn load_bf16(self, x: &[bf16; LANES]) -> Self::V;
    fn store(self, x: Self::V, out: &mut [f32; LANES]);
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`, rounded once.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `a` where it is greater than `b`, else `b`.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a` where it is less than `b`, else `b`.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// To the nearest whole number, ties to even.
    fn round(self, x: Self::V) -> Self::V;
    /// 2 to the power of whole numbers in -126..=127.
    fn pow2(self, x: Self::V) -> Self::V;
    /// `value` where `x` is not below `limit`, else 0.
    fn zero_below(self, value: Self::V, x: Self::V, limit: Self::V) -> Self::V;
    /// The sum of all lanes.
    fn sum(self, x: Self::V) -> f32;
    /// The largest lane.
    fn largest(self, x: Self::V) -> f32;

    #[inline(always)]
    fn zero(self) -> Self::V {
        self.splat(0.0)
    }

    /// Up to one vector; lanes beyond are `fill`.
    #[inline(always)]
    fn load_part(self, x: &[f32], fill: f32) -> Self::V {
        if let Some(full) = x.first_chunk() {
            return self.load(full);
        }
        let mut padded = [fill; LANES];
        padded[..x.len()].copy_from_slice(x);
        self.load(&padded)
    }

    /// As many lanes as `out` has, at most all.
    #[inline(always)]
    fn store_part(self, x: Self::V, out: &mut [f32]) {
        if let Some(full) = out.first_chunk_mut() {
            return self.store(x, full);
        }
        let mut lanes = [0.0; LANES];
        self.store(x, &mut lanes);
        out.copy_from_slice(&lanes[..out.len()]);
    }
}

/// A kernel with its arguments.
pub(crate) trait Task {
    /// What it gives back.
    type Output;

    /// The work; implementations are `#[inline(always)]`.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// An instruction set this processor has.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Isa {
    /// What every processor has.
    Portable(Portable),
    /// x86-64 with AVX2, FMA and F16C.
    Avx2(Avx2),
}

impl Isa {
    /// The best one.
    pub(crate) fn detect() -> Self {
        Avx2::detect().map_or(Self::PORTABLE, Self::Avx2)
    }

    /// The one every processor has.
    pub(crate) const PORTABLE: Self = Self::Portable(Portable);

    #[inline]
    pub(crate) fn run<T: Task>(self, task: T) -> T::Output {
        match self {
            Self::Portable(simd) => task.run(simd),
            Self::Avx2(simd) => simd.run(task),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Every operation on three vectors, as bits.
    struct Everything([[f32; LANES]; 3]);

    impl Task for Everything {
        type Output = Vec<u32>;

        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Vec<u32> {
            let [a, b, c] = [s.load(&self.0[0]), s.load(&self.0[1]), s.load(&self.0[2])];
            let half = self.0[0].map(f16::from_f32);
            let brain = self.0[0].map(bf16::from_f32);
            let whole = s.max(s.splat(-126.0), s.min(s.splat(127.0), s.round(a)));
            let vectors = [
                s.add(a, b),
                s.sub(a, b),
                s.mul(a, b),
                s.div(a, b),
                s.fma(a, b, c),
                s.max(a, b),
                s.min(a, b),
                s.round(a),
                s.pow2(whole),
                s.zero_below(a, b, c),
                s.load_f16(&half),
                s.load_bf16(&brain),
                s.load_part(&self.0[0][..5], -1.0),
            ];
            let mut out = vec![s.sum(a).to_bits(), s.largest(a).to_bits()];
            for vector in vectors {
                let mut lanes = [0.0; LANES];
                s.store(vector, &mut lanes);
                out.extend(lanes.map(f32::to_bits));
            }
            out
        }
    }

    fn lanes() -> impl Strategy<Value = [f32; LANES]> {
        prop::array::uniform16(prop_oneof![-200.0f32..200.0, -1e30f32..1e30, Just(0.0), -2.0f32..2.0])
    }

    proptest! {
        #[test]
        fn instruction_sets_agree_bit_for_bit(a in lanes(), b in lanes(), c in lanes()) {
            let portable = Isa::PORTABLE.run(Everything([a, b, c]));
            prop_assert_eq!(Isa::detect().run(Everything([a, b, c])), portable);
        }
    }

    #[test]
    fn sum_is_a_tree_of_halves() {
        let values: [f32; LANES] = std::array::from_fn(|i| (i as f32 + 1.0).exp());
        let mut level = values.to_vec();
        while level.len() > 1 {
            let (low, high) = level.split_at(level.len() / 2);
            level = low.iter().zip(high).map(|(a, b)| a + b).collect();
        }
        struct Sum([f32; LANES]);
        impl Task for Sum {
            type Output = f32;
            #[inline(always)]
            fn run<S: Simd>(self, s: S) -> f32 {
                s.sum(s.load(&self.0))
            }
        }
        assert_eq!(Isa::detect().run(Sum(values)), level[0]);
    }
}
