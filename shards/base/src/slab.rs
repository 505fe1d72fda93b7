//! A table whose places are numbered and reused.

/// Values by number. A place that was vacated holds the type's default until it is used again.
#[derive(Debug, Default)]
pub struct Slab<T> {
    items: Vec<T>,
    free: Vec<u32>,
}

impl<T: Default> Slab<T> {
    /// Puts a value in the most recently vacated place, or a new one, and returns its number.
    pub fn insert(&mut self, value: T) -> u32 {
        if let Some(id) = self.free.pop() {
            self.items[id as usize] = value;
            return id;
        }
        let id = u32::try_from(self.items.len()).expect("a shard holds fewer than 2^32 items");
        assert!(id < u32::MAX, "the last number means no item");
        self.items.push(value);
        id
    }

    /// Takes a value out. The caller vouches that the place is in use.
    pub fn remove(&mut self, id: u32) -> T {
        self.free.push(id);
        std::mem::take(&mut self.items[id as usize])
    }

    /// The value at a place in use.
    #[inline]
    pub fn get(&self, id: u32) -> &T {
        &self.items[id as usize]
    }

    /// The value at a place in use, to change.
    #[inline]
    pub fn get_mut(&mut self, id: u32) -> &mut T {
        &mut self.items[id as usize]
    }

    /// Values in the table.
    pub fn len(&self) -> usize {
        self.items.len() - self.free.len()
    }

    /// Are there no values?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The places from one on, vacated ones included.
    pub fn places_from(&self, first: u32) -> impl Iterator<Item = (u32, &T)> {
        (first..).zip(self.items.get(first as usize..).unwrap_or_default())
    }

    /// Places, vacated ones included.
    pub fn place_count(&self) -> usize {
        self.items.len()
    }

    /// Every place, vacated ones included, with its number.
    pub fn places(&self) -> impl Iterator<Item = (u32, &T)> {
        (0_u32..).zip(&self.items)
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
}
