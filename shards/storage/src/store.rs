//! Every log of one core, and the journal they share.

use std::collections::HashMap;

use ahash::RandomState;
use base::limits::{FETCH_CACHE_BYTES, JOURNAL_BLOCKS, JOURNAL_FILES, PART_BYTES};
use base::{Duration, Slab, Time};

use crate::damage::{Damage, What};
use crate::disk::{DiskCompletion, DiskRequest};
use crate::entry::{Entry, Fetched, ReadId, read_record};
use crate::files::Files;
use crate::journal::operation::Operation;
use crate::keys::{KeyId, KeyState};
use crate::log::Log;
use crate::open::Opening;
use crate::position::{Durable, Ordered, Position};
use crate::vault::Encryption;

/// A log's number for as long as the store runs. Reused once the log is destroyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId(pub u32);

/// Where a log's messages are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// In memory: gone with the process.
    Memory,
    /// In the journal and in segments.
    File,
}

/// How a log is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Are sealed segments compressed?
    pub compressed: bool,
}

/// When what was written is made to survive a loss of power.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sync {
    /// Before it counts as durable.
    #[default]
    Always,
    /// So often; what was written counts as durable before.
    Every(Duration),
}

/// How a store is kept.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// When writes are synced.
    pub sync: Sync,
    /// Random bytes for the hash tables of keys, and to tell one store from another.
    pub seed: u64,
    /// Blocks of a file of the journal.
    pub journal_blocks: u32,
    /// Files that the journal has from the start, and at most.
    pub journal_files: (usize, usize),
    /// Bytes of messages after which a stretch of a log is written to a segment.
    pub part_bytes: u32,
    /// Bytes of segments that are kept in memory after they were looked at.
    pub cache_bytes: u64,
    /// With what everything that is written is encrypted.
    pub encryption: Option<Encryption>,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            sync: Sync::Always,
            seed: 0,
            journal_blocks: JOURNAL_BLOCKS,
            journal_files: JOURNAL_FILES,
            part_bytes: PART_BYTES,
            cache_bytes: FETCH_CACHE_BYTES,
            encryption: None,
        }
    }
}

/// Damage that is remembered to be shown.
const KNOWN_DAMAGE_MAX: usize = 32;

/// Why something was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The disk is full. Clears by itself once there is room again.
    Full,
    /// A write or sync failed: what it held may or may not survive, so nothing more is written.
    /// What is there can still be read.
    Fenced,
    /// The sequence is not above the last one.
    OutOfOrder,
    /// A subject over 65,535 bytes, or a message near a gigabyte.
    TooLarge,
    /// More keys than 32 bits can number.
    TooManyKeys,
    /// A log of this name exists.
    Exists,
}

/// Why a store does not open. Nothing in it was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is encrypted, and there is no key.
    NoKey,
    /// It is encrypted with another key.
    WrongKey,
}

/// Every log of one core.
#[derive(Debug)]
pub struct Store {
    pub(crate) options: StoreOptions,
    pub(crate) logs: Slab<Option<Box<Log>>>,
    pub(crate) names: HashMap<Box<[u8]>, LogId, RandomState>,
    /// The files; none for a store that lives in memory alone, and until it is open.
    pub(crate) files: Option<Box<Files>>,
    pub(crate) opening: Option<Box<Opening>>,
    pub(crate) refusal: Option<Refusal>,
    /// Without files, operations so far: nothing is waited for.
    ordered: u64,
}

impl Store {
    /// A store that lives in memory alone.
    pub fn new(options: StoreOptions) -> Self {
        let names = HashMap::with_hasher(hasher(options.seed));
        let (files, opening, refusal) = (None, None, None);
        Self { options, logs: Slab::default(), names, files, opening, refusal, ordered: 0 }
    }

    /// A store of what is on disk. Until [`Self::is_open`] says so it is good for nothing but
    /// [`Self::take_requests`] and [`Self::completed`].
    pub fn open(options: StoreOptions) -> Self {
        let mut store = Self::new(options);
        store.opening = Some(Box::new(Opening::new(&store.options)));
        store
    }

    /// Was everything on disk found?
    pub fn is_open(&self) -> bool {
        self.opening.is_none()
    }

    /// Why it will not open, if it will not: then [`Self::is_open`] never says so.
    pub fn refusal(&self) -> Option<Refusal> {
        self.refusal
    }

    /// Creates a log. Its name is unique in the store: account and stream, say.
    ///
    /// # Errors
    /// [`Failure::Exists`], [`Failure::Fenced`], [`Failure::Full`].
    pub fn create(
        &mut self,
        name: &[u8],
        kind: Kind,
        options: LogOptions,
    ) -> Result<LogId, Failure> {
        if self.names.contains_key(name) {
            return Err(Failure::Exists);
        }
        if kind == Kind::File {
            self.admits()?;
        }
        let mut log = Log::new(name, kind, options, hasher(self.options.seed));
        log.part_bytes = self.options.part_bytes;
        let id = LogId(self.logs.insert(Some(Box::new(log))));
        self.names.insert(name.into(), id);
        if kind == Kind::File
            && let Some(files) = &mut self.files
        {
            let log = self.logs.get_mut(id.0).as_deref_mut().expect("it was just created");
            log.uid = files.next_log;
            files.next_log += 1;
            files.snapshot(log);
            log.known = files.journal.ordered();
        }
        Ok(id)
    }

    /// Is there anything against storing more in files?
    fn admits(&self) -> Result<(), Failure> {
        match &self.files {
            Some(files) if files.fenced => Err(Failure::Fenced),
            Some(files) if files.journal.is_full() => Err(Failure::Full),
            _ => Ok(()),
        }
    }

    /// Removes a log with everything in it. The position is that of the removal.
    pub fn destroy(&mut self, id: LogId) -> Position {
        let mut log = self.logs.remove(id.0).expect("a log is destroyed once");
        self.names.remove(log.name());
        log.reset_to(0, 0);
        self.enter(&mut log, &Operation::Destroy)
    }

    /// The log of a name.
    pub fn find(&self, name: &[u8]) -> Option<LogId> {
        self.names.get(name).copied()
    }

    /// Every log.
    pub fn logs(&self) -> impl Iterator<Item = (LogId, &Log)> {
        self.logs.places().filter_map(|(id, log)| Some((LogId(id), log.as_deref()?)))
    }

    /// A log's index.
    pub fn log(&self, id: LogId) -> &Log {
        self.logs.get(id.0).as_deref().expect("the log exists")
    }

    fn log_mut(&mut self, id: LogId) -> &mut Log {
        self.logs.get_mut(id.0).as_deref_mut().expect("the log exists")
    }

    /// Puts what was done to a log into the journal.
    fn enter(&mut self, log: &mut Log, operation: &Operation<'_>) -> Position {
        match (&mut self.files, log.kind()) {
            (_, Kind::Memory) => Position::START,
            (Some(files), Kind::File) => {
                let end = files.enter(log, operation);
                files.settle(log);
                files.look_over(log);
                Position(end)
            }
            (None, Kind::File) => {
                log.left.clear();
                self.ordered += 1;
                Position(self.ordered)
            }
        }
    }

    /// Does something to a log and puts that into the journal.
    fn change(
        &mut self,
        id: LogId,
        operation: &Operation<'_>,
        change: impl FnOnce(&mut Log),
    ) -> Position {
        let mut log = std::mem::take(self.logs.get_mut(id.0)).expect("the log exists");
        change(&mut log);
        let position = self.enter(&mut log, operation);
        *self.logs.get_mut(id.0) = Some(log);
        position
    }

    /// Changes how a log is kept from now on.
    pub fn set_options(&mut self, id: LogId, options: LogOptions) -> Position {
        self.change(id, &Operation::Options(options), |log| log.set_options(options))
    }

    /// Stores a message. It survives a loss of power once [`Self::durable`] covers the position.
    ///
    /// # Errors
    /// Nothing was stored: see [`Failure`].
    pub fn append(&mut self, id: LogId, entry: &Entry<'_>) -> Result<Position, Failure> {
        let log = self.logs.get_mut(id.0).as_deref_mut().expect("the log exists");
        log.admits(entry)?;
        if log.kind() == Kind::Memory {
            log.append(entry)?;
            return Ok(Position::START);
        }
        let Some(files) = &mut self.files else {
            log.append(entry)?;
            self.ordered += 1;
            return Ok(Position(self.ordered));
        };
        if files.fenced {
            return Err(Failure::Fenced);
        }
        if files.journal.is_full() {
            return Err(Failure::Full);
        }
        let parts = log.parts_begun();
        log.append(entry)?;
        let end = files.enter_append(log);
        if log.parts_begun() != parts {
            files.seal_closed(id, log);
        }
        Ok(Position(end))
    }

    /// Removes a message; `secure` overwrites its bytes wherever they are. Nothing if there is no
    /// such message.
    pub fn remove(&mut self, id: LogId, sequence: u64, secure: bool) -> Option<Position> {
        let log = self.log(id);
        let (part, start, end) = log.locate(sequence)?;
        let (place, framed) = (log.parts[part].data.place(), log.parts[part].frames.is_some());
        let operation = Operation::Remove(sequence);
        let position = self.change(id, &operation, |log| {
            if secure && framed {
                // A frame is not written again: under the same nonce that would give it away.
                log.parts[part].stale = true;
                log.sparse = true;
            }
            assert!(log.remove(sequence));
        });
        if secure
            && !framed
            && let (Some(files), Some(place)) = (&mut self.files, place)
        {
            files.erase(place, (start, end));
        }
        Some(position)
    }

    /// Removes everything in front of a sequence. One beyond the last raises the last, as the
    /// reference's `Compact` does; one more than the last removes all there is.
    pub fn truncate_before(&mut self, id: LogId, sequence: u64) -> Position {
        let operation = Operation::Truncate(sequence);
        self.change(id, &operation, |log| log.truncate_before(sequence))
    }

    /// Forgets all messages and sets both sequences: `first` is one more than `last`, or zero with
    /// a `last` of zero.
    pub fn reset_to(&mut self, id: LogId, first: u64, last: u64) -> Position {
        self.change(id, &Operation::Reset { first, last }, |log| log.reset_to(first, last))
    }

    /// Keeps a small value beside the messages, in place of an earlier one of the key; an empty
    /// value removes it.
    pub fn put_note(&mut self, id: LogId, key: &[u8], value: &[u8]) -> Position {
        self.change(id, &Operation::Note { key, value }, |log| log.put_note(key, value))
    }

    /// The value of a note.
    pub fn note(&self, id: LogId, key: &[u8]) -> Option<&[u8]> {
        self.log(id).notes.get(key).map(AsRef::as_ref)
    }

    /// Every note of a log, in order of key.
    pub fn notes(&self, id: LogId) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.log(id).notes.iter().map(|(key, value)| (key.as_ref(), value.as_ref()))
    }

    /// A message.
    pub fn fetch(&mut self, id: LogId, sequence: u64) -> Fetched<'_> {
        let log = self.logs.get(id.0).as_deref().expect("the log exists");
        let Some((part, start, end)) = log.locate(sequence) else { return Fetched::Missing };
        let part = &log.parts[part];
        match (&mut self.files, part.data.place()) {
            (Some(files), Some(place)) => files.fetch(log, (part, place), (start, end), sequence),
            _ => match part.data.read((start, end)).and_then(read_record) {
                Some((entry, _)) => Fetched::Here(entry),
                None => Fetched::Damaged,
            },
        }
    }

    /// First, last and count of a key; remembers what it had to look for.
    pub fn key_state(&mut self, id: LogId, key: KeyId) -> Option<KeyState> {
        self.log_mut(id).settle_key(key)
    }

    /// How far the journal's order goes.
    pub fn ordered(&self) -> Ordered {
        let ordered = self.files.as_ref().map_or(self.ordered, |files| files.journal.ordered());
        Ordered(Position(ordered))
    }

    /// How much of it survives a loss of power.
    pub fn durable(&self) -> Durable {
        let durable = self.files.as_ref().map_or(self.ordered, |files| files.journal.durable());
        Durable(Position(durable))
    }

    /// Was there a write that failed?
    pub fn is_fenced(&self) -> bool {
        self.files.as_ref().is_some_and(|files| files.fenced)
    }

    /// Is there no room on the disk? Clears by itself.
    pub fn is_full(&self) -> bool {
        self.files.as_ref().is_some_and(|files| files.journal.is_full())
    }

    /// Damage that was found since the store was opened, as it is shown; the first few.
    pub fn known_damage(&self) -> &[String] {
        self.files.as_ref().map_or(&[], |files| &files.known_damage)
    }

    /// Is so much waiting to be written that publishers should be paused?
    pub fn is_pressed(&self) -> bool {
        self.files.as_ref().is_some_and(|files| files.journal.is_pressed())
    }

    /// Bytes that logs of a kind count for.
    pub fn bytes(&self, kind: Kind) -> u64 {
        self.logs().filter(|(_, log)| log.kind() == kind).map(|(_, log)| log.bytes()).sum()
    }

    /// Time passes: once a turn, before [`Self::take_requests`].
    pub fn tick(&mut self, now: Time) {
        if let Some(files) = &mut self.files {
            files.now = now;
            if files.fenced {
                return;
            }
            let is_quiet = files.journal.is_quiet(now)
                && !files.journal.is_full()
                && !files.unnamed.is_empty();
            files.journal.tick(now);
            if is_quiet {
                self.name_again();
            }
        }
    }

    /// When [`Self::tick`] has something to do although nothing happened.
    pub fn next_due(&self) -> Time {
        match &self.files {
            Some(files) if !files.fenced => {
                files.journal.next_due().min(files.queue.due(files.now))
            }
            _ => Time::NEVER,
        }
    }

    /// Appends what the disk is to do: once at the end of each turn.
    pub fn take_requests(&mut self, out: &mut Vec<DiskRequest>) {
        if let Some(opening) = &mut self.opening {
            opening.take_requests(out);
            return;
        }
        if self.files.is_some() {
            self.keep_up(out);
        }
    }

    /// Takes the outcome of a request.
    pub fn completed(&mut self, completion: DiskCompletion) {
        if self.opening.is_some() {
            self.proceed(completion);
        } else {
            self.take_outcome(completion);
        }
    }

    /// Appends the reads that came to an end, well or not: what waited for them asks again.
    pub fn take_finished_reads(&mut self, out: &mut Vec<ReadId>) {
        if let Some(files) = &mut self.files {
            files.cache.take_finished(out);
        }
    }

    /// Appends the damage that was found since the last call.
    pub fn take_damage(&mut self, out: &mut Vec<Damage>) {
        let Some(files) = &mut self.files else { return };
        for damage in files.damage.drain(..) {
            if files.known_damage.len() < KNOWN_DAMAGE_MAX {
                files.known_damage.push(damage.to_string());
            }
            let id = damage.log.as_ref().and_then(|name| self.names.get(name));
            let log = id.and_then(|id| self.logs.get_mut(id.0).as_deref_mut());
            if let (Some(log), Some(range)) = (log, &damage.sequences) {
                log.note_lost(range.clone(), damage.what == What::Message);
            }
            out.push(damage);
        }
    }
}

pub(crate) fn hasher(seed: u64) -> RandomState {
    let [a, b, c, d] = [1_u64, 2, 3, 4].map(|n| seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ n);
    RandomState::with_seeds(a, b, c, d)
}
