//! Time is an input: the reactor reads the clock once a turn and hands it in.

pub use std::time::Duration;

/// A moment on the server's monotonic clock, in nanoseconds since some start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    /// Later than every moment that can occur.
    pub const NEVER: Self = Self(u64::MAX);

    /// This moment plus a duration; [`Time::NEVER`] when that cannot be expressed.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }

    /// Time passed since an earlier moment; zero if it is not earlier.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// A moment of the world's clock, in nanoseconds since 1970 in UTC: what messages are stamped with.
/// It may jump; whoever measures a duration uses [`Time`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wall(pub i64);

/// One moment on both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// For durations and deadlines.
    pub time: Time,
    /// For time stamps.
    pub wall: Wall,
}

impl Moment {
    /// A moment of a world in which both clocks run alike.
    pub const fn simulated(time: Time) -> Self {
        Self { time, wall: Wall(time.0 as i64) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Time(5).after(Duration::from_nanos(3)), Time(8));
        assert_eq!(Time(u64::MAX - 1).after(Duration::from_secs(1)), Time::NEVER);
        assert_eq!(Time(3).since(Time(5)), Duration::ZERO);
        assert_eq!(Time(5).since(Time(3)), Duration::from_nanos(2));
    }
}
