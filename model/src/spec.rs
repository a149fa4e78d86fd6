//! A model family as data: everything a decoder program needs to know about one model.

use crate::dtype::Dtype;
use crate::rope::Rope;

/// How one model is put together. Families make it from `config.json`; nothing else reads that file.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSpec {
    /// `model_type` of the configuration.
    pub family: String,
    /// Rows of the embedding table and of the head.
    pub vocab: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Decoder layers.
    pub layers: usize,
    /// Query heads of the whole model.
    pub heads: usize,
    /// Key and value heads of the whole model.
    pub kv_heads: usize,
    /// Values a head.
    pub head_dim: usize,
    /// Width of the feed-forward part.
    pub intermediate: usize,
    /// Normalization before attention, before the feed-forward part and before the head.
    pub norm: Norm,
    /// Activation of the gate.
    pub activation: Activation,
    /// Rotary embedding of queries and keys.
    pub rope: Rope,
    /// Queries times keys are multiplied by it.
    pub attention_scale: f32,
    /// Whether the attention projections have a bias.
    pub attention_bias: bool,
    /// Whether the feed-forward projections have a bias.
    pub mlp_bias: bool,
    /// Whether the head is the embedding table.
    pub tied: bool,
    /// Positions the model was trained for.
    pub max_positions: usize,
    /// Number format the checkpoint declares.
    pub dtype: Dtype,
}

/// A normalization of each row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Norm {
    /// Root mean square: `x / sqrt(mean(x^2) + eps) * w` (Zhang and Sennrich, 2019).
    Rms {
        /// Added to the mean square.
        eps: f32,
    },
}

/// The non-linearity of a gated feed-forward part: `act(gate) * up`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x * sigmoid(x)`.
    Silu,
    /// `x * Phi(x)`, exactly.
    Gelu,
    /// The tanh approximation of [`Activation::Gelu`].
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
}

impl Activation {
    /// From `hidden_act` of the configuration.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "silu" | "swish" => Some(Self::Silu),
            "gelu" => Some(Self::Gelu),
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Some(Self::GeluTanh),
            "relu" => Some(Self::Relu),
            _ => None,
        }
    }
}

impl ModelSpec {
    /// Values of all query heads together.
    pub fn query_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Values of all key heads together; value heads have the same.
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }
}
