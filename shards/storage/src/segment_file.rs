//! A segment as a file: records of one or more parts, their indexes, a directory of them, and a
//! tail at the very end (docs/STORAGE.md).

use xxhash_rust::xxh3::xxh3_64;

use crate::buffer::{BLOCK_BYTES, Blocks};
use crate::bytes::{Put, Take};

/// `psg` and the version of the format.
const MAGIC: u32 = u32::from_le_bytes(*b"psg\x01");
/// Bytes of the tail, at the end of the last block.
pub(crate) const TAIL_BYTES: usize = 64;
/// Blocks that are written in one go: 1 MiB.
const PIECE_BLOCKS: usize = 256;

/// One part in a segment's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    /// The log's number in the journal, how it was kept, and its name.
    pub(crate) log: u64,
    pub(crate) options: u8,
    pub(crate) name: Box<[u8]>,
    /// The log's last operation when the part was written.
    pub(crate) operations: u64,
    pub(crate) base: u64,
    pub(crate) end: u64,
    /// Where the records stand, and how many bytes.
    pub(crate) records: (u64, u64),
    /// The same of the index, and its checksum.
    pub(crate) index: (u64, u64, u64),
}

/// A segment that is put together in memory, in pieces as they will be written.
#[derive(Debug, Default)]
pub(crate) struct Image {
    pub(crate) pieces: Vec<Blocks>,
    filled: usize,
    pub(crate) bytes: u64,
    listed: Vec<Listed>,
    indexes: Vec<u8>,
}

impl Image {
    fn put(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.filled == self.pieces.len() * PIECE_BLOCKS * BLOCK_BYTES {
                self.pieces.push(Blocks::new(PIECE_BLOCKS));
            }
            let piece = self.pieces.last_mut().expect("one was just put there");
            let at = self.filled % (PIECE_BLOCKS * BLOCK_BYTES);
            let count = bytes.len().min(PIECE_BLOCKS * BLOCK_BYTES - at);
            piece.bytes_mut()[at..at + count].copy_from_slice(&bytes[..count]);
            self.filled += count;
            bytes = &bytes[count..];
        }
    }

    /// Bytes of records so far.
    pub(crate) fn filled(&self) -> u64 {
        self.filled as u64
    }

    /// Adds a part's records and index, and returns where its records begin.
    pub(crate) fn add(&mut self, part: Listed, records: &[u8], index: &[u8]) -> u64 {
        let offset = self.filled as u64;
        self.put(records);
        let at = self.indexes.len() as u64;
        self.indexes.extend_from_slice(index);
        self.listed.push(Listed {
            records: (offset, records.len() as u64),
            index: (at, index.len() as u64, xxh3_64(index)),
            ..part
        });
        offset
    }

    /// Puts indexes, directory and tail behind the records.
    pub(crate) fn finish(&mut self, store: u64, number: u64) {
        let start = self.filled as u64;
        let indexes = std::mem::take(&mut self.indexes);
        self.put(&indexes);
        let mut directory = Vec::new();
        directory.put_u32(self.listed.len() as u32);
        for part in &self.listed {
            directory.put_u64(part.log);
            directory.put_u8(part.options);
            directory.put_run(&part.name);
            let (index, bytes, sum) = part.index;
            let (records, length) = part.records;
            let words = [part.operations, part.base, part.end, records, length];
            for word in words.into_iter().chain([start + index, bytes, sum]) {
                directory.put_u64(word);
            }
        }
        let at = self.filled as u64;
        self.put(&directory);
        let whole = (self.filled + TAIL_BYTES).next_multiple_of(BLOCK_BYTES);
        let padding = whole - TAIL_BYTES - self.filled;
        self.put(&[0; BLOCK_BYTES][..padding]);
        let mut tail = Vec::with_capacity(TAIL_BYTES);
        tail.put_u32(MAGIC);
        tail.put_u32(0);
        for word in [store, number, whole as u64, at, directory.len() as u64] {
            tail.put_u64(word);
        }
        tail.put_u64(xxh3_64(&directory));
        tail.put_u64(xxh3_64(&tail));
        assert_eq!(tail.len(), TAIL_BYTES);
        self.put(&tail);
        self.bytes = whole as u64;
        let last = self.pieces.last_mut().expect("a tail was put in");
        last.cut((whole / BLOCK_BYTES - 1) % PIECE_BLOCKS + 1);
    }
}

/// Where a segment's directory stands, as its tail says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tail {
    pub(crate) directory: u64,
    pub(crate) bytes: u64,
    sum: u64,
}

/// Reads the tail, which is the end of the file's last block.
pub(crate) fn read_tail(end: &[u8], store: u64, number: u64, file_bytes: u64) -> Option<Tail> {
    let tail = end.last_chunk::<TAIL_BYTES>()?;
    let mut from = Take(tail);
    let (magic, _) = (from.u32()?, from.u32()?);
    let names = [from.u64()?, from.u64()?, from.u64()?];
    let (directory, bytes, sum) = (from.u64()?, from.u64()?, from.u64()?);
    let is_whole = xxh3_64(&tail[..TAIL_BYTES - 8]) == from.u64()?;
    let fits = directory.checked_add(bytes)? <= file_bytes;
    let is_this = magic == MAGIC && names == [store, number, file_bytes];
    (is_whole && is_this && fits).then_some(Tail { directory, bytes, sum })
}

/// Reads the directory that a tail leads to.
pub(crate) fn read_directory(bytes: &[u8], tail: &Tail) -> Option<Vec<Listed>> {
    if xxh3_64(bytes) != tail.sum {
        return None;
    }
    let mut from = Take(bytes);
    let count = from.u32()?;
    let mut parts = Vec::new();
    for _ in 0..count {
        let log = from.u64()?;
        let options = from.u8()?;
        let name = from.run()?.into();
        let (operations, base, end) = (from.u64()?, from.u64()?, from.u64()?);
        let records = (from.u64()?, from.u64()?);
        let index = (from.u64()?, from.u64()?, from.u64()?);
        let ends = [records.0.checked_add(records.1)?, index.0.checked_add(index.1)?];
        if ends.iter().any(|end| *end > tail.directory) {
            return None;
        }
        parts.push(Listed { log, options, name, operations, base, end, records, index });
    }
    from.0.is_empty().then_some(parts)
}

impl Listed {
    /// Are these bytes the part's index as it was written?
    pub(crate) fn is_index(&self, bytes: &[u8]) -> bool {
        xxh3_64(bytes) == self.index.2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(log: u64) -> Listed {
        let (records, index) = ((0, 0), (0, 0, 0));
        let name: Box<[u8]> = b"a name"[..].into();
        Listed { log, options: 1, name, operations: 3, base: 5, end: 9, records, index }
    }

    #[test]
    fn a_segment_reads_back() {
        for size in [1, 4000, 2 << 20] {
            let mut image = Image::default();
            let records = vec![7; size];
            assert_eq!(image.add(part(1), &records, b"index one"), 0);
            assert_eq!(image.add(part(2), b"more", b"index two"), size as u64);
            image.finish(11, 12);
            let file: Vec<u8> = image.pieces.iter().flat_map(Blocks::bytes).copied().collect();
            assert_eq!(file.len() as u64, image.bytes);
            let tail = read_tail(&file, 11, 12, image.bytes).expect("the tail is whole");
            for (store, number, bytes) in [(0, 12, 0), (11, 0, 0), (11, 12, 4096)] {
                assert_eq!(read_tail(&file, store, number, image.bytes + bytes), None);
            }
            let at = tail.directory as usize;
            let directory = &file[at..at + tail.bytes as usize];
            let parts = read_directory(directory, &tail).expect("the directory is whole");
            assert_eq!(parts.len(), 2);
            assert_eq!(parts[1].records, (size as u64, 4));
            let (at, bytes, _) = parts[1].index;
            let index = &file[at as usize..(at + bytes) as usize];
            assert_eq!(index, b"index two");
            assert!(parts[1].is_index(index) && !parts[0].is_index(index));
            assert_eq!(read_directory(&directory[1..], &tail), None);
        }
    }
}
