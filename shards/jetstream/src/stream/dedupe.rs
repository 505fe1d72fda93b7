//! Message ids that were seen within the window (spec 6.5).

use std::collections::VecDeque;

use ahash::RandomState;
use base::Wall;
use hashbrown::HashTable;

/// The ids of a stream's recent messages. An id is known by 128 bits of it, under seeds that nobody
/// outside knows: that two ids share them will not happen.
#[derive(Debug)]
pub(crate) struct Dedupe {
    hashers: [RandomState; 2],
    /// In the order of arrival.
    seen: VecDeque<Seen>,
    /// How many were forgotten: the first of `seen` has this number.
    forgotten: u64,
    /// Low bits of the numbers of what is in `seen`.
    table: HashTable<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    key: Key,
    sequence: u64,
    wall: Wall,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key([u64; 2]);

impl Dedupe {
    pub(crate) fn new(seed: u64) -> Self {
        let hasher = |salt: u64| RandomState::with_seeds(seed, salt, !seed, seed ^ salt);
        Self {
            hashers: [hasher(1), hasher(2)],
            seen: VecDeque::new(),
            forgotten: 0,
            table: HashTable::new(),
        }
    }

    fn key(&self, id: &[u8]) -> Key {
        Key([self.hashers[0].hash_one(id), self.hashers[1].hash_one(id)])
    }

    fn place(&self, number: u32) -> usize {
        number.wrapping_sub(self.forgotten as u32) as usize
    }

    /// The sequence that an id was stored under.
    pub(crate) fn find(&self, id: &[u8]) -> Option<u64> {
        let key = self.key(id);
        let found = self.table.find(key.0[0], |&number| self.seen[self.place(number)].key == key);
        found.map(|&number| self.seen[self.place(number)].sequence)
    }

    /// Notes an id; a later sequence of the same one replaces it.
    pub(crate) fn insert(&mut self, id: &[u8], sequence: u64, wall: Wall) {
        let key = self.key(id);
        let (seen, forgotten) = (&mut self.seen, self.forgotten as u32);
        let place = |number: u32| number.wrapping_sub(forgotten) as usize;
        if let Some(&number) = self.table.find(key.0[0], |&number| seen[place(number)].key == key) {
            seen[place(number)].sequence = sequence;
            return;
        }
        let number = forgotten.wrapping_add(seen.len() as u32);
        seen.push_back(Seen { key, sequence, wall });
        self.table.insert_unique(key.0[0], number, |&number| seen[place(number)].key.0[0]);
    }

    /// Forgets what came before a moment.
    pub(crate) fn forget_before(&mut self, wall: Wall) {
        while let Some(first) = self.seen.front().filter(|first| first.wall < wall) {
            let number = self.forgotten as u32;
            let found = self.table.find_entry(first.key.0[0], |&other| other == number);
            found.expect("what was seen stands in the table").remove();
            self.seen.pop_front();
            self.forgotten += 1;
        }
        if self.seen.is_empty() && self.seen.capacity() > 1024 {
            self.seen = VecDeque::new();
            self.table = HashTable::new();
        }
    }

    /// When the oldest id was seen.
    pub(crate) fn oldest(&self) -> Option<Wall> {
        self.seen.front().map(|first| first.wall)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use base::Random;

    use super::*;

    #[test]
    fn it_agrees_with_a_map() {
        let mut random = Random::new(3);
        let mut dedupe = Dedupe::new(9);
        let mut model: HashMap<Vec<u8>, (u64, i64)> = HashMap::new();
        for now in 0..5000_i64 {
            let id = random.below(200).to_string().into_bytes();
            assert_eq!(dedupe.find(&id), model.get(&id).map(|(sequence, _)| *sequence));
            if random.below(2) == 0 {
                let wall = model.get(&id).map_or(now, |(_, wall)| *wall);
                dedupe.insert(&id, now.unsigned_abs(), Wall(now));
                model.insert(id, (now.unsigned_abs(), wall));
            }
            if random.below(20) == 0 {
                dedupe.forget_before(Wall(now - 100));
                model.retain(|_, (_, wall)| *wall >= now - 100);
            }
            assert_eq!(dedupe.oldest().map(|wall| wall.0), model.values().map(|v| v.1).min());
        }
    }
}
