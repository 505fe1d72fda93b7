//! The connections of a core and the bytes on their way out.

use base::limits::EARLY_FLUSH_BYTES;
use base::text::Cursor;
use base::{BufferPool, Slab, Slot};
use session::{Config, Connection, Reason};
use subjects::{Sid, Sids};
use wire::{Message, encode};

use crate::services::{self, SERVICES};
use crate::train::Train;

/// Connections, their buffers, and what came up while writing to them.
#[derive(Debug, Default)]
pub(crate) struct Wires {
    pub(crate) connections: Slab<Connection>,
    pub(crate) pool: BufferPool,
    /// Connections with bytes to write, each once.
    pub(crate) dirty: Vec<Slot>,
    /// Connections that came to their end and were not yet dealt with.
    pub(crate) ended: Vec<Slot>,
    /// Has any connection so much to write that it should not wait for the end of the turn?
    pub(crate) pressed: bool,
    /// Has a message been written to a connection that is behind?
    pub(crate) stalled: bool,
    /// When this turn began.
    pub(crate) now: base::Time,
    /// The buffer that the message at hand stands in, if a subscriber may have it.
    offer: Option<Offer>,
    /// What is to be written in front of a message whose buffer was taken.
    line: Vec<u8>,
    max_pending: usize,
    /// Unsent bytes at which a connection is written to before the turn ends.
    pub(crate) pressure_at: usize,
    drops_when_behind: bool,
}

/// A message that came in pieces and stands in a buffer of its own. If it is large, the first
/// subscriber with nothing else to write gets that buffer rather than a copy: its line, which is
/// longer than the publisher's, fits into room in front.
#[derive(Debug)]
struct Offer {
    /// Where the message ends in memory: only one that ends there stands in the buffer.
    end_address: usize,
    /// Where it ends in the buffer.
    end: usize,
    /// Who gets it, and how much of its end is the same for all.
    taken: Option<(Slot, usize)>,
}

/// Messages of this size are worth a write of their own, which the next one finds the buffer empty
/// by; a smaller one is copied for less.
const OFFERED_BYTES_MIN: usize = 32 * 1024;

impl Wires {
    /// Says that the message at hand is the end of `buffer`, which is not needed afterwards.
    pub(crate) fn offer(&mut self, buffer: &[u8]) {
        self.offer = (buffer.len() >= OFFERED_BYTES_MIN).then(|| Offer {
            end_address: buffer.as_ptr_range().end.addr(),
            end: buffer.len(),
            taken: None,
        });
    }

    /// Gives the buffer to whoever took it, or back to the pool.
    pub(crate) fn conclude_offer(&mut self, mut buffer: Vec<u8>) {
        let Some(Offer { end, taken: Some((slot, tail)), .. }) = self.offer.take() else {
            self.pool.give_back(buffer);
            return;
        };
        assert_eq!(end, buffer.len(), "the buffer is the one that was offered");
        let start = end - tail - self.line.len();
        buffer[start..end - tail].copy_from_slice(&self.line);
        let outbound = &mut self.connections.get_mut(slot.0).outbound;
        outbound.adopt(buffer, start..end, &mut self.pool);
        outbound.urgent = true;
        self.pressed |= outbound.blocked_since == base::Time::NEVER;
        if outbound.pending() > self.pressure_at {
            self.on_pressure(slot);
        }
    }

    /// The buffer was not what a message stands in.
    pub(crate) fn withdraw_offer(&mut self) {
        let offer = self.offer.take();
        assert!(offer.is_none_or(|offer| offer.taken.is_none()), "only whole messages are taken");
    }

    /// Lets a subscriber have the buffer in which a message stands. False if it has to be copied.
    fn take_offer(&mut self, slot: Slot, message: &Message<'_>, sid: Sid, sids: &Sids) -> bool {
        let Some(offer) = &mut self.offer else { return false };
        let connection = self.connections.get(slot.0);
        let tail = message.tail.len();
        if offer.taken.is_some()
            || slot == SERVICES
            || offer.end_address != message.tail.as_ptr_range().end.addr()
            || connection.outbound.pending() > 0
            || (message.header > 0 && !connection.options.headers)
        {
            return false;
        }
        let head = Message { tail: &[], ..*message };
        let line = &mut self.line;
        let bytes = sids.with(sid, |sid| {
            line.resize(encode::bytes_max(&head, sid), 0);
            encode::message(line, &head, sid, true)
        });
        if bytes + tail > offer.end {
            return false;
        }
        line.truncate(bytes);
        offer.taken = Some((slot, tail));
        true
    }

    pub(crate) fn configure(&mut self, config: &Config) {
        self.max_pending = config.max_pending;
        self.pressure_at = EARLY_FLUSH_BYTES.min(config.max_pending / 2);
        self.drops_when_behind = config.no_fast_producer_stall;
    }

    #[inline]
    pub(crate) fn get(&self, slot: Slot) -> &Connection {
        self.connections.get(slot.0)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, slot: Slot) -> &mut Connection {
        self.connections.get_mut(slot.0)
    }

    /// Writes a message to a subscriber. False if it cannot be delivered.
    #[inline]
    pub(crate) fn deliver(
        &mut self,
        slot: Slot,
        message: &Message<'_>,
        sid: Sid,
        sids: &Sids,
    ) -> bool {
        let given = self.offer.is_some() && self.take_offer(slot, message, sid, sids);
        let connection = self.connections.get_mut(slot.0);
        let headers = connection.options.headers;
        if !given {
            let outbound = &mut connection.outbound;
            sids.with(sid, |sid| {
                if slot == SERVICES {
                    let bytes = services::enveloped_bytes(message);
                    services::put_enveloped(outbound.room(bytes, &mut self.pool), message, sid);
                    return outbound.fill(bytes);
                }
                let room = outbound.room(encode::bytes_max(message, sid), &mut self.pool);
                let bytes = encode::message(room, message, sid, headers);
                outbound.fill(bytes);
            });
        }
        connection.statistics.out_messages += 1;
        connection.statistics.out_bytes += message.size_for(headers) as u64;
        if !connection.outbound.listed {
            connection.outbound.listed = true;
            self.dirty.push(slot);
        }
        if connection.guarded {
            connection.note_request(message.reply, self.now);
        }
        if connection.outbound.pending() > self.pressure_at {
            self.on_pressure(slot);
        }
        true
    }

    /// Writes a train to a subscriber: `head` and then what is its own, for each message.
    pub(crate) fn write_train(&mut self, slot: Slot, head: &[u8], train: &Train<'_>) {
        let connection = self.connections.get_mut(slot.0);
        let bytes = head.len() * train.tails.len() + train.bytes();
        let room = connection.outbound.room(bytes, &mut self.pool);
        let mut cursor = Cursor::new(room);
        for tail in train.tails() {
            cursor.put(head);
            cursor.put(tail);
        }
        assert_eq!(cursor.at(), bytes, "a train was counted wrongly");
        connection.outbound.fill(bytes);
        connection.statistics.out_messages += train.tails.len() as u64;
        connection.statistics.out_bytes += train.payload as u64;
        if !connection.outbound.listed {
            connection.outbound.listed = true;
            self.dirty.push(slot);
        }
        if connection.outbound.pending() > self.pressure_at {
            self.on_pressure(slot);
        }
    }

    /// May messages have to be dropped for subscribers that are behind?
    #[inline]
    pub(crate) const fn may_drop(&self) -> bool {
        self.drops_when_behind
    }

    /// Is the connection so far behind that a message for it is rather dropped than its publisher
    /// slowed?
    #[inline]
    pub(crate) fn must_drop(&self, connection: &Connection) -> bool {
        self.drops_when_behind && self.is_behind(connection.outbound.pending())
    }

    /// Three quarters of what may wait: from there on publishers are slowed (spec 1.7).
    const fn is_behind(&self, pending: usize) -> bool {
        pending > self.max_pending / 4 * 3
    }

    #[cold]
    fn on_pressure(&mut self, slot: Slot) {
        let pending = self.get(slot).outbound.pending();
        self.pressed |= self.get(slot).outbound.blocked_since == base::Time::NEVER;
        self.stalled |= self.is_behind(pending);
        self.check_pending(slot);
    }

    fn check_pending(&mut self, slot: Slot) {
        if self.get(slot).outbound.pending() > self.max_pending && slot != SERVICES {
            self.end(slot, Reason::SlowConsumerPendingBytes);
        }
    }

    /// Writes protocol text to a connection.
    pub(crate) fn write(&mut self, slot: Slot, text: &[u8]) {
        let connection = self.connections.get_mut(slot.0);
        if !connection.is_open() {
            return;
        }
        connection.write(text, &mut self.pool);
        if !connection.outbound.listed {
            connection.outbound.listed = true;
            self.dirty.push(slot);
        }
        self.check_pending(slot);
    }

    /// Writes an error to a connection.
    pub(crate) fn write_error(&mut self, slot: Slot, text: &str) {
        self.write(slot, format!("-ERR '{text}'\r\n").as_bytes());
    }

    /// Ends a connection: nothing is read from it or delivered to it any more. The rest follows
    /// when the shard settles what has ended.
    pub(crate) fn end(&mut self, slot: Slot, reason: Reason) {
        let connection = self.connections.get_mut(slot.0);
        if connection.closing.is_none() {
            connection.closing = Some(reason);
            self.ended.push(slot);
        }
    }
}
