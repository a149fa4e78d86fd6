//! The cached batches of one shard and what steps do to them.

use std::collections::HashMap;
use std::sync::Arc;

use gristmill_proto::v3::{CachedBatch, Generation};
use tonic::Status;

use super::Options;
use super::row::Row;

/// Batches by id.
#[derive(Debug)]
pub(super) struct Batches {
    rank: u64,
    options: Arc<Options>,
    cached: HashMap<u64, Vec<Row>>,
    /// From Warmup.
    pub(super) max_prefill_tokens: usize,
}

impl Batches {
    pub(super) fn new(rank: u64, options: Arc<Options>) -> Self {
        Self { rank, options, cached: HashMap::new(), max_prefill_tokens: 0 }
    }

    /// Takes a batch out, as a step does.
    pub(super) fn take(&mut self, id: u64) -> Result<Vec<Row>, Status> {
        self.cached.remove(&id).ok_or_else(|| Status::internal(format!("Batch ID {id} not found in cache.")))
    }

    /// A batch as it lies.
    pub(super) fn get(&self, id: u64) -> Option<&[Row]> {
        self.cached.get(&id).map(Vec::as_slice)
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = &Row> {
        self.cached.values().flatten()
    }

    pub(super) fn drop_all(&mut self) {
        self.cached.clear();
    }

    /// One forward of `rows`, kept as batch `id` from then on. Every rank computes, one emits.
    pub(super) fn step(&mut self, id: u64, mut rows: Vec<Row>) -> (Vec<Generation>, Option<CachedBatch>) {
        let (rank, world) = (self.rank, self.options.world);
        let all = rows.iter_mut().filter_map(|row| row.advance(&self.options)).collect::<Vec<_>>();
        let generations =
            all.into_iter().filter(|generation| generation.request_id % world == rank).collect();
        if self.options.ours {
            rows.retain(|row| !row.ended);
        }
        let batch = rows.iter().any(|row| !row.ended).then(|| self.keep(id, rows));
        (generations, batch)
    }

    /// Puts rows back, with the chunks of their next forward.
    pub(super) fn keep(&mut self, id: u64, mut rows: Vec<Row>) -> CachedBatch {
        let mut budget = self.max_prefill_tokens.saturating_sub(rows.len() - 1);
        for row in rows.iter_mut().rev().filter(|row| row.left() > 0) {
            row.chunk = row.left().min(budget.max(1));
            budget = budget.saturating_sub(row.chunk);
        }
        let batch = self.describe(id, &rows);
        self.cached.insert(id, rows);
        batch
    }

    pub(super) fn describe(&self, id: u64, rows: &[Row]) -> CachedBatch {
        let blocks: usize = rows.iter().map(|row| row.request.blocks.len()).sum();
        CachedBatch {
            id,
            request_ids: rows.iter().map(Row::id).collect(),
            size: rows.len() as u32,
            max_tokens: blocks as u32 * self.options.block_size,
            current_tokens: rows.iter().map(|row| row.chunk.max(1) as u32).sum(),
        }
    }
}
