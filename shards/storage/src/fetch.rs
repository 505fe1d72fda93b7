//! Looking at messages in segments: what was read lately stays in memory for a while.

use std::collections::{BTreeMap, HashSet};

use crate::buffer::{BLOCK_BYTES, Blocks};
use crate::disk::{Action, DiskFailure, DiskRequest, File};
use crate::entry::ReadId;
use crate::requests::{Requests, Wants};

/// Bytes of one read where messages are looked at one behind the other.
const AHEAD_BYTES: u64 = 256 * 1024;
/// And where they are not: a message and what is near it.
const NEAR_BYTES: u64 = 16 * 1024;

/// A stretch of a segment in memory, or on its way there.
#[derive(Debug)]
struct Stretch {
    end: u64,
    /// When it was last looked at, in looks.
    looked: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Wanted, not asked for yet.
    Wanted(u64),
    /// Asked for.
    Reading(u64),
    Here(Blocks),
    /// The disk would not give it.
    Unreadable,
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
    /// The stretch that holds it, by its key; see [`Cache::bytes`].
    Here((u64, u64)),
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

    /// Looks for bytes of a segment, and asks for them if they are not there. No more than to
    /// `limit` is read at the same time.
    pub(crate) fn look(&mut self, segment: u64, start: u64, end: u64, limit: u64) -> Seen {
        assert!(start < end && end <= limit);
        self.looks += 1;
        let follows =
            self.last.0 == segment && self.last.1 <= start && start < self.last.1 + NEAR_BYTES;
        self.last = (segment, end);
        let found = self.stretches.range_mut((segment, 0)..=(segment, start)).next_back();
        if let Some((key, stretch)) = found.filter(|(_, stretch)| stretch.end >= end) {
            stretch.looked = self.looks;
            return match &stretch.state {
                State::Wanted(read) | State::Reading(read) => Seen::Reading(ReadId(*read)),
                State::Here(_) => Seen::Here(*key),
                State::Unreadable => Seen::Unreadable,
            };
        }
        let block = BLOCK_BYTES as u64;
        let from = start / block * block;
        let least = if follows { AHEAD_BYTES } else { NEAR_BYTES };
        let until = (from + least).min(limit).max(end).next_multiple_of(block);
        self.reads += 1;
        let key = (segment, from);
        let state = State::Wanted(self.reads);
        let fresh = Stretch { end: until, looked: self.looks, state };
        self.bytes += until - from;
        if let Some(old) = self.stretches.insert(key, fresh) {
            // A shorter one from the same place.
            self.bytes -= old.end - from;
            if let State::Wanted(read) | State::Reading(read) = old.state {
                self.finished.push(ReadId(read));
            }
        }
        self.wanted.push(key);
        Seen::Reading(ReadId(self.reads))
    }

    /// Bytes of a stretch that is there.
    pub(crate) fn bytes(&self, key: (u64, u64), start: u64, end: u64) -> &[u8] {
        match &self.stretches[&key].state {
            State::Here(blocks) => {
                &blocks.bytes()[(start - key.1) as usize..(end - key.1) as usize]
            }
            other => panic!("not in memory: {other:?}"),
        }
    }

    pub(crate) fn take_requests(&mut self, requests: &mut Requests<'_>) {
        self.make_room();
        for key in std::mem::take(&mut self.wanted) {
            let Some(stretch) = self.stretches.get_mut(&key) else { continue };
            let State::Wanted(read) = stretch.state else { continue };
            stretch.state = State::Reading(read);
            let count = (stretch.end - key.1) as usize / BLOCK_BYTES;
            self.reading.push((read, key));
            requests.out.push(DiskRequest {
                id: Wants::Fetch.id(read),
                action: Action::Read {
                    file: File::Segment(key.0),
                    offset: key.1,
                    blocks: Blocks::new(count),
                },
            });
        }
    }

    pub(crate) fn completed(
        &mut self,
        read: u64,
        blocks: Option<Blocks>,
        outcome: Result<(), DiskFailure>,
    ) {
        self.finished.push(ReadId(read));
        let place = self.reading.iter().position(|(other, _)| *other == read);
        let (_, key) = self.reading.swap_remove(place.expect("a read was asked for"));
        let Some(stretch) = self.stretches.get_mut(&key) else { return };
        if matches!(stretch.state, State::Reading(other) if other == read) {
            stretch.state = match (outcome, blocks) {
                (Ok(()), Some(blocks)) => State::Here(blocks),
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
            if let State::Wanted(read) | State::Reading(read) = stretch.state {
                self.finished.push(ReadId(read));
            }
        }
    }
}
