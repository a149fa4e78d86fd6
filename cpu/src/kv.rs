//! The KV cache.
//!
//! For each layer, block and KV head there is one tile: keys as `[dim][BLOCK_SIZE]`, so that sixteen positions are
//! the lanes of a vector while scores are summed over `dim`, then values as `[BLOCK_SIZE][dim]`, so that `dim` is
//! in the lanes while values are summed over positions. Position `p` of a row is in block `table[p / 16]` at `p % 16`.
//! Keys are rotated before they are stored.

use gristmill_model::device::{BLOCK_SIZE, DeviceError, KvSpec};
use gristmill_model::dtype::Dtype;
use gristmill_model::program::Heads;
use half::{bf16, f16};

use crate::disjoint::Disjoint;
use crate::element::Element;
use crate::memory::{Memory, Pages};
use crate::pool::Pool;
use crate::step::Token;

/// Tokens from which on heads are stored in parallel.
const PARALLEL: usize = 16;

/// Keys and values of all layers.
#[derive(Debug)]
pub(crate) struct KvCache {
    pub(crate) shape: Shape,
    pub(crate) values: Values,
}

/// Tiles in one of the number formats.
#[derive(Debug)]
pub(crate) enum Values {
    F32(Memory<f32>),
    F16(Memory<f16>),
    Bf16(Memory<bf16>),
}

/// Where tiles are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) blocks: usize,
    pub(crate) heads: Heads,
}

impl Shape {
    /// Values of a tile.
    pub(crate) fn tile(self) -> usize {
        2 * BLOCK_SIZE * self.heads.dim
    }

    /// First value of a tile.
    pub(crate) fn start(self, layer: usize, block: u32, head: usize) -> usize {
        ((layer * self.blocks + block as usize) * self.heads.kv + head) * self.tile()
    }
}

impl KvCache {
    /// An empty cache; its pages are taken when they are first written.
    pub(crate) fn new(layers: usize, heads: Heads, spec: KvSpec) -> Result<Self, DeviceError> {
        let shape = Shape { blocks: spec.blocks, heads };
        let len = (layers * heads.kv * shape.tile()).saturating_mul(spec.blocks);
        let values = match spec.dtype {
            Dtype::F32 => Values::F32(tiles(len)?),
            Dtype::F16 => Values::F16(tiles(len)?),
            Dtype::Bf16 => Values::Bf16(tiles(len)?),
        };
        Ok(Self { shape, values })
    }

    /// Writes keys and values of the tokens that are not cached yet. `qkv` is one row a token.
    pub(crate) fn store(
        &mut self,
        pool: &Pool,
        layer: usize,
        tokens: &[Token],
        qkv: &[f32],
    ) -> Result<(), DeviceError> {
        let shape = self.shape;
        match &mut self.values {
            Values::F32(values) => store(pool, shape, layer, tokens, qkv, values),
            Values::F16(values) => store(pool, shape, layer, tokens, qkv, values),
            Values::Bf16(values) => store(pool, shape, layer, tokens, qkv, values),
        }
    }
}

fn tiles<T: Element>(len: usize) -> Result<Memory<T>, DeviceError> {
    Memory::zeroed(len, Pages::Small, "KV cache")
}

/// One job a head, so that jobs never share a tile whatever block tables say.
fn store<T: Element>(
    pool: &Pool,
    shape: Shape,
    layer: usize,
    tokens: &[Token],
    qkv: &[f32],
    values: &mut [T],
) -> Result<(), DeviceError> {
    let heads = shape.heads;
    let width = (heads.query + 2 * heads.kv) * heads.dim;
    let values = Disjoint::new(values);
    let job = |head: usize| {
        for (token, row) in tokens.iter().zip(qkv.chunks_exact(width)).filter(|(token, _)| token.fresh) {
            let start = shape.start(layer, token.block, head);
            // SAFETY: tiles of different heads do not overlap, and a head is one job, which takes one at a time.
            let tile = unsafe { values.part(start..start + shape.tile()) };
            let key = &row[(heads.query + head) * heads.dim..][..heads.dim];
            let value = &row[(heads.query + heads.kv + head) * heads.dim..][..heads.dim];
            put(tile, token.position % BLOCK_SIZE, key, value);
        }
    };
    if tokens.len() < PARALLEL {
        (0..heads.kv).for_each(job);
        return Ok(());
    }
    pool.run(heads.kv, &job)
}

/// One position of a tile.
fn put<T: Element>(tile: &mut [T], at: usize, key: &[f32], value: &[f32]) {
    let (keys, values) = tile.split_at_mut(BLOCK_SIZE * key.len());
    let mut narrow = [T::default(); BLOCK_SIZE];
    for (key, keys) in key.chunks(BLOCK_SIZE).zip(keys.chunks_mut(BLOCK_SIZE * BLOCK_SIZE)) {
        T::narrow(key, &mut narrow[..key.len()]);
        for (key, keys) in narrow.iter().zip(keys.chunks_exact_mut(BLOCK_SIZE)) {
            keys[at] = *key;
        }
    }
    T::narrow(value, &mut values[at * value.len()..][..value.len()]);
}
