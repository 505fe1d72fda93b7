//! What stands in the journal: operations on logs, each with its number in its log.

use crate::bytes::{Put, Take};
use crate::store::LogOptions;

/// Bytes in front of an operation's own: its length, kind, log and number.
pub(crate) const FRAME_BYTES: usize = 21;

/// The log that operations on the store itself belong to.
pub(crate) const NO_LOG: u64 = 0;

const APPEND: u8 = 1;
const REMOVE: u8 = 2;
const TRUNCATE: u8 = 3;
const RESET: u8 = 4;
const NOTE: u8 = 5;
const OPTIONS: u8 = 6;
const DESTROY: u8 = 7;
const SNAPSHOT: u8 = 8;
const SEALED: u8 = 9;
const DROPPED: u8 = 10;
const NAMED: u8 = 11;

/// An operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Operation<'a> {
    /// A message's record.
    Append(&'a [u8]),
    /// A message is gone.
    Remove(u64),
    /// Everything in front of a sequence is gone.
    Truncate(u64),
    /// Everything is gone, and these are the sequences.
    Reset { first: u64, last: u64 },
    /// A note has a value, or none if that is empty.
    Note { key: &'a [u8], value: &'a [u8] },
    /// The log is kept otherwise.
    Options(LogOptions),
    /// The log is gone.
    Destroy,
    /// All there is to know of the log: nothing in front of this is needed any more.
    Snapshot(&'a [u8]),
    /// A part of the log stands in a segment.
    Sealed(PartRef),
    /// No part of any log stands in this segment any more.
    Dropped(u64),
    /// What the log is called and how it is kept, once more: wanted only where its last snapshot is
    /// damaged. A snapshot without parts and records.
    Named(&'a [u8]),
}

/// Where a part of a log stands, and what of it is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartRef {
    /// The segment's number.
    pub(crate) segment: u64,
    /// Which of the segment's parts.
    pub(crate) index: u32,
    /// Its first sequence, and one more than its last.
    pub(crate) base: u64,
    pub(crate) end: u64,
    /// A bit for each message that is there, if some are gone that were there when it was written.
    pub(crate) live: Option<Vec<u64>>,
}

impl PartRef {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.put_u64(self.segment);
        out.put_u32(self.index);
        out.put_u64(self.base);
        out.put_u64(self.end);
        let live = self.live.as_deref().unwrap_or_default();
        out.put_u32(live.len() as u32);
        for word in live {
            out.put_u64(*word);
        }
    }

    pub(crate) fn take(from: &mut Take<'_>) -> Option<Self> {
        let segment = from.u64()?;
        let index = from.u32()?;
        let (base, end) = (from.u64()?, from.u64()?);
        let words = from.u32()? as usize;
        let bytes = from.bytes(words.checked_mul(8)?)?;
        let words = bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word));
        let live: Vec<u64> = words.collect();
        let live = (!live.is_empty()).then_some(live);
        (base <= end).then_some(Self { segment, index, base, end, live })
    }
}

impl LogOptions {
    pub(crate) fn to_byte(self) -> u8 {
        u8::from(self.compressed)
    }

    pub(crate) fn of_byte(byte: u8) -> Self {
        Self { compressed: byte & 1 == 1 }
    }
}

/// The frame of an operation with `bytes` bytes of its own.
fn frame(kind: u8, bytes: usize, log: u64, number: u64) -> [u8; FRAME_BYTES] {
    let length = u32::try_from(bytes + FRAME_BYTES - 4).expect("an operation is below a gigabyte");
    let mut frame = [0; FRAME_BYTES];
    frame[..4].copy_from_slice(&length.to_le_bytes());
    frame[4] = kind;
    frame[5..13].copy_from_slice(&log.to_le_bytes());
    frame[13..].copy_from_slice(&number.to_le_bytes());
    frame
}

/// The frame of an append, whose record follows.
pub(crate) fn append_frame(record_bytes: usize, log: u64, number: u64) -> [u8; FRAME_BYTES] {
    frame(APPEND, record_bytes, log, number)
}

/// Appends an operation's frame and bytes.
pub(crate) fn put(out: &mut Vec<u8>, log: u64, number: u64, operation: &Operation<'_>) {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_BYTES]);
    let kind = match operation {
        Operation::Append(record) => {
            out.extend_from_slice(record);
            APPEND
        }
        Operation::Remove(sequence) => {
            out.put_u64(*sequence);
            REMOVE
        }
        Operation::Truncate(sequence) => {
            out.put_u64(*sequence);
            TRUNCATE
        }
        Operation::Reset { first, last } => {
            out.put_u64(*first);
            out.put_u64(*last);
            RESET
        }
        Operation::Note { key, value } => {
            out.put_run(key);
            out.extend_from_slice(value);
            NOTE
        }
        Operation::Options(options) => {
            out.put_u8(options.to_byte());
            OPTIONS
        }
        Operation::Destroy => DESTROY,
        Operation::Snapshot(bytes) => {
            out.extend_from_slice(bytes);
            SNAPSHOT
        }
        Operation::Sealed(part) => {
            part.put(out);
            SEALED
        }
        Operation::Dropped(segment) => {
            out.put_u64(*segment);
            DROPPED
        }
        Operation::Named(bytes) => {
            out.extend_from_slice(bytes);
            NAMED
        }
    };
    let frame = frame(kind, out.len() - start - FRAME_BYTES, log, number);
    out[start..start + FRAME_BYTES].copy_from_slice(&frame);
}

/// An operation with its log and number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entered<'a> {
    pub(crate) log: u64,
    pub(crate) number: u64,
    pub(crate) operation: Operation<'a>,
}

/// A sequence that another can follow.
fn sequence(from: &mut Take<'_>) -> Option<u64> {
    from.u64().filter(|sequence| *sequence < u64::MAX)
}

/// Reads an operation, without the length in front of it.
pub(crate) fn read(bytes: &[u8]) -> Option<Entered<'_>> {
    let mut from = Take(bytes);
    let kind = from.u8()?;
    let (log, number) = (from.u64()?, from.u64()?);
    let operation = match kind {
        APPEND => Operation::Append(std::mem::take(&mut from.0)),
        REMOVE => Operation::Remove(from.u64()?),
        TRUNCATE => Operation::Truncate(sequence(&mut from)?),
        RESET => Operation::Reset { first: from.u64()?, last: sequence(&mut from)? },
        NOTE => Operation::Note { key: from.run()?, value: std::mem::take(&mut from.0) },
        OPTIONS => Operation::Options(LogOptions::of_byte(from.u8()?)),
        DESTROY => Operation::Destroy,
        SNAPSHOT => Operation::Snapshot(std::mem::take(&mut from.0)),
        SEALED => Operation::Sealed(PartRef::take(&mut from)?),
        DROPPED => Operation::Dropped(from.u64()?),
        NAMED => Operation::Named(std::mem::take(&mut from.0)),
        _ => return None,
    };
    from.0.is_empty().then_some(Entered { log, number, operation })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_read_back_and_none_does_cut() {
        let part = PartRef { segment: 9, index: 2, base: 5, end: 70, live: Some(vec![1, 2]) };
        let operations = [
            Operation::Append(b"record"),
            Operation::Remove(7),
            Operation::Truncate(8),
            Operation::Reset { first: 3, last: 2 },
            Operation::Note { key: b"key", value: b"" },
            Operation::Note { key: b"", value: b"value" },
            Operation::Options(LogOptions { compressed: true }),
            Operation::Destroy,
            Operation::Snapshot(b"everything"),
            Operation::Sealed(part.clone()),
            Operation::Sealed(PartRef { live: None, ..part }),
            Operation::Dropped(11),
            Operation::Named(b"name"),
        ];
        for operation in operations {
            let mut bytes = Vec::new();
            put(&mut bytes, 77, 5, &operation);
            let length = u32::from_le_bytes(*bytes.first_chunk().expect("a frame"));
            assert_eq!(length as usize, bytes.len() - 4);
            let entered = read(&bytes[4..]).expect("it reads back");
            assert_eq!((entered.log, entered.number), (77, 5));
            assert_eq!(entered.operation, operation);
            let open_ended = matches!(
                operation,
                Operation::Append(_)
                    | Operation::Snapshot(_)
                    | Operation::Named(_)
                    | Operation::Note { .. }
            );
            if !open_ended {
                assert_eq!(read(&bytes[4..bytes.len() - 1]), None, "{operation:?}");
            }
        }
        let mut bytes = Vec::new();
        put(&mut bytes, 1, 2, &Operation::Append(b"abc"));
        assert_eq!(bytes[..FRAME_BYTES], append_frame(3, 1, 2));
    }
}
