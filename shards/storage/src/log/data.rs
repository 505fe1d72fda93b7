//! The records of a part: in memory, or on disk.

use super::segment::Segment;
use crate::entry::read_record;
use crate::frames::Frames;

/// A stretch of a log with its records.
#[derive(Debug)]
pub(crate) struct Part {
    /// Its number among those the log has had since the store was opened.
    pub(crate) number: u64,
    pub(crate) segment: Segment,
    pub(crate) data: Data,
    /// In a segment, the frames that its records stand in, if they do.
    pub(crate) frames: Option<Frames>,
    /// Is it to be written anew, although little of it may be gone?
    pub(crate) stale: bool,
    /// In memory, the damaged segment that its records were searched out of.
    pub(crate) origin: Option<u64>,
}

/// Where the records of a part are.
#[derive(Debug)]
pub(crate) enum Data {
    /// In memory alone, or in the journal: more may follow.
    Open(Vec<u8>),
    /// In memory alone, or in the journal: no more follow.
    Closed(Vec<u8>),
    /// In memory and the journal, and on their way to a segment.
    Sealing(Vec<u8>),
    /// In a segment.
    Sealed(Whereabouts),
}

/// Where in the segments a part stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Whereabouts {
    /// The segment's number.
    pub(crate) segment: u64,
    /// Which of its parts.
    pub(crate) index: u32,
    /// Where its records begin.
    pub(crate) offset: u64,
    /// Messages that were there when it was written.
    pub(crate) living: u64,
}

impl Part {
    pub(crate) fn new(number: u64, base: u64) -> Self {
        let (segment, data) = (Segment::new(base), Data::Open(Vec::new()));
        Self { number, segment, data, frames: None, stale: false, origin: None }
    }

    /// One that stands in a segment.
    pub(crate) fn sealed(
        number: u64,
        segment: Segment,
        (place, frames): (Whereabouts, Option<Frames>),
    ) -> Self {
        let data = Data::Sealed(place);
        Self { number, segment, data, frames, stale: false, origin: None }
    }

    /// The segment that has to stay for as long as this is not written elsewhere.
    pub(crate) fn needs(&self) -> Option<u64> {
        self.data.place().map(|place| place.segment).or(self.origin)
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

    /// Bytes of records that are in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        match &self.data {
            Data::Open(records) | Data::Closed(records) | Data::Sealing(records) => records.len(),
            Data::Sealed(_) => 0,
        }
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

    pub(crate) fn place(&self) -> Option<Whereabouts> {
        match self {
            Self::Sealed(place) => Some(*place),
            _ => None,
        }
    }

    pub(crate) fn close(&mut self) {
        if let Self::Open(records) = self {
            records.shrink_to_fit();
            *self = Self::Closed(std::mem::take(records));
        }
    }

    pub(crate) fn begin_seal(&mut self) {
        match self {
            Self::Open(records) | Self::Closed(records) => {
                *self = Self::Sealing(std::mem::take(records));
            }
            other => panic!("sealed twice: {other:?}"),
        }
    }

    /// The seal did not come about.
    pub(crate) fn abandon_seal(&mut self) {
        if let Self::Sealing(records) = self {
            *self = Self::Closed(std::mem::take(records));
        }
    }

    pub(crate) fn records_mut(&mut self) -> &mut Vec<u8> {
        match self {
            Self::Open(records) | Self::Closed(records) | Self::Sealing(records) => records,
            Self::Sealed(place) => panic!("the records are on disk: {place:?}"),
        }
    }

    /// The records, if they are in memory.
    pub(crate) fn records(&self) -> Option<&[u8]> {
        match self {
            Self::Open(records) | Self::Closed(records) | Self::Sealing(records) => Some(records),
            Self::Sealed(_) => None,
        }
    }

    /// A record, if it is in memory.
    pub(crate) fn read(&self, (start, end): (u32, u32)) -> Option<&[u8]> {
        self.records()?.get(start as usize..end as usize)
    }
}
