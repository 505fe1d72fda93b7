//! What one core keeps on disk: its journal, and the segments of its streams.

/// One stream's messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LogId(pub u32);

/// Every log of a core.
#[derive(Debug, Default)]
pub struct Store {}
