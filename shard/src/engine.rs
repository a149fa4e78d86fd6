//! The step loop: one thread owns the device, the batches and the order of everything.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use gristmill_model::device::{BLOCK_SIZE, Device, DeviceError, RowOutput, Slot};
use gristmill_proto::v3::{CachedBatch, Generation};
use gristmill_text::Tokenizer;

use crate::batch::Batch;
use crate::blocks::BlockPool;
use crate::error::CallError;
use crate::prompt::Prompt;
use crate::row::Row;

/// Tokens of one prefill before a router has said more in its warmup.
const DEFAULT_PREFILL_TOKENS: usize = 4096;

/// Rows, batches and the device they run on.
pub(crate) struct Engine {
    device: Box<dyn Device>,
    tokenizer: Arc<Tokenizer>,
    end_tokens: Arc<BTreeSet<u32>>,
    rank: usize,
    world: usize,
    batches: HashMap<u64, Batch>,
    blocks: BlockPool,
    free_slots: Vec<Slot>,
    slots: u32,
    max_prefill_tokens: usize,
}

/// What a step gave, with its times in nanoseconds.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) generations: Vec<Generation>,
    pub(crate) batch: Option<CachedBatch>,
    pub(crate) forward_ns: u64,
    pub(crate) decode_ns: u64,
    pub(crate) total_ns: u64,
    pub(crate) concat_ns: Option<u64>,
}

impl Engine {
    pub(crate) fn new(
        device: Box<dyn Device>,
        blocks: usize,
        tokenizer: Arc<Tokenizer>,
        end_tokens: BTreeSet<u32>,
        (rank, world): (usize, usize),
    ) -> Self {
        Self {
            device,
            tokenizer,
            end_tokens: Arc::new(end_tokens),
            rank,
            world,
            batches: HashMap::new(),
            blocks: BlockPool::new(blocks),
            free_slots: Vec::new(),
            slots: 0,
            max_prefill_tokens: DEFAULT_PREFILL_TOKENS,
        }
    }

    /// Sets the prefill budget and runs one short step of the first prompt, so that a device that cannot run is found out.
    pub(crate) fn warmup(&mut self, mut prompt: Prompt, max_prefill_tokens: usize) -> Result<(), CallError> {
        self.max_prefill_tokens = max_prefill_tokens.max(1);
        prompt.ids.truncate(BLOCK_SIZE);
        prompt.chunk_len = prompt.ids.len();
        prompt.stopping.max_new_tokens = 1;
        self.prefill(u64::MAX, vec![prompt], None).map(|_| ())
    }

    /// Computes new prompts, with a step of the cached batch in the same forward when one is named.
    pub(crate) fn prefill(
        &mut self,
        id: u64,
        prompts: Vec<Prompt>,
        cached: Option<u64>,
    ) -> Result<Answer, CallError> {
        let start = Instant::now();
        if prompts.is_empty() {
            return Err(CallError::EmptyBatch);
        }
        if let Some(missing) = cached.filter(|id| !self.batches.contains_key(id)) {
            return Err(CallError::UnknownBatch(missing));
        }
        if cached != Some(id) {
            // A client that was restarted may name a batch as one it has forgotten.
            self.clear(Some(id));
        }
        let rows = self.admit(prompts)?;
        let batch = match cached.and_then(|id| self.batches.remove(&id)) {
            Some(mut batch) => {
                batch.rows.extend(rows);
                batch
            }
            None => Batch { id, rows },
        };
        let concat_ns = cached.map(|_| elapsed(start));
        self.step(batch, start, concat_ns)
    }

    /// One step of the named batches, which become one.
    pub(crate) fn decode(&mut self, ids: &[u64]) -> Result<Answer, CallError> {
        let start = Instant::now();
        let (first, others) = ids.split_first().ok_or(CallError::NoBatch)?;
        if let Some(missing) = ids.iter().find(|id| !self.batches.contains_key(id)) {
            return Err(CallError::UnknownBatch(*missing));
        }
        let mut batch = self.batches.remove(first).ok_or(CallError::UnknownBatch(*first))?;
        let others = others.iter().filter_map(|id| self.batches.remove(id));
        batch.rows.extend(others.flat_map(|other| other.rows));
        let concat_ns = (ids.len() > 1).then(|| elapsed(start));
        self.step(batch, start, concat_ns)
    }

    /// Keeps only some rows of a batch.
    pub(crate) fn filter(&mut self, id: u64, keep: &[u64]) -> Result<CachedBatch, CallError> {
        if keep.is_empty() {
            return Err(CallError::EmptyBatch);
        }
        let batch = self.batches.get_mut(&id).ok_or(CallError::UnknownBatch(id))?;
        let dropped = batch.filter(keep)?;
        let cached = batch.cached();
        dropped.into_iter().for_each(|row| self.retire(row));
        Ok(cached)
    }

    /// Drops one batch, or all.
    pub(crate) fn clear(&mut self, id: Option<u64>) {
        let dropped: Vec<Batch> = match id {
            Some(id) => self.batches.remove(&id).into_iter().collect(),
            None => self.batches.drain().map(|(_, batch)| batch).collect(),
        };
        dropped.into_iter().flat_map(|batch| batch.rows).for_each(|row| self.retire(row));
    }

    fn admit(&mut self, prompts: Vec<Prompt>) -> Result<Vec<Row>, CallError> {
        let mut rows = Vec::with_capacity(prompts.len());
        for prompt in prompts {
            match self.admit_one(prompt) {
                Ok(row) => rows.push(row),
                Err(error) => {
                    rows.into_iter().for_each(|row| self.retire(row));
                    return Err(error);
                }
            }
        }
        Ok(rows)
    }

    fn admit_one(&mut self, prompt: Prompt) -> Result<Row, CallError> {
        let need = (prompt.ids.len() + prompt.stopping.max_new_tokens as usize - 1).div_ceil(BLOCK_SIZE);
        let own = if prompt.blocks.is_empty() { self.own_blocks(&prompt, need)? } else { Vec::new() };
        if !prompt.blocks.is_empty() && prompt.blocks.len() < need {
            let problem =
                format!("{} blocks, but prompt and max_new_tokens need {need}", prompt.blocks.len());
            return Err(CallError::request(prompt.id, problem));
        }
        let slot = self.slot();
        let blocks = if own.is_empty() { &prompt.blocks } else { &own };
        let admitted = self.device.admit(slot, &Row::admission(&prompt, blocks)).map_err(CallError::from);
        let row =
            admitted.and_then(|()| Row::new(prompt, slot, own.clone(), &self.tokenizer, &self.end_tokens));
        if row.is_err() {
            self.blocks.give(own);
            self.free_slots.push(slot);
        }
        row
    }

    fn own_blocks(&mut self, prompt: &Prompt, need: usize) -> Result<Vec<u32>, CallError> {
        let problem = format!("{need} KV blocks are needed and not free");
        self.blocks.take(need).ok_or_else(|| CallError::request(prompt.id, problem))
    }

    fn slot(&mut self) -> Slot {
        self.free_slots.pop().unwrap_or_else(|| {
            self.slots += 1;
            Slot(self.slots - 1)
        })
    }

    fn retire(&mut self, row: Row) {
        self.device.retire(row.slot());
        self.free_slots.push(row.slot());
        self.blocks.give(row.into_own_blocks());
    }

    /// Runs one forward of a batch and keeps what goes on. When the device fails the batch is gone.
    fn step(
        &mut self,
        mut batch: Batch,
        start: Instant,
        concat_ns: Option<u64>,
    ) -> Result<Answer, CallError> {
        let forward = Instant::now();
        let outputs = match self.forward(&batch) {
            Ok(outputs) => outputs,
            Err(error) => {
                batch.rows.into_iter().for_each(|row| self.retire(row));
                return Err(error.into());
            }
        };
        let forward_ns = elapsed(forward);
        let decode = Instant::now();
        let mut answer = Answer { forward_ns, concat_ns, ..Answer::default() };
        answer.generations = self.advance(&mut batch, outputs)?;
        if !batch.rows.is_empty() {
            batch.plan_chunks(self.max_prefill_tokens);
            answer.batch = Some(batch.cached());
            self.batches.insert(batch.id, batch);
        }
        answer.decode_ns = elapsed(decode);
        answer.total_ns = elapsed(start);
        Ok(answer)
    }

    /// Takes a step's outputs into its rows; rows that ended leave the batch. When one row's text fails all of them go.
    fn advance(&mut self, batch: &mut Batch, outputs: Vec<RowOutput>) -> Result<Vec<Generation>, CallError> {
        let mut generations = Vec::new();
        let mut failed = None;
        for (mut row, output) in std::mem::take(&mut batch.rows).into_iter().zip(outputs) {
            match row.advance(output, &self.tokenizer) {
                Ok(advance) => {
                    let emitted =
                        advance.generation.filter(|said| emits(said.request_id, self.rank, self.world));
                    generations.extend(emitted);
                    if advance.ended { self.retire(row) } else { batch.rows.push(row) }
                }
                Err(error) => {
                    failed = Some(error);
                    self.retire(row);
                }
            }
        }
        let Some(error) = failed else { return Ok(generations) };
        std::mem::take(&mut batch.rows).into_iter().for_each(|row| self.retire(row));
        Err(error)
    }

    fn forward(&mut self, batch: &Batch) -> Result<Vec<RowOutput>, DeviceError> {
        let rows: Vec<_> = batch.rows.iter().map(Row::step).collect();
        let ticket = self.device.submit(&rows)?;
        self.device.collect(ticket)
    }
}

/// Each request is reported by one rank; the others only advance it.
fn emits(request: u64, rank: usize, world: usize) -> bool {
    request % world as u64 == rank as u64
}

fn elapsed(since: Instant) -> u64 {
    since.elapsed().as_nanos() as u64
}
