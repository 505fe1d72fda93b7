//! What a consumer keeps so that it survives a restart (docs/decisions/consumers.md).
//!
//! Three kinds of notes in the stream's log: the configuration under `c/<name>`, the whole state
//! under `c/<name>/s`, and what changed since under `c/<name>/<n>`, used in turn. They are written
//! once for all that happened in a turn, and at once only if a client waits for it.

use std::collections::VecDeque;

use base::{Duration, Time};
use storage::Position;

use super::{
    config::{AckPolicy, ConsumerConfig},
    cursor::{Consumer, Skip},
    desk::Desk,
    ledger::Entry,
    state::{Change, State},
};
use crate::stream::StreamConfig;

/// Keys of consumers begin with this.
pub(crate) const PREFIX: &[u8] = b"c/";
/// Notes of changes before the whole state is written again.
const CHANGES_MAX: u8 = 32;
/// Outstanding deliveries up to which the whole state is written each time: a few bytes each, and
/// so not more than what a change takes.
const WHOLE_ENTRIES_MAX: usize = 64;
/// Bytes of changes after which the whole state is written again.
const CHANGE_BYTES_MAX: usize = 64 * 1024;
/// How long acknowledgements that nobody waits for may stay unwritten.
const ACK_DELAY: Duration = Duration::from_millis(5);
/// How long deliveries may stay unwritten: they are made again after a crash, as deliveries whose
/// acknowledgement got lost are.
const DELIVERY_DELAY: Duration = Duration::from_millis(50);

/// A consumer's notes, and who waits for them.
#[derive(Debug)]
pub(crate) struct Notes {
    key: Vec<u8>,
    is_kept: bool,
    /// When what changed has to be written.
    due: Time,
    /// Has the whole state to be written?
    is_whole: bool,
    generation: u64,
    used: u8,
    change_bytes: usize,
    /// Deliveries in front of this sequence stand in a note.
    noted: u64,
    /// Those of them that have ended since.
    ended: Vec<u64>,
    /// Those of them that were delivered again since.
    again: Vec<u64>,
    /// Replies to acknowledgements that are not yet written.
    fresh: Vec<Box<[u8]>>,
    /// Replies to those that are written and maybe not yet durable.
    waiting: VecDeque<(Position, Box<[u8]>)>,
}

impl Notes {
    pub(crate) fn new(stream: &StreamConfig, name: &str, config: &ConsumerConfig) -> Self {
        Self {
            key: [PREFIX, name.as_bytes()].concat(),
            is_kept: config.is_kept(stream),
            due: Time::NEVER,
            is_whole: true,
            generation: 0,
            used: 0,
            change_bytes: 0,
            noted: 0,
            ended: Vec::new(),
            again: Vec::new(),
            fresh: Vec::new(),
            waiting: VecDeque::new(),
        }
    }

    /// Something was delivered.
    pub(crate) fn delivered(&mut self, now: Time) {
        self.due = self.due.min(now.after(DELIVERY_DELAY));
    }

    /// A message was delivered again.
    pub(crate) fn redelivered(&mut self, sequence: u64, now: Time) {
        if self.is_kept && sequence < self.noted {
            self.again.push(sequence);
        }
        self.delivered(now);
    }

    /// A delivery has ended.
    pub(crate) fn ended(&mut self, sequence: u64, now: Time) {
        if self.is_kept && sequence < self.noted && !self.is_whole {
            self.ended.push(sequence);
        }
        self.due = self.due.min(now.after(ACK_DELAY));
    }

    /// More changed than can be told piece by piece.
    pub(crate) fn changed_all(&mut self, now: Time) {
        self.is_whole = true;
        self.due = self.due.min(now.after(ACK_DELAY));
    }

    /// A client waits for an answer to what just changed.
    pub(crate) fn answer(&mut self, reply: &[u8], now: Time) {
        self.fresh.push(reply.into());
        self.due = now;
    }

    /// When there is something to write, or somebody to answer.
    pub(crate) fn next_due(&self) -> Time {
        self.due
    }

    fn key_of(&self, tail: impl std::fmt::Display) -> Vec<u8> {
        let mut key = self.key.clone();
        key.extend_from_slice(format!("/{tail}").as_bytes());
        key
    }
}

impl Consumer {
    /// Keeps the configuration.
    pub(crate) fn note_config(&mut self, desk: &mut Desk<'_, '_>) {
        if !self.notes.is_kept {
            return;
        }
        let mut value = Vec::new();
        value.extend_from_slice(&self.created.0.to_le_bytes());
        self.config.put(&mut value, None);
        desk.view.store.put_note(desk.view.core.log, &self.notes.key, &value);
    }

    /// Writes what changed if it is due, and answers those who waited until it was durable.
    pub(crate) fn settle(&mut self, desk: &mut Desk<'_, '_>) {
        if self.notes.due <= desk.now() {
            self.note_state(desk);
        }
        let durable = desk.view.store.durable();
        while let Some((position, reply)) = self.notes.waiting.front() {
            if !durable.covers(*position) {
                break;
            }
            let account = desk.view.core.account;
            desk.view.parcel.clear().send(desk.out, account, reply, b"");
            self.notes.waiting.pop_front();
        }
    }

    /// Does a client wait for something to become durable?
    pub(crate) fn is_awaited(&self) -> bool {
        !self.notes.waiting.is_empty()
    }

    /// Writes what changed.
    pub(crate) fn note_state(&mut self, desk: &mut Desk<'_, '_>) {
        self.notes.due = Time::NEVER;
        let mut position = Position::START;
        if self.notes.is_kept {
            let is_whole = self.notes.is_whole
                || self.ledger.len() <= WHOLE_ENTRIES_MAX
                || self.notes.used == CHANGES_MAX
                || self.notes.change_bytes > CHANGE_BYTES_MAX;
            let (key, value) = if is_whole { self.whole_note(desk) } else { self.change_note() };
            position = desk.view.store.put_note(desk.view.core.log, &key, &value);
            self.notes.noted = self.next;
            self.notes.ended.clear();
            self.notes.again.clear();
        }
        let notes = &mut self.notes;
        notes.waiting.extend(notes.fresh.drain(..).map(|reply| (position, reply)));
    }

    fn whole_note(&mut self, desk: &Desk<'_, '_>) -> (Vec<u8>, Vec<u8>) {
        let notes = &mut self.notes;
        (notes.is_whole, notes.used, notes.change_bytes) = (false, 0, 0);
        notes.generation += 1;
        let generation = notes.generation;
        let state = State {
            generation,
            wall: desk.view.now.wall,
            place: self.place(),
            entries: self.ledger.iter().copied().collect(),
            given_up: self.ledger.given_up().collect(),
        };
        let mut value = Vec::new();
        state.put(&mut value);
        (self.notes.key_of('s'), value)
    }

    fn change_note(&mut self) -> (Vec<u8>, Vec<u8>) {
        let from = self.notes.noted;
        let fresh = self.ledger.iter().rev().take_while(|entry| entry.sequence >= from);
        let mut added: Vec<Entry> = fresh.copied().collect();
        added.reverse();
        let notes = &mut self.notes;
        notes.ended.sort_unstable();
        notes.again.sort_unstable();
        notes.again.dedup();
        let again = notes.again.iter().filter_map(|sequence| self.ledger.get(*sequence));
        let again = again.map(|entry| (entry.sequence, entry.deliveries)).collect();
        let change = Change {
            generation: notes.generation,
            place: self.place(),
            added,
            ended: self.notes.ended.clone(),
            again,
        };
        let mut value = Vec::new();
        change.put(&mut value);
        let key = self.notes.key_of(self.notes.used);
        self.notes.used += 1;
        self.notes.change_bytes += value.len();
        (key, value)
    }

    /// Takes up the state that was kept. False if there is none.
    pub(crate) fn recall(&mut self, desk: &mut Desk<'_, '_>) -> bool {
        let log = desk.view.core.log;
        let whole = desk.view.store.note(log, &self.notes.key_of('s'));
        let Some(mut state) = whole.and_then(State::read) else { return false };
        for number in 0..CHANGES_MAX {
            let note = desk.view.store.note(log, &self.notes.key_of(number));
            let Some(change) = note.and_then(Change::read) else { break };
            if change.generation != state.generation {
                break;
            }
            state.apply(change);
        }
        self.notes.generation = state.generation;
        self.restore(desk, state);
        true
    }

    fn restore(&mut self, desk: &mut Desk<'_, '_>, state: State) {
        let now = desk.view.now;
        let elapsed = now.wall.0.saturating_sub(state.wall.0).max(0);
        let elapsed = Duration::from_nanos(elapsed as u64);
        let log = desk.view.store.log(desk.view.core.log);
        (self.next, self.delivered, self.floor) =
            (state.place.next, state.place.delivered, state.place.floor);
        for entry in state.entries.iter().filter(|entry| log.contains(entry.sequence)) {
            self.ledger.insert(Entry { since: now.time, ..*entry }, &self.waits);
            if let Some(wait) = self.waits.after(entry.deliveries) {
                let until = now.time.after(wait.saturating_sub(elapsed));
                self.ledger.delay(entry.sequence, until);
            }
        }
        for (sequence, deliveries) in state.given_up {
            if log.contains(sequence) {
                self.ledger.recall_given_up(sequence, deliveries);
            }
        }
        if state.place.until >= self.next {
            let keys = self.filter.keys(log);
            let mut sequences = super::cursor::last_of_each(log, keys, state.place.until);
            sequences.retain(|sequence| *sequence >= self.next);
            self.skip = Some(Skip { sequences, until: state.place.until });
        }
        if self.ledger.is_empty() && self.config.ack_policy == AckPolicy::Explicit {
            self.floor = self.delivered;
        }
        self.recount(desk.view);
        self.notes.is_whole = true;
    }

    /// Removes every note.
    pub(crate) fn forget_notes(&mut self, desk: &mut Desk<'_, '_>) {
        if !self.notes.is_kept {
            return;
        }
        let log = desk.view.core.log;
        let keys = (0..CHANGES_MAX).map(|number| self.notes.key_of(number));
        let all = keys.chain([self.notes.key_of('s'), self.notes.key.clone()]);
        for key in all.collect::<Vec<_>>() {
            if desk.view.store.note(log, &key).is_some() {
                desk.view.store.put_note(log, &key, b"");
            }
        }
    }
}
