//! A cached batch: rows that step together.

use gristmill_proto::v3::CachedBatch;

use crate::error::CallError;
use crate::row::Row;

/// Rows under one id, in the order their requests came.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) id: u64,
    pub(crate) rows: Vec<Row>,
}

impl Batch {
    /// What the router is told about it.
    pub(crate) fn cached(&self) -> CachedBatch {
        CachedBatch {
            id: self.id,
            request_ids: self.rows.iter().map(Row::id).collect(),
            size: self.rows.len() as u32,
            max_tokens: self.rows.iter().map(Row::max_tokens).sum::<usize>() as u32,
            current_tokens: self.rows.iter().map(Row::next_len).sum::<usize>() as u32,
        }
    }

    /// Shares the prefill budget between rows whose prompt is not computed: from the last row to the first, each gets what is
    /// left, at least one token. Rows that decode take one token each.
    pub(crate) fn plan_chunks(&mut self, max_prefill_tokens: usize) {
        let mut budget = max_prefill_tokens.saturating_sub(self.rows.len() - 1);
        for row in self.rows.iter_mut().rev().filter(|row| row.remaining_prompt() > 0) {
            let len = row.remaining_prompt().min(budget.max(1));
            row.set_chunk(len);
            budget = budget.saturating_sub(len);
        }
    }

    /// Keeps the rows of `ids`, in that order; gives back the others.
    ///
    /// # Errors
    /// An id is not in the batch: nothing is changed.
    pub(crate) fn filter(&mut self, ids: &[u64]) -> Result<Vec<Row>, CallError> {
        if let Some(&request) = ids.iter().find(|id| !self.rows.iter().any(|row| row.id() == **id)) {
            return Err(CallError::UnknownRequest { request, batch: self.id });
        }
        let (mut kept, dropped): (Vec<Row>, Vec<Row>) =
            std::mem::take(&mut self.rows).into_iter().partition(|row| ids.contains(&row.id()));
        kept.sort_by_key(|row| ids.iter().position(|id| *id == row.id()));
        self.rows = kept;
        Ok(dropped)
    }
}
