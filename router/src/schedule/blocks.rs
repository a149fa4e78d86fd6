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

#[cfg(test)]
mod tests {
    use super::Blocks;

    #[test]
    fn block_zero_is_reserved_and_all_others_can_be_taken() {
        let mut blocks = Blocks::new(5, 16);
        assert_eq!(blocks.take(64), Some(vec![1, 2, 3, 4]));
        assert_eq!(blocks.take(1), None);
    }

    #[test]
    fn too_few_blocks_leave_the_rest_alone() {
        let mut blocks = Blocks::new(4, 16);
        assert_eq!((blocks.take(49), blocks.free()), (None, 3));
        let taken = blocks.take(17).unwrap();
        assert_eq!((taken.len(), blocks.free()), (2, 1));
        blocks.give_back(taken);
        assert_eq!(blocks.take(48), Some(vec![1, 2, 3]));
    }

    #[test]
    fn a_cache_of_the_reserved_block_alone_holds_nothing() {
        assert_eq!(Blocks::new(1, 16).take(1), None);
        assert_eq!(Blocks::new(0, 16).free(), 0);
    }

    #[test]
    fn slots_follow_the_order_of_the_blocks() {
        assert_eq!(Blocks::new(9, 3).slots(&[4, 2], 5), [12, 13, 14, 6, 7]);
    }
}
