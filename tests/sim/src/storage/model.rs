//! What a store has to be: logs as plain lists, and every operation that was asked for since the
//! last one that was durable.

use std::collections::BTreeMap;

use ::storage::{Entry, Kind, Log, LogId, Store};
use base::Wall;

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// When it was stored.
    pub wall: i64,
    /// Its key.
    pub subject: Vec<u8>,
    /// Sizes, payload and line ends.
    pub tail: Vec<u8>,
    /// Bytes of the sizes.
    pub sizes_bytes: usize,
}

impl Message {
    /// As it is appended.
    pub fn entry(&self, sequence: u64) -> Entry<'_> {
        Entry {
            sequence,
            wall: Wall(self.wall),
            subject: &self.subject,
            header: 0,
            tail: &self.tail,
            sizes_bytes: self.sizes_bytes,
        }
    }
}

/// A log.
#[derive(Clone, Debug, Default)]
pub struct Plain {
    /// Its first sequence.
    pub first: u64,
    /// The highest that was ever used.
    pub last: u64,
    /// Its messages.
    pub messages: BTreeMap<u64, Message>,
    /// Its notes.
    pub notes: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Something that was done to a log, by its name.
#[derive(Clone, Debug)]
pub enum Deed {
    /// It came to be.
    Create,
    /// It is gone.
    Destroy,
    /// A message was stored under a sequence.
    Append(u64, Message),
    /// A message is gone.
    Remove(u64),
    /// Everything in front of a sequence is gone.
    Truncate(u64),
    /// Everything is gone, and these are the sequences.
    Reset(u64, u64),
    /// It is kept otherwise, which nobody sees.
    Options,
    /// A note has a value.
    Note(Vec<u8>, Vec<u8>),
}

/// All logs.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// By name.
    pub logs: BTreeMap<Vec<u8>, Plain>,
}

impl Plain {
    fn settle(&mut self) {
        if let Some(first) = self.messages.keys().next() {
            self.first = *first;
        } else if self.last > 0 {
            self.first = self.last + 1;
        }
    }

    /// What is different in a log, if anything is.
    fn difference(&self, store: &Store, id: LogId, log: &Log) -> Option<String> {
        let found = (log.first(), log.last(), log.messages());
        let expected = (self.first, self.last, self.messages.len() as u64);
        if found != expected {
            return Some(format!("first, last, messages: {found:?} instead of {expected:?}"));
        }
        if !log.live().eq(self.messages.keys().copied()) {
            return Some(String::from("other messages"));
        }
        let notes = self.notes.iter().map(|(key, value)| (key.as_slice(), value.as_slice()));
        if !store.notes(id).eq(notes) {
            return Some(String::from("other notes"));
        }
        None
    }
}

impl Model {
    /// Does it.
    pub fn apply(&mut self, name: &[u8], deed: &Deed) {
        if let Deed::Destroy = deed {
            self.logs.remove(name);
            return;
        }
        let log = self.logs.entry(name.to_vec()).or_default();
        match deed {
            Deed::Create | Deed::Destroy | Deed::Options => {}
            Deed::Append(sequence, message) => {
                log.messages.insert(*sequence, message.clone());
                log.last = *sequence;
            }
            Deed::Remove(sequence) => {
                log.messages.remove(sequence);
            }
            Deed::Truncate(sequence) => {
                log.messages = log.messages.split_off(sequence);
                log.last = log.last.max(sequence.saturating_sub(1));
            }
            Deed::Reset(first, last) => {
                log.messages.clear();
                (log.first, log.last) = (*first, *last);
            }
            Deed::Note(key, value) if value.is_empty() => {
                log.notes.remove(key);
            }
            Deed::Note(key, value) => {
                log.notes.insert(key.clone(), value.clone());
            }
        }
        log.settle();
    }

    /// What is different in a store, if anything is.
    pub fn difference(&self, store: &Store) -> Option<String> {
        let of_files = || store.logs().filter(|(_, log)| log.kind() == Kind::File);
        if let Some((_, log)) = of_files().find(|(_, log)| !self.logs.contains_key(log.name())) {
            return Some(format!("{} should not be", String::from_utf8_lossy(log.name())));
        }
        for (name, plain) in &self.logs {
            let shown = String::from_utf8_lossy(name);
            let Some(id) = store.find(name) else { return Some(format!("{shown} is not there")) };
            if let Some(difference) = plain.difference(store, id, store.log(id)) {
                return Some(format!("{shown}: {difference}"));
            }
        }
        None
    }
}
