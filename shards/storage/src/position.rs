//! Where in the journal something stands, and how far the journal has come.
//!
//! Two of the four positions of the design are known here: what has its order, and what survives a
//! loss of power. *Committed* and *applied* are the streams' own.

/// A place in a core's journal, in bytes since its first start. What an operation returns is the
/// end of its record; zero for what needs no journal and is as durable as it will ever be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub(crate) u64);

impl Position {
    /// In front of everything: durable from the start.
    pub const START: Self = Self(0);
}

/// Everything at or in front of this has its order in the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ordered(pub Position);

/// Everything at or in front of this survives a loss of power.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Durable(pub Position);

impl Durable {
    /// Does what stands at `position` survive?
    pub fn covers(self, position: Position) -> bool {
        position <= self.0
    }
}
