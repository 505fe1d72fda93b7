//! Messages that end by their age: that of the stream, or their own (spec 6.5).

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use base::limits::EXPIRED_PER_TURN_MAX;
use base::{Time, Wall};
use storage::Fetched;

use super::Stream;
use super::options::{Options, Ttl};
use crate::ground::{Site, time_at};

/// What is known of the ages of a stream's messages.
#[derive(Debug, Default)]
pub(crate) struct Expiry {
    /// When messages with a time to live of their own end. Some may be gone already.
    ends: BinaryHeap<Reverse<(Wall, u64)>>,
    /// Messages that `max_age` does not touch.
    spared: BTreeSet<u64>,
    /// The next message that `max_age` may end, while those in front of it are spared.
    from: u64,
    /// Is a message being read whose end is due?
    is_reading: bool,
}

/// Ends of messages that are gone may be as many as those of messages that are there, and this many
/// more, before they are looked for.
const STALE_MIN: usize = 1024;

impl Expiry {
    /// Notes a message's own time to live.
    pub(crate) fn note(&mut self, sequence: u64, stored: Wall, ttl: Ttl) {
        match ttl {
            Ttl::Unset => {}
            Ttl::Never => {
                self.spared.insert(sequence);
            }
            Ttl::Seconds(seconds) => {
                let end = stored.0.saturating_add(seconds.saturating_mul(1_000_000_000));
                self.ends.push(Reverse((Wall(end), sequence)));
            }
        }
    }

    /// Forgets messages that are not there any more, if they may be many.
    pub(crate) fn tidy(&mut self, log: &storage::Log) {
        let most = log.messages() as usize * 2 + STALE_MIN;
        if self.ends.len() > most {
            self.ends.retain(|Reverse((_, sequence))| log.contains(*sequence));
        }
        if self.spared.len() > most {
            self.spared.retain(|sequence| log.contains(*sequence));
        }
    }

    /// Starts over: the configuration has changed.
    pub(crate) fn look_again(&mut self) {
        self.from = 0;
    }
}

impl Stream {
    /// When a message ends next, or ids are to be forgotten.
    pub(crate) fn expiry_due(&self, site: &Site<'_>) -> Time {
        if self.expiry.is_reading {
            return Time::NEVER;
        }
        let own = self.expiry.ends.peek().map(|Reverse((end, _))| *end);
        let log = site.ground.store.log(self.core.log);
        let aged = if self.core.config.max_age > 0 && log.messages() > 0 {
            let first = log.next(self.expiry.from, &storage::KeySet::ALL);
            let stored = first.and_then(|first| log.time_of(first));
            stored.map(|stored| Wall(stored.0.saturating_add(self.core.config.max_age)))
        } else {
            None
        };
        let seen = self.dedupe.oldest();
        let window = self.core.config.duplicate_window;
        let forgotten = seen.map(|seen| Wall(seen.0.saturating_add(window)));
        let next = [own, aged, forgotten].into_iter().flatten().min();
        next.map_or(Time::NEVER, |wall| {
            // The log's times may be early by a millisecond; look again only then.
            time_at(site.now, Wall(wall.0.saturating_add(1_000_000)))
        })
    }

    /// Ends what is to end now. True if there is more to do.
    pub(crate) fn expire(&mut self, site: &mut Site<'_>) -> bool {
        let window = self.core.config.duplicate_window;
        self.dedupe.forget_before(Wall(site.now.wall.0.saturating_sub(window)));
        if self.recall.is_some() {
            return false;
        }
        self.expiry.tidy(site.ground.store.log(self.core.log));
        self.expiry.is_reading = false;
        self.expire_aged(site) || self.expire_own(site)
    }

    fn expire_aged(&mut self, site: &mut Site<'_>) -> bool {
        if self.core.config.max_age == 0 {
            return false;
        }
        let oldest = site.now.wall.0.saturating_sub(self.core.config.max_age);
        for _ in 0..EXPIRED_PER_TURN_MAX {
            let log = site.ground.store.log(self.core.log);
            let Some(sequence) = log.next(self.expiry.from, &storage::KeySet::ALL) else {
                return false;
            };
            if log.time_of(sequence).is_none_or(|stored| stored.0 > oldest) {
                return false;
            }
            if self.expiry.spared.contains(&sequence) {
                self.expiry.from = sequence + 1;
                continue;
            }
            if !self.end(site, sequence) {
                return false;
            }
        }
        true
    }

    fn expire_own(&mut self, site: &mut Site<'_>) -> bool {
        for _ in 0..EXPIRED_PER_TURN_MAX {
            let Some(&Reverse((end, sequence))) = self.expiry.ends.peek() else { return false };
            if end > site.now.wall {
                return false;
            }
            if !self.end(site, sequence) {
                return false;
            }
            self.expiry.ends.pop();
        }
        true
    }

    /// Ends one message, or puts a marker in its place if it was the last of its subject. False if
    /// the disk has to be asked first.
    fn end(&mut self, site: &mut Site<'_>, sequence: u64) -> bool {
        let span = self.core.config.subject_delete_marker_ttl;
        let log = site.ground.store.log(self.core.log);
        let is_last = |key| log.keys().count(key) == 1;
        if span == 0 || !log.key_of(sequence).is_some_and(is_last) {
            self.remove(site, sequence, false);
            return true;
        }
        let (is_marker, subject) = match site.ground.store.fetch(self.core.log, sequence) {
            Fetched::Here(entry) => {
                let options = Options::read(entry.header_block());
                (options.is_delete_marker(), entry.subject.to_vec())
            }
            Fetched::Reading(_) => {
                self.expiry.is_reading = true;
                site.ground.readers.push(self.core.id);
                return false;
            }
            Fetched::Missing => return true,
            Fetched::Damaged => (true, Vec::new()),
        };
        if is_marker {
            self.remove(site, sequence, false);
            return true;
        }
        let mut header = b"NATS/1.0\r\nNats-Marker-Reason: MaxAge\r\nNats-TTL: ".to_vec();
        header
            .extend_from_slice(crate::span::text(span / 1_000_000_000 * 1_000_000_000).as_bytes());
        header.extend_from_slice(b"\r\nNats-Rollup: sub\r\n\r\n");
        self.store_own(site, &subject, &header, b"");
        // The rollup has taken it away, unless the marker could not be stored.
        self.remove(site, sequence, false);
        true
    }
}
