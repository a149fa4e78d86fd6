//! Weights as kernels read them.
//!
//! A matrix `[outputs, inputs]` is cut into panels of [`PANEL`] outputs. Within a panel the values of one input lie
//! side by side (`panel[input][output]`), so a kernel walks a panel from front to back, whatever the number of rows
//! it multiplies. The last panel is filled up with zeros. Vectors are plain f32.

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
const READ: usize = 1 << 18;

/// The values of one input for the outputs of a panel.
pub(crate) type Column<T> = [[T; LANES]; HALVES];

/// A matrix in panels.
#[derive(Debug)]
pub(crate) struct Matrix {
    /// Outputs.
    pub(crate) rows: usize,
    /// Inputs.
    pub(crate) cols: usize,
    pub(crate) values: Values,
}

/// Panels in one of the number formats.
#[derive(Debug)]
pub(crate) enum Values {
    F32(Memory<f32>),
    F16(Memory<f16>),
    Bf16(Memory<bf16>),
}

impl Matrix {
    /// A row, widened: one row of an embedding table.
    pub(crate) fn row(&self, row: usize, out: &mut [f32]) {
        match &self.values {
            Values::F32(values) => self.gather(values, row, out),
            Values::F16(values) => self.gather(values, row, out),
            Values::Bf16(values) => self.gather(values, row, out),
        }
    }

    fn gather<T: Element>(&self, values: &[T], row: usize, out: &mut [f32]) {
        let panel = &values[row / PANEL * PANEL * self.cols..][..PANEL * self.cols];
        for (out, column) in out.iter_mut().zip(panel.chunks_exact(PANEL)) {
            *out = column[row % PANEL].widen();
        }
    }

    /// Packs what `read` gives for ranges of rows, in parallel.
    pub(crate) fn pack(
        (rows, cols): (usize, usize),
        dtype: Dtype,
        pool: &Pool,
        read: &(dyn Fn(std::ops::Range<usize>, &mut [f32]) -> Result<(), CheckpointError> + Sync),
    ) -> Result<Self, DeviceError> {
        let values = match dtype {
            Dtype::F32 => Values::F32(panels((rows, cols), pool, read)?),
            Dtype::F16 => Values::F16(panels((rows, cols), pool, read)?),
            Dtype::Bf16 => Values::Bf16(panels((rows, cols), pool, read)?),
        };
        Ok(Self { rows, cols, values })
    }
}

fn panels<T: Element>(
    (rows, cols): (usize, usize),
    pool: &Pool,
    read: &(dyn Fn(std::ops::Range<usize>, &mut [f32]) -> Result<(), CheckpointError> + Sync),
) -> Result<Memory<T>, DeviceError> {
    let mut memory = Memory::<T>::zeroed(rows.next_multiple_of(PANEL) * cols, Pages::Large, "weights")?;
    let at_once = (READ / (PANEL * cols)).max(1);
    let failure = Mutex::new(None);
    pool.chunks(&mut memory, at_once * PANEL * cols, |index, panels| {
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
        None => Ok(memory),
    }
}

/// Rows of f32 into panels.
fn interleave<T: Element>(values: &[f32], cols: usize, panels: &mut [T]) {
    for (rows, panel) in values.chunks(PANEL * cols).zip(panels.chunks_exact_mut(PANEL * cols)) {
        let mut column = [0.0; PANEL];
        for (input, out) in panel.chunks_exact_mut(PANEL).enumerate() {
            for (value, row) in column.iter_mut().zip(rows.chunks_exact(cols)) {
                *value = row[input];
            }
            T::narrow(&column, out);
        }
    }
}

/// The weights of one rank.
#[derive(Debug)]
pub(crate) struct Store {
    held: Vec<Held>,
}

#[derive(Debug)]
enum Held {
    Matrix(Matrix),
    Vector(Vec<f32>),
}

impl Store {
    /// Reads every weight, matrices into `dtype`.
    pub(crate) fn load(weights: &Weights, dtype: Dtype, checkpoint: &Checkpoint, pool: &Pool) -> Result<Self, DeviceError> {
        let hold = |weight: &Weight| hold(weight, dtype, checkpoint, pool);
        Ok(Self { held: weights.iter().map(|(_, weight)| hold(weight)).collect::<Result<_, _>>()? })
    }

    /// A matrix.
    pub(crate) fn matrix(&self, id: WeightId) -> Result<&Matrix, DeviceError> {
        match &self.held[id.0] {
            Held::Matrix(matrix) => Ok(matrix),
            Held::Vector(_) => Err(DeviceError::Refused(format!("weight {} is a vector, not a matrix", id.0))),
        }
    }

    /// A vector.
    pub(crate) fn vector(&self, id: WeightId) -> Result<&[f32], DeviceError> {
        match &self.held[id.0] {
            Held::Vector(vector) => Ok(vector),
            Held::Matrix(_) => Err(DeviceError::Refused(format!("weight {} is a matrix, not a vector", id.0))),
        }
    }
}

fn hold(weight: &Weight, dtype: Dtype, checkpoint: &Checkpoint, pool: &Pool) -> Result<Held, DeviceError> {
    if weight.is_vector() {
        let mut vector = vec![0.0; weight.rows];
        weight.read(checkpoint, 0..weight.rows, &mut vector)?;
        return Ok(Held::Vector(vector));
    }
    let read = |rows, out: &mut [f32]| weight.read(checkpoint, rows, out);
    Matrix::pack((weight.rows, weight.cols), dtype, pool, &read).map(Held::Matrix)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value(row: usize, col: usize) -> f32 {
        (row * 1000 + col) as f32
    }

    fn packed(rows: usize, cols: usize, dtype: Dtype, threads: usize) -> Matrix {
        let read = |range: std::ops::Range<usize>, out: &mut [f32]| {
            for (row, out) in range.zip(out.chunks_exact_mut(cols)) {
                out.iter_mut().enumerate().for_each(|(col, out)| *out = value(row, col));
            }
            Ok(())
        };
        Matrix::pack((rows, cols), dtype, &Pool::new(threads).unwrap(), &read).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn every_value_is_in_its_panel(rows in 1usize..200, cols in 1usize..70, threads in 1usize..4) {
            let matrix = packed(rows, cols, Dtype::F32, threads);
            let Values::F32(values) = &matrix.values else { panic!("not f32") };
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
            packed(rows, cols, Dtype::F32, 2).row(row, &mut out);
            prop_assert_eq!(out, (0..cols).map(|col| value(row, col)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn halves_are_rounded() {
        let mut out = [0.0; 3];
        packed(5, 3, Dtype::Bf16, 1).row(4, &mut out);
        assert_eq!(out, [4000.0, 4000.0, 4000.0]);
        packed(5, 3, Dtype::F16, 1).row(4, &mut out);
        assert_eq!(out, [4000.0, 4000.0, 4002.0]);
    }

    #[test]
    fn a_read_error_is_handed_on() {
        let read = |range: std::ops::Range<usize>, _: &mut [f32]| match range.start {
            0 => Ok(()),
            row => Err(CheckpointError::new(std::path::Path::new("model.safetensors"), format!("row {row}"))),
        };
        let error = Matrix::pack((64, READ / 32), Dtype::F32, &Pool::new(2).unwrap(), &read).unwrap_err();
        assert_eq!(error.to_string(), "model.safetensors: row 32");
    }
}
