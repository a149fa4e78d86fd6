//! Checkpoint folders, right and wrong on purpose: files, index, configuration and the weights read from them.

mod config;
mod index;
mod safetensors;
mod weights;
mod writer;
