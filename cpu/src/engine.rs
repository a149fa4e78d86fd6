//! Runs a program: one operation after the other over buffers in the workspace.
//!
//! An operation is a call already: its buffers have offsets and its weights are packed, so running one is a match and
//! a few slices. The program is checked once, when the engine is built.

use std::ops::Range;

use gristmill_model::checkpoint::Checkpoint;
use gristmill_model::device::DeviceError;
use gristmill_model::dtype::Dtype;
use gristmill_model::program::{BufferId, Heads, Op, Program, Rows};
use gristmill_model::spec::ModelSpec;
use gristmill_model::weights::Weights;

use crate::attention::Question;
use crate::cores::Cores;
use crate::device::CpuConfig;
use crate::kv::KvCache;
use crate::memory::{Memory, Pages};
use crate::norm::GRAIN;
use crate::packed::{Matrix, Store};
use crate::pool::Pool;
use crate::rope::Rotation;
use crate::sample::Choice;
use crate::simd::Isa;
use crate::step::{Output, Slice};
use crate::{attention, gate, gemm, norm};

/// Bytes of an f32.
const F32: usize = Dtype::F32.bytes();

/// Weights, memory and threads, and the program that uses them.
pub(crate) struct Engine {
    parts: Parts,
    workspace: Memory<f32>,
    kv: KvCache,
}

/// What a step only reads.
struct Parts {
    cores: Cores,
    program: Program,
    store: Store,
    rotation: Rotation,
    heads: Heads,
}

impl Engine {
    pub(crate) fn new(
        config: &CpuConfig,
        spec: &ModelSpec,
        weights: &Weights,
        program: Program,
        checkpoint: &Checkpoint,
    ) -> Result<Self, DeviceError> {
        check(&program)?;
        let heads = heads(spec, weights)?;
        let cores = Cores::new(Isa::detect(), config.threads.max(1))?;
        let kv = KvCache::new(spec.layers, heads, config.kv)?;
        let workspace = Memory::zeroed(program.workspace.div_ceil(F32), Pages::Large, "workspace")?;
        let store = Store::load(weights, config.weights, checkpoint, &cores.pool)?;
        let rotation = Rotation::new(&spec.rope);
        let parts = Parts { cores, program, store, rotation, heads };
        Ok(Self { parts, workspace, kv })
    }

    pub(crate) fn program(&self) -> &Program {
        &self.parts.program
    }

    /// The body over the tokens of a slice.
    pub(crate) fn body(&mut self, slice: &Slice) -> Result<(), DeviceError> {
        let mut pass = Pass {
            parts: &self.parts,
            workspace: &mut self.workspace,
            kv: &mut self.kv,
            slice,
            outputs: &[],
        };
        self.parts.program.body.iter().try_for_each(|op| pass.run(op, &mut []))
    }

    /// The head over some outputs of the slice the body ran for, one choice each.
    pub(crate) fn head(
        &mut self,
        slice: &Slice,
        outputs: &[Output],
        choices: &mut [Choice<'_>],
    ) -> Result<(), DeviceError> {
        let mut pass =
            Pass { parts: &self.parts, workspace: &mut self.workspace, kv: &mut self.kv, slice, outputs };
        self.parts.program.head.iter().try_for_each(|op| pass.run(op, choices))
    }
}

/// Activations of a CPU are f32, and every buffer lies in the workspace.
fn check(program: &Program) -> Result<(), DeviceError> {
    for (index, buffer) in program.buffers.iter().enumerate() {
        let rows = match buffer.rows {
            Rows::Tokens => program.bucket.tokens,
            Rows::Outputs => program.bucket.outputs,
        };
        let end = buffer.offset + rows * buffer.width * F32;
        if buffer.dtype != Dtype::F32 || buffer.offset % F32 != 0 || end > program.workspace || rows == 0 {
            let problem = format!("program: buffer {index} {buffer:?} cannot be used with {rows} rows");
            return Err(DeviceError::Refused(problem));
        }
    }
    Ok(())
}

/// This rank's heads, from the shapes of its weights.
fn heads(spec: &ModelSpec, weights: &Weights) -> Result<Heads, DeviceError> {
    let layer =
        weights.layers.first().ok_or_else(|| DeviceError::Refused("weights: no layers".to_owned()))?;
    let (inputs, outputs) = (weights.get(layer.out).cols, weights.get(layer.qkv).rows);
    let heads = Heads {
        query: inputs / spec.head_dim,
        kv: outputs.saturating_sub(inputs) / 2 / spec.head_dim,
        dim: spec.head_dim,
    };
    let whole = (heads.query + 2 * heads.kv) * heads.dim == outputs && heads.query * heads.dim == inputs;
    if !whole || heads.kv == 0 || !heads.query.is_multiple_of(heads.kv) {
        return Err(DeviceError::Refused(format!(
            "weights: {inputs} and {outputs} values are no whole heads: {heads:?}"
        )));
    }
    Ok(heads)
}

/// One pass through a list of operations.
struct Pass<'a> {
    parts: &'a Parts,
    workspace: &'a mut [f32],
    kv: &'a mut KvCache,
    slice: &'a Slice,
    outputs: &'a [Output],
}

impl Pass<'_> {
    fn run(&mut self, op: &Op, choices: &mut [Choice<'_>]) -> Result<(), DeviceError> {
        let Parts { cores, store, rotation, heads, .. } = self.parts;
        let (pool, slice) = (&cores.pool, self.slice);
        match *op {
            Op::Embed { table, out } => {
                let [out] = self.views([out])?;
                embed(pool, slice, &store.matrix(table)?, out)
            }
            Op::Rotary { out } => {
                let [out] = self.views([out])?;
                rotation.fill(slice.tokens.iter().map(|token| (token.position, token.length)), out);
                Ok(())
            }
            Op::Norm { norm, input, weight, out } => {
                let [input, out] = self.views([input, out])?;
                norm::norm(cores, norm, input, store.vector(weight)?, out)
            }
            Op::Linear { input, weight, bias, out } => {
                let [input, out] = self.views([input, out])?;
                let bias = bias.map(|bias| store.vector(bias)).transpose()?;
                gemm::linear(cores, input, &store.matrix(weight)?, bias, out)
            }
            Op::Rope { qkv, rotary } => {
                let [qkv, rotary] = self.views([qkv, rotary])?;
                rotation.apply(pool, *heads, rotary, qkv)
            }
            Op::StoreKv { qkv, layer } => {
                let range = self.range(qkv);
                self.kv.store(pool, layer, &slice.tokens, &self.workspace[range])
            }
            Op::Attend { qkv, layer, scale, out } => {
                let ranges = [self.range(qkv), self.range(out)];
                let [qkv, out] = disjoint(self.workspace, ranges)?;
                attention::attend(cores, self.kv, &Question { layer, scale, slice, qkv }, out)
            }
            Op::Gate { activation, input, out } => {
                let width = self.parts.program.buffer(out).width;
                let [input, out] = self.views([input, out])?;
                gate::gate(cores, activation, input, width, out)
            }
            Op::Add { input, into } => {
                let [input, into] = self.views([input, into])?;
                add(pool, input, into)
            }
            Op::Select { input, out } => self.select(input, out),
            Op::Sample { logits } => {
                let width = self.parts.program.buffer(logits).width;
                let [logits] = self.views([logits])?;
                let mut work: Vec<_> = logits.chunks_exact_mut(width).zip(choices).collect();
                pool.chunks(&mut work, 1, |_, work| {
                    work.iter_mut().for_each(|(logits, choice)| choice.make(cores.isa, logits));
                })
            }
        }
    }

    fn select(&mut self, input: BufferId, out: BufferId) -> Result<(), DeviceError> {
        let (width, outputs) = (self.parts.program.buffer(out).width, self.outputs);
        let [input, out] = self.views([input, out])?;
        for (output, out) in outputs.iter().zip(out.chunks_exact_mut(width)) {
            out.copy_from_slice(&input[output.token * width..][..width]);
        }
        Ok(())
    }

    /// Buffers as slices, with as many rows as this pass has.
    fn views<const N: usize>(&mut self, ids: [BufferId; N]) -> Result<[&mut [f32]; N], DeviceError> {
        let ranges = ids.map(|id| self.range(id));
        disjoint(self.workspace, ranges)
    }

    fn range(&self, id: BufferId) -> Range<usize> {
        let buffer = self.parts.program.buffer(id);
        let rows = match buffer.rows {
            Rows::Tokens => self.slice.tokens.len(),
            Rows::Outputs => self.outputs.len(),
        };
        buffer.offset / F32..buffer.offset / F32 + rows * buffer.width
    }
}

fn disjoint<const N: usize>(
    workspace: &mut [f32],
    ranges: [Range<usize>; N],
) -> Result<[&mut [f32]; N], DeviceError> {
    let views = workspace.get_disjoint_mut(ranges);
    views.map_err(|e| DeviceError::Lost(format!("program: buffers of an operation: {e}")))
}

fn embed(pool: &Pool, slice: &Slice, table: &Matrix<'_>, out: &mut [f32]) -> Result<(), DeviceError> {
    pool.chunks(out, table.cols, |index, out| table.row(slice.tokens[index].id as usize, out))
}

fn add(pool: &Pool, input: &[f32], into: &mut [f32]) -> Result<(), DeviceError> {
    pool.chunks(into, GRAIN, |index, into| {
        for (into, input) in into.iter_mut().zip(&input[index * GRAIN..]) {
            *into += input;
        }
    })
}
