//! What a model is: checkpoint files as data, families, the step as a value, and its memory to the byte.
//!
//! This crate is the only reader of `config.json` and of weight file headers. It computes nothing: a
//! [`device::Device`] does, from the [`program::Program`] built here.

#![forbid(unsafe_code)]

pub mod checkpoint;
pub mod device;
pub mod dtype;
pub mod families;
pub mod plan;
pub mod program;
pub mod rope;
pub mod sampling;
pub mod spec;
pub mod weights;
