//! One consumer: where it stands in its stream, and what is out with its clients.

use std::collections::VecDeque;

use base::{Duration, Random, Time, Wall, ids::ServiceId};
use storage::{Fetched, KeySet, Log};

use super::{
    check::INACTIVE_DEFAULT,
    config::{AckPolicy, ConsumerConfig, DeliverPolicy, ReplayPolicy},
    desk::Desk,
    filter::Filter,
    ledger::{Entry, Ledger, Waits},
    notes::Notes,
    push::Push,
    waiting::Waiting,
};
use crate::{
    Service,
    consumer::Endpoint,
    error::Fault,
    stamp::Stamp,
    stream::{View, Wanted, config::Retention},
};

/// Longest time that a push consumer without a threshold, or any pull consumer, stays beyond its
/// threshold, so that many do not go at once.
const JITTER: Duration = Duration::from_millis(900);
const JITTER_MIN: Duration = Duration::from_millis(100);

/// A place in the order of deliveries and in the stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pair {
    /// The number of a delivery.
    pub(crate) number: u64,
    /// A sequence of the stream.
    pub(crate) sequence: u64,
}

/// The last message of each subject, which such a consumer begins with.
#[derive(Debug)]
pub(crate) struct Skip {
    /// What is not yet delivered of them, in order.
    pub(crate) sequences: VecDeque<u64>,
    /// The last sequence that they were looked for in front of: it goes on behind this one.
    pub(crate) until: u64,
}

/// The client that alone is served.
#[derive(Debug, Default)]
pub(crate) struct Pin {
    /// What it has to name; empty if there is none.
    pub(crate) id: String,
    /// When it was chosen.
    pub(crate) since: Wall,
    /// When it has been silent for too long.
    pub(crate) until: Time,
    /// Its group.
    pub(crate) group: String,
}

/// The pace of messages that were there when the consumer began.
#[derive(Debug)]
pub(crate) struct Replay {
    /// The last of them.
    pub(crate) last: u64,
    /// When the previous one had been stored.
    pub(crate) previous: Option<Wall>,
    /// When the next one may be delivered, and which it is.
    pub(crate) due: Option<(u64, Time)>,
}

/// A consumer.
#[derive(Debug)]
pub(crate) struct Consumer {
    pub(crate) name: String,
    pub(crate) config: ConsumerConfig,
    pub(crate) created: Wall,
    pub(crate) filter: Filter,
    /// Its subscriptions.
    pub(crate) services: Vec<ServiceId>,
    /// The first sequence that was not yet looked at.
    pub(crate) next: u64,
    /// The highest that was delivered.
    pub(crate) delivered: Pair,
    /// Everything up to here is acknowledged.
    pub(crate) floor: Pair,
    pub(crate) skip: Option<Skip>,
    pub(crate) ledger: Ledger,
    pub(crate) waits: Waits,
    /// Messages from `next` to `counted` that it wants.
    pending: u64,
    counted: u64,
    pub(crate) last_delivered: Option<Wall>,
    pub(crate) last_acked: Option<Wall>,
    pub(crate) waiting: Waiting,
    pub(crate) push: Push,
    pub(crate) pin: Pin,
    pub(crate) replay: Option<Replay>,
    pub(crate) notes: Notes,
    /// When a client was last heard of.
    pub(crate) last_active: Time,
    /// How long it stays without a client.
    pub(crate) threshold: Option<Duration>,
    /// Of how many in a hundred acknowledgements there is a metric.
    pub(crate) sampling: u64,
    /// The reply subject of the last delivery; they all begin alike.
    pub(crate) reply: Vec<u8>,
    /// Bytes in which they do.
    pub(crate) reply_prefix_bytes: usize,
    /// Deliveries whose message is gone, which nobody was told yet.
    pub(crate) lost: Vec<Entry>,
}

impl Consumer {
    /// A consumer that begins where its configuration says. Names and configuration were checked.
    pub(crate) fn new(
        name: String,
        config: ConsumerConfig,
        view: &mut View<'_>,
    ) -> Result<Self, Fault> {
        let stream = &view.core.config;
        let filter = Filter::new(config.all_filters());
        let waits = Waits::new(config.ack_wait, &config.backoff);
        let sampling = config.sampling()?;
        let notes = Notes::new(stream, &name, &config);
        let last = view.store.log(view.core.log).last();
        let replay = (config.replay_policy == ReplayPolicy::Original).then_some(Replay {
            last,
            previous: None,
            due: None,
        });
        let prefix = format!("$JS.ACK.{}.{name}.", stream.name).into_bytes();
        let mut consumer = Self {
            reply_prefix_bytes: prefix.len(),
            reply: prefix,
            name,
            created: view.now.wall,
            filter,
            services: Vec::new(),
            next: 1,
            delivered: Pair::default(),
            floor: Pair::default(),
            skip: None,
            ledger: Ledger::new(),
            waits,
            pending: 0,
            counted: 0,
            last_delivered: None,
            last_acked: None,
            waiting: Waiting::default(),
            push: Push::new(&config, view),
            pin: Pin::default(),
            replay,
            notes,
            last_active: view.now.time,
            threshold: None,
            sampling,
            lost: Vec::new(),
            config,
        };
        consumer.set_threshold(view.random);
        Ok(consumer)
    }

    /// How long the consumer stays without a client. An ephemeral one has a threshold, and shows
    /// it.
    pub(crate) fn set_threshold(&mut self, random: &mut Random) {
        let config = &mut self.config;
        let mut is_jittered = !config.is_push();
        if !config.is_durable() && config.inactive_threshold <= 0 {
            config.inactive_threshold = INACTIVE_DEFAULT;
            is_jittered = true;
        }
        let spread = JITTER.as_nanos() as u64;
        let jitter = JITTER_MIN + Duration::from_nanos(random.below(spread));
        self.threshold = (config.inactive_threshold > 0).then(|| {
            let threshold = Duration::from_nanos(config.inactive_threshold as u64);
            if is_jittered { threshold + jitter } else { threshold }
        });
    }

    /// Subscribes for what clients send to the consumer.
    pub(crate) fn open(&mut self, desk: &mut Desk<'_, '_>, place: u32) {
        let core = desk.view.core;
        let (stream, name) = (&core.config.name, &self.name);
        let mut patterns = vec![
            (Endpoint::Next, format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}")),
            (Endpoint::Reset, format!("$JS.API.CONSUMER.RESET.{stream}.{name}")),
        ];
        if matches!(self.config.ack_policy, AckPolicy::All | AckPolicy::Explicit) {
            patterns.push((Endpoint::Ack, format!("$JS.ACK.{stream}.{name}.*.*.*.*.*")));
            patterns.push((Endpoint::Ack, format!("$JS.ACK.*.*.{stream}.{name}.*.*.*.*.>")));
        }
        if self.config.flow_control {
            patterns.push((Endpoint::Flow, format!("$JS.FC.{stream}.{name}.*")));
        }
        for (endpoint, pattern) in patterns {
            let service = Service::Consumer(core.id, place, endpoint);
            let pattern = pattern.as_bytes();
            let id = desk.view.services.open(desk.out, core.account, pattern, b"", service);
            self.services.push(id);
        }
    }

    /// Ends the subscriptions.
    pub(crate) fn close(&mut self, desk: &mut Desk<'_, '_>) {
        for id in self.services.drain(..) {
            desk.view.services.close(desk.out, id);
        }
    }

    /// Chooses where to begin (spec 6.3).
    pub(crate) fn begin(&mut self, view: &mut View<'_>) {
        let wall = self.config.start_time.map(Stamp::wall);
        let at_time = wall.map_or(0, |wall| sequence_at(view, wall));
        let log = view.store.log(view.core.log);
        let (first, last) = (log.first(), log.last());
        let start = match self.config.deliver_policy {
            DeliverPolicy::All => first,
            DeliverPolicy::New => last + 1,
            DeliverPolicy::Last if self.filter.is_all() => last,
            DeliverPolicy::Last => log.previous(last, self.filter.keys(log)).unwrap_or(0),
            DeliverPolicy::StartSequence => self.config.start_sequence,
            DeliverPolicy::StartTime => at_time,
            DeliverPolicy::LastPerSubject if view.core.config.max_msgs_per_subject == 1 => first,
            DeliverPolicy::LastPerSubject => {
                let sequences = last_of_each(log, self.filter.keys(log), last);
                let start = sequences.front().copied().unwrap_or(last);
                if !sequences.is_empty() {
                    self.skip = Some(Skip { sequences, until: last });
                }
                start
            }
        };
        let is_given = self.config.deliver_policy == DeliverPolicy::StartSequence;
        self.next = if first == 0 && !is_given {
            1
        } else if start > last && !is_given {
            last + 1
        } else {
            start.max(first)
        };
        self.delivered = Pair { number: 0, sequence: self.next - 1 };
        self.floor = self.delivered;
        self.recount(view);
    }

    /// Goes back to a sequence, or on to it, as if nothing behind it had been delivered.
    pub(crate) fn restart_at(&mut self, sequence: u64, view: &View<'_>) {
        self.ledger.clear();
        self.skip = None;
        self.next = sequence;
        self.delivered = Pair { number: 0, sequence: sequence - 1 };
        self.floor = self.delivered;
        (self.last_delivered, self.last_acked) = (None, None);
        self.recount(view);
        self.notes.changed_all(view.now.time);
    }

    /// Counts what is pending from scratch.
    pub(crate) fn recount(&mut self, view: &View<'_>) {
        let log = view.store.log(view.core.log);
        let visible = view.core.visible;
        let keys = self.filter.keys(log);
        let skipped = self.skip.as_ref().map_or(0, |skip| skip.sequences.len() as u64);
        let from = self.skip.as_ref().map_or(self.next, |skip| skip.until + 1);
        self.pending = skipped + counted(log, keys, from, visible);
        self.counted = visible;
    }

    /// Messages that it wants and has not delivered, with those that came since the last call.
    pub(crate) fn pending(&mut self, view: &View<'_>) -> u64 {
        let visible = view.core.visible;
        if self.counted < visible {
            let log = view.store.log(view.core.log);
            let from = self.next.max(self.counted + 1);
            let from = self.skip.as_ref().map_or(from, |skip| from.max(skip.until + 1));
            self.pending += counted(log, self.filter.keys(log), from, visible);
            self.counted = visible;
        }
        self.pending
    }

    /// As [`Self::pending`] was when it was counted last.
    pub(crate) fn pending_known(&self) -> u64 {
        self.pending
    }

    /// The next message that was never delivered; passes over those that it does not want.
    pub(crate) fn next_new(&mut self, view: &View<'_>) -> Option<u64> {
        let log = view.store.log(view.core.log);
        let visible = view.core.visible;
        while let Some(skip) = &mut self.skip {
            match skip.sequences.front() {
                Some(&sequence) if sequence > visible => return None,
                Some(&sequence) if log.contains(sequence) => return Some(sequence),
                Some(_) => {
                    skip.sequences.pop_front();
                    self.pending = self.pending.saturating_sub(1);
                }
                None => {
                    self.next = self.next.max(skip.until + 1);
                    self.skip = None;
                }
            }
        }
        if self.next > visible {
            return None;
        }
        let found = log.next(self.next, self.filter.keys(log)).filter(|&found| found <= visible);
        if found.is_none() {
            debug_assert!(
                self.counted < visible || self.pending == 0,
                "{} messages are pending and none is found",
                self.pending
            );
            self.next = visible + 1;
            self.counted = self.counted.max(visible);
            self.pending = 0;
        }
        found
    }

    /// A message was delivered for the first time, or cannot be.
    pub(crate) fn pass(&mut self, sequence: u64) {
        self.pending = self.pending.saturating_sub(1);
        match &mut self.skip {
            Some(skip) => {
                skip.sequences.pop_front();
                self.next = sequence + 1;
                if skip.sequences.is_empty() {
                    self.next = skip.until + 1;
                    self.skip = None;
                }
            }
            None => self.next = sequence + 1,
        }
    }

    /// A message left the stream that this consumer may not have delivered.
    pub(crate) fn lose(&mut self, sequence: u64, subject: &[u8]) {
        let is_pending = match &mut self.skip {
            Some(skip) if sequence <= skip.until => match skip.sequences.binary_search(&sequence) {
                Ok(place) => skip.sequences.remove(place).is_some(),
                Err(_) => false,
            },
            Some(_) => sequence <= self.counted && self.filter.matches(subject),
            None => (self.next..=self.counted).contains(&sequence) && self.filter.matches(subject),
        };
        if is_pending {
            self.pending = self.pending.saturating_sub(1);
        }
    }

    /// Has this consumer still to do with a message?
    pub(crate) fn needs(&self, sequence: u64, subject: &[u8]) -> bool {
        if !self.filter.matches(subject) {
            return false;
        }
        let is_ahead = match &self.skip {
            Some(skip) if sequence <= skip.until => skip.sequences.binary_search(&sequence).is_ok(),
            Some(_) => true,
            None => sequence >= self.next,
        };
        is_ahead || self.ledger.holds(sequence)
    }

    /// An outstanding delivery came to its end: everything up to the lowest that is left is
    /// acknowledged, if this was the lowest.
    pub(crate) fn raise_floor(&mut self, number: u64, sequence: u64) {
        let before = self.floor;
        if self.ledger.is_empty() {
            self.floor = self.delivered;
        } else if number == self.floor.number + 1 {
            self.floor = Pair { number, sequence };
            if let Some(lowest) = self.ledger.lowest()
                && lowest.sequence > sequence
            {
                self.floor = Pair { number: lowest.number - 1, sequence: lowest.sequence - 1 };
            }
        }
        assert!(self.floor.sequence >= before.sequence, "the ack floor only rises");
    }

    /// Under interest or work-queue retention: this consumer is done with a message.
    pub(crate) fn done_with(view: &mut View<'_>, sequence: u64) {
        if view.core.config.retention != Retention::Limits {
            view.wanted.push(Wanted::Done(sequence));
        }
    }

    /// Is nothing delivered for now, and until when?
    pub(crate) fn paused_until(&self, now: Wall) -> Option<Wall> {
        self.config.pause_until.map(Stamp::wall).filter(|until| now < *until)
    }
}

/// Messages of some keys from one sequence to another.
fn counted(log: &Log, keys: &KeySet, from: u64, until: u64) -> u64 {
    if from > until {
        return 0;
    }
    let beyond = if until >= log.last() { 0 } else { log.count(until + 1, keys) };
    log.count(from, keys) - beyond
}

/// The last message of each key up to a sequence, in order.
pub(crate) fn last_of_each(log: &Log, keys: &KeySet, until: u64) -> VecDeque<u64> {
    let members = log.keys().iter().filter(|(id, _)| keys.contains(*id));
    let lasts = members.filter_map(|(id, _)| log.previous(until, &KeySet::one(log.keys(), id)));
    let mut sequences: Vec<u64> = lasts.collect();
    sequences.sort_unstable();
    sequences.into()
}

/// The first message that is not older; one more than the last if all are.
pub(crate) fn sequence_at(view: &mut View<'_>, wall: Wall) -> u64 {
    let log = view.core.log;
    let beyond = view.store.log(log).last() + 1;
    let mut sequence = view.store.log(log).sequence_at(wall).unwrap_or(beyond);
    // The index is early by less than a thousandth of a second; the message itself is exact.
    while let Fetched::Here(entry) = view.store.fetch(log, sequence)
        && entry.wall < wall
    {
        let following = view.store.log(log).next(sequence + 1, &KeySet::ALL);
        sequence = following.unwrap_or(beyond);
    }
    sequence
}
