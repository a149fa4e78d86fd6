//! The llama architecture of GGUF: metadata to `config.json`, tensor names and shapes to the hub's.

use std::collections::BTreeSet;

use gristmill_model::checkpoint::CheckpointError;
use gristmill_model::checkpoint::gguf::{Encoding, Header, Tensor};
use serde_json::{Value, json};

use super::rope;
use super::weights::Weight;

/// What the metadata says of the model.
pub(super) struct Llama {
    hidden: u64,
    intermediate: u64,
    layers: u64,
    heads: u64,
    kv_heads: u64,
    head_dim: u64,
    epsilon: f32,
    theta: f32,
    rope_scaling: Option<Value>,
    tied: bool,
    /// Rows of the embedding table.
    pub(super) vocab: u64,
    /// Positions the model was trained on.
    pub(super) context: u64,
}

/// Values of a head; models in use have up to 256.
const MAX_HEAD_DIM: u64 = 4096;

const EMBEDDING: &str = "token_embd.weight";
const HEAD: &str = "output.weight";

impl Llama {
    pub(super) fn read(header: &Header) -> Result<Self, CheckpointError> {
        refuse_experts(header)?;
        let (hidden, heads) =
            (count(header, "llama.embedding_length")?, count(header, "llama.attention.head_count")?);
        let kv_heads = match header.find("llama.attention.head_count_kv")? {
            Some(kv_heads) => kv_heads,
            None => heads,
        };
        let head_dim = match header.find::<u64>("llama.attention.key_length")? {
            Some(head_dim) => head_dim,
            None => hidden / heads,
        };
        check_head_dim(header, head_dim)?;
        let theta = header.find("llama.rope.freq_base")?.unwrap_or(10_000.0);
        Ok(Self {
            hidden,
            heads,
            kv_heads,
            head_dim,
            theta,
            intermediate: count(header, "llama.feed_forward_length")?,
            layers: count(header, "llama.block_count")?,
            epsilon: header.require("llama.attention.layer_norm_rms_epsilon")?,
            rope_scaling: rope::scaling(header, head_dim, theta)?,
            tied: !header.tensors().contains_key(HEAD),
            vocab: vocab(header)?,
            context: count(header, "llama.context_length")?,
        })
    }

    pub(super) fn config(&self) -> Value {
        let mut config = json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": self.vocab,
            "hidden_size": self.hidden,
            "intermediate_size": self.intermediate,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "max_position_embeddings": self.context,
            "rms_norm_eps": decimal(self.epsilon),
            "rope_theta": decimal(self.theta),
            "tie_word_embeddings": self.tied,
        });
        if let Some(scaling) = &self.rope_scaling {
            config["rope_scaling"] = scaling.clone();
        }
        config
    }

    /// Every weight under its new name, each checked to be there with the shape the metadata asks for.
    pub(super) fn tensors<'a>(&self, header: &'a Header) -> Result<Vec<Weight<'a>>, CheckpointError> {
        let mut names = Names { header, weights: Vec::new() };
        names.take(EMBEDDING, "model.embed_tokens.weight", &[self.hidden, self.vocab])?;
        names.take("output_norm.weight", "model.norm.weight", &[self.hidden])?;
        if !self.tied {
            names.take(HEAD, "lm_head.weight", &[self.hidden, self.vocab])?;
        }
        for layer in 0..self.layers {
            self.layer(&mut names, layer)?;
        }
        names.check_all_taken()?;
        for weight in &mut names.weights {
            let turned = [".q_proj.weight", ".k_proj.weight"].iter().any(|end| weight.name.ends_with(end));
            weight.head_rows = turned.then_some(self.head_dim);
        }
        Ok(names.weights)
    }

    fn layer(&self, names: &mut Names, layer: u64) -> Result<(), CheckpointError> {
        let (hidden, wide) = (self.hidden, self.intermediate);
        let queries = self.heads.saturating_mul(self.head_dim);
        let keys = self.kv_heads.saturating_mul(self.head_dim);
        let matrices: [(&str, &str, &[u64]); 9] = [
            ("attn_norm", "input_layernorm", &[hidden]),
            ("attn_q", "self_attn.q_proj", &[hidden, queries]),
            ("attn_k", "self_attn.k_proj", &[hidden, keys]),
            ("attn_v", "self_attn.v_proj", &[hidden, keys]),
            ("attn_output", "self_attn.o_proj", &[queries, hidden]),
            ("ffn_norm", "post_attention_layernorm", &[hidden]),
            ("ffn_gate", "mlp.gate_proj", &[hidden, wide]),
            ("ffn_up", "mlp.up_proj", &[hidden, wide]),
            ("ffn_down", "mlp.down_proj", &[wide, hidden]),
        ];
        for (source, name, dimensions) in matrices {
            let source = format!("blk.{layer}.{source}.weight");
            names.take(&source, &format!("model.layers.{layer}.{name}.weight"), dimensions)?;
        }
        Ok(())
    }
}

/// Tensors found so far.
struct Names<'a> {
    header: &'a Header,
    weights: Vec<Weight<'a>>,
}

impl<'a> Names<'a> {
    /// Takes a tensor of these dimensions.
    fn take(&mut self, source: &str, name: &str, expected: &[u64]) -> Result<(), CheckpointError> {
        let tensor = find(self.header, source)?;
        let fail = |problem: String| Err(self.header.tensor_error(source, &problem));
        match tensor.encoding {
            _ if tensor.dimensions != expected => {
                fail(format!("dimensions {:?}, but the metadata asks for {expected:?}", tensor.dimensions))
            }
            Encoding::Blocks(format) if expected.len() == 1 => {
                fail(format!("a vector in {format} blocks is not served"))
            }
            _ => {
                let name = name.to_owned();
                self.weights.push(Weight { source: source.to_owned(), name, tensor, head_rows: None });
                Ok(())
            }
        }
    }

    fn check_all_taken(&self) -> Result<(), CheckpointError> {
        let taken: BTreeSet<&str> = self.weights.iter().map(|weight| weight.source.as_str()).collect();
        let mut names = self.header.tensors().keys();
        match names.find(|name| !taken.contains(name.as_str()) && *name != rope::FACTORS) {
            Some(name) => Err(self.header.tensor_error(name, "is not part of a llama model that is served")),
            None => Ok(()),
        }
    }
}

fn find<'a>(header: &'a Header, name: &str) -> Result<&'a Tensor, CheckpointError> {
    header.tensors().get(name).ok_or_else(|| header.tensor_error(name, "is missing"))
}

/// A number that must be there and not zero.
fn count(header: &Header, key: &str) -> Result<u64, CheckpointError> {
    match header.require(key)? {
        0 => Err(header.key_error(key, "must not be zero")),
        count => Ok(count),
    }
}

fn vocab(header: &Header) -> Result<u64, CheckpointError> {
    const KEY: &str = "llama.vocab_size";
    let Some(&rows) = find(header, EMBEDDING)?.dimensions.get(1) else {
        return Err(header.tensor_error(EMBEDDING, "is not a matrix"));
    };
    match header.find::<u64>(KEY)? {
        Some(size) if size != rows => {
            Err(header.key_error(KEY, &format!("is {size}, but tensor {EMBEDDING:?} has {rows} rows")))
        }
        _ => Ok(rows),
    }
}

fn refuse_experts(header: &Header) -> Result<(), CheckpointError> {
    const KEY: &str = "llama.expert_count";
    match header.find::<u64>(KEY)? {
        None | Some(0) => Ok(()),
        Some(experts) => Err(header.key_error(KEY, &format!("a mixture of {experts} experts is not served"))),
    }
}

/// Queries, keys and values have heads of one size, and rope turns all of it.
fn check_head_dim(header: &Header, head_dim: u64) -> Result<(), CheckpointError> {
    if head_dim == 0 || !head_dim.is_multiple_of(2) || head_dim > MAX_HEAD_DIM {
        let problem = format!("heads of {head_dim} values are not served");
        return Err(header.key_error("llama.attention.head_count", &problem));
    }
    for key in ["llama.attention.value_length", "llama.rope.dimension_count"] {
        match header.find::<u64>(key)? {
            Some(size) if size != head_dim => {
                return Err(
                    header.key_error(key, &format!("is {size}, which is not served for heads of {head_dim}"))
                );
            }
            _ => {}
        }
    }
    Ok(())
}

/// The shortest decimal that is this f32, so that 1e-5 is not written as 9.999999747378752e-6.
pub(super) fn decimal(number: f32) -> Value {
    number.to_string().parse::<f64>().map_or(Value::Null, |number| json!(number))
}
