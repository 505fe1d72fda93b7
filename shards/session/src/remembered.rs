//! The route of the last subject that a connection published to.

use subjects::Route;

/// One subject and where it goes. Publishers mostly repeat themselves.
#[derive(Debug)]
pub struct Remembered {
    /// Zero for none: an index starts to count at one.
    version: u64,
    route: Route,
    length: u8,
    subject: [u8; Self::SUBJECT_BYTES_MAX],
}

impl Default for Remembered {
    fn default() -> Self {
        Self {
            version: 0,
            route: Route::default(),
            length: 0,
            subject: [0; Self::SUBJECT_BYTES_MAX],
        }
    }
}

impl Remembered {
    /// Longest subject that is remembered.
    pub const SUBJECT_BYTES_MAX: usize = 40;

    /// The subject and its route, if the index has not changed since.
    #[inline]
    pub fn recall(&self, version: u64) -> Option<(&[u8], Route)> {
        let known = self.version == version;
        known.then(|| (&self.subject[..usize::from(self.length)], self.route))
    }

    /// The route of `subject`, if it is the one remembered and the index has not changed since.
    #[inline]
    pub fn find(&self, subject: &[u8], version: u64) -> Option<Route> {
        let known = self.version == version
            && usize::from(self.length) == subject.len()
            && is_same(&self.subject[..subject.len()], subject);
        known.then_some(self.route)
    }

    /// Remembers a route as of an index's version. Long subjects are not remembered.
    #[inline]
    pub fn note(&mut self, subject: &[u8], version: u64, route: Route) {
        match self.subject.get_mut(..subject.len()) {
            Some(place) => {
                place.copy_from_slice(subject);
                self.length = subject.len() as u8;
                self.version = version;
                self.route = route;
            }
            None => self.version = 0,
        }
    }
}

/// Compares two short texts of the same length by words that may overlap: a call to `memcmp` costs
/// more than the bytes.
#[inline]
pub fn is_same(a: &[u8], b: &[u8]) -> bool {
    fn word<const N: usize>(text: &[u8], at: usize) -> [u8; N] {
        text[at..at + N].try_into().expect("a range of N bytes has N bytes")
    }
    let length = b.len();
    match length {
        4..8 => {
            word::<4>(a, 0) == word::<4>(b, 0)
                && word::<4>(a, length - 4) == word::<4>(b, length - 4)
        }
        8..16 => {
            word::<8>(a, 0) == word::<8>(b, 0)
                && word::<8>(a, length - 8) == word::<8>(b, length - 8)
        }
        16..=32 => {
            word::<16>(a, 0) == word::<16>(b, 0)
                && word::<16>(a, length - 16) == word::<16>(b, length - 16)
        }
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_found_until_the_index_changes() {
        let text = b"abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";
        for length in 1..=Remembered::SUBJECT_BYTES_MAX {
            let subject = &text[..length];
            let mut remembered = Remembered::default();
            remembered.note(subject, 5, Route::default());
            assert!(remembered.find(subject, 5).is_some());
            assert!(remembered.find(subject, 6).is_none());
            for place in 0..length {
                let mut other = subject.to_vec();
                other[place] ^= 1;
                assert!(remembered.find(&other, 5).is_none(), "{length} {place}");
            }
            assert!(remembered.find(&text[..length - 1], 5).is_none());
        }
        let mut remembered = Remembered::default();
        remembered.note(&text[..=Remembered::SUBJECT_BYTES_MAX], 5, Route::default());
        assert!(remembered.find(&text[..=Remembered::SUBJECT_BYTES_MAX], 5).is_none());
    }
}
