//! The memory of one rank, to the byte, from the description of a model and file headers only.

use crate::device::{BLOCK_SIZE, KvSpec};
use crate::dtype::Dtype;
use crate::program::Program;
use crate::spec::ModelSpec;
use crate::weights::{Rank, Weights};

/// What one rank takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ledger {
    /// Weights as the device holds them.
    pub weights: u64,
    /// Keys and values of one token.
    pub kv_per_token: u64,
    /// What a step needs beside them.
    pub workspace: u64,
}

impl Ledger {
    /// The ledger of a rank whose matrices are held in `weights_dtype`; vectors are held in f32.
    pub fn new(
        spec: &ModelSpec,
        weights: &Weights,
        rank: Rank,
        weights_dtype: Dtype,
        kv: Dtype,
        program: &Program,
    ) -> Self {
        let held = weights.iter().map(|(_, weight)| {
            let dtype = if weight.is_vector() { Dtype::F32 } else { weights_dtype };
            (weight.len() * dtype.bytes()) as u64
        });
        Self {
            weights: held.sum(),
            kv_per_token: kv_per_token(spec, rank, kv),
            workspace: program.workspace as u64,
        }
    }

    /// Blocks that fit into `bytes`.
    pub fn blocks(&self, bytes: u64) -> usize {
        (bytes / (self.kv_per_token * BLOCK_SIZE as u64)) as usize
    }

    /// Bytes of a cache.
    pub fn kv(&self, kv: KvSpec) -> u64 {
        self.kv_per_token * (kv.blocks * BLOCK_SIZE) as u64
    }
}

/// Bytes of keys and values of one token on one rank; KV heads fewer than ranks are held by several of them.
pub fn kv_per_token(spec: &ModelSpec, rank: Rank, dtype: Dtype) -> u64 {
    let heads = spec.kv_heads.div_ceil(rank.world);
    (2 * spec.layers * heads * spec.head_dim * dtype.bytes()) as u64
}
