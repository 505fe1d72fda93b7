//! A table whose places are numbered and reused.

/// Bytes of a full chunk: one huge page, so that a table of millions costs few misses of the
/// translation cache.
const CHUNK_BYTES: usize = 2 << 20;

/// Values by number. A place that was vacated holds the type's default until it is used again.
///
/// They stand in chunks: a table that grows moves nothing but its first chunk, so that neither a
/// pause nor twice the memory comes with the millionth value.
#[derive(Debug, Default)]
pub struct Slab<T> {
    chunks: Vec<Vec<T>>,
    /// Places, vacated ones included.
    places: usize,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    /// Values in a chunk, as a power of two.
    const SHIFT: u32 = (CHUNK_BYTES / size_of::<T>()).ilog2();
    const MASK: usize = (1 << Self::SHIFT) - 1;
}

impl<T: Default> Slab<T> {
    /// Puts a value in the most recently vacated place, or a new one, and returns its number.
    pub fn insert(&mut self, value: T) -> u32 {
        if let Some(id) = self.free.pop() {
            *self.get_mut(id) = value;
            return id;
        }
        let id = u32::try_from(self.places).expect("a shard holds fewer than 2^32 items");
        assert!(id < u32::MAX, "the last number means no item");
        let chunk = self.places >> Self::SHIFT;
        if chunk == self.chunks.len() {
            // The first chunk grows with its values, as small tables stay small.
            let room = if chunk == 0 { 0 } else { 1 << Self::SHIFT };
            self.chunks.push(Vec::with_capacity(room));
        }
        self.chunks[chunk].push(value);
        self.places += 1;
        id
    }

    /// Takes a value out. The caller vouches that the place is in use.
    pub fn remove(&mut self, id: u32) -> T {
        self.free.push(id);
        std::mem::take(self.get_mut(id))
    }

    /// The value at a place in use.
    #[inline]
    pub fn get(&self, id: u32) -> &T {
        let id = id as usize;
        &self.chunks[id >> Self::SHIFT][id & Self::MASK]
    }

    /// The value at a place in use, to change.
    #[inline]
    pub fn get_mut(&mut self, id: u32) -> &mut T {
        let id = id as usize;
        &mut self.chunks[id >> Self::SHIFT][id & Self::MASK]
    }

    /// Values in the table.
    pub const fn len(&self) -> usize {
        self.places - self.free.len()
    }

    /// Are there no values?
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The places from one on, vacated ones included.
    pub fn places_from(&self, first: u32) -> impl Iterator<Item = (u32, &T)> {
        let (chunk, at) = (first as usize >> Self::SHIFT, first as usize & Self::MASK);
        let mut chunks = self.chunks.get(chunk..).unwrap_or_default().iter();
        let begun = chunks.next().and_then(|chunk| chunk.get(at..)).unwrap_or_default();
        (first..).zip(begun.iter().chain(chunks.flatten()))
    }

    /// Places, vacated ones included.
    pub const fn place_count(&self) -> usize {
        self.places
    }

    /// Every place, vacated ones included, with its number.
    pub fn places(&self) -> impl Iterator<Item = (u32, &T)> {
        self.places_from(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_reused() {
        let mut slab = Slab::default();
        let (a, b) = (slab.insert("a"), slab.insert("b"));
        assert_eq!(slab.remove(a), "a");
        assert_eq!(slab.len(), 1);
        assert_eq!(slab.insert("c"), a);
        assert_eq!((*slab.get(a), *slab.get(b)), ("c", "b"));
        assert!(!slab.is_empty());
    }

    #[test]
    fn places_go_on_from_chunk_to_chunk() {
        let mut slab = Slab::default();
        let chunk = 1_u32 << Slab::<[u64; 32]>::SHIFT;
        let value = |id: u32| {
            let mut value = [0_u64; 32];
            value[31] = id.into();
            value
        };
        for id in 0..chunk * 2 + 3 {
            assert_eq!(slab.insert(value(id)), id);
        }
        for first in [0, 1, chunk - 1, chunk, chunk * 2, chunk * 2 + 2, chunk * 2 + 3, chunk * 9] {
            let mut expected = first;
            for (id, found) in slab.places_from(first) {
                assert_eq!((id, found[31]), (expected, expected.into()));
                expected += 1;
            }
            assert_eq!(expected, first.max(chunk * 2 + 3));
        }
        slab.remove(chunk);
        assert_eq!(slab.insert(value(7)), chunk);
        assert_eq!(slab.place_count(), chunk as usize * 2 + 3);
    }
}
