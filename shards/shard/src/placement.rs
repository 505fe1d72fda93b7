//! Where a fresh connection lives, and how many there are.
//!
//! One core accepts for all and hands each connection to the core with the fewest, so that a
//! handful of connections never shares one core while others idle, and the limit on connections is
//! exact.

use base::{ConnectionId, CoreId, Slot};
use session::{Door, Peer, Reason};

use crate::effects::{Level, Socket};
use crate::frame;
use crate::shard::Shard;

/// The core that accepts.
pub(crate) const ACCEPTOR: CoreId = CoreId(0);

/// What the accepting core knows of the connections.
#[derive(Debug)]
pub(crate) struct Placement {
    /// Connections per core.
    counts: Vec<usize>,
    /// Those of them, on this core, that were refused and are about to go.
    refused: usize,
    last_id: u64,
}

impl Placement {
    pub(crate) fn new(cores: usize) -> Self {
        Self { counts: vec![0; cores], refused: 0, last_id: 0 }
    }

    pub(crate) fn total(&self) -> usize {
        self.counts.iter().sum()
    }

    /// Connections accepted so far.
    pub(crate) const fn accepted(&self) -> u64 {
        self.last_id
    }

    /// Connections that count towards the limit.
    fn admitted(&self) -> usize {
        self.total() - self.refused
    }

    /// The core with the fewest connections; of several the one after the last used comes next by
    /// itself, since each use adds one.
    fn least_loaded(&self) -> CoreId {
        let least = self.counts.iter().enumerate().min_by_key(|(_, count)| **count);
        let (core, _) = least.expect("a server has a core");
        CoreId(core as u8)
    }

    fn leave(&mut self, core: CoreId) {
        let count = &mut self.counts[core.index()];
        assert!(*count > 0, "a core gives back only connections that it was given");
        *count -= 1;
    }
}

impl Shard {
    /// A client was accepted, on the core that accepts.
    pub fn accepted(&mut self, socket: Socket, peer: Peer) {
        self.accepted_by(Door::Client, socket, peer);
    }

    /// A connection was accepted by one of the listeners, on the core that accepts.
    pub fn accepted_by(&mut self, door: Door, socket: Socket, peer: Peer) {
        assert_eq!(self.core, ACCEPTOR, "one core accepts");
        if self.lame_duck.is_some() {
            self.effects.dropped.push(socket);
            return;
        }
        self.placement.last_id += 1;
        let id = ConnectionId(self.placement.last_id);
        if self.is_full() {
            self.refuse(socket, id, door, peer);
            return;
        }
        if self.is_throttled(door) {
            self.refuse_throttled(socket, id, peer);
            return;
        }
        let core = self.placement.least_loaded();
        self.placement.counts[core.index()] += 1;
        if core == self.core {
            self.open(socket, id, door, peer);
        } else {
            self.outboxes.append(core, |out| frame::put_adopt(out, socket, id, door, &peer));
        }
    }

    fn is_full(&self) -> bool {
        let limit = self.config.max_connections;
        limit < 0 || (limit > 0 && self.placement.admitted() as i64 >= limit)
    }

    /// Lets a connection in as far as it takes to tell it that the server is full.
    fn refuse(&mut self, socket: Socket, id: ConnectionId, door: Door, peer: Peer) {
        let slot = self.open_refused(socket, id, door, peer);
        if door == Door::Client {
            self.turn_away(slot);
        }
    }

    fn refuse_throttled(&mut self, socket: Socket, id: ConnectionId, peer: Peer) {
        let slot = self.open_refused(socket, id, Door::Client, peer);
        let text = "Connection throttling is active. Please try again later.";
        self.wires.write_error(slot, text);
        self.wires.end(slot, Reason::MaxConnectionsExceeded);
        self.settle();
    }

    fn open_refused(&mut self, socket: Socket, id: ConnectionId, door: Door, peer: Peer) -> Slot {
        self.placement.counts[self.core.index()] += 1;
        self.placement.refused += 1;
        let slot = self.open(socket, id, door, peer);
        self.wires.get_mut(slot).refused = true;
        slot
    }

    /// Tells a connection that the server is full, and ends it.
    pub(crate) fn turn_away(&mut self, slot: Slot) {
        self.log_for(Level::Error, slot, "maximum connections exceeded");
        self.wires.write_error(slot, "maximum connections exceeded");
        self.wires.end(slot, Reason::MaxConnectionsExceeded);
        self.settle();
    }

    /// Closes what is above a limit that was lowered, each core its share. Connections that are
    /// already on their way out count as well, so that a core may close too few but never too many;
    /// the limit holds for new connections in any case.
    pub(crate) fn evict_excess(&mut self) {
        let limit = self.config.max_connections;
        if self.core != ACCEPTOR || limit == 0 {
            return;
        }
        let mut excess = self.placement.admitted().saturating_sub(limit.max(0) as usize);
        let mut counts = self.placement.counts.clone();
        let mut shares = vec![0_u32; counts.len()];
        while excess > 0 {
            let fullest = counts.iter().enumerate().max_by_key(|(_, count)| **count);
            let (core, _) = fullest.expect("a server has a core");
            counts[core] -= 1;
            shares[core] += 1;
            excess -= 1;
        }
        for (core, share) in (0..).map(CoreId).zip(shares) {
            if core == self.core {
                self.evict(share);
            } else if share > 0 {
                self.outboxes.append(core, |out| frame::put_evict(out, share));
            }
        }
    }

    /// Closes the newest connections of this core.
    pub(crate) fn evict(&mut self, count: u32) {
        let mut slots = self.open_slots();
        slots.sort_by_key(|slot| std::cmp::Reverse(self.wires.get(*slot).id));
        for slot in slots.into_iter().take(count as usize) {
            self.log_for(Level::Error, slot, "maximum connections exceeded");
            self.wires.write_error(slot, "maximum connections exceeded");
            self.wires.end(slot, Reason::MaxConnectionsExceeded);
        }
        self.settle();
    }

    /// A connection of this core is gone.
    pub(crate) fn note_gone(&mut self, refused: bool) {
        self.placement.refused -= usize::from(refused);
        if self.core == ACCEPTOR {
            self.placement.leave(self.core);
            self.check_drained();
        } else {
            self.outboxes.append(ACCEPTOR, frame::put_gone);
        }
    }

    /// A connection of another core is gone.
    pub(crate) fn on_gone(&mut self, core: CoreId) {
        assert_eq!(self.core, ACCEPTOR, "the accepting core counts");
        self.placement.leave(core);
        self.check_drained();
    }

    pub(crate) fn check_drained(&mut self) {
        if self.lame_duck.is_some() && self.placement.total() == 0 {
            self.effects.drained = true;
        }
    }
}
