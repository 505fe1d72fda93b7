//! Looking through a log: the next and the last message of some keys, what is gone, and when.

use std::ops::RangeInclusive;

use base::Wall;

use super::Log;
use crate::keys::{KeyId, KeySet, KeyState};

impl Log {
    /// The first message at or after `from` whose key is in the set, which has to have followed the
    /// log's keys.
    pub fn next(&self, from: u64, set: &KeySet) -> Option<u64> {
        debug_assert!(set.is_current(&self.keys), "a set follows its log before it is used");
        let (mut lowest, mut highest) = self.bounds(from, u64::MAX, set)?;
        let mut known = None;
        if let Some(ids) = set.listed() {
            (lowest, known) = self.next_known(from, ids);
            highest = known.map_or(highest, |known| known - 1);
        }
        if lowest > highest {
            return known;
        }
        for part in self.parts.range(self.part_from(lowest)..) {
            if part.segment.base > highest {
                break;
            }
            if let Some(place) = part.segment.next(part.segment.place_from(lowest), set) {
                let found = part.segment.sequence(place);
                return Some(known.map_or(found, |known| found.min(known)));
            }
        }
        known
    }

    /// The lowest sequence at or after `from` that is known to be of one of these keys, and from
    /// where on the log has to be looked through for one that is lower.
    fn next_known(&self, from: u64, ids: &[u32]) -> (u64, Option<u64>) {
        let (mut lowest, mut known) = (u64::MAX, None);
        for key in ids.iter().map(|&id| self.keys.get(KeyId(id))) {
            if key.count == 0 || key.last < from {
                continue;
            }
            if key.first >= from && key.first_known {
                known = Some(known.map_or(key.first, |known: u64| known.min(key.first)));
            } else {
                lowest = lowest.min(key.first.max(from));
            }
        }
        (lowest, known)
    }

    /// The last message at or in front of `until` whose key is in the set.
    pub fn previous(&self, until: u64, set: &KeySet) -> Option<u64> {
        debug_assert!(set.is_current(&self.keys), "a set follows its log before it is used");
        let (lowest, highest) = self.bounds(0, until, set)?;
        let parts = self.parts.partition_point(|part| part.segment.base <= highest);
        for part in self.parts.range(..parts).rev() {
            if part.segment.end <= lowest {
                return None;
            }
            let end = part.segment.place_from(highest.saturating_add(1));
            if let Some(place) = part.segment.previous(end, set) {
                return Some(part.segment.sequence(place));
            }
        }
        None
    }

    /// Messages at or after `from` whose key is in the set.
    pub fn count(&self, from: u64, set: &KeySet) -> u64 {
        debug_assert!(set.is_current(&self.keys), "a set follows its log before it is used");
        if set.is_all() && from <= self.first {
            return self.messages;
        }
        if let Some(ids) = set.listed() {
            let keys = || ids.iter().map(|&id| self.keys.get(KeyId(id))).filter(|it| it.count > 0);
            if keys().all(|key| key.first >= from || key.last < from) {
                let ahead = keys().filter(|key| key.first >= from);
                return ahead.map(|key| u64::from(key.count)).sum();
            }
        }
        let Some((lowest, _)) = self.bounds(from, u64::MAX, set) else { return 0 };
        let parts = self.parts.range(self.part_from(lowest)..);
        parts.map(|part| part.segment.count(part.segment.place_from(lowest), set)).sum()
    }

    /// Where the messages of a set can be.
    fn bounds(&self, from: u64, until: u64, set: &KeySet) -> Option<(u64, u64)> {
        let (mut lowest, mut highest) = (self.first, self.last);
        if let Some(ids) = set.listed() {
            let used = ids.iter().filter(|&&id| self.keys.count(KeyId(id)) > 0);
            let mut keys = used.map(|&id| self.keys.get(KeyId(id)));
            let key = keys.next()?;
            (lowest, highest) = (key.first, key.last);
            for key in keys {
                lowest = lowest.min(key.first);
                highest = highest.max(key.last);
            }
        }
        let (lowest, highest) = (lowest.max(from), highest.min(until));
        (self.messages > 0 && lowest <= highest).then_some((lowest, highest))
    }

    /// First, last and count of a key. Looks through the log if the first or last message of the
    /// key was removed since; [`crate::Store::key_state`] remembers what it finds.
    pub fn key_state(&self, id: KeyId) -> Option<KeyState> {
        let count = self.keys.count(id);
        if count == 0 {
            return None;
        }
        let key = self.keys.get(id);
        let set = KeySet::one(&self.keys, id);
        let first = if key.first_known { Some(key.first) } else { self.next(key.first, &set) };
        let last = if key.last_known { Some(key.last) } else { self.previous(key.last, &set) };
        let missing = "a key with messages has a first and a last";
        Some(KeyState { first: first.expect(missing), last: last.expect(missing), count })
    }

    pub(crate) fn settle_key(&mut self, id: KeyId) -> Option<KeyState> {
        let state = self.key_state(id)?;
        let key = self.keys.get_mut(id);
        (key.first, key.first_known) = (state.first, true);
        (key.last, key.last_known) = (state.last, true);
        Some(state)
    }

    /// The first message stored at or after a time, going by the order of sequence. At the
    /// precision of [`Self::time_of`]; look at the entry where it must be exact.
    pub fn sequence_at(&self, wall: Wall) -> Option<u64> {
        self.parts
            .iter()
            .find_map(|part| part.segment.at_time(wall).map(|place| part.segment.sequence(place)))
    }

    /// Sequences between the first and the last that have no message.
    pub fn deleted_count(&self) -> u64 {
        if self.messages == 0 { 0 } else { self.last - self.first + 1 - self.messages }
    }

    /// Ranges of sequences between the first and the last that have no message.
    pub fn deleted(&self) -> impl Iterator<Item = RangeInclusive<u64>> {
        let mut expected = self.first;
        let end = if self.messages == 0 { expected } else { self.last + 1 };
        let live = self.live();
        let mut live = live.map(Some).chain([None]);
        std::iter::from_fn(move || {
            loop {
                let gap = expected;
                match live.next()? {
                    Some(sequence) => {
                        expected = sequence + 1;
                        if sequence > gap {
                            return Some(gap..=sequence - 1);
                        }
                    }
                    None if gap < end => return Some(gap..=end - 1),
                    None => return None,
                }
            }
        })
    }

    /// Every message's sequence, in order.
    pub fn live(&self) -> impl Iterator<Item = u64> {
        self.parts.iter().flat_map(|part| {
            let segment = &part.segment;
            let mut next = segment.next_live(0);
            std::iter::from_fn(move || {
                let place = next?;
                next = segment.next_live(place + 1);
                Some(segment.sequence(place))
            })
        })
    }
}
