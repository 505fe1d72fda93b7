//! A segment as a file: records of one or more parts, their indexes, a directory of them, and a
//! tail at the very end (docs/STORAGE.md).

use std::borrow::Cow;

use xxhash_rust::xxh3::xxh3_64;

use crate::buffer::{BLOCK_BYTES, Blocks};
use crate::bytes::{Put, Take};
use crate::frames::{self, FRAME_BYTES, Frames, Home};
use crate::snapshot::Note;
use crate::store::LogOptions;
use crate::vault::{Cipher, Purpose, SALT_BYTES, Seal, Sealer, TAG_BYTES, Vault};

/// `psg` and the version of the format.
const MAGIC: u32 = u32::from_le_bytes(*b"psg\x02");
/// Bytes of the tail, at the end of the last block.
pub(crate) const TAIL_BYTES: usize = 80;
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
    /// Where the records stand, and how many bytes they have there.
    pub(crate) records: (u64, u64),
    /// The same of the index, and its checksum.
    pub(crate) index: (u64, u64, u64),
    /// Bytes of each frame that the records stand in; none if they stand there as they are.
    pub(crate) frames: Vec<u32>,
    /// Notes of the log when the part was written: what is left of them where the journal is gone.
    pub(crate) notes: Vec<Note>,
}

/// A segment that is put together in memory, in pieces as they will be written.
#[derive(Debug)]
pub(crate) struct Image {
    store: u64,
    pub(crate) number: u64,
    pub(crate) pieces: Vec<Blocks>,
    filled: usize,
    pub(crate) bytes: u64,
    listed: Vec<Listed>,
    indexes: Vec<Vec<u8>>,
}

impl Image {
    /// Of a segment of this number.
    pub(crate) fn new(store: u64, number: u64) -> Self {
        let (pieces, listed, indexes) = (Vec::new(), Vec::new(), Vec::new());
        Self { store, number, pieces, filled: 0, bytes: 0, listed, indexes }
    }

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

    /// Adds a part's records and index, and returns where its records begin, and the frames that
    /// they stand in, if they do.
    pub(crate) fn add(
        &mut self,
        mut part: Listed,
        records: &[u8],
        index: Vec<u8>,
        sealer: Option<&Sealer>,
    ) -> (u64, Option<Frames>) {
        let offset = self.filled as u64;
        let compressed = LogOptions::of_byte(part.options).compressed;
        if compressed || sealer.is_some() {
            let home = Home { store: self.store, segment: self.number, log: part.log };
            let mut frame = Vec::with_capacity(FRAME_BYTES + frames::HEAD_BYTES + TAG_BYTES);
            for (place, stretch) in (0..).step_by(FRAME_BYTES).zip(records.chunks(FRAME_BYTES)) {
                frame.clear();
                let stretch = (place, stretch);
                frames::put(&mut frame, home, stretch, compressed, (self.filled as u64, sealer));
                part.frames.push(frame.len() as u32);
                self.put(&frame);
            }
        } else {
            self.put(records);
        }
        part.records = (offset, self.filled as u64 - offset);
        let frames = Frames::of(&part.frames);
        self.listed.push(part);
        self.indexes.push(index);
        (offset, frames)
    }

    /// Seals a run that comes next, if there is a sealer, and puts it in. Returns where it stands,
    /// its bytes there, and their checksum.
    fn put_run(&mut self, mut run: Vec<u8>, sealer: Option<&Sealer>) -> (u64, u64, u64) {
        let at = self.filled as u64;
        if let Some(sealer) = sealer {
            let about = self.store.to_le_bytes();
            let tag = sealer.seal(frames::nonce(self.number, at), &about, &mut run);
            run.extend_from_slice(&tag);
        }
        self.put(&run);
        (at, run.len() as u64, xxh3_64(&run))
    }

    /// Puts indexes, directory and tail behind the records.
    pub(crate) fn finish(&mut self, sealer: Option<&Sealer>) {
        for (place, index) in std::mem::take(&mut self.indexes).into_iter().enumerate() {
            self.listed[place].index = self.put_run(index, sealer);
        }
        let mut directory = Vec::new();
        directory.put_u32(self.listed.len() as u32);
        self.listed.iter().for_each(|part| part.put(&mut directory));
        let (at, bytes, sum) = self.put_run(directory, sealer);
        let whole = (self.filled + TAIL_BYTES).next_multiple_of(BLOCK_BYTES);
        let padding = whole - TAIL_BYTES - self.filled;
        self.put(&[0; BLOCK_BYTES][..padding]);
        let mut tail = Vec::with_capacity(TAIL_BYTES);
        tail.put_u32(MAGIC);
        tail.put_u32(sealer.map_or(0, |sealer| u32::from(sealer.seal.cipher.to_byte())));
        for word in [self.store, self.number, whole as u64, at, bytes, sum] {
            tail.put_u64(word);
        }
        tail.extend_from_slice(&sealer.map_or([0; SALT_BYTES], |sealer| sealer.seal.salt));
        tail.put_u64(xxh3_64(&tail));
        assert_eq!(tail.len(), TAIL_BYTES);
        self.put(&tail);
        self.bytes = whole as u64;
        let last = self.pieces.last_mut().expect("a tail was put in");
        last.cut((whole / BLOCK_BYTES - 1) % PIECE_BLOCKS + 1);
    }
}

/// What a segment's tail says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tail {
    pub(crate) store: u64,
    pub(crate) number: u64,
    /// Where the directory stands, and its bytes.
    pub(crate) directory: u64,
    pub(crate) bytes: u64,
    sum: u64,
    pub(crate) seal: Option<Seal>,
}

/// Reads the tail, which is the end of the file's last block.
pub(crate) fn read_tail(end: &[u8], file_bytes: u64) -> Option<Tail> {
    let tail = end.last_chunk::<TAIL_BYTES>()?;
    let mut from = Take(tail);
    let (magic, cipher) = (from.u32()?, from.u32()?);
    let (store, number, whole) = (from.u64()?, from.u64()?, from.u64()?);
    let (directory, bytes, sum) = (from.u64()?, from.u64()?, from.u64()?);
    let salt = *from.bytes(SALT_BYTES)?.first_chunk()?;
    let seal = match cipher {
        0 => None,
        byte => Some(Seal { cipher: Cipher::of_byte(u8::try_from(byte).ok()?)?, salt }),
    };
    let is_whole = magic == MAGIC && xxh3_64(&tail[..TAIL_BYTES - 8]) == from.u64()?;
    let fits = whole == file_bytes && directory.checked_add(bytes)? <= file_bytes;
    let is_small = u32::try_from(file_bytes).is_ok();
    let tail = Tail { store, number, directory, bytes, sum, seal };
    (is_whole && fits && is_small).then_some(tail)
}

/// Reads the directory that a tail leads to.
pub(crate) fn read_directory(bytes: &[u8], tail: &Tail, vault: &mut Vault) -> Option<Vec<Listed>> {
    if xxh3_64(bytes) != tail.sum {
        return None;
    }
    let bytes = tail.open(bytes, tail.directory, vault)?;
    let mut from = Take(&bytes);
    let count = from.u32()?;
    let mut parts = Vec::new();
    for _ in 0..count {
        let part = Listed::take(&mut from)?;
        let ends =
            [part.records.0.checked_add(part.records.1)?, part.index.0.checked_add(part.index.1)?];
        if ends.iter().any(|end| *end > tail.directory) {
            return None;
        }
        parts.push(part);
    }
    from.0.is_empty().then_some(parts)
}

impl Tail {
    /// What stands in the segment at an offset, opened if it is sealed.
    pub(crate) fn open<'a>(
        &self,
        stored: &'a [u8],
        offset: u64,
        vault: &mut Vault,
    ) -> Option<Cow<'a, [u8]>> {
        let Some(seal) = self.seal else { return Some(Cow::Borrowed(stored)) };
        let mut bytes = stored.to_vec();
        let nonce = frames::nonce(self.number, offset);
        let about = self.store.to_le_bytes();
        if !vault.open((Purpose::Segment, seal), nonce, &about, &mut bytes) {
            return None;
        }
        bytes.truncate(bytes.len().checked_sub(TAG_BYTES)?);
        Some(Cow::Owned(bytes))
    }
}

impl Listed {
    fn put(&self, out: &mut Vec<u8>) {
        out.put_u64(self.log);
        out.put_u8(self.options);
        out.put_run(&self.name);
        let ((records, length), (index, bytes, sum)) = (self.records, self.index);
        for word in [self.operations, self.base, self.end, records, length, index, bytes, sum] {
            out.put_u64(word);
        }
        out.put_u32(self.frames.len() as u32);
        for length in &self.frames {
            out.put_u32(*length);
        }
        out.put_u32(self.notes.len() as u32);
        for (key, value) in &self.notes {
            out.put_run(key);
            out.put_run(value);
        }
    }

    fn take(from: &mut Take<'_>) -> Option<Self> {
        let log = from.u64()?;
        let options = from.u8()?;
        let name = from.run()?.into();
        let (operations, base, end) = (from.u64()?, from.u64()?, from.u64()?);
        let records = (from.u64()?, from.u64()?);
        let index = (from.u64()?, from.u64()?, from.u64()?);
        let count = from.u32()? as usize;
        let lengths = from.bytes(count.checked_mul(4)?)?.as_chunks().0;
        let frames: Vec<u32> = lengths.iter().map(|length| u32::from_le_bytes(*length)).collect();
        let bytes: u64 = frames.iter().map(|length| u64::from(*length)).sum();
        if !frames.is_empty() && bytes != records.1 {
            return None;
        }
        let mut notes = Vec::new();
        for _ in 0..from.u32()? {
            notes.push((from.run()?.into(), from.run()?.into()));
        }
        Some(Self { log, options, name, operations, base, end, records, index, frames, notes })
    }

    /// The part's index among the bytes of its segment's end, which begin at `offset`: as it was
    /// written, or nothing.
    pub(crate) fn open_index<'a>(
        &self,
        end: &'a [u8],
        offset: u64,
        tail: &Tail,
        vault: &mut Vault,
    ) -> Option<Cow<'a, [u8]>> {
        let (at, bytes, sum) = self.index;
        let at = at.checked_sub(offset)? as usize;
        let stored = end.get(at..at.checked_add(bytes as usize)?)?;
        if xxh3_64(stored) != sum {
            return None;
        }
        tail.open(stored, self.index.0, vault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::{Encryption, KEY_BYTES};

    fn part(log: u64, compressed: bool) -> Listed {
        Listed {
            log,
            options: LogOptions { compressed }.to_byte(),
            name: b"a name"[..].into(),
            operations: 3,
            base: 5,
            end: 9,
            records: (0, 0),
            index: (0, 0, 0),
            frames: Vec::new(),
            notes: vec![(b"key"[..].into(), b"value"[..].into())],
        }
    }

    fn check(size: usize, compressed: bool, encryption: Option<&Encryption>) {
        let sealer = encryption.map(|encryption| Sealer::new(encryption, Purpose::Segment));
        let sealer = sealer.as_ref();
        let mut vault = Vault::new(encryption);
        let mut image = Image::new(11, 12);
        let records = vec![7; size];
        let (at, frames) = image.add(part(1, compressed), &records, b"index one".to_vec(), sealer);
        let second = image.filled();
        image.add(part(2, false), b"more", b"index two".to_vec(), sealer);
        image.finish(sealer);
        let file: Vec<u8> = image.pieces.iter().flat_map(Blocks::bytes).copied().collect();
        assert_eq!((file.len() as u64, at), (image.bytes, 0));
        let tail = read_tail(&file, image.bytes).expect("the tail is whole");
        assert_eq!((tail.store, tail.number), (11, 12));
        assert_eq!(read_tail(&file, image.bytes + 4096), None);
        let at = tail.directory as usize;
        let directory = &file[at..at + tail.bytes as usize];
        let parts = read_directory(directory, &tail, &mut vault).expect("it is whole");
        assert_eq!(parts.len(), 2);
        assert_eq!(parts[1].records.0, second);
        assert_eq!(parts[1].notes.len(), 1);
        assert_eq!(Frames::of(&parts[0].frames), frames);
        let index = parts[1].open_index(&file, 0, &tail, &mut vault);
        assert_eq!(index.as_deref(), Some(&b"index two"[..]));
        let mut wrong = parts[1].clone();
        wrong.index.2 += 1;
        assert_eq!(wrong.open_index(&file, 0, &tail, &mut vault), None);
        assert_eq!(read_directory(&directory[1..], &tail, &mut vault), None);
        if let Some(frames) = frames {
            let home = Home { store: 11, segment: 12, log: 1 };
            let stored = &file[..frames.bytes() as usize];
            let mut out = vec![0; size];
            frames::unpack(stored, (home, 0), &parts[0].frames, &mut vault, &mut out);
            assert_eq!(out, records);
        }
        if encryption.is_some() {
            assert_eq!(read_directory(directory, &tail, &mut Vault::default()), None);
            assert!(!file.windows(6).any(|window| window == b"a name"));
        }
    }

    #[test]
    fn a_segment_reads_back() {
        let (data_key, salt) = ([1; KEY_BYTES], [2; SALT_BYTES]);
        let encryption = Encryption { data_key, cipher: Cipher::Aes, salt };
        for size in [1, 4000, 2 << 20] {
            check(size, false, None);
            check(size, true, None);
            check(size, false, Some(&encryption));
            check(size, true, Some(&encryption));
        }
    }
}
