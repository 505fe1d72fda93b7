//! Bytes on their way to a peer: one contiguous buffer while there are any.

use base::{BufferPool, Time};

/// The unsent bytes of a connection.
#[derive(Debug)]
pub struct Outbound {
    buffer: Vec<u8>,
    /// Bytes at the start of the buffer that have been written.
    sent: usize,
    /// Is the connection on its shard's list of those to flush?
    pub listed: bool,
    /// When the socket stopped taking bytes; [`Time::NEVER`] while it takes them.
    pub blocked_since: Time,
    /// Bytes that must have been written for the write deadline to be met.
    owed: usize,
}

impl Default for Outbound {
    fn default() -> Self {
        Self { buffer: Vec::new(), sent: 0, listed: false, blocked_since: Time::NEVER, owed: 0 }
    }
}

impl Outbound {
    /// Bytes that wait.
    #[inline]
    pub fn pending(&self) -> usize {
        self.buffer.len() - self.sent
    }

    /// Bytes that wait, to write.
    pub fn unsent(&self) -> &[u8] {
        &self.buffer[self.sent..]
    }

    /// The buffer to append to, lent from the pool if the connection had none.
    #[inline]
    pub fn buffer(&mut self, pool: &mut BufferPool) -> &mut Vec<u8> {
        if self.buffer.capacity() == 0 {
            self.buffer = pool.lend();
        }
        &mut self.buffer
    }

    /// Notes that `count` bytes were written. A buffer that is done with goes back to the pool.
    pub fn advance(&mut self, count: usize, pool: &mut BufferPool) {
        self.sent += count;
        assert!(self.sent <= self.buffer.len(), "no more can be sent than waits");
        self.owed = self.owed.saturating_sub(count);
        if self.owed == 0 {
            self.blocked_since = Time::NEVER;
        }
        if self.sent == self.buffer.len() {
            self.sent = 0;
            pool.give_back(std::mem::take(&mut self.buffer));
        } else if self.sent > self.buffer.len() / 2 {
            // What was written is cut off once it outweighs the rest: each byte moves at most once
            // for each time that it waited behind its own length.
            self.buffer.copy_within(self.sent.., 0);
            self.buffer.truncate(self.buffer.len() - self.sent);
            self.sent = 0;
        }
    }

    /// Notes that the socket takes no more for now: what waits at this moment has to be written
    /// before the write deadline.
    pub fn block(&mut self, now: Time) {
        if self.blocked_since == Time::NEVER {
            self.blocked_since = now;
            self.owed = self.pending();
        }
    }

    /// Drops everything that waits.
    pub fn clear(&mut self, pool: &mut BufferPool) {
        self.sent = 0;
        self.owed = 0;
        self.blocked_since = Time::NEVER;
        pool.give_back(std::mem::take(&mut self.buffer));
    }

    /// Bytes of memory held.
    pub const fn capacity(&self) -> usize {
        self.buffer.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_in_order_and_the_buffer_goes_home() {
        let mut pool = BufferPool::default();
        let mut outbound = Outbound::default();
        outbound.buffer(&mut pool).extend_from_slice(b"0123456789");
        outbound.advance(3, &mut pool);
        assert_eq!(outbound.unsent(), b"3456789");
        outbound.advance(4, &mut pool);
        assert_eq!(outbound.unsent(), b"789");
        outbound.buffer(&mut pool).extend_from_slice(b"ab");
        assert_eq!(outbound.unsent(), b"789ab");
        outbound.advance(5, &mut pool);
        assert_eq!((outbound.pending(), outbound.capacity()), (0, 0));
    }

    #[test]
    fn the_deadline_is_for_what_waited_when_the_socket_blocked() {
        let mut pool = BufferPool::default();
        let mut outbound = Outbound::default();
        outbound.buffer(&mut pool).extend_from_slice(&[0; 10]);
        outbound.block(Time(5));
        outbound.buffer(&mut pool).extend_from_slice(&[0; 10]);
        outbound.block(Time(7));
        assert_eq!(outbound.blocked_since, Time(5));
        outbound.advance(9, &mut pool);
        assert_eq!(outbound.blocked_since, Time(5));
        outbound.advance(1, &mut pool);
        assert_eq!(outbound.blocked_since, Time::NEVER);
    }
}
