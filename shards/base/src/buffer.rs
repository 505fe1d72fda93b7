//! Byte buffers lent from a core's pool only while there are bytes in flight.

use crate::limits::{POOLED_BUFFER_BYTES_MAX, POOLED_BUFFER_BYTES_MIN, POOLED_BUFFERS_MAX};

/// The buffers of one core. Idle connections hold none.
#[derive(Debug, Default)]
pub struct BufferPool {
    free: Vec<Vec<u8>>,
}

impl BufferPool {
    /// A buffer of an earlier use, with what it held then, or an empty one.
    pub fn lend(&mut self) -> Vec<u8> {
        self.free.pop().unwrap_or_default()
    }

    /// Takes a buffer back. What is too large to keep goes to the allocator.
    pub fn give_back(&mut self, buffer: Vec<u8>) {
        let capacity = buffer.capacity();
        let keep = (POOLED_BUFFER_BYTES_MIN..=POOLED_BUFFER_BYTES_MAX).contains(&capacity)
            && self.free.len() < POOLED_BUFFERS_MAX;
        if keep {
            self.free.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_and_large_ones_are_let_go() {
        let mut pool = BufferPool::default();
        let mut buffer = Vec::with_capacity(POOLED_BUFFER_BYTES_MIN);
        buffer.extend_from_slice(b"bytes");
        pool.give_back(buffer);
        let again = pool.lend();
        assert_eq!(again, b"bytes");
        pool.give_back(Vec::with_capacity(POOLED_BUFFER_BYTES_MAX + 1));
        pool.give_back(Vec::with_capacity(5));
        assert_eq!(pool.lend().capacity(), 0);
    }
}
