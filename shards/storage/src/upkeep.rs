//! What a store does besides what it is told: it seals parts into segments, makes files of the
//! journal free, deletes what nobody needs, and takes what came of its requests.

use base::limits::JOURNAL_FILES_HELD;
use base::{Slab, Time};

use crate::damage::{Damage, What};
use crate::disk::{Action, DiskCompletion, DiskFailure, DiskRequest, File};
use crate::entry::{Fetched, read_checked_record};
use crate::fetch::{Seen, Site};
use crate::files::{Files, Recycle};
use crate::frames::{Frames, Home};
use crate::journal::FULL_RETRY;
use crate::journal::operation::Operation;
use crate::log::{Data, Log, Part, Whereabouts, footer};
use crate::requests::{Requests, Wants};
use crate::seal::{Build, Queue, Sealing, Step};
use crate::segment_file::{Image, Listed};
use crate::snapshot::{self, Note};
use crate::store::{Kind, LogId, Store};
use crate::vault::Sealer;

/// Bytes of snapshots that are put into the journal in one turn.
const SNAPSHOT_BYTES: u64 = 1 << 20;
/// Bytes of a log's notes that are written beside each part of it.
const NOTES_BYTES: usize = 64 * 1024;

impl Queue {
    /// When something is begun although nothing came back from the disk.
    pub(crate) fn due(&self, now: Time) -> Time {
        let waits = !self.parts.is_empty() && self.not_before > now;
        if waits { self.not_before } else { Time::NEVER }
    }
}

impl Files {
    /// Puts all there is to know of a log into the journal.
    pub(crate) fn snapshot(&mut self, log: &mut Log) {
        log.snapshot = self.journal.block();
        let mut bytes = Vec::new();
        snapshot::put(&mut bytes, log);
        self.enter(log, &Operation::Snapshot(&bytes));
        self.unnamed.push_back(log.uid);
    }

    /// Lists the part that another was begun behind.
    pub(crate) fn seal_closed(&mut self, id: LogId, log: &Log) {
        let place = log.parts.len().checked_sub(2);
        let part = place.map(|place| &log.parts[place]);
        if let Some(part) = part.filter(|part| matches!(part.data, Data::Closed(_))) {
            self.queue.parts.push_back((id, log.uid, part.number));
        }
    }

    /// Lists everything of a log that stands in no segment yet.
    fn seal_all(&mut self, id: LogId, log: &mut Log, listed: &mut Vec<(LogId, u64, u64)>) {
        for part in log.parts.iter_mut().filter(|part| part.data.is_free()) {
            part.data.close();
            let entry = (id, log.uid, part.number);
            if !self.queue.parts.contains(&entry) {
                self.queue.parts.push_back(entry);
            }
            listed.push(entry);
        }
    }

    /// Looks at a message of a part that stands in a segment.
    pub(crate) fn fetch(
        &mut self,
        log: &Log,
        (part, place): (&Part, Whereabouts),
        extent: (u32, u32),
        sequence: u64,
    ) -> Fetched<'_> {
        let home = Home { store: self.store, segment: place.segment, log: log.uid };
        let (frames, length) = (part.frames.as_ref(), part.segment.length);
        match self.cache.look(&Site { home, place, frames, length }, extent) {
            Seen::Reading(read) => return Fetched::Reading(read),
            Seen::Here(key, start, end) => {
                let record = read_checked_record(self.cache.bytes(key, start, end), log.uid);
                if record.is_some_and(|(entry, _)| entry.sequence == sequence) {
                    // Looked up again, since what is lent must not be lent while this reports.
                    let bytes = self.cache.bytes(key, start, end);
                    let record =
                        read_checked_record(bytes, log.uid).expect("it was whole just now");
                    return Fetched::Here(record.0);
                }
            }
            Seen::Unreadable => {}
        }
        if self.cache.reported.insert((log.uid, sequence)) {
            self.damage.push(Damage {
                log: Some(log.name().into()),
                what: What::Message,
                file: File::Segment(place.segment).to_string(),
                sequences: Some(sequence..=sequence),
            });
        }
        Fetched::Damaged
    }

    /// Something could not be written.
    fn failed(&mut self, failure: DiskFailure) {
        match failure {
            // Whoever made the request asks again.
            DiskFailure::Full => {}
            DiskFailure::Absent | DiskFailure::Failed => self.fenced = true,
        }
    }
}

impl Store {
    /// Says once more, in a block of its own, what logs are called whose snapshot stands in the
    /// journal only once: where that is damaged they are known nevertheless.
    pub(crate) fn name_again(&mut self) {
        let Some(files) = &mut self.files else { return };
        let begun = files.journal.ordered();
        let mut logs: std::collections::HashMap<u64, u32, ahash::RandomState> = self
            .logs
            .places()
            .filter_map(|(place, log)| Some((log.as_deref()?.uid, place)))
            .collect();
        while files.journal.ordered() - begun < SNAPSHOT_BYTES
            && let Some(uid) = files.unnamed.pop_front()
        {
            // One that has two snapshots waits twice, and is named once.
            let Some(place) = logs.remove(&uid) else { continue };
            let Some(log) = self.logs.get_mut(place).as_deref_mut() else { continue };
            let mut bytes = Vec::new();
            snapshot::put_name(&mut bytes, log.options(), log.name(), &notes_of(log));
            files.enter(log, &Operation::Named(&bytes));
        }
    }

    /// Does what is to be done, and appends what the disk is to do.
    pub(crate) fn keep_up(&mut self, out: &mut Vec<DiskRequest>) {
        self.recycle();
        self.begin_build();
        self.begin_compaction();
        let Some(files) = &mut self.files else { return };
        let mut last = files.requests;
        out.append(&mut files.again);
        let requests = &mut Requests { out, last: &mut last };
        files.cache.take_requests(requests);
        if !files.fenced {
            if let Some(build) = &mut files.build {
                build.take_requests(requests);
            }
            files.compaction.take_requests(files.journal.synced(), requests);
            files.drop_segments(requests);
            let numbers = (files.next_log, files.next_segment);
            files.journal.take_requests(files.now, numbers, requests);
        }
        files.requests = last;
    }

    /// Takes the outcome of a request.
    pub(crate) fn take_outcome(&mut self, completion: DiskCompletion) {
        let files = self.files.as_mut().expect("requests were made");
        let (wants, number) = Wants::of(completion.id);
        let outcome = completion.outcome.map(drop);
        let settled = match wants {
            Wants::Nobody => Ok(()),
            Wants::Journal => {
                let settled = files.journal.completed(number, completion.blocks, outcome);
                if settled == Err(DiskFailure::Full) {
                    files.journal.wait_for_room(files.now);
                }
                settled
            }
            Wants::Slot => files.journal.slots.completed(files.now, outcome),
            Wants::Seal => self.sealed(outcome),
            Wants::Fetch => {
                files.cache.completed(number, completion.blocks, outcome, &mut files.vault);
                return;
            }
            Wants::Compact => {
                let again = self.compacted(number, completion.blocks, outcome);
                let files = self.files.as_mut().expect("requests were made");
                files.again.extend(again);
                return;
            }
            Wants::Open => unreachable!("the store is open"),
        };
        if let Err(failure) = settled {
            self.files.as_mut().expect("requests were made").failed(failure);
        }
    }

    /// Makes the oldest file of the journal free, step by step.
    fn recycle(&mut self) {
        let Some(files) = self.files.as_mut().filter(|files| !files.fenced) else { return };
        let Some(recycle) = &mut files.recycle else {
            // Where there is no room for another file, the oldest of two has to do.
            let held = if files.journal.is_full() { 2 } else { JOURNAL_FILES_HELD };
            if let Some(used) = files.journal.slots.oldest_of(held) {
                self.begin_recycle(used.end());
            }
            return;
        };
        if let Some(written) = recycle.written {
            if files.journal.synced() > written {
                files.journal.release(recycle.end);
                files.recycle = None;
            } else {
                files.journal.want_sync();
                files.journal.want_block();
            }
            return;
        }
        if !recycle.awaited.is_empty() {
            // Looked at between two segments, since nothing changes in the middle of one.
            if files.build.is_some() {
                return;
            }
            let logs = &mut self.logs;
            recycle.awaited.retain(|(id, uid, part)| {
                let Some(log) = find(logs, *id, *uid) else { return false };
                let part = log.parts.iter().find(|other| other.number == *part);
                part.is_some_and(|part| part.data.place().is_none())
            });
            if !recycle.awaited.is_empty() {
                return;
            }
        }
        let end = recycle.end;
        let begun = files.journal.ordered();
        while files.journal.ordered() - begun < SNAPSHOT_BYTES {
            let Some(recycle) = &mut files.recycle else { return };
            let Some((id, uid)) = recycle.logs.pop_front() else {
                recycle.written = Some(files.journal.block());
                return;
            };
            if let Some(log) = find(&mut self.logs, id, uid).filter(|log| log.snapshot < end) {
                files.snapshot(log);
            }
        }
    }

    fn begin_recycle(&mut self, end: u64) {
        let Some(files) = &mut self.files else { return };
        let is_in = |log: &Log| log.kind() == Kind::File && log.snapshot < end;
        let places = self.logs.places().filter_map(|(id, log)| Some((id, log.as_deref()?)));
        let logs: Vec<u32> = places.filter(|(_, log)| is_in(log)).map(|(id, _)| id).collect();
        // What goes along with the snapshots is a quarter of what is made free, at most; nothing
        // where room is short.
        let share = if files.journal.is_full() { 0 } else { files.file_bytes / 4 };
        let most = share / (logs.len() as u64).max(1);
        let mut recycle = Recycle {
            end,
            logs: std::collections::VecDeque::new(),
            awaited: Vec::new(),
            written: None,
        };
        for id in logs {
            let log = self.logs.get_mut(id).as_deref_mut().expect("it was just seen");
            recycle.logs.push_back((LogId(id), log.uid));
            let in_memory: usize = log.parts.iter().map(Part::memory_bytes).sum();
            if in_memory as u64 > most {
                files.seal_all(LogId(id), log, &mut recycle.awaited);
            }
        }
        files.recycle = Some(recycle);
    }

    /// Begins a segment of what waits to be sealed: as much as one part may be, or one part.
    fn begin_build(&mut self) {
        let Some(files) = &mut self.files else { return };
        if files.fenced || files.build.is_some() || files.now < files.queue.not_before {
            return;
        }
        let mut image: Option<Image> = None;
        let (mut parts, mut later) = (Vec::new(), Vec::new());
        let mut bytes = 0;
        while bytes < u64::from(self.options.part_bytes)
            && let Some((id, uid, part)) = files.queue.parts.pop_front()
        {
            let Some(log) = find(&mut self.logs, id, uid) else { continue };
            if !files.is_known(log) {
                later.push((id, uid, part));
                continue;
            }
            let is_it =
                |candidate: &&mut Part| candidate.number == part && candidate.data.is_free();
            let Some(found) = log.parts.iter_mut().find(is_it) else { continue };
            if found.segment.living() < found.segment.len() as u64 {
                found.rebuild();
            }
            found.data.begin_seal();
            let image = image.get_or_insert_with(|| Image::new(files.store, files.new_segment()));
            let place = add(image, log, part, parts.len() as u32, files.sealer.as_ref());
            parts.push(Sealing { id, uid, place, part, merged: None });
            bytes = image.filled();
        }
        files.queue.parts.extend(later);
        if let Some(mut image) = image {
            image.finish(files.sealer.as_ref());
            files.build = Some(Build::new(image, parts));
        }
    }

    /// Takes the outcome of a step of the segment that is being written.
    fn sealed(&mut self, outcome: Result<(), DiskFailure>) -> Result<(), DiskFailure> {
        let files = self.files.as_mut().expect("a segment is being written");
        let build = files.build.as_mut().expect("a segment is being written");
        let step = match build.completed(outcome) {
            Ok(Step::More) => return Ok(()),
            Ok(Step::Done) => Ok(()),
            Err(failure) => Err(failure),
        };
        let build = files.build.take().expect("it was just there");
        match step {
            Ok(()) => self.settle_build(build),
            Err(failure) => {
                self.abandon_build(build);
                return Err(failure);
            }
        }
        Ok(())
    }

    /// The segment is there: its parts leave memory, and the journal says where they stand.
    fn settle_build(&mut self, build: Build) {
        let Some(files) = &mut self.files else { return };
        files.segments.insert(build.number, build.parts.len() as u32);
        for sealing in build.parts {
            let Some(log) = find(&mut self.logs, sealing.id, sealing.uid) else {
                files.leave(build.number);
                continue;
            };
            let (part, (place, frames)) = (sealing.part, sealing.place);
            let is_merged = sealing.merged.is_some();
            let found = match sealing.merged {
                None => log.parts.iter().position(|candidate| candidate.number == part),
                Some((segment, old)) => log.replace(segment, &old, (place, frames.clone())),
            };
            let Some(found) = found else {
                files.settle(log);
                files.leave(build.number);
                continue;
            };
            let part = &mut log.parts[found];
            part.data = Data::Sealed(place);
            part.frames = frames;
            log.left.extend(part.origin.take());
            let reference = snapshot::refer(part).expect("it is sealed");
            files.enter(log, &Operation::Sealed(reference));
            files.settle(log);
            log.sparse |= !is_merged && log.parts.len() > 8;
            files.look_over(log);
        }
    }

    /// The segment did not come about: what was to go there waits again.
    fn abandon_build(&mut self, build: Build) {
        let Some(files) = &mut self.files else { return };
        files.removals.push(File::SegmentDraft(build.number));
        files.queue.not_before = files.now.after(FULL_RETRY);
        for sealing in build.parts.into_iter().rev() {
            let Some(log) = find(&mut self.logs, sealing.id, sealing.uid) else { continue };
            if sealing.merged.is_some() {
                log.sparse = true;
                files.look_over(log);
                continue;
            }
            let found = log.parts.iter_mut().find(|part| part.number == sealing.part);
            if let Some(part) = found {
                part.data.abandon_seal();
                files.queue.parts.push_front((sealing.id, sealing.uid, sealing.part));
            }
        }
    }
}

/// The log at a place, if it still is the one that was there.
pub(crate) fn find(logs: &mut Slab<Option<Box<Log>>>, id: LogId, uid: u64) -> Option<&mut Log> {
    logs.get_mut(id.0).as_deref_mut().filter(|log| log.uid == uid)
}

/// Adds a part of a log to a segment.
fn add(
    image: &mut Image,
    log: &Log,
    part: u64,
    index: u32,
    sealer: Option<&Sealer>,
) -> (Whereabouts, Option<Frames>) {
    let part = log.parts.iter().find(|candidate| candidate.number == part);
    let part = part.expect("it was just there");
    let records = part.data.records().expect("they are in memory");
    add_records(image, log, (&part.segment, records), index, sealer)
}

/// Adds records of a log to a segment, with their index.
pub(crate) fn add_records(
    image: &mut Image,
    log: &Log,
    (segment, records): (&crate::log::segment::Segment, &[u8]),
    index: u32,
    sealer: Option<&Sealer>,
) -> (Whereabouts, Option<Frames>) {
    let mut bytes = Vec::new();
    footer::put(&mut bytes, segment, log.keys());
    let listed = Listed {
        log: log.uid,
        options: log.options().to_byte(),
        name: log.name().into(),
        operations: log.operations,
        base: segment.base,
        end: segment.end,
        records: (0, 0),
        index: (0, 0, 0),
        frames: Vec::new(),
        notes: notes_of(log),
    };
    let (offset, frames) = image.add(listed, records, bytes, sealer);
    (Whereabouts { segment: image.number, index, offset, living: segment.living() }, frames)
}

/// A log's notes, the small ones first, as far as there is room for them beside a part.
fn notes_of(log: &Log) -> Vec<Note> {
    let mut notes: Vec<_> = log.notes.iter().collect();
    notes.sort_by_key(|(key, value)| key.len() + value.len());
    let mut room = NOTES_BYTES;
    let fitting = notes.into_iter().take_while(|(key, value)| {
        let bytes = key.len() + value.len();
        let fits = bytes <= room;
        room = room.saturating_sub(bytes);
        fits
    });
    fitting.map(|(key, value)| (key.clone(), value.clone())).collect()
}

impl Files {
    /// Deletes segments that the journal says nobody needs, and gives files their names.
    fn drop_segments(&mut self, requests: &mut Requests<'_>) {
        while let Some((_, segment)) =
            self.dropped.pop_front_if(|(block, _)| *block < self.journal.synced())
        {
            if self.damaged.remove(&segment) {
                self.renames.push((File::Segment(segment), File::AsideSegment(segment)));
            } else {
                self.removals.push(File::Segment(segment));
            }
        }
        for (file, to) in std::mem::take(&mut self.renames) {
            let id = Wants::Nobody.id(requests.number());
            requests.out.push(DiskRequest { id, action: Action::Rename { file, to } });
        }
        for file in std::mem::take(&mut self.removals) {
            let id = Wants::Nobody.id(requests.number());
            requests.out.push(DiskRequest { id, action: Action::Remove { file } });
        }
    }
}
