//! Publishes whose acknowledgement waits for the disk, in the order of the journal.
//!
//! Nothing is allocated per message in steady state: the fixed parts stand in a queue, the reply
//! subjects and what follows the sequence number in a row of bytes.

use std::collections::VecDeque;

use storage::{Durable, Position};

use crate::StreamId;

/// A publish that waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ack {
    /// Where its record ends in the journal.
    position: Position,
    pub(crate) stream: StreamId,
    /// What it is acknowledged with.
    pub(crate) sequence: u64,
    reply_bytes: u32,
    suffix_bytes: u32,
}

/// All publishes that wait.
#[derive(Debug, Default)]
pub(crate) struct Acks {
    waiting: VecDeque<Ack>,
    bytes: Vec<u8>,
    /// Where the first waiting one's bytes begin.
    start: usize,
}

/// Bytes that are done with before the rest is moved to the front.
const MOVED_AT_BYTES: usize = 64 * 1024;

impl Acks {
    /// Notes a publish. `suffix` follows the sequence in its acknowledgement.
    pub(crate) fn push(
        &mut self,
        position: Position,
        stream: StreamId,
        sequence: u64,
        reply: &[u8],
        suffix: &[u8],
    ) {
        if let Some(last) = self.waiting.back() {
            assert!(last.position <= position, "the journal has an order");
        }
        self.bytes.extend_from_slice(reply);
        self.bytes.extend_from_slice(suffix);
        let (reply_bytes, suffix_bytes) = (reply.len() as u32, suffix.len() as u32);
        self.waiting.push_back(Ack { position, stream, sequence, reply_bytes, suffix_bytes });
    }

    /// The first one, if it is durable: with its reply subject and suffix.
    pub(crate) fn front(&self, durable: Durable) -> Option<(Ack, &[u8], &[u8])> {
        let ack = *self.waiting.front().filter(|ack| durable.covers(ack.position))?;
        let end = self.start + ack.reply_bytes as usize;
        let suffix = &self.bytes[end..end + ack.suffix_bytes as usize];
        Some((ack, &self.bytes[self.start..end], suffix))
    }

    /// Lets go of the first one.
    pub(crate) fn pop(&mut self) {
        let ack = self.waiting.pop_front().expect("the caller saw it");
        self.start += ack.reply_bytes as usize + ack.suffix_bytes as usize;
        if self.waiting.is_empty() {
            assert_eq!(self.start, self.bytes.len());
            self.bytes.clear();
            self.start = 0;
        } else if self.start > MOVED_AT_BYTES && self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
    }

    /// Forgets those of a stream that is gone: nobody is to hear of them, and its place may be
    /// another's soon.
    pub(crate) fn forget(&mut self, stream: StreamId) {
        let old = std::mem::take(self);
        let mut at = old.start;
        for ack in old.waiting {
            let middle = at + ack.reply_bytes as usize;
            let end = middle + ack.suffix_bytes as usize;
            if ack.stream != stream {
                let (reply, suffix) = (&old.bytes[at..middle], &old.bytes[middle..end]);
                self.push(ack.position, ack.stream, ack.sequence, reply, suffix);
            }
            at = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use storage::Position;

    use super::*;

    #[test]
    fn they_come_out_in_order_with_their_bytes() {
        let mut acks = Acks::default();
        let everything = Durable(Position::START);
        acks.push(Position::START, StreamId(1), 5, b"r", b"}");
        acks.push(Position::START, StreamId(2), 6, b"", b"");
        acks.push(Position::START, StreamId(1), 7, b"re", b",x}");
        acks.forget(StreamId(2));
        let (ack, reply, suffix) = acks.front(everything).expect("the first is durable");
        assert_eq!((ack.sequence, reply, suffix), (5, &b"r"[..], &b"}"[..]));
        acks.pop();
        let (ack, reply, suffix) = acks.front(everything).expect("the second is durable");
        assert_eq!((ack.sequence, reply, suffix), (7, &b"re"[..], &b",x}"[..]));
        acks.pop();
        assert!(acks.waiting.is_empty());
        assert!(acks.front(everything).is_none());
    }
}
