//! The index of one log: what there is, without the messages themselves.

mod data;
pub(crate) mod footer;
mod scan;
pub(crate) mod segment;

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;

use ahash::RandomState;
use base::Wall;
use base::limits::PART_BYTES;

use crate::entry::{Entry, HEAD_BYTES, SIZES_BYTES_MAX, put_record, read_record, record_bytes};
use crate::keys::{KeyId, Keys};
use crate::store::{Failure, Kind, LogOptions};
pub(crate) use data::{Data, Part, Whereabouts};
use segment::Place;

/// One log: a stream's messages in order of sequence, with gaps.
#[derive(Debug)]
pub struct Log {
    name: Box<[u8]>,
    kind: Kind,
    options: LogOptions,
    first: u64,
    last: u64,
    messages: u64,
    bytes: u64,
    first_wall: Wall,
    last_wall: Wall,
    keys: Keys,
    pub(crate) parts: VecDeque<Part>,
    next_part: u64,
    /// Is there a part in a segment that is mostly gaps, or many small ones?
    pub(crate) sparse: bool,
    /// Bytes of records after which a log in files begins another part.
    pub(crate) part_bytes: u32,
    /// Segments that a part of this log stood in, once for each part that is gone.
    pub(crate) left: Vec<u64>,
    /// Its number in the journal: never that of another log. None in memory.
    pub(crate) uid: u64,
    /// The number of its last operation in the journal.
    pub(crate) operations: u64,
    /// The block of the journal that its last snapshot begins in.
    pub(crate) snapshot: u64,
    /// Where its first snapshot of this opening ends in the journal: zero if it was there before.
    pub(crate) known: u64,
    pub(crate) notes: BTreeMap<Box<[u8]>, Box<[u8]>>,
    /// Where messages were lost or are damaged, and whether those are damaged that are there.
    lost: Vec<(RangeInclusive<u64>, bool)>,
}

/// Bytes of records after which a log in memory begins another part: small enough that a part whose
/// messages are mostly gone is rebuilt in a moment.
const MEMORY_PART_BYTES: u32 = 1 << 20;

/// Lost messages that are remembered.
const LOST_MAX: usize = 4096;

/// A part that will be compressed is so much smaller: a megabyte is compressed in a few
/// milliseconds, in which its core does nothing else.
const COMPRESSED_SHARE: u32 = 4;

/// What a message counts for in the reference: `memStoreMsgSize` and `fileStoreMsgSize`.
pub fn counted_bytes(kind: Kind, entry: &Entry<'_>) -> u64 {
    let content = (entry.subject.len() + entry.size()) as u64;
    match kind {
        Kind::Memory => content + 16,
        Kind::File if entry.header > 0 => content + 34,
        Kind::File => content + 30,
    }
}

// A record is never shorter than what it counts for, and not by more than a byte can tell.
const _: () = assert!(HEAD_BYTES + 2 >= 34);
const _: () = assert!(HEAD_BYTES + 2 + SIZES_BYTES_MAX - 16 <= u8::MAX as usize);

impl Log {
    pub(crate) fn new(name: &[u8], kind: Kind, options: LogOptions, hasher: RandomState) -> Self {
        Self {
            name: name.into(),
            kind,
            options,
            first: 0,
            last: 0,
            messages: 0,
            bytes: 0,
            first_wall: Wall(0),
            last_wall: Wall(0),
            keys: Keys::new(hasher),
            parts: VecDeque::new(),
            next_part: 0,
            sparse: false,
            part_bytes: PART_BYTES,
            left: Vec::new(),
            uid: 0,
            operations: 0,
            snapshot: 0,
            known: 0,
            notes: BTreeMap::new(),
            lost: Vec::new(),
        }
    }

    /// The name it was created with.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Where its messages are kept.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// How it is kept.
    pub fn options(&self) -> LogOptions {
        self.options
    }

    pub(crate) fn set_options(&mut self, options: LogOptions) {
        self.options = options;
    }

    /// The first message's sequence; one more than the last when there are no messages, and zero
    /// while there never was anything.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// The highest sequence that was ever used.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Messages.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// What the messages count for ([`counted_bytes`]).
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// When the first message was stored, exactly as long as it is in memory; zero without one.
    pub fn first_wall(&self) -> Wall {
        if self.messages == 0 { Wall(0) } else { self.first_wall }
    }

    /// When the last message was stored, even if it is gone; zero without one.
    pub fn last_wall(&self) -> Wall {
        self.last_wall
    }

    /// Remembers that messages of a range are lost, or, if `are_there`, that they are damaged.
    pub(crate) fn note_lost(&mut self, range: RangeInclusive<u64>, are_there: bool) {
        if self.lost.len() < LOST_MAX {
            self.lost.push((range, are_there));
        }
    }

    /// Sequences of messages that are known to be lost or damaged, from the first message on: the
    /// first few thousand.
    pub fn lost(&self) -> impl Iterator<Item = u64> {
        let ranges = self.lost.iter();
        let sequences = ranges.flat_map(|(range, are_there)| {
            let range = *range.start().max(&self.first)..=*range.end().min(&self.last);
            range.map(move |sequence| (sequence, *are_there))
        });
        let is_lost = |(sequence, are_there): &(u64, bool)| self.contains(*sequence) == *are_there;
        sequences.filter(is_lost).map(|(sequence, _)| sequence).take(LOST_MAX)
    }

    /// The keys of the messages.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Bytes of memory that the index takes, about; without the messages.
    pub fn index_bytes(&self) -> usize {
        let parts = self.parts.iter().map(|part| part.segment.memory_bytes());
        parts.sum::<usize>() + self.keys.memory_bytes()
    }

    fn place(&self, sequence: u64) -> Option<(usize, Place)> {
        let number = self.part_from(sequence);
        let place = self.parts.get(number)?.segment.find(sequence)?;
        Some((number, place))
    }

    /// The first part that ends after a sequence.
    fn part_from(&self, sequence: u64) -> usize {
        // The last is asked for most.
        match self.parts.back() {
            Some(last) if last.segment.base <= sequence => {
                self.parts.len() - usize::from(sequence < last.segment.end)
            }
            _ => self.parts.partition_point(|part| part.segment.end <= sequence),
        }
    }

    /// Is there such a message?
    pub fn contains(&self, sequence: u64) -> bool {
        self.place(sequence).is_some()
    }

    /// The key of a message.
    pub fn key_of(&self, sequence: u64) -> Option<KeyId> {
        let (part, place) = self.place(sequence)?;
        Some(KeyId(self.parts[part].segment.keys[place]))
    }

    /// When a message was stored: never late, and early by under a thousandth of a second within a
    /// month of messages.
    pub fn time_of(&self, sequence: u64) -> Option<Wall> {
        let (part, place) = self.place(sequence)?;
        Some(self.parts[part].segment.times.get(place))
    }

    /// What a message counts for.
    pub fn size_of(&self, sequence: u64) -> Option<u64> {
        let (part, place) = self.place(sequence)?;
        Some(self.parts[part].segment.size(place))
    }

    pub(crate) fn locate(&self, sequence: u64) -> Option<(usize, u32, u32)> {
        let (part, place) = self.place(sequence)?;
        let (start, end) = self.parts[part].segment.extent(place);
        Some((part, start, end))
    }

    /// Can this message be appended?
    pub(crate) fn admits(&self, entry: &Entry<'_>) -> Result<(), Failure> {
        if entry.sequence <= self.last {
            return Err(Failure::OutOfOrder);
        }
        if entry.is_sound() { Ok(()) } else { Err(Failure::TooLarge) }
    }

    /// Appends a message that [`Self::admits`] has let in.
    #[inline]
    pub(crate) fn append(&mut self, entry: &Entry<'_>) -> Result<(), Failure> {
        let key = self.keys.add(entry.subject, entry.sequence).ok_or(Failure::TooManyKeys)?;
        let bytes = record_bytes(entry);
        let size = counted_bytes(self.kind, entry);
        let open = match self.parts.back() {
            Some(part) if self.takes_more(part, entry.sequence, bytes) => self.parts.len() - 1,
            _ => self.begin_part(entry.sequence),
        };
        let part = &mut self.parts[open];
        part.segment.push(entry.sequence, entry.wall, key, bytes, size);
        put_record(part.data.records_mut(), entry, self.uid);
        if self.messages == 0 {
            self.first = entry.sequence;
            self.first_wall = entry.wall;
        }
        self.last = entry.sequence;
        self.last_wall = entry.wall;
        self.messages += 1;
        self.bytes += size;
        Ok(())
    }

    /// Takes up records that were found one by one, as a part of its own behind those that were
    /// taken up before. False if it does not follow them, or nothing is in it.
    pub(crate) fn take_found<'a>(
        &mut self,
        (base, end): (u64, u64),
        records: impl Iterator<Item = &'a [u8]>,
        origin: u64,
    ) -> bool {
        if base <= self.last && self.last > 0 {
            return false;
        }
        let open = self.begin_part(base);
        for record in records {
            let (entry, bytes) = read_record(record).expect("it was looked at before");
            let size = counted_bytes(self.kind, &entry);
            let part = &mut self.parts[open];
            let fits = entry.sequence >= part.segment.end && entry.sequence < end;
            if !fits || !part.segment.has_room(entry.sequence, bytes) {
                continue;
            }
            let Some(key) = self.keys.add(entry.subject, entry.sequence) else { continue };
            part.segment.push(entry.sequence, entry.wall, key, bytes, size);
            part.data.records_mut().extend_from_slice(record);
            if self.messages == 0 {
                self.first = entry.sequence;
                self.first_wall = entry.wall;
            }
            self.last_wall = entry.wall;
            self.messages += 1;
            self.bytes += size;
        }
        let part = &mut self.parts[open];
        if part.segment.living() == 0 {
            self.parts.pop_back();
            return false;
        }
        part.segment.end = end;
        part.data.close();
        part.origin = Some(origin);
        self.last = end - 1;
        true
    }

    fn takes_more(&self, part: &Part, sequence: u64, bytes: usize) -> bool {
        let most = match self.kind {
            Kind::Memory => MEMORY_PART_BYTES,
            // What takes longer to write is written in smaller pieces.
            Kind::File if self.options.compressed => self.part_bytes / COMPRESSED_SHARE,
            Kind::File => self.part_bytes,
        };
        let is_full = part.segment.length >= most;
        part.data.is_open() && !is_full && part.segment.has_room(sequence, bytes)
    }

    #[cold]
    fn begin_part(&mut self, sequence: u64) -> usize {
        if let Some(last) = self.parts.back_mut() {
            last.segment.shrink();
            last.data.close();
        }
        let number = self.next_part();
        self.parts.push_back(Part::new(number, sequence));
        self.parts.len() - 1
    }

    pub(crate) fn next_part(&mut self) -> u64 {
        self.next_part += 1;
        self.next_part - 1
    }

    /// How many parts were begun so far: one more means that the one in front was closed.
    pub(crate) fn parts_begun(&self) -> u64 {
        self.next_part
    }

    /// Raises the sequences of a log that was found to what they are known to have been.
    pub(crate) fn settle_sequences(&mut self, first: u64, last: u64, last_wall: Wall) {
        if last >= self.last {
            self.last = last;
            self.last_wall = last_wall;
        }
        if self.messages == 0 && self.last == 0 {
            self.first = first;
        }
        self.settle_first();
    }

    /// An empty log begins behind its last.
    pub(crate) fn settle_first(&mut self) {
        if self.messages == 0 && self.last > 0 {
            self.first = self.last + 1;
        }
    }

    pub(crate) fn put_note(&mut self, key: &[u8], value: &[u8]) {
        if value.is_empty() {
            self.notes.remove(key);
        } else if let Some(place) = self.notes.get_mut(key)
            && place.len() == value.len()
        {
            place.copy_from_slice(value);
        } else {
            self.notes.insert(key.into(), value.into());
        }
    }

    /// The record of the last message, right after it was appended.
    pub(crate) fn last_record(&self) -> &[u8] {
        let part = self.parts.back().expect("a message was just appended");
        let extent = part.segment.extent(part.segment.len() - 1);
        part.data.read(extent).expect("it is in memory")
    }

    /// Takes a message away. False if there is none.
    pub(crate) fn remove(&mut self, sequence: u64) -> bool {
        let Some((number, place)) = self.place(sequence) else { return false };
        self.kill(number, place);
        if sequence == self.first || self.messages == 0 {
            self.find_first();
        }
        self.tidy_part(number);
        true
    }

    fn kill(&mut self, number: usize, place: Place) {
        let segment = &mut self.parts[number].segment;
        self.messages -= 1;
        self.bytes -= segment.size(place);
        let (key, sequence) = (KeyId(segment.keys[place]), segment.sequence(place));
        segment.kill(place);
        self.keys.take(key, sequence);
        let part = &self.parts[number];
        self.sparse |= part.data.place().is_some() && part.is_hollow();
    }

    /// The first message after the one that was first is gone.
    fn find_first(&mut self) {
        if self.messages == 0 {
            self.first = self.last + 1;
            self.first_wall = Wall(0);
            return;
        }
        for part in &self.parts {
            let segment = &part.segment;
            let Some(place) = segment.next_live(0) else { continue };
            self.first = segment.sequence(place);
            let record = part.data.read(segment.extent(place));
            let exact = record.and_then(read_record).map(|(entry, _)| entry.wall);
            self.first_wall = exact.unwrap_or_else(|| segment.times.get(place));
            return;
        }
        unreachable!("a log with messages has a live place");
    }

    /// Lets go of a part without messages.
    fn let_go(&mut self, number: usize) {
        let part = self.parts.remove(number).expect("the part exists");
        assert_eq!(part.segment.living(), 0);
        self.left.extend(part.needs());
    }

    /// Lets go of a part without messages, and rebuilds one in memory that is mostly gaps.
    fn tidy_part(&mut self, number: usize) {
        let Some(part) = self.parts.get_mut(number) else { return };
        if part.segment.living() == 0 {
            self.let_go(number);
            return;
        }
        if !part.data.is_free() {
            return;
        }
        let wasted = u64::from(part.segment.length) - part.segment.live_bytes;
        if wasted > u64::from(MEMORY_PART_BYTES) / 4 && wasted > part.segment.live_bytes {
            part.rebuild();
        }
    }

    /// Takes everything in front of a sequence away. One beyond the last raises the last.
    pub(crate) fn truncate_before(&mut self, sequence: u64) {
        while let Some(part) = self.parts.front() {
            if part.segment.base >= sequence {
                break;
            }
            let until = part.segment.place_from(sequence);
            let mut place = part.segment.next_live(0);
            while let Some(dead) = place.filter(|&dead| dead < until) {
                self.kill(0, dead);
                place = self.parts[0].segment.next_live(dead + 1);
            }
            if self.parts[0].segment.end > sequence {
                break;
            }
            self.let_go(0);
        }
        if sequence > self.last {
            self.last = sequence - 1;
        }
        if sequence > self.first {
            self.find_first();
            if self.messages == 0 {
                self.first = self.last + 1;
            }
        }
        self.tidy_part(0);
    }

    /// Forgets every message and goes on after `last`.
    pub(crate) fn reset_to(&mut self, first: u64, last: u64) {
        let parts = self.parts.drain(..);
        self.left.extend(parts.filter_map(|part| part.needs()));
        self.keys.clear();
        self.messages = 0;
        self.bytes = 0;
        (self.first, self.last) = (first, last);
        self.first_wall = Wall(0);
    }
}
