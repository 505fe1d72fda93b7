//! Publishes that were decided before.

/// Subjects that are remembered. Publishers that repeat themselves do so among few.
const PLACES: usize = 64;

/// Longest subject that is remembered, in bytes: with these a place takes 48.
const SUBJECT_BYTES_MAX: usize = 46;

/// A table in which a subject has one place. Subjects are compared whole, so whoever makes them
/// share a place loses time and nothing else.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    places: Option<Box<[Place; PLACES]>>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    /// Zero for none: subjects are not empty.
    length: u8,
    allowed: bool,
    subject: [u8; SUBJECT_BYTES_MAX],
}

const EMPTY: Place = Place { length: 0, allowed: false, subject: [0; SUBJECT_BYTES_MAX] };

impl Answers {
    /// What was decided, if it is remembered.
    #[inline]
    pub(crate) fn find(&self, subject: &[u8]) -> Option<bool> {
        let place = &self.places.as_ref()?[place_of(subject)];
        let known = usize::from(place.length) == subject.len()
            && place.subject[..subject.len()] == *subject;
        known.then_some(place.allowed)
    }

    /// Remembers what was decided.
    pub(crate) fn note(&mut self, subject: &[u8], allowed: bool) {
        if subject.is_empty() || subject.len() > SUBJECT_BYTES_MAX {
            return;
        }
        let places = self.places.get_or_insert_with(|| Box::new([EMPTY; PLACES]));
        let place = &mut places[place_of(subject)];
        place.length = subject.len() as u8;
        place.allowed = allowed;
        place.subject[..subject.len()].copy_from_slice(subject);
    }
}

/// FNV-1a over the last bytes, which tell subjects apart, and the length.
fn place_of(subject: &[u8]) -> usize {
    let end = &subject[subject.len().saturating_sub(12)..];
    let hash = end.iter().fold(0xcbf2_9ce4_8422_2325 ^ subject.len() as u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash ^ hash >> 32) as usize % PLACES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_found_and_nothing_else() {
        let mut answers = Answers::default();
        assert_eq!(answers.find(b"a"), None);
        for number in 0..500 {
            let subject = format!("a.b.{number}");
            answers.note(subject.as_bytes(), number % 3 == 0);
            assert_eq!(answers.find(subject.as_bytes()), Some(number % 3 == 0));
            assert_eq!(answers.find(format!("b.b.{number}").as_bytes()), None);
        }
        let long = [b'x'; SUBJECT_BYTES_MAX + 1];
        answers.note(&long, true);
        assert_eq!(answers.find(&long), None);
        assert_eq!(answers.find(b""), None);
    }
}
