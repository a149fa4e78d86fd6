//! The exponential function over lanes.
//!
//! `exp(x) = 2^n * exp(r)` with `n` the whole number nearest to `x / ln 2` and `|r| <= ln 2 / 2`, where a Taylor
//! polynomial of degree 7 serves. `ln 2` is subtracted in two parts, so `r` is exact to the last bits. The relative
//! error is below 2e-7 (tested). Below [`LOWEST`] the result is 0, above [`HIGHEST`] that of [`HIGHEST`]; NaN stays.

use crate::simd::Simd;

/// Where results would lose bits to denormal numbers.
pub(crate) const LOWEST: f32 = -87.0;
/// Below the logarithm of the largest float.
const HIGHEST: f32 = 88.0;

const LN_2_HIGH: f32 = 355.0 / 512.0;
const LN_2_LOW: f32 = -2.121_944_4e-4;
/// 1 / k! for k from 7 down to 0.
const TAYLOR: [f32; 8] = [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0];

#[inline(always)]
pub(crate) fn exp<S: Simd>(s: S, x: S::V) -> S::V {
    let inside = s.max(s.splat(LOWEST), s.min(s.splat(HIGHEST), x));
    let n = s.round(s.mul(inside, s.splat(std::f32::consts::LOG2_E)));
    let r = s.fma(n, s.splat(-LN_2_HIGH), inside);
    let r = s.fma(n, s.splat(-LN_2_LOW), r);
    let mut sum = s.splat(TAYLOR[0]);
    for coefficient in &TAYLOR[1..] {
        sum = s.fma(sum, r, s.splat(*coefficient));
    }
    s.zero_below(s.mul(sum, s.pow2(n)), x, s.splat(LOWEST))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Isa, LANES, Task};

    struct Exp([f32; LANES]);

    impl Task for Exp {
        type Output = [f32; LANES];

        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> [f32; LANES] {
            let mut out = [0.0; LANES];
            s.store(exp(s, s.load(&self.0)), &mut out);
            out
        }
    }

    fn one(isa: Isa, x: f32) -> f32 {
        isa.run(Exp([x; LANES]))[3]
    }

    #[test]
    fn relative_error_is_below_2e_7_on_both_instruction_sets() {
        for step in 0..1_750_000 {
            let x = -87.0 + step as f32 * 1e-4;
            let (fast, portable) = (one(Isa::detect(), x), one(Isa::PORTABLE, x));
            assert_eq!(fast.to_bits(), portable.to_bits(), "{x}");
            let exact = f64::from(x).exp();
            assert!(((f64::from(fast) - exact) / exact).abs() < 2e-7, "{x}: {fast} {exact}");
        }
    }

    #[test]
    fn ends() {
        assert_eq!(one(Isa::detect(), f32::NEG_INFINITY), 0.0);
        assert_eq!(one(Isa::detect(), 0.0), 1.0);
        assert_eq!(one(Isa::detect(), f32::INFINITY), one(Isa::detect(), HIGHEST));
        assert!(one(Isa::detect(), f32::NAN).is_nan());
        assert!(one(Isa::PORTABLE, f32::NAN).is_nan());
    }
}
