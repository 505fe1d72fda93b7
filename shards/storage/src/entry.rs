//! One stored message, as it is handed in and handed out, and as it stands in memory and on disk.

use base::Wall;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A message, borrowed from whoever holds its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its number in the log. Numbers rise; some may be left out.
    pub sequence: u64,
    /// When it was stored, in nanoseconds since 1970.
    pub wall: Wall,
    /// Its key: what the log is searched by. Opaque here; streams put the subject in.
    pub subject: &'a [u8],
    /// Bytes of the header block; zero without one.
    pub header: usize,
    /// Sizes, CR LF, header, payload, CR LF: what follows the reply in a MSG or HMSG line. Kept as
    /// it came, so that a delivery from the store is one copy.
    pub tail: &'a [u8],
    /// Bytes of `tail` in front of the header or payload.
    pub sizes_bytes: usize,
}

impl<'a> Entry<'a> {
    /// Bytes of header and payload.
    pub fn size(&self) -> usize {
        self.tail.len() - self.sizes_bytes - 2
    }

    /// The header block, empty without one.
    pub fn header_block(&self) -> &'a [u8] {
        &self.tail[self.sizes_bytes..self.sizes_bytes + self.header]
    }

    /// The payload.
    pub fn payload(&self) -> &'a [u8] {
        &self.tail[self.sizes_bytes + self.header..self.tail.len() - 2]
    }

    /// Do the lengths fit each other, and what a record can hold?
    pub(crate) fn is_sound(&self) -> bool {
        u16::try_from(self.subject.len()).is_ok()
            && self.sizes_bytes <= SIZES_BYTES_MAX
            && self.tail.len() <= RECORD_BYTES_MAX - HEAD_BYTES - self.subject.len()
            && self.sizes_bytes + self.header + 2 <= self.tail.len()
    }
}

/// What a look at the store brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetched<'a> {
    /// The message.
    Here(Entry<'a>),
    /// It is on its way from the disk. The number comes back through
    /// [`crate::Store::take_finished_reads`]; then ask again.
    Reading(ReadId),
    /// There is no such message: never stored, or removed.
    Missing,
    /// There was such a message and its bytes are damaged. Reported as a [`crate::Damage`] once.
    Damaged,
}

/// A read of the disk that is under way. Several fetches may wait for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadId(pub u64);

/// Bytes of a record in front of its subject:
///
/// | at | bytes | |
/// | --- | --- | --- |
/// | 0 | 8 | XXH3 of the rest of the record, seeded with the log's number |
/// | 8 | 8 | sequence |
/// | 16 | 8 | wall clock |
/// | 24 | 4 | bytes of the tail |
/// | 28 | 4 | bytes of the header block |
/// | 32 | 2 | bytes of the subject |
/// | 34 | 1 | bytes of the sizes |
/// | 35 | 1 | zero |
pub(crate) const HEAD_BYTES: usize = 36;

/// Longest record: offsets in a segment have 32 bits, and lengths must not come near that.
pub(crate) const RECORD_BYTES_MAX: usize = 1 << 30;

/// Longest sizes: two numbers of nine digits, a blank, CR LF, and some.
pub(crate) const SIZES_BYTES_MAX: usize = 64;

/// Bytes of an entry's record.
pub(crate) fn record_bytes(entry: &Entry<'_>) -> usize {
    HEAD_BYTES + entry.subject.len() + entry.tail.len()
}

/// Appends an entry's record. In a log that is never written, which has no number, the checksum is
/// left out.
#[inline]
pub(crate) fn put_record(out: &mut Vec<u8>, entry: &Entry<'_>, log: u64) {
    debug_assert!(entry.is_sound());
    let start = out.len();
    let mut head = [0_u8; HEAD_BYTES];
    head[8..16].copy_from_slice(&entry.sequence.to_le_bytes());
    head[16..24].copy_from_slice(&entry.wall.0.to_le_bytes());
    head[24..28].copy_from_slice(&(entry.tail.len() as u32).to_le_bytes());
    head[28..32].copy_from_slice(&(entry.header as u32).to_le_bytes());
    head[32..34].copy_from_slice(&(entry.subject.len() as u16).to_le_bytes());
    head[34] = entry.sizes_bytes as u8;
    out.extend_from_slice(&head);
    out.extend_from_slice(entry.subject);
    out.extend_from_slice(entry.tail);
    if log > 0 {
        let sum = xxh3_64_with_seed(&out[start + 8..], log);
        out[start..start + 8].copy_from_slice(&sum.to_le_bytes());
    }
}

/// The entry at the start of `bytes`, with the bytes of its record, if lengths allow for one.
pub(crate) fn read_record(bytes: &[u8]) -> Option<(Entry<'_>, usize)> {
    let head = bytes.first_chunk::<HEAD_BYTES>()?;
    let tail_bytes = u32_at(head, 24) as usize;
    let subject_bytes = usize::from(u16::from_le_bytes([head[32], head[33]]));
    let end = HEAD_BYTES + subject_bytes + tail_bytes;
    let body = bytes.get(HEAD_BYTES..end)?;
    let (subject, tail) = body.split_at(subject_bytes);
    let entry = Entry {
        sequence: u64_at(head, 8),
        wall: Wall(u64_at(head, 16) as i64),
        subject,
        header: u32_at(head, 28) as usize,
        tail,
        sizes_bytes: usize::from(head[34]),
    };
    entry.is_sound().then_some((entry, end))
}

/// As [`read_record`], for bytes that were on a disk: nothing if they are not what was written
/// there for this log.
pub(crate) fn read_checked_record(bytes: &[u8], log: u64) -> Option<(Entry<'_>, usize)> {
    let (entry, end) = read_record(bytes)?;
    (xxh3_64_with_seed(&bytes[8..end], log) == u64_at(bytes, 0)).then_some((entry, end))
}

/// The little-endian number at `at`. The caller vouches for the bounds.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().expect("eight bytes are there"))
}

/// The little-endian number at `at`. The caller vouches for the bounds.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*bytes[at..].first_chunk().expect("four bytes are there"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_and_notices_each_flipped_bit() {
        let entry = Entry {
            sequence: 7,
            wall: Wall(-5),
            subject: b"a.b",
            header: 12,
            tail: b"12 14\r\nNATS/1.0\r\n\r\nhi\r\n",
            sizes_bytes: 7,
        };
        let mut bytes = Vec::new();
        put_record(&mut bytes, &entry, 3);
        assert_eq!(bytes.len(), record_bytes(&entry));
        assert_eq!(read_checked_record(&bytes, 3), Some((entry, bytes.len())));
        assert_eq!(read_checked_record(&bytes, 4), None);
        assert_eq!(entry.header_block(), b"NATS/1.0\r\n\r\n");
        assert_eq!(entry.payload(), b"hi");
        assert_eq!(entry.size(), 14);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read_checked_record(&flipped, 3), None, "bit {bit}");
        }
        for cut in 0..bytes.len() {
            assert_eq!(read_checked_record(&bytes[..cut], 3), None);
        }
    }
}
