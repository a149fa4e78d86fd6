//! The numbers the scheduler obeys, settled at start-up.

/// New tokens a request reserves KV for at a time; a longer one runs in rounds.
pub const MAX_ROUND_TOKENS: u32 = 1024;

/// What the scheduler may do, from the flags and from what the shard reported.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// KV memory.
    pub capacity: Capacity,
    /// Tokens in a KV block; at least 1.
    pub block_size: u32,
    /// Tokens in one prefill forward; rounded up to whole blocks.
    pub max_batch_prefill_tokens: u32,
    /// Most sequences at once.
    pub max_batch_size: Option<usize>,
    /// Without chunking: how long the queue must be, relative to the running batch, before a prefill interrupts it.
    pub waiting_served_ratio: f32,
    /// Without chunking: decode steps after which the ratio no longer matters.
    pub max_waiting_tokens: usize,
    /// Tokens the shard speculates on in a step; each row needs KV for them.
    pub speculate: u32,
    /// Whether the shard takes a prompt in several forwards, and new prompts together with running rows.
    pub chunking: bool,
    /// Whether the shard takes token ids instead of text.
    pub ids: bool,
}

/// KV memory as the shard wants it budgeted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capacity {
    /// Physical blocks, the reserved block 0 included.
    Blocks(u32),
    /// Tokens of all rows, each prompt padded to the longest.
    PaddedTokens(u32),
}

impl Policy {
    /// Tokens one prefill may have: whole blocks.
    pub(super) fn prefill_budget(&self, taken: u32) -> u32 {
        let left = self.max_batch_prefill_tokens.saturating_sub(taken);
        left.div_ceil(self.block_size).saturating_mul(self.block_size)
    }

    /// New tokens in the next round of a request with `prompt` tokens behind it and `remaining` to come. Without
    /// chunking a later round must be one prefill; where it could not be, all is reserved at once.
    pub(super) fn round(&self, prompt: u32, remaining: u32) -> u32 {
        let longest_prefill = prompt.saturating_add(remaining).saturating_sub(1);
        let resumable = self.chunking || longest_prefill <= self.prefill_budget(0);
        if resumable { remaining.min(MAX_ROUND_TOKENS) } else { remaining }
    }

    /// Positions a row with `prompt` tokens and a round of `new` writes to: the last token is never fed back.
    pub(super) fn positions(&self, prompt: u32, new: u32) -> u32 {
        prompt.saturating_add(new).saturating_add(self.speculate).saturating_sub(1)
    }

    /// The largest `max_total_tokens` for which every request fits into an empty cache.
    pub fn largest_total(&self) -> u32 {
        match self.capacity {
            Capacity::Blocks(count) => {
                let positions = count.saturating_sub(1).saturating_mul(self.block_size);
                positions.saturating_add(1).saturating_sub(self.speculate)
            }
            Capacity::PaddedTokens(tokens) => tokens.saturating_sub(self.speculate),
        }
    }
}
