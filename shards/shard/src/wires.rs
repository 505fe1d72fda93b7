//! The connections of a core and the bytes on their way out.

use base::limits::EARLY_FLUSH_BYTES;
use base::text::Cursor;
use base::{BufferPool, Slab, Slot};
use session::{Config, Connection, Reason};
use subjects::{Sid, Sids};
use wire::{Message, encode};

use crate::services::SERVICES;
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
    max_pending: usize,
    /// Unsent bytes at which a connection is written to before the turn ends.
    pub(crate) pressure_at: usize,
    drops_when_behind: bool,
}

impl Wires {
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
        let connection = self.connections.get_mut(slot.0);
        let headers = connection.options.headers;
        let outbound = &mut connection.outbound;
        sids.with(sid, |sid| {
            let room = outbound.room(encode::bytes_max(message, sid), &mut self.pool);
            let bytes = encode::message(room, message, sid, headers);
            outbound.fill(bytes);
        });
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
    pub(crate) fn write_train(
        &mut self,
        slot: Slot,
        head: &[u8],
        train: &Train<'_>,
        payload: usize,
    ) {
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
        connection.statistics.out_bytes += payload as u64;
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
