//! A naive shard that checks every call it gets.

use std::collections::{HashMap, HashSet};

use gristmill_router::event::{FinishReason, Token};
use gristmill_router::schedule::{
    Admitted, Answer, CachedBatch, Call, Capacity, Generated, Generation, Policy, RoundEnd,
};

/// One row of a cached batch.
#[derive(Debug)]
struct Row {
    id: u64,
    prompt: u32,
    /// Output tokens of earlier rounds.
    emitted: u32,
    computed: u32,
    /// Prompt tokens in the next forward.
    chunk: u32,
    produced: u32,
    max_new: u32,
    /// Another round may follow, so an end token counts before the length.
    more: bool,
    blocks: Vec<u32>,
    ended: bool,
}

/// The shard: cached batches, and when requests meet an end token.
#[derive(Debug)]
pub(crate) struct Shard {
    policy: Policy,
    batches: HashMap<u64, Vec<Row>>,
    /// Output token after which a request ends by itself.
    pub(crate) eos: HashMap<u64, u32>,
    /// Tokens a row gives in one step, where it has that many left.
    pub(crate) burst: u32,
    pub(crate) admitted_first: Vec<u64>,
    seen: HashSet<u64>,
}

/// The text of a token.
pub(crate) fn text(id: u32) -> String {
    format!("{id} ")
}

/// The token at `index` of a request's output.
pub(crate) fn output(request: u64, index: u32) -> u32 {
    (request as u32 + 1) * 7919 % 1000 * 1000 + index % 1000
}

impl Shard {
    pub(crate) fn new(policy: Policy) -> Self {
        let (batches, eos) = (HashMap::new(), HashMap::new());
        Self { policy, batches, eos, burst: 1, admitted_first: Vec::new(), seen: HashSet::new() }
    }

    pub(crate) fn holds(&self) -> usize {
        self.batches.len()
    }

    /// Carries a call out.
    pub(crate) fn answer(&mut self, call: Call) -> Answer {
        match call {
            Call::Prefill { new, cached, .. } => {
                self.check_prefill(&new.requests, cached.as_ref());
                let mut rows: Vec<Row> = match &cached {
                    Some(batch) => self.take(batch),
                    None => Vec::new(),
                };
                let id = cached.map_or(new.id, |batch| batch.id);
                rows.extend(new.requests.into_iter().map(|request| self.row(request)));
                self.check_memory(&rows);
                self.step(id, rows)
            }
            Call::Decode { batches } => {
                let id = batches.first().expect("Decode has a batch").id;
                let rows = batches.iter().flat_map(|batch| self.take(batch)).collect();
                self.step(id, rows)
            }
            Call::Filter { batch, keep } => {
                let mut rows = self.batches.remove(&batch).expect("Filter names a cached batch");
                let before = rows.len();
                rows.retain(|row| keep.contains(&row.id));
                assert_eq!(rows.len(), keep.len(), "kept ids are in the batch");
                assert!(rows.len() < before, "a filter removes something");
                assert!(rows.iter().all(|row| !row.ended), "ended rows do not stay");
                self.store(batch, rows)
            }
            Call::Clear { batch } => {
                self.batches.remove(&batch);
                Answer::default()
            }
        }
    }

    /// The call fails: as in a real shard, the batches that a step took are gone. A Filter fails before it does
    /// anything, a Clear only loses its answer.
    pub(crate) fn fail(&mut self, call: &Call) {
        let (cached, decoded) = match call {
            Call::Prefill { cached, .. } => (cached.as_slice(), &[][..]),
            Call::Decode { batches } => (&[][..], &batches[..]),
            Call::Filter { .. } => return,
            Call::Clear { batch } => {
                self.batches.remove(batch);
                return;
            }
        };
        for batch in cached.iter().chain(decoded) {
            self.batches.remove(&batch.id);
        }
    }

    fn take(&mut self, batch: &CachedBatch) -> Vec<Row> {
        let rows = self.batches.remove(&batch.id).expect("the batch is cached");
        let ids: Vec<u64> = rows.iter().map(|row| row.id).collect();
        assert_eq!(ids, batch.request_ids);
        assert!(rows.iter().all(|row| !row.ended), "a row that ended is filtered before the next step");
        rows
    }

    fn row(&mut self, request: Admitted) -> Row {
        if self.seen.insert(request.id) {
            self.admitted_first.push(request.id);
        }
        let prompt = request.request.ids.len() as u32 + request.emitted;
        let ids = request.request.ids.iter().copied();
        let all: Vec<u32> = ids.chain((0..request.emitted).map(|index| output(request.id, index))).collect();
        assert_eq!(request.inputs, all.iter().map(|id| text(*id)).collect::<String>());
        assert_eq!(request.ids, self.policy.ids.then_some(all));
        assert!(prompt <= request.truncate);
        let total = request.request.stopping.max_new_tokens;
        assert_eq!(request.more, request.emitted + request.max_new_tokens < total);
        self.check_slots(&request, prompt);
        Row {
            id: request.id,
            prompt,
            emitted: request.emitted,
            computed: 0,
            chunk: request.chunk_len.unwrap_or(prompt),
            produced: 0,
            max_new: request.max_new_tokens,
            more: request.more,
            blocks: request.blocks,
            ended: false,
        }
    }

    fn check_slots(&self, request: &Admitted, prompt: u32) {
        let Capacity::Blocks(count) = self.policy.capacity else {
            assert!(request.blocks.is_empty() && request.slots.is_empty());
            return;
        };
        let size = self.policy.block_size;
        let positions = prompt + request.max_new_tokens + self.policy.speculate - 1;
        assert_eq!(request.blocks.len() as u32, positions.div_ceil(size));
        assert!(request.blocks.iter().all(|block| (1..count).contains(block)));
        assert_eq!(request.slots.len() as u32, positions);
        for (position, slot) in request.slots.iter().enumerate() {
            let block = request.blocks[position / size as usize];
            assert_eq!(*slot, block * size + position as u32 % size);
        }
    }

    /// Budgets of one prefill.
    fn check_prefill(&self, new: &[Admitted], cached: Option<&CachedBatch>) {
        assert!(!new.is_empty());
        let held: usize = self.batches.values().map(Vec::len).sum();
        if let Some(max) = self.policy.max_batch_size {
            assert!(held + new.len() <= max, "{held} rows and {} new ones", new.len());
        }
        for (index, request) in new.iter().enumerate() {
            let last = index + 1 == new.len();
            assert!(request.chunk_len.is_none() || (last && self.policy.chunking), "only the last is cut");
        }
        let running = cached.map_or(0, |batch| batch.current_tokens);
        let size = self.policy.block_size;
        let budget = (self.policy.max_batch_prefill_tokens - running).div_ceil(size) * size;
        let prompt = |request: &Admitted| request.request.ids.len() as u32 + request.emitted;
        let tokens: u32 = new.iter().map(|request| request.chunk_len.unwrap_or(prompt(request))).sum();
        assert!(tokens <= budget, "{tokens} prompt tokens over {budget}");
        assert_eq!(cached.is_some(), self.policy.chunking && held > 0);
        if let Capacity::PaddedTokens(total) = self.policy.capacity {
            let longest = new.iter().map(prompt).max().unwrap_or(0) * new.len() as u32;
            let output: u32 = new.iter().map(|request| request.max_new_tokens).sum();
            let held: u32 = self.batches.values().map(|rows| padded(rows)).sum();
            assert!(longest <= budget && longest + output + held + self.policy.speculate <= total);
        }
    }

    /// No block belongs to two rows.
    fn check_memory(&self, rows: &[Row]) {
        let mut owned = HashSet::new();
        for row in rows.iter().chain(self.batches.values().flatten()) {
            assert!(row.blocks.iter().all(|block| owned.insert(*block)), "a block is shared");
        }
    }

    fn step(&mut self, id: u64, mut rows: Vec<Row>) -> Answer {
        let generations = rows.iter_mut().filter_map(|row| self.advance(row)).collect();
        let batch = if rows.iter().all(|row| row.ended) { None } else { self.store(id, rows).batch };
        Answer { generations, batch }
    }

    fn advance(&self, row: &mut Row) -> Option<Generation> {
        row.computed += row.chunk;
        row.chunk = (row.prompt - row.computed).min(3);
        if row.computed < row.prompt {
            return None;
        }
        let mut tokens = Vec::new();
        let mut reason = None;
        while reason.is_none() && (tokens.len() as u32) < self.burst {
            let index = row.emitted + row.produced;
            let id = output(row.id, index);
            row.produced += 1;
            let token = Token { id, text: text(id), logprob: -1.0, special: false };
            tokens.push(Generated { token, top: Vec::new() });
            let at_eos = self.eos.get(&row.id) == Some(&(index + 1));
            let at_length = row.produced == row.max_new;
            reason = match (at_length && !(row.more && at_eos), at_eos) {
                (true, _) => Some(FinishReason::Length),
                (false, true) => Some(FinishReason::EosToken),
                (false, false) => None,
            };
        }
        row.ended = reason.is_some();
        let first = if self.policy.ids { 0 } else { row.emitted };
        let end = reason.map(|reason| RoundEnd {
            text: (first..row.emitted + row.produced).map(|index| text(output(row.id, index))).collect(),
            reason,
            seed: None,
        });
        Some(Generation { request: row.id, prefill: None, tokens, end })
    }

    fn store(&mut self, id: u64, rows: Vec<Row>) -> Answer {
        let batch = CachedBatch {
            id,
            request_ids: rows.iter().map(|row| row.id).collect(),
            max_tokens: match self.policy.capacity {
                Capacity::Blocks(_) => {
                    rows.iter().map(|row| row.blocks.len() as u32).sum::<u32>() * self.policy.block_size
                }
                Capacity::PaddedTokens(_) => padded(&rows),
            },
            current_tokens: rows.iter().map(|row| row.chunk.max(1)).sum(),
        };
        assert!(self.batches.insert(id, rows).is_none(), "batch ids are used once");
        Answer { generations: Vec::new(), batch: Some(batch) }
    }
}

fn padded(rows: &[Row]) -> u32 {
    let longest = rows.iter().map(|row| row.prompt).max().unwrap_or(0);
    rows.iter().map(|row| longest + row.max_new).sum()
}
