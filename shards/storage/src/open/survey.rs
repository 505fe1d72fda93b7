//! Segments that the journal does not speak of: whose they are, and the logs that are put together
//! from them where the journal, or what it said of a log, is gone.

use std::collections::{BTreeMap, HashSet};

use super::{End, Opening, Reading, Sketch};
use crate::buffer::{BLOCK_BYTES, Blocks};
use crate::damage::What;
use crate::journal::operation::PartRef;
use crate::segment_file::{self, Listed, Tail};
use crate::snapshot;
use crate::store::{LogOptions, Refusal};

/// A segment's tail and directory.
#[derive(Debug)]
pub(super) struct Surveyed {
    segment: u64,
    store: u64,
    listed: Vec<Listed>,
}

/// What the bytes at the end of a segment's file are.
pub(super) enum Seen {
    /// The whole of its end.
    End(End),
    /// More of it is to be read: so many bytes.
    More(u64),
    /// The end of another segment, which is whole.
    Other(Tail),
    /// Sealed, and there is no key that opens it.
    Locked,
    /// Nothing that is whole.
    Nothing,
}

impl Opening {
    /// Lists the segments that nothing refers to.
    pub(super) fn begin_survey(&mut self) {
        let referred: HashSet<u64> = self
            .sketches
            .values()
            .flat_map(|sketch| &sketch.parts)
            .map(|part| part.segment)
            .collect();
        let is_unknown =
            |segment: &&u64| !referred.contains(segment) && !self.dropped.contains(segment);
        let mut unknown: Vec<u64> = self.sizes.keys().filter(is_unknown).copied().collect();
        unknown.sort_unstable();
        self.surveys.extend(unknown);
    }

    /// Lists every segment that was not looked at, since one stands where another should.
    pub(super) fn survey_all(&mut self) {
        if std::mem::replace(&mut self.surveys_all, true) {
            return;
        }
        let mut all: Vec<u64> = self.sizes.keys().copied().collect();
        all.sort_unstable();
        self.surveys.extend(all);
    }

    /// Asks for the end of the next segment that is listed. False if there is none.
    pub(super) fn next_survey(&mut self) -> bool {
        while let Some(segment) = self.surveys.pop_front() {
            if self.sizes[&segment] >= BLOCK_BYTES as u64 {
                let offset = self.read_end(segment, super::END_BLOCKS * BLOCK_BYTES as u64);
                self.reading = Some(Reading::Survey(segment, offset));
                return true;
            }
        }
        false
    }

    /// Takes the end of a segment that was listed.
    pub(super) fn take_survey(&mut self, (segment, offset): (u64, u64), blocks: Option<Blocks>) {
        let Some(blocks) = blocks else { return };
        let is_planned = self.is_planned;
        match self.look_at_end((segment, offset), blocks, false) {
            Seen::More(bytes) => {
                let offset = self.read_end(segment, bytes);
                self.reading = Some(Reading::Survey(segment, offset));
            }
            Seen::End(end) if !is_planned => {
                let (store, listed) = (end.tail.store, end.listed);
                self.surveyed.push(Surveyed { segment, store, listed });
            }
            Seen::Other(tail) => {
                self.misnamed.insert(tail.number, segment);
            }
            Seen::Locked => self.locked_segments += 1,
            Seen::End(_) | Seen::Nothing => {}
        }
    }

    /// Says what stands at the end of a segment's file, from `offset` on. Where `indexes` are
    /// wanted, they have to be there as well.
    pub(super) fn look_at_end(
        &mut self,
        (segment, offset): (u64, u64),
        blocks: Blocks,
        indexes: bool,
    ) -> Seen {
        let size = self.sizes[&segment];
        let Some(tail) = segment_file::read_tail(blocks.bytes(), size) else {
            return Seen::Nothing;
        };
        if self.replay.store.is_some_and(|store| store != tail.store) {
            return Seen::Nothing;
        }
        if tail.number != segment {
            return Seen::Other(tail);
        }
        if tail.directory < offset {
            return Seen::More(size - tail.directory);
        }
        let at = (tail.directory - offset) as usize;
        let directory = &blocks.bytes()[at..at + tail.bytes as usize];
        let listed = segment_file::read_directory(directory, &tail, &mut self.vault);
        let Some(listed) = listed else {
            return if tail.seal.is_some() { Seen::Locked } else { Seen::Nothing };
        };
        let first = listed.iter().map(|part| part.index.0).min().unwrap_or(offset);
        if indexes && first < offset {
            return Seen::More(size - first);
        }
        Seen::End(End { offset, blocks, tail, listed, wanted: 0 })
    }

    /// Segments are there, none of them can be read for want of a key, and there is no journal.
    pub(super) fn refusal(&self, has_key: bool) -> Option<Refusal> {
        let journal = self.replay.locked > 0 && self.replay.opened == 0;
        let segments =
            self.replay.store.is_none() && self.surveyed.is_empty() && self.locked_segments > 0;
        let refusal = if has_key { Refusal::WrongKey } else { Refusal::NoKey };
        (journal || segments).then_some(refusal)
    }

    /// Puts logs together that the journal has never heard of, out of the segments that nothing
    /// refers to.
    pub(super) fn adopt(&mut self) {
        if self.replay.store.is_none() && !self.surveyed.is_empty() {
            self.replay.store = self.most_frequent_store();
            self.report(None, What::Journal, String::from("journal"), None);
        }
        let mut logs: BTreeMap<u64, Vec<(u64, u32, Listed)>> = BTreeMap::new();
        self.surveyed.sort_by_key(|surveyed| surveyed.segment);
        for surveyed in std::mem::take(&mut self.surveyed) {
            if Some(surveyed.store) != self.replay.store {
                continue;
            }
            for (index, listed) in (0..).zip(surveyed.listed) {
                if !self.heard.contains(&listed.log) {
                    logs.entry(listed.log).or_default().push((surveyed.segment, index, listed));
                }
            }
        }
        for (uid, parts) in logs {
            self.sketches.entry(uid).or_default().complete(&parts);
        }
        self.settle_names();
        self.salvage();
    }

    /// Lets go of logs of which nobody knows what they are called. Of two of a name the later one
    /// is what there was.
    fn settle_names(&mut self) {
        let is_heard = |uid: &u64| self.heard.contains(uid);
        let heard = self.sketches.iter().filter(|(uid, _)| is_heard(uid));
        let mut names: HashSet<Box<[u8]>> = heard.filter_map(|(_, sketch)| sketch.name()).collect();
        let unheard: Vec<u64> =
            self.sketches.keys().rev().filter(|uid| !is_heard(uid)).copied().collect();
        for uid in unheard {
            let name = self.sketches[&uid].name().filter(|name| names.insert(name.clone()));
            let what = if name.is_some() { What::Rebuilt } else { What::Operations };
            self.report(name.as_deref(), what, String::from("journal"), None);
            if name.is_some() {
                self.adopted.insert(uid);
            } else {
                self.sketches.remove(&uid);
            }
        }
    }

    fn most_frequent_store(&self) -> Option<u64> {
        let mut votes: BTreeMap<u64, usize> = BTreeMap::new();
        for surveyed in &self.surveyed {
            *votes.entry(surveyed.store).or_default() += 1;
        }
        votes.into_iter().max_by_key(|(_, count)| *count).map(|(store, _)| store)
    }
}

impl Sketch {
    fn name(&self) -> Option<Box<[u8]>> {
        Some(snapshot::read(&self.snapshot)?.name.into())
    }

    /// Of a log that is known by its parts. Where one covers what others do, they were brought
    /// together in it.
    fn complete(&mut self, parts: &[(u64, u32, Listed)]) {
        let newest = parts.iter().max_by_key(|(_, _, listed)| listed.operations);
        let (_, _, newest) = newest.expect("a log is listed with a part");
        if self.snapshot.is_empty() {
            let options = LogOptions::of_byte(newest.options);
            snapshot::put_name(&mut self.snapshot, options, &newest.name, &newest.notes);
        }
        self.operations = self.operations.max(newest.operations);
        let chosen = &mut self.parts;
        // What was there before a reset is gone.
        let left = self.reset.map_or(0, |(_, last)| last);
        let parts = parts.iter().filter(|(_, _, listed)| listed.base > left);
        for (segment, index, listed) in parts {
            let (base, end) = (listed.base, listed.end);
            let part = PartRef { segment: *segment, index: *index, base, end, live: None };
            chosen.retain(|old| !(old.base >= base && old.end <= end));
            let place = chosen.partition_point(|old| old.base < base);
            let follows = place.checked_sub(1).is_none_or(|before| chosen[before].end <= base);
            if follows && chosen.get(place).is_none_or(|after| end <= after.base) {
                chosen.insert(place, part);
            }
        }
    }
}
