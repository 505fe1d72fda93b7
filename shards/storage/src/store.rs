//! Every log of one core, and the journal they share.

use std::collections::HashMap;

use ahash::RandomState;
use base::{Duration, Slab, Time};

use crate::damage::Damage;
use crate::disk::{DiskCompletion, DiskRequest};
use crate::entry::{Entry, Fetched, ReadId, read_record};
use crate::keys::{KeyId, KeyState};
use crate::log::Log;
use crate::position::{Durable, Ordered, Position};

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
#[derive(Clone, Debug, Default)]
pub struct StoreOptions {
    /// When writes are synced.
    pub sync: Sync,
    /// Random bytes for the hash tables of keys.
    pub seed: u64,
}

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

/// Every log of one core.
#[derive(Debug)]
pub struct Store {
    options: StoreOptions,
    logs: Slab<Option<Box<Log>>>,
    names: HashMap<Box<[u8]>, LogId, RandomState>,
    ordered: Ordered,
    durable: Durable,
    fenced: bool,
}

impl Store {
    /// A store without anything in it.
    pub fn new(options: StoreOptions) -> Self {
        let names = HashMap::with_hasher(hasher(options.seed));
        Self {
            options,
            logs: Slab::default(),
            names,
            ordered: Ordered::default(),
            durable: Durable::default(),
            fenced: false,
        }
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
        if kind == Kind::File && self.fenced {
            return Err(Failure::Fenced);
        }
        let log = Log::new(name, kind, options, hasher(self.options.seed));
        let id = LogId(self.logs.insert(Some(Box::new(log))));
        self.names.insert(name.into(), id);
        Ok(id)
    }

    /// Removes a log with everything in it. The position is that of the removal.
    pub fn destroy(&mut self, id: LogId) -> Position {
        let log = self.logs.remove(id.0).expect("a log is destroyed once");
        self.names.remove(log.name());
        self.advance(log.kind(), 32)
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

    fn advance(&mut self, kind: Kind, bytes: usize) -> Position {
        match kind {
            Kind::Memory => Position::START,
            Kind::File => {
                self.ordered.0.0 += bytes as u64;
                self.ordered.0
            }
        }
    }

    /// Changes how a log is kept from now on.
    pub fn set_options(&mut self, id: LogId, options: LogOptions) -> Position {
        let log = self.log_mut(id);
        log.set_options(options);
        let kind = log.kind();
        self.advance(kind, 32)
    }

    /// Stores a message. It survives a loss of power once [`Self::durable`] covers the position.
    ///
    /// # Errors
    /// Nothing was stored: see [`Failure`].
    pub fn append(&mut self, id: LogId, entry: &Entry<'_>) -> Result<Position, Failure> {
        let fenced = self.fenced;
        let log = self.log_mut(id);
        log.admits(entry)?;
        let kind = log.kind();
        if fenced && kind == Kind::File {
            return Err(Failure::Fenced);
        }
        log.append(entry)?;
        Ok(self.advance(kind, crate::entry::record_bytes(entry)))
    }

    /// Removes a message; `secure` overwrites its bytes wherever they are. Nothing if there is no
    /// such message.
    pub fn remove(&mut self, id: LogId, sequence: u64, secure: bool) -> Option<Position> {
        let _ = secure;
        let log = self.log_mut(id);
        if !log.remove(sequence) {
            return None;
        }
        let kind = log.kind();
        Some(self.advance(kind, 32))
    }

    /// Removes everything in front of a sequence. One beyond the last raises the last, as the
    /// reference's `Compact` does; one more than the last removes all there is.
    pub fn truncate_before(&mut self, id: LogId, sequence: u64) -> Position {
        let log = self.log_mut(id);
        log.truncate_before(sequence);
        let kind = log.kind();
        self.advance(kind, 32)
    }

    /// Forgets all messages and sets both sequences: `first` is one more than `last`, or zero with
    /// a `last` of zero.
    pub fn reset_to(&mut self, id: LogId, first: u64, last: u64) -> Position {
        let log = self.log_mut(id);
        log.reset_to(first, last);
        let kind = log.kind();
        self.advance(kind, 40)
    }

    /// Keeps a small value beside the messages, in place of an earlier one of the key; an empty
    /// value removes it.
    pub fn put_note(&mut self, id: LogId, key: &[u8], value: &[u8]) -> Position {
        let log = self.log_mut(id);
        if value.is_empty() {
            log.notes.remove(key);
        } else if let Some(place) = log.notes.get_mut(key)
            && place.len() == value.len()
        {
            place.copy_from_slice(value);
        } else {
            log.notes.insert(key.into(), value.into());
        }
        let kind = log.kind();
        self.advance(kind, 32 + key.len() + value.len())
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
        let log = self.log(id);
        let Some((part, start, end)) = log.locate(sequence) else { return Fetched::Missing };
        match log.parts[part].data.read((start, end)).and_then(read_record) {
            Some((entry, _)) => Fetched::Here(entry),
            None => Fetched::Damaged,
        }
    }

    /// First, last and count of a key; remembers what it had to look for.
    pub fn key_state(&mut self, id: LogId, key: KeyId) -> Option<KeyState> {
        self.log_mut(id).settle_key(key)
    }

    /// How far the journal's order goes.
    pub fn ordered(&self) -> Ordered {
        self.ordered
    }

    /// How much of it survives a loss of power.
    pub fn durable(&self) -> Durable {
        // Nothing is written yet, so nothing is waited for.
        Durable(self.ordered.0)
    }

    /// Was there a write that failed?
    pub fn is_fenced(&self) -> bool {
        self.fenced
    }

    /// Is so much waiting to be written that publishers should be paused?
    pub fn is_pressed(&self) -> bool {
        false
    }

    /// Bytes that logs of a kind count for.
    pub fn bytes(&self, kind: Kind) -> u64 {
        self.logs().filter(|(_, log)| log.kind() == kind).map(|(_, log)| log.bytes()).sum()
    }

    /// Time passes: once a turn, before [`Self::take_requests`].
    pub fn tick(&mut self, now: Time) {
        let _ = now;
    }

    /// When [`Self::tick`] has something to do although nothing happened.
    pub fn next_due(&self) -> Time {
        Time::NEVER
    }

    /// Appends what the disk is to do: once at the end of each turn.
    pub fn take_requests(&mut self, out: &mut Vec<DiskRequest>) {
        let _ = out;
        self.durable = Durable(self.ordered.0);
    }

    /// Takes the outcome of a request.
    pub fn completed(&mut self, completion: DiskCompletion) {
        match completion {}
    }

    /// Appends the reads that came to an end, well or not: what waited for them asks again.
    pub fn take_finished_reads(&mut self, out: &mut Vec<ReadId>) {
        let _ = out;
    }

    /// Appends the damage that was found since the last call.
    pub fn take_damage(&mut self, out: &mut Vec<Damage>) {
        let _ = out;
    }
}

fn hasher(seed: u64) -> RandomState {
    let [a, b, c, d] = [1_u64, 2, 3, 4].map(|n| seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ n);
    RandomState::with_seeds(a, b, c, d)
}
