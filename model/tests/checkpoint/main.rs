//! Checkpoint folders, right and wrong on purpose: files, index, configuration and the weights read from them.

#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod config;
mod index;
mod safetensors;
mod weights;
mod writer;
