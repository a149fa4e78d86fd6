//! Causal attention of every query over its row's cache.
//!
//! **Shapes.** `qkv` is `[tokens, (query + 2 kv) * dim]`, `out` is `[tokens, query * dim]`; keys and values come from the
//! cache alone (see [`crate::kv`]), also those of the step itself.
//!
//! **Numerics.** Online softmax over the blocks of a row, from position 0. For each block and query: sixteen scores,
//! each a sequence of fused multiply-adds over `dim`, times the scale; the new maximum; weights `exp(score - max)`; the
//! weight sums (kept in lanes) and the output so far shrink by `exp(old max - new max)`; then one fused multiply-add a
//! position in order for each output value. At the end the output is divided by the sum across lanes. What a query
//! does depends on its own row and position only: positions after it are left out, not added as zeros.
//!
//! **Who does what.** A job is a KV head and a piece of a row of up to [`crate::step::PIECE`] tokens. It takes their
//! queries (tokens by query heads of the group) in tiles of up to six, so a tile of keys is widened once for six.

#![expect(clippy::needless_range_loop, reason = "the queries of a tile are one index into several arrays")]

use gristmill_model::device::{BLOCK_SIZE, DeviceError};

use crate::cores::Cores;
use crate::disjoint::Disjoint;
use crate::element::Element;
use crate::exp::exp;
use crate::kv::{KvCache, Shape, Values};
use crate::simd::{LANES, Simd, Task};
use crate::step::{Piece, Slice};

const _: () = assert!(LANES == BLOCK_SIZE, "the positions of a block are the lanes of a vector");

/// Queries taken at once.
const TILE: usize = 6;

/// What is asked in one layer.
pub(crate) struct Question<'a> {
    pub(crate) layer: usize,
    pub(crate) scale: f32,
    pub(crate) slice: &'a Slice,
    pub(crate) qkv: &'a [f32],
}

/// Attention of all tokens of a slice in one layer.
pub(crate) fn attend(
    cores: &Cores,
    cache: &KvCache,
    question: &Question<'_>,
    out: &mut [f32],
) -> Result<(), DeviceError> {
    match &cache.values {
        Values::F32(values) => answer(cores, cache.shape, values, question, out),
        Values::F16(values) => answer(cores, cache.shape, values, question, out),
        Values::Bf16(values) => answer(cores, cache.shape, values, question, out),
    }
}

fn answer<T: Element>(
    cores: &Cores,
    shape: Shape,
    cache: &[T],
    question: &Question<'_>,
    out: &mut [f32],
) -> Result<(), DeviceError> {
    let (pieces, heads, out) = (&question.slice.pieces, shape.heads.kv, &Disjoint::new(out));
    cores.pool.run(pieces.len() * heads, &|job| {
        // Later pieces of a row have more to read; they go first.
        let (piece, head) = (&pieces[pieces.len() - 1 - job / heads], job % heads);
        cores.isa.run(Job { shape, cache, question, piece, head, out });
    })
}

/// The queries of one KV head in a piece of a row.
struct Job<'a, T> {
    shape: Shape,
    cache: &'a [T],
    question: &'a Question<'a>,
    piece: &'a Piece,
    head: usize,
    out: &'a Disjoint<'a, f32>,
}

/// One query and where its output goes.
struct Query<'a> {
    values: &'a [f32],
    out: &'a mut [f32],
    /// Positions it sees.
    len: usize,
    /// Highest score so far.
    max: f32,
}

impl<T: Element> Task for Job<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let queries = self.piece.tokens * self.group();
        let mut next = 0;
        while next < queries {
            let left = queries - next;
            next += match left.div_ceil(left.div_ceil(TILE)) {
                1 => self.tile::<S, 1>(simd, next),
                2 => self.tile::<S, 2>(simd, next),
                3 => self.tile::<S, 3>(simd, next),
                4 => self.tile::<S, 4>(simd, next),
                5 => self.tile::<S, 5>(simd, next),
                _ => self.tile::<S, TILE>(simd, next),
            };
        }
    }
}

impl<T: Element> Job<'_, T> {
    /// Query heads that share a KV head.
    #[inline(always)]
    fn group(&self) -> usize {
        self.shape.heads.query / self.shape.heads.kv
    }

    /// `M` queries over all blocks they see.
    #[inline(always)]
    fn tile<S: Simd, const M: usize>(&self, simd: S, first: usize) -> usize {
        let mut queries: [Query<'_>; M] = std::array::from_fn(|m| self.query(first + m));
        let mut sums = [simd.zero(); M];
        let longest = queries[M - 1].len;
        let table = &self.question.slice.tables[self.piece.table.clone()];
        for (block, id) in table[..longest.div_ceil(BLOCK_SIZE)].iter().enumerate() {
            let tile =
                &self.cache[self.shape.start(self.question.layer, *id, self.head)..][..self.shape.tile()];
            let (keys, values) = tile.split_at(tile.len() / 2);
            let mut counts = [0; M];
            for m in 0..M {
                counts[m] = queries[m].len.saturating_sub(block * BLOCK_SIZE).min(BLOCK_SIZE);
            }
            let scores = score(simd, &queries, keys.as_chunks().0);
            let weights = weigh(simd, &mut queries, &mut sums, self.question.scale, scores, counts);
            gather(simd, &mut queries, &weights, counts, values);
        }
        for m in 0..M {
            finish(simd, queries[m].out, simd.sum(sums[m]));
        }
        M
    }

    /// A query by its number in the piece: tokens in order, and the heads of each.
    #[inline(always)]
    fn query(&self, index: usize) -> Query<'_> {
        let (heads, token) = (self.shape.heads, index / self.group());
        let head = self.head * self.group() + index % self.group();
        let row = self.piece.first + token;
        let values = &self.question.qkv[row * (heads.query + 2 * heads.kv) * heads.dim + head * heads.dim..]
            [..heads.dim];
        let start = (row * heads.query + head) * heads.dim;
        // SAFETY: every query belongs to one job, and a job takes it once.
        let out = unsafe { self.out.part(start..start + heads.dim) };
        out.fill(0.0);
        Query { values, out, len: self.piece.start + token + 1, max: f32::NEG_INFINITY }
    }
}

/// Sixteen scores of each query, not scaled yet.
#[inline(always)]
fn score<S: Simd, T: Element, const M: usize>(
    simd: S,
    queries: &[Query<'_>; M],
    keys: &[[T; LANES]],
) -> [S::V; M] {
    let mut rows: [&[f32]; M] = [&[]; M];
    for m in 0..M {
        rows[m] = &queries[m].values[..keys.len()];
    }
    let mut scores = [simd.zero(); M];
    for (i, key) in keys.iter().enumerate() {
        let key = T::load(simd, key);
        for m in 0..M {
            scores[m] = simd.fma(simd.splat(rows[m][i]), key, scores[m]);
        }
    }
    scores
}

/// Weights of the block's positions, and by what each query's output so far shrinks.
struct Weights<const M: usize> {
    weights: [[f32; LANES]; M],
    shrink: [f32; M],
}

#[inline(always)]
fn weigh<S: Simd, const M: usize>(
    simd: S,
    queries: &mut [Query<'_>; M],
    sums: &mut [S::V; M],
    scale: f32,
    scores: [S::V; M],
    counts: [usize; M],
) -> Weights<M> {
    let mut block = Weights { weights: [[0.0; LANES]; M], shrink: [1.0; M] };
    for m in 0..M {
        let lanes = &mut block.weights[m];
        let mut scores = simd.mul(scores[m], simd.splat(scale));
        if counts[m] < LANES {
            simd.store(scores, lanes);
            lanes[counts[m]..].fill(f32::NEG_INFINITY);
            scores = simd.load(lanes);
        }
        let old = simd.splat(queries[m].max);
        let new = simd.max(old, simd.splat(simd.largest(scores)));
        let shrink = exp(simd, simd.sub(old, new));
        let weights = exp(simd, simd.sub(scores, new));
        sums[m] = simd.fma(sums[m], shrink, weights);
        simd.store(shrink, lanes);
        block.shrink[m] = lanes[0];
        simd.store(new, lanes);
        queries[m].max = lanes[0];
        simd.store(weights, lanes);
    }
    block
}

/// Adds the block's values to the outputs, sixteen output values at a time.
#[inline(always)]
fn gather<S: Simd, T: Element, const M: usize>(
    simd: S,
    queries: &mut [Query<'_>; M],
    block: &Weights<M>,
    counts: [usize; M],
    values: &[T],
) {
    let dim = values.len() / BLOCK_SIZE;
    let (mut common, mut most) = (BLOCK_SIZE, 0);
    for m in 0..M {
        (common, most) = (common.min(counts[m]), most.max(counts[m]));
    }
    for start in (0..dim).step_by(LANES) {
        let end = (start + LANES).min(dim);
        let mut sums = [simd.zero(); M];
        for m in 0..M {
            sums[m] = simd.mul(simd.load_part(&queries[m].out[start..end], 0.0), simd.splat(block.shrink[m]));
        }
        for p in 0..common {
            let value = T::load_part(simd, &values[p * dim + start..p * dim + end]);
            for m in 0..M {
                sums[m] = simd.fma(simd.splat(block.weights[m][p]), value, sums[m]);
            }
        }
        for p in common..most {
            let value = T::load_part(simd, &values[p * dim + start..p * dim + end]);
            for m in 0..M {
                if p < counts[m] {
                    sums[m] = simd.fma(simd.splat(block.weights[m][p]), value, sums[m]);
                }
            }
        }
        for m in 0..M {
            simd.store_part(sums[m], &mut queries[m].out[start..end]);
        }
    }
}

/// Divides an output by the sum of its weights.
#[inline(always)]
fn finish<S: Simd>(simd: S, out: &mut [f32], sum: f32) {
    for out in out.chunks_mut(LANES) {
        simd.store_part(simd.div(simd.load_part(out, 0.0), simd.splat(sum)), out);
    }
}

#[cfg(test)]
mod tests {
    use gristmill_model::device::{Admission, KvSpec, Slot, StepRow};
    use gristmill_model::dtype::Dtype;
    use gristmill_model::program::Heads;
    use gristmill_model::sampling::Sampling;
    use proptest::prelude::*;

    use super::*;
    use crate::row::Row;
    use crate::simd::Isa;
    use crate::step::Progress;

    const SCALE: f32 = 0.3;

    /// A row of `len` positions, the last of which are computed by the step.
    #[derive(Clone, Debug)]
    struct Sequence {
        len: usize,
        computed: usize,
    }

    struct Rig {
        heads: Heads,
        dtype: Dtype,
    }

    impl Rig {
        fn width(&self) -> usize {
            (self.heads.query + 2 * self.heads.kv) * self.heads.dim
        }

        /// Queries, keys and values of a position.
        fn qkv(&self, row: usize, position: usize) -> Vec<f32> {
            let value =
                |i: usize| ((row * 7919 + position * 104_729 + i * 1_299_709) % 2003) as f32 / 1001.5 - 1.0;
            (0..self.width()).map(|i| value(i) * if i % 5 == 0 { 3.0 } else { 1.0 }).collect()
        }

        fn rows(&self, sequences: &[Sequence]) -> Vec<(StepRow, Row)> {
            let blocks = |row: usize| (0..16).map(|block| (1 + row + 4 * block) as u32).collect::<Vec<_>>();
            let row = |(index, sequence): (usize, &Sequence)| {
                let (start, len) = (sequence.len - sequence.computed, sequence.computed);
                let step = StepRow {
                    slot: Slot(index as u32),
                    start,
                    len,
                    sample: false,
                    prompt_logprobs: false,
                    logits: false,
                };
                let (prompt, blocks) = (vec![0; sequence.len], blocks(index));
                let admission =
                    Admission { prompt: &prompt, blocks: &blocks, cached: 0, sampling: Sampling::default() };
                (step, Row::new(&admission, 1, 100).unwrap())
            };
            sequences.iter().enumerate().map(row).collect()
        }

        /// Outputs of the computed positions of all rows, in slices of `capacity` tokens.
        fn attend(&self, isa: Isa, threads: usize, capacity: usize, sequences: &[Sequence]) -> Vec<f32> {
            let cores = Cores::new(isa, threads).unwrap();
            let mut cache = KvCache::new(2, self.heads, KvSpec { blocks: 100, dtype: self.dtype }).unwrap();
            let whole: Vec<Sequence> =
                sequences.iter().map(|s| Sequence { len: s.len, computed: s.len }).collect();
            self.steps(&whole, 1, |slice, qkv| cache.store(&cores.pool, 1, &slice.tokens, qkv).unwrap());
            let mut all = Vec::new();
            self.steps(sequences, capacity, |slice, qkv| {
                let mut out = vec![f32::NAN; slice.tokens.len() * self.heads.query * self.heads.dim];
                attend(&cores, &cache, &Question { layer: 1, scale: SCALE, slice, qkv }, &mut out).unwrap();
                all.extend(out);
            });
            all
        }

        fn steps(&self, sequences: &[Sequence], capacity: usize, mut run: impl FnMut(&Slice, &[f32])) {
            let rows = self.rows(sequences);
            let rows: Vec<_> = rows.iter().map(|(step, row)| (*step, row)).collect();
            let tokens: Vec<_> = rows
                .iter()
                .flat_map(|(step, _)| {
                    (step.start..step.start + step.len).map(|position| (step.slot.0 as usize, position))
                })
                .collect();
            let (mut slice, mut progress, mut done) = (Slice::default(), Progress::default(), 0);
            while slice.fill(&rows, &mut progress, capacity) {
                let qkv: Vec<f32> = tokens[done..done + slice.tokens.len()]
                    .iter()
                    .flat_map(|&(row, position)| self.qkv(row, position))
                    .collect();
                done += slice.tokens.len();
                run(&slice, &qkv);
            }
        }

        /// Softmax attention of one query head at one position, in f64.
        fn plain(&self, row: usize, position: usize, head: usize) -> Vec<f64> {
            let Heads { query, kv, dim } = self.heads;
            let group = head / (query / kv);
            let own = self.qkv(row, position);
            let rows: Vec<Vec<f32>> = (0..=position).map(|position| self.qkv(row, position)).collect();
            let score = |other: &Vec<f32>| -> f64 {
                let keys = &other[(query + group) * dim..][..dim];
                let dot: f64 = own[head * dim..][..dim]
                    .iter()
                    .zip(keys)
                    .map(|(a, b)| f64::from(*a) * f64::from(*b))
                    .sum();
                (dot * f64::from(SCALE)).exp()
            };
            let weights: Vec<f64> = rows.iter().map(score).collect();
            let total: f64 = weights.iter().sum();
            let value = |i: usize| {
                rows.iter()
                    .zip(&weights)
                    .map(|(row, w)| w * f64::from(row[(query + kv + group) * dim + i]))
                    .sum::<f64>()
            };
            (0..dim).map(|i| value(i) / total).collect()
        }
    }

    fn sequences() -> impl Strategy<Value = Vec<Sequence>> {
        let sequence = (1usize..120).prop_flat_map(|len| (Just(len), 1..=len));
        prop::collection::vec(sequence.prop_map(|(len, computed)| Sequence { len, computed }), 1..4)
    }

    fn heads() -> impl Strategy<Value = Heads> {
        (1usize..3, 1usize..9, prop_oneof![Just(2usize), Just(16), Just(20), Just(64)])
            .prop_map(|(kv, group, dim)| Heads { query: kv * group, kv, dim })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn agrees_with_plain_softmax(heads in heads(), sequences in sequences()) {
            let rig = Rig { heads, dtype: Dtype::F32 };
            let out = rig.attend(Isa::detect(), 2, 64, &sequences);
            let mut out = out.chunks_exact(heads.dim);
            for (row, sequence) in sequences.iter().enumerate() {
                for position in sequence.len - sequence.computed..sequence.len {
                    for head in 0..heads.query {
                        for (ours, exact) in out.next().unwrap().iter().zip(rig.plain(row, position, head)) {
                            prop_assert!((f64::from(*ours) - exact).abs() < 2e-5, "{ours} {exact}");
                        }
                    }
                }
            }
        }

        #[test]
        fn slices_threads_and_instruction_sets_change_no_bit(
            heads in heads(),
            sequences in sequences(),
            dtype in prop_oneof![Just(Dtype::F32), Just(Dtype::F16), Just(Dtype::Bf16)],
            capacity in 1usize..80,
            threads in 1usize..4,
        ) {
            let rig = Rig { heads, dtype };
            let whole = rig.attend(Isa::detect(), 1, 1000, &sequences);
            prop_assert!(whole.iter().all(|value| value.is_finite()));
            prop_assert_eq!(&rig.attend(Isa::detect(), threads, capacity, &sequences), &whole);
            prop_assert_eq!(&rig.attend(Isa::PORTABLE, 1, capacity, &sequences), &whole);
        }
    }
}
