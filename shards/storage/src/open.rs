//! Opening a store: what the journal says there is, the segments it leads to, and what to make of
//! anything that is not as it was written.
//!
//! 1. The files are listed, and those of the journal read whole.
//! 2. The operations are gone through once, for the last snapshot of each log and the segments that
//!    its parts stand in ([`Sketch`]).
//! 3. Segments that nothing refers to are asked whose they are (`survey`).
//! 4. The indexes of the parts are read, not the messages; where an index is damaged the messages
//!    are looked for one by one (`search`).
//! 5. The operations after each snapshot are done again. Those whose effect stands in a segment
//!    already have none a second time.

mod search;
mod survey;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use base::Time;

use self::search::Finds;
use self::survey::{Seen, Surveyed};
use crate::buffer::{BLOCK_BYTES, Blocks};
use crate::compact::Compaction;
use crate::damage::{Damage, What};
use crate::disk::{Action, DiskCompletion, DiskRequest, File, Listing};
use crate::entry::read_checked_record;
use crate::fetch::Cache;
use crate::files::Files;
use crate::frames::Frames;
use crate::journal::operation::{Entered, NO_LOG, Operation, PartRef};
use crate::journal::replay::{Replay, SlotBytes};
use crate::journal::{Journal, Resume, Slots};
use crate::log::{Log, Whereabouts, footer};
use crate::requests::Wants;
use crate::seal::Queue;
use crate::segment_file::{Listed, Tail};
use crate::snapshot;
use crate::store::{Kind, LogId, Store, StoreOptions, hasher};
use crate::vault::{Purpose, Sealer, Vault};

/// Blocks at the end of a segment that are read first: tail, directory, and most indexes of small
/// messages.
const END_BLOCKS: u64 = 64;

/// What is read, other than the journal.
#[derive(Clone, Copy, Debug)]
enum Reading {
    /// The end of a segment, from an offset on, for its parts to be attached.
    End(u64, u64),
    /// The same, to see whose it is.
    Survey(u64, u64),
    /// The whole of a segment.
    Search(u64),
}

/// What the journal says of one log.
#[derive(Debug, Default)]
struct Sketch {
    snapshot: Vec<u8>,
    /// The operation that the snapshot is, and its block.
    number: u64,
    block: u64,
    /// The last reset after it, or the snapshot, and what the reset left.
    from: u64,
    reset: Option<(u64, u64)>,
    /// The last operation.
    operations: u64,
    parts: Vec<PartRef>,
}

/// The end of a segment, as far as it was read.
#[derive(Debug)]
struct End {
    offset: u64,
    blocks: Blocks,
    tail: Tail,
    listed: Vec<Listed>,
    /// Parts that still want it.
    wanted: usize,
}

/// A store that is being opened.
#[derive(Debug, Default)]
pub(crate) struct Opening {
    begun: bool,
    requests: u64,
    wanted: VecDeque<DiskRequest>,
    journals: HashMap<u64, (u32, u64)>,
    /// Files of the journal of which less than a block is left.
    stubs: Vec<u32>,
    /// Bytes of each file of the journal: it gets its name when all of them are on the drive.
    journal_bytes: u64,
    waiting: usize,
    listing: Listing,
    slots: Vec<SlotBytes>,
    replay: Replay,
    sketches: BTreeMap<u64, Sketch>,
    dropped: HashSet<u64>,
    operations: u64,
    sizes: HashMap<u64, u64>,
    /// Parts to be attached, in order, and the log of those that were.
    parts: VecDeque<(u64, PartRef)>,
    logs: BTreeMap<u64, Box<Log>>,
    ends: HashMap<u64, End>,
    reading: Option<Reading>,
    failed: HashSet<u64>,
    is_sketched: bool,
    is_planned: bool,
    /// Logs of which the journal has a beginning or an end.
    heard: HashSet<u64>,
    /// Segments whose ends are to be read, whether that is all of them, and what was read.
    surveys: VecDeque<u64>,
    surveys_all: bool,
    surveyed: Vec<Surveyed>,
    locked_segments: u64,
    /// Segments that stand in the file of another.
    misnamed: HashMap<u64, u64>,
    /// Logs that the journal does not know.
    adopted: HashSet<u64>,
    finds: Finds,
    /// Messages of theirs that stand in the journal.
    salvaged: BTreeMap<u64, Vec<Box<[u8]>>>,
    damage: Vec<Damage>,
    vault: Vault,
}

impl Opening {
    pub(crate) fn new(options: &StoreOptions) -> Self {
        let journal_bytes = u64::from(options.journal_blocks) * BLOCK_BYTES as u64;
        let vault = Vault::new(options.encryption.as_ref());
        Self { journal_bytes, vault, ..Self::default() }
    }

    pub(crate) fn take_requests(&mut self, out: &mut Vec<DiskRequest>) {
        if !self.begun {
            self.begun = true;
            self.ask(Action::List);
        }
        out.extend(self.wanted.drain(..));
    }

    fn ask(&mut self, action: Action) -> u64 {
        self.requests += 1;
        let id = Wants::Open.id(self.requests);
        self.wanted.push_back(DiskRequest { id, action });
        self.requests
    }

    fn report(&mut self, log: Option<&[u8]>, what: What, file: String, part: Option<&PartRef>) {
        let sequences = part.map(|part| part.base..=part.end - 1);
        self.damage.push(Damage { log: log.map(Into::into), what, file, sequences });
    }

    fn listed(&mut self, listing: Listing) {
        let block = BLOCK_BYTES as u64;
        self.listing = listing;
        for (file, bytes) in self.listing.files.clone() {
            if matches!(file, File::Journal(_)) && bytes < self.journal_bytes {
                self.report(None, What::Journal, file.to_string(), None);
            }
            match file {
                File::Journal(slot) if bytes >= block => {
                    let blocks = Blocks::new((bytes / block) as usize);
                    let id = self.ask(Action::Read { file, offset: 0, blocks });
                    self.journals.insert(id, (slot, bytes / block));
                    self.waiting += 1;
                }
                File::Journal(slot) => self.stubs.push(slot),
                File::Segment(number) => {
                    self.sizes.insert(number, bytes);
                }
                _ => {}
            }
        }
        for stray in std::mem::take(&mut self.listing.strays) {
            self.report(None, What::Stray, stray, None);
        }
    }

    fn read_slot(&mut self, id: u64, blocks: Option<Blocks>, read: bool) {
        let (slot, count) = self.journals.remove(&id).expect("it was asked for");
        // What cannot be read counts as blocks that are not whole.
        let blocks = blocks.filter(|_| read).unwrap_or_else(|| Blocks::new(count as usize));
        self.slots.push(SlotBytes { slot, blocks, has_whole: false });
        self.waiting -= 1;
    }

    /// Goes through the journal once.
    fn sketch(&mut self) {
        self.slots.sort_by_key(|slot| slot.slot);
        let mut slots = std::mem::take(&mut self.slots);
        let mut replay = Replay::of(&mut slots, &mut self.vault);
        for lost in std::mem::take(&mut replay.lost) {
            let holds =
                |used: &&crate::journal::Used| used.base <= lost.start && lost.start < used.end();
            let file = replay.used.iter().find(holds).map(|used| File::Journal(used.slot));
            let file = file.map_or_else(|| String::from("journal"), |file| file.to_string());
            self.report(None, What::Journal, file, None);
        }
        let mut broken: Vec<u64> = Vec::new();
        let strange = replay.walk(&slots, &mut |block, entered| {
            self.draw(block, entered, &mut broken);
        });
        for _ in strange {
            self.report(None, What::Operations, String::from("journal"), None);
        }
        for uid in broken {
            let snapshot = self.sketches.get(&uid).map(|sketch| sketch.snapshot.clone());
            let name =
                snapshot.as_deref().and_then(snapshot::read).map(|snapshot| snapshot.name.to_vec());
            self.report(name.as_deref(), What::Operations, String::from("journal"), None);
        }
        self.slots = slots;
        self.replay = replay;
        self.begin_survey();
    }

    /// Takes one operation down.
    fn draw(&mut self, block: u64, entered: &Entered<'_>, broken: &mut Vec<u64>) {
        let (uid, number) = (entered.log, entered.number);
        if uid == NO_LOG {
            self.operations = number;
            if let Operation::Dropped(segment) = entered.operation {
                self.dropped.insert(segment);
                for sketch in self.sketches.values_mut() {
                    sketch.parts.retain(|part| part.segment != segment);
                }
            }
            return;
        }
        if let Some(sketch) = self.sketches.get(&uid)
            && number != sketch.operations + 1
        {
            broken.push(uid);
        }
        if let Operation::Snapshot(bytes) = entered.operation {
            let parts = snapshot::read(bytes).map(|snapshot| snapshot.parts).unwrap_or_default();
            self.heard.insert(uid);
            let snapshot = bytes.to_vec();
            let (from, operations) = (number, number);
            let sketch = Sketch { snapshot, number, block, from, reset: None, operations, parts };
            self.sketches.insert(uid, sketch);
            return;
        }
        // Without a snapshot it may yet turn out what log this is.
        let sketch = self.sketches.entry(uid).or_default();
        sketch.operations = number;
        match &entered.operation {
            Operation::Reset { first, last } => {
                sketch.parts.clear();
                sketch.from = number;
                sketch.reset = Some((*first, *last));
            }
            Operation::Sealed(part) => {
                let is_within = |old: &PartRef| old.base >= part.base && old.end <= part.end;
                sketch.parts.retain(|old| !is_within(old));
                let place = sketch.parts.partition_point(|old| old.base < part.base);
                sketch.parts.insert(place, part.clone());
            }
            Operation::Named(bytes) if sketch.snapshot.is_empty() => {
                sketch.snapshot = bytes.to_vec();
            }
            Operation::Destroy => {
                self.heard.insert(uid);
                self.sketches.remove(&uid);
            }
            _ => {}
        }
    }

    /// Lists the parts to be attached, and begins their logs.
    fn plan(&mut self) {
        self.is_planned = true;
        for (uid, sketch) in &self.sketches {
            self.parts.extend(sketch.parts.iter().map(|part| (*uid, part.clone())));
        }
    }

    /// Asks for the end of the next segment, or for more of it. False if all parts are attached.
    fn next_part(&mut self, seed: u64) -> bool {
        while let Some((uid, part)) = self.parts.front().cloned() {
            let segment = part.segment;
            if !self.failed.contains(&segment) && !self.ends.contains_key(&segment) {
                if let Some(bytes) = self.sizes.get(&segment).copied()
                    && bytes >= BLOCK_BYTES as u64
                {
                    let offset = self.read_end(segment, END_BLOCKS * BLOCK_BYTES as u64);
                    self.reading = Some(Reading::End(segment, offset));
                    return true;
                }
                self.failed.insert(segment);
            }
            if !self.attach(seed, uid, &part) {
                return true;
            }
            self.parts.pop_front();
        }
        false
    }

    /// Asks for the end of a segment, and says where it begins.
    fn read_end(&mut self, segment: u64, bytes: u64) -> u64 {
        let size = self.sizes[&segment] / BLOCK_BYTES as u64 * BLOCK_BYTES as u64;
        let offset = size - bytes.next_multiple_of(BLOCK_BYTES as u64).min(size);
        let blocks = Blocks::new(((size - offset) / BLOCK_BYTES as u64) as usize);
        let file = File::Segment(segment);
        self.ask(Action::Read { file, offset, blocks });
        offset
    }

    /// Takes the end of a segment, and asks for more of it where that was not all.
    fn read_part(&mut self, (segment, offset): (u64, u64), blocks: Option<Blocks>) {
        let Some(blocks) = blocks else {
            self.failed.insert(segment);
            return;
        };
        match self.look_at_end((segment, offset), blocks, true) {
            Seen::More(bytes) => {
                let offset = self.read_end(segment, bytes);
                self.reading = Some(Reading::End(segment, offset));
            }
            Seen::End(end) => {
                let wanted = self.parts.iter().filter(|(_, part)| part.segment == segment).count();
                self.ends.insert(segment, End { wanted, ..end });
            }
            Seen::Other(tail) => {
                self.misnamed.insert(tail.number, segment);
                self.failed.insert(segment);
                self.survey_all();
            }
            Seen::Locked | Seen::Nothing => {
                self.failed.insert(segment);
            }
        }
    }

    /// The log that a sketch is of, without its messages.
    fn begin_log(&mut self, seed: u64, uid: u64) -> &mut Log {
        let sketch = &self.sketches[&uid];
        self.logs.entry(uid).or_insert_with(|| {
            let snapshot = snapshot::read(&sketch.snapshot);
            let name = snapshot.as_ref().map_or(&[][..], |snapshot| snapshot.name);
            let options = snapshot.as_ref().map(|snapshot| snapshot.options).unwrap_or_default();
            let mut log = Log::new(name, Kind::File, options, hasher(seed));
            log.uid = uid;
            log.operations = sketch.operations;
            log.snapshot = sketch.block;
            if let Some((first, last)) = sketch.reset {
                log.reset_to(first, last);
            }
            Box::new(log)
        })
    }

    /// Attaches a part. False if its records are to be looked for first, and were asked for.
    fn attach(&mut self, seed: u64, uid: u64, part: &PartRef) -> bool {
        let mut end = self.ends.remove(&part.segment);
        self.begin_log(seed, uid);
        let log = self.logs.get_mut(&uid).expect("it was just begun");
        let what = match &end {
            None => Err(What::Segment),
            Some(end) => attach(log, end, part, &mut self.vault),
        };
        let is_there =
            self.sizes.contains_key(&part.segment) || self.misnamed.contains_key(&part.segment);
        if what.is_err() && is_there && self.begin_search(uid, part) {
            self.ends.extend(end.map(|end| (part.segment, end)));
            return false;
        }
        if let Some(end) = &mut end {
            end.wanted = end.wanted.saturating_sub(1);
        }
        if let Some(end) = end.filter(|end| end.wanted > 0) {
            self.ends.insert(part.segment, end);
        }
        if let Err(mut what) = what
            && self.take_found(uid, part).is_none()
        {
            if !is_there {
                what = What::MissingSegment;
            }
            let name = self.logs[&uid].name().to_vec();
            let file = File::Segment(part.segment).to_string();
            self.report(Some(&name), what, file, Some(part));
        }
        true
    }

    /// Does again what was done to each log after its snapshot.
    fn redo(&mut self, seed: u64) {
        let uids: Vec<u64> = self.sketches.keys().copied().collect();
        for uid in uids {
            self.begin_log(seed, uid);
            let sketch = &self.sketches[&uid];
            let log = self.logs.get_mut(&uid).expect("it was just begun");
            let Some(snapshot) = snapshot::read(&sketch.snapshot) else { continue };
            for (key, value) in snapshot.notes {
                log.put_note(key, value);
            }
            if sketch.reset.is_none() {
                for record in snapshot.records {
                    append(log, record);
                }
                log.settle_sequences(snapshot.first, snapshot.last, snapshot.last_wall);
            }
            for record in self.salvaged.get(&uid).into_iter().flatten() {
                append(log, record);
            }
        }
        let (logs, sketches) = (&mut self.logs, &self.sketches);
        self.replay.walk(&self.slots, &mut |_, entered| {
            let (Some(log), Some(sketch)) =
                (logs.get_mut(&entered.log), sketches.get(&entered.log))
            else {
                return;
            };
            if entered.number > sketch.number {
                redo(log, &entered.operation, entered.number > sketch.from);
            }
        });
        for log in self.logs.values_mut() {
            log.settle_first();
        }
    }
}

/// Attaches a part whose index stands at the end of a segment.
fn attach(log: &mut Log, end: &End, part: &PartRef, vault: &mut Vault) -> Result<(), What> {
    let listed = end.listed.get(part.index as usize).ok_or(What::Segment)?;
    if listed.log != log.uid || (listed.base, listed.end) != (part.base, part.end) {
        return Err(What::Segment);
    }
    let bytes = listed.open_index(end.blocks.bytes(), end.offset, &end.tail, vault);
    let bytes = bytes.ok_or(What::Index)?;
    let mut footer = footer::read(&bytes).ok_or(What::Index)?;
    let living = footer.segment.living();
    if let Some(live) = &part.live
        && !footer.segment.keep_live(live)
    {
        return Err(What::Index);
    }
    let (segment, index) = (part.segment, part.index);
    let place = Whereabouts { segment, index, offset: listed.records.0, living };
    let frames = Frames::of(&listed.frames);
    if log.attach(footer, (place, frames)) { Ok(()) } else { Err(What::Index) }
}

/// Appends a message to a log unless it has it already, or had it once.
fn append(log: &mut Log, record: &[u8]) {
    if let Some((entry, _)) = read_checked_record(record, log.uid)
        && entry.sequence > log.last()
    {
        // Nothing speaks against what once was admitted, but a full table of keys.
        let _ = log.append(&entry);
    }
}

/// Does an operation again. Before the last reset only what a reset leaves is.
fn redo(log: &mut Log, operation: &Operation<'_>, counts: bool) {
    match operation {
        Operation::Note { key, value } => log.put_note(key, value),
        Operation::Options(options) => log.set_options(*options),
        Operation::Append(record) if counts => append(log, record),
        Operation::Remove(sequence) if counts => {
            log.remove(*sequence);
        }
        Operation::Truncate(sequence) if counts => log.truncate_before(*sequence),
        _ => {}
    }
}

impl Store {
    /// Goes on opening with the outcome of a request.
    pub(crate) fn proceed(&mut self, completion: DiskCompletion) {
        let (_, number) = Wants::of(completion.id);
        let seed = self.options.seed;
        let opening = self.opening.as_mut().expect("the store is being opened");
        let read = completion.outcome.is_ok();
        let reading = opening.reading.take();
        if let Some(reading) = reading {
            let blocks = completion.blocks.filter(|_| read);
            match reading {
                Reading::End(segment, offset) => opening.read_part((segment, offset), blocks),
                Reading::Survey(segment, offset) => {
                    opening.take_survey((segment, offset), blocks);
                }
                Reading::Search(segment) => opening.searched(segment, blocks.as_ref()),
            }
        } else if opening.waiting > 0 {
            opening.read_slot(number, completion.blocks, read);
        } else if let Ok(listing) = completion.outcome {
            opening.listed(listing);
        } else {
            let file = String::from(".");
            opening.report(None, What::Stray, file, None);
        }
        if opening.waiting > 0 || opening.reading.is_some() {
            return;
        }
        if !std::mem::replace(&mut opening.is_sketched, true) {
            opening.sketch();
        }
        if opening.next_survey() {
            return;
        }
        if !opening.is_planned {
            self.refusal = opening.refusal(self.options.encryption.is_some());
            if self.refusal.is_some() {
                return;
            }
            opening.adopt();
            opening.plan();
        }
        if !opening.next_part(seed) {
            opening.redo(seed);
            self.finish_opening();
        }
    }

    fn finish_opening(&mut self) {
        let mut opening = self.opening.take().expect("the store is being opened");
        let replay = std::mem::take(&mut opening.replay);
        let (least, most) = self.options.journal_files;
        let mut slots = Slots::new(self.options.journal_blocks, least, most);
        let mut ruined = Vec::new();
        for slot in &opening.slots {
            if replay.used.iter().any(|used| used.slot == slot.slot) {
                continue;
            }
            if !opening.damage.is_empty() && slot.is_ruined() {
                slots.found_aside(slot.slot);
                ruined.push((File::Journal(slot.slot), File::AsideJournal(slot.slot)));
            } else {
                slots.found_free(slot.slot, slot.blocks.count() as u32);
            }
        }
        for slot in &opening.stubs {
            slots.found_aside(*slot);
            ruined.push((File::Journal(*slot), File::AsideJournal(*slot)));
        }
        for used in &replay.used {
            slots.found_used(*used, replay.next);
        }
        let store = replay.store.unwrap_or(self.options.seed | 1);
        let next = replay.next.max(1);
        let resume = Resume { store, epoch: replay.epoch + 1, next, oldest: replay.oldest.max(1) };
        let encryption = self.options.encryption.as_ref();
        let sealer = |purpose| encryption.map(|encryption| Sealer::new(encryption, purpose));
        let journal_sealer = sealer(Purpose::Journal);
        let mut files = Files {
            store,
            journal: Journal::new(resume, self.options.sync, slots, journal_sealer),
            queue: Queue::default(),
            build: None,
            compaction: Compaction::default(),
            cache: Cache::new(self.options.cache_bytes),
            segments: HashMap::with_hasher(hasher(self.options.seed)),
            dropped: VecDeque::new(),
            unnamed: VecDeque::new(),
            damaged: HashSet::with_hasher(hasher(self.options.seed)),
            sealer: sealer(Purpose::Segment),
            vault: std::mem::take(&mut opening.vault),
            removals: Vec::new(),
            renames: ruined,
            recycle: None,
            next_log: replay.next_log.max(1),
            next_segment: replay.next_segment.max(1),
            file_bytes: u64::from(self.options.journal_blocks) * BLOCK_BYTES as u64,
            operations: opening.operations,
            fenced: false,
            damage: std::mem::take(&mut opening.damage),
            known_damage: Vec::new(),
            again: Vec::new(),
            requests: 0,
            now: Time(0),
            scratch: Vec::new(),
        };
        self.take_up(&mut opening, &mut files);
        clear_away(&opening, &mut files);
        self.files = Some(Box::new(files));
    }

    /// Takes up the logs that were found.
    fn take_up(&mut self, opening: &mut Opening, files: &mut Files) {
        for part in opening.logs.values().flat_map(|log| &log.parts) {
            if let Some(segment) = part.needs() {
                *files.segments.entry(segment).or_default() += 1;
            }
            files.damaged.extend(part.origin);
        }
        for (uid, mut log) in std::mem::take(&mut opening.logs) {
            log.part_bytes = self.options.part_bytes;
            files.next_log = files.next_log.max(uid + 1);
            // Counted with those above, so that the last to leave is noticed.
            for segment in &log.left {
                *files.segments.entry(*segment).or_default() += 1;
            }
            files.settle(&mut log);
            if opening.adopted.contains(&uid) {
                files.snapshot(&mut log);
            }
            // What was searched out of a damaged segment is written to a whole one.
            let found = log.parts.iter().filter(|part| part.origin.is_some());
            let found: Vec<u64> = found.map(|part| part.number).collect();
            let name: Box<[u8]> = log.name().into();
            let id = LogId(self.logs.insert(Some(log)));
            self.names.insert(name, id);
            files.queue.parts.extend(found.into_iter().map(|part| (id, uid, part)));
        }
    }
}

/// Deletes what a process that ended left half done. Where anything is damaged, what belongs to
/// nothing is set aside instead.
fn clear_away(opening: &Opening, files: &mut Files) {
    let mut strays = Vec::new();
    for (file, _) in &opening.listing.files {
        match file {
            File::SegmentDraft(_) | File::JournalDraft(_) => files.removals.push(*file),
            File::AsideSegment(number) => {
                files.next_segment = files.next_segment.max(number.saturating_add(1));
            }
            File::Segment(number) => {
                files.next_segment = files.next_segment.max(number.saturating_add(1));
                if files.segments.contains_key(number) {
                    continue;
                }
                if files.damage.is_empty() || opening.dropped.contains(number) {
                    files.removals.push(*file);
                } else {
                    files.renames.push((*file, File::AsideSegment(*number)));
                    strays.push(*file);
                }
            }
            File::Journal(_) => {}
            File::AsideJournal(slot) => files.journal.slots.found_aside(*slot),
        }
    }
    for file in strays {
        let file = file.to_string();
        files.damage.push(Damage { log: None, what: What::Stray, file, sequences: None });
    }
}
