//! The gated non-linearity: `out[i] = act(input[i]) * input[width + i]` for each row of `2 * width` values.
//!
//! Lane by lane, so there is no order to keep. One job takes some rows. The error function of the exact GELU is formula
//! 7.1.26 of Abramowitz and Stegun, with an absolute error below 2e-7.

use gristmill_model::device::DeviceError;
use gristmill_model::spec::Activation;

use crate::cores::Cores;
use crate::exp::exp;
use crate::norm::GRAIN;
use crate::simd::{LANES, Simd, Task};

/// Gates every row of `input` into `out`, which is `width` values a row.
pub(crate) fn gate(
    cores: &Cores,
    activation: Activation,
    input: &[f32],
    width: usize,
    out: &mut [f32],
) -> Result<(), DeviceError> {
    let rows = (GRAIN / width).max(1);
    cores.pool.chunks(out, rows * width, |index, out| {
        let input = input[index * rows * 2 * width..].chunks_exact(2 * width);
        for (row, out) in input.zip(out.chunks_exact_mut(width)) {
            let (gate, up) = row.split_at(width);
            cores.isa.run(Gate { activation, gate, up, out });
        }
    })
}

/// One row.
struct Gate<'a> {
    activation: Activation,
    gate: &'a [f32],
    up: &'a [f32],
    out: &'a mut [f32],
}

impl Task for Gate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let inputs = self.gate.chunks(LANES).zip(self.up.chunks(LANES));
        for ((gate, up), out) in inputs.zip(self.out.chunks_mut(LANES)) {
            let (gate, up) = (s.load_part(gate, 0.0), s.load_part(up, 0.0));
            let active = match self.activation {
                Activation::Silu => silu(s, gate),
                Activation::Gelu => gelu(s, gate),
                Activation::GeluTanh => gelu_tanh(s, gate),
                Activation::Relu => s.max(gate, s.zero()),
            };
            s.store_part(s.mul(active, up), out);
        }
    }
}

#[inline(always)]
fn negate<S: Simd>(s: S, x: S::V) -> S::V {
    s.sub(s.zero(), x)
}

#[inline(always)]
fn silu<S: Simd>(s: S, x: S::V) -> S::V {
    s.div(x, s.add(s.splat(1.0), exp(s, negate(s, x))))
}

/// `x * Phi(x) = x * (1 + erf(x / sqrt 2)) / 2`.
#[inline(always)]
fn gelu<S: Simd>(s: S, x: S::V) -> S::V {
    let z = s.mul(s.max(x, negate(s, x)), s.splat(std::f32::consts::FRAC_1_SQRT_2));
    let t = s.div(s.splat(1.0), s.fma(z, s.splat(0.327_591_1), s.splat(1.0)));
    let mut sum = s.splat(1.061_405_4);
    for coefficient in [-1.453_152, 1.421_413_8, -0.284_496_74, 0.254_829_6] {
        sum = s.fma(sum, t, s.splat(coefficient));
    }
    // erfc(|x| / sqrt 2), so that x Phi(x) is x - x erfc / 2 above 0 and x erfc / 2 below.
    let erfc = s.mul(s.mul(sum, t), exp(s, negate(s, s.mul(z, z))));
    let tail = s.mul(s.mul(x, s.splat(0.5)), erfc);
    let above = s.zero_below(s.sub(x, tail), x, s.zero());
    let below = s.sub(tail, s.zero_below(tail, x, s.zero()));
    s.add(above, below)
}

/// `x * (1 + tanh(y)) / 2` with `y = sqrt(2 / pi) (x + 0.044715 x^3)`, which is `x / (1 + exp(-2 y))`.
#[inline(always)]
fn gelu_tanh<S: Simd>(s: S, x: S::V) -> S::V {
    let cubic = s.fma(s.mul(x, x), s.splat(0.044_715), s.splat(1.0));
    let y = s.mul(s.mul(x, cubic), s.splat(-2.0 * 0.797_884_6));
    s.div(x, s.add(s.splat(1.0), exp(s, y)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Isa;

    fn gated(isa: Isa, activation: Activation, x: &[f32]) -> Vec<f32> {
        let input: Vec<f32> = x.iter().copied().chain(x.iter().map(|_| 1.0)).collect();
        let mut out = vec![f32::NAN; x.len()];
        gate(&Cores::new(isa, 1).unwrap(), activation, &input, x.len(), &mut out).unwrap();
        out
    }

    /// `integral of exp(-t^2) from 0 to x` times `2 / sqrt pi`, by its power series (|x| <= 4).
    fn erf(x: f64) -> f64 {
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    }

    #[test]
    fn agrees_with_the_formulas_on_every_instruction_set() {
        let x: Vec<f32> = (-500..=500).map(|step| step as f32 * 0.01).collect();
        type Exact = fn(f64) -> f64;
        let cases: [(Activation, Exact); 4] = [
            (Activation::Silu, |x| x / (1.0 + (-x).exp())),
            (Activation::Gelu, |x| x * (1.0 + erf(x / 2f64.sqrt())) / 2.0),
            (Activation::GeluTanh, |x| {
                let y = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
                x * (1.0 + y.tanh()) / 2.0
            }),
            (Activation::Relu, |x| x.max(0.0)),
        ];
        for (activation, exact) in cases {
            let out = gated(Isa::detect(), activation, &x);
            assert_eq!(out, gated(Isa::PORTABLE, activation, &x));
            for (x, out) in x.iter().zip(out) {
                let exact = exact(f64::from(*x));
                assert!((f64::from(out) - exact).abs() < 1e-6, "{activation:?} {x}: {out} {exact}");
            }
        }
    }

    #[test]
    fn far_ends_are_finite() {
        for activation in [Activation::Silu, Activation::Gelu, Activation::GeluTanh, Activation::Relu] {
            let out = gated(Isa::detect(), activation, &[-1e4, 1e4]);
            assert!(out[0].abs() < 1e-30 && out[1] == 1e4, "{activation:?} {out:?}");
        }
    }
}
