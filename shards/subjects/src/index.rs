//! Who wants a subject: this core's subscriptions and the interest of other cores.
//!
//! # Finding
//! [`Index::route`] answers with a [`Route`], a few numbers that stay valid until the index
//! changes: the literal entry (one probe), the trie leaves (remembered in the entry or, for
//! subjects without literal subscription, in a small direct-mapped cache) and the cores that want a
//! copy. Lists are not flattened: a leaf with ten thousand subscriptions is one number in the cache
//! of every subject that it matches, and a subscription that comes or goes on it invalidates none.
//!
//! # Staleness
//! A remembered answer carries the stamp of its time: the count of leaves that came or went under
//! the same first token, plus those that begin with a wildcard. Clients that come and go with
//! inboxes of their own so leave the memory of other subjects alone.

use ahash::RandomState;
use base::limits::MATCH_CACHE_MAX;
use base::{CoreId, CoreSet, Slot};

use crate::compact::{IdList, Text};
use crate::grammar;
use crate::literals::{Literals, RemoteLiterals};
use crate::subscription::{Home, HomeKind, SubId, Subscription, Subscriptions};
use crate::trie::{Leaf, Trie};

/// The subject is no pattern: `Invalid Subject`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidSubject;

/// What other cores must be told after a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing: they know all they need.
    None,
    /// A literal subject, by its hash, is wanted or no longer wanted here.
    Literal {
        /// Hash of the subject under the server's seed.
        hash: u64,
        /// Wanted from now on?
        wanted: bool,
    },
    /// A pattern, or a queue group on a pattern, has so many members here. Plain interest counts
    /// one or none.
    Pattern {
        /// The pattern.
        pattern: Box<[u8]>,
        /// The queue group; empty for plain interest.
        queue: Box<[u8]>,
        /// Members on this core.
        weight: u32,
    },
}

/// Where a message goes, valid while [`Index::version`] stays the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// Literal entry plus one; zero for none.
    entry: u32,
    /// Place in the cache plus one; zero if the entry's own leaves count.
    cached: u32,
    /// Cores with plain interest.
    pub cores: CoreSet,
    /// Has any matching pattern a queue group?
    pub queued: bool,
}

/// The lists that a [`Route`] points to.
#[derive(Debug)]
pub struct Lists {
    literals: Literals,
    trie: Trie,
    cache: Vec<Cached>,
}

#[derive(Clone, Debug, Default)]
struct Cached {
    subject: Text,
    leaves: IdList,
    stamp: u32,
}

/// What one core knows of one subject space.
#[derive(Debug)]
pub struct Index {
    lists: Lists,
    subscriptions: Subscriptions,
    remote: RemoteLiterals,
    hasher: RandomState,
    version: u64,
    inserts: u64,
    removes: u64,
    /// Changes of leaves whose first token is a wildcard.
    changes_any: u32,
    /// Changes of leaves by their first token, hashed into few counters.
    changes: [u32; CHANGE_COUNTERS],
    scratch: Vec<u32>,
}

const CHANGE_COUNTERS: usize = 64;

impl Index {
    /// An empty index. All cores of a server are given the same seed: hashes of subjects travel
    /// between them. The seed is secret, since who knows it can make subjects collide.
    pub fn new(seed: u64) -> Self {
        let hasher = RandomState::with_seeds(seed, !seed, seed.rotate_left(23), 0x9e37_79b9);
        let trie = Trie::new(hasher.clone());
        Self {
            lists: Lists { literals: Literals::default(), trie, cache: Vec::new() },
            subscriptions: Subscriptions::new(hasher.clone()),
            remote: RemoteLiterals::default(),
            hasher,
            version: 1,
            inserts: 0,
            removes: 0,
            changes_any: 1,
            changes: [0; CHANGE_COUNTERS],
            scratch: Vec::new(),
        }
    }

    /// Counts every change of what is wanted: a [`Route`] of an earlier version is void.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// The subscriptions of this core.
    pub const fn subscriptions(&self) -> &Subscriptions {
        &self.subscriptions
    }

    /// The lists, and the subscriptions to count deliveries on while walking them.
    pub const fn split(&mut self) -> (&Lists, &mut Subscriptions) {
        (&self.lists, &mut self.subscriptions)
    }

    /// Interest of other cores that is known here: literal hashes and patterns.
    pub fn remote_interest(&self) -> (usize, usize) {
        let leaves = self.lists.trie.leaves.places();
        let remote = leaves.filter(|(_, leaf)| {
            !leaf.cores.is_empty() || leaf.queues.iter().any(|group| !group.remote.is_empty())
        });
        (self.remote.len(), remote.count())
    }

    /// What a subscription listens to: the pattern, and the queue group or nothing.
    pub fn describe(&self, id: SubId) -> (&[u8], &[u8]) {
        let subscription = self.subscriptions.get(id);
        let pattern = self.lists.pattern_of(subscription);
        if subscription.home.kind() != HomeKind::Queue {
            return (pattern, b"");
        }
        let leaf = self.lists.trie.leaves.get(subscription.home.id());
        let position = subscription.position as usize;
        let group = leaf.queues.iter().find(|group| group.members.get(position) == Some(&id));
        (pattern, group.expect("a queue subscription stands where it says").name())
    }

    /// Subscriptions that came and went so far.
    pub const fn turnover(&self) -> (u64, u64) {
        (self.inserts, self.removes)
    }

    /// Adds a subscription. An empty queue means a plain one.
    ///
    /// # Errors
    /// If the pattern has an empty token or a `>` that is not last.
    pub fn subscribe(
        &mut self,
        connection: Slot,
        sid: &[u8],
        pattern: &[u8],
        queue: &[u8],
    ) -> Result<(SubId, Change), InvalidSubject> {
        if !grammar::is_pattern(pattern) {
            return Err(InvalidSubject);
        }
        self.version += 1;
        self.inserts += 1;
        let sid = self.subscriptions.sids.intern(sid);
        let subscription = Subscription { slot: connection.0, sid, ..Subscription::default() };
        let id = SubId(self.subscriptions.slab.insert(subscription));
        let change = if queue.is_empty() && !grammar::has_wildcard(pattern) {
            self.list_literal(id, pattern)
        } else {
            self.list_pattern(id, pattern, queue)
        };
        Ok((id, change))
    }

    fn list_literal(&mut self, id: SubId, subject: &[u8]) -> Change {
        let hash = self.hasher.hash_one(subject);
        let literals = &mut self.lists.literals;
        let (entry, news) = match literals.find(hash, subject) {
            Some(entry) => (entry, false),
            None => literals.insert(hash, &self.hasher, subject),
        };
        let plain = &mut literals.entries.get_mut(entry).plain;
        let subscription = self.subscriptions.get_mut(id);
        subscription.position = plain.as_slice().len() as u32;
        subscription.home = Home::new(HomeKind::Literal, entry);
        plain.push(id.0);
        if news { Change::Literal { hash, wanted: true } } else { Change::None }
    }

    fn list_pattern(&mut self, id: SubId, pattern: &[u8], queue: &[u8]) -> Change {
        let leaf_id = self.leaf(pattern);
        let leaf = self.lists.trie.leaves.get_mut(leaf_id);
        let subscription = self.subscriptions.get_mut(id);
        let (kind, members) = if queue.is_empty() {
            (HomeKind::Pattern, &mut leaf.plain)
        } else {
            (HomeKind::Queue, &mut leaf.queue_mut(queue).members)
        };
        subscription.home = Home::new(kind, leaf_id);
        subscription.position = members.len() as u32;
        members.push(id);
        if queue.is_empty() && members.len() > 1 {
            return Change::None;
        }
        let weight = members.len() as u32;
        Change::Pattern { pattern: pattern.into(), queue: queue.into(), weight }
    }

    /// The leaf of a pattern, made if need be.
    fn leaf(&mut self, pattern: &[u8]) -> u32 {
        let (leaf, made) = self.lists.trie.insert(pattern);
        if made {
            self.count_change(pattern);
        }
        leaf
    }

    fn drop_leaf_if_empty(&mut self, leaf: u32) {
        let pattern: Box<[u8]> = self.lists.trie.leaves.get(leaf).pattern().into();
        if self.lists.trie.remove_if_empty(leaf) {
            self.count_change(&pattern);
        }
    }

    /// Ends a subscription.
    pub fn unsubscribe(&mut self, id: SubId) -> Change {
        self.version += 1;
        self.removes += 1;
        let subscription = self.subscriptions.slab.remove(id.0);
        self.subscriptions.sids.release(subscription.sid);
        let (home, position) = (subscription.home.id(), subscription.position as usize);
        match subscription.home.kind() {
            HomeKind::Literal => self.unlist_literal(home, position),
            HomeKind::Pattern => self.unlist_plain(home, position),
            HomeKind::Queue => self.unlist_member(home, position, id),
        }
    }

    fn unlist_literal(&mut self, entry: u32, position: usize) -> Change {
        let literals = &mut self.lists.literals;
        let plain = &mut literals.entries.get_mut(entry).plain;
        if let Some(moved) = plain.swap_remove(position) {
            self.subscriptions.slab.get_mut(moved).position = position as u32;
        }
        if !plain.as_slice().is_empty() {
            return Change::None;
        }
        match literals.remove(entry, &self.hasher) {
            (hash, true) => Change::Literal { hash, wanted: false },
            (_, false) => Change::None,
        }
    }

    fn unlist_plain(&mut self, leaf_id: u32, position: usize) -> Change {
        let leaf = self.lists.trie.leaves.get_mut(leaf_id);
        leaf.plain.swap_remove(position);
        if let Some(moved) = leaf.plain.get(position) {
            self.subscriptions.slab.get_mut(moved.0).position = position as u32;
        }
        if !leaf.plain.is_empty() {
            return Change::None;
        }
        leaf.plain = Vec::new();
        let pattern = leaf.pattern().into();
        self.drop_leaf_if_empty(leaf_id);
        Change::Pattern { pattern, queue: Box::default(), weight: 0 }
    }

    fn unlist_member(&mut self, leaf_id: u32, position: usize, id: SubId) -> Change {
        let leaf = self.lists.trie.leaves.get_mut(leaf_id);
        let group = leaf.queues.iter_mut().find(|group| group.members.get(position) == Some(&id));
        let group = group.expect("a queue subscription stands where it says");
        group.members.swap_remove(position);
        if let Some(moved) = group.members.get(position) {
            self.subscriptions.slab.get_mut(moved.0).position = position as u32;
        }
        let (queue, weight) = (group.name.clone(), group.members.len() as u32);
        let pattern = leaf.pattern().into();
        leaf.tidy_queues();
        self.drop_leaf_if_empty(leaf_id);
        Change::Pattern { pattern, queue, weight }
    }

    /// Takes in what another core says about a literal subject.
    pub fn remote_literal(&mut self, core: CoreId, hash: u64, wanted: bool) {
        self.version += 1;
        if wanted {
            self.remote.add(hash, core);
        } else {
            self.remote.remove(hash, core);
        }
    }

    /// Takes in what another core says about a pattern; see [`Change::Pattern`].
    pub fn remote_pattern(&mut self, core: CoreId, pattern: &[u8], queue: &[u8], weight: u32) {
        self.version += 1;
        let leaf_id = self.leaf(pattern);
        let leaf = self.lists.trie.leaves.get_mut(leaf_id);
        if queue.is_empty() {
            if weight > 0 {
                leaf.cores.insert(core);
            } else {
                leaf.cores.remove(core);
            }
        } else {
            let remote = &mut leaf.queue_mut(queue).remote;
            remote.retain(|(other, _)| *other != core);
            if weight > 0 {
                remote.push((core, weight));
            }
            leaf.tidy_queues();
        }
        self.drop_leaf_if_empty(leaf_id);
    }

    fn count_change(&mut self, pattern: &[u8]) {
        match grammar::tokens(pattern).next() {
            Some(b"*" | b">") | None => self.changes_any = self.changes_any.wrapping_add(1),
            Some(token) => {
                let counter = &mut self.changes[counter_of(token)];
                *counter = counter.wrapping_add(1);
            }
        }
    }

    /// Stamp of what the trie says about a subject now.
    #[inline]
    fn stamp(&self, subject: &[u8]) -> u32 {
        let end = subject.iter().position(|byte| *byte == b'.').unwrap_or(subject.len());
        self.changes_any.wrapping_add(self.changes[counter_of(&subject[..end])])
    }

    /// Where a message on `subject` goes.
    #[inline]
    pub fn route(&mut self, subject: &[u8]) -> Route {
        let hash = self.hasher.hash_one(subject);
        let mut route = Route { cores: self.remote.cores(hash), ..Route::default() };
        if let Some(entry) = self.lists.literals.find(hash, subject) {
            route.entry = entry + 1;
        }
        if !self.lists.trie.is_empty() {
            self.route_patterns(hash, subject, &mut route);
        }
        route
    }

    /// Brings the subscriptions of several routes into the cache, all at once.
    #[inline]
    pub fn touch(&self, routes: &[Route]) {
        let mut sum = 0_u32;
        for route in routes {
            if let Some(first) = self.lists.literal(*route).next() {
                sum = sum.wrapping_add(self.subscriptions.get(first).slot);
            }
        }
        std::hint::black_box(sum);
    }

    fn route_patterns(&mut self, hash: u64, subject: &[u8], route: &mut Route) {
        let stamp = self.stamp(subject);
        if route.entry > 0 {
            if self.lists.literals.entries.get(route.entry - 1).stamp != stamp {
                self.match_leaves(subject);
                let entry = self.lists.literals.entries.get_mut(route.entry - 1);
                entry.leaves.set(&self.scratch);
                entry.stamp = stamp;
            }
        } else {
            if self.lists.cache.is_empty() {
                self.lists.cache.resize(MATCH_CACHE_MAX, Cached::default());
            }
            let place = hash as usize % MATCH_CACHE_MAX;
            let cached = &self.lists.cache[place];
            if cached.stamp != stamp || cached.subject.as_bytes() != subject {
                self.match_leaves(subject);
                let cached = &mut self.lists.cache[place];
                cached.subject = Text::new(subject);
                cached.leaves.set(&self.scratch);
                cached.stamp = stamp;
                // Routes that point to this place are of another subject now.
                self.version += 1;
            }
            route.cached = place as u32 + 1;
        }
        for leaf in self.lists.leaves(*route) {
            route.cores = route.cores.union(leaf.cores);
            route.queued |= !leaf.queues.is_empty();
        }
    }

    fn match_leaves(&mut self, subject: &[u8]) {
        self.scratch.clear();
        if !grammar::has_empty_token(subject) {
            self.lists.trie.matching(subject, &mut self.scratch);
        }
    }
}

/// FNV-1a over the token: it is short, and the counters are few.
fn counter_of(token: &[u8]) -> usize {
    let hash = token
        .iter()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    (hash >> 16) as usize % CHANGE_COUNTERS
}

impl Lists {
    /// Plain subscriptions on exactly this subject.
    #[inline]
    pub fn literal(&self, route: Route) -> impl Iterator<Item = SubId> {
        let ids: &[u32] = match route.entry {
            0 => &[],
            entry => self.literals.entries.get(entry - 1).plain.as_slice(),
        };
        ids.iter().map(|id| SubId(*id))
    }

    /// Patterns that match, each with its subscriptions.
    #[inline]
    pub fn leaves(&self, route: Route) -> impl Iterator<Item = &Leaf> + Clone {
        let ids: &[u32] = if self.trie.is_empty() {
            &[]
        } else if route.cached > 0 {
            self.cache[route.cached as usize - 1].leaves.as_slice()
        } else if route.entry > 0 {
            self.literals.entries.get(route.entry - 1).leaves.as_slice()
        } else {
            &[]
        };
        ids.iter().map(|id| self.trie.leaves.get(*id))
    }

    /// The pattern that a subscription listens to.
    pub fn pattern_of(&self, subscription: &Subscription) -> &[u8] {
        let home = subscription.home;
        match home.kind() {
            HomeKind::Literal => self.literals.entries.get(home.id()).subject.as_bytes(),
            _ => self.trie.leaves.get(home.id()).pattern(),
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_types, reason = "the strategies of proptest share theirs")]
mod tests;
