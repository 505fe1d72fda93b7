//! How long a service of another account takes to respond (spec 3.3), and who asks it.

use std::fmt::Write as _;

use accounts::{ExportKind, Latency};
use base::{AccountId, Duration, Slot, Time, Wall};
use jetstream::stamp::Stamp;
use subjects::Route;
use wire::Message;

use crate::frame;
use crate::responses::{ExportId, Requestor, Response};
use crate::services::SERVICES;
use crate::shard::Shard;

/// The header that tells a service who asks.
pub(crate) const INFO_HEADER: &[u8] = b"Nats-Request-Info";

const TYPE: &str = "io.nats.server.metric.v1.service_latency";

/// What a measurement is to say, as far as it is known when the request is made.
#[derive(Debug)]
pub(crate) struct Sampled {
    /// Where it goes, in the exporter's account.
    subject: String,
    /// Headers of the request that asked for it.
    header: Vec<(String, String)>,
    /// Who asks, and what was known of it.
    requestor: Requestor,
    known: ClientInfo,
    /// Was the response on its way?
    pub(crate) delivered: bool,
}

/// A client as a service of another account, or whoever reads measurements, sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClientInfo {
    /// All fields but the three below as they stand in JSON, in their order, and the two places
    /// between them where those belong.
    head: String,
    account: String,
    service: String,
    middle: String,
    /// The time to it and back.
    pub(crate) round_trip: Duration,
    server: String,
    tail: String,
}

impl ClientInfo {
    /// One of whom nothing but the account is known.
    fn of_account(account: &str) -> Self {
        Self { account: account.into(), ..Self::default() }
    }

    /// The same, as it is told on the way through an account.
    pub(crate) fn by_way_of(&self, account: &str) -> Self {
        Self { service: account.into(), ..self.clone() }
    }

    /// As JSON.
    pub(crate) fn json(&self) -> String {
        let mut out = String::from("{");
        out.push_str(&self.head);
        put_text(&mut out, "acc", &self.account);
        put_text(&mut out, "svc", &self.service);
        out.push_str(&self.middle);
        if !self.round_trip.is_zero() {
            let _ = write!(out, "\"rtt\":{},", self.round_trip.as_nanos());
        }
        put_text(&mut out, "server", &self.server);
        out.push_str(&self.tail);
        if out.len() > 1 {
            out.pop();
        }
        out.push('}');
        out
    }
}

/// Appends a field and a comma, unless the text is empty.
fn put_text(out: &mut String, name: &str, text: &str) {
    if !text.is_empty() {
        let _ = write!(out, "\"{name}\":{},", quoted(text));
    }
}

/// A text as JSON, with the escapes that Go's encoder adds.
fn quoted(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

fn stamp(wall: Wall) -> String {
    let mut out = Vec::new();
    Stamp::from(wall).put(&mut out);
    String::from_utf8(out).expect("a stamp is digits and signs")
}

/// What became of a measured request.
pub(crate) enum Outcome<'a> {
    /// A response, and who sent it: what is known, and the time to it and back.
    Answered(Option<(&'a str, Duration)>),
    /// The request had no reply subject.
    NoReply,
    /// Nobody wants the response any more.
    Unwanted,
    /// Nobody was there to serve it.
    Nobody,
    /// No response came in time.
    Late,
}

impl Outcome<'_> {
    const fn status(&self) -> (u16, &'static str) {
        match self {
            Self::Answered(_) => (200, ""),
            Self::NoReply => (400, "Bad Request"),
            Self::Unwanted => (408, "Request Timeout"),
            Self::Nobody => (503, "Service Unavailable"),
            Self::Late => (504, "Service Timeout"),
        }
    }
}

impl Shard {
    /// What is told of a client: all, or only what everybody may know.
    pub(crate) fn client_info(&self, slot: Slot, account: AccountId, all: bool) -> ClientInfo {
        let name = &self.config.accounts.get(account).name;
        if slot == SERVICES {
            return ClientInfo::of_account(name);
        }
        let connection = self.wires.get(slot);
        let mut info = ClientInfo::of_account(name);
        info.round_trip = connection.liveness.round_trip;
        if !all {
            return info;
        }
        let age = self.now.since(connection.opened).as_nanos() as i64;
        let _ = write!(info.head, "\"start\":{},", stamp(Wall(self.wall.0 - age)));
        put_text(&mut info.head, "host", &connection.peer.host);
        let _ = write!(info.head, "\"id\":{},", connection.id.0);
        if let Some(identity) = &connection.identity {
            put_text(&mut info.middle, "user", &identity.user);
            put_text(&mut info.middle, "name", &identity.name);
            put_text(&mut info.middle, "lang", &identity.lang);
            put_text(&mut info.middle, "ver", &identity.version);
        }
        info.server.clone_from(&self.config.server_name);
        let kind = if connection.is_websocket() { "websocket" } else { "nats" };
        put_text(&mut info.tail, "kind", "Client");
        put_text(&mut info.tail, "client_type", kind);
        info
    }

    /// The same with what the system account learns of everybody: the server.
    pub(crate) fn with_server(&self, info: ClientInfo) -> ClientInfo {
        ClientInfo { server: self.config.server_name.clone(), ..info }
    }

    /// How the latency of a service is measured, if it is.
    pub(crate) fn latency_of(&self, export: Option<ExportId>) -> Option<&Latency> {
        let (account, place) = export?;
        let export = self.config.accounts.get(account).exports.get(place as usize)?;
        match &export.kind {
            ExportKind::Service { latency, .. } => latency.as_ref(),
            ExportKind::Stream => None,
        }
    }

    /// Begins a measurement, if this request is one that is to be measured.
    pub(crate) fn sample(
        &mut self,
        export: Option<ExportId>,
        message: &Message<'_>,
        requestor: Option<Slot>,
        (account, share): (AccountId, bool),
    ) -> Option<Box<Sampled>> {
        let latency = self.latency_of(export)?;
        let (sampling, subject) = (latency.sampling, latency.subject.clone());
        let drawn = sampling > 0 && self.random.below(100) <= u64::from(sampling);
        let header = if sampling >= 100 || drawn {
            Vec::new()
        } else {
            wanted_by_header(&message.body()[..message.header])?
        };
        let slot = requestor.unwrap_or(SERVICES);
        let known = self.client_info(slot, account, share);
        let requestor = (slot, self.wires.get(slot).id);
        Some(Box::new(Sampled { subject, header, requestor, known, delivered: false }))
    }

    /// Tells other cores who sends them a response that is measured.
    #[cold]
    pub(crate) fn introduce(&mut self, slot: Slot, route: Route) {
        let account = self.wires.get(slot).account;
        let info = self.client_info(slot, account, true);
        let (json, round_trip) = (info.json(), info.round_trip);
        for core in route.cores.iter() {
            self.outboxes.append(core, |out| frame::put_introduction(out, &json, round_trip));
        }
    }

    /// Measures the round trip of a client whose requests are measured, if it is not known yet.
    pub(crate) fn probe(&mut self, slot: Option<Slot>) {
        let Some(slot) = slot.filter(|slot| *slot != SERVICES) else { return };
        let now = self.now;
        let liveness = &mut self.wires.get_mut(slot).liveness;
        if liveness.round_trip.is_zero() && liveness.pings_out == 0 {
            liveness.ping_sent = now;
            liveness.pings_out = 1;
            self.trace_out(slot, "PING", b"");
            self.wires.write(slot, b"PING\r\n");
        }
    }

    /// Publishes what a request across accounts took.
    pub(crate) fn report(
        &mut self,
        exporter: AccountId,
        sampled: &Sampled,
        asked: Time,
        outcome: &Outcome<'_>,
    ) {
        let requestor = self.requestor_of(sampled);
        let trip = requestor.round_trip;
        let passed = self.now.since(asked);
        let asked_at = Wall(self.wall.0 - passed.as_nanos() as i64 - trip.as_nanos() as i64);
        let (status, description) = outcome.status();
        let id: String = (0..22).map(|_| char::from(b'A' + self.random.below(26) as u8)).collect();
        let mut text = format!(
            "{{\"type\":\"{TYPE}\",\"id\":\"{id}\",\"timestamp\":{},\"status\":{status},",
            stamp(self.wall)
        );
        put_text(&mut text, "description", description);
        let _ = write!(text, "\"requestor\":{},", requestor.json());
        let (mut service, mut total) = (Duration::ZERO, Duration::ZERO);
        if let Outcome::Answered(responder) = outcome {
            total = trip + passed;
            service = passed;
            if let Some((info, trip)) = responder {
                service = passed.saturating_sub(*trip);
                let _ = write!(text, "\"responder\":{info},");
            }
        }
        if !sampled.header.is_empty() {
            let fields = sampled.header.iter();
            let fields =
                fields.map(|(name, value)| format!("{}:[{}]", quoted(name), quoted(value)));
            let _ = write!(text, "\"header\":{{{}}},", fields.collect::<Vec<_>>().join(","));
        }
        let _ = write!(
            text,
            "\"start\":{},\"service\":{},\"system\":0,\"total\":{}}}",
            stamp(asked_at),
            service.as_nanos(),
            total.as_nanos()
        );
        self.speak_text(exporter, sampled.subject.as_bytes(), &text);
    }

    /// Publishes what a request without a reply subject took: nothing.
    pub(crate) fn report_no_reply(&mut self, exporter: AccountId, sampled: &Sampled) {
        self.report(exporter, sampled, self.now, &Outcome::NoReply);
    }

    /// Publishes that a measured request came to nothing, unless its response was on its way.
    pub(crate) fn report_end(&mut self, response: &Response, outcome: &Outcome<'_>) {
        if let Some(sampled) = response.sampled.as_deref().filter(|sampled| !sampled.delivered) {
            self.report(response.here.0, sampled, response.since, outcome);
        }
    }

    /// Who asked, with the round trip as it is known by now.
    fn requestor_of(&self, sampled: &Sampled) -> ClientInfo {
        let (slot, id) = sampled.requestor;
        let mut info = sampled.known.clone();
        let connection = self.wires.connections.places_from(slot.0).next();
        if let Some((_, connection)) = connection.filter(|(_, found)| found.id == id) {
            info.round_trip = connection.liveness.round_trip;
        }
        info
    }

    /// Publishes a text of the broker's own in an account, in the midst of other deliveries.
    fn speak_text(&mut self, account: AccountId, subject: &[u8], text: &str) {
        let tail = format!("{}\r\n{text}\r\n", text.len());
        let sizes_bytes = tail.len() - text.len() - 2;
        let message =
            Message { subject, reply: b"", header: 0, tail: tail.as_bytes(), sizes_bytes };
        let imported = std::mem::take(&mut self.scratch.imported);
        let target = std::mem::take(&mut self.scratch.target);
        let chain = std::mem::take(&mut self.scratch.chain);
        self.speak(account, &message);
        self.scratch.chain = chain;
        self.scratch.target = target;
        self.scratch.imported = imported;
    }
}

/// The headers by which a request asks to be measured, if it does: those of Uber's, Zipkin's and
/// the W3C's tracing.
fn wanted_by_header(block: &[u8]) -> Option<Vec<(String, String)>> {
    let text = String::from_utf8_lossy(block);
    let fields: Vec<(String, String)> = text
        .split("\r\n")
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (canonical(name), value.trim().to_owned()))
        .collect();
    let get = |name: &str| {
        let found = fields.iter().find(|(field, _)| field == name);
        found.map(|(_, value)| value.as_str())
    };
    let take = |wanted: &dyn Fn(&str) -> bool| {
        let taken = fields.iter().filter(|(name, _)| wanted(name)).cloned();
        let mut taken: Vec<(String, String)> = taken.collect();
        taken.sort();
        Some(taken)
    };
    let zipkin = ["X-B3-Sampled", "X-B3-Traceid", "X-B3-Parentspanid", "X-B3-Spanid"];
    if let Some(trace) = get("Uber-Trace-Id") {
        let flags = trace.split(':').nth(3).filter(|flags| (1..=2).contains(&flags.len()));
        let parts = trace.split(':').count();
        let sampled = flags.and_then(|flags| u8::from_str_radix(flags, 16).ok());
        let wanted = parts == 4 && sampled.is_some_and(|flags| flags & 1 == 1);
        let own = |name: &str| name == "Uber-Trace-Id" || name.starts_with("Uberctx-");
        return if wanted { take(&own) } else { None };
    }
    match get("X-B3-Sampled") {
        Some("1") => return take(&|name| zipkin.contains(&name)),
        Some("0") => return None,
        _ => {}
    }
    if get("X-B3-Traceid").is_some() {
        return take(&|name| zipkin.contains(&name));
    }
    if let Some(single) = get("B3") {
        let parts: Vec<&str> = single.split('-').collect();
        let denied = parts == ["0"] || (parts.len() > 2 && parts[2] == "0");
        return if denied { None } else { take(&|name| name == "B3") };
    }
    let flags = get("Traceparent")?.split('-').nth(3).filter(|flags| flags.len() == 2)?;
    let sampled = i8::from_str_radix(flags, 16).ok()? & 1 == 1;
    let own = |name: &str| name == "Traceparent" || name == "Tracestate";
    if sampled { take(&own) } else { None }
}

/// A header's name as Go writes it: each word with a capital.
fn canonical(name: &str) -> String {
    let word = |word: &str| {
        let mut letters = word.chars();
        let first = letters.next().map(|letter| letter.to_ascii_uppercase());
        first.into_iter().chain(letters.map(|letter| letter.to_ascii_lowercase())).collect()
    };
    name.split('-').map(word).collect::<Vec<String>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_ask_to_be_measured() {
        let rows: [(&str, Option<&[&str]>); 14] = [
            ("A: b", None),
            (
                "Uber-Trace-Id: 1:2:3:1\r\nUberctx-X: y\r\nZ: z",
                Some(&["Uber-Trace-Id", "Uberctx-X"]),
            ),
            ("uber-trace-id: 1:2:3:0", None),
            ("Uber-Trace-Id: 1:2:1", None),
            ("X-B3-Sampled: 1", Some(&["X-B3-Sampled"])),
            ("X-B3-Sampled: 0\r\nX-B3-TraceId: 5", None),
            ("X-B3-TraceId: 5\r\nX-B3-SpanId: 6", Some(&["X-B3-Spanid", "X-B3-Traceid"])),
            ("B3: 80f1-e457-1-05e3", Some(&["B3"])),
            ("B3: 80f1-e457-0-05e3", None),
            ("B3: 0", None),
            ("B3: 80f1-e457", Some(&["B3"])),
            ("Traceparent: 00-4b-00-01\r\nTracestate: s", Some(&["Traceparent", "Tracestate"])),
            ("traceparent: 00-4b-00-00", None),
            ("Traceparent: 00-4b-00-1", None),
        ];
        for (fields, expected) in rows {
            let block = format!("NATS/1.0\r\n{fields}\r\n\r\n");
            let found = wanted_by_header(block.as_bytes());
            let names = found.map(|found| found.into_iter().map(|(name, _)| name).collect());
            let expected = expected.map(|names| names.iter().map(|n| String::from(*n)).collect());
            assert_eq!(names, expected as Option<Vec<String>>, "{fields}");
        }
    }

    #[test]
    fn a_client_as_json() {
        let mut info = ClientInfo::of_account("A<");
        assert_eq!(info.json(), "{\"acc\":\"A\\u003c\"}");
        info.round_trip = Duration::from_micros(5);
        assert_eq!(info.by_way_of("B").json(), "{\"acc\":\"A\\u003c\",\"svc\":\"B\",\"rtt\":5000}");
        assert_eq!(ClientInfo::default().json(), "{}");
    }
}
