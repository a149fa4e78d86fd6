//! The CPU device: runs a [`gristmill_model::program::Program`] on the cores of this machine.
//!
//! **Batch invariance is the law.** Every value is computed in one fixed order of operations, whatever the
//! number of rows, slices, threads or neighbours, and in the same order on every instruction set. So a row's
//! bytes never depend on what runs beside it, and the fast kernels are tested bit for bit against the portable
//! ones. Activations and sums are f32; weights and the KV cache are f32, f16 or bf16, widened in registers.
//!
//! Read in this order: [`device`] (admit, submit, collect), `step` (a step cut into slices), `engine` (one
//! operation after the other), then the kernels: `gemm`, `attention`, `norm`, `rope`, `gate`, and `sample`.
//! Kernels are written once over the trait `simd::Simd`. Unsafe code is in `memory`, `pool`, `disjoint`, `element`
//! and `simd`, and in the few places where a kernel takes its own part of a `Disjoint` slice.

mod attention;
mod cores;
pub mod device;
mod disjoint;
mod element;
mod engine;
mod exp;
mod gate;
mod gemm;
mod kv;
mod memory;
mod norm;
mod packed;
mod philox;
mod pool;
mod rope;
mod row;
mod sample;
mod simd;
mod step;

pub use device::{CpuConfig, CpuDevice};
