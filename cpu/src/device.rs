//! The device: rows in slots, steps in order.

use std::collections::{BTreeMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use gristmill_model::checkpoint::Checkpoint;
use gristmill_model::device::{Admission, Device, DeviceError, KvSpec, RowOutput, Slot, StepRow, Ticket};
use gristmill_model::dtype::Dtype;
use gristmill_model::program::Program;
use gristmill_model::spec::ModelSpec;
use gristmill_model::weights::Weights;

use crate::engine::Engine;
use crate::pool::message;
use crate::row::Row;
use crate::sample::Choice;
use crate::step::{Progress, Slice};

/// How a CPU device is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuConfig {
    /// Threads that compute, the caller of [`Device::submit`] counted; 0 is taken as 1.
    pub threads: usize,
    /// Number format in which matrices are held. Vectors are held in f32.
    pub weights: Dtype,
    /// The KV cache.
    pub kv: KvSpec,
}

/// The CPU of this machine as a device. A step runs within [`Device::submit`].
pub struct CpuDevice {
    engine: Engine,
    vocab: usize,
    blocks: usize,
    rows: BTreeMap<Slot, Row>,
    slice: Slice,
    /// Ticket of the next step.
    next: u64,
    /// Outputs of steps that were not collected yet.
    done: BTreeMap<u64, Vec<RowOutput>>,
    /// Why the device can no longer be used.
    lost: Option<String>,
}

impl CpuDevice {
    /// Reads the weights into the format they are held in, and takes all memory that steps need.
    ///
    /// # Errors
    /// A weight cannot be read, memory cannot be had, or the program has activations other than f32.
    pub fn new(
        config: CpuConfig,
        spec: &ModelSpec,
        weights: &Weights,
        program: Program,
        checkpoint: &Checkpoint,
    ) -> Result<Self, DeviceError> {
        Ok(Self {
            engine: Engine::new(&config, spec, weights, program, checkpoint)?,
            vocab: spec.vocab,
            blocks: config.kv.blocks,
            rows: BTreeMap::new(),
            slice: Slice::default(),
            next: 0,
            done: BTreeMap::new(),
            lost: None,
        })
    }

    fn alive(&self) -> Result<(), DeviceError> {
        self.lost.as_ref().map_or(Ok(()), |reason| Err(DeviceError::Lost(reason.clone())))
    }

    /// The step's rows with what the slots hold; refuses what a row cannot do.
    fn check(&self, steps: &[StepRow]) -> Result<(), DeviceError> {
        let mut seen = HashSet::new();
        for step in steps {
            if !seen.insert(step.slot) {
                return Err(DeviceError::Refused(format!("slot {}: twice in one step", step.slot.0)));
            }
            let row = self.rows.get(&step.slot);
            row.ok_or_else(|| DeviceError::Refused(format!("slot {}: is empty", step.slot.0)))?
                .allows(step)?;
        }
        Ok(())
    }

    /// Computes a step that was checked.
    fn step(&mut self, steps: &[StepRow]) -> Result<Vec<RowOutput>, DeviceError> {
        let rows: Vec<_> =
            steps.iter().filter_map(|step| Some((*step, self.rows.get(&step.slot)?))).collect();
        let mut outputs = vec![RowOutput::default(); rows.len()];
        let bucket = self.engine.program().bucket;
        let mut progress = Progress::default();
        while self.slice.fill(&rows, &mut progress, bucket.tokens) {
            self.engine.body(&self.slice)?;
            for wanted in self.slice.outputs.chunks(bucket.outputs) {
                let mut choices: Vec<_> =
                    wanted.iter().map(|output| Choice::new(rows[output.row].1, *output)).collect();
                self.engine.head(&self.slice, wanted, &mut choices)?;
                for choice in choices {
                    let output = &mut outputs[choice.output.row];
                    output.sampled = output.sampled.take().or(choice.sampled);
                    output.prompt_logprobs.extend(choice.logprob);
                    output.logits.extend(choice.logits);
                }
            }
        }
        Ok(outputs)
    }

    /// Appends what was sampled.
    fn advance(&mut self, steps: &[StepRow], outputs: &[RowOutput]) {
        for (step, output) in steps.iter().zip(outputs) {
            if let Some(row) = self.rows.get_mut(&step.slot) {
                row.computed = row.computed.max(step.start + step.len);
                output.sampled.iter().for_each(|sampled| row.history.push(sampled.id));
            }
        }
    }
}

impl Device for CpuDevice {
    fn admit(&mut self, slot: Slot, admission: &Admission<'_>) -> Result<(), DeviceError> {
        self.alive()?;
        self.rows.insert(slot, Row::new(admission, self.vocab, self.blocks)?);
        Ok(())
    }

    fn retire(&mut self, slot: Slot) {
        self.rows.remove(&slot);
    }

    fn submit(&mut self, rows: &[StepRow]) -> Result<Ticket, DeviceError> {
        self.alive()?;
        self.check(rows)?;
        let outcome = catch_unwind(AssertUnwindSafe(|| self.step(rows)));
        let outcome = outcome.unwrap_or_else(|panic| Err(DeviceError::Lost(message(&*panic))));
        let outputs = outcome.inspect_err(|error| self.lost = Some(reason(error)))?;
        self.advance(rows, &outputs);
        let ticket = self.next;
        self.next += 1;
        self.done.insert(ticket, outputs);
        Ok(Ticket(ticket))
    }

    fn collect(&mut self, ticket: Ticket) -> Result<Vec<RowOutput>, DeviceError> {
        let unknown = || DeviceError::Refused(format!("ticket {}: no such step is waiting", ticket.0));
        self.done.remove(&ticket.0).ok_or_else(unknown)
    }
}

/// Why a device whose step failed is lost.
fn reason(error: &DeviceError) -> String {
    match error {
        DeviceError::Lost(reason) => reason.clone(),
        other => other.to_string(),
    }
}
