//! Parts in segments that are mostly gaps, or many and small, are brought together in a new
//! segment, so that the old ones can be deleted. And what is to be erased is overwritten where it
//! stands.

use std::collections::VecDeque;
use std::ops::Range;

use crate::buffer::{BLOCK_BYTES, Blocks};
use crate::damage::{Damage, What};
use crate::disk::{Action, DiskFailure, DiskRequest, File};
use crate::entry::{HEAD_BYTES, read_checked_record};
use crate::files::Files;
use crate::frames::{self, Frames, Home};
use crate::keys::KeyId;
use crate::log::segment::Segment;
use crate::log::{Log, Part, Whereabouts};
use crate::requests::{Requests, Wants};
use crate::seal::{Build, Sealing};
use crate::segment_file::Image;
use crate::store::{LogId, Store};
use crate::upkeep::{add_records, find};
use crate::vault::Vault;

/// Small parts one behind the other that are brought together.
const SMALL_MIN: usize = 8;
/// A part is small below this share of what one may be.
const SMALL_SHARE: u64 = 8;
/// What is read for one new part is at most so many times what one may be.
const READ_SHARE: u64 = 4;

/// What is under way.
#[derive(Debug, Default)]
pub(crate) struct Compaction {
    /// Does a log want to be looked over?
    wanted: bool,
    job: Option<Job>,
    /// What to erase, once the block of the journal that says that it is gone is durable.
    erasures: VecDeque<(u64, u64, Range<u64>)>,
    erasing: Option<Erasing>,
}

/// Parts of one log that are being read.
#[derive(Debug)]
struct Job {
    id: LogId,
    uid: u64,
    sources: Vec<Source>,
    failed: bool,
}

#[derive(Debug)]
struct Source {
    part: u64,
    place: Whereabouts,
    /// Bytes of its records in the file, and the frames that they stand in, if they do.
    bytes: u64,
    frames: Option<Frames>,
    length: u32,
    /// The request, once it was made, and what it brought.
    request: Option<u64>,
    blocks: Option<Blocks>,
    done: bool,
}

/// Blocks with bytes that are overwritten.
#[derive(Debug)]
struct Erasing {
    segment: u64,
    bytes: Range<u64>,
    request: u64,
    write: bool,
}

impl Compaction {
    /// Blocks of the journal below `synced` are durable.
    pub(crate) fn take_requests(&mut self, synced: u64, requests: &mut Requests<'_>) {
        for source in self.job.iter_mut().flat_map(|job| &mut job.sources) {
            if source.request.is_none() {
                let number = requests.number();
                source.request = Some(number);
                let from = source.place.offset / BLOCK_BYTES as u64 * BLOCK_BYTES as u64;
                let end = source.place.offset + source.bytes;
                ask_for(requests, number, source.place.segment, from..end);
            }
        }
        if self.erasing.is_none()
            && let Some((_, segment, bytes)) =
                self.erasures.pop_front_if(|(block, ..)| *block < synced)
        {
            let request = requests.number();
            let from = bytes.start / BLOCK_BYTES as u64 * BLOCK_BYTES as u64;
            ask_for(requests, request, segment, from..bytes.end);
            self.erasing = Some(Erasing { segment, bytes, request, write: false });
        }
    }
}

/// Asks for the blocks that hold a range which begins with a block.
fn ask_for(requests: &mut Requests<'_>, number: u64, segment: u64, range: Range<u64>) {
    let count = (range.end - range.start).div_ceil(BLOCK_BYTES as u64) as usize;
    requests.out.push(DiskRequest {
        id: Wants::Compact.id(number),
        action: Action::Read {
            file: File::Segment(segment),
            offset: range.start,
            blocks: Blocks::new(count),
        },
    });
}

impl Files {
    /// Remembers a log that has parts to be brought together.
    #[inline]
    pub(crate) fn look_over(&mut self, log: &Log) {
        self.compaction.wanted |= log.sparse;
    }

    /// Overwrites a record that is no longer needed, in a part without frames.
    pub(crate) fn erase(&mut self, place: Whereabouts, (start, end): (u32, u32)) {
        let start = place.offset + u64::from(start) + HEAD_BYTES as u64;
        let end = place.offset + u64::from(end);
        let erasure = (self.journal.block(), place.segment, start..end);
        self.compaction.erasures.push_back(erasure);
    }

    /// Takes the outcome of the reading or writing of blocks that hold what is to be erased.
    fn erased(
        &mut self,
        erasing: &Erasing,
        blocks: Option<Blocks>,
        outcome: Result<(), DiskFailure>,
    ) -> Option<DiskRequest> {
        let (Ok(()), Some(mut blocks), false) = (outcome, blocks, erasing.write) else {
            // Gone with its segment, or overwritten. What cannot be overwritten is not there for
            // anyone either way.
            self.cache.forget(erasing.segment);
            return None;
        };
        let from = erasing.bytes.start / BLOCK_BYTES as u64 * BLOCK_BYTES as u64;
        let range = (erasing.bytes.start - from) as usize..(erasing.bytes.end - from) as usize;
        blocks.bytes_mut()[range].fill(0);
        let file = File::Segment(erasing.segment);
        let action = Action::Write { file, offset: from, blocks, durable: true };
        Some(DiskRequest { id: Wants::Compact.id(erasing.request), action })
    }
}

impl Log {
    /// Parts that are to be brought together, as places in the list of parts.
    fn choose(&self, part_bytes: u64) -> Option<Range<usize>> {
        let live = |part: &Part| part.segment.live_bytes;
        let is_small = |part: &Part| live(part) < part_bytes / SMALL_SHARE;
        let mut start = 0;
        while start < self.parts.len() {
            let (mut end, mut bytes, mut read, mut hollow) = (start, 0, 0, false);
            while let Some(part) = self.parts.get(end)
                && part.data.place().is_some()
                && (part.is_hollow() || is_small(part))
                && (end == start
                    || (bytes + live(part) <= part_bytes && read <= part_bytes * READ_SHARE))
            {
                hollow |= part.is_hollow();
                bytes += live(part);
                read += u64::from(part.segment.length);
                end += 1;
            }
            if hollow || end - start >= SMALL_MIN {
                return Some(start..end);
            }
            start = end.max(start + 1);
        }
        None
    }

    /// Puts one part in the place of those with the numbers `old`. Nothing if none of its messages
    /// is there any more; else the new part's place.
    pub(crate) fn replace(
        &mut self,
        mut segment: Segment,
        old: &[u64],
        place: (Whereabouts, Option<Frames>),
    ) -> Option<usize> {
        let mut next = segment.next_live(0);
        while let Some(at) = next {
            if !self.contains(segment.sequence(at)) {
                segment.kill(at);
            }
            next = segment.next_live(at + 1);
        }
        let at = self.parts.iter().position(|part| old.contains(&part.number))?;
        let mut stale = false;
        while let Some(part) = self.parts.get(at)
            && old.contains(&part.number)
        {
            let part = self.parts.remove(at).expect("it was just seen");
            stale |= part.stale;
            self.left.extend(part.needs());
        }
        if segment.living() == 0 {
            return None;
        }
        let number = self.next_part();
        self.sparse |= stale;
        self.parts.insert(at, Part { stale, ..Part::sealed(number, segment, place) });
        Some(at)
    }
}

impl Part {
    /// Is more than half of it gone, so that bringing it together pays, or has it to be?
    pub(crate) fn is_hollow(&self) -> bool {
        self.stale || self.segment.live_bytes * 2 < u64::from(self.segment.length)
    }
}

impl Store {
    /// Begins to bring parts together, or to write what was read.
    pub(crate) fn begin_compaction(&mut self) {
        let Some(files) = &mut self.files else { return };
        if files.fenced || files.journal.is_full() || files.build.is_some() {
            return;
        }
        if let Some(job) = &files.compaction.job {
            if job.sources.iter().all(|source| source.done) {
                let job = files.compaction.job.take().expect("it was just there");
                self.write_together(&job);
            }
            return;
        }
        if !files.compaction.wanted || files.recycle.is_some() {
            return;
        }
        let part_bytes = u64::from(self.options.part_bytes);
        for place in 0..self.logs.place_count() as u32 {
            let Some(log) = self.logs.get_mut(place).as_deref_mut() else { continue };
            if !log.sparse {
                continue;
            }
            let Some(range) = log.choose(part_bytes) else {
                log.sparse = false;
                continue;
            };
            let sources = log.parts.range_mut(range).filter_map(Source::of).collect();
            let (id, uid) = (LogId(place), log.uid);
            files.compaction.job = Some(Job { id, uid, sources, failed: false });
            return;
        }
        files.compaction.wanted = false;
    }

    /// Takes the outcome of a read, or of the writing of what was erased.
    pub(crate) fn compacted(
        &mut self,
        number: u64,
        blocks: Option<Blocks>,
        outcome: Result<(), DiskFailure>,
    ) -> Option<DiskRequest> {
        let files = self.files.as_mut()?;
        if let Some(erasing) = files.compaction.erasing.take_if(|erasing| erasing.request == number)
        {
            let again = files.erased(&erasing, blocks, outcome);
            if again.is_some() {
                files.compaction.erasing = Some(Erasing { write: true, ..erasing });
            }
            return again;
        }
        let job = files.compaction.job.as_mut().expect("it was asked for");
        let of_number = |source: &&mut Source| source.request == Some(number);
        let source = job.sources.iter_mut().find(of_number).expect("it was asked for");
        source.done = true;
        let home = Home { store: files.store, segment: source.place.segment, log: job.uid };
        source.blocks = blocks.map(|blocks| source.unpack(blocks, home, &mut files.vault));
        job.failed |= outcome.is_err();
        None
    }

    /// Begins a segment of what was read.
    fn write_together(&mut self, job: &Job) {
        let Some(files) = &mut self.files else { return };
        let Some(log) = find(&mut self.logs, job.id, job.uid) else { return };
        let gathered = if job.failed { None } else { gather(log, job) };
        let Some((segment, records)) = gathered else {
            // Reported when it is looked at; tried again once more of the log is gone.
            log.sparse = false;
            files.damage.push(Damage {
                log: Some(log.name().into()),
                what: What::Segment,
                file: File::Segment(job.sources[0].place.segment).to_string(),
                sequences: None,
            });
            return;
        };
        if segment.living() == 0 {
            return;
        }
        let mut image = Image::new(files.store, files.new_segment());
        let sealer = files.sealer.as_ref();
        let place = add_records(&mut image, log, (&segment, &records), 0, sealer);
        image.finish(sealer);
        let old: Vec<u64> = job.sources.iter().map(|source| source.part).collect();
        let (id, uid, part) = (job.id, job.uid, old[0]);
        let sealing = Sealing { id, uid, place, part, merged: Some((segment, old)) };
        files.build = Some(Build::new(image, vec![sealing]));
    }
}

impl Source {
    fn of(part: &mut Part) -> Option<Self> {
        let place = part.data.place()?;
        part.stale = false;
        let (part, length, frames) = (part.number, part.segment.length, part.frames.clone());
        let bytes = u64::from(frames.as_ref().map_or(length, Frames::bytes));
        let (request, blocks, done) = (None, None, false);
        Some(Self { part, place, bytes, frames, length, request, blocks, done })
    }

    /// The blocks that hold its records, out of those that were read.
    fn unpack(&self, blocks: Blocks, home: Home, vault: &mut Vault) -> Blocks {
        let Some(frames) = &self.frames else { return blocks };
        let skipped = (self.place.offset % BLOCK_BYTES as u64) as usize;
        let lengths: Vec<u32> = frames.lengths().collect();
        let mut out = Blocks::new((self.length as usize).div_ceil(BLOCK_BYTES));
        let stored = &blocks.bytes()[skipped..];
        frames::unpack(stored, (home, self.place.offset), &lengths, vault, out.bytes_mut());
        out
    }

    /// A record of the part.
    fn record(&self, (start, end): (u32, u32)) -> Option<&[u8]> {
        let skipped = match self.frames {
            Some(_) => 0,
            None => (self.place.offset % BLOCK_BYTES as u64) as usize,
        };
        let range = skipped + start as usize..skipped + end as usize;
        self.blocks.as_ref()?.bytes().get(range)
    }
}

/// The live messages of what was read, and their index. Nothing if one of them is damaged.
fn gather(log: &Log, job: &Job) -> Option<(Segment, Vec<u8>)> {
    let mut parts = Vec::new();
    for source in &job.sources {
        // One that lost its last message meanwhile is gone.
        let part = log.parts.iter().find(|part| part.number == source.part);
        parts.extend(part.map(|part| (source, part)));
    }
    let (first, last) = (parts.first(), parts.last());
    let mut segment = Segment::new(first.map_or(0, |(_, part)| part.segment.base));
    let mut records = Vec::new();
    for (source, part) in &parts {
        let old = &part.segment;
        let mut next = old.next_live(0);
        while let Some(at) = next {
            let record = source.record(old.extent(at))?;
            let (entry, bytes) = read_checked_record(record, log.uid)?;
            if entry.sequence != old.sequence(at) {
                return None;
            }
            records.extend_from_slice(record);
            let (key, size) = (KeyId(old.keys[at]), old.size(at));
            segment.push(entry.sequence, entry.wall, key, bytes, size);
            next = old.next_live(at + 1);
        }
    }
    segment.end = last.map_or(segment.end, |(_, part)| part.segment.end);
    Some((segment, records))
}
