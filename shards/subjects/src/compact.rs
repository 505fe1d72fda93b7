//! Compact forms of what a core holds a million of.

/// Text of which most is short: up to 22 bytes stand in place.
#[derive(Clone, Debug)]
pub(crate) enum Text {
    Inline(u8, [u8; 22]),
    Heap(Box<[u8]>),
}

const _: () = assert!(size_of::<Text>() == 24);

impl Default for Text {
    fn default() -> Self {
        Self::Inline(0, [0; 22])
    }
}

impl Text {
    pub(crate) fn new(text: &[u8]) -> Self {
        let mut place = [0; 22];
        match place.get_mut(..text.len()) {
            Some(span) => {
                span.copy_from_slice(text);
                Self::Inline(text.len() as u8, place)
            }
            None => Self::Heap(text.into()),
        }
    }

    #[inline]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Inline(length, place) => &place[..usize::from(*length)],
            Self::Heap(text) => text,
        }
    }
}

/// A list of numbers that mostly has none or one. The vector is boxed so that the list takes two
/// words and not four: a core holds two lists for each of a million subjects.
#[expect(clippy::box_collection)]
#[derive(Clone, Debug, Default)]
pub(crate) enum IdList {
    #[default]
    Empty,
    One(u32),
    Many(Box<Vec<u32>>),
}

const _: () = assert!(size_of::<IdList>() == 16);

impl IdList {
    #[inline]
    pub(crate) fn as_slice(&self) -> &[u32] {
        match self {
            Self::Empty => &[],
            Self::One(id) => std::slice::from_ref(id),
            Self::Many(ids) => ids,
        }
    }

    pub(crate) fn push(&mut self, id: u32) {
        match self {
            Self::Empty => *self = Self::One(id),
            Self::One(first) => *self = Self::Many(Box::new(vec![*first, id])),
            Self::Many(ids) => ids.push(id),
        }
    }

    /// Takes out what stands at `position` and puts the last in its place, as
    /// [`Vec::swap_remove`] does. Returns what now stands there.
    pub(crate) fn swap_remove(&mut self, position: usize) -> Option<u32> {
        let Self::Many(ids) = self else {
            assert_eq!(position, 0, "a list of one has one place");
            *self = Self::Empty;
            return None;
        };
        ids.swap_remove(position);
        let moved = ids.get(position).copied();
        if let [only] = ids[..] {
            *self = Self::One(only);
        }
        moved
    }

    pub(crate) fn set(&mut self, ids: &[u32]) {
        *self = match ids {
            [] => Self::Empty,
            [id] => Self::One(*id),
            ids => Self::Many(Box::new(ids.to_vec())),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_every_length() {
        for length in [0, 1, 21, 22, 23, 300] {
            let text = vec![b'x'; length];
            assert_eq!(Text::new(&text).as_bytes(), text);
        }
    }

    #[test]
    fn a_list_behaves_as_a_vector() {
        let mut list = IdList::default();
        for id in 0..4 {
            list.push(id);
        }
        assert_eq!(list.swap_remove(1), Some(3));
        assert_eq!(list.as_slice(), [0, 3, 2]);
        assert_eq!(list.swap_remove(2), None);
        assert_eq!(list.swap_remove(0), Some(3));
        assert!(matches!(list, IdList::One(3)));
        assert_eq!(list.swap_remove(0), None);
        assert!(list.as_slice().is_empty());
        list.set(&[7, 8]);
        assert_eq!(list.as_slice(), [7, 8]);
    }
}
