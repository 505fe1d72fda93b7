//! Messages that are traced: where each goes, stop by stop (spec 7.6).
//!
//! A message whose header names a destination for its trace goes its way like any other, or, if it
//! is only to be traced, as far as it would have come. Every core notes the stops that it makes the
//! message take and tells of them as a part; parts that follow on other cores are named in the one
//! that caused them, so that whoever collects them knows when the trace is whole. Nobody else pays
//! for it: a message without a header is not even looked at.

use base::{AccountId, ConnectionId, Slot, Wall};
use subjects::{SubId, grammar};
use wire::Message;

use crate::effects::Level;
use crate::publish::Origin;
use crate::services::{Owner, SERVICES, owner_of};
use crate::shard::Shard;

/// The header that says where a trace goes.
const DESTINATION: &[u8] = b"Nats-Trace-Dest";
/// What stands there once a message is not to be traced any further.
const DISABLED: &[u8] = b"trace disabled";
/// The header which says that the message is not to arrive anywhere.
const ONLY: &[u8] = b"Nats-Trace-Only";
/// A header of old servers, with which nothing is traced.
const ORIGIN_ACCOUNT: &[u8] = b"Nats-Trace-Origin-Account";
/// The header of W3C's trace context, for accounts that have a destination for traces.
const PARENT: &[u8] = b"traceparent";

/// What a core has to tell of the way of a traced message.
#[derive(Clone, Debug, Default)]
pub struct TracePart {
    /// Its number, unique on the server.
    pub number: u64,
    /// Where the message came in, in the first part.
    pub ingress: Option<Ingress>,
    /// The stops, in order.
    pub stops: Vec<(Wall, Stop)>,
    /// The parts that it caused on other cores.
    pub caused: Vec<u64>,
}

/// Where a traced message came in.
#[derive(Clone, Debug, Default)]
pub struct Ingress {
    /// Where the trace goes.
    pub destination: Vec<u8>,
    /// When it came in.
    pub at: Wall,
    /// The connection that it came from.
    pub connection: ConnectionId,
    /// What that calls itself.
    pub name: String,
    /// Its account.
    pub account: AccountId,
    /// Its subject, as it was sent.
    pub subject: Vec<u8>,
    /// Its header block.
    pub header: Vec<u8>,
    /// Bytes of header and payload.
    pub size: usize,
    /// Why it was not let through; empty if it was.
    pub error: String,
}

/// A stop of a traced message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Its subject became another by a mapping.
    Mapped(Vec<u8>),
    /// It went to an account that imports the stream.
    StreamExport {
        /// The importer.
        account: AccountId,
        /// What it is called there.
        to: Vec<u8>,
    },
    /// It went to a service of another account.
    ServiceImport {
        /// The exporter.
        account: AccountId,
        /// What it was called before.
        from: Vec<u8>,
        /// What it is called there.
        to: Vec<u8>,
    },
    /// It came to a stream.
    Stored {
        /// The stream.
        stream: String,
        /// What it is stored as.
        subject: Vec<u8>,
        /// Did nobody want it?
        no_interest: bool,
    },
    /// It came to a subscription.
    Delivered {
        /// The connection.
        connection: ConnectionId,
        /// What that calls itself.
        name: String,
        /// Its account.
        account: AccountId,
        /// The subscription's pattern.
        pattern: Vec<u8>,
        /// The subscription's queue group, or nothing.
        queue: Vec<u8>,
        /// Why it went no further; empty if it did.
        error: &'static str,
    },
}

const NO_ECHO: &str = "Not delivered because of no echo";
const DENIED: &str = "Not delivered because subscription denies this subject";
const CLOSED: &str = "Not delivered because client is closed";
const EXCEEDED: &str = "Not delivered because auto-unsubscribe exceeded";
const NOT_STALLED: &str = "Not delivered because fast producer not stalled and consumer is slow";

/// The way of a message that is under way on this core.
#[derive(Debug, Default)]
pub(crate) struct Itinerary {
    part: TracePart,
    /// Is it not to arrive?
    pub(crate) only: bool,
    /// Members of queue groups that were chosen, to be described.
    picked: Vec<SubId>,
}

impl Itinerary {
    /// A member of a queue group was chosen. True if it is to get the message.
    pub(crate) fn pick(&mut self, id: SubId) -> bool {
        self.picked.push(id);
        !self.only
    }

    /// Gives a number to what follows on another core.
    pub(crate) fn cause(&mut self, numbers: &mut Numbers) -> u64 {
        let number = numbers.next();
        self.part.caused.push(number);
        number
    }
}

/// Numbers of parts, of which no two cores have the same.
#[derive(Debug)]
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(core: base::CoreId) -> Self {
        Self((core.index() as u64) << 48)
    }

    fn next(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }
}

/// What the header of a message says about tracing.
#[derive(Debug, PartialEq, Eq)]
enum Wish<'a> {
    /// Nothing, or nothing that counts.
    None,
    /// It is to be traced there.
    Trace { destination: &'a [u8], only: bool },
    /// It is to be traced to where the account says.
    Sampled,
    /// It was made by an old server, and is only to be traced or not.
    Outdated { only: bool },
}

impl<'a> Wish<'a> {
    fn read(header: &'a [u8], with_parent: bool) -> Self {
        let (mut destination, mut only, mut outdated, mut parent) = (None, false, false, false);
        for (name, value) in lines(header) {
            match name {
                DESTINATION if value == DISABLED => return Self::None,
                DESTINATION => destination = destination.or(Some(value)),
                ONLY => only |= is_yes(value),
                ORIGIN_ACCOUNT => outdated = true,
                _ if with_parent && name.eq_ignore_ascii_case(PARENT) => {
                    parent |= is_sampled(value);
                }
                _ => {}
            }
        }
        match destination {
            Some(_) if outdated => Self::Outdated { only },
            Some(destination) => Self::Trace { destination, only },
            None if parent => Self::Sampled,
            None => Self::None,
        }
    }
}

/// Names and values of a header block that are not empty.
fn lines(header: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let lines = header.split(|byte| *byte == b'\n').skip(1);
    lines.filter_map(|line| {
        let line = line.strip_suffix(b"\r")?;
        let colon = line.iter().position(|byte| *byte == b':')?;
        let value = line[colon + 1..].trim_ascii();
        (colon > 0 && !value.is_empty()).then_some((&line[..colon], value))
    })
}

fn is_yes(value: &[u8]) -> bool {
    [&b"1"[..], b"true", b"on"].iter().any(|yes| value.eq_ignore_ascii_case(yes))
}

/// Does a `traceparent` say that its trace is kept?
fn is_sampled(value: &[u8]) -> bool {
    let mut parts = value.split(|byte| *byte == b'-');
    let flags = parts.nth(3).filter(|flags| flags.len() == 2 && parts.next().is_none());
    let flags = flags.and_then(|flags| std::str::from_utf8(flags).ok());
    flags.and_then(|flags| i8::from_str_radix(flags, 16).ok()).is_some_and(|flags| flags & 1 == 1)
}

/// Could a header block ask for a trace? Most say nothing of the kind.
fn mentions_trace(header: &[u8], with_parent: bool) -> bool {
    let finds = |name: &[u8]| header.windows(name.len()).any(|found| found == name);
    with_parent || finds(DESTINATION)
}

impl Shard {
    /// Does a message with a header ask to be traced?
    pub(crate) fn is_to_be_traced(&self, slot: Slot, message: &Message<'_>) -> bool {
        let header = &message.body()[..message.header];
        mentions_trace(header, self.trace_of(slot).is_some())
    }

    /// Where an account wants traces of others, and how many of 100.
    fn trace_of(&self, slot: Slot) -> Option<&(String, u8)> {
        let account = self.wires.get(slot).account;
        self.config.accounts.accounts.get(account.index())?.trace.as_ref()
    }

    /// Publishes a message that asks to be traced.
    #[cold]
    pub(crate) fn publish_traced(&mut self, slot: Slot, message: &Message<'_>) {
        let trace = self.trace_of(slot).cloned();
        let header = &message.body()[..message.header];
        let (destination, only) = match Wish::read(header, trace.is_some()) {
            Wish::None => return self.publish_onward(slot, message),
            Wish::Trace { destination, only } => (destination.to_vec(), only),
            Wish::Sampled => {
                let (destination, percent) = trace.expect("it was asked for above");
                if percent < 100 && self.random.below(100) > u64::from(percent) {
                    return self.publish_onward(slot, message);
                }
                (destination.into_bytes(), false)
            }
            Wish::Outdated { only } => {
                let name = String::from_utf8_lossy(ORIGIN_ACCOUNT);
                let text = format!("Message tracing disabled because of header {name:?}");
                self.log_for(Level::Error, slot, &text);
                return self.publish_untraced(slot, message, only);
            }
        };
        if !grammar::is_literal(&destination) {
            let shown = crate::trace::quoted(&destination);
            let text = format!("Destination {shown} is not valid, won't be able to trace events");
            self.log_for(Level::Error, slot, &text);
            return self.publish_untraced(slot, message, only);
        }
        if !self.may_trace_to(slot, &destination) {
            self.violate_publish(slot, &destination);
            return self.drop_traced(slot, message);
        }
        let part = self.begin_trace(slot, message, destination);
        self.scratch.traced = Some(Box::new(Itinerary { part, only, picked: Vec::new() }));
        self.publish_onward(slot, message);
        self.end_trace();
    }

    /// Publishes what cannot be traced, unless it was only to be traced.
    fn publish_untraced(&mut self, slot: Slot, message: &Message<'_>, only: bool) {
        if only {
            self.drop_traced(slot, message);
        } else {
            self.publish_onward(slot, message);
        }
    }

    fn may_trace_to(&mut self, slot: Slot, destination: &[u8]) -> bool {
        let reserved = destination.starts_with(b"_GR_.")
            || (destination.starts_with(b"$NRG.")
                && self.wires.get(slot).account != AccountId::SYSTEM);
        !reserved && self.may_publish_to(slot, destination) != accounts::Answer::Never
    }

    /// A message goes nowhere, and is counted all the same.
    fn drop_traced(&mut self, slot: Slot, message: &Message<'_>) {
        self.wires.get_mut(slot).note_input(message.size(), self.now);
    }

    fn begin_trace(
        &mut self,
        slot: Slot,
        message: &Message<'_>,
        destination: Vec<u8>,
    ) -> TracePart {
        let connection = self.wires.get(slot);
        let ingress = Ingress {
            destination,
            at: self.wall,
            connection: connection.id,
            name: self.name_of(slot),
            account: connection.account,
            subject: message.subject.to_vec(),
            header: message.body()[..message.header].to_vec(),
            size: message.size(),
            error: String::new(),
        };
        let number = self.trace_numbers.next();
        TracePart { number, ingress: Some(ingress), ..TracePart::default() }
    }

    /// A traced message comes from another core.
    pub(crate) fn continue_trace(&mut self, number: u64, only: bool) {
        let part = TracePart { number, ..TracePart::default() };
        self.scratch.traced = Some(Box::new(Itinerary { part, only, picked: Vec::new() }));
    }

    /// Tells of the stops that were noted.
    pub(crate) fn end_trace(&mut self) {
        if let Some(traced) = self.scratch.traced.take() {
            self.effects.traced.push(traced.part);
        }
    }

    fn name_of(&self, slot: Slot) -> String {
        let identity = self.wires.get(slot).identity.as_deref();
        identity.map_or_else(String::new, |identity| identity.name.clone())
    }

    /// Notes a stop of the message that is under way, if that is traced.
    pub(crate) fn note_stop(&mut self, stop: impl FnOnce() -> Stop) {
        let at = self.wall;
        if let Some(traced) = &mut self.scratch.traced {
            traced.part.stops.push((at, stop()));
        }
    }

    /// Notes why the message that is under way was not let through, if that is traced.
    pub(crate) fn note_refusal(&mut self, error: &str) {
        let traced = self.scratch.traced.as_mut();
        if let Some(ingress) = traced.and_then(|traced| traced.part.ingress.as_mut()) {
            error.clone_into(&mut ingress.error);
        }
    }

    /// Notes that the message came to a subscription.
    fn note_delivery(&mut self, id: SubId, subject: &[u8], error: &'static str) {
        let subscription = self.spaces.subscriptions.get(id);
        let slot = subscription.connection();
        if slot == SERVICES {
            return self.note_storing(id, subject);
        }
        let connection = self.wires.get(slot);
        let (pattern, queue) = self.spaces.describe(id);
        let stop = Stop::Delivered {
            connection: connection.id,
            name: self.name_of(slot),
            account: connection.account,
            pattern: pattern.to_vec(),
            queue: queue.to_vec(),
            error,
        };
        self.note_stop(|| stop);
    }

    /// Notes that the message came to a stream, if that is what serves here.
    fn note_storing(&mut self, id: SubId, subject: &[u8]) {
        let sid = self.spaces.subscriptions.get(id).sid;
        let owner = self.spaces.subscriptions.sids.with(sid, owner_of);
        let Some((Owner::JetStream, service)) = owner else { return };
        let Some(jetstream) = &self.jetstream else { return };
        let Some((stream, no_interest)) = jetstream.storing(service, subject) else { return };
        let stop =
            Stop::Stored { stream: stream.to_owned(), subject: subject.to_vec(), no_interest };
        self.note_stop(|| stop);
    }

    /// Describes the members of queue groups that were chosen.
    #[cold]
    pub(crate) fn note_picked(&mut self, subject: &[u8]) {
        let Some(traced) = &mut self.scratch.traced else { return };
        for id in std::mem::take(&mut traced.picked) {
            self.note_delivery(id, subject, "");
        }
    }

    /// Delivers a traced message to the plain subscriptions of this core. True if anyone got it.
    #[cold]
    pub(crate) fn deliver_plain_traced(
        &mut self,
        account: AccountId,
        route: subjects::Route,
        message: &Message<'_>,
        origin: Option<Origin>,
    ) -> bool {
        let (lists, _) = self.spaces.split(account);
        let plain = lists.leaves(route).flat_map(|leaf| leaf.plain().iter().copied());
        let ids: Vec<SubId> = lists.literal(route).chain(plain).collect();
        let mut delivered = false;
        for id in ids {
            if self.spaces.subscriptions.get(id).is_special() {
                self.scratch.apart.push(id);
                continue;
            }
            let error = self.deliver_one_traced(id, message, origin);
            delivered |= error.is_empty();
            self.note_delivery(id, message.subject, error);
        }
        delivered
    }

    /// Delivers to one subscription. Returns why not, or nothing.
    fn deliver_one_traced(
        &mut self,
        id: SubId,
        message: &Message<'_>,
        origin: Option<Origin>,
    ) -> &'static str {
        let subscription = self.spaces.subscriptions.get(id);
        let (slot, sid) = (subscription.connection(), subscription.sid);
        let connection = self.wires.get(slot);
        if !Origin::reaches(origin, slot) {
            return NO_ECHO;
        }
        if !connection.admits(message.subject, b"") {
            return DENIED;
        }
        if self.scratch.traced.as_ref().is_some_and(|traced| traced.only) {
            return "";
        }
        let must_drop = self.wires.must_drop(connection);
        if !connection.is_open() {
            return CLOSED;
        }
        let (may, ends) = self.spaces.subscriptions.count_delivery(id);
        if ends {
            self.scratch.end_later(slot, id);
        }
        if !may {
            return EXCEEDED;
        }
        if must_drop {
            return NOT_STALLED;
        }
        self.wires.deliver(slot, message, sid, &self.spaces.subscriptions.sids);
        ""
    }

    /// Notes that a message of an imported stream goes to an importer. False if it is not to.
    #[cold]
    pub(crate) fn trace_shadow(
        &mut self,
        id: SubId,
        (importer, import): (AccountId, u32),
        subject: &[u8],
    ) -> bool {
        let Some(traced) = &self.scratch.traced else { return true };
        let only = traced.only;
        let shared = &self.config.accounts.get(importer).stream_imports[import as usize];
        let open = shared.allow_trace;
        self.note_stop(|| Stop::StreamExport { account: importer, to: subject.to_vec() });
        if open {
            self.note_delivery(id, subject, "");
        }
        !only
    }

    /// Notes that a request goes to a service of another account. Where the service's traces are
    /// its own, nothing more is noted until [`Shard::resume_trace`]. False if it is not to go on.
    #[cold]
    pub(crate) fn trace_request(
        &mut self,
        exporter: AccountId,
        export: Option<u32>,
        (from, to): (&[u8], &[u8]),
    ) -> (Option<Box<Itinerary>>, bool) {
        let Some(traced) = &self.scratch.traced else { return (None, true) };
        let only = traced.only;
        self.note_stop(|| Stop::ServiceImport {
            account: exporter,
            from: from.to_vec(),
            to: to.to_vec(),
        });
        let exports = &self.config.accounts.get(exporter).exports;
        let kind = export.and_then(|place| exports.get(place as usize)).map(|found| &found.kind);
        let open = matches!(kind, Some(accounts::ExportKind::Service { allow_trace: true, .. }));
        if open {
            return (None, true);
        }
        (self.scratch.traced.take(), !only)
    }

    /// Goes on with a trace that [`Shard::trace_request`] laid aside.
    pub(crate) fn resume_trace(&mut self, aside: Option<Box<Itinerary>>) {
        if aside.is_some() {
            self.scratch.traced = aside;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_the_reference_reads_them() {
        let trace = |destination: &'static str, only| Wish::Trace {
            destination: destination.as_bytes(),
            only,
        };
        let parent = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n";
        let unsampled = "TraceParent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00\r\n";
        for (lines, expected) in [
            ("A: b\r\n", Wish::None),
            ("Nats-Trace-Dest: t\r\n", trace("t", false)),
            ("Nats-Trace-Dest:t\r\nNats-Trace-Only: TRUE\r\n", trace("t", true)),
            ("Nats-Trace-Only: 1\r\nNats-Trace-Dest:  t \r\n", trace("t", true)),
            ("Nats-Trace-Only: yes\r\nNats-Trace-Dest: t\r\n", trace("t", false)),
            ("Nats-Trace-Dest: trace disabled\r\n", Wish::None),
            ("nats-trace-dest: t\r\n", Wish::None),
            ("Nats-Trace-Dest: \r\n", Wish::None),
            (
                "Nats-Trace-Dest: t\r\nNats-Trace-Origin-Account: A\r\n",
                Wish::Outdated { only: false },
            ),
            (parent, Wish::Sampled),
            (unsampled, Wish::None),
            ("traceparent: 00-x-01\r\n", Wish::None),
        ] {
            let header = format!("NATS/1.0\r\n{lines}\r\n");
            assert_eq!(Wish::read(header.as_bytes(), true), expected, "{lines}");
        }
        let header = format!("NATS/1.0\r\n{parent}\r\n");
        assert_eq!(Wish::read(header.as_bytes(), false), Wish::None);
        assert!(!mentions_trace(header.as_bytes(), false));
    }
}
