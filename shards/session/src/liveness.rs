//! When a connection has to be looked at: authentication, PINGs, write deadline, pauses, the end.

use base::limits::{FIRST_PING_MAX, RTT_REFRESH};
use base::{Duration, Random, Time};

use crate::Config;

/// The deadlines of one connection. [`Time::NEVER`] where there is none.
#[derive(Debug)]
pub struct Liveness {
    /// CONNECT must have come by then.
    pub auth_due: Time,
    /// The time of its credentials is over then.
    pub expires_due: Time,
    /// The ping timer fires then.
    pub ping_due: Time,
    /// Reading goes on then, after a pause for a slow subscriber.
    pub stall_due: Time,
    /// The socket is closed then, whatever the peer has read.
    pub linger_due: Time,
    /// The earliest moment for which the shard's timers hold an entry of this connection.
    pub armed: Time,
    /// When data or a PING last came.
    pub last_input: Time,
    /// When a PING was last sent.
    pub ping_sent: Time,
    /// PINGs without answer.
    pub pings_out: u32,
    /// Round trip as last measured; zero if never.
    pub round_trip: Duration,
}

/// What the ping timer asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// Nothing: the peer was heard of within the interval.
    Quiet,
    /// A PING.
    Ping,
    /// The end: too many PINGs are unanswered.
    Stale,
}

impl Default for Liveness {
    fn default() -> Self {
        Self {
            auth_due: Time::NEVER,
            expires_due: Time::NEVER,
            ping_due: Time::NEVER,
            stall_due: Time::NEVER,
            linger_due: Time::NEVER,
            armed: Time::NEVER,
            last_input: Time::default(),
            ping_sent: Time::default(),
            pings_out: 0,
            round_trip: Duration::ZERO,
        }
    }
}

impl Liveness {
    /// Sets the first ping: early, to measure the round trip, and spread by up to a fifth so that
    /// clients that came together are not pinged together.
    pub fn set_first_ping(&mut self, interval: Duration, now: Time, random: &mut Random) {
        let base = interval.min(FIRST_PING_MAX);
        let spread = random.below((base.as_nanos() as u64 / 5).max(1));
        self.ping_due = now.after(base + Duration::from_nanos(spread));
    }

    /// The ping timer fired: what is to be done, and when it fires again (spec 1.7).
    pub fn on_ping_due(&mut self, interval: Duration, ping_max: u32, now: Time) -> Alarm {
        self.ping_due = now.after(interval);
        let measure = self.ping_sent == Time::default() || now.since(self.ping_sent) > RTT_REFRESH;
        if now.since(self.last_input) < interval && !measure {
            return Alarm::Quiet;
        }
        if self.pings_out + 1 > ping_max {
            return Alarm::Stale;
        }
        self.pings_out += 1;
        self.ping_sent = now;
        Alarm::Ping
    }

    /// CONNECT came: a first estimate of the round trip, from the greeting to the answer to it.
    pub fn on_connect(&mut self, opened: Time, now: Time) {
        if self.round_trip.is_zero() {
            self.round_trip = now.since(opened).max(Duration::from_nanos(1));
        }
    }

    /// A PONG came.
    pub fn on_pong(&mut self, now: Time) {
        self.pings_out = 0;
        if self.ping_sent != Time::default() {
            self.round_trip = now.since(self.ping_sent).max(Duration::from_nanos(1));
        }
    }

    /// The next moment at which the connection has to be looked at, given when its socket blocked.
    pub fn next_due(&self, blocked_since: Time, config: &Config) -> Time {
        let write_due = if blocked_since == Time::NEVER {
            Time::NEVER
        } else {
            blocked_since.after(config.write_deadline)
        };
        let auth_due = self.auth_due.min(self.expires_due);
        auth_due.min(self.ping_due).min(self.stall_due).min(self.linger_due).min(write_due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(count: u64) -> Time {
        Time(1).after(Duration::from_secs(count))
    }

    #[test]
    fn the_first_ping_comes_early_and_the_third_tick_closes() {
        let config = Config::default();
        let mut liveness = Liveness::default();
        liveness.set_first_ping(config.ping_interval, seconds(0), &mut Random::new(3));
        assert!(liveness.ping_due >= seconds(2));
        assert!(liveness.ping_due < seconds(3));
        assert_eq!(
            liveness.on_ping_due(config.ping_interval, config.ping_max, seconds(2)),
            Alarm::Ping
        );
        assert_eq!(liveness.ping_due, seconds(122));
        assert_eq!(
            liveness.on_ping_due(config.ping_interval, config.ping_max, seconds(122)),
            Alarm::Ping
        );
        assert_eq!(
            liveness.on_ping_due(config.ping_interval, config.ping_max, seconds(242)),
            Alarm::Stale
        );
    }

    #[test]
    fn input_puts_pings_off_until_the_round_trip_is_old() {
        let config = Config::default();
        let mut liveness = Liveness::default();
        assert_eq!(
            liveness.on_ping_due(config.ping_interval, config.ping_max, seconds(2)),
            Alarm::Ping
        );
        liveness.on_pong(seconds(3));
        assert_eq!(liveness.round_trip, Duration::from_secs(1));
        liveness.last_input = seconds(100);
        assert_eq!(
            liveness.on_ping_due(config.ping_interval, config.ping_max, seconds(122)),
            Alarm::Quiet
        );
        liveness.last_input = seconds(3700);
        assert_eq!(
            liveness.on_ping_due(config.ping_interval, config.ping_max, seconds(3700)),
            Alarm::Ping
        );
    }
}
