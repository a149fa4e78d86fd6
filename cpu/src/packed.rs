//! Weights as kernels read them.
//!
//! A matrix `[outputs, inputs]` is cut into panels of [`PANEL`] outputs. Within a panel the values of one input lie
//! side by side (`panel[input][output]`), so a kernel walks a panel from front to back, whatever the number of rows
//! it multiplies. The last panel is filled up with zeros. Vectors are plain f32.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use gristmill_model::checkpoint::{Checkpoint, CheckpointError};
use gristmill_model::device::DeviceError;
use gristmill_model::dtype::Dtype;
use gristmill_model::weights::{Weight, WeightId, Weights};
use half::{bf16, f16};

use crate::element::Element;
use crate::memory::{Memory, Pages};
use crate::pool::Pool;
use crate::simd::LANES;

/// Vectors in one row of a panel.
pub(crate) const HALVES: usize = 2;
/// Outputs of a panel.
pub(crate) const PANEL: usize = HALVES * LANES;
/// Values read from a checkpoint at a time and thread.
const READ: usize = 1 << 15;

/// The values of one input for the outputs of a panel.
pub(crate) type Column<T> = [[T; LANES]; HALVES];

/// A matrix in panels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matrix<'a> {
    /// Outputs.
    pub(crate) rows: usize,
    /// Inputs.
    pub(crate) cols: usize,
    pub(crate) values: Values<'a>,
}

/// Panels in one of the number formats.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Values<'a> {
    F32(&'a [f32]),
    F16(&'a [f16]),
    Bf16(&'a [bf16]),
}

impl Matrix<'_> {
    /// A row, widened: one row of an embedding table.
    pub(crate) fn row(&self, row: usize, out: &mut [f32]) {
        match self.values {
            Values::F32(values) => gather(values, self.cols, row, out),
            Values::F16(values) => gather(values, self.cols, row, out),
            Values::Bf16(values) => gather(values, self.cols, row, out),
        }
    }
}

fn gather<T: Element>(values: &[T], cols: usize, row: usize, out: &mut [f32]) {
    let panel = &values[row / PANEL * PANEL * cols..][..PANEL * cols];
    for (out, column) in out.iter_mut().zip(panel.chunks_exact(PANEL)) {
        *out = column[row % PANEL].widen();
    }
}

/// Reads rows of a matrix, row-major.
type Read<'a> = dyn Fn(Range<usize>, &mut [f32]) -> Result<(), CheckpointError> + Sync + 'a;

/// Values of the panels of a matrix.
fn packed_len(rows: usize, cols: usize) -> usize {
    rows.next_multiple_of(PANEL) * cols
}

/// Packs what `read` gives for ranges of rows into `panels`, in parallel.
fn pack<T: Element>(
    (rows, cols): (usize, usize),
    pool: &Pool,
    read: &Read<'_>,
    panels: &mut [T],
) -> Result<(), DeviceError> {
    let at_once = (READ / (PANEL * cols)).max(1);
    let failure = Mutex::new(None);
    pool.chunks(panels, at_once * PANEL * cols, |index, panels| {
        let first = index * at_once * PANEL;
        let range = first..(first + at_once * PANEL).min(rows);
        let mut values = vec![0.0; range.len() * cols];
        match read(range, &mut values) {
            Ok(()) => interleave(&values, cols, panels),
            Err(error) => *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error),
        }
    })?;
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}

/// Rows of f32 into panels, a square of values at a time.
fn interleave<T: Element>(values: &[f32], cols: usize, panels: &mut [T]) {
    for (rows, panel) in values.chunks(PANEL * cols).zip(panels.chunks_exact_mut(PANEL * cols)) {
        for (square, out) in panel.chunks_mut(PANEL * LANES).enumerate() {
            let (first, width) = (square * LANES, out.len() / PANEL);
            let mut turned = [[0.0; PANEL]; LANES];
            for (index, row) in rows.chunks_exact(cols).take(PANEL).enumerate() {
                for (turned, value) in turned.iter_mut().zip(&row[first..first + width]) {
                    turned[index % PANEL] = *value;
                }
            }
            T::narrow(&turned.as_flattened()[..out.len()], out);
        }
    }
}

/// The weights of one rank: all matrices in one array, and the vectors.
#[derive(Debug)]
pub(crate) struct Store {
    matrices: Matrices,
    held: Vec<Held>,
}

#[derive(Debug)]
enum Matrices {
    F32(Memory<f32>),
    F16(Memory<f16>),
    Bf16(Memory<bf16>),
}

#[derive(Debug)]
enum Held {
    Matrix { rows: usize, cols: usize, start: usize },
    Vector(Vec<f32>),
}

impl Store {
    /// Reads every weight, matrices into `dtype`.
    pub(crate) fn load(
        weights: &Weights,
        dtype: Dtype,
        checkpoint: &Checkpoint,
        pool: &Pool,
    ) -> Result<Self, DeviceError> {
        let (mut held, mut len) = (Vec::new(), 0);
        for (_, weight) in weights.iter() {
            if weight.is_vector() {
                held.push(Held::Vector(vector(weight, checkpoint)?));
            } else {
                held.push(Held::Matrix { rows: weight.rows, cols: weight.cols, start: len });
                len += packed_len(weight.rows, weight.cols);
            }
        }
        let matrices = match dtype {
            Dtype::F32 => Matrices::F32(fill(weights, len, checkpoint, pool)?),
            Dtype::F16 => Matrices::F16(fill(weights, len, checkpoint, pool)?),
            Dtype::Bf16 => Matrices::Bf16(fill(weights, len, checkpoint, pool)?),
        };
        Ok(Self { matrices, held })
    }

    /// A matrix.
    pub(crate) fn matrix(&self, id: WeightId) -> Result<Matrix<'_>, DeviceError> {
        let Held::Matrix { rows, cols, start } = self.held[id.0] else {
            return Err(DeviceError::Refused(format!("weight {} is a vector, not a matrix", id.0)));
        };
        let range = start..start + packed_len(rows, cols);
        let values = match &self.matrices {
            Matrices::F32(values) => Values::F32(&values[range]),
            Matrices::F16(values) => Values::F16(&values[range]),
            Matrices::Bf16(values) => Values::Bf16(&values[range]),
        };
        Ok(Matrix { rows, cols, values })
    }

    /// A vector.
    pub(crate) fn vector(&self, id: WeightId) -> Result<&[f32], DeviceError> {
        match &self.held[id.0] {
            Held::Vector(vector) => Ok(vector),
            Held::Matrix { .. } => {
                Err(DeviceError::Refused(format!("weight {} is a matrix, not a vector", id.0)))
            }
        }
    }
}

fn vector(weight: &Weight, checkpoint: &Checkpoint) -> Result<Vec<f32>, CheckpointError> {
    let mut vector = vec![0.0; weight.rows];
    weight.read(checkpoint, 0..weight.rows, &mut vector)?;
    Ok(vector)
}

/// All matrices, one after the other.
fn fill<T: Element>(
    weights: &Weights,
    len: usize,
    checkpoint: &Checkpoint,
    pool: &Pool,
) -> Result<Memory<T>, DeviceError> {
    let mut memory = Memory::zeroed(len, Pages::Large, "weights")?;
    let mut rest = &mut memory[..];
    for (_, weight) in weights.iter().filter(|(_, weight)| !weight.is_vector()) {
        let (panels, after) = rest.split_at_mut(packed_len(weight.rows, weight.cols));
        let read = |rows, out: &mut [f32]| weight.read(checkpoint, rows, out);
        pack((weight.rows, weight.cols), pool, &read, panels)?;
        rest = after;
    }
    Ok(memory)
}

/// A packed matrix by itself, for tests of kernels.
#[cfg(test)]
pub(crate) mod sample {
    use super::*;

    /// A matrix and its memory.
    pub(crate) struct Sample {
        shape: (usize, usize),
        matrices: Matrices,
    }

    impl Sample {
        pub(crate) fn new(shape: (usize, usize), dtype: Dtype, threads: usize, read: &Read<'_>) -> Self {
            let pool = Pool::new(threads).unwrap();
            let matrices = match dtype {
                Dtype::F32 => Matrices::F32(packed(shape, &pool, read)),
                Dtype::F16 => Matrices::F16(packed(shape, &pool, read)),
                Dtype::Bf16 => Matrices::Bf16(packed(shape, &pool, read)),
            };
            Self { shape, matrices }
        }

        pub(crate) fn matrix(&self) -> Matrix<'_> {
            let values = match &self.matrices {
                Matrices::F32(values) => Values::F32(values),
                Matrices::F16(values) => Values::F16(values),
                Matrices::Bf16(values) => Values::Bf16(values),
            };
            Matrix { rows: self.shape.0, cols: self.shape.1, values }
        }
    }

    fn packed<T: Element>(shape: (usize, usize), pool: &Pool, read: &Read<'_>) -> Memory<T> {
        let mut memory = Memory::zeroed(packed_len(shape.0, shape.1), Pages::Small, "test").unwrap();
        pack(shape, pool, read, &mut memory).unwrap();
        memory
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::sample::Sample;
    use super::*;

    fn value(row: usize, col: usize) -> f32 {
        (row * 1000 + col) as f32
    }

    fn packed(rows: usize, cols: usize, dtype: Dtype, threads: usize) -> Sample {
        let read = |range: Range<usize>, out: &mut [f32]| {
            for (row, out) in range.zip(out.chunks_exact_mut(cols)) {
                out.iter_mut().enumerate().for_each(|(col, out)| *out = value(row, col));
            }
            Ok(())
        };
        Sample::new((rows, cols), dtype, threads, &read)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn every_value_is_in_its_panel(rows in 1usize..200, cols in 1usize..70, threads in 1usize..4) {
            let matrix = packed(rows, cols, Dtype::F32, threads);
            let Values::F32(values) = matrix.matrix().values else { panic!("not f32") };
            prop_assert_eq!(values.len(), rows.next_multiple_of(PANEL) * cols);
            for (index, &held) in values.iter().enumerate() {
                let (panel, within) = (index / (PANEL * cols), index % (PANEL * cols));
                let (row, col) = (panel * PANEL + within % PANEL, within / PANEL);
                prop_assert_eq!(held, if row < rows { value(row, col) } else { 0.0 });
            }
        }

        #[test]
        fn rows_come_back(rows in 1usize..100, cols in 1usize..40, row in 0usize..100) {
            let row = row % rows;
            let mut out = vec![0.0; cols];
            packed(rows, cols, Dtype::F32, 2).matrix().row(row, &mut out);
            prop_assert_eq!(out, (0..cols).map(|col| value(row, col)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn halves_are_rounded() {
        let mut out = [0.0; 3];
        packed(5, 3, Dtype::Bf16, 1).matrix().row(4, &mut out);
        assert_eq!(out, [4000.0, 4000.0, 4000.0]);
        packed(5, 3, Dtype::F16, 1).matrix().row(4, &mut out);
        assert_eq!(out, [4000.0, 4000.0, 4002.0]);
    }

    #[test]
    fn a_read_error_is_handed_on() {
        let read = |range: Range<usize>, _: &mut [f32]| match range.start {
            0 => Ok(()),
            row => Err(CheckpointError::new(std::path::Path::new("model.safetensors"), format!("row {row}"))),
        };
        let mut panels = vec![0.0f32; 2 * READ];
        let pool = Pool::new(2).unwrap();
        let error = pack((64, READ / 32), &pool, &read, &mut panels).unwrap_err();
        assert_eq!(error.to_string(), "model.safetensors: row 32");
    }
}
