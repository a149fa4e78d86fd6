//! The weights a program reads, as slices of checkpoint tensors: the shard rules live here.

use std::ops::Range;

use thiserror::Error;

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::spec::ModelSpec;

/// Index of a weight in [`Weights`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WeightId(pub usize);

/// One weight of one rank: a matrix `[rows, cols]` (outputs by inputs), or a vector (`cols` 1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weight {
    /// Name for messages, e.g. `layers.3.qkv`.
    pub name: String,
    /// Outputs held by this rank.
    pub rows: usize,
    /// Inputs held by this rank; 1 for a vector.
    pub cols: usize,
    /// Slices of tensors, stacked along the rows.
    pub parts: Vec<Part>,
}

/// A slice of a checkpoint tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Name in the checkpoint.
    pub tensor: String,
    /// Shape the whole tensor must have.
    pub shape: Vec<usize>,
    /// Rows of this rank.
    pub rows: Range<usize>,
    /// Columns of this rank.
    pub cols: Range<usize>,
}

impl Weight {
    /// Whether this is a vector. A matrix may have one column too.
    pub fn is_vector(&self) -> bool {
        self.parts.iter().all(|part| part.shape.len() == 1)
    }

    /// Values held.
    pub fn len(&self) -> usize {
        self.rows * self.cols
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads `rows` of this weight, row-major, widened to f32, into `out` (`rows.len() * cols` values).
    ///
    /// # Errors
    /// The checkpoint lacks the tensor, it has another shape, or its file cannot be read.
    pub fn read(
        &self,
        checkpoint: &Checkpoint,
        rows: Range<usize>,
        out: &mut [f32],
    ) -> Result<(), CheckpointError> {
        let mut first = 0;
        for part in &self.parts {
            let within = first..first + part.rows.len();
            let (from, to) = (rows.start.max(within.start), rows.end.min(within.end));
            if from < to {
                let source = part.rows.start + from - first..part.rows.start + to - first;
                let target = &mut out[(from - rows.start) * self.cols..(to - rows.start) * self.cols];
                checkpoint.read_rows(&part.tensor, source, part.cols.clone(), target)?;
            }
            first = within.end;
        }
        Ok(())
    }
}

/// A rank of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rank {
    /// This rank, from 0.
    pub index: usize,
    /// Ranks in the group.
    pub world: usize,
}

/// Heads as one rank holds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Query heads.
    pub query: usize,
    /// Key heads, and as many value heads.
    pub kv: usize,
    /// Values a head.
    pub dim: usize,
}

/// Why a model cannot be divided between so many ranks.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SplitError {
    /// There is no such rank.
    #[error("there is no rank {index} in a group of {world}")]
    Rank {
        /// The rank.
        index: usize,
        /// Ranks in the group.
        world: usize,
    },
    /// Query heads do not divide. TGI's words up to the semicolon.
    #[error(
        "`num_heads` must be divisible by `num_shards` (got `num_heads`: {heads} and `num_shards`: {world}; \
         numbers of shards that work: {works}"
    )]
    Heads {
        /// Query heads of the model.
        heads: usize,
        /// Ranks in the group.
        world: usize,
        /// Numbers of ranks that work.
        works: String,
    },
    /// Key heads can neither be divided nor replicated evenly.
    #[error(
        "{kv_heads} key heads and {world} shards: one must divide the other; numbers of shards that work: {works}"
    )]
    KvHeads {
        /// Key heads of the model.
        kv_heads: usize,
        /// Ranks in the group.
        world: usize,
        /// Numbers of ranks that work.
        works: String,
    },
    /// A rank would hold nothing. TGI's words.
    #[error("The choosen size {size} is not compatible with sharding on {world} shards")]
    Size {
        /// Width of the feed-forward part.
        size: usize,
        /// Ranks in the group.
        world: usize,
    },
}

impl Rank {
    /// The only rank of a group of one.
    pub const ALONE: Self = Self { index: 0, world: 1 };

    /// Checks that a model can be divided between the ranks of this group.
    fn check(self, spec: &ModelSpec) -> Result<(), SplitError> {
        let Self { index, world } = self;
        let (heads, kv_heads, size) = (spec.heads, spec.kv_heads, spec.intermediate);
        let kv_works = |world: usize| kv_heads.is_multiple_of(world) || world.is_multiple_of(kv_heads);
        let works = || {
            let worlds =
                (1..=heads.min(size)).filter(|&world| heads.is_multiple_of(world) && kv_works(world));
            worlds.map(|world| world.to_string()).collect::<Vec<_>>().join(", ")
        };
        if index >= world {
            return Err(SplitError::Rank { index, world });
        }
        if !heads.is_multiple_of(world) {
            return Err(SplitError::Heads { heads, world, works: works() });
        }
        if !kv_works(world) {
            return Err(SplitError::KvHeads { kv_heads, world, works: works() });
        }
        if size < world {
            return Err(SplitError::Size { size, world });
        }
        Ok(())
    }

    /// This rank's part of something divided: as much as every other rank's, or one more or less.
    fn part(self, size: usize) -> Range<usize> {
        size * self.index / self.world..size * (self.index + 1) / self.world
    }

    /// This rank's key heads. Fewer heads than ranks are replicated: each rank holds the one its query heads use.
    fn kv_part(self, kv_heads: usize) -> Range<usize> {
        let first = kv_heads * self.index / self.world;
        first..first + (kv_heads / self.world).max(1)
    }
}

/// One axis of a tensor.
struct Axis {
    /// Of the whole tensor.
    size: usize,
    /// What this rank holds of it.
    held: Range<usize>,
}

impl Axis {
    fn whole(size: usize) -> Self {
        Self { size, held: 0..size }
    }

    /// Heads of `dim` entries each.
    fn heads(count: usize, held: &Range<usize>, dim: usize) -> Self {
        Self { size: count * dim, held: held.start * dim..held.end * dim }
    }
}

/// The axes of a model's tensors. The ranks sum what they make of divided inputs.
struct Axes {
    vocab: Axis,
    hidden: Axis,
    query: Axis,
    kv: Axis,
    inner: Axis,
}

impl Axes {
    fn new(spec: &ModelSpec, rank: Rank) -> Self {
        Self {
            vocab: Axis::whole(spec.vocab),
            hidden: Axis::whole(spec.hidden),
            query: Axis::heads(spec.heads, &rank.part(spec.heads), spec.head_dim),
            kv: Axis::heads(spec.kv_heads, &rank.kv_part(spec.kv_heads), spec.head_dim),
            inner: Axis { size: spec.intermediate, held: rank.part(spec.intermediate) },
        }
    }
}

/// The weights of one rank of a model, with the ids that programs use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weights {
    list: Vec<Weight>,
    /// What this rank holds of the attention.
    pub heads: Heads,
    /// Embedding table `[vocab, hidden]`.
    pub embedding: WeightId,
    /// One entry a layer.
    pub layers: Vec<LayerWeights>,
    /// Norm before the head `[hidden]`.
    pub norm: WeightId,
    /// Head `[vocab, hidden]`; the embedding table when tied.
    pub head: WeightId,
}

/// The weights of one decoder layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerWeights {
    /// Norm before attention `[hidden]`.
    pub attention_norm: WeightId,
    /// Queries, keys and values `[(heads + 2 * kv_heads) * head_dim, hidden]`.
    pub qkv: WeightId,
    /// Bias of `qkv`.
    pub qkv_bias: Option<WeightId>,
    /// Attention output `[hidden, heads * head_dim]`.
    pub out: WeightId,
    /// Bias of `out`, on rank 0 only.
    pub out_bias: Option<WeightId>,
    /// Norm before the feed-forward part `[hidden]`.
    pub mlp_norm: WeightId,
    /// Gate and up `[2 * intermediate, hidden]`.
    pub gate_up: WeightId,
    /// Bias of `gate_up`.
    pub gate_up_bias: Option<WeightId>,
    /// Down `[hidden, intermediate]`.
    pub down: WeightId,
    /// Bias of `down`, on rank 0 only.
    pub down_bias: Option<WeightId>,
}

impl Weights {
    /// The weights `rank` holds of a model whose tensors are named as Llama's.
    ///
    /// # Errors
    /// The model cannot be divided between so many ranks.
    pub fn new(spec: &ModelSpec, rank: Rank) -> Result<Self, SplitError> {
        rank.check(spec)?;
        let axes = Axes::new(spec, rank);
        let Axes { vocab, hidden, query, kv, .. } = &axes;
        let dim = spec.head_dim;
        let heads = Heads { query: query.held.len() / dim, kv: kv.held.len() / dim, dim };
        let mut list = List::default();
        let embedding = list.add("embedding", &[("model.embed_tokens.weight", vocab)], Some(hidden));
        let layers = (0..spec.layers).map(|layer| list.layer(spec, rank, &axes, layer)).collect();
        let norm = list.add("norm", &[("model.norm.weight", hidden)], None);
        let head =
            if spec.tied { embedding } else { list.add("head", &[("lm_head.weight", vocab)], Some(hidden)) };
        Ok(Self { list: list.0, heads, embedding, layers, norm, head })
    }

    /// A weight by its id.
    pub fn get(&self, id: WeightId) -> &Weight {
        &self.list[id.0]
    }

    /// All weights in the order of their ids.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (WeightId, &Weight)> {
        self.list.iter().enumerate().map(|(index, weight)| (WeightId(index), weight))
    }

    /// Checks every tensor's presence, shape and format against the checkpoint, reading headers only.
    ///
    /// # Errors
    /// Names the file and the first tensor that is missing or has another shape.
    pub fn check(&self, checkpoint: &Checkpoint) -> Result<(), CheckpointError> {
        let mut parts = self.list.iter().flat_map(|weight| &weight.parts);
        parts.try_for_each(|part| checkpoint.expect(&part.tensor, &part.shape))
    }
}

/// Weights in the order of their ids.
#[derive(Default)]
struct List(Vec<Weight>);

impl List {
    fn layer(&mut self, spec: &ModelSpec, rank: Rank, axes: &Axes, layer: usize) -> LayerWeights {
        let Axes { hidden, query, kv, inner, .. } = axes;
        let qkv = [("self_attn.q_proj", query), ("self_attn.k_proj", kv), ("self_attn.v_proj", kv)];
        let gate_up = [("mlp.gate_proj", inner), ("mlp.up_proj", inner)];
        let (out, down) = ([("self_attn.o_proj", hidden)], [("mlp.down_proj", hidden)]);
        let mut add = |name: &str, parts: &[(&str, &Axis)], end: &str, inputs: Option<&Axis>| {
            let tensor = |tensor: &str| format!("model.layers.{layer}.{tensor}.{end}");
            let parts: Vec<_> = parts.iter().map(|&(name, outputs)| (tensor(name), outputs)).collect();
            self.add(&format!("layers.{layer}.{name}"), &parts, inputs)
        };
        // Summed results get their bias from one rank.
        let (attention, mlp, first) = (spec.attention_bias, spec.mlp_bias, rank.index == 0);
        LayerWeights {
            attention_norm: add("attention_norm", &[("input_layernorm", hidden)], "weight", None),
            qkv: add("qkv", &qkv, "weight", Some(hidden)),
            qkv_bias: attention.then(|| add("qkv_bias", &qkv, "bias", None)),
            out: add("out", &out, "weight", Some(query)),
            out_bias: (attention && first).then(|| add("out_bias", &out, "bias", None)),
            mlp_norm: add("mlp_norm", &[("post_attention_layernorm", hidden)], "weight", None),
            gate_up: add("gate_up", &gate_up, "weight", Some(hidden)),
            gate_up_bias: mlp.then(|| add("gate_up_bias", &gate_up, "bias", None)),
            down: add("down", &down, "weight", Some(inner)),
            down_bias: (mlp && first).then(|| add("down_bias", &down, "bias", None)),
        }
    }

    /// Adds tensors stacked along their outputs; without inputs they are vectors.
    fn add<N: AsRef<str>>(&mut self, name: &str, tensors: &[(N, &Axis)], inputs: Option<&Axis>) -> WeightId {
        let cols = inputs.map_or(0..1, |axis| axis.held.clone());
        let parts: Vec<_> = tensors
            .iter()
            .map(|(tensor, outputs)| Part {
                tensor: tensor.as_ref().to_owned(),
                shape: std::iter::once(outputs.size).chain(inputs.map(|axis| axis.size)).collect(),
                rows: outputs.held.clone(),
                cols: cols.clone(),
            })
            .collect();
        let rows = parts.iter().map(|part| part.rows.len()).sum();
        self.0.push(Weight { name: name.to_owned(), rows, cols: cols.len(), parts });
        WeightId(self.0.len() - 1)
    }
}
