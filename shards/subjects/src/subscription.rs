//! Subscriptions of this core's connections.

use ahash::RandomState;
use base::{AccountId, Slab, Slot};

/// The number of a subscription on its core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubId(pub u32);

/// A client's name for a subscription. Up to seven bytes stand in place, which holds for counters
/// below ten million; longer ones stand in [`Sids`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sid(u64);

const LONG: u8 = 0xff;

/// The names of subscriptions that are longer than seven bytes.
#[derive(Debug)]
pub struct Sids {
    long: Slab<Box<[u8]>>,
    hasher: RandomState,
}

impl Sids {
    pub(crate) fn new(hasher: RandomState) -> Self {
        Self { long: Slab::default(), hasher }
    }

    /// The hash of a name under the server's secret seed: no client can make its names collide.
    #[inline]
    pub fn hash(&self, text: &[u8]) -> u64 {
        self.hasher.hash_one(text)
    }

    /// Takes a name in.
    pub fn intern(&mut self, text: &[u8]) -> Sid {
        Sid::short(text).unwrap_or_else(|| {
            let id = self.long.insert(text.into());
            Sid(u64::from(id) | u64::from(LONG) << 56)
        })
    }

    /// Lets go of a name.
    pub fn release(&mut self, sid: Sid) {
        if sid.is_long() {
            self.long.remove(sid.0 as u32);
        }
    }

    /// Is this the name?
    #[inline]
    pub fn is(&self, sid: Sid, text: &[u8]) -> bool {
        match Sid::short(text) {
            Some(short) => short == sid,
            None => sid.is_long() && **self.long.get(sid.0 as u32) == *text,
        }
    }

    /// Calls with the text of a name.
    #[inline]
    pub fn with<R>(&self, sid: Sid, call: impl FnOnce(&[u8]) -> R) -> R {
        if sid.is_long() {
            return call(self.long.get(sid.0 as u32));
        }
        let bytes = sid.0.to_le_bytes();
        call(&bytes[..usize::from(bytes[7])])
    }
}

impl Sid {
    fn short(text: &[u8]) -> Option<Self> {
        let mut bytes = [0; 8];
        bytes[..7].get_mut(..text.len())?.copy_from_slice(text);
        bytes[7] = text.len() as u8;
        Some(Self(u64::from_le_bytes(bytes)))
    }

    /// Does the name stand in place?
    #[inline]
    pub const fn is_short(self) -> bool {
        !self.is_long()
    }

    const fn is_long(self) -> bool {
        self.0.to_le_bytes()[7] == LONG
    }
}

/// One subscription. What it listens to stands where it is listed.
#[derive(Debug, Default)]
pub struct Subscription {
    /// The connection that made it.
    pub slot: u32,
    /// Its place in the list that holds it.
    pub(crate) position: u32,
    /// The literal entry, trie leaf or queue group that lists it.
    pub(crate) home: Home,
    /// The account whose subjects it listens to: mostly, but not always, its connection's.
    pub(crate) account: AccountId,
    /// The client's name for it.
    pub sid: Sid,
    /// Messages delivered since SUB.
    pub delivered: u64,
    /// Deliveries after which it ends, and the mark of a special one: one word, so that whoever
    /// delivers to a plain subscription asks once.
    pub(crate) terms: u64,
}

const _: () = assert!(size_of::<Subscription>() == 40);

/// The mark in [`Subscription::terms`].
const SPECIAL: u64 = 1 << 63;

impl Subscription {
    /// The connection that made it.
    pub const fn connection(&self) -> Slot {
        Slot(self.slot)
    }

    /// The account whose subjects it listens to.
    pub const fn account(&self) -> AccountId {
        self.account
    }

    /// Does it belong to a queue group?
    pub const fn is_queued(&self) -> bool {
        matches!(self.home.kind(), HomeKind::Queue)
    }

    /// Does it go on for ever, and is nothing special about it?
    #[inline]
    pub const fn is_plain(&self) -> bool {
        self.terms == 0
    }

    /// Deliveries after which it ends; zero for no end.
    pub const fn max(&self) -> u64 {
        self.terms & !SPECIAL
    }

    /// Sets the number of deliveries after which it ends; zero for no end. More than can be
    /// counted means no end.
    pub const fn set_max(&mut self, max: u64) {
        let max = if max >= SPECIAL { 0 } else { max };
        self.terms = self.terms & SPECIAL | max;
    }

    /// Has its owner to be asked before a delivery?
    #[inline]
    pub const fn is_special(&self) -> bool {
        self.terms & SPECIAL != 0
    }

    /// Says whether its owner has to be asked before a delivery.
    pub const fn set_special(&mut self, special: bool) {
        self.terms = self.max() | if special { SPECIAL } else { 0 };
    }
}

/// Where a subscription is listed: a number with its kind in the upper two bits.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Home(u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HomeKind {
    Literal,
    Pattern,
    Queue,
}

impl Home {
    pub(crate) fn new(kind: HomeKind, id: u32) -> Self {
        assert!(id < 1 << 30, "two bits are for the kind");
        Self(id | (kind as u32) << 30)
    }

    pub(crate) const fn kind(self) -> HomeKind {
        match self.0 >> 30 {
            0 => HomeKind::Literal,
            1 => HomeKind::Pattern,
            _ => HomeKind::Queue,
        }
    }

    pub(crate) const fn id(self) -> u32 {
        self.0 & ((1 << 30) - 1)
    }
}

/// The subscriptions of a core.
#[derive(Debug)]
pub struct Subscriptions {
    pub(crate) slab: Slab<Subscription>,
    /// Their names.
    pub sids: Sids,
}

impl Subscriptions {
    /// None. The seed is the server's, as for [`crate::Index::new`].
    pub fn new(seed: u64) -> Self {
        Self { slab: Slab::default(), sids: Sids::new(crate::index::hasher_of(seed)) }
    }

    /// A subscription.
    #[inline]
    pub fn get(&self, id: SubId) -> &Subscription {
        self.slab.get(id.0)
    }

    /// A subscription, to count a delivery or set its end.
    #[inline]
    pub fn get_mut(&mut self, id: SubId) -> &mut Subscription {
        self.slab.get_mut(id.0)
    }

    /// Counts one delivery. Returns whether the message may be delivered and whether the
    /// subscription has thereby come to its end.
    #[inline]
    pub fn count_delivery(&mut self, id: SubId) -> (bool, bool) {
        let subscription = self.slab.get_mut(id.0);
        subscription.delivered += 1;
        let max = subscription.max();
        if max == 0 {
            return (true, false);
        }
        let delivered = subscription.delivered;
        (delivered <= max, delivered >= max)
    }

    /// The subscriptions among so many places from one on, and the place that follows; `None` after
    /// the last.
    pub fn page(
        &self,
        from: u32,
        places: usize,
    ) -> (impl Iterator<Item = (SubId, &Subscription)>, Option<u32>) {
        let all = self.slab.places_from(from).take(places);
        // A vacated place has no name, and every subscription has one.
        let used = all.filter(|(_, subscription)| subscription.sid != Sid::default());
        let next = from as usize + places;
        let next = (next < self.slab.place_count()).then_some(next as u32);
        (used.map(|(id, subscription)| (SubId(id), subscription)), next)
    }

    /// Subscriptions in all.
    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_short_and_long_are_kept_apart() {
        let mut sids = Sids::new(RandomState::with_seeds(1, 2, 3, 4));
        for text in [&b""[..], b"1", b"0000001", b"1234567", b"12345678", b"a-much-longer-name"] {
            let sid = sids.intern(text);
            sids.with(sid, |found| assert_eq!(found, text));
            assert!(sids.is(sid, text));
            assert!(!sids.is(sid, b"other"));
            assert!(!sids.is(sid, b"other-that-is-long"));
            sids.release(sid);
        }
        assert!(sids.long.is_empty());
    }
}
