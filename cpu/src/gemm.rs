//! Matrix multiplication: `out[row][n] = bias[n] + sum over k of x[row][k] * w[n][k]`.
//!
//! **Shapes.** `x` is `[rows, K]` and `out` `[rows, N]`, both row-major f32; `w` is packed (see [`crate::packed`]).
//!
//! **Numerics.** Each output starts at its bias (or 0) and takes one fused multiply-add for each `k` in order. That
//! is all: the number of rows, tiles, threads and the instruction set change which outputs are computed side by
//! side, never the order within one. Storing a sum and loading it again between chunks of `k` changes nothing.
//!
//! **Who does what.** A job is one panel of outputs for a range of rows. It takes [`DEPTH`] inputs at a time, so that
//! this piece of the panel stays in the cache of its core while all rows pass it, and then tiles of rows: up to three
//! rows by both halves of the panel, or four to six rows by one half after the other, which is what sixteen vector
//! registers of eight lanes hold. With one row, a job streams its panel once, and memory sets the pace.

use std::ops::Range;

use gristmill_model::device::DeviceError;

use crate::cores::Cores;
use crate::disjoint::Disjoint;
use crate::element::Element;
use crate::packed::{Column, HALVES, Matrix, PANEL, Values};
use crate::simd::{LANES, Simd, Task};

/// Inputs of a panel taken at a time: 64 KiB of 16-bit weights.
const DEPTH: usize = 1024;
/// Rows of the largest tile.
const TILE: usize = 6;
/// Jobs a thread should get, so that none waits long for the last one.
const JOBS_PER_THREAD: usize = 4;

/// `out = x * matrix^T + bias`.
pub(crate) fn linear(
    cores: &Cores,
    x: &[f32],
    matrix: &Matrix<'_>,
    bias: Option<&[f32]>,
    out: &mut [f32],
) -> Result<(), DeviceError> {
    match matrix.values {
        Values::F32(values) => panels(cores, x, matrix, values, bias, out),
        Values::F16(values) => panels(cores, x, matrix, values, bias, out),
        Values::Bf16(values) => panels(cores, x, matrix, values, bias, out),
    }
}

fn panels<T: Element>(
    cores: &Cores,
    x: &[f32],
    matrix: &Matrix<'_>,
    values: &[T],
    bias: Option<&[f32]>,
    out: &mut [f32],
) -> Result<(), DeviceError> {
    let (rows, panels) = (x.len() / matrix.cols, matrix.rows.div_ceil(PANEL));
    let parts = (JOBS_PER_THREAD * cores.pool.threads()).div_ceil(panels).min(rows.div_ceil(2 * TILE)).max(1);
    let height = rows.div_ceil(parts).next_multiple_of(TILE);
    let out = Disjoint::new(out);
    cores.pool.run(panels * rows.div_ceil(height), &|job| {
        let (first, panel) = (job / panels * height, job % panels);
        let columns =
            values[panel * PANEL * matrix.cols..][..PANEL * matrix.cols].as_chunks().0.as_chunks().0;
        let outputs = panel * PANEL..((panel + 1) * PANEL).min(matrix.rows);
        let bias = bias.map(|bias| &bias[outputs.clone()]);
        let rows = first..(first + height).min(rows);
        cores.isa.run(Job { x, columns, bias, out: &out, width: matrix.rows, rows, outputs });
    })
}

/// One panel for a range of rows.
struct Job<'a, T> {
    x: &'a [f32],
    columns: &'a [Column<T>],
    /// Of the panel's outputs.
    bias: Option<&'a [f32]>,
    out: &'a Disjoint<'a, f32>,
    /// Values of a row of `out`.
    width: usize,
    rows: Range<usize>,
    outputs: Range<usize>,
}

impl<T: Element> Task for Job<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut start = 0;
        while start < self.columns.len() {
            let inputs = start..(start + DEPTH).min(self.columns.len());
            let mut row = self.rows.start;
            while row < self.rows.end {
                let left = self.rows.end - row;
                // As few tiles as can be, and of like height: seven rows are four and three.
                row += match left.div_ceil(left.div_ceil(TILE)) {
                    1 => self.wide::<S, 1>(simd, row, inputs.clone()),
                    2 => self.wide::<S, 2>(simd, row, inputs.clone()),
                    3 => self.wide::<S, 3>(simd, row, inputs.clone()),
                    4 => self.tall::<S, 4>(simd, row, inputs.clone()),
                    5 => self.tall::<S, 5>(simd, row, inputs.clone()),
                    _ => self.tall::<S, TILE>(simd, row, inputs.clone()),
                };
            }
            start = inputs.end;
        }
    }
}

impl<T: Element> Job<'_, T> {
    /// A tile of few rows: the whole panel at once.
    #[inline(always)]
    fn wide<S: Simd, const M: usize>(&self, simd: S, row: usize, inputs: Range<usize>) -> usize {
        self.tile::<S, M, HALVES>(simd, row, 0, inputs);
        M
    }

    /// A tile of many rows: one half of the panel after the other.
    #[inline(always)]
    fn tall<S: Simd, const M: usize>(&self, simd: S, row: usize, inputs: Range<usize>) -> usize {
        for half in 0..HALVES {
            self.tile::<S, M, 1>(simd, row, half, inputs.clone());
        }
        M
    }

    /// `M` rows by `W` vectors of outputs from vector `half` of the panel on.
    #[inline(always)]
    fn tile<S: Simd, const M: usize, const W: usize>(
        &self,
        simd: S,
        row: usize,
        half: usize,
        inputs: Range<usize>,
    ) {
        let mut sums = [[simd.zero(); W]; M];
        for (m, sums) in sums.iter_mut().enumerate() {
            for (w, sum) in sums.iter_mut().enumerate() {
                *sum = self.begin(simd, row + m, half + w, inputs.start);
            }
        }
        let mut x: [&[f32]; M] = [&[]; M];
        for (m, x) in x.iter_mut().enumerate() {
            *x = &self.x[(row + m) * self.columns.len()..][inputs.clone()];
        }
        let sums = accumulate(simd, x, &self.columns[inputs], half, sums);
        for (m, sums) in sums.iter().enumerate() {
            for (w, sum) in sums.iter().enumerate() {
                self.store(simd, row + m, half + w, *sum);
            }
        }
    }

    /// What a sum starts from: the bias, or what was summed before this chunk of inputs.
    #[inline(always)]
    fn begin<S: Simd>(&self, simd: S, row: usize, vector: usize, input: usize) -> S::V {
        if input > 0 {
            return self.load(simd, row, vector);
        }
        match self.bias {
            Some(bias) => simd.load_part(&bias[self.lanes(vector)], 0.0),
            None => simd.zero(),
        }
    }

    /// Outputs of a vector, within the panel.
    #[inline(always)]
    fn lanes(&self, vector: usize) -> Range<usize> {
        let len = self.outputs.len();
        (vector * LANES).min(len)..((vector + 1) * LANES).min(len)
    }

    #[inline(always)]
    fn load<S: Simd>(&self, simd: S, row: usize, vector: usize) -> S::V {
        // SAFETY: a job has its panel and rows for itself, and this part is let go at once.
        simd.load_part(unsafe { self.out.part(self.range(row, vector)) }, 0.0)
    }

    #[inline(always)]
    fn store<S: Simd>(&self, simd: S, row: usize, vector: usize, sum: S::V) {
        // SAFETY: as in `load`.
        simd.store_part(sum, unsafe { self.out.part(self.range(row, vector)) });
    }

    /// Where a vector of outputs of a row is.
    #[inline(always)]
    fn range(&self, row: usize, vector: usize) -> Range<usize> {
        let (lanes, start) = (self.lanes(vector), row * self.width + self.outputs.start);
        start + lanes.start..start + lanes.end
    }
}

/// The inner loop: for each input, `W` vectors of weights times one value of each of `M` rows.
#[inline(always)]
fn accumulate<S: Simd, T: Element, const M: usize, const W: usize>(
    simd: S,
    x: [&[f32]; M],
    columns: &[Column<T>],
    half: usize,
    mut sums: [[S::V; W]; M],
) -> [[S::V; W]; M] {
    let mut rows = x;
    for row in &mut rows {
        *row = &row[..columns.len()];
    }
    for (k, column) in columns.iter().enumerate() {
        let mut weights = [simd.zero(); W];
        for (w, weights) in weights.iter_mut().enumerate() {
            *weights = T::load(simd, &column[(half + w) % HALVES]);
        }
        for m in 0..M {
            let value = simd.splat(rows[m][k]);
            for w in 0..W {
                sums[m][w] = simd.fma(value, weights[w], sums[m][w]);
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use gristmill_model::dtype::Dtype;
    use proptest::prelude::*;

    use super::*;
    use crate::packed::sample::Sample;
    use crate::simd::Isa;

    /// Numbers that look random, the same each time.
    fn numbers(len: usize, seed: u32) -> Vec<f32> {
        let mut state = seed.wrapping_mul(747_796_405).wrapping_add(1);
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..len).map(|_| next()).collect()
    }

    fn matrix(rows: usize, cols: usize, dtype: Dtype) -> Sample {
        let values = numbers(rows * cols, 17);
        let read = |range: Range<usize>, out: &mut [f32]| {
            out.copy_from_slice(&values[range.start * cols..range.end * cols]);
            Ok(())
        };
        Sample::new((rows, cols), dtype, 1, &read)
    }

    fn product(isa: Isa, threads: usize, x: &[f32], matrix: &Matrix<'_>, bias: Option<&[f32]>) -> Vec<f32> {
        let mut out = vec![f32::NAN; x.len() / matrix.cols * matrix.rows];
        linear(&Cores::new(isa, threads).unwrap(), x, matrix, bias, &mut out).unwrap();
        out
    }

    fn dtypes() -> impl Strategy<Value = Dtype> {
        prop_oneof![Just(Dtype::F32), Just(Dtype::F16), Just(Dtype::Bf16)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn agrees_with_a_plain_sum(
            rows in 1usize..16, cols in 1usize..80, outputs in 1usize..80, dtype in dtypes(), biased: bool,
        ) {
            let (held, x) = (matrix(outputs, cols, dtype), numbers(rows * cols, 3));
            let matrix = held.matrix();
            let bias = biased.then(|| numbers(outputs, 5));
            let out = product(Isa::detect(), 2, &x, &matrix, bias.as_deref());
            let mut weights = vec![0.0; cols];
            for (output, bias) in (0..outputs).map(|n| (n, bias.as_ref().map_or(0.0, |bias| bias[n]))) {
                matrix.row(output, &mut weights);
                for row in 0..rows {
                    let terms = x[row * cols..].iter().zip(&weights).map(|(x, w)| f64::from(*x) * f64::from(*w));
                    let exact = f64::from(bias) + terms.sum::<f64>();
                    prop_assert!((exact - f64::from(out[row * outputs + output])).abs() < 1e-5);
                }
            }
        }

        #[test]
        fn rows_threads_and_instruction_sets_change_no_bit(
            rows in 1usize..40, cols in 1usize..2100, outputs in 1usize..100, dtype in dtypes(), threads in 1usize..5,
        ) {
            let held = matrix(outputs, cols, dtype);
            let (matrix, x, bias) = (held.matrix(), numbers(rows * cols, 3), numbers(outputs, 5));
            let all = product(Isa::detect(), threads, &x, &matrix, Some(&bias));
            prop_assert_eq!(&product(Isa::PORTABLE, 1, &x, &matrix, Some(&bias)), &all);
            for (x, out) in x.chunks_exact(cols).zip(all.chunks_exact(outputs)) {
                prop_assert_eq!(product(Isa::detect(), 1, x, &matrix, Some(&bias)), out);
            }
        }
    }

    /// `cargo test -p gristmill-cpu -- --ignored --nocapture speed`
    #[test]
    #[ignore = "prints speeds, checks nothing"]
    fn speed() {
        let threads = std::thread::available_parallelism().unwrap().get();
        for (threads, dtype) in
            [(1, Dtype::F32), (1, Dtype::Bf16), (threads, Dtype::F32), (threads, Dtype::Bf16)]
        {
            let cores = Cores::new(Isa::detect(), threads).unwrap();
            for (cols, outputs) in [(576, 1536), (1536, 576)] {
                // Enough copies that one row finds its weights in memory, not in a cache.
                let matrices: Vec<_> = (0..64).map(|_| matrix(outputs, cols, dtype)).collect();
                for rows in [1, 2, 4, 6, 8, 32, 96, 512] {
                    let (x, mut out) = (numbers(rows * cols, 1), vec![0.0; rows * outputs]);
                    let (mut best, begin) = (f64::MAX, Instant::now());
                    while begin.elapsed().as_secs_f64() < 0.3 {
                        for matrix in &matrices {
                            let start = Instant::now();
                            linear(&cores, &x, &matrix.matrix(), None, &mut out).unwrap();
                            best = best.min(start.elapsed().as_secs_f64());
                        }
                    }
                    let bytes = (outputs * cols * dtype.bytes()) as f64;
                    let flops = (2 * rows * outputs * cols) as f64;
                    println!(
                        "{threads} threads {dtype} {rows}x{cols}x{outputs}: {:.1} GFLOP/s {:.1} GB/s",
                        flops / best / 1e9,
                        bytes / best / 1e9
                    );
                }
            }
        }
    }
}
