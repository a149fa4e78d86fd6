//! The CPU device with a model on it, for tests of numbers.

use std::ops::Range;
use std::path::Path;

use gristmill_cpu::{CpuConfig, CpuDevice};
use gristmill_model::checkpoint::Checkpoint;
use gristmill_model::device::{Admission, BLOCK_SIZE, Device, KvSpec, RowOutput, Slot, StepRow};
use gristmill_model::dtype::Dtype;
use gristmill_model::families;
use gristmill_model::program::{Bucket, Program};
use gristmill_model::sampling::Sampling;
use gristmill_model::weights::{Rank, Weights};

/// A device and the blocks it has left.
pub struct Rig {
    device: CpuDevice,
    next_block: u32,
    next_slot: u32,
}

impl Rig {
    /// A model as the shard would load it, with a KV cache of `tokens`.
    pub fn new(folder: &Path, tokens: usize) -> Self {
        let checkpoint = Checkpoint::open(folder).unwrap();
        let spec = families::spec(checkpoint.config()).unwrap();
        let weights = Weights::new(&spec, Rank::ALONE).unwrap();
        let program = Program::decoder(&spec, &weights, Bucket { tokens: 512, outputs: 64 }, Dtype::F32);
        let dtype = if spec.dtype == Dtype::F32 { Dtype::F32 } else { Dtype::F16 };
        let kv = KvSpec { blocks: tokens.div_ceil(BLOCK_SIZE) + 1, dtype };
        let config = CpuConfig { threads: 2, weights: spec.dtype, kv };
        let device = CpuDevice::new(config, &spec, &weights, program, &checkpoint).unwrap();
        Self { device, next_block: 1, next_slot: 0 }
    }

    /// Admits a row that may grow by `room` tokens.
    pub fn admit(&mut self, prompt: &[u32], room: usize, sampling: Sampling) -> Slot {
        let need = (prompt.len() + room).div_ceil(BLOCK_SIZE) as u32;
        let blocks: Vec<u32> = (self.next_block..self.next_block + need).collect();
        self.next_block += need;
        let slot = Slot(self.next_slot);
        self.next_slot += 1;
        self.device.admit(slot, &Admission { prompt, blocks: &blocks, cached: 0, sampling }).unwrap();
        slot
    }

    /// Retires every row and takes all blocks back.
    pub fn clear(&mut self) {
        (0..self.next_slot).for_each(|slot| self.device.retire(Slot(slot)));
        (self.next_block, self.next_slot) = (1, 0);
    }

    /// One step.
    pub fn step(&mut self, rows: &[StepRow]) -> Vec<RowOutput> {
        let ticket = self.device.submit(rows).unwrap();
        self.device.collect(ticket).unwrap()
    }
}

/// The part of a step that computes `positions` of a row.
pub fn row(slot: Slot, positions: Range<usize>, sample: bool) -> StepRow {
    StepRow {
        slot,
        start: positions.start,
        len: positions.len(),
        sample,
        prompt_logprobs: false,
        logits: false,
    }
}
