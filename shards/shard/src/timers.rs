//! Deadlines of connections, earliest first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use base::{ConnectionId, Slot, Time};

/// One entry for each connection that has a deadline, for the earliest; entries that were overtaken
/// are dropped when they come up.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Time, Slot, ConnectionId)>>,
}

impl Timers {
    pub(crate) fn add(&mut self, at: Time, slot: Slot, id: ConnectionId) {
        self.heap.push(Reverse((at, slot, id)));
    }

    /// The earliest entry that is due.
    pub(crate) fn pop_due(&mut self, now: Time) -> Option<(Time, Slot, ConnectionId)> {
        let Reverse(first) = *self.heap.peek()?;
        if first.0 > now {
            return None;
        }
        self.heap.pop();
        Some(first)
    }

    pub(crate) fn next(&self) -> Time {
        self.heap.peek().map_or(Time::NEVER, |Reverse((at, ..))| *at)
    }
}
