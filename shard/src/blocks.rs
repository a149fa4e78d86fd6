//! KV blocks for requests that bring none, as warmups and benchmark programs send them.

/// Hands out blocks that no such request holds. Whoever sends no blocks does not mix with a router that does.
#[derive(Debug)]
pub(crate) struct BlockPool {
    free: Vec<u32>,
}

impl BlockPool {
    /// Block 0 is never handed out.
    pub(crate) fn new(blocks: usize) -> Self {
        Self { free: (1..blocks as u32).rev().collect() }
    }

    /// `count` blocks, or none when there are not that many.
    pub(crate) fn take(&mut self, count: usize) -> Option<Vec<u32>> {
        let start = self.free.len().checked_sub(count)?;
        let mut blocks = self.free.split_off(start);
        blocks.reverse();
        Some(blocks)
    }

    /// Gives blocks back.
    pub(crate) fn give(&mut self, blocks: Vec<u32>) {
        self.free.extend(blocks.into_iter().rev());
    }
}

#[cfg(test)]
mod tests {
    use super::BlockPool;

    #[test]
    fn blocks_start_at_one_and_come_back() {
        let mut pool = BlockPool::new(5);
        let first = pool.take(2).unwrap();
        assert_eq!(first, [1, 2]);
        assert_eq!(pool.take(3), None);
        assert_eq!(pool.take(2).unwrap(), [3, 4]);
        pool.give(first);
        assert_eq!(pool.take(2).unwrap(), [1, 2]);
    }
}
