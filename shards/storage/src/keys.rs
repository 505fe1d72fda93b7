//! The keys of one log: each key's bytes once, how many messages it has, and the first and last.

use std::collections::VecDeque;

use ahash::RandomState;
use hashbrown::HashTable;

/// A key's number in its log. A key without messages is forgotten, and its number may be given to
/// another key; [`KeySet::follow`] notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub u32);

/// What is known of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyState {
    /// Its first message.
    pub first: u64,
    /// Its last message.
    pub last: u64,
    /// Messages.
    pub count: u64,
}

/// A bound that may be too low or too high, until the log is looked through.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Key {
    /// Not above the first message.
    pub(crate) first: u64,
    /// Not below the last message.
    pub(crate) last: u64,
    offset: u32,
    /// Zero where the number is free.
    pub(crate) count: u32,
    length: u16,
    /// Is `first` exact?
    pub(crate) first_known: bool,
    /// Is `last` exact?
    pub(crate) last_known: bool,
}

const _: () = assert!(size_of::<Key>() == 32);

/// Births that are remembered. A set that fell further behind is made anew.
const BIRTHS_MAX: usize = 16 * 1024;
/// Bytes of forgotten keys below which nothing is moved.
const GARBAGE_MIN: usize = 64 * 1024;

/// The keys of one log.
#[derive(Debug)]
pub struct Keys {
    hasher: RandomState,
    table: HashTable<u32>,
    entries: Vec<Key>,
    free: Vec<u32>,
    text: Vec<u8>,
    garbage_bytes: usize,
    births: VecDeque<u32>,
    born: u64,
}

impl Keys {
    pub(crate) fn new(hasher: RandomState) -> Self {
        Self {
            hasher,
            table: HashTable::new(),
            entries: Vec::new(),
            free: Vec::new(),
            text: Vec::new(),
            garbage_bytes: 0,
            births: VecDeque::new(),
            born: 0,
        }
    }

    /// Keys that have messages.
    pub fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Is there no message?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Numbers ever given out and not yet above the highest in use: the width of a bitmap over
    /// keys.
    pub fn width(&self) -> usize {
        self.entries.len()
    }

    /// The number of a key that has messages.
    pub fn find(&self, key: &[u8]) -> Option<KeyId> {
        let hash = self.hasher.hash_one(key);
        self.table.find(hash, |&id| self.bytes(id) == key).map(|&id| KeyId(id))
    }

    /// A key's bytes; empty for a number that is free.
    pub fn text(&self, id: KeyId) -> &[u8] {
        if self.is_used(id) { self.bytes(id.0) } else { b"" }
    }

    /// Messages of a key.
    pub fn count(&self, id: KeyId) -> u64 {
        self.entries.get(id.0 as usize).map_or(0, |key| u64::from(key.count))
    }

    /// Every key that has messages, with its bytes, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (KeyId, &[u8])> {
        (0_u32..)
            .zip(&self.entries)
            .filter(|(_, key)| key.count > 0)
            .map(|(id, _)| (KeyId(id), self.bytes(id)))
    }

    /// How many keys came up so far, those that did so again included.
    pub fn born(&self) -> u64 {
        self.born
    }

    fn is_used(&self, id: KeyId) -> bool {
        self.entries.get(id.0 as usize).is_some_and(|key| key.count > 0)
    }

    fn bytes(&self, id: u32) -> &[u8] {
        let key = &self.entries[id as usize];
        let start = key.offset as usize;
        &self.text[start..start + usize::from(key.length)]
    }

    pub(crate) fn get(&self, id: KeyId) -> &Key {
        &self.entries[id.0 as usize]
    }

    pub(crate) fn get_mut(&mut self, id: KeyId) -> &mut Key {
        &mut self.entries[id.0 as usize]
    }

    /// Bytes of memory that the table takes, about.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Key>()
            + self.text.capacity()
            + self.table.capacity() * 5
            + (self.free.capacity() + self.births.capacity()) * 4
    }

    /// Notes a message of `key`, which has the highest sequence so far. Nothing if the table is
    /// full: more than 4 GiB of keys.
    #[inline]
    pub(crate) fn add(&mut self, key: &[u8], sequence: u64) -> Option<KeyId> {
        let hash = self.hasher.hash_one(key);
        let (entries, text) = (&self.entries, &self.text);
        let found = self.table.find(hash, |&id| {
            let entry = &entries[id as usize];
            let start = entry.offset as usize;
            &text[start..start + usize::from(entry.length)] == key
        });
        let Some(&id) = found else { return self.bear(key, hash, sequence) };
        let entry = &mut self.entries[id as usize];
        if entry.count == u32::MAX {
            return None;
        }
        entry.count += 1;
        entry.last = sequence;
        entry.last_known = true;
        Some(KeyId(id))
    }

    /// Notes messages of `key` that were found on disk: none of another call is behind them.
    pub(crate) fn absorb(&mut self, key: &[u8], found: KeyState) -> Option<KeyId> {
        let id = self.add(key, found.last)?;
        let entry = &mut self.entries[id.0 as usize];
        if entry.count == 1 {
            entry.first = found.first;
        }
        entry.count = u32::try_from(u64::from(entry.count) + found.count - 1).ok()?;
        Some(id)
    }

    #[cold]
    fn bear(&mut self, key: &[u8], hash: u64, sequence: u64) -> Option<KeyId> {
        if self.text.len() + key.len() > u32::MAX as usize {
            self.tidy();
        }
        let offset = u32::try_from(self.text.len()).ok()?;
        offset.checked_add(key.len() as u32)?;
        let id = match self.free.last() {
            Some(&id) => id,
            None => u32::try_from(self.entries.len()).ok().filter(|&id| id < u32::MAX)?,
        };
        self.text.extend_from_slice(key);
        let entry = Key {
            first: sequence,
            last: sequence,
            offset,
            count: 1,
            length: u16::try_from(key.len()).expect("an entry's subject was looked at"),
            first_known: true,
            last_known: true,
        };
        if self.free.pop().is_some() {
            self.entries[id as usize] = entry;
        } else {
            self.entries.push(entry);
        }
        let (entries, text, hasher) = (&self.entries, &self.text, &self.hasher);
        self.table.insert_unique(hash, id, |&id| {
            let entry = &entries[id as usize];
            let start = entry.offset as usize;
            hasher.hash_one(&text[start..start + usize::from(entry.length)])
        });
        if self.births.len() == BIRTHS_MAX {
            self.births.pop_front();
        }
        self.births.push_back(id);
        self.born += 1;
        Some(KeyId(id))
    }

    /// Takes one message of a key away, and the key with its last.
    pub(crate) fn take(&mut self, id: KeyId, sequence: u64) {
        let entry = &mut self.entries[id.0 as usize];
        assert!(entry.count > 0, "a live message has a key");
        entry.count -= 1;
        if entry.count == 0 {
            self.forget(id);
            return;
        }
        if sequence == entry.first {
            entry.first = sequence + 1;
            entry.first_known = false;
        }
        if sequence == entry.last {
            entry.last = sequence - 1;
            entry.last_known = false;
        }
        if entry.count == 1 {
            if entry.last_known && !entry.first_known {
                (entry.first, entry.first_known) = (entry.last, true);
            } else if entry.first_known && !entry.last_known {
                (entry.last, entry.last_known) = (entry.first, true);
            }
        }
    }

    fn forget(&mut self, id: KeyId) {
        let hash = self.hasher.hash_one(self.bytes(id.0));
        let found = self.table.find_entry(hash, |&other| other == id.0);
        found.expect("a key in use stands in the table").remove();
        self.garbage_bytes += usize::from(self.entries[id.0 as usize].length);
        self.free.push(id.0);
        if self.garbage_bytes > GARBAGE_MIN && self.garbage_bytes > self.text.len() / 2 {
            self.tidy();
        }
    }

    /// Forgets every key.
    pub(crate) fn clear(&mut self) {
        self.table.clear();
        self.free.clear();
        // Numbers count from zero again, so every set has to be made anew.
        self.born += BIRTHS_MAX as u64 + 1;
        self.births.clear();
        self.entries = Vec::new();
        self.text = Vec::new();
        self.garbage_bytes = 0;
    }

    /// Moves the bytes of keys in use together.
    fn tidy(&mut self) {
        let mut text = Vec::with_capacity(self.text.len() - self.garbage_bytes);
        for entry in self.entries.iter_mut().filter(|entry| entry.count > 0) {
            let start = entry.offset as usize;
            entry.offset = text.len() as u32;
            text.extend_from_slice(&self.text[start..start + usize::from(entry.length)]);
        }
        self.text = text;
        self.garbage_bytes = 0;
    }
}

/// A set of keys to look through a log for: a consumer's filter, say.
#[derive(Clone, Debug)]
pub struct KeySet {
    pub(crate) members: Members,
    /// Births of the log that the set has seen.
    born: u64,
}

#[derive(Clone, Debug)]
pub(crate) enum Members {
    All,
    /// Up to [`FEW_MAX`] keys.
    Few(Vec<u32>),
    /// Up to [`LISTED_MAX`] keys, and a bit for each number.
    Listed(Vec<u32>, Vec<u64>),
    /// A bit for each number.
    Many(Vec<u64>),
}

/// Keys that messages are compared with one by one.
const FEW_MAX: usize = 8;
/// Keys whose first and last messages are looked up one by one: about what a look through a
/// thousand messages costs.
const LISTED_MAX: usize = 256;

impl KeySet {
    /// Every key there is or will be. Costs nothing to look for.
    pub const ALL: Self = Self { members: Members::All, born: u64::MAX };

    /// No key yet: [`Self::follow`] fills it.
    pub const fn new() -> Self {
        Self { members: Members::Few(Vec::new()), born: u64::MAX }
    }

    /// One key, for a look right now.
    pub fn one(keys: &Keys, id: KeyId) -> Self {
        Self { members: Members::Few(vec![id.0]), born: keys.born }
    }

    /// The keys one by one, unless there are many.
    pub(crate) fn listed(&self) -> Option<&[u32]> {
        match &self.members {
            Members::Few(ids) | Members::Listed(ids, _) => Some(ids),
            Members::All | Members::Many(_) => None,
        }
    }

    /// Is the set every key?
    pub fn is_all(&self) -> bool {
        matches!(self.members, Members::All)
    }

    /// Takes up what came up in the log since the last call, or all keys at the first: those for
    /// which `wanted` says so. To be called before each look through the log; costs a comparison
    /// when there are no new keys.
    pub fn follow(&mut self, keys: &Keys, mut wanted: impl FnMut(&[u8]) -> bool) {
        if self.is_current(keys) || self.catch_up(keys, &mut wanted) {
            return;
        }
        self.members = Members::Few(Vec::new());
        for (id, _) in keys.iter().filter(|(_, text)| wanted(text)) {
            self.put(id.0, true);
        }
        self.born = keys.born;
    }

    /// As [`Self::follow`] where `wanted` are the keys of these names: at the first they are looked
    /// up, whatever the number of keys.
    pub fn follow_names(
        &mut self,
        keys: &Keys,
        names: &[Box<[u8]>],
        wanted: impl FnMut(&[u8]) -> bool,
    ) {
        if self.is_current(keys) || self.catch_up(keys, wanted) {
            return;
        }
        self.members = Members::Few(Vec::new());
        for id in names.iter().filter_map(|name| keys.find(name)) {
            self.put(id.0, true);
        }
        self.born = keys.born;
    }

    /// Takes up what came up since. False if that is not known any more.
    fn catch_up(&mut self, keys: &Keys, mut wanted: impl FnMut(&[u8]) -> bool) -> bool {
        let missed = keys.born.checked_sub(self.born);
        let Some(missed) = missed.filter(|&missed| missed <= keys.births.len() as u64) else {
            return false;
        };
        let from = keys.births.len() - missed as usize;
        for &id in keys.births.range(from..) {
            let is_member = wanted(keys.text(KeyId(id)));
            self.put(id, is_member);
        }
        self.born = keys.born;
        true
    }

    /// Has the set seen all keys of the log?
    pub fn is_current(&self, keys: &Keys) -> bool {
        self.is_all() || self.born == keys.born
    }

    /// Is the key in the set?
    #[inline]
    pub fn contains(&self, id: KeyId) -> bool {
        match &self.members {
            Members::All => true,
            Members::Few(few) => few.contains(&id.0),
            Members::Listed(_, bits) | Members::Many(bits) => is_set(bits, id.0),
        }
    }

    fn put(&mut self, id: u32, is_member: bool) {
        match &mut self.members {
            Members::All => {}
            Members::Few(few) => {
                few.retain(|&other| other != id);
                if is_member && few.len() < FEW_MAX {
                    few.push(id);
                } else if is_member {
                    let mut bits = Vec::new();
                    few.push(id);
                    for &member in few.iter() {
                        set(&mut bits, member, true);
                    }
                    self.members = Members::Listed(std::mem::take(few), bits);
                }
            }
            Members::Listed(ids, bits) => {
                if is_set(bits, id) && !is_member {
                    ids.retain(|&other| other != id);
                } else if !is_set(bits, id) && is_member {
                    ids.push(id);
                }
                set(bits, id, is_member);
                if ids.len() > LISTED_MAX {
                    self.members = Members::Many(std::mem::take(bits));
                }
            }
            Members::Many(bits) => set(bits, id, is_member),
        }
    }
}

impl Default for KeySet {
    fn default() -> Self {
        Self::new()
    }
}

#[inline]
pub(crate) fn is_set(bits: &[u64], id: u32) -> bool {
    bits.get(id as usize / 64).is_some_and(|word| word >> (id % 64) & 1 == 1)
}

fn set(bits: &mut Vec<u64>, id: u32, value: bool) {
    let word = id as usize / 64;
    if word >= bits.len() {
        if !value {
            return;
        }
        bits.resize(word + 1, 0);
    }
    if value {
        bits[word] |= 1 << (id % 64);
    } else {
        bits[word] &= !(1 << (id % 64));
    }
}
