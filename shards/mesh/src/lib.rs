//! Lanes between cores: byte pipes with one writer and one reader each, and the doorbell that wakes
//! a core which sleeps.
//!
//! This is the one crate under `shards/` in which memory is shared. A lane carries a stream of
//! bytes, as a socket does; frames are the business of who writes and reads. The writer publishes
//! its position once a turn, so that a cache line moves between cores per batch and not per message
//! (a line move across L3 costs up to 487 ns, docs/decisions/lanes.md).

mod bell;
mod lane;

pub use bell::{Bell, bell};
pub use lane::{Receiver, Sender, lane};
