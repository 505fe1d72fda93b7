//! Bytes on their way to a peer: one contiguous buffer while there are any.

use std::ops::Range;

use base::{BufferPool, Time};

/// Room of a buffer that is new.
const FIRST_BYTES: usize = 2048;

/// The unsent bytes of a connection.
#[derive(Debug)]
pub struct Outbound {
    /// All of it is initialised, and may hold anything beyond `filled`: messages are written into
    /// it in place, without growing it piece by piece.
    buffer: Vec<u8>,
    /// Bytes at the start of the buffer that are to be sent or have been.
    filled: usize,
    /// Bytes at the start of the buffer that have been sent.
    sent: usize,
    /// Is the connection on its shard's list of those to flush?
    pub listed: bool,
    /// Is it to be flushed before the turn ends, however little there is?
    pub urgent: bool,
    /// When the socket stopped taking bytes; [`Time::NEVER`] while it takes them.
    pub blocked_since: Time,
    /// Bytes that must have been written for the write deadline to be met.
    owed: usize,
}

impl Default for Outbound {
    fn default() -> Self {
        Self {
            buffer: Vec::new(),
            filled: 0,
            sent: 0,
            listed: false,
            urgent: false,
            blocked_since: Time::NEVER,
            owed: 0,
        }
    }
}

impl Outbound {
    /// Bytes that wait.
    #[inline]
    pub const fn pending(&self) -> usize {
        self.filled - self.sent
    }

    /// Bytes that wait, to write.
    pub fn unsent(&self) -> &[u8] {
        &self.buffer[self.sent..self.filled]
    }

    /// Room for at least `bytes` more, in a buffer lent from the pool if the connection had none.
    /// What is written there counts once [`Outbound::fill`] says so.
    #[inline]
    pub fn room(&mut self, bytes: usize, pool: &mut BufferPool) -> &mut [u8] {
        if self.buffer.len() - self.filled < bytes {
            self.grow(bytes, pool);
        }
        &mut self.buffer[self.filled..]
    }

    #[cold]
    fn grow(&mut self, bytes: usize, pool: &mut BufferPool) {
        if self.buffer.is_empty() {
            self.buffer = pool.lend();
        }
        if self.sent > self.filled / 2 {
            // What was written is cut off once it outweighs the rest: each byte moves at most once
            // for each time that it waited behind its own length.
            self.buffer.copy_within(self.sent..self.filled, 0);
            self.filled -= self.sent;
            self.sent = 0;
        }
        let needed = self.filled + bytes;
        if self.buffer.len() < needed {
            let length = needed.max(FIRST_BYTES).next_power_of_two();
            self.buffer.resize(length, 0);
        }
    }

    /// Says that so many bytes were written into the room.
    #[inline]
    pub fn fill(&mut self, bytes: usize) {
        self.filled += bytes;
        assert!(self.filled <= self.buffer.len(), "more was written than there is room");
    }

    /// Appends bytes.
    pub fn extend(&mut self, bytes: &[u8], pool: &mut BufferPool) {
        self.room(bytes.len(), pool)[..bytes.len()].copy_from_slice(bytes);
        self.fill(bytes.len());
    }

    /// Notes that `count` bytes were written. A buffer that is done with goes back to the pool.
    pub fn advance(&mut self, count: usize, pool: &mut BufferPool) {
        self.sent += count;
        assert!(self.sent <= self.filled, "no more can be sent than waits");
        self.owed = self.owed.saturating_sub(count);
        if self.owed == 0 {
            self.blocked_since = Time::NEVER;
        }
        if self.sent == self.filled {
            self.release(pool);
        }
    }

    /// Takes a buffer over of which these bytes are to be sent, before what waits already.
    pub fn adopt(&mut self, buffer: Vec<u8>, bytes: Range<usize>, pool: &mut BufferPool) {
        let (before, waits) = self.take();
        self.buffer = buffer;
        self.sent = bytes.start;
        self.filled = bytes.end;
        assert!(self.filled <= self.buffer.len(), "only what a buffer holds can be sent");
        self.extend(&before[waits], pool);
        pool.give_back(before);
    }

    /// Takes the buffer, and says where in it stands what waits.
    pub fn take(&mut self) -> (Vec<u8>, Range<usize>) {
        let waits = self.sent..self.filled;
        self.filled = 0;
        self.sent = 0;
        (std::mem::take(&mut self.buffer), waits)
    }

    /// Drops what was appended after so many bytes waited.
    pub fn cut(&mut self, pending: usize, pool: &mut BufferPool) {
        assert!(pending <= self.pending(), "only what waits can be dropped");
        self.filled = self.sent + pending;
        if pending == 0 {
            self.release(pool);
        }
    }

    fn release(&mut self, pool: &mut BufferPool) {
        self.filled = 0;
        self.sent = 0;
        pool.give_back(std::mem::take(&mut self.buffer));
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
        self.owed = 0;
        self.blocked_since = Time::NEVER;
        self.release(pool);
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
        outbound.extend(b"0123456789", &mut pool);
        outbound.advance(3, &mut pool);
        assert_eq!(outbound.unsent(), b"3456789");
        outbound.advance(4, &mut pool);
        assert_eq!(outbound.unsent(), b"789");
        outbound.extend(b"ab", &mut pool);
        assert_eq!(outbound.unsent(), b"789ab");
        outbound.advance(5, &mut pool);
        assert_eq!((outbound.pending(), outbound.capacity()), (0, 0));
    }

    #[test]
    fn an_adopted_buffer_goes_first() {
        let mut pool = BufferPool::default();
        let mut outbound = Outbound::default();
        outbound.extend(b"later", &mut pool);
        outbound.adopt(b"..first..".to_vec(), 2..7, &mut pool);
        assert_eq!(outbound.unsent(), b"firstlater");
        outbound.advance(10, &mut pool);
        outbound.adopt(b"..again".to_vec(), 2..7, &mut pool);
        assert_eq!(outbound.unsent(), b"again");
    }

    #[test]
    fn the_deadline_is_for_what_waited_when_the_socket_blocked() {
        let mut pool = BufferPool::default();
        let mut outbound = Outbound::default();
        outbound.extend(&[0; 10], &mut pool);
        outbound.block(Time(5));
        outbound.extend(&[0; 10], &mut pool);
        outbound.block(Time(7));
        assert_eq!(outbound.blocked_since, Time(5));
        outbound.advance(9, &mut pool);
        assert_eq!(outbound.blocked_since, Time(5));
        outbound.advance(1, &mut pool);
        assert_eq!(outbound.blocked_since, Time::NEVER);
    }
}
