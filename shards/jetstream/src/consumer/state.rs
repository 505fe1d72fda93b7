//! How a consumer's state stands in its notes: numbers of variable length, the least significant
//! seven bits first, and deliveries as runs.

use base::{Time, Wall};

use super::{
    cursor::{Consumer, Pair},
    ledger::Entry,
};

/// The version of the format.
const VERSION: u64 = 1;

/// Where a consumer stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) next: u64,
    pub(crate) delivered: Pair,
    pub(crate) floor: Pair,
    /// Up to where it delivers only the last message of each subject; zero for nowhere.
    pub(crate) until: u64,
}

/// The whole state of a consumer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// Changes of another generation are older.
    pub(crate) generation: u64,
    /// When it was written.
    pub(crate) wall: Wall,
    pub(crate) place: Place,
    pub(crate) entries: Vec<Entry>,
    /// Messages that were given up, and how often they had been delivered.
    pub(crate) given_up: Vec<(u64, u32)>,
}

/// What changed since.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) generation: u64,
    pub(crate) place: Place,
    pub(crate) added: Vec<Entry>,
    /// Sequences whose delivery has ended, in order.
    pub(crate) ended: Vec<u64>,
    /// Sequences that were delivered again, and how often by now.
    pub(crate) again: Vec<(u64, u32)>,
}

impl Consumer {
    pub(crate) fn place(&self) -> Place {
        Place {
            next: self.next,
            delivered: self.delivered,
            floor: self.floor,
            until: self.skip.as_ref().map_or(0, |skip| skip.until),
        }
    }
}

impl State {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        put(out, VERSION);
        put(out, self.generation);
        put(out, self.wall.0 as u64);
        self.place.put(out);
        put_entries(out, &self.entries);
        put_counts(out, &self.given_up);
    }

    /// Reads what [`Self::put`] wrote; nothing if it is no state.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        (reader.number()? == VERSION).then_some(())?;
        let state = Self {
            generation: reader.number()?,
            wall: Wall(reader.number()? as i64),
            place: reader.place()?,
            entries: reader.entries()?,
            given_up: reader.counts()?,
        };
        reader.0.is_empty().then_some(state)
    }

    /// Brings the state up to date.
    pub(crate) fn apply(&mut self, change: Change) {
        self.place = change.place;
        let mut ended = change.ended.into_iter().peekable();
        self.entries.retain(|entry| {
            while ended.next_if(|sequence| *sequence < entry.sequence).is_some() {}
            ended.peek() != Some(&entry.sequence)
        });
        let last = self.entries.last().map_or(0, |entry| entry.sequence);
        self.entries.extend(change.added.into_iter().filter(|entry| entry.sequence > last));
        for (sequence, deliveries) in change.again {
            let place = self.entries.binary_search_by_key(&sequence, |entry| entry.sequence);
            if let Ok(place) = place {
                self.entries[place].deliveries = deliveries;
            }
        }
    }
}

impl Change {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        put(out, VERSION);
        put(out, self.generation);
        self.place.put(out);
        put_entries(out, &self.added);
        put_runs(out, &self.ended);
        put_counts(out, &self.again);
    }

    /// Reads what [`Self::put`] wrote; nothing if it is no change.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        (reader.number()? == VERSION).then_some(())?;
        let change = Self {
            generation: reader.number()?,
            place: reader.place()?,
            added: reader.entries()?,
            ended: reader.runs()?,
            again: reader.counts()?,
        };
        reader.0.is_empty().then_some(change)
    }
}

impl Place {
    fn put(&self, out: &mut Vec<u8>) {
        for number in [
            self.next,
            self.delivered.number,
            self.delivered.sequence,
            self.floor.number,
            self.floor.sequence,
            self.until,
        ] {
            put(out, number);
        }
    }
}

fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Deliveries in runs of consecutive sequences and numbers that were made equally often.
fn put_entries(out: &mut Vec<u8>, entries: &[Entry]) {
    let follows = |one: &Entry, next: &Entry| {
        next.sequence == one.sequence + 1
            && next.number == one.number + 1
            && next.deliveries == one.deliveries
    };
    put(out, entries.chunk_by(follows).count() as u64);
    let mut from = 0;
    for run in entries.chunk_by(follows) {
        let first = run[0];
        put(out, first.sequence - from);
        put(out, first.number);
        put(out, u64::from(first.deliveries));
        put(out, run.len() as u64);
        from = first.sequence + run.len() as u64;
    }
}

fn put_runs(out: &mut Vec<u8>, sequences: &[u64]) {
    let follows = |one: &u64, next: &u64| *next == one + 1;
    put(out, sequences.chunk_by(follows).count() as u64);
    let mut from = 0;
    for run in sequences.chunk_by(follows) {
        put(out, run[0] - from);
        put(out, run.len() as u64);
        from = run[0] + run.len() as u64;
    }
}

fn put_counts(out: &mut Vec<u8>, counts: &[(u64, u32)]) {
    put(out, counts.len() as u64);
    for (sequence, count) in counts {
        put(out, *sequence);
        put(out, u64::from(*count));
    }
}

struct Reader<'a>(&'a [u8]);

/// Deliveries that a state can have: more is damage.
const ENTRIES_MAX: usize = 1 << 22;

impl Reader<'_> {
    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            let bits = u64::from(byte & 0x7f);
            number |= bits.checked_shl(shift).filter(|shifted| shifted >> shift == bits)?;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn count(&mut self) -> Option<u32> {
        u32::try_from(self.number()?).ok()
    }

    fn place(&mut self) -> Option<Place> {
        Some(Place {
            next: self.number()?,
            delivered: Pair { number: self.number()?, sequence: self.number()? },
            floor: Pair { number: self.number()?, sequence: self.number()? },
            until: self.number()?,
        })
    }

    fn entries(&mut self) -> Option<Vec<Entry>> {
        let mut entries = Vec::new();
        let mut from = 0_u64;
        for _ in 0..self.number()? {
            let first = from.checked_add(self.number()?)?;
            let number = self.number()?;
            let deliveries = self.count()?;
            let length = self.number()?;
            from = first.checked_add(length)?;
            number.checked_add(length)?;
            let is_sound = length > 0 && (length as usize) <= ENTRIES_MAX - entries.len();
            is_sound.then_some(())?;
            entries.extend((0..length).map(|step| Entry {
                sequence: first + step,
                number: number + step,
                since: Time::default(),
                deliveries,
            }));
        }
        Some(entries)
    }

    fn runs(&mut self) -> Option<Vec<u64>> {
        let mut sequences = Vec::new();
        let mut from = 0_u64;
        for _ in 0..self.number()? {
            let first = from.checked_add(self.number()?)?;
            let length = self.number()?;
            from = first.checked_add(length)?;
            ((length as usize) <= ENTRIES_MAX - sequences.len()).then_some(())?;
            sequences.extend(first..from);
        }
        Some(sequences)
    }

    fn counts(&mut self) -> Option<Vec<(u64, u32)>> {
        let mut counts = Vec::new();
        for _ in 0..self.number()? {
            counts.push((self.number()?, self.count()?));
        }
        Some(counts)
    }
}

#[cfg(test)]
mod tests {
    use base::Random;

    use super::*;

    fn entry(sequence: u64, number: u64, deliveries: u32) -> Entry {
        Entry { sequence, number, since: Time(0), deliveries }
    }

    #[test]
    fn a_state_reads_back_and_follows_its_changes() {
        let state = State {
            generation: 3,
            wall: Wall(-7),
            place: Place { next: 900, until: 5, ..Place::default() },
            entries: vec![entry(5, 1, 1), entry(6, 2, 1), entry(7, 3, 2), entry(300, 9, 1)],
            given_up: vec![(4, 3)],
        };
        let mut bytes = Vec::new();
        state.put(&mut bytes);
        assert_eq!(State::read(&bytes), Some(state.clone()));
        for cut in 0..bytes.len() {
            assert_eq!(State::read(&bytes[..cut]), None);
        }
        let change = Change {
            generation: 3,
            place: Place { next: 1000, ..Place::default() },
            added: vec![entry(301, 10, 1)],
            ended: vec![5, 6],
            again: vec![(300, 2)],
        };
        bytes.clear();
        change.put(&mut bytes);
        assert_eq!(Change::read(&bytes), Some(change.clone()));
        let mut state = state;
        state.apply(change);
        assert_eq!(state.entries, [entry(7, 3, 2), entry(300, 9, 2), entry(301, 10, 1)]);
        assert_eq!(state.place.next, 1000);
    }

    #[test]
    fn no_bytes_make_reading_fall_over() {
        let mut random = Random::new(3);
        for _ in 0..2_000 {
            let length = random.below(24);
            let bytes: Vec<u8> = (0..length)
                .map(|_| if random.below(2) == 0 { 1 } else { random.next_u64() as u8 })
                .collect();
            let _ = State::read(&bytes);
            let _ = Change::read(&bytes);
        }
    }
}
