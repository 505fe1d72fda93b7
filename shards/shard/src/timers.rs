//! Deadlines of connections, earliest first.

use std::collections::BTreeSet;

use base::{Slot, Time};

/// One entry for each connection that has a deadline, for the earliest it ever asked for.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    entries: BTreeSet<(Time, Slot)>,
}

impl Timers {
    /// Sets the entry of a connection, whose entry so far was at `before`.
    pub(crate) fn set(&mut self, slot: Slot, before: Time, at: Time) {
        self.forget(slot, before);
        self.entries.insert((at, slot));
    }

    /// Takes out the entry of a connection at `before`, if that is a moment at all.
    pub(crate) fn forget(&mut self, slot: Slot, before: Time) {
        if before != Time::NEVER {
            let found = self.entries.remove(&(before, slot));
            assert!(found, "a connection knows its entry");
        }
    }

    /// Takes out the earliest entry that is due.
    pub(crate) fn pop_due(&mut self, now: Time) -> Option<Slot> {
        let (at, _) = self.entries.first()?;
        if *at > now {
            return None;
        }
        self.entries.pop_first().map(|(_, slot)| slot)
    }

    pub(crate) fn next(&self) -> Time {
        self.entries.first().map_or(Time::NEVER, |(at, _)| *at)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}
