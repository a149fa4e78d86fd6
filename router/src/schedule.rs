//! Which requests run, when, and on which KV blocks. Pure: no async, no clock, no wire; time is an argument.
//!
//! One driver asks [`Scheduler::next`] for a [`Call`], carries it out, and hands the outcome to [`Scheduler::answered`]
//! or [`Scheduler::failed`]; requests may arrive and be cancelled at any moment in between. At most one call is out.
//!
//! The order of calls is what makes memory safe. Blocks go back to the free list the moment their request ends or is
//! cancelled, and may be given to the next admitted one. Its Prefill is submitted after the step in flight, and after
//! the Filter or Clear that removes the old rows, because [`Scheduler::next`] tidies before it admits. A shard carries
//! out what it is told in order, so nothing writes to a block after it has a new owner.
//!
//! No deadlock: a request reserves the KV of its whole round before it starts, so a running one never waits for
//! memory; a waiting one fits into an empty cache, because start-up checked that the largest allowed request does.

mod admission;
mod batch;
mod blocks;
mod entry;
mod generation;
mod policy;

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use crate::event::{EventResult, GenerationError};
use crate::request::ValidRequest;
pub use batch::{Admitted, CachedBatch, Call, Interrupt, Load, Message, NewBatch};
pub use blocks::Blocks;
use entry::{Entry, Fate};
pub use generation::{Answer, Generated, Generation, RoundEnd};
pub use policy::{Capacity, MAX_ROUND_TOKENS, Policy};

/// The whole state of queue, batches and KV blocks.
#[derive(Debug)]
pub struct Scheduler {
    policy: Policy,
    /// Absent when the shard budgets padded tokens instead of blocks.
    blocks: Option<Blocks>,
    queue: VecDeque<Entry>,
    running: HashMap<u64, Entry>,
    /// What the shards hold and no call is using.
    batches: Vec<CachedBatch>,
    /// Batches of failed calls that the shards may still hold.
    doomed: Vec<u64>,
    in_flight: InFlight,
    /// Decode steps since requests were last let in, counted from 1.
    waited: usize,
    next_request: u64,
    next_batch: u64,
}

/// The call that is out: whom it concerns, and which batches die with it.
#[derive(Debug, Default)]
struct InFlight {
    requests: Vec<u64>,
    batches: Vec<u64>,
    /// Tokens its batches can grow to.
    max_tokens: u64,
}

impl InFlight {
    fn of(batches: &[CachedBatch]) -> Self {
        Self {
            requests: batches.iter().flat_map(|batch| batch.request_ids.iter().copied()).collect(),
            batches: batches.iter().map(|batch| batch.id).collect(),
            max_tokens: max_tokens(batches),
        }
    }
}

impl Scheduler {
    /// An empty scheduler.
    pub fn new(policy: Policy) -> Self {
        let blocks = match policy.capacity {
            Capacity::Blocks(count) => Some(Blocks::new(count, policy.block_size)),
            Capacity::PaddedTokens(_) => None,
        };
        Self {
            policy,
            blocks,
            queue: VecDeque::new(),
            running: HashMap::new(),
            batches: Vec::new(),
            doomed: Vec::new(),
            in_flight: InFlight::default(),
            waited: 1,
            next_request: 0,
            next_batch: 0,
        }
    }

    /// Puts a request at the end of the queue and names it. It must fit the limits that start-up checked.
    pub fn arrived(&mut self, request: ValidRequest, now: Instant) -> u64 {
        let id = self.next_request;
        self.next_request += 1;
        self.queue.push_back(Entry::new(id, request, now));
        id
    }

    /// Forgets a request wherever it is. Its row leaves the shards before the next step, and it is never reported again.
    pub fn cancelled(&mut self, id: u64) {
        self.queue.retain(|entry| entry.id != id);
        if let Some(entry) = self.running.remove(&id) {
            self.release(entry);
        }
    }

    /// What to do next; `None` when there is nothing to do until a request arrives. The outcome of the call before it
    /// must have been handed in.
    pub fn next(&mut self, now: Instant) -> Option<Call> {
        self.tidy().or_else(|| self.admit(now)).or_else(|| self.decode())
    }

    /// Takes in the answer to the call that [`Scheduler::next`] gave, and says what to tell whom.
    pub fn answered(&mut self, answer: Answer, now: Instant) -> Vec<Message> {
        let mut messages = Vec::new();
        let mut resumed = Vec::new();
        for generation in answer.generations {
            self.advance(generation, now, &mut messages, &mut resumed);
        }
        self.resume(resumed);
        let called = std::mem::take(&mut self.in_flight);
        let held = answer.batch.as_ref().map_or(&[][..], |batch| &batch.request_ids);
        let lost = called.requests.iter().filter(|id| !held.contains(id));
        self.fail(lost.copied(), &GenerationError::Incomplete, &mut messages);
        self.batches.extend(answer.batch);
        messages
    }

    /// Takes in that the call failed: every request it concerned ends with the error, and the shards are told to drop
    /// its batches.
    pub fn failed(&mut self, error: &GenerationError) -> Vec<Message> {
        let mut messages = Vec::new();
        let called = std::mem::take(&mut self.in_flight);
        self.fail(called.requests.into_iter(), error, &mut messages);
        self.doomed.extend(called.batches);
        messages
    }

    /// How much waits and runs.
    pub fn load(&self) -> Load {
        Load {
            queued: self.queue.len(),
            running: self.running.len(),
            max_tokens: self.in_flight.max_tokens + max_tokens(&self.batches),
        }
    }

    /// Free KV blocks; absent when the shard budgets padded tokens.
    pub fn free_blocks(&self) -> Option<usize> {
        self.blocks.as_ref().map(Blocks::free)
    }

    /// Removes from the shards what no longer runs, one batch a call.
    fn tidy(&mut self) -> Option<Call> {
        if let Some(batch) = self.doomed.pop() {
            return Some(Call::Clear { batch });
        }
        let gone = |batch: &CachedBatch| batch.request_ids.iter().any(|id| !self.running.contains_key(id));
        let index = self.batches.iter().position(gone)?;
        let mut batch = self.batches.remove(index);
        batch.request_ids.retain(|id| self.running.contains_key(id));
        if batch.request_ids.is_empty() {
            return Some(Call::Clear { batch: batch.id });
        }
        self.in_flight = InFlight::of(std::slice::from_ref(&batch));
        Some(Call::Filter { batch: batch.id, keep: batch.request_ids })
    }

    fn decode(&mut self) -> Option<Call> {
        if self.batches.is_empty() {
            return None;
        }
        self.waited += 1;
        let batches = std::mem::take(&mut self.batches);
        self.in_flight = InFlight::of(&batches);
        Some(Call::Decode { batches })
    }

    fn advance(
        &mut self,
        generation: Generation,
        now: Instant,
        messages: &mut Vec<Message>,
        resumed: &mut Vec<Entry>,
    ) {
        let id = generation.request;
        // Cancelled while the step ran, or nobody's.
        let Some(entry) = self.running.get_mut(&id) else { return };
        let (events, fate) = entry.advance(generation, now);
        messages.extend(events.into_iter().map(|event| Message { id, event: Ok(event) }));
        if matches!(fate, Fate::Runs) {
            return;
        }
        let Some(mut entry) = self.running.remove(&id) else { return };
        self.give_back(&mut entry);
        if matches!(fate, Fate::NextRound) {
            resumed.push(entry);
        }
    }

    /// Requests whose round ended go first, the oldest at the head.
    fn resume(&mut self, mut entries: Vec<Entry>) {
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.id));
        for entry in entries {
            self.queue.push_front(entry);
        }
    }

    fn fail(
        &mut self,
        requests: impl Iterator<Item = u64>,
        error: &GenerationError,
        messages: &mut Vec<Message>,
    ) {
        for id in requests {
            if let Some(entry) = self.running.remove(&id) {
                self.release(entry);
                messages.push(Message { id, event: EventResult::Err(error.clone()) });
            }
        }
    }

    fn release(&mut self, mut entry: Entry) {
        self.give_back(&mut entry);
    }

    fn give_back(&mut self, entry: &mut Entry) {
        if let Some(blocks) = &mut self.blocks {
            blocks.give_back(entry.take_blocks());
        }
    }
}

fn max_tokens(batches: &[CachedBatch]) -> u64 {
    batches.iter().map(|batch| u64::from(batch.max_tokens)).sum()
}
