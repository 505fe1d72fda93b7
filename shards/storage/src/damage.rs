//! What was found to be damaged. Damage is reported and kept aside, never deleted.

use std::fmt;
use std::ops::RangeInclusive;

/// One thing that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The name of the log that it belongs to, if that is known.
    pub log: Option<Box<[u8]>>,
    /// What is damaged.
    pub what: What,
    /// The file, relative to the store's folder.
    pub file: String,
    /// Messages that may be lost with it, if that is known.
    pub sequences: Option<RangeInclusive<u64>>,
}

impl fmt::Display for Damage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", self.what)?;
        if let Some(name) = &self.log {
            write!(formatter, " of {:?}", String::from_utf8_lossy(name))?;
        }
        write!(formatter, " in {}", self.file)?;
        if let Some(range) = &self.sequences {
            write!(formatter, ", sequences {} to {}", range.start(), range.end())?;
        }
        Ok(())
    }
}

/// What is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A message whose checksum disagrees.
    Message,
    /// The index of a segment: its messages were looked for one by one.
    Index,
    /// A segment that could not be read at all.
    Segment,
    /// A segment that should be there and is not.
    MissingSegment,
    /// Blocks of the journal that had been durable.
    Journal,
    /// Operations of a log that had been durable: a gap in their numbers.
    Operations,
    /// A log that the journal does not know any more was put together from its segments: what was
    /// removed since they were written may be there again, and what came behind them may not.
    Rebuilt,
    /// A file that belongs to no log, or that cannot be told.
    Stray,
}
