//! What a core's turns and its journal come to: plain counters, owned by the core and copied when
//! someone asks.

use std::time::Instant;

use base::Time;
use storage::RequestId;

/// Bounds of a histogram: each is twice the one before.
const BUCKETS: usize = 16;

/// Turns from 2 us up to some 65 ms.
const TURN_FIRST_NS: u64 = 2_000;
/// Writes to the journal from 32 us, below which no drive is, up to a second.
const COMMIT_FIRST_NS: u64 = 32_000;
/// Writes to the journal from one block up to 128 MiB.
const BATCH_FIRST_BYTES: u64 = 4096;

/// Values by size, in steps of powers of two.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    first_bound: u64,
    /// The last counts those that are past every bound.
    counts: [u64; BUCKETS + 1],
    /// How many there are.
    pub(crate) count: u64,
    /// Their sum.
    pub(crate) sum: u64,
}

impl Histogram {
    const fn new(first_bound: u64) -> Self {
        Self { first_bound, counts: [0; BUCKETS + 1], count: 0, sum: 0 }
    }

    #[inline]
    fn note(&mut self, value: u64) {
        let steps = value.saturating_sub(1) / self.first_bound;
        let place = ((u64::BITS - steps.leading_zeros()) as usize).min(BUCKETS);
        self.counts[place] += 1;
        self.count += 1;
        self.sum += value;
    }

    /// Upper bounds, and how many values were no larger.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = (u64, u64)> {
        let mut sum = 0;
        (0..BUCKETS).map(move |place| {
            sum += self.counts[place];
            (self.first_bound << place, sum)
        })
    }
}

/// Counts of one core since it started.
#[derive(Clone, Debug)]
pub(crate) struct Meter {
    /// Lengths of turns in nanoseconds: the rest of the time was slept or spun away.
    pub(crate) turns: Histogram,
    /// The longest turn, in nanoseconds.
    pub(crate) longest_ns: u64,
    /// Calls into the ring.
    pub(crate) enters: u64,
    /// Calls to write to a socket.
    pub(crate) writes: u64,
    /// Of the core's journal, if it has one.
    pub(crate) journal: Option<Commits>,
}

impl Default for Meter {
    fn default() -> Self {
        let turns = Histogram::new(TURN_FIRST_NS);
        Self { turns, longest_ns: 0, enters: 0, writes: 0, journal: None }
    }
}

impl Meter {
    /// A turn came to its end.
    #[inline]
    pub(crate) fn note_turn(&mut self, begun: Time, ended: Time) {
        let length = ended.since(begun).as_nanos() as u64;
        self.longest_ns = self.longest_ns.max(length);
        self.turns.note(length);
    }
}

/// What was written to a journal. One write is a group commit: all that came during the last.
#[derive(Clone, Debug)]
pub(crate) struct Commits {
    /// Nanoseconds from the hand-over to the disk until it is durable.
    pub(crate) times: Histogram,
    /// Bytes of each write.
    pub(crate) sizes: Histogram,
    /// Writes under way; a journal has a few at a time.
    under_way: Vec<(RequestId, Instant)>,
}

impl Default for Commits {
    fn default() -> Self {
        Self {
            times: Histogram::new(COMMIT_FIRST_NS),
            sizes: Histogram::new(BATCH_FIRST_BYTES),
            under_way: Vec::new(),
        }
    }
}

impl Commits {
    /// A write begins.
    pub(crate) fn begin(&mut self, id: RequestId, bytes: usize) {
        self.sizes.note(bytes as u64);
        self.under_way.push((id, Instant::now()));
    }

    /// A request came to its end. Most are no writes to the journal.
    pub(crate) fn end(&mut self, id: RequestId) {
        if let Some(place) = self.under_way.iter().position(|(begun, _)| *begun == id) {
            let (_, since) = self.under_way.swap_remove(place);
            self.times.note(u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_below_their_bounds() {
        for (value, expected) in [
            (0, 0),
            (2_000, 0),
            (2_001, 1),
            (4_000, 1),
            (4_001, 2),
            (8_001, 3),
            (u64::MAX, BUCKETS),
        ] {
            let mut histogram = Histogram::new(TURN_FIRST_NS);
            histogram.note(value);
            assert_eq!(histogram.counts[expected], 1, "{value}");
        }
        let mut meter = Meter::default();
        meter.note_turn(Time(1), Time(1_501));
        meter.note_turn(Time(1), Time(100_001));
        let counts: Vec<u64> = meter.turns.buckets().map(|(_, count)| count).collect();
        assert_eq!((counts[0], counts[5], counts[6], counts[15]), (1, 1, 2, 2));
        let Meter { turns, longest_ns, .. } = meter;
        assert_eq!((turns.count, turns.sum, longest_ns), (2, 101_500, 100_000));
    }

    #[test]
    fn only_what_began_as_a_write_is_timed() {
        let mut commits = Commits::default();
        commits.begin(RequestId(1), 4096);
        commits.begin(RequestId(2), 8192);
        commits.end(RequestId(7));
        commits.end(RequestId(1));
        assert_eq!((commits.times.count, commits.sizes.count, commits.sizes.sum), (1, 2, 12_288));
    }
}
