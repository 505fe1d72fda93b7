//! Looking at messages in segments: what was read lately stays in memory for a while.

use std::collections::{BTreeMap, HashSet};

use crate::buffer::{BLOCK_BYTES, Blocks};
use crate::disk::{Action, DiskFailure, DiskRequest, File};
use crate::entry::ReadId;
use crate::frames::{self, FRAME_BYTES, Frames, Home};
use crate::log::Whereabouts;
use crate::requests::{Requests, Wants};
use crate::vault::Vault;

/// Bytes of one read where messages are looked at one behind the other.
const AHEAD_BYTES: u64 = 256 * 1024;
/// And where they are not: a message and what is near it.
const NEAR_BYTES: u64 = 16 * 1024;

/// A stretch of a segment in memory, or on its way there.
#[derive(Debug)]
struct Stretch {
    /// Where it ends. Addresses are those of the file, but of parts in frames, which are numbered
    /// as if their records stood far behind any file's end (see [`Site`]).
    end: u64,
    /// When it was last looked at, in looks.
    looked: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Wanted, not asked for yet.
    Wanted(u64, Source),
    /// Asked for.
    Reading(u64, Source),
    Here(Blocks),
    /// The disk would not give it.
    Unreadable,
}

/// Where in the file a stretch comes from.
#[derive(Clone, Debug)]
struct Source {
    offset: u64,
    bytes: u64,
    /// If it stands in frames: whose they are, and the bytes of each.
    frames: Option<(Home, Box<[u32]>)>,
}

/// Where the records of a part are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site<'a> {
    pub(crate) home: Home,
    pub(crate) place: Whereabouts,
    pub(crate) frames: Option<&'a Frames>,
    /// Bytes of its records.
    pub(crate) length: u32,
}

/// Addresses that each part of a segment has for records in frames: more than there can be.
const PART_SPAN: u64 = 1 << 40;

impl Site<'_> {
    /// The address of the first record.
    fn base(&self) -> u64 {
        match self.frames {
            None => self.place.offset,
            Some(_) => (u64::from(self.place.index) + 1) * PART_SPAN,
        }
    }

    /// What is read in one piece.
    fn unit(&self) -> u64 {
        if self.frames.is_some() { FRAME_BYTES as u64 } else { BLOCK_BYTES as u64 }
    }

    /// Where in the file a range of addresses, of whole units, comes from.
    fn source(&self, from: u64, until: u64) -> Source {
        let Some(frames) = self.frames else {
            return Source { offset: from, bytes: until - from, frames: None };
        };
        let place = |address: u64| ((address - self.base()) / FRAME_BYTES as u64) as usize;
        let (first, end) = (place(from), place(until).min(frames.count()));
        let offset = self.place.offset + u64::from(frames.start(first));
        let bytes = u64::from(frames.start(end) - frames.start(first));
        let lengths = frames.lengths().skip(first).take(end - first);
        Source { offset, bytes, frames: Some((self.home, lengths.collect())) }
    }
}

impl Source {
    /// The blocks that hold it, from the one it begins in.
    fn request(&self, segment: u64) -> Action {
        let block = BLOCK_BYTES as u64;
        let offset = self.offset / block * block;
        let count = (self.offset + self.bytes - offset).div_ceil(block) as usize;
        Action::Read { file: File::Segment(segment), offset, blocks: Blocks::new(count) }
    }

    /// The records, out of the blocks that hold them.
    fn unpack(&self, blocks: Blocks, bytes: u64, vault: &mut Vault) -> Blocks {
        let Some((home, lengths)) = &self.frames else { return blocks };
        let skipped = (self.offset % BLOCK_BYTES as u64) as usize;
        let mut out = Blocks::new((bytes as usize).div_ceil(BLOCK_BYTES));
        let stored = &blocks.bytes()[skipped..];
        frames::unpack(stored, (*home, self.offset), lengths, vault, out.bytes_mut());
        out
    }
}

/// What is in memory of segments.
#[derive(Debug)]
pub(crate) struct Cache {
    stretches: BTreeMap<(u64, u64), Stretch>,
    wanted: Vec<(u64, u64)>,
    finished: Vec<ReadId>,
    reading: Vec<(u64, (u64, u64))>,
    bytes: u64,
    bytes_max: u64,
    looks: u64,
    reads: u64,
    /// Where the last look in each of a few segments ended.
    last: (u64, u64),
    /// Messages whose damage was reported: log and sequence.
    pub(crate) reported: HashSet<(u64, u64), ahash::RandomState>,
}

/// What the cache has of a record.
pub(crate) enum Seen {
    /// The stretch that holds it, by its key, and where in it; see [`Cache::bytes`].
    Here((u64, u64), u64, u64),
    Reading(ReadId),
    Unreadable,
}

impl Cache {
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self {
            stretches: BTreeMap::new(),
            wanted: Vec::new(),
            finished: Vec::new(),
            reading: Vec::new(),
            bytes: 0,
            bytes_max,
            looks: 0,
            reads: 0,
            last: (0, 0),
            reported: HashSet::with_hasher(ahash::RandomState::with_seeds(9, 8, 7, 6)),
        }
    }

    /// Looks for bytes of a part's records, and asks for them if they are not there. Nothing
    /// behind the part is read at the same time.
    pub(crate) fn look(&mut self, site: &Site<'_>, (start, end): (u32, u32)) -> Seen {
        assert!(start < end && end <= site.length);
        let (segment, base) = (site.place.segment, site.base());
        let limit = base + u64::from(site.length);
        let (start, end) = (base + u64::from(start), base + u64::from(end));
        self.looks += 1;
        let follows =
            self.last.0 == segment && self.last.1 <= start && start < self.last.1 + NEAR_BYTES;
        self.last = (segment, end);
        let found = self.stretches.range_mut((segment, 0)..=(segment, start)).next_back();
        if let Some((key, stretch)) = found.filter(|(_, stretch)| stretch.end >= end) {
            stretch.looked = self.looks;
            return match &stretch.state {
                State::Wanted(read, _) | State::Reading(read, _) => Seen::Reading(ReadId(*read)),
                State::Here(_) => Seen::Here(*key, start - key.1, end - key.1),
                State::Unreadable => Seen::Unreadable,
            };
        }
        let unit = site.unit();
        let from = start / unit * unit;
        let least = if follows { AHEAD_BYTES } else { NEAR_BYTES };
        let until = (from + least).min(limit).max(end).next_multiple_of(unit);
        self.reads += 1;
        let key = (segment, from);
        let state = State::Wanted(self.reads, site.source(from, until));
        let fresh = Stretch { end: until, looked: self.looks, state };
        self.bytes += until - from;
        if let Some(old) = self.stretches.insert(key, fresh) {
            // A shorter one from the same place.
            self.bytes -= old.end - from;
            if let State::Wanted(read, _) | State::Reading(read, _) = old.state {
                self.finished.push(ReadId(read));
            }
        }
        self.wanted.push(key);
        Seen::Reading(ReadId(self.reads))
    }

    /// Bytes of a stretch that is there.
    pub(crate) fn bytes(&self, key: (u64, u64), start: u64, end: u64) -> &[u8] {
        match &self.stretches[&key].state {
            State::Here(blocks) => &blocks.bytes()[start as usize..end as usize],
            other => panic!("not in memory: {other:?}"),
        }
    }

    pub(crate) fn take_requests(&mut self, requests: &mut Requests<'_>) {
        self.make_room();
        for key in std::mem::take(&mut self.wanted) {
            let Some(stretch) = self.stretches.get_mut(&key) else { continue };
            let State::Wanted(read, source) = &stretch.state else { continue };
            let (read, action) = (*read, source.request(key.0));
            stretch.state = State::Reading(read, source.clone());
            self.reading.push((read, key));
            requests.out.push(DiskRequest { id: Wants::Fetch.id(read), action });
        }
    }

    pub(crate) fn completed(
        &mut self,
        read: u64,
        blocks: Option<Blocks>,
        outcome: Result<(), DiskFailure>,
        vault: &mut Vault,
    ) {
        self.finished.push(ReadId(read));
        let place = self.reading.iter().position(|(other, _)| *other == read);
        let (_, key) = self.reading.swap_remove(place.expect("a read was asked for"));
        let Some(stretch) = self.stretches.get_mut(&key) else { return };
        if let State::Reading(other, source) = &stretch.state
            && *other == read
        {
            stretch.state = match (outcome, blocks) {
                (Ok(()), Some(blocks)) => {
                    State::Here(source.unpack(blocks, stretch.end - key.1, vault))
                }
                _ => State::Unreadable,
            };
        }
    }

    pub(crate) fn take_finished(&mut self, out: &mut Vec<ReadId>) {
        out.append(&mut self.finished);
    }

    /// Lets go of what was looked at least lately, a quarter at a time.
    fn make_room(&mut self) {
        if self.bytes <= self.bytes_max {
            return;
        }
        let is_idle =
            |stretch: &Stretch| matches!(stretch.state, State::Here(_) | State::Unreadable);
        let idle = self.stretches.iter().filter(|(_, stretch)| is_idle(stretch));
        let mut ages: Vec<(u64, (u64, u64))> =
            idle.map(|(key, stretch)| (stretch.looked, *key)).collect();
        ages.sort_unstable();
        for (_, key) in ages {
            if self.bytes <= self.bytes_max / 4 * 3 {
                return;
            }
            let stretch = self.stretches.remove(&key).expect("it was just seen");
            self.bytes -= stretch.end - key.1;
        }
    }

    /// Forgets a segment that is gone or was overwritten.
    pub(crate) fn forget(&mut self, segment: u64) {
        let keys: Vec<(u64, u64)> =
            self.stretches.range((segment, 0)..=(segment, u64::MAX)).map(|(key, _)| *key).collect();
        for key in keys {
            let stretch = self.stretches.remove(&key).expect("it was just seen");
            self.bytes -= stretch.end - key.1;
            if let State::Wanted(read, _) | State::Reading(read, _) = stretch.state {
                self.finished.push(ReadId(read));
            }
        }
    }
}
