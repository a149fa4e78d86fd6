//! Lanes as an array: what every processor can do, and what the others are tested against.

use half::{bf16, f16};

use super::{LANES, Simd};
use crate::element::Element;

/// Needs nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Portable;

type V = [f32; LANES];

#[inline(always)]
fn each(a: V, b: V, op: impl Fn(f32, f32) -> f32) -> V {
    std::array::from_fn(|lane| op(a[lane], b[lane]))
}

#[inline(always)]
fn fold(x: V, op: impl Fn(f32, f32) -> f32) -> f32 {
    let eight: [f32; 8] = std::array::from_fn(|i| op(x[i], x[i + 8]));
    let four: [f32; 4] = std::array::from_fn(|i| op(eight[i], eight[i + 4]));
    op(op(four[0], four[2]), op(four[1], four[3]))
}

impl Simd for Portable {
    type V = V;

    #[inline(always)]
    fn splat(self, x: f32) -> V {
        [x; LANES]
    }

    #[inline(always)]
    fn load(self, x: &[f32; LANES]) -> V {
        *x
    }

    #[inline(always)]
    fn load_f16(self, x: &[f16; LANES]) -> V {
        x.map(Element::widen)
    }

    #[inline(always)]
    fn load_bf16(self, x: &[bf16; LANES]) -> V {
        x.map(Element::widen)
    }

    #[inline(always)]
    fn store(self, x: V, out: &mut [f32; LANES]) {
        *out = x;
    }

    #[inline(always)]
    fn add(self, a: V, b: V) -> V {
        each(a, b, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, a: V, b: V) -> V {
        each(a, b, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, a: V, b: V) -> V {
        each(a, b, |a, b| a * b)
    }

    #[inline(always)]
    fn div(self, a: V, b: V) -> V {
        each(a, b, |a, b| a / b)
    }

    #[inline(always)]
    fn fma(self, a: V, b: V, c: V) -> V {
        std::array::from_fn(|lane| a[lane].mul_add(b[lane], c[lane]))
    }

    #[inline(always)]
    fn max(self, a: V, b: V) -> V {
        each(a, b, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn min(self, a: V, b: V) -> V {
        each(a, b, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    fn round(self, x: V) -> V {
        x.map(f32::round_ties_even)
    }

    #[inline(always)]
    fn pow2(self, x: V) -> V {
        x.map(|x| f32::from_bits(((x as i32 + 127) as u32) << 23))
    }

    #[inline(always)]
    fn zero_below(self, value: V, x: V, limit: V) -> V {
        std::array::from_fn(|lane| if x[lane] < limit[lane] { 0.0 } else { value[lane] })
    }

    #[inline(always)]
    fn sum(self, x: V) -> f32 {
        fold(x, |a, b| a + b)
    }

    #[inline(always)]
    fn largest(self, x: V) -> f32 {
        fold(x, |a, b| if a > b { a } else { b })
    }
}
