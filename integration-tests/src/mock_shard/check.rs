//! The rules of the wire that a router has to keep.

use std::collections::HashSet;

use gristmill_proto::v3::{Batch, CachedBatch, Input, Request, input_chunk};

use super::Options;
use super::batch::Batches;
use super::row::Row;

/// Batch and request id of the health probe.
pub(super) const PROBE: u64 = u64::MAX;

/// What is wrong with a new batch.
pub(super) fn new_batch(batches: &Batches, options: &Options, batch: &Batch) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut demand = |holds: bool, rule: &str| {
        if !holds {
            wrong.push(format!("batch {}: {rule}", batch.id));
        }
    };
    let blocks = batch.requests.iter().map(|request| request.blocks.len()).max();
    demand(batch.size as usize == batch.requests.len(), "size is the number of requests");
    demand(batch.max_blocks as usize == blocks.unwrap_or(0), "max_blocks is that of its largest request");
    demand(batches.get(batch.id).is_none(), "a batch id is used once");
    let mut ids: HashSet<u64> = batches.rows().map(Row::id).collect();
    let mut owned: HashSet<u32> = batches.rows().flat_map(|row| row.request.blocks.iter().copied()).collect();
    for request in &batch.requests {
        demand(ids.insert(request.id), "a request is in one batch");
        demand(request.blocks.iter().all(|block| owned.insert(*block)), "live requests share no block");
        let last = batch.requests.last().is_some_and(|last| last.id == request.id);
        demand(request.chunk_len.is_none() || (options.chunking && last), "only the last prompt is cut");
    }
    wrong.extend(batch.requests.iter().flat_map(|request| new_request(options, request)));
    wrong
}

fn new_request(options: &Options, request: &Request) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut demand = |holds: bool, rule: &str| {
        if !holds {
            wrong.push(format!("request {}: {rule}", request.id));
        }
    };
    demand(text_of(request.input_chunks.as_ref()) == request.inputs, "inputs and input_chunks agree");
    demand(request.parameters.is_some() && request.stopping_parameters.is_some(), "parameters are set");
    if request.id == PROBE {
        demand(request.blocks == [0] && request.slots == [0], "the probe uses block 0");
        return wrong;
    }
    demand(request.ext.is_some() == options.ours, "ids go to whom lists them");
    let row = Row::new(request.clone());
    demand(row.prompt > 0 && row.prompt <= request.truncate as usize, "the prompt is within truncate");
    demand((request.cache_len as usize) < row.prompt, "Prefix vs input");
    let chunked = request.chunk_len.is_none_or(|chunk| chunk > 0 && (chunk as usize) < row.prompt);
    demand(chunked, "a chunk is a part of the prompt");
    let positions = row.prompt + row.max_new() as usize - 1;
    demand(row.max_new() > 0, "there is a token to generate");
    let whole = request.blocks.len() == positions.div_ceil(options.block_size as usize);
    demand(whole, "blocks for prompt and output");
    let inside = request.blocks.iter().all(|block| (1..options.blocks).contains(block));
    demand(inside, "blocks are in the cache and not block 0");
    let slots = request.blocks.iter().flat_map(|block| {
        let first = block * options.block_size;
        first..first + options.block_size
    });
    let slots: Vec<u32> = slots.take(positions).collect();
    demand(request.slots == slots, "one slot a position, in the order of the blocks");
    wrong
}

/// What is wrong with how a router describes a cached batch, and with stepping it.
pub(super) fn cached_batch(batches: &Batches, said: &CachedBatch) -> Vec<String> {
    let Some(rows) = batches.get(said.id) else { return Vec::new() };
    let mut wrong = Vec::new();
    let told = batches.describe(said.id, rows);
    if told != *said {
        wrong.push(format!("batch {} is {told:?}, not {said:?}", said.id));
    }
    if rows.iter().any(|row| row.ended) {
        wrong.push(format!("batch {} is stepped with rows that ended", said.id));
    }
    wrong
}

/// What is wrong with a filter.
pub(super) fn filter(batches: &Batches, id: u64, keep: &[u64]) -> Vec<String> {
    let Some(rows) = batches.get(id) else { return Vec::new() };
    let kept = rows.iter().filter(|row| keep.contains(&row.id()));
    let mut wrong = Vec::new();
    if keep.is_empty() || kept.clone().count() != keep.len() || keep.len() >= rows.len() {
        wrong.push(format!("batch {id}: a filter keeps some of its rows, not {keep:?}"));
    }
    if kept.into_iter().any(|row| row.ended) {
        wrong.push(format!("batch {id}: a filter keeps a row that ended"));
    }
    wrong
}

fn text_of(input: Option<&Input>) -> String {
    let chunks = input.map_or(&[][..], |input| &input.chunks);
    let text = |chunk: &gristmill_proto::v3::InputChunk| match &chunk.chunk {
        Some(input_chunk::Chunk::Text(text)) => text.clone(),
        _ => String::new(),
    };
    chunks.iter().map(text).collect()
}
