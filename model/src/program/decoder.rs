//! The decoder: one program for every family, driven by its [`ModelSpec`].

use super::{Bucket, Buffer, BufferId, Op, Program, Rows, workspace};
use crate::dtype::Dtype;
use crate::spec::ModelSpec;
use crate::weights::{LayerWeights, WeightId, Weights};

pub(super) fn build(spec: &ModelSpec, weights: &Weights, bucket: Bucket, activations: Dtype) -> Program {
    let mut builder = Builder { spec, weights, activations, ops: Vec::new(), buffers: Vec::new() };
    let hidden = builder.body();
    let body = std::mem::take(&mut builder.ops);
    builder.head(hidden);
    let head = builder.ops;
    let mut buffers = builder.buffers;
    let workspace = workspace::place(&body, &head, &mut buffers, bucket);
    Program { bucket, body, head, buffers, workspace }
}

struct Builder<'a> {
    spec: &'a ModelSpec,
    weights: &'a Weights,
    activations: Dtype,
    ops: Vec<Op>,
    buffers: Vec<Buffer>,
}

impl Builder<'_> {
    /// All layers; gives back the residual stream.
    fn body(&mut self) -> BufferId {
        let hidden = self.tokens(self.spec.hidden);
        self.ops.push(Op::Embed { table: self.weights.embedding, out: hidden });
        let rotary = self.buffer(Rows::Tokens, self.spec.rope.dim, Dtype::F32);
        self.ops.push(Op::Rotary { out: rotary });
        for layer in 0..self.weights.layers.len() {
            self.attention(layer, hidden, rotary);
            self.feed_forward(layer, hidden);
        }
        hidden
    }

    fn attention(&mut self, layer: usize, hidden: BufferId, rotary: BufferId) {
        let LayerWeights { attention_norm, qkv: weight, qkv_bias, out: out_weight, out_bias, .. } =
            self.weights.layers[layer].clone();
        let normed = self.norm(hidden, attention_norm, Rows::Tokens);
        let qkv = self.linear(normed, weight, qkv_bias);
        self.ops.push(Op::Rope { qkv, rotary });
        self.ops.push(Op::StoreKv { qkv, layer });
        let out = self.tokens(self.weights.get(out_weight).cols);
        self.ops.push(Op::Attend { qkv, layer, scale: self.spec.attention_scale, out });
        let projected = self.linear(out, out_weight, out_bias);
        self.ops.push(Op::Add { input: projected, into: hidden });
    }

    fn feed_forward(&mut self, layer: usize, hidden: BufferId) {
        let LayerWeights { mlp_norm, gate_up, gate_up_bias, down, down_bias, .. } =
            self.weights.layers[layer].clone();
        let normed = self.norm(hidden, mlp_norm, Rows::Tokens);
        let input = self.linear(normed, gate_up, gate_up_bias);
        let out = self.tokens(self.weights.get(down).cols);
        self.ops.push(Op::Gate { activation: self.spec.activation, input, out });
        let projected = self.linear(out, down, down_bias);
        self.ops.push(Op::Add { input: projected, into: hidden });
    }

    /// Norm and head of the wanted positions, and the choice of tokens.
    fn head(&mut self, hidden: BufferId) {
        let selected = self.buffer(Rows::Outputs, self.spec.hidden, self.activations);
        self.ops.push(Op::Select { input: hidden, out: selected });
        let input = self.norm(selected, self.weights.norm, Rows::Outputs);
        let logits = self.buffer(Rows::Outputs, self.weights.get(self.weights.head).rows, Dtype::F32);
        self.ops.push(Op::Linear { input, weight: self.weights.head, bias: None, out: logits });
        self.ops.push(Op::Sample { logits });
    }

    fn norm(&mut self, input: BufferId, weight: WeightId, rows: Rows) -> BufferId {
        let out = self.buffer(rows, self.spec.hidden, self.activations);
        self.ops.push(Op::Norm { norm: self.spec.norm, input, weight, out });
        out
    }

    fn linear(&mut self, input: BufferId, weight: WeightId, bias: Option<WeightId>) -> BufferId {
        let out = self.tokens(self.weights.get(weight).rows);
        self.ops.push(Op::Linear { input, weight, bias, out });
        out
    }

    fn tokens(&mut self, width: usize) -> BufferId {
        self.buffer(Rows::Tokens, width, self.activations)
    }

    fn buffer(&mut self, rows: Rows, width: usize, dtype: Dtype) -> BufferId {
        self.buffers.push(Buffer { rows, width, dtype, offset: 0 });
        BufferId(self.buffers.len() - 1)
    }
}
