//! Subscriptions of this core's connections.

use std::collections::HashMap;

use ahash::RandomState;
use base::{AccountId, Slab, Slot};

/// The number of a subscription on its core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubId(pub u32);

/// A client's name for a subscription. Up to seven bytes stand in place, and up to fourteen digits,
/// which is what clients count with; other names stand in [`Sids`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sid(u64);

/// The upper half of a name's last byte says what the others are; the lower half counts them.
const BYTES: u8 = 0;
const DIGITS: u8 = 1;
const LONG: u8 = 0xf;

/// The names of subscriptions that do not stand in place.
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
            Sid(u64::from(id) | u64::from(LONG << 4) << 56)
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
        let bytes = sid.0.to_le_bytes();
        let length = usize::from(bytes[7] & 0xf);
        match bytes[7] >> 4 {
            BYTES => call(&bytes[..length]),
            DIGITS => {
                let mut text = [0; 16];
                text[..8].copy_from_slice(&spread(sid.0 as u32).to_le_bytes());
                text[8..].copy_from_slice(&spread((sid.0 >> 32) as u32).to_le_bytes());
                call(&text[..length])
            }
            _ => call(self.long.get(sid.0 as u32)),
        }
    }
}

impl Sid {
    /// Longest name that stands in place.
    pub const SHORT_BYTES_MAX: usize = 14;

    fn short(text: &[u8]) -> Option<Self> {
        let mut bytes = [0; 8];
        if let Some(place) = bytes[..7].get_mut(..text.len()) {
            place.copy_from_slice(text);
            bytes[7] = BYTES << 4 | text.len() as u8;
            return Some(Self(u64::from_le_bytes(bytes)));
        }
        if text.len() > Self::SHORT_BYTES_MAX || !text.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let digits = text.iter().rev().fold(0, |all, digit| all << 4 | u64::from(digit & 0xf));
        Some(Self(digits | u64::from(DIGITS << 4 | text.len() as u8) << 56))
    }

    /// Does the name stand in place?
    #[inline]
    pub const fn is_short(self) -> bool {
        !self.is_long()
    }

    const fn is_long(self) -> bool {
        self.0.to_le_bytes()[7] >> 4 == LONG
    }
}

/// Eight digits of four bits as text, the lowest first.
#[inline]
const fn spread(digits: u32) -> u64 {
    let digits = digits as u64;
    let digits = (digits | digits << 16) & 0x0000_ffff_0000_ffff;
    let digits = (digits | digits << 8) & 0x00ff_00ff_00ff_00ff;
    let digits = (digits | digits << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    digits | 0x3030_3030_3030_3030
}

/// One subscription. What it listens to stands where it is listed. Two of them to a cache line.
#[derive(Debug, Default)]
#[repr(align(32))]
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
    /// Messages delivered since SUB, and two marks: one word, so that whoever delivers to a plain
    /// subscription asks once.
    count: u64,
}

const _: () = assert!(size_of::<Subscription>() == 32);

/// The mark of a subscription whose owner has to be asked.
const SPECIAL: u64 = 1 << 63;
/// The mark of a subscription that ends; [`Subscriptions`] knows after how many deliveries.
const ENDS: u64 = 1 << 62;

impl Subscription {
    /// One that is not listed yet.
    pub(crate) fn new(connection: Slot, sid: Sid, account: AccountId) -> Self {
        Self { slot: connection.0, sid, account, ..Self::default() }
    }

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

    /// Messages delivered since SUB.
    pub const fn delivered(&self) -> u64 {
        self.count & !(SPECIAL | ENDS)
    }

    /// Counts deliveries to one that goes on for ever.
    #[inline]
    pub const fn count_plain(&mut self, deliveries: u64) {
        self.count += deliveries;
    }

    /// Does it go on for ever, and is nothing special about it?
    #[inline]
    pub const fn is_plain(&self) -> bool {
        self.count & (SPECIAL | ENDS) == 0
    }

    /// Has its owner to be asked before a delivery?
    #[inline]
    pub const fn is_special(&self) -> bool {
        self.count & SPECIAL != 0
    }

    /// Says whether its owner has to be asked before a delivery.
    pub const fn set_special(&mut self, special: bool) {
        self.count = self.count & !SPECIAL | if special { SPECIAL } else { 0 };
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
    /// Deliveries after which some of them end.
    ends: HashMap<u32, u64, RandomState>,
    /// Their names.
    pub sids: Sids,
}

impl Subscriptions {
    /// None. The seed is the server's, as for [`crate::Index::new`].
    pub fn new(seed: u64) -> Self {
        let hasher = crate::index::hasher_of(seed);
        let ends = HashMap::with_hasher(hasher.clone());
        Self { slab: Slab::default(), ends, sids: Sids::new(hasher) }
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

    /// Deliveries after which a subscription ends; zero for no end.
    pub fn max(&self, id: SubId) -> u64 {
        self.ends.get(&id.0).copied().unwrap_or(0)
    }

    /// Sets the number of deliveries after which a subscription ends; zero for no end. More than
    /// can be counted means no end.
    pub fn set_max(&mut self, id: SubId, max: u64) {
        let count = &mut self.slab.get_mut(id.0).count;
        if max == 0 || max >= ENDS {
            *count &= !ENDS;
            self.ends.remove(&id.0);
        } else {
            *count |= ENDS;
            self.ends.insert(id.0, max);
        }
    }

    /// Takes a subscription out of the table.
    pub(crate) fn remove(&mut self, id: SubId) -> Subscription {
        let subscription = self.slab.remove(id.0);
        if subscription.count & ENDS != 0 {
            self.ends.remove(&id.0);
        }
        self.sids.release(subscription.sid);
        subscription
    }

    /// Counts one delivery. Returns whether the message may be delivered and whether the
    /// subscription has thereby come to its end.
    #[inline]
    pub fn count_delivery(&mut self, id: SubId) -> (bool, bool) {
        let subscription = self.slab.get_mut(id.0);
        subscription.count += 1;
        if subscription.count & ENDS == 0 {
            return (true, false);
        }
        let delivered = subscription.delivered();
        let max = self.max(id);
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
        let texts = [
            &b""[..],
            b"1",
            b"0000001",
            b"1234567",
            b"12345678",
            b"00000000",
            b"98765432101234",
            b"987654321012345",
            b"1234567a",
            b"a-much-longer-name",
        ];
        for text in texts {
            let sid = sids.intern(text);
            sids.with(sid, |found| assert_eq!(found, text));
            for other in texts {
                assert_eq!(sids.is(sid, other), other == text);
            }
            let again = sids.intern(text);
            assert_eq!(again == sid, sid.is_short());
            sids.release(again);
            assert!(!sids.is(sid, b"other"));
            assert!(!sids.is(sid, b"other-that-is-long"));
            sids.release(sid);
        }
        assert!(sids.long.is_empty());
    }
}
