//! KV blocks: who owns which.

/// The free KV blocks. Block 0 is never handed out: the health probe and padding write there.
#[derive(Debug)]
pub struct Blocks {
    /// Used as a stack.
    free: Vec<u32>,
    size: u32,
}

impl Blocks {
    /// `count` physical blocks of `size` tokens, block 0 included.
    pub fn new(count: u32, size: u32) -> Self {
        Self { free: (1..count).rev().collect(), size }
    }

    /// Takes the blocks that hold `positions` tokens, or none when there are too few.
    pub fn take(&mut self, positions: u32) -> Option<Vec<u32>> {
        let needed = positions.div_ceil(self.size) as usize;
        let rest = self.free.len().checked_sub(needed)?;
        let mut blocks = self.free.split_off(rest);
        blocks.reverse();
        Some(blocks)
    }

    /// Takes blocks back.
    pub fn give_back(&mut self, blocks: Vec<u32>) {
        self.free.extend(blocks.into_iter().rev());
    }

    /// The slots of the first `positions` tokens in `blocks`: token `i` of block `b` is slot `b * size + i`.
    pub fn slots(&self, blocks: &[u32], positions: u32) -> Vec<u32> {
        let slots = blocks.iter().flat_map(|block| block * self.size..(block + 1) * self.size);
        slots.take(positions as usize).collect()
    }

    /// Blocks that can be taken.
    pub fn free(&self) -> usize {
        self.free.len()
    }
}
