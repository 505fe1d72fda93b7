//! What a core's turns come to: plain counters, owned by the core and copied when someone asks.

use base::{Duration, Time};

/// Bounds of the histogram of turn lengths: powers of two from 2 us, up to some 65 ms.
const BUCKETS: usize = 16;
const FIRST_BOUND_NS: u64 = 2_000;

/// Counts of one core since it started.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter {
    /// Turns.
    pub(crate) turns: u64,
    /// Nanoseconds that turns took together: the rest of the time was slept or spun away.
    pub(crate) busy_ns: u64,
    /// The longest turn, in nanoseconds.
    pub(crate) longest_ns: u64,
    /// Calls into the ring.
    pub(crate) enters: u64,
    /// Calls to write to a socket.
    pub(crate) writes: u64,
    /// Turns by length; the last counts those that are longer than every bound.
    lengths: [u64; BUCKETS + 1],
}

impl Meter {
    /// A turn came to its end.
    #[inline]
    pub(crate) fn note_turn(&mut self, begun: Time, ended: Time) {
        let length = ended.since(begun).as_nanos() as u64;
        self.turns += 1;
        self.busy_ns += length;
        self.longest_ns = self.longest_ns.max(length);
        self.lengths[bucket(length)] += 1;
    }

    /// Upper bounds of turn lengths, and how many turns were no longer.
    pub(crate) fn lengths(&self) -> impl Iterator<Item = (Duration, u64)> {
        let mut sum = 0;
        (0..BUCKETS).map(move |place| {
            sum += self.lengths[place];
            (Duration::from_nanos(FIRST_BOUND_NS << place), sum)
        })
    }
}

#[inline]
fn bucket(length_ns: u64) -> usize {
    let steps = length_ns.saturating_sub(1) / FIRST_BOUND_NS;
    ((u64::BITS - steps.leading_zeros()) as usize).min(BUCKETS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_counted_below_their_bounds() {
        for (length_ns, expected) in [
            (0, 0),
            (2_000, 0),
            (2_001, 1),
            (4_000, 1),
            (4_001, 2),
            (8_001, 3),
            (u64::MAX, BUCKETS),
        ] {
            assert_eq!(bucket(length_ns), expected, "{length_ns}");
        }
        let mut meter = Meter::default();
        meter.note_turn(Time(1), Time(1_501));
        meter.note_turn(Time(1), Time(100_001));
        let counts: Vec<u64> = meter.lengths().map(|(_, count)| count).collect();
        assert_eq!((counts[0], counts[5], counts[6], counts[15]), (1, 1, 2, 2));
        assert_eq!((meter.turns, meter.busy_ns, meter.longest_ns), (2, 101_500, 100_000));
    }
}
