//! Blocks of messages as the reference keeps them:
//!
//! | bytes | |
//! | --- | --- |
//! | 4 | bytes of the record, with the highest bit set if there is a header block |
//! | 8 | sequence; with the highest bit set it says that the message was removed |
//! | 8 | nanoseconds since 1970 |
//! | 2 | bytes of the subject |
//! | | subject |
//! | 4 | bytes of the header block, if there is one |
//! | | header block, payload |
//! | 8 | checksum of sequence, time, subject, header block and payload |

use super::Checksum;

const HEAD_BYTES: usize = 22;
const SUM_BYTES: usize = 8;
/// Bytes of a record at most: the largest message, and then some.
const RECORD_BYTES_MAX: usize = 128 * 1024 * 1024;
const HAS_HEADER: u32 = 1 << 31;
/// The message of this sequence was removed.
const REMOVED: u64 = 1 << 63;
/// The record was overwritten.
const ERASED: u64 = 1 << 62;

/// A message of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) sequence: u64,
    pub(crate) wall: i64,
    pub(crate) subject: &'a [u8],
    pub(crate) header: &'a [u8],
    pub(crate) payload: &'a [u8],
}

/// The checksum of a block's records.
pub(crate) fn checksum(stream: &str, block: u64) -> Checksum {
    Checksum::new(&format!("{stream}-{block}"))
}

/// Appends a record.
pub(crate) fn put_record(out: &mut Vec<u8>, checksum: &Checksum, record: &Record<'_>) {
    let Record { subject, header, payload, .. } = record;
    let header_bytes = if header.is_empty() { 0 } else { header.len() + 4 };
    let length = HEAD_BYTES + subject.len() + header_bytes + payload.len() + SUM_BYTES;
    let mark = if header.is_empty() { 0 } else { HAS_HEADER };
    out.extend_from_slice(&(length as u32 | mark).to_le_bytes());
    let start = out.len();
    out.extend_from_slice(&record.sequence.to_le_bytes());
    out.extend_from_slice(&record.wall.to_le_bytes());
    let stamp = out[start..].to_vec();
    out.extend_from_slice(&(subject.len() as u16).to_le_bytes());
    out.extend_from_slice(subject);
    if !header.is_empty() {
        out.extend_from_slice(&(header.len() as u32).to_le_bytes());
        out.extend_from_slice(header);
    }
    out.extend_from_slice(payload);
    out.extend_from_slice(&checksum.of(&[&stamp, subject, header, payload]));
}

/// What a block says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Item<'a> {
    Message(Record<'a>),
    /// The message of this sequence was removed, or never was.
    Removed(u64),
}

/// The item at the start of `bytes`, and how many it takes; nothing if it is not all there yet.
///
/// # Errors
/// If it is damaged.
pub(crate) fn read<'a>(
    bytes: &'a [u8],
    checksum: &Checksum,
) -> Result<Option<(Item<'a>, usize)>, &'static str> {
    let Some(length) = bytes.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_le_bytes(*length);
    let has_header = length & HAS_HEADER != 0;
    let length = (length & !HAS_HEADER) as usize;
    if !(HEAD_BYTES + SUM_BYTES..=RECORD_BYTES_MAX).contains(&length) {
        return Err("corrupt message block");
    }
    let Some(record) = bytes.get(..length) else { return Ok(None) };
    let number = |at: usize| u64::from_le_bytes(record[at..at + 8].try_into().expect("in range"));
    let (sequence, wall) = (number(4), number(12) as i64);
    let subject_bytes = usize::from(u16::from_le_bytes([record[20], record[21]]));
    let (body, sum) = record[HEAD_BYTES..].split_at(length - HEAD_BYTES - SUM_BYTES);
    let (subject, rest) = body.split_at_checked(subject_bytes).ok_or("corrupt message block")?;
    let (header, payload) = if has_header { split_header(rest)? } else { (&[][..], rest) };
    if checksum.of(&[&record[4..20], subject, header, payload]) != *sum {
        return Err("corrupt message block");
    }
    let item = if sequence & (REMOVED | ERASED) != 0 || sequence == 0 {
        Item::Removed(sequence & !(REMOVED | ERASED))
    } else {
        Item::Message(Record { sequence, wall, subject, header, payload })
    };
    Ok(Some((item, length)))
}

fn split_header(rest: &[u8]) -> Result<(&[u8], &[u8]), &'static str> {
    let (length, rest) = rest.split_first_chunk::<4>().ok_or("corrupt message block")?;
    let length = u32::from_le_bytes(*length) as usize;
    rest.split_at_checked(length).ok_or("corrupt message block")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_whole_or_not_at_all() {
        let sum = checksum("S", 1);
        let mut block = Vec::new();
        let plain =
            Record { sequence: 5, wall: 77, subject: b"a.b", header: b"", payload: b"hello" };
        let other = Record { sequence: 7, header: b"NATS/1.0\r\nA: b\r\n\r\n", ..plain };
        put_record(&mut block, &sum, &plain);
        let first = block.len();
        put_record(&mut block, &sum, &other);
        assert_eq!(read(&block, &sum), Ok(Some((Item::Message(plain), first))));
        let rest = &block[first..];
        assert_eq!(read(rest, &sum), Ok(Some((Item::Message(other), rest.len()))));
        for cut in 0..first {
            assert_eq!(read(&block[..cut], &sum), Ok(None));
        }
        for at in 4..first {
            let mut bad = block.clone();
            bad[at] ^= 0x10;
            assert_ne!(read(&bad, &sum), read(&block, &sum), "byte {at}");
        }
        assert!(read(&block, &checksum("S", 2)).is_err());
    }
}
