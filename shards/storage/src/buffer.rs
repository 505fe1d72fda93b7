//! Memory for direct I/O: aligned to the drive's blocks, a whole number of them long.

/// Bytes of a block: what a drive writes as a whole, and what direct I/O aligns to.
pub const BLOCK_BYTES: usize = 4096;

/// Buffers of the usual size that are kept for the next use.
const KEPT_MAX: usize = 16;

/// A run of blocks in memory. Moving it does not move the blocks.
pub struct Blocks {
    memory: Vec<u8>,
    start: usize,
    length: usize,
}

impl Blocks {
    /// So many blocks of zeros.
    pub fn new(count: usize) -> Self {
        let length = count * BLOCK_BYTES;
        // Fresh memory of this size comes zeroed from the system, untouched until it is used.
        let memory = vec![0; length + BLOCK_BYTES];
        let start = memory.as_ptr().align_offset(BLOCK_BYTES);
        assert!(start < BLOCK_BYTES);
        Self { memory, start, length }
    }

    /// Blocks.
    pub fn count(&self) -> usize {
        self.length / BLOCK_BYTES
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.length]
    }

    /// The bytes, to change.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.length]
    }

    /// Leaves the first blocks only.
    pub(crate) fn cut(&mut self, count: usize) {
        assert!(count <= self.count());
        self.length = count * BLOCK_BYTES;
    }

    /// Blocks that the memory has room for.
    fn room(&self) -> usize {
        self.memory.len() / BLOCK_BYTES - 1
    }
}

impl std::fmt::Debug for Blocks {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Blocks({})", self.count())
    }
}

/// Buffers of one size, used again and again.
#[derive(Debug)]
pub(crate) struct BlockPool {
    count: usize,
    free: Vec<Blocks>,
}

impl BlockPool {
    pub(crate) fn new(count: usize) -> Self {
        Self { count, free: Vec::new() }
    }

    /// A buffer of the pool's size, with what it held before.
    pub(crate) fn lend(&mut self) -> Blocks {
        let mut blocks = self.free.pop().unwrap_or_else(|| Blocks::new(self.count));
        blocks.length = self.count * BLOCK_BYTES;
        blocks
    }

    pub(crate) fn give_back(&mut self, blocks: Blocks) {
        if blocks.room() == self.count && self.free.len() < KEPT_MAX {
            self.free.push(blocks);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_aligned_and_come_back_whole() {
        let mut pool = BlockPool::new(3);
        let mut blocks = pool.lend();
        assert_eq!(blocks.bytes().as_ptr().align_offset(BLOCK_BYTES), 0);
        blocks.bytes_mut()[3 * BLOCK_BYTES - 1] = 7;
        blocks.cut(1);
        assert_eq!(blocks.bytes().len(), BLOCK_BYTES);
        pool.give_back(blocks);
        assert_eq!(pool.lend().bytes()[3 * BLOCK_BYTES - 1], 7);
        pool.give_back(Blocks::new(2));
        assert_eq!(pool.free.len(), 0);
    }
}
