//! The records of a part: in memory, or on disk.

use super::segment::Segment;
use crate::entry::read_record;

/// A stretch of a log with its records.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) segment: Segment,
    pub(crate) data: Data,
}

/// Where the records of a part are.
#[derive(Debug)]
pub(crate) enum Data {
    /// In memory alone, or in the journal: more may follow.
    Open(Vec<u8>),
    /// In memory alone: no more follow.
    Closed(Vec<u8>),
}

impl Part {
    pub(crate) fn new(base: u64) -> Self {
        Self { segment: Segment::new(base), data: Data::Open(Vec::new()) }
    }

    /// Leaves out what is gone.
    pub(crate) fn rebuild(&mut self) {
        let old = &self.segment;
        let mut segment = Segment::new(old.base);
        let mut records = Vec::with_capacity(old.live_bytes as usize);
        let mut place = old.next_live(0);
        while let Some(at) = place {
            let record = self.data.read(old.extent(at)).expect("the records are in memory");
            let (entry, bytes) = read_record(record).expect("a record in memory is whole");
            records.extend_from_slice(record);
            segment.push(
                entry.sequence,
                entry.wall,
                crate::KeyId(old.keys[at]),
                bytes,
                old.size(at),
            );
            place = old.next_live(at + 1);
        }
        segment.end = old.end;
        self.segment = segment;
        *self.data.records_mut() = records;
    }
}

impl Data {
    /// May more be appended?
    pub(crate) fn is_open(&self) -> bool {
        matches!(self, Self::Open(_))
    }

    /// Can it be let go or rebuilt without asking the disk?
    pub(crate) fn is_free(&self) -> bool {
        matches!(self, Self::Open(_) | Self::Closed(_))
    }

    pub(crate) fn close(&mut self) {
        if let Self::Open(records) = self {
            records.shrink_to_fit();
            *self = Self::Closed(std::mem::take(records));
        }
    }

    pub(crate) fn tail_mut(&mut self) -> &mut Vec<u8> {
        self.records_mut()
    }

    pub(crate) fn records_mut(&mut self) -> &mut Vec<u8> {
        match self {
            Self::Open(records) | Self::Closed(records) => records,
        }
    }

    /// A record, if it is in memory.
    pub(crate) fn read(&self, (start, end): (u32, u32)) -> Option<&[u8]> {
        match self {
            Self::Open(records) | Self::Closed(records) => {
                records.get(start as usize..end as usize)
            }
        }
    }
}
