//! How requests are numbered, so that an outcome finds who waits for it.

use crate::disk::{DiskRequest, RequestId};

/// Who waits for a request's outcome: the upper byte of its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wants {
    /// Nobody: what came of it changes nothing.
    Nobody = 1,
    /// The journal: a write or sync.
    Journal,
    /// The making of the journal's next file.
    Slot,
    /// The segment that is being written.
    Seal,
    /// What looks at messages.
    Fetch,
    /// What brings parts together anew, or erases.
    Compact,
    /// The opening of the store.
    Open,
}

impl Wants {
    pub(crate) fn id(self, number: u64) -> RequestId {
        RequestId((self as u64) << 56 | number)
    }

    /// Who waits, and the number.
    pub(crate) fn of(id: RequestId) -> (Self, u64) {
        let number = id.0 & ((1 << 56) - 1);
        let wants = match id.0 >> 56 {
            1 => Self::Nobody,
            2 => Self::Journal,
            3 => Self::Slot,
            4 => Self::Seal,
            5 => Self::Fetch,
            6 => Self::Compact,
            7 => Self::Open,
            other => panic!("no request was numbered {other}"),
        };
        (wants, number)
    }
}

/// The list that requests are put on.
pub(crate) struct Requests<'a> {
    pub(crate) out: &'a mut Vec<DiskRequest>,
    pub(crate) last: &'a mut u64,
}

impl Requests<'_> {
    /// A number that no other request has.
    pub(crate) fn number(&mut self) -> u64 {
        *self.last += 1;
        *self.last
    }
}
