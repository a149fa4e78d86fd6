//! Taking requests from the queue.

use std::time::Instant;

use super::entry::Entry;
use super::{Admitted, Blocks, Call, Capacity, InFlight, Interrupt, NewBatch, Policy, Scheduler};

/// How many may be let in now, and why.
#[derive(Debug)]
struct Bounds {
    /// Fewer than this are not worth it.
    min: usize,
    max: usize,
    /// Tokens of the prefill.
    prefill: u32,
    interrupt: Option<Interrupt>,
}

/// What one request gets.
#[derive(Debug)]
struct Grant {
    new_tokens: u32,
    positions: u32,
    blocks: Vec<u32>,
    chunk_len: Option<u32>,
}

/// What has been given away in one batch.
#[derive(Debug, Default)]
struct Tally {
    requests: u32,
    prefill: u32,
    /// Padded only.
    longest: u32,
    new: u32,
}

impl Scheduler {
    /// Lets waiting requests in, first come first served, when the rules allow it.
    pub(super) fn admit(&mut self, now: Instant) -> Option<Call> {
        let bounds = self.bounds()?;
        let taken = self.take(&bounds);
        if taken.is_empty() {
            return None;
        }
        let cached = if self.policy.chunking { self.batches.pop() } else { None };
        self.waited = 1;
        let new = self.start(taken, now);
        let mut out = InFlight::of(cached.as_slice());
        out.requests.splice(0..0, new.requests.iter().map(|request| request.id));
        out.batches.insert(0, new.id);
        out.max_tokens += u64::from(new.max_tokens);
        self.in_flight = out;
        Some(Call::Prefill { new, cached, interrupt: bounds.interrupt })
    }

    /// `None` when nothing may be let in. Without chunking a prefilled batch must first join the running one.
    fn bounds(&self) -> Option<Bounds> {
        let running: usize = self.batches.iter().map(|batch| batch.request_ids.len()).sum();
        let max = self.policy.max_batch_size.map_or(usize::MAX, |max| max.saturating_sub(running));
        let full = Bounds { min: 1, max, prefill: self.policy.prefill_budget(0), interrupt: None };
        match &self.batches[..] {
            [] => Some(full),
            [batch] if self.policy.chunking => Some(Bounds {
                prefill: self.policy.prefill_budget(batch.current_tokens),
                interrupt: Some(Interrupt::Chunking),
                ..full
            }),
            [_] if self.waited >= self.policy.max_waiting_tokens => {
                Some(Bounds { interrupt: Some(Interrupt::WaitExceeded), ..full })
            }
            [_] => Some(Bounds {
                min: wanted(running, self.policy.waiting_served_ratio),
                interrupt: Some(Interrupt::Backpressure),
                ..full
            }),
            _ => None,
        }
    }

    /// Takes from the head of the queue until one does not fit. Too few all go back.
    fn take(&mut self, bounds: &Bounds) -> Vec<(Entry, Grant)> {
        let mut taken = Vec::new();
        if self.queue.len() < bounds.min {
            return taken;
        }
        let mut tally = Tally::default();
        while taken.len() < bounds.max {
            let Some(grant) = self.grant(&mut tally, bounds.prefill) else { break };
            let Some(entry) = self.queue.pop_front() else { break };
            let chunked = grant.chunk_len.is_some();
            taken.push((entry, grant));
            if chunked {
                break;
            }
        }
        if taken.len() < bounds.min { self.put_back(taken) } else { taken }
    }

    fn put_back(&mut self, taken: Vec<(Entry, Grant)>) -> Vec<(Entry, Grant)> {
        for (entry, grant) in taken.into_iter().rev() {
            if let Some(blocks) = &mut self.blocks {
                blocks.give_back(grant.blocks);
            }
            self.queue.push_front(entry);
        }
        Vec::new()
    }

    /// What the head of the queue gets, or `None` when it has to wait.
    fn grant(&mut self, tally: &mut Tally, budget: u32) -> Option<Grant> {
        let entry = self.queue.front()?;
        let new_tokens = self.policy.round(entry.prompt(), entry.remaining());
        let positions = self.policy.positions(entry.prompt(), new_tokens);
        let Some(blocks) = &mut self.blocks else {
            let room = padded_room(&self.policy, &self.batches);
            tally.pad(entry.prompt(), new_tokens, budget, room)?;
            return Some(Grant { new_tokens, positions, blocks: Vec::new(), chunk_len: None });
        };
        let chunk_len = tally.chunk(entry, budget, &self.policy)?;
        let blocks = blocks.take(positions)?;
        tally.prefill += chunk_len.unwrap_or(entry.prompt());
        Some(Grant { new_tokens, positions, blocks, chunk_len })
    }

    /// Moves what was taken to the running ones and describes it for the shards.
    fn start(&mut self, taken: Vec<(Entry, Grant)>, now: Instant) -> NewBatch {
        let id = self.next_batch;
        self.next_batch += 1;
        let max_blocks = taken.iter().map(|(_, grant)| grant.blocks.len()).max().unwrap_or(0);
        let max_tokens = taken.iter().map(|(_, grant)| grant.positions).fold(0, u32::saturating_add);
        let mut requests = Vec::with_capacity(taken.len());
        for (mut entry, grant) in taken {
            entry.start(grant.new_tokens, grant.blocks.clone(), self.policy.ids, now);
            requests.push(admitted(&entry, grant, &self.policy, self.blocks.as_ref()));
            self.running.insert(entry.id, entry);
        }
        NewBatch { id, requests, max_tokens, max_blocks: u32::try_from(max_blocks).unwrap_or(u32::MAX) }
    }
}

impl Tally {
    /// Prompt tokens of `entry` in the first forward, if not all; `None` when none of them fits.
    fn chunk(&self, entry: &Entry, budget: u32, policy: &Policy) -> Option<Option<u32>> {
        let left = budget.saturating_sub(self.prefill);
        if entry.prompt() <= left {
            return Some(None);
        }
        if left == 0 || !policy.chunking {
            return None;
        }
        if policy.ids || entry.emitted() == 0 {
            return Some(Some(left));
        }
        // A shard that tokenizes our output again may find fewer tokens than we counted, but the prompt is there.
        Some(Some(left.min(entry.request.ids.len().div_ceil(2).max(1) as u32)))
    }

    /// Counts a padded row in, unless the budget or the room is too small.
    fn pad(&mut self, prompt: u32, new: u32, budget: u32, room: u32) -> Option<()> {
        let longest = self.longest.max(prompt);
        let prefill = longest.saturating_mul(self.requests + 1);
        let new = self.new.saturating_add(new);
        if prefill > budget || prefill.saturating_add(new) > room {
            return None;
        }
        *self = Self { requests: self.requests + 1, prefill, longest, new };
        Some(())
    }
}

/// Tokens that padded batches have not claimed.
fn padded_room(policy: &Policy, batches: &[super::CachedBatch]) -> u32 {
    let total = match policy.capacity {
        Capacity::PaddedTokens(tokens) => tokens,
        Capacity::Blocks(count) => count.saturating_mul(policy.block_size),
    };
    let claimed = batches.iter().map(|batch| batch.max_tokens).fold(policy.speculate, u32::saturating_add);
    total.saturating_sub(claimed)
}

/// How long the queue must be to interrupt `running` rows.
fn wanted(running: usize, ratio: f32) -> usize {
    (running as f32 * ratio).floor().max(1.0) as usize
}

fn admitted(entry: &Entry, grant: Grant, policy: &Policy, blocks: Option<&Blocks>) -> Admitted {
    let slots = blocks.map(|blocks| blocks.slots(&grant.blocks, grant.positions)).unwrap_or_default();
    Admitted {
        id: entry.id,
        request: entry.request.clone(),
        inputs: entry.inputs(),
        ids: policy.ids.then(|| entry.ids()),
        emitted: entry.emitted(),
        truncate: entry.truncate(),
        max_new_tokens: grant.new_tokens,
        more: grant.new_tokens < entry.remaining(),
        blocks: grant.blocks,
        slots,
        chunk_len: grant.chunk_len,
    }
}
