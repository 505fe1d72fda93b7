//! What every deciding crate shares: identifiers, limits, time as an input, seeded randomness and
//! byte buffers lent from a pool.
//!
//! Nothing here knows a clock, a file, a socket or a thread.

pub mod base64;
pub mod buffer;
pub mod ids;
pub mod limits;
pub mod random;
pub mod slab;
pub mod text;
pub mod time;

pub use buffer::BufferPool;
pub use ids::{AccountId, ConnectionId, CoreId, CoreSet, ServiceId, Slot};
pub use random::Random;
pub use slab::Slab;
pub use time::{Duration, Moment, Time, Wall};
