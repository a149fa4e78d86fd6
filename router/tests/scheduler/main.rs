//! The pure scheduler against a model of a shard.

#![expect(clippy::expect_used, clippy::panic, reason = "this is a test")]

mod cases;
mod properties;
mod shard;

use gristmill_router::request::{Chooser, Stopping, ValidRequest};
use gristmill_router::schedule::{Capacity, Policy};

/// A request of `prompt` tokens that may give `max_new`.
fn request(prompt: usize, max_new: u32) -> ValidRequest {
    let ids: Vec<u32> = (0..prompt as u32).map(|id| 1_000_000 + id).collect();
    let inputs: String = ids.iter().map(|id| shard::text(*id)).collect();
    ValidRequest {
        inputs: inputs.into(),
        ids: ids.into(),
        truncate: 100_000,
        add_special_tokens: true,
        prefill_logprobs: false,
        top_n_tokens: 0,
        chooser: Chooser {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            typical_p: 1.0,
            do_sample: false,
            seed: 0,
            repetition_penalty: 1.0,
            frequency_penalty: 0.0,
            watermark: false,
        },
        stopping: Stopping { max_new_tokens: max_new, stop_sequences: Vec::new(), ignore_eos_token: false },
    }
}

/// Blocks of one token and plenty of everything, without chunking.
fn policy(blocks: u32) -> Policy {
    Policy {
        capacity: Capacity::Blocks(blocks + 1),
        block_size: 1,
        max_batch_prefill_tokens: 1_000,
        max_batch_size: None,
        waiting_served_ratio: 1.0,
        max_waiting_tokens: 20,
        speculate: 0,
        chunking: false,
        ids: true,
    }
}
