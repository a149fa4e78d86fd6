//! Normalization of rows.
//!
//! **Root mean square.** `out = x / sqrt(mean(x^2) + eps) * weight`. Squares are summed in sixteen lanes (lane `i` takes
//! values `i`, `i + 16`, ...), then across lanes; all f32. One job takes some rows.

use gristmill_model::device::DeviceError;
use gristmill_model::spec::Norm;

use crate::cores::Cores;
use crate::simd::{LANES, Simd, Task};

/// Values a job should have, so that handing it out is worth it.
pub(crate) const GRAIN: usize = 1 << 14;

/// Normalizes every row of `input` into `out`.
pub(crate) fn norm(
    cores: &Cores,
    norm: Norm,
    input: &[f32],
    weight: &[f32],
    out: &mut [f32],
) -> Result<(), DeviceError> {
    let Norm::Rms { eps } = norm;
    let width = weight.len();
    let size = (GRAIN / width).max(1) * width;
    cores.pool.chunks(out, size, |index, out| {
        for (row, out) in input[index * size..].chunks_exact(width).zip(out.chunks_exact_mut(width)) {
            cores.isa.run(Rms { eps, row, weight, out });
        }
    })
}

/// One row.
struct Rms<'a> {
    eps: f32,
    row: &'a [f32],
    weight: &'a [f32],
    out: &'a mut [f32],
}

impl Task for Rms<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let mut squares = s.zero();
        for values in self.row.chunks(LANES) {
            let values = s.load_part(values, 0.0);
            squares = s.fma(values, values, squares);
        }
        let mean = s.sum(squares) / self.row.len() as f32;
        let scale = s.splat(1.0 / (mean + self.eps).sqrt());
        let inputs = self.row.chunks(LANES).zip(self.weight.chunks(LANES));
        for ((values, weight), out) in inputs.zip(self.out.chunks_mut(LANES)) {
            let normed = s.mul(s.load_part(values, 0.0), scale);
            s.store_part(s.mul(normed, s.load_part(weight, 0.0)), out);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::simd::Isa;

    proptest! {
        #[test]
        fn agrees_with_the_formula_on_every_instruction_set(
            width in 1usize..100,
            rows in 1usize..5,
            values in prop::collection::vec(-10.0f32..10.0, 500),
        ) {
            let (input, weight) = (&values[..width * rows], &values[100..100 + width]);
            let eps = 1e-5;
            let run = |isa| {
                let mut out = vec![0.0; width * rows];
                norm(&Cores::new(isa, 2).unwrap(), Norm::Rms { eps }, input, weight, &mut out).unwrap();
                out
            };
            let out = run(Isa::detect());
            prop_assert_eq!(&run(Isa::PORTABLE), &out);
            for (row, out) in input.chunks_exact(width).zip(out.chunks_exact(width)) {
                let mean = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / width as f64;
                for ((x, w), out) in row.iter().zip(weight).zip(out) {
                    let exact = f64::from(*x) / (mean + f64::from(eps)).sqrt() * f64::from(*w);
                    prop_assert!((exact - f64::from(*out)).abs() <= 1e-6 * exact.abs().max(1.0));
                }
            }
        }
    }
}
