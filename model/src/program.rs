//! A step as a value: the operations of a forward pass over buffers whose offsets are known beforehand.
//!
//! A program is built once per bucket. Its workspace is what a step needs beside weights and KV cache, to the
//! byte, so the plan prices exactly what runs. A device may fuse operations but computes what they say.

mod decoder;
mod workspace;

use crate::dtype::Dtype;
use crate::spec::{Activation, ModelSpec, Norm};
pub use crate::weights::Heads;
use crate::weights::{WeightId, Weights};

/// Index of a buffer in [`Program::buffers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BufferId(pub usize);

/// The largest step a program takes. A larger one runs in slices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Tokens computed in one pass through the body.
    pub tokens: usize,
    /// Positions whose logits are computed in one pass through the head.
    pub outputs: usize,
}

/// What a buffer has one row for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// Each computed token.
    Tokens,
    /// Each position whose logits are wanted.
    Outputs,
}

/// A row-major matrix in the workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// What it has one row for.
    pub rows: Rows,
    /// Values a row.
    pub width: usize,
    /// Number format.
    pub dtype: Dtype,
    /// First byte in the workspace, a multiple of [`ALIGNMENT`].
    pub offset: usize,
}

/// Every buffer starts at a multiple of this many bytes.
pub const ALIGNMENT: usize = 256;

/// One operation. Inputs are read and outputs written whole, for as many rows as the step has.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// `out[t] = table[token[t]]`.
    Embed {
        /// `[vocab, width]`.
        table: WeightId,
        /// One row a token.
        out: BufferId,
    },
    /// Cosines, then sines, of the angles of each token's position (`rope.dim / 2` of each).
    Rotary {
        /// `[tokens, rope.dim]`.
        out: BufferId,
    },
    /// Normalizes each row and multiplies by `weight`.
    Norm {
        /// Kind and epsilon.
        norm: Norm,
        /// `[rows, width]`.
        input: BufferId,
        /// `[width]`.
        weight: WeightId,
        /// `[rows, width]`.
        out: BufferId,
    },
    /// `out = input * weight^T + bias`.
    Linear {
        /// `[rows, weight.cols]`.
        input: BufferId,
        /// `[weight.rows, weight.cols]`.
        weight: WeightId,
        /// `[weight.rows]`.
        bias: Option<WeightId>,
        /// `[rows, weight.rows]`.
        out: BufferId,
    },
    /// Rotates queries and keys in place.
    Rope {
        /// `[tokens, (heads + 2 * kv_heads) * head_dim]`: queries, keys, values.
        qkv: BufferId,
        /// What [`Op::Rotary`] made.
        rotary: BufferId,
    },
    /// Writes keys and values of positions that are not cached yet.
    StoreKv {
        /// As in [`Op::Rope`], rotated.
        qkv: BufferId,
        /// Layer whose cache is written.
        layer: usize,
    },
    /// Causal attention of each query over its row's cache, which holds the step's own positions already.
    Attend {
        /// As in [`Op::Rope`], rotated.
        qkv: BufferId,
        /// Layer whose cache is read.
        layer: usize,
        /// Scores are multiplied by it.
        scale: f32,
        /// `[tokens, heads * head_dim]`.
        out: BufferId,
    },
    /// `out = act(left half of input) * right half`.
    Gate {
        /// The non-linearity.
        activation: Activation,
        /// `[tokens, 2 * width]`.
        input: BufferId,
        /// `[tokens, width]`.
        out: BufferId,
    },
    /// `into += input`.
    Add {
        /// `[rows, width]`.
        input: BufferId,
        /// `[rows, width]`.
        into: BufferId,
    },
    /// Takes the rows of the positions whose logits are wanted.
    Select {
        /// One row a token.
        input: BufferId,
        /// One row an output.
        out: BufferId,
    },
    /// Samples, and takes log-probabilities, as each row asks.
    Sample {
        /// `[outputs, vocab]`.
        logits: BufferId,
    },
}

/// The operations of a step and the memory they need.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// The largest step it takes.
    pub bucket: Bucket,
    /// Run once for each slice of at most `bucket.tokens` tokens.
    pub body: Vec<Op>,
    /// Then run once for each slice of at most `bucket.outputs` outputs of these tokens.
    pub head: Vec<Op>,
    /// What operations work on.
    pub buffers: Vec<Buffer>,
    /// Bytes of the workspace.
    pub workspace: usize,
}

impl Program {
    /// The program of a decoder for steps up to `bucket`, with `activations` in the given format and logits in f32.
    pub fn decoder(spec: &ModelSpec, weights: &Weights, bucket: Bucket, activations: Dtype) -> Self {
        decoder::build(spec, weights, bucket, activations)
    }

    /// A buffer by its id.
    pub fn buffer(&self, id: BufferId) -> &Buffer {
        &self.buffers[id.0]
    }
}

impl Op {
    /// Buffers read and buffers written; a buffer changed in place is in both.
    pub fn uses(&self) -> (Vec<BufferId>, Vec<BufferId>) {
        match *self {
            Self::Embed { out, .. } | Self::Rotary { out } => (vec![], vec![out]),
            Self::Norm { input, out, .. }
            | Self::Linear { input, out, .. }
            | Self::Gate { input, out, .. }
            | Self::Select { input, out } => (vec![input], vec![out]),
            Self::Rope { qkv, rotary } => (vec![qkv, rotary], vec![qkv]),
            Self::StoreKv { qkv, .. } => (vec![qkv], vec![]),
            Self::Attend { qkv, out, .. } => (vec![qkv], vec![out]),
            Self::Add { input, into } => (vec![input, into], vec![into]),
            Self::Sample { logits } => (vec![logits], vec![]),
        }
    }
}
