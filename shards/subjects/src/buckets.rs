//! Numbers by hash, for tables of a million: one line of the cache tells which number it may be,
//! and growing moves one bucket at a time, so that no single insertion pays for all others.
//!
//! This is linear hashing: there are as many buckets as the numbers need. One more bucket takes its
//! share from the one bucket whose numbers differ from its own in the uppermost bit of their place
//! alone. Buckets that are more than full go on in others. What was once needed is kept.

use base::Slab;

/// Numbers of a bucket.
const WIDTH: usize = 10;

/// Numbers for each bucket on average, from which on there is one bucket more. While half of the
/// buckets have been divided the others hold 8, and one in six of those goes on in another.
const FILL: usize = 6;

/// No bucket follows.
const NONE: u32 = u32::MAX;

/// One cache line.
#[derive(Debug)]
#[repr(align(64))]
struct Bucket {
    /// Sixteen bits of each number's hash; zero where there is no number.
    tags: [u16; WIDTH],
    /// Where the bucket goes on, among those that others go on in.
    next: u32,
    ids: [u32; WIDTH],
}

const _: () = assert!(size_of::<Bucket>() == 64);

impl Default for Bucket {
    fn default() -> Self {
        Self { tags: [0; WIDTH], next: NONE, ids: [0; WIDTH] }
    }
}

impl Bucket {
    /// The places that have this tag, as bits.
    #[inline]
    fn places_of(&self, tag: u16) -> u32 {
        let places = self.tags.iter().enumerate();
        places.fold(0, |found, (place, other)| found | u32::from(*other == tag) << place)
    }
}

/// A multiset of numbers by their hashes.
#[derive(Debug, Default)]
pub(crate) struct Buckets {
    lines: Slab<Bucket>,
    /// Where full buckets go on.
    overflow: Slab<Bucket>,
    numbers: usize,
}

/// The tag of a hash: bits that do not choose the bucket.
#[inline]
const fn tag_of(hash: u64) -> u16 {
    (hash >> 48) as u16 | 1
}

impl Buckets {
    /// The bucket that a hash belongs to, of so many.
    #[inline]
    const fn place_of(hash: u64, count: usize) -> u32 {
        let mask = count.next_power_of_two() - 1;
        let place = hash as usize & mask;
        (if place < count { place } else { place & (mask >> 1) }) as u32
    }

    /// Loads the line that a hash is looked up in; the answer means nothing.
    #[inline]
    pub(crate) fn touch(&self, hash: u64) -> u32 {
        match self.lines.place_count() {
            0 => 0,
            count => self.lines.get(Self::place_of(hash, count)).next,
        }
    }

    /// What [`Buckets::find`] would try first, if it is in the first line.
    #[inline]
    pub(crate) fn likely(&self, hash: u64) -> Option<u32> {
        let count = self.lines.place_count();
        if count == 0 {
            return None;
        }
        let bucket = self.lines.get(Self::place_of(hash, count));
        let places = bucket.places_of(tag_of(hash));
        (places != 0).then(|| bucket.ids[places.trailing_zeros() as usize])
    }

    /// The number of this hash of which `is_it` says so.
    #[inline]
    pub(crate) fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let count = self.lines.place_count();
        if count == 0 {
            return None;
        }
        let tag = tag_of(hash);
        let mut bucket = self.lines.get(Self::place_of(hash, count));
        loop {
            let mut places = bucket.places_of(tag);
            while places != 0 {
                let id = bucket.ids[places.trailing_zeros() as usize];
                if is_it(id) {
                    return Some(id);
                }
                places &= places - 1;
            }
            if bucket.next == NONE {
                return None;
            }
            bucket = self.overflow.get(bucket.next);
        }
    }

    /// Adds a number. `hash_of` answers for any that was added before.
    pub(crate) fn insert(&mut self, hash: u64, id: u32, hash_of: impl Fn(u32) -> u64) {
        if self.numbers >= self.lines.place_count() * FILL {
            self.divide(hash_of);
        }
        self.numbers += 1;
        self.put(Self::place_of(hash, self.lines.place_count()), tag_of(hash), id);
    }

    fn put(&mut self, place: u32, tag: u16, id: u32) {
        let mut at = NONE;
        loop {
            let bucket = self.bucket_mut(place, at);
            if let Some(free) = bucket.tags.iter().position(|tag| *tag == 0) {
                bucket.tags[free] = tag;
                bucket.ids[free] = id;
                return;
            }
            if bucket.next == NONE {
                break;
            }
            at = bucket.next;
        }
        // A new one goes between the bucket and those that it goes on in.
        let next = self.lines.get(place).next;
        let mut more = Bucket { next, ..Bucket::default() };
        more.tags[0] = tag;
        more.ids[0] = id;
        self.lines.get_mut(place).next = self.overflow.insert(more);
    }

    /// Adds a bucket and gives it what belongs to it.
    fn divide(&mut self, hash_of: impl Fn(u32) -> u64) {
        let count = self.lines.place_count() + 1;
        let new = self.lines.insert(Bucket::default());
        if new == 0 {
            return;
        }
        // Without its uppermost bit: the place that its numbers had until now.
        let old = new & !(1 << new.ilog2());
        let mut bucket = std::mem::take(self.lines.get_mut(old));
        loop {
            for (tag, id) in bucket.tags.into_iter().zip(bucket.ids) {
                if tag != 0 {
                    self.put(Self::place_of(hash_of(id), count), tag, id);
                }
            }
            if bucket.next == NONE {
                return;
            }
            bucket = self.overflow.remove(bucket.next);
        }
    }

    /// Takes a number out that was added under this hash.
    pub(crate) fn remove(&mut self, hash: u64, id: u32) {
        let place = Self::place_of(hash, self.lines.place_count());
        let tag = tag_of(hash);
        let mut before = NONE;
        let mut at = NONE;
        loop {
            let bucket = self.bucket_mut(place, at);
            let mut pairs = bucket.tags.iter().zip(bucket.ids);
            if let Some(found) = pairs.position(|(other, number)| *other == tag && number == id) {
                bucket.tags[found] = 0;
                let is_empty = bucket.tags == [0; WIDTH];
                if at != NONE && is_empty {
                    self.unlink(place, before, at);
                }
                self.numbers -= 1;
                return;
            }
            assert!(bucket.next != NONE, "only a number that was added is taken out");
            before = at;
            at = bucket.next;
        }
    }

    /// Takes out a bucket that another went on in.
    fn unlink(&mut self, place: u32, before: u32, at: u32) {
        let next = self.overflow.remove(at).next;
        self.bucket_mut(place, before).next = next;
    }

    /// The bucket at a place, or one that it goes on in.
    fn bucket_mut(&mut self, place: u32, at: u32) -> &mut Bucket {
        if at == NONE { self.lines.get_mut(place) } else { self.overflow.get_mut(at) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use base::Random;

    use super::*;

    /// Spreads a number over 64 bits, or over a handful of values if `few`.
    fn hash(id: u32, few: bool) -> u64 {
        let id = if few { id % 3 } else { id };
        u64::from(id).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    #[test]
    fn numbers_come_and_go_as_in_a_set() {
        for few in [false, true] {
            let mut random = Random::new(5);
            let (mut buckets, mut set) = (Buckets::default(), BTreeSet::new());
            for round in 0..20_000 {
                // Grows, and shrinks, and grows again.
                let id = random.below(2000) as u32;
                let adds = random.below(10) < if round / 5000 % 2 == 0 { 8 } else { 2 };
                if adds && set.insert(id) {
                    buckets.insert(hash(id, few), id, |id| hash(id, few));
                } else if !adds && set.remove(&id) {
                    buckets.remove(hash(id, few), id);
                }
                let asked = random.below(2000) as u32;
                let found = buckets.find(hash(asked, few), |other| other == asked);
                assert_eq!(found.is_some(), set.contains(&asked));
            }
            assert_eq!(buckets.numbers, set.len());
            for id in std::mem::take(&mut set) {
                assert_eq!(buckets.find(hash(id, few), |other| other == id), Some(id));
                buckets.remove(hash(id, few), id);
            }
            assert_eq!((buckets.numbers, buckets.overflow.len()), (0, 0));
        }
    }

    #[test]
    fn most_are_found_in_the_first_line() {
        let mut buckets = Buckets::default();
        for count in 1..=60_000_u32 {
            buckets.insert(hash(count, false), count, |id| hash(id, false));
            if count % 9973 == 0 {
                assert!(buckets.overflow.len() * 8 < buckets.lines.len(), "{count}");
                let likely = |id: &u32| buckets.likely(hash(*id, false)) == Some(*id);
                assert!((1..=count).filter(likely).count() * 10 > count as usize * 9);
            }
        }
    }
}
