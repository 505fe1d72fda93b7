//! Consumers (spec 6.3, 6.4, 6.6): each is a cursor over its stream, with what is out and not yet
//! acknowledged.
//!
//! They live with their stream on its core. What a client sends is taken at once
//! ([`Consumers::receive`]) and changes what is to be done; delivering, timers and notes come once
//! a turn ([`Consumers::progress`]), for those consumers alone that something happened to.

mod acks;
mod check;
mod config;
mod config_json;
pub(crate) mod copies;
mod cursor;
mod delivery;
mod desk;
mod events;
mod filter;
mod header;
mod info;
mod ledger;
mod notes;
mod pull;
mod push;
mod recovery;
mod request;
mod state;
#[cfg(test)]
mod tests;
mod turn;
mod update;
mod waiting;

pub use request::check_request;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use base::{Slab, Time, ids::ServiceId};
use wire::Message;

use crate::{
    ClientInfo, Outlet,
    api::Request,
    error::{Fault, table},
    stream::{StreamConfig, View, Wanted, config::ConsumerLimits},
};
use cursor::Consumer;
use desk::Desk;

/// What a subscription of a consumer's is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `$JS.API.CONSUMER.MSG.NEXT.<stream>.<consumer>`.
    Next,
    /// `$JS.ACK.<stream>.<consumer>.>`.
    Ack,
    /// `$JS.FC.<stream>.<consumer>.*`.
    Flow,
    /// `$JS.API.CONSUMER.RESET.<stream>.<consumer>`.
    Reset,
}

/// One consumer and what the stream's other consumers need not know of it.
#[derive(Debug, Default)]
struct Seat {
    /// Nothing where the place is free.
    consumer: Option<Box<Consumer>>,
    /// Is it in the list of those that something happened to?
    is_marked: bool,
    /// Is it in the list of those that wait for more messages?
    is_hungry: bool,
    /// Is it in the list of those that wait for the disk?
    is_waiting: bool,
    /// The time of its entry in the agenda that counts; the others are out of date.
    scheduled: Option<Time>,
}

/// The consumers of one stream.
#[derive(Debug, Default)]
pub struct Consumers {
    seats: Slab<Seat>,
    names: BTreeMap<String, u32>,
    /// Those that something happened to.
    marked: VecDeque<u32>,
    /// Those that wait for more messages.
    hungry: Vec<u32>,
    /// Those that wait for the disk.
    waiting: Vec<u32>,
    agenda: BinaryHeap<Reverse<(Time, u32)>>,
    interest_version: u64,
}

impl Consumers {
    /// Consumers that there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Serves a request below `$JS.API.CONSUMER.` (all but MSG.NEXT and RESET, which are
    /// endpoints): appends the answer's JSON, `type` and all, to `answer`. The stream exists, the
    /// API level was checked, and the audit advisory is the caller's. Where there is no such
    /// stream, [`check_request`] says whether something else is to be complained about.
    ///
    /// # Errors
    /// What the answer's `error` is to be; the caller writes `type` (by the verb) and `error`.
    pub fn request(
        &mut self,
        view: &mut View<'_>,
        request: &Request<'_>,
        answer: &mut Vec<u8>,
        out: &mut dyn Outlet,
    ) -> Result<(), Fault> {
        self.serve(&mut Desk { view, out }, request, answer)
    }

    /// A message came for a subscription of the consumer in `place`.
    pub fn receive(
        &mut self,
        view: &mut View<'_>,
        place: u32,
        endpoint: Endpoint,
        client: &ClientInfo<'_>,
        message: &Message<'_>,
        out: &mut dyn Outlet,
    ) {
        let _ = client;
        let desk = &mut Desk { view, out };
        self.mark(place);
        let consumer = self.consumer(place);
        match endpoint {
            Endpoint::Next => consumer.take_request(desk, message),
            Endpoint::Ack => consumer.take_ack(desk, message),
            Endpoint::Flow => consumer.flow_answered(desk, message),
            Endpoint::Reset => consumer.take_reset(desk, message),
        }
    }

    /// [`Core::visible`](crate::stream::Core::visible) rose to its present value from
    /// `from - 1`: there may be something to deliver.
    pub fn stored(&mut self, view: &mut View<'_>, from: u64, out: &mut dyn Outlet) {
        let _ = (view, from, out);
        for place in std::mem::take(&mut self.hungry) {
            let seat = self.seats.get_mut(place);
            if std::mem::take(&mut seat.is_hungry) {
                self.mark(place);
            }
        }
    }

    /// One message was removed (deleted, expired, over a limit; not by a consumer's own
    /// acknowledgement). It is no longer in the log.
    pub fn removed(&mut self, view: &mut View<'_>, sequence: u64, subject: &[u8]) {
        for place in 0..self.seats.place_count() as u32 {
            let Some(consumer) = &mut self.seats.get_mut(place).consumer else { continue };
            consumer.lose(sequence, subject);
            if consumer.lose_delivery(sequence, view.now.time) {
                self.mark(place);
            }
        }
    }

    /// Many messages were removed: those up to `below`, exclusive, all or those that match
    /// `filter` (all if empty).
    pub fn purged(&mut self, view: &mut View<'_>, below: u64, filter: &[u8], out: &mut dyn Outlet) {
        let _ = below;
        let desk = &mut Desk { view, out };
        for place in self.places() {
            self.consumer(place).purged(desk, filter);
            self.mark(place);
        }
    }

    /// Does any consumer want this subject? Under interest retention a message that nobody wants
    /// is not kept.
    pub fn wants(&self, subject: &[u8]) -> bool {
        self.all().any(|consumer| consumer.filter.matches(subject))
    }

    /// Has any consumer that wants this message not yet acknowledged it?
    pub fn needs(&self, sequence: u64, subject: &[u8]) -> bool {
        self.all().any(|consumer| consumer.needs(sequence, subject))
    }

    /// Once a turn: timers that are due, interest that changed, reads from disk that completed
    /// (ask the store again), deliveries.
    pub fn progress(&mut self, view: &mut View<'_>, out: &mut dyn Outlet) {
        self.run(&mut Desk { view, out });
    }

    /// When [`Self::progress`] has something to do next, if nothing else happens.
    pub fn next_due(&self) -> Time {
        if !self.marked.is_empty() {
            return Time(0);
        }
        self.agenda.peek().map_or(Time::NEVER, |Reverse((due, _))| *due)
    }

    /// Does something wait for the disk, so that [`Self::progress`] has something to do once a read
    /// has finished or more is durable?
    pub fn waits_for_disk(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Writes down what was not yet, for an orderly end.
    pub fn flush(&mut self, view: &mut View<'_>, out: &mut dyn Outlet) {
        let desk = &mut Desk { view, out };
        for place in self.places() {
            self.consumer(place).flush(desk);
        }
    }

    /// May the stream set these limits on its consumers?
    ///
    /// # Errors
    /// If there are consumers beyond them.
    pub fn check_limits(&self, new: &ConsumerLimits, old: &ConsumerLimits) -> Result<(), Fault> {
        let (inactive, pending) = (new.inactive_threshold, new.max_ack_pending);
        let is_changed = (inactive > 0 && inactive != old.inactive_threshold)
            || (pending > 0 && pending != old.max_ack_pending);
        let exceeds = |consumer: &Consumer| {
            (inactive > 0 && consumer.config.inactive_threshold > inactive)
                || (pending > 0 && consumer.config.max_ack_pending > pending)
        };
        let beyond: Vec<&str> = self
            .all()
            .filter(|consumer| is_changed && exceeds(consumer))
            .map(|consumer| consumer.name.as_str())
            .collect();
        if beyond.is_empty() {
            return Ok(());
        }
        let names = beyond.join(", ");
        Err(table::STREAM_UPDATE.because(format!("change to limits violates consumers: {names}")))
    }

    /// The stream's configuration changed; `view.core.config` is the new one.
    pub fn stream_updated(
        &mut self,
        view: &mut View<'_>,
        old: &StreamConfig,
        out: &mut dyn Outlet,
    ) {
        let _ = out;
        if old.max_msg_size != view.core.config.max_msg_size {
            for place in self.places() {
                let consumer = self.consumer(place);
                consumer.push.limit(consumer.config.rate_limit, view);
            }
        }
        if old.retention != view.core.config.retention {
            view.wanted.push(Wanted::InterestChanged);
        }
    }

    /// The stream goes: waiting requests are told, subscriptions end. Notes go with the log.
    pub fn stream_deleted(&mut self, view: &mut View<'_>, out: &mut dyn Outlet) {
        let desk = &mut Desk { view, out };
        for place in self.places() {
            let consumer = self.consumer(place);
            consumer.tell_deleted(desk);
            consumer.end_requests(desk, "409 Consumer Deleted");
            consumer.close(desk);
        }
        *self = Self::default();
    }

    /// The stream is not served for a while: what is known is written down, subscriptions end.
    pub fn suspend(&mut self, view: &mut View<'_>, out: &mut dyn Outlet) {
        self.flush(view, out);
        let desk = &mut Desk { view, out };
        for place in self.places() {
            self.consumer(place).close(desk);
        }
        *self = Self::default();
    }

    /// After a start: builds the consumers from their notes in the log.
    pub fn recover(&mut self, view: &mut View<'_>, out: &mut dyn Outlet) {
        self.recall_all(&mut Desk { view, out });
    }

    /// The subscriptions of all consumers, which the shard is told again after interest was lost.
    pub fn services(&self) -> impl Iterator<Item = ServiceId> {
        self.all().flat_map(|consumer| consumer.services.iter().copied())
    }

    fn all(&self) -> impl Iterator<Item = &Consumer> {
        self.seats.places().filter_map(|(_, seat)| seat.consumer.as_deref())
    }

    /// Those that clients are shown, by name.
    fn public(&self) -> impl Iterator<Item = (&str, u32)> {
        let is_public = |place: u32| {
            let consumer = self.seats.get(place).consumer.as_ref();
            consumer.is_some_and(|consumer| !consumer.config.direct)
        };
        let names = self.names.iter().map(|(name, place)| (name.as_str(), *place));
        names.filter(move |(_, place)| is_public(*place))
    }

    /// Those that limits count.
    fn limitable(&self) -> impl Iterator<Item = &Consumer> {
        self.all().filter(|consumer| !consumer.config.direct && !consumer.config.sourcing)
    }

    fn place_of(&self, name: &str) -> Option<u32> {
        self.names.get(name).copied()
    }

    fn places(&self) -> Vec<u32> {
        self.names.values().copied().collect()
    }

    fn consumer(&mut self, place: u32) -> &mut Consumer {
        let consumer = self.seats.get_mut(place).consumer.as_deref_mut();
        consumer.expect("a place that is known has a consumer")
    }

    /// Notes that something happened to a consumer.
    fn mark(&mut self, place: u32) {
        let seat = self.seats.get_mut(place);
        if !std::mem::replace(&mut seat.is_marked, true) {
            self.marked.push_back(place);
        }
    }

    /// Adds a consumer, and subscribes for it.
    fn insert(&mut self, desk: &mut Desk<'_, '_>, consumer: Consumer) -> u32 {
        let name = consumer.name.clone();
        let seat = Seat { consumer: Some(Box::new(consumer)), ..Seat::default() };
        let place = self.seats.insert(seat);
        self.names.insert(name, place);
        let consumer = self.consumer(place);
        consumer.open(desk, place);
        consumer.look_for_interest(desk);
        self.mark(place);
        place
    }

    /// Removes a consumer with everything of it.
    fn delete(&mut self, desk: &mut Desk<'_, '_>, place: u32) {
        let seat = self.seats.remove(place);
        let mut consumer = seat.consumer.expect("a consumer is deleted once");
        self.names.remove(&consumer.name);
        for list in [&mut self.hungry, &mut self.waiting] {
            list.retain(|other| *other != place);
        }
        self.marked.retain(|other| *other != place);
        consumer.tell_deleted(desk);
        consumer.end_requests(desk, "409 Consumer Deleted");
        consumer.close(desk);
        consumer.forget_notes(desk);
        desk.view.wanted.push(Wanted::InterestChanged);
    }
}
