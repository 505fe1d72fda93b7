//! Messages that are published later, or again and again (ADR-51, spec 6.5).
//!
//! A schedule is a stored message like any other, the last of its subject; what is known of it here
//! is when it falls due. What it publishes says in its header which schedule it is from and what
//! becomes of that: it falls due again, or it goes.

use std::collections::{BTreeSet, HashMap};

use base::{Time, Wall};
use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use storage::Fetched;

use super::Stream;
use super::admit::last_of;
use super::cron::Cron;
use super::options::{Options, header_value, put_filtered, ttl_of};
use super::publication::{Publication, Refusal, put_tail};
use super::purge::Scope;
use crate::error::{Fault, table};
use crate::ground::{Site, time_at};
use crate::span;

const SECOND: i64 = 1_000_000_000;
/// Schedules that publish in one turn.
const PER_TURN_MAX: usize = 256;

/// The schedules of a stream.
#[derive(Debug, Default)]
pub(crate) struct Schedules {
    /// By subject: the message's sequence, and when it is due.
    subjects: HashMap<Box<[u8]>, (u64, i64)>,
    dues: BTreeSet<(i64, u64)>,
    /// Is a schedule that is due being read?
    is_reading: bool,
}

impl Schedules {
    /// Notes when the schedule of a subject is due, in place of an earlier one.
    fn note(&mut self, subject: &[u8], sequence: u64, due: i64) {
        self.forget(subject);
        self.subjects.insert(subject.into(), (sequence, due));
        self.dues.insert((due, sequence));
    }

    fn forget(&mut self, subject: &[u8]) {
        if let Some((sequence, due)) = self.subjects.remove(subject) {
            self.dues.remove(&(due, sequence));
        }
    }
}

/// A pattern that was understood.
#[derive(Clone, Debug)]
enum Pattern {
    At(i64),
    Every(i64),
    Cron(Cron, TimeZone),
}

impl Pattern {
    /// Reads the pattern of a schedule, with the time zone that its header names.
    fn read(pattern: &[u8], zone: Option<&[u8]>) -> Result<Self, Fault> {
        let invalid = || table::MESSAGE_SCHEDULES_PATTERN_INVALID;
        let text = std::str::from_utf8(pattern).map_err(|_| invalid())?;
        let zone = zone.map(zone_of).transpose()?;
        let exact = text.strip_prefix("@at ").map(|at| at.parse::<Timestamp>().ok());
        let every = text.strip_prefix("@every ").map(span::parse);
        if zone.is_some() && (exact.is_some() || every.is_some()) {
            return Err(invalid());
        }
        if let Some(at) = exact {
            return at.map(|at| Self::At(at.as_nanosecond() as i64)).ok_or_else(invalid);
        }
        if let Some(interval) = every {
            let interval = interval.filter(|interval| *interval >= SECOND);
            return interval.map(Self::Every).ok_or_else(invalid);
        }
        let text = match text {
            "@yearly" | "@annually" => "0 0 0 1 1 *",
            "@monthly" => "0 0 0 1 * *",
            "@weekly" => "0 0 0 * * 0",
            "@daily" | "@midnight" => "0 0 0 * * *",
            "@hourly" => "0 0 * * * *",
            other => other,
        };
        let cron = Cron::read(text).ok_or_else(invalid)?;
        Ok(Self::Cron(cron, zone.unwrap_or(TimeZone::UTC)))
    }

    /// When it is due after `after`. What was missed is made up for once.
    fn next(&self, after: i64, now: i64) -> Option<i64> {
        let rounded = |time: i64| (time + SECOND / 2).div_euclid(SECOND) * SECOND;
        match self {
            Self::At(at) => Some(*at),
            Self::Every(interval) => {
                let next = rounded(after).saturating_add(*interval);
                Some(if next < now { rounded(now).saturating_add(*interval) } else { next })
            }
            Self::Cron(cron, zone) => {
                let next = cron.next(after, zone)?;
                if next < now { cron.next(rounded(now), zone) } else { Some(next) }
            }
        }
    }

    const fn repeats(&self) -> bool {
        !matches!(self, Self::At(_))
    }
}

fn zone_of(name: &[u8]) -> Result<TimeZone, Fault> {
    let name = std::str::from_utf8(name).ok().filter(|name| !name.is_empty());
    let zone = name.and_then(|name| TimeZoneDatabase::bundled().get(name).ok());
    zone.ok_or(table::MESSAGE_SCHEDULES_TIME_ZONE_INVALID)
}

/// A subject of the stream, other than these.
fn is_other(subject: &[u8], others: &[&[u8]]) -> bool {
    subjects::grammar::is_literal(subject) && !others.contains(&subject)
}

impl Stream {
    /// Is what a message says about schedules in order?
    #[cold]
    pub(super) fn check_schedule(
        &self,
        site: &Site<'_>,
        publication: &Publication<'_>,
    ) -> Result<(), Refusal> {
        let options = &publication.options;
        if !options.schedule.is_empty() {
            self.check_new_schedule(site, publication)?;
        }
        if options.schedule_next.is_empty() && options.scheduler.is_empty() {
            return Ok(());
        }
        let scheduler = options.scheduler;
        if options.schedule_next != b"purge" || !is_other(scheduler, &[publication.subject]) {
            return Err(table::MESSAGE_SCHEDULES_SCHEDULER_INVALID.into());
        }
        if !self.core.config.allow_msg_schedules {
            return Err(table::MESSAGE_SCHEDULES_DISABLED.into());
        }
        let exists = last_of(&site.ground.store, self.core.log, scheduler) > 0;
        if exists && !self.schedules.subjects.contains_key(scheduler) {
            return Err(table::MESSAGE_SCHEDULES_SCHEDULER_INVALID.into());
        }
        Ok(())
    }

    fn check_new_schedule(
        &self,
        site: &Site<'_>,
        publication: &Publication<'_>,
    ) -> Result<(), Fault> {
        let config = &self.core.config;
        if !config.allow_msg_schedules {
            return Err(table::MESSAGE_SCHEDULES_DISABLED);
        }
        let header = |name: &[u8]| header_value(publication.block(), name).unwrap_or_default();
        let zone = header_value(publication.block(), b"Nats-Schedule-Time-Zone");
        let pattern = Pattern::read(publication.options.schedule, zone)?;
        let now = site.now.wall.0;
        pattern.next(now, now).ok_or(table::MESSAGE_SCHEDULES_PATTERN_INVALID)?;
        let ttl = header(b"Nats-Schedule-TTL");
        if ttl_of(ttl).is_none() {
            return Err(table::MESSAGE_SCHEDULES_TTL_INVALID);
        }
        if !matches!(header(b"Nats-Schedule-Rollup"), b"" | b"sub") {
            return Err(table::MESSAGE_SCHEDULES_ROLLUP_INVALID);
        }
        if !ttl.is_empty() && !config.allow_msg_ttl {
            return Err(table::MESSAGE_TTL_DISABLED);
        }
        let stores = |subject: &[u8]| {
            let mut patterns = config.subjects.iter();
            patterns.any(|pattern| subjects::grammar::collide(pattern.as_bytes(), subject))
        };
        let (target, source) = (header(b"Nats-Schedule-Target"), header(b"Nats-Schedule-Source"));
        if !is_other(target, &[publication.subject]) || !stores(target) {
            return Err(table::MESSAGE_SCHEDULES_TARGET_INVALID);
        }
        let is_odd = !is_other(source, &[publication.subject, target]) || !stores(source);
        if !source.is_empty() && is_odd {
            return Err(table::MESSAGE_SCHEDULES_SOURCE_INVALID);
        }
        if !matches!(publication.options.rollup, b"" | b"sub") {
            return Err(table::MESSAGE_SCHEDULES_ROLLUP_INVALID);
        }
        Ok(())
    }

    /// Writes a schedule as it is stored: it replaces an earlier one of its subject.
    pub(super) fn put_schedule(
        tail: &mut Vec<u8>,
        publication: &Publication<'_>,
    ) -> (usize, usize) {
        let put = |out: &mut Vec<u8>| {
            put_filtered(publication.block(), |_| true, out);
            out.truncate(out.len() - 2);
            out.extend_from_slice(b"Nats-Rollup: sub\r\n\r\n");
        };
        put_tail(tail, put, publication.payload())
    }

    /// A message was stored: it may be a schedule, or say what becomes of one.
    pub(super) fn note_schedule(
        &mut self,
        site: &mut Site<'_>,
        publication: &Publication<'_>,
        sequence: u64,
        wall: Wall,
    ) {
        if !self.core.config.allow_msg_schedules {
            return;
        }
        self.learn_schedule(
            publication.subject,
            publication.block(),
            sequence,
            wall,
            site.now.wall,
        );
        let Options { scheduler, schedule_next: next, .. } = publication.options;
        if scheduler.is_empty() || next.is_empty() {
            return;
        }
        if next == b"purge" {
            self.schedules.forget(scheduler);
            self.purge(site, &Scope { filter: scheduler, below: 0, keep: 0 });
        } else if let Some((sequence, _)) = self.schedules.subjects.get(scheduler).copied()
            && let Some(due) = std::str::from_utf8(next).ok().and_then(|next| next.parse().ok())
        {
            let due: Timestamp = due;
            self.schedules.note(scheduler, sequence, due.as_nanosecond() as i64);
        }
        self.list(site);
    }

    /// Learns of a schedule from a stored message's header.
    pub(super) fn learn_schedule(
        &mut self,
        subject: &[u8],
        block: &[u8],
        sequence: u64,
        stored: Wall,
        now: Wall,
    ) {
        let Some(pattern) = header_value(block, b"Nats-Schedule") else { return };
        let zone = header_value(block, b"Nats-Schedule-Time-Zone");
        let pattern = Pattern::read(pattern, zone);
        if let Some(due) = pattern.ok().and_then(|pattern| pattern.next(stored.0, now.0)) {
            self.schedules.note(subject, sequence, due);
        }
    }

    /// When the next schedule is due.
    pub(super) fn schedules_due(&self, site: &Site<'_>) -> Time {
        if self.schedules.is_reading {
            return Time::NEVER;
        }
        let first = self.schedules.dues.first();
        first.map_or(Time::NEVER, |(due, _)| time_at(site.now, Wall(*due)))
    }

    /// Publishes what is due.
    pub(super) fn run_schedules(&mut self, site: &mut Site<'_>) {
        self.schedules.is_reading = false;
        if self.recall.is_some() {
            return;
        }
        for _ in 0..PER_TURN_MAX {
            let Some((due, sequence)) = self.schedules.dues.first().copied() else { return };
            if due > site.now.wall.0 {
                return;
            }
            match self.draft(site, due, sequence) {
                Draft::Publish { subject, header, payload } => {
                    self.schedules.dues.remove(&(due, sequence));
                    self.store_own(site, &subject, &header, &payload);
                }
                Draft::Wait => {
                    self.schedules.is_reading = true;
                    site.ground.readers.push(self.core.id);
                    return;
                }
                Draft::Gone => {
                    self.schedules.dues.remove(&(due, sequence));
                    self.schedules.subjects.retain(|_, (of, _)| *of != sequence);
                }
            }
        }
    }

    /// What a schedule that is due publishes.
    fn draft(&self, site: &mut Site<'_>, due: i64, sequence: u64) -> Draft {
        let now = site.now.wall.0;
        let store = &mut site.ground.store;
        let entry = match store.fetch(self.core.log, sequence) {
            Fetched::Here(entry) => entry,
            Fetched::Reading(_) => return Draft::Wait,
            Fetched::Missing | Fetched::Damaged => return Draft::Gone,
        };
        let own = entry.subject.to_vec();
        let block = entry.header_block().to_vec();
        let mut payload = payload_of(&entry);
        let header = |name: &[u8]| header_value(&block, name).unwrap_or_default();
        let zone = header_value(&block, b"Nats-Schedule-Time-Zone");
        let Ok(pattern) = Pattern::read(header(b"Nats-Schedule"), zone) else { return Draft::Gone };
        let next = if pattern.repeats() { pattern.next(due, now) } else { None };
        let source = header(b"Nats-Schedule-Source");
        let last = if source.is_empty() { 0 } else { last_of(store, self.core.log, source) };
        let mut copied = block.clone();
        if last > 0 {
            match store.fetch(self.core.log, last) {
                Fetched::Here(entry) => {
                    copied = entry.header_block().to_vec();
                    payload = payload_of(&entry);
                }
                Fetched::Reading(_) => return Draft::Wait,
                Fetched::Missing | Fetched::Damaged => {}
            }
        }
        let mut out = Vec::new();
        if copied.is_empty() {
            out.extend_from_slice(b"NATS/1.0\r\n");
        } else {
            put_filtered(&copied, is_copied, &mut out);
            out.truncate(out.len() - 2);
        }
        let mut line = |name: &str, value: &[u8]| {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        };
        line("Nats-Scheduler: ", &own);
        let next = next.and_then(|next| Timestamp::from_nanosecond(i128::from(next)).ok());
        let next = next.map_or_else(|| "purge".to_owned(), |next| next.to_string());
        line("Nats-Schedule-Next: ", next.as_bytes());
        for (name, from) in
            [("Nats-TTL: ", &b"Nats-Schedule-TTL"[..]), ("Nats-Rollup: ", b"Nats-Schedule-Rollup")]
        {
            if !header(from).is_empty() {
                line(name, header(from));
            }
        }
        out.extend_from_slice(b"\r\n");
        Draft::Publish { subject: header(b"Nats-Schedule-Target").to_vec(), header: out, payload }
    }
}

/// What is to become of a schedule that is due.
enum Draft {
    Publish {
        subject: Vec<u8>,
        header: Vec<u8>,
        payload: Vec<u8>,
    },
    /// It is being read.
    Wait,
    Gone,
}

fn payload_of(entry: &storage::Entry<'_>) -> Vec<u8> {
    entry.tail[entry.sizes_bytes + entry.header..entry.tail.len() - 2].to_vec()
}

/// Does a header line go along with what a schedule publishes?
fn is_copied(name: &[u8]) -> bool {
    let is_own = name.starts_with(b"Nats-Schedule") || name.starts_with(b"Nats-Expected-");
    !is_own && !matches!(name, b"Nats-Msg-Id" | b"Nats-TTL" | b"Nats-Rollup")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(pattern: &str, zone: Option<&str>, after: i64, now: i64) -> Result<Option<i64>, u16> {
        let pattern = Pattern::read(pattern.as_bytes(), zone.map(str::as_bytes));
        pattern.map(|pattern| pattern.next(after, now)).map_err(|fault| fault.number)
    }

    #[test]
    fn patterns_fall_due() {
        assert_eq!(next("@at 1970-01-01T00:00:05Z", None, 0, 0), Ok(Some(5 * SECOND)));
        assert_eq!(next("@every 2s", None, SECOND / 4, 0), Ok(Some(2 * SECOND)));
        // Long ago: once, and not for every time that was missed.
        assert_eq!(next("@every 2s", None, 0, 100 * SECOND), Ok(Some(102 * SECOND)));
        assert_eq!(next("@hourly", None, 0, 0), Ok(Some(3600 * SECOND)));
        // Midnight in Tokyo is three in the afternoon of the day before.
        assert_eq!(next("@daily", Some("Asia/Tokyo"), 0, 0), Ok(Some(15 * 3600 * SECOND)));
    }

    #[test]
    fn wrong_patterns_are_refused() {
        for pattern in ["x", "@at x", "@every 1", "@every 500ms", "@sometimes", "* * *"] {
            assert_eq!(next(pattern, None, 0, 0), Err(10189), "{pattern}");
        }
        assert_eq!(next("@every 2s", Some("UTC"), 0, 0), Err(10189));
        assert_eq!(next("@daily", Some("Nowhere/Land"), 0, 0), Err(10223));
        assert_eq!(next("@daily", Some(""), 0, 0), Err(10223));
    }
}
