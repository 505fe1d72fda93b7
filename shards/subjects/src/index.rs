//! Who wants a subject: this core's subscriptions and the interest of other cores.
//!
//! # Finding
//! [`Index::route`] answers with a [`Route`], a few numbers that stay valid until the index
//! changes: the literal entry (one probe), the trie leaves (remembered in the entry or, for
//! subjects without literal subscription, in a small direct-mapped cache) and the cores that want a
//! copy. Lists are not flattened: a leaf with ten thousand subscriptions is one number in the cache
//! of every subject that it matches, and a subscription that comes or goes on it invalidates none.
//! Subjects that hardly come twice, inboxes and acknowledgements, are not remembered: they would
//! only take the places of others. Mostly one leaf matches them, and the route names that.
//!
//! # Staleness
//! A remembered answer carries the stamp of its time: the count of leaves that came or went under
//! the same first token, plus those that begin with a wildcard. Clients that come and go with
//! inboxes of their own so leave the memory of other subjects alone.

use std::hint::black_box;

use ahash::RandomState;
use base::limits::MATCH_CACHE_MAX;
use base::{AccountId, CoreId, CoreSet, Slot};

use crate::compact::{IdList, Text};
use crate::grammar;
use crate::literals::{Literals, RemoteLiterals};
use crate::subscription::{Home, HomeKind, SubId, Subscription, Subscriptions};
use crate::trie::{Leaf, QueueGroup, Trie};

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
    /// Place in the cache plus one; zero if the entry's own leaves count. With the mark of
    /// [`ONE_LEAF`], the only leaf.
    cached: u32,
    /// Cores with plain interest.
    pub cores: CoreSet,
    /// Has any matching pattern a queue group, or a binding?
    pub indirect: bool,
}

/// The lists that a [`Route`] points to.
#[derive(Debug)]
pub struct Lists {
    literals: Literals,
    trie: Trie,
    cache: Vec<Cached>,
    /// Answers that another took the place of, since the cache has its size.
    displaced: usize,
}

#[derive(Clone, Debug, Default)]
struct Cached {
    subject: Text,
    leaves: IdList,
    stamp: u32,
}

/// What one core knows of the subjects of one account.
#[derive(Debug)]
pub struct Index {
    account: AccountId,
    lists: Lists,
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

/// Marks a number as that of a leaf: there are far fewer.
const ONE_LEAF: u32 = 1 << 31;

/// What subjects begin with that hardly come twice.
const PASSING: [&[u8]; 2] = [b"_INBOX.", b"$JS.ACK."];

/// Places of the memory of matches at first: it grows as answers take each other's place, so that a
/// server may have thousands of accounts of which few are busy.
const CACHE_FIRST: usize = 64;

/// How subjects are hashed under a server's seed.
pub(crate) fn hasher_of(seed: u64) -> RandomState {
    RandomState::with_seeds(seed, !seed, seed.rotate_left(23), 0x9e37_79b9)
}

impl Index {
    /// The empty index of an account. All cores of a server are given the same seed: hashes of
    /// subjects travel between them. The seed is secret, since who knows it can make subjects
    /// collide.
    pub fn new(seed: u64, account: AccountId) -> Self {
        let hasher = hasher_of(seed);
        let trie = Trie::new(hasher.clone());
        let literals = Literals::default();
        Self {
            account,
            lists: Lists { literals, trie, cache: Vec::new(), displaced: 0 },
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

    /// The lists that routes point to.
    #[inline]
    pub const fn lists(&self) -> &Lists {
        &self.lists
    }

    /// The account whose subjects these are.
    pub const fn account(&self) -> AccountId {
        self.account
    }

    /// Interest of other cores that is known here: literal hashes and patterns.
    pub fn remote_interest(&self) -> (usize, usize) {
        let leaves = self.lists.trie.leaves.places();
        let remote = leaves.filter(|(_, leaf)| {
            let mut groups = self.lists.trie.groups_of(leaf);
            !leaf.cores.is_empty() || groups.any(|group| !group.remote.is_empty())
        });
        (self.remote.len(), remote.count())
    }

    /// What a subscription listens to: the pattern, and the queue group or nothing.
    pub fn describe<'a>(&'a self, id: SubId, all: &Subscriptions) -> (&'a [u8], &'a [u8]) {
        let subscription = all.get(id);
        let pattern = self.lists.pattern_of(subscription);
        if subscription.home.kind() != HomeKind::Queue {
            return (pattern, b"");
        }
        (pattern, self.lists.trie.groups.get(subscription.home.id()).name())
    }

    /// Subscriptions that came and went so far.
    pub const fn turnover(&self) -> (u64, u64) {
        (self.inserts, self.removes)
    }

    /// Adds a subscription to those of the core. An empty queue means a plain one.
    ///
    /// # Errors
    /// If the pattern has an empty token or a `>` that is not last.
    pub fn subscribe(
        &mut self,
        all: &mut Subscriptions,
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
        let sid = all.sids.intern(sid);
        let subscription = Subscription::new(connection, sid, self.account);
        let id = SubId(all.slab.insert(subscription));
        let subscription = all.get_mut(id);
        let change = if queue.is_empty() && !grammar::has_wildcard(pattern) {
            self.list_literal(id, subscription, pattern)
        } else {
            self.list_pattern(id, subscription, pattern, queue)
        };
        Ok((id, change))
    }

    fn list_literal(
        &mut self,
        id: SubId,
        subscription: &mut Subscription,
        subject: &[u8],
    ) -> Change {
        let hash = self.hasher.hash_one(subject);
        let literals = &mut self.lists.literals;
        let (entry, news) = match literals.find(hash, subject) {
            Some(entry) => (entry, false),
            None => literals.insert(hash, &self.hasher, subject),
        };
        let plain = &mut literals.entries.get_mut(entry).plain;
        subscription.position = plain.as_slice().len() as u32;
        subscription.home = Home::new(HomeKind::Literal, entry);
        plain.push(id.0);
        if news { Change::Literal { hash, wanted: true } } else { Change::None }
    }

    fn list_pattern(
        &mut self,
        id: SubId,
        subscription: &mut Subscription,
        pattern: &[u8],
        queue: &[u8],
    ) -> Change {
        let leaf = self.leaf(pattern);
        let trie = &mut self.lists.trie;
        let (home, members) = if queue.is_empty() {
            (Home::new(HomeKind::Pattern, leaf), &mut trie.leaves.get_mut(leaf).plain)
        } else {
            let group = trie.group(leaf, queue);
            (Home::new(HomeKind::Queue, group), &mut trie.groups.get_mut(group).members)
        };
        subscription.home = home;
        subscription.position = members.len() as u32;
        members.push(id);
        if queue.is_empty() && members.len() > 1 {
            return Change::None;
        }
        let weight = members.len() as u32;
        Change::Pattern { pattern: pattern.into(), queue: queue.into(), weight }
    }

    /// Has this core do something of its own with messages on a pattern: the caller finds `binding`
    /// at the leaves of their routes. Other cores learn nothing of it.
    ///
    /// # Errors
    /// As [`Index::subscribe`].
    pub fn bind(&mut self, pattern: &[u8], binding: u32) -> Result<(), InvalidSubject> {
        if !grammar::is_pattern(pattern) {
            return Err(InvalidSubject);
        }
        self.version += 1;
        let leaf = self.leaf(pattern);
        self.lists.trie.leaves.get_mut(leaf).bindings.push(binding);
        Ok(())
    }

    /// Takes back what [`Index::bind`] did.
    pub fn unbind(&mut self, pattern: &[u8], binding: u32) {
        self.version += 1;
        let leaf = self.leaf(pattern);
        let bindings = &mut self.lists.trie.leaves.get_mut(leaf).bindings;
        let position = bindings.as_slice().iter().position(|other| *other == binding);
        bindings.swap_remove(position.expect("only what was bound is taken back"));
        self.drop_leaf_if_empty(leaf);
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

    /// Ends a subscription, which must be one of this account.
    pub fn unsubscribe(&mut self, all: &mut Subscriptions, id: SubId) -> Change {
        self.version += 1;
        self.removes += 1;
        let subscription = all.remove(id);
        assert_eq!(subscription.account, self.account, "a subscription ends where it was made");
        let (home, position) = (subscription.home.id(), subscription.position as usize);
        match subscription.home.kind() {
            HomeKind::Literal => self.unlist_literal(all, home, position),
            HomeKind::Pattern => self.unlist_plain(all, home, position),
            HomeKind::Queue => self.unlist_member(all, home, position),
        }
    }

    fn unlist_literal(&mut self, all: &mut Subscriptions, entry: u32, position: usize) -> Change {
        let literals = &mut self.lists.literals;
        let plain = &mut literals.entries.get_mut(entry).plain;
        if let Some(moved) = plain.swap_remove(position) {
            all.slab.get_mut(moved).position = position as u32;
        }
        if !plain.as_slice().is_empty() {
            return Change::None;
        }
        match literals.remove(entry, &self.hasher) {
            (hash, true) => Change::Literal { hash, wanted: false },
            (_, false) => Change::None,
        }
    }

    fn unlist_plain(&mut self, all: &mut Subscriptions, leaf_id: u32, position: usize) -> Change {
        let leaf = self.lists.trie.leaves.get_mut(leaf_id);
        leaf.plain.swap_remove(position);
        if let Some(moved) = leaf.plain.get(position) {
            all.slab.get_mut(moved.0).position = position as u32;
        }
        if !leaf.plain.is_empty() {
            return Change::None;
        }
        leaf.plain = Vec::new();
        let pattern = leaf.pattern().into();
        self.drop_leaf_if_empty(leaf_id);
        Change::Pattern { pattern, queue: Box::default(), weight: 0 }
    }

    fn unlist_member(&mut self, all: &mut Subscriptions, group_id: u32, position: usize) -> Change {
        let trie = &mut self.lists.trie;
        let group = trie.groups.get_mut(group_id);
        group.members.swap_remove(position);
        if let Some(moved) = group.members.get(position) {
            all.slab.get_mut(moved.0).position = position as u32;
        }
        let (queue, weight) = (group.name.clone(), group.members.len() as u32);
        let leaf = group.leaf;
        let pattern = trie.leaves.get(leaf).pattern().into();
        trie.drop_group_if_empty(group_id);
        self.drop_leaf_if_empty(leaf);
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
        let leaf = self.leaf(pattern);
        let trie = &mut self.lists.trie;
        if queue.is_empty() {
            let cores = &mut trie.leaves.get_mut(leaf).cores;
            if weight > 0 { cores.insert(core) } else { cores.remove(core) }
        } else {
            let group = trie.group(leaf, queue);
            let remote = &mut trie.groups.get_mut(group).remote;
            remote.retain(|(other, _)| *other != core);
            if weight > 0 {
                remote.push((core, weight));
            }
            trie.drop_group_if_empty(group);
        }
        self.drop_leaf_if_empty(leaf);
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
        self.route_of(self.hasher.hash_one(subject), subject)
    }

    /// Does anyone, here or on another core, subscribe to exactly this subject: in the queue group
    /// if one is named, and in none otherwise? What has a binding counts, since it says nothing of
    /// who is behind it.
    pub fn is_subscribed(&mut self, subject: &[u8], queue: &[u8]) -> bool {
        let hash = self.hasher.hash_one(subject);
        let is_plain = queue.is_empty() && !self.remote.cores(hash).is_empty();
        let route = self.route_of(hash, subject);
        let lists = &self.lists;
        let is_literal = queue.is_empty() && lists.literal(route).next().is_some();
        is_plain
            || is_literal
            || lists.leaves(route).any(|leaf| {
                let group = lists.group(leaf, queue).filter(|_| !queue.is_empty());
                let is_member =
                    group.is_some_and(|it| !it.members().is_empty() || !it.remote().is_empty());
                !leaf.bindings().is_empty() || (leaf.pattern() == subject && is_member)
            })
    }

    #[inline]
    fn route_of(&mut self, hash: u64, subject: &[u8]) -> Route {
        let mut route = Route { cores: self.remote.cores(hash), ..Route::default() };
        if let Some(entry) = self.lists.literals.find(hash, subject) {
            route.entry = entry + 1;
        }
        if !self.lists.trie.is_empty() {
            let is_passing = matches!(subject.first(), Some(b'_' | b'$'))
                && route.entry == 0
                && PASSING.iter().any(|start| subject.starts_with(start));
            if !is_passing || !self.route_passing(subject, &mut route) {
                self.route_patterns(hash, subject, &mut route);
            }
        }
        route
    }

    /// Where messages on several subjects go. False if one look-up took another's place in the
    /// memory of matches: then they have to be looked up again, or, if two subjects share one
    /// place, one by one.
    ///
    /// With a million subjects each look-up misses the cache three times, one miss after the other:
    /// table, entry, subscription. Here those of all subjects are under way together; for that the
    /// loops that touch are short enough for the processor to be in all their rounds at once.
    pub fn route_all<const N: usize>(
        &mut self,
        all: &Subscriptions,
        subjects: &[&[u8]; N],
        routes: &mut [Route; N],
        count: usize,
    ) -> bool {
        let version = self.version;
        let mut hashes = [0; N];
        for (hash, subject) in hashes.iter_mut().zip(subjects).take(count) {
            *hash = self.hasher.hash_one(*subject);
        }
        let hashes = &hashes[..count];
        let literals = &self.lists.literals;
        let loaded = hashes.iter().map(|hash| literals.touch(*hash));
        black_box(loaded.fold(0, u32::wrapping_add));
        let mut likely = [None; N];
        for (entry, hash) in likely.iter_mut().zip(hashes) {
            *entry = literals.likely(*hash);
        }
        let loaded = likely.iter().flatten().map(|entry| literals.entries.get(*entry).stamp);
        black_box(loaded.fold(0, u32::wrapping_add));
        for ((hash, subject), route) in hashes.iter().zip(subjects).zip(routes.iter_mut()) {
            *route = self.route_of(*hash, subject);
        }
        let firsts = routes[..count].iter().filter_map(|route| self.lists.literal(*route).next());
        black_box(firsts.map(|id| all.get(id).slot).fold(0, u32::wrapping_add));
        self.version == version
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
            let place = self.remember(hash, subject, stamp);
            route.cached = place as u32 + 1;
        }
        self.note_leaves(route);
    }

    /// As [`Self::route_patterns`] for a subject that hardly comes again. False if more than one
    /// leaf matches.
    fn route_passing(&mut self, subject: &[u8], route: &mut Route) -> bool {
        self.match_leaves(subject);
        match self.scratch[..] {
            [] => {}
            [leaf] => {
                assert_eq!(leaf & ONE_LEAF, 0, "leaves are not so many");
                route.cached = leaf | ONE_LEAF;
                self.note_leaves(route);
            }
            _ => return false,
        }
        true
    }

    fn note_leaves(&self, route: &mut Route) {
        for leaf in self.lists.leaves(*route) {
            route.cores = route.cores.union(leaf.cores);
            route.indirect |= leaf.is_indirect();
        }
    }

    /// The place of the cache that has the leaves for a subject, filled if need be.
    fn remember(&mut self, hash: u64, subject: &[u8], stamp: u32) -> usize {
        let lists = &mut self.lists;
        let size = lists.cache.len();
        if size == 0 || (lists.displaced > size / 4 && size < MATCH_CACHE_MAX) {
            lists.cache.clear();
            lists.cache.resize((size * 4).clamp(CACHE_FIRST, MATCH_CACHE_MAX), Cached::default());
            lists.displaced = 0;
            // Routes that point to a place of the old cache are void.
            self.version += 1;
        }
        let place = hash as usize % self.lists.cache.len();
        let cached = &self.lists.cache[place];
        if cached.stamp != stamp || cached.subject.as_bytes() != subject {
            self.match_leaves(subject);
            let cached = &mut self.lists.cache[place];
            self.lists.displaced += usize::from(cached.stamp == stamp);
            cached.subject = Text::new(subject);
            cached.leaves.set(&self.scratch);
            cached.stamp = stamp;
            // Routes that point to this place are of another subject now.
            self.version += 1;
        }
        place
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
        let only = (route.cached & ONE_LEAF > 0).then_some(route.cached & !ONE_LEAF);
        let ids: &[u32] = if self.trie.is_empty() || only.is_some() {
            &[]
        } else if route.cached > 0 {
            self.cache[route.cached as usize - 1].leaves.as_slice()
        } else if route.entry > 0 {
            self.literals.entries.get(route.entry - 1).leaves.as_slice()
        } else {
            &[]
        };
        only.into_iter().chain(ids.iter().copied()).map(|id| self.trie.leaves.get(id))
    }

    /// The queue groups of a pattern.
    #[inline]
    pub fn groups(&self, leaf: &Leaf) -> impl Iterator<Item = &QueueGroup> + Clone {
        self.trie.groups_of(leaf)
    }

    /// The queue group of a name on a pattern.
    pub fn group(&self, leaf: &Leaf, name: &[u8]) -> Option<&QueueGroup> {
        self.trie.find_group(leaf, name).map(|id| self.trie.groups.get(id))
    }

    /// The queue group that a subscription belongs to, or nothing.
    pub fn queue_of(&self, subscription: &Subscription) -> &[u8] {
        let home = subscription.home;
        match home.kind() {
            HomeKind::Queue => &self.trie.groups.get(home.id()).name,
            _ => &[],
        }
    }

    /// The pattern that a subscription listens to.
    pub fn pattern_of(&self, subscription: &Subscription) -> &[u8] {
        let home = subscription.home;
        match home.kind() {
            HomeKind::Literal => self.literals.entries.get(home.id()).subject.as_bytes(),
            HomeKind::Pattern => self.trie.leaves.get(home.id()).pattern(),
            HomeKind::Queue => self.trie.leaves.get(self.trie.groups.get(home.id()).leaf).pattern(),
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_types, reason = "the strategies of proptest share theirs")]
mod tests;
