//! Literal subjects by hash: this core's subscriptions and the interest of other cores.

use ahash::RandomState;
use base::{CoreId, CoreSet, Slab};
use hashbrown::HashTable;

use crate::buckets::Buckets;
use crate::compact::{IdList, Text};

/// A literal subject that a connection of this core subscribes to. One cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Entry {
    pub(crate) subject: Text,
    /// The plain subscriptions.
    pub(crate) plain: IdList,
    /// Trie leaves that match the subject as well, as of `stamp`.
    pub(crate) leaves: IdList,
    pub(crate) stamp: u32,
}

const _: () = assert!(size_of::<Entry>() == 64);

/// The literal subjects of this core.
#[derive(Debug, Default)]
pub(crate) struct Literals {
    table: Buckets,
    pub(crate) entries: Slab<Entry>,
}

impl Literals {
    #[inline]
    pub(crate) fn find(&self, hash: u64, subject: &[u8]) -> Option<u32> {
        let entries = &self.entries;
        self.table.find(hash, |id| entries.get(id).subject.as_bytes() == subject)
    }

    /// Loads what [`Literals::find`] begins with; the answer means nothing.
    #[inline]
    pub(crate) fn touch(&self, hash: u64) -> u32 {
        self.table.touch(hash)
    }

    /// The entry that [`Literals::find`] would try first.
    #[inline]
    pub(crate) fn likely(&self, hash: u64) -> Option<u32> {
        self.table.likely(hash)
    }

    /// Does another subject of this core have the same hash?
    fn has_twin(&self, hash: u64, hasher: &RandomState, subject: &[u8]) -> bool {
        let entries = &self.entries;
        let twin = self.table.find(hash, |id| {
            let other = entries.get(id).subject.as_bytes();
            other != subject && hasher.hash_one(other) == hash
        });
        twin.is_some()
    }

    /// Adds a subject. Returns its entry and whether other cores must learn of its hash.
    pub(crate) fn insert(
        &mut self,
        hash: u64,
        hasher: &RandomState,
        subject: &[u8],
    ) -> (u32, bool) {
        let news = !self.has_twin(hash, hasher, subject);
        let entry = Entry { subject: Text::new(subject), ..Entry::default() };
        let id = self.entries.insert(entry);
        let entries = &self.entries;
        let hash_of = |id| hasher.hash_one(entries.get(id).subject.as_bytes());
        self.table.insert(hash, id, hash_of);
        (id, news)
    }

    /// Takes a subject out that has no subscription left. Returns its hash and whether other cores
    /// must forget it.
    pub(crate) fn remove(&mut self, id: u32, hasher: &RandomState) -> (u64, bool) {
        let entry = self.entries.remove(id);
        assert!(entry.plain.as_slice().is_empty());
        let subject = entry.subject.as_bytes();
        let hash = hasher.hash_one(subject);
        self.table.remove(hash, id);
        let news = !self.has_twin(hash, hasher, subject);
        (hash, news)
    }
}

/// Literal subjects that other cores want, by hash.
///
/// The sender counts: it announces a hash once however many of its subjects share it, so that two
/// subjects of one hash can only bring a message too many, never one too few.
#[derive(Debug, Default)]
pub(crate) struct RemoteLiterals {
    table: HashTable<(u64, CoreSet)>,
}

impl RemoteLiterals {
    #[inline]
    pub(crate) fn cores(&self, hash: u64) -> CoreSet {
        if self.table.is_empty() {
            return CoreSet::EMPTY;
        }
        self.table.find(hash, |(key, _)| *key == hash).map_or(CoreSet::EMPTY, |(_, set)| *set)
    }

    pub(crate) fn add(&mut self, hash: u64, core: CoreId) {
        let entry = self.table.entry(hash, |(key, _)| *key == hash, |(key, _)| *key);
        entry.or_insert((hash, CoreSet::EMPTY)).get_mut().1.insert(core);
    }

    pub(crate) fn remove(&mut self, hash: u64, core: CoreId) {
        let Ok(mut found) = self.table.find_entry(hash, |(key, _)| *key == hash) else {
            panic!("a core takes back only the interest that it announced");
        };
        let set = &mut found.get_mut().1;
        assert!(set.contains(core), "a core takes back only the interest that it announced");
        set.remove(core);
        if set.is_empty() {
            found.remove();
        }
        if self.table.len() * 8 < self.table.capacity() && self.table.capacity() > 1024 {
            self.table.shrink_to(self.table.len() * 2, |(key, _)| *key);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }
}
