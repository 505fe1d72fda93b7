//! What a consumer has delivered and not yet seen acknowledged.
//!
//! Entries stand in order of their sequence in the stream, so that the lowest is found at once and
//! any other by its distance from it. Each is also in one of several lists: one for each step of
//! the back-off, in the order in which they were delivered and so will be due; the queue of those
//! to be delivered again; or those that a client has put off. All of it takes constant time for a
//! message, and no memory beyond the most that ever was outstanding.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use base::{Duration, Time};

const NONE: u32 = u32::MAX;
/// The list of entries to be delivered again.
const QUEUE: u32 = 0;
/// Stands for the set of entries that were put off.
const DELAYED: u32 = u32::MAX - 1;
/// Entries that are gone, beyond as many as there are, before the order is packed.
const GONE_MIN: usize = 64;

/// A delivery that is outstanding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The message's sequence in the stream.
    pub(crate) sequence: u64,
    /// The number of its first delivery.
    pub(crate) number: u64,
    /// When it was delivered last, or the client last said that it works on it.
    pub(crate) since: Time,
    /// How often it was delivered.
    pub(crate) deliveries: u32,
}

#[derive(Debug)]
struct Slot {
    entry: Entry,
    /// When it is delivered again, if it was put off.
    until: Time,
    list: u32,
    previous: u32,
    next: u32,
}

#[derive(Clone, Copy, Debug)]
struct List {
    first: u32,
    last: u32,
}

impl List {
    const EMPTY: Self = Self { first: NONE, last: NONE };
}

/// Deliveries that are outstanding.
#[derive(Debug)]
pub(crate) struct Ledger {
    order: VecDeque<(u64, u32)>,
    /// Places of the order whose entry is gone.
    gone: usize,
    slots: Vec<Slot>,
    free: u32,
    /// The queue first, then one for each step.
    lists: Vec<List>,
    delayed: BTreeSet<(Time, u32)>,
    queued: usize,
    redelivered: usize,
    /// Messages that were delivered as often as is allowed, and how often that was.
    given_up: BTreeMap<u64, u32>,
}

/// How long to wait for an acknowledgement, by the number of deliveries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Waits {
    steps: Vec<Duration>,
}

impl Waits {
    /// The waits of a configuration; nothing is ever due if both are empty.
    pub(crate) fn new(ack_wait: i64, backoff: &[i64]) -> Self {
        let nanos = |wait: &i64| Duration::from_nanos((*wait).max(0) as u64);
        let steps = if !backoff.is_empty() {
            backoff.iter().map(nanos).collect()
        } else if ack_wait > 0 {
            vec![nanos(&ack_wait)]
        } else {
            Vec::new()
        };
        Self { steps }
    }

    fn step(&self, deliveries: u32) -> usize {
        (deliveries.max(1) as usize - 1).min(self.steps.len().saturating_sub(1))
    }

    /// How long to wait after so many deliveries; nothing for ever.
    pub(crate) fn after(&self, deliveries: u32) -> Option<Duration> {
        self.steps.get(self.step(deliveries)).copied()
    }
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self {
            order: VecDeque::new(),
            gone: 0,
            slots: Vec::new(),
            free: NONE,
            lists: vec![List::EMPTY; 2],
            delayed: BTreeSet::new(),
            queued: 0,
            redelivered: 0,
            given_up: BTreeMap::new(),
        }
    }

    /// Deliveries that are outstanding.
    pub(crate) fn len(&self) -> usize {
        self.order.len() - self.gone
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Messages that wait to be delivered again.
    pub(crate) fn queued(&self) -> usize {
        self.queued
    }

    /// Messages that were delivered more than once, given up ones included.
    pub(crate) fn redelivered(&self) -> usize {
        self.redelivered + self.given_up.len()
    }

    /// The outstanding delivery with the lowest sequence.
    pub(crate) fn lowest(&self) -> Option<&Entry> {
        let (_, slot) = self.order.front()?;
        Some(&self.slots[*slot as usize].entry)
    }

    /// Every outstanding delivery, in order of sequence.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        let slots = self.order.iter().filter(|(_, slot)| *slot != NONE);
        slots.map(|(_, slot)| &self.slots[*slot as usize].entry)
    }

    /// Messages that were given up, and how often they had been delivered.
    pub(crate) fn given_up(&self) -> impl Iterator<Item = (u64, u32)> {
        self.given_up.iter().map(|(sequence, deliveries)| (*sequence, *deliveries))
    }

    fn place(&self, sequence: u64) -> Option<usize> {
        let (first, _) = self.order.front()?;
        // Sequences rise, so a place is never beyond the distance; without gaps it is there.
        let distance = usize::try_from(sequence.checked_sub(*first)?).ok()?;
        let place = match self.order.get(distance) {
            Some((found, _)) if *found == sequence => distance,
            _ => self.order.binary_search_by_key(&sequence, |(found, _)| *found).ok()?,
        };
        (self.order[place].1 != NONE).then_some(place)
    }

    pub(crate) fn get(&self, sequence: u64) -> Option<&Entry> {
        let place = self.place(sequence)?;
        Some(&self.slots[self.order[place].1 as usize].entry)
    }

    /// Is a delivery of this message outstanding, or was it given up?
    pub(crate) fn holds(&self, sequence: u64) -> bool {
        self.place(sequence).is_some() || self.given_up.contains_key(&sequence)
    }

    /// Notes a first delivery: of a message behind all that are outstanding.
    pub(crate) fn insert(&mut self, entry: Entry, waits: &Waits) {
        if let Some((last, _)) = self.order.back() {
            assert!(entry.sequence > *last, "new deliveries are in order of sequence");
        }
        let slot = Slot { entry, until: Time::NEVER, list: QUEUE, previous: NONE, next: NONE };
        let id = if self.free == NONE {
            self.slots.push(slot);
            self.slots.len() as u32 - 1
        } else {
            let id = self.free;
            self.free = self.slots[id as usize].next;
            self.slots[id as usize] = slot;
            id
        };
        self.order.push_back((entry.sequence, id));
        self.redelivered += usize::from(entry.deliveries > 1);
        self.link(id, 1 + waits.step(entry.deliveries) as u32);
    }

    /// Puts an entry at the end of a list.
    fn link(&mut self, id: u32, list: u32) {
        if self.lists.len() <= list as usize {
            self.lists.resize(list as usize + 1, List::EMPTY);
        }
        let end = self.lists[list as usize].last;
        let slot = &mut self.slots[id as usize];
        (slot.list, slot.previous, slot.next) = (list, end, NONE);
        match end {
            NONE => self.lists[list as usize].first = id,
            end => self.slots[end as usize].next = id,
        }
        self.lists[list as usize].last = id;
        self.queued += usize::from(list == QUEUE);
    }

    /// Takes an entry out of its list.
    fn unlink(&mut self, id: u32) {
        let Slot { list, previous, next, until, .. } = self.slots[id as usize];
        if list == DELAYED {
            self.delayed.remove(&(until, id));
            return;
        }
        match previous {
            NONE => self.lists[list as usize].first = next,
            previous => self.slots[previous as usize].next = next,
        }
        match next {
            NONE => self.lists[list as usize].last = previous,
            next => self.slots[next as usize].previous = previous,
        }
        self.queued -= usize::from(list == QUEUE);
    }

    fn take(&mut self, place: usize) -> Entry {
        let id = self.order[place].1;
        assert_ne!(id, NONE, "an entry is taken once");
        self.unlink(id);
        let entry = self.slots[id as usize].entry;
        self.slots[id as usize].next = self.free;
        self.free = id;
        self.order[place].1 = NONE;
        self.gone += 1;
        self.redelivered -= usize::from(entry.deliveries > 1);
        self.tidy();
        entry
    }

    fn tidy(&mut self) {
        while self.order.front().is_some_and(|(_, slot)| *slot == NONE) {
            self.order.pop_front();
            self.gone -= 1;
        }
        while self.order.back().is_some_and(|(_, slot)| *slot == NONE) {
            self.order.pop_back();
            self.gone -= 1;
        }
        if self.gone > self.len() + GONE_MIN {
            self.order.retain(|(_, slot)| *slot != NONE);
            self.gone = 0;
        }
    }

    /// A message was acknowledged or is gone.
    pub(crate) fn remove(&mut self, sequence: u64) -> Option<Entry> {
        let place = self.place(sequence)?;
        Some(self.take(place))
    }

    /// Takes the lowest entry if its sequence is not above `sequence`.
    pub(crate) fn remove_lowest(&mut self, sequence: u64) -> Option<Entry> {
        let (lowest, _) = self.order.front()?;
        (*lowest <= sequence).then(|| self.take(0))
    }

    /// Forgets that a message was given up. How often it had been delivered, if it was.
    pub(crate) fn forget(&mut self, sequence: u64) -> Option<u32> {
        self.given_up.remove(&sequence)
    }

    /// A message will not be delivered any more, but stays where it is kept until acknowledged.
    pub(crate) fn give_up(&mut self, sequence: u64) -> Option<Entry> {
        let entry = self.remove(sequence)?;
        self.given_up.insert(sequence, entry.deliveries);
        Some(entry)
    }

    /// Notes a message that was given up before a restart.
    pub(crate) fn recall_given_up(&mut self, sequence: u64, deliveries: u32) {
        self.given_up.insert(sequence, deliveries);
    }

    /// The client works on a message. False if it is not outstanding.
    pub(crate) fn touch(&mut self, sequence: u64, now: Time, waits: &Waits) -> bool {
        let Some(place) = self.place(sequence) else { return false };
        let id = self.order[place].1;
        let slot = &mut self.slots[id as usize];
        slot.entry.since = now;
        let step = 1 + waits.step(slot.entry.deliveries) as u32;
        if slot.list != QUEUE {
            self.unlink(id);
            self.link(id, step);
        }
        true
    }

    /// A message is to be delivered again, behind those that are to be already.
    pub(crate) fn queue(&mut self, sequence: u64) {
        let Some(place) = self.place(sequence) else { return };
        let id = self.order[place].1;
        if self.slots[id as usize].list != QUEUE {
            self.unlink(id);
            self.link(id, QUEUE);
        }
    }

    /// A message is to be delivered again, at a time.
    pub(crate) fn delay(&mut self, sequence: u64, until: Time) {
        let Some(place) = self.place(sequence) else { return };
        let id = self.order[place].1;
        self.unlink(id);
        let slot = &mut self.slots[id as usize];
        (slot.list, slot.until) = (DELAYED, until);
        self.delayed.insert((until, id));
    }

    /// The next message to be delivered again.
    pub(crate) fn next_queued(&self) -> Option<&Entry> {
        let first = self.lists[QUEUE as usize].first;
        (first != NONE).then(|| &self.slots[first as usize].entry)
    }

    /// The next message to be delivered again was.
    pub(crate) fn redeliver(&mut self, sequence: u64, now: Time, waits: &Waits) {
        let id = self.lists[QUEUE as usize].first;
        assert_ne!(id, NONE, "what is delivered again stands in the queue");
        let entry = &mut self.slots[id as usize].entry;
        assert_eq!(entry.sequence, sequence, "the first of the queue is delivered");
        self.redelivered += usize::from(entry.deliveries == 1);
        entry.deliveries = entry.deliveries.saturating_add(1);
        entry.since = now;
        let step = 1 + waits.step(entry.deliveries) as u32;
        self.unlink(id);
        self.link(id, step);
    }

    /// When the next message becomes due.
    pub(crate) fn next_due(&self, waits: &Waits) -> Time {
        let delayed = self.delayed.first().map_or(Time::NEVER, |(until, _)| *until);
        let steps = self.lists.iter().enumerate().skip(1).filter(|(_, list)| list.first != NONE);
        let due = steps.map(|(step, list)| self.due(step, list.first, waits));
        due.min().unwrap_or(Time::NEVER).min(delayed)
    }

    fn due(&self, list: usize, id: u32, waits: &Waits) -> Time {
        let since = self.slots[id as usize].entry.since;
        waits.after(list as u32).map_or(Time::NEVER, |wait| since.after(wait))
    }

    /// Moves what is due to the queue, in order of sequence. What was delivered `most` times
    /// already goes to `exceeded` instead.
    pub(crate) fn expire(
        &mut self,
        now: Time,
        waits: &Waits,
        most: Option<u32>,
        exceeded: &mut Vec<u64>,
    ) {
        let mut due: Vec<(u64, u32)> = Vec::new();
        for step in 1..self.lists.len() {
            let mut id = self.lists[step].first;
            while id != NONE && self.due(step, id, waits) <= now {
                due.push((self.slots[id as usize].entry.sequence, id));
                id = self.slots[id as usize].next;
            }
        }
        for &(_, id) in self.delayed.iter().take_while(|(until, _)| *until <= now) {
            due.push((self.slots[id as usize].entry.sequence, id));
        }
        due.sort_unstable();
        for (sequence, id) in due {
            let deliveries = self.slots[id as usize].entry.deliveries;
            if most.is_some_and(|most| deliveries >= most) {
                exceeded.push(sequence);
                continue;
            }
            self.unlink(id);
            self.link(id, QUEUE);
        }
    }

    /// Every outstanding message is to be delivered again.
    pub(crate) fn queue_all(&mut self) {
        let all: Vec<u64> = self.iter().map(|entry| entry.sequence).collect();
        for sequence in all {
            self.queue(sequence);
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::new();
    }
}

#[cfg(test)]
mod tests {
    use base::Random;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn entry(sequence: u64, number: u64, since: u64) -> Entry {
        Entry { sequence, number, since: Time(since), deliveries: 1 }
    }

    fn queue_of(ledger: &Ledger) -> Vec<u64> {
        let mut out = Vec::new();
        let mut id = ledger.lists[0].first;
        while id != NONE {
            out.push(ledger.slots[id as usize].entry.sequence);
            id = ledger.slots[id as usize].next;
        }
        out
    }

    #[test]
    fn what_is_due_is_queued_in_order_of_sequence() {
        let waits = Waits::new(SECOND as i64, &[]);
        let mut ledger = Ledger::new();
        for sequence in 1..=4 {
            ledger.insert(entry(sequence, sequence, 0), &waits);
        }
        ledger.touch(1, Time(5), &waits);
        ledger.delay(2, Time(9));
        let mut exceeded = Vec::new();
        ledger.expire(Time(9), &waits, None, &mut exceeded);
        assert_eq!(queue_of(&ledger), [2]);
        assert_eq!(ledger.next_due(&waits), Time(SECOND));
        ledger.expire(Time(SECOND + 5), &waits, None, &mut exceeded);
        assert_eq!(queue_of(&ledger), [2, 1, 3, 4]);
        assert!(exceeded.is_empty());
        assert_eq!(ledger.next_due(&waits), Time::NEVER);
        ledger.redeliver(2, Time(SECOND + 5), &waits);
        assert_eq!((ledger.redelivered(), ledger.queued(), ledger.len()), (1, 3, 4));
        ledger.expire(Time(3 * SECOND), &waits, Some(2), &mut exceeded);
        assert_eq!(exceeded, [2]);
        assert_eq!(ledger.give_up(2).map(|entry| entry.deliveries), Some(2));
        assert!(ledger.holds(2));
        assert_eq!((ledger.redelivered(), ledger.len()), (1, 3));
    }

    #[test]
    fn the_steps_of_a_back_off_follow_each_other() {
        let waits = Waits::new(0, &[1, 10, 100]);
        let mut ledger = Ledger::new();
        ledger.insert(entry(7, 1, 0), &waits);
        let mut now = 0;
        for wait in [1, 10, 100, 100] {
            assert_eq!(ledger.next_due(&waits), Time(now + wait));
            now += wait;
            ledger.expire(Time(now), &waits, None, &mut Vec::new());
            ledger.redeliver(7, Time(now), &waits);
        }
    }

    #[test]
    fn a_ledger_agrees_with_a_map() {
        let waits = Waits::new(1000, &[]);
        let mut random = Random::new(5);
        let mut ledger = Ledger::new();
        let mut model: BTreeMap<u64, u64> = BTreeMap::new();
        let (mut last, mut number) = (0, 0);
        for step in 0..20_000 {
            match random.below(5) {
                0 | 1 => {
                    last += 1 + random.below(3);
                    number += 1;
                    ledger.insert(entry(last, number, step), &waits);
                    model.insert(last, number);
                }
                2 => {
                    let sequence = last.saturating_sub(random.below(200));
                    let removed = ledger.remove(sequence).map(|entry| entry.number);
                    assert_eq!(removed, model.remove(&sequence));
                }
                3 => {
                    let sequence = last.saturating_sub(random.below(400));
                    let is_there = ledger.touch(sequence, Time(step), &waits);
                    assert_eq!(is_there, model.contains_key(&sequence));
                    ledger.queue(last.saturating_sub(random.below(50)));
                }
                _ => {
                    let sequence = last.saturating_sub(300 + random.below(100));
                    while let Some(entry) = ledger.remove_lowest(sequence) {
                        assert_eq!(model.pop_first(), Some((entry.sequence, entry.number)));
                    }
                }
            }
            assert_eq!(ledger.len(), model.len());
            let lowest = ledger.lowest().map(|entry| (entry.sequence, entry.number));
            assert_eq!(lowest, model.first_key_value().map(|(a, b)| (*a, *b)));
        }
        let listed: Vec<u64> = ledger.iter().map(|entry| entry.sequence).collect();
        assert_eq!(listed, model.keys().copied().collect::<Vec<_>>());
        assert_eq!(queue_of(&ledger).len(), ledger.queued());
        assert!(ledger.slots.len() < 1500, "{} slots", ledger.slots.len());
    }
}
