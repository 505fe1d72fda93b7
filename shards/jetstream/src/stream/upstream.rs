//! Streams that a stream takes messages from: the one it mirrors, or its sources (spec 6.9).
//!
//! Each is followed by a push consumer of the origin, which is asked for, delivers and is answered
//! by the same subjects that clients use: an origin in another account or domain is no different
//! from a neighbour. What comes in by it is the matter of [`inflow`](super::inflow).
//!
//! Where a source stands is a note of the log beside the stream's own last sequence at that time:
//! after a start only what was stored since has to be looked through. A mirror stands where its log
//! ends.

use base::limits::{UPSTREAM_ANSWER_WAIT, UPSTREAM_PAUSE_LEAST, UPSTREAM_PAUSE_MOST};
use base::limits::{UPSTREAM_HEARTBEAT, UPSTREAM_SILENCE_MAX};
use base::{Duration, Random, ServiceId, Time};
use subjects::Transform;

use super::Stream;
use super::codec::{put_external, put_transforms};
use super::config::Source;
use crate::error::{Fault, table};
use crate::ground::Site;
use crate::json::{self, Value, Writer, put_list, put_text};
use crate::names::unique;
use crate::services::{Service, UpstreamEnd};

/// What the keys of notes of sources begin with.
const NOTE: &[u8] = b"u/";

/// A stream that messages are taken from.
#[derive(Debug)]
pub(crate) struct Upstream {
    /// Its number, for its subscriptions.
    pub(crate) place: u32,
    pub(crate) source: Source,
    pub(crate) is_mirror: bool,
    /// How it is told from other sources, in headers and notes.
    pub(crate) key: String,
    pub(super) transforms: Vec<Transform>,
    pub(super) stage: Stage,
    services: Vec<ServiceId>,
    /// The consumer that is listened to, once its first message has come.
    pub(super) consumer: Vec<u8>,
    /// The consumer's last sequence.
    pub(super) delivered: u64,
    /// The origin's last sequence that was taken.
    pub(crate) last: u64,
    /// Messages that the origin has beyond.
    pub(super) lag: u64,
    pub(super) heard: Option<Time>,
    pub(super) fault: Option<Fault>,
    failures: u32,
    /// When it was last asked for a consumer.
    asked: Time,
    due: Time,
    /// Is its note out of date?
    pub(super) is_moved: bool,
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Waits to ask for a consumer.
    Waiting,
    /// Waits for the answer.
    Asking,
    /// Takes what the consumer delivers.
    Following,
}

/// The pieces of a source's name in headers: the reference joins several filters by form feeds.
fn joined<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let texts: Vec<&str> = texts.map(|text| if text.is_empty() { ">" } else { text }).collect();
    if texts.is_empty() { ">".into() } else { texts.join("\u{c}") }
}

impl Upstream {
    fn new(place: u32, source: &Source, is_mirror: bool) -> Self {
        let mut name = source.name.clone();
        if let Some(external) = &source.external {
            let hash = external.api.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
            name = format!("{name}:{:08x}", hash >> 32);
        }
        let (from, to) = if source.transforms.is_empty() {
            (joined([source.filter.as_str()].into_iter()), ">".into())
        } else {
            let transforms = &source.transforms;
            let from = joined(transforms.iter().map(|transform| transform.source.as_str()));
            (from, joined(transforms.iter().map(|transform| transform.destination.as_str())))
        };
        let usable = source.transforms.iter().filter(|it| !it.destination.is_empty());
        let transforms = usable.filter_map(|it| {
            let from = if it.source.is_empty() { ">" } else { &it.source };
            Transform::new(from, &it.destination).ok()
        });
        Self {
            place,
            is_mirror,
            key: format!("{name} {from} {to}"),
            transforms: transforms.collect(),
            source: source.clone(),
            stage: Stage::Waiting,
            services: Vec::new(),
            consumer: Vec::new(),
            delivered: 0,
            last: 0,
            lag: 0,
            heard: None,
            fault: None,
            failures: 0,
            asked: Time(0),
            due: Time(0),
            is_moved: false,
        }
    }

    fn note_key(&self) -> Vec<u8> {
        [NOTE, self.key.as_bytes()].concat()
    }

    /// Stops listening.
    fn let_go(&mut self, site: &mut Site<'_>) {
        for id in self.services.drain(..) {
            site.ground.services.close(site.out, id);
        }
        self.consumer.clear();
        self.delivered = 0;
        self.stage = Stage::Waiting;
    }

    /// Asks for another consumer soon: this one missed something, or nothing is heard of it.
    pub(super) fn start_over(&mut self, site: &mut Site<'_>) {
        self.let_go(site);
        self.due = self.asked.after(UPSTREAM_PAUSE_LEAST).max(site.now.time);
    }

    /// Asks again later, the later the more often it was in vain.
    pub(super) fn fail(&mut self, site: &mut Site<'_>, fault: Fault) {
        self.let_go(site);
        self.fault = Some(fault);
        let shift = self.failures.min(16);
        let pause = UPSTREAM_PAUSE_LEAST.as_nanos() as u64;
        let pause = Duration::from_nanos(pause << shift).min(UPSTREAM_PAUSE_MOST);
        self.failures = self.failures.saturating_add(1);
        self.due = site.now.time.after(pause);
    }

    /// Something was heard of the consumer.
    pub(super) fn hear(&mut self, now: Time) {
        self.heard = Some(now);
        self.due = now.after(UPSTREAM_SILENCE_MAX);
    }

    /// Asks the origin for a consumer that begins where this one stands.
    fn ask(&mut self, stream: &super::Core, site: &mut Site<'_>, own_last: u64) {
        self.asked = site.now.time;
        let random = &mut site.ground.random;
        let (deliver, answer) =
            (self.deliver_subject(random), format!("_INBOX.{}", unique(random)));
        for (subject, end) in [(&deliver, UpstreamEnd::Delivery), (&answer, UpstreamEnd::Answer)] {
            let service = Service::Upstream(stream.id, self.place, end);
            let services = &mut site.ground.services;
            let subject = subject.as_bytes();
            self.services.push(services.open(site.out, stream.account, subject, b"", service));
        }
        let (subject, body) = match &self.source.consumer {
            Some(consumer) => {
                (format!("CONSUMER.RESET.{}.{}", self.source.name, consumer.name), Vec::new())
            }
            None => self.creation(stream, site, &deliver, own_last),
        };
        let prefix = self.source.external.as_ref().map_or("$JS.API", |external| &external.api);
        let subject = format!("{prefix}.{subject}").replace("..", ".");
        let parcel = site.ground.parcel.clear().body(&body);
        let account = stream.account;
        if parcel.send(site.out, account, subject.as_bytes(), answer.as_bytes()) {
            self.stage = Stage::Asking;
            self.due = site.now.time.after(UPSTREAM_ANSWER_WAIT);
        } else {
            self.fail(site, self.setup_failed("no responders available for request"));
        }
    }

    fn setup_failed(&self, cause: &str) -> Fault {
        let fault = if self.is_mirror {
            table::MIRROR_CONSUMER_SETUP_FAILED
        } else {
            table::SOURCE_CONSUMER_SETUP_FAILED
        };
        fault.because(cause)
    }

    fn deliver_subject(&self, random: &mut Random) -> String {
        if let Some(consumer) = &self.source.consumer {
            return consumer.deliver_subject.clone();
        }
        let letter = if self.is_mirror { 'M' } else { 'S' };
        let external = self.source.external.as_ref();
        match external.filter(|external| !external.deliver.is_empty()) {
            Some(external) => {
                format!("{}.{letter}.{}", external.deliver, unique(random)).replace("..", ".")
            }
            None => format!("$JS.{letter}.{}", unique(random)),
        }
    }

    /// The request that makes the consumer: its subject below the API's prefix, and its body.
    fn creation(
        &self,
        stream: &super::Core,
        site: &mut Site<'_>,
        deliver: &str,
        own_last: u64,
    ) -> (String, Vec<u8>) {
        let (word, note) = if self.is_mirror { ("MIRROR", "mirror") } else { ("SRC", "src") };
        let name = format!("JS_{word}_{}", unique(&mut site.ground.random));
        let filters: Vec<&str> = match &self.source.transforms[..] {
            [] => [self.source.filter.as_str()].into_iter().filter(|it| !it.is_empty()).collect(),
            transforms => transforms.iter().map(|it| it.source.as_str()).collect(),
        };
        let mut body = Vec::new();
        let mut request = Writer::open(&mut body);
        request.text("stream_name", &self.source.name);
        let mut config = Writer::open(request.field("config"));
        config.text("name", &name);
        config.text("deliver_subject", deliver);
        self.put_start(&mut config, own_last);
        config.text("ack_policy", "none");
        config.integer("ack_wait", 22 * 3600 * 1_000_000_000);
        config.integer("max_deliver", 1);
        match &filters[..] {
            [] => {}
            [one] => config.text("filter_subject", one),
            several => put_list(config.field("filter_subjects"), several, |out, one| {
                put_text(out, one);
            }),
        }
        config.text("replay_policy", "instant");
        config.flag("flow_control", true);
        config.integer("idle_heartbeat", UPSTREAM_HEARTBEAT.as_nanos() as i64);
        config.flag("direct", true);
        config.integer("inactive_threshold", 10_000_000_000);
        config.integer("num_replicas", 0);
        let mut metadata = Writer::open(config.field("metadata"));
        metadata.text(&format!("_nats.{note}.stream"), &stream.config.name);
        metadata.text(&format!("_nats.{note}.acc"), &site.account.name);
        metadata.close();
        config.close();
        request.close();
        let filter = if let [one] = &filters[..] { format!(".{one}") } else { String::new() };
        (format!("CONSUMER.CREATE.{}.{name}{filter}", self.source.name), body)
    }

    fn put_start(&self, config: &mut Writer<'_>, own_last: u64) {
        let known = if self.is_mirror { own_last } else { self.last };
        if known > 0 {
            config.text("deliver_policy", "by_start_sequence");
            config.natural("opt_start_seq", known + 1);
        } else if self.source.start_sequence > 0 {
            config.text("deliver_policy", "by_start_sequence");
            config.natural("opt_start_seq", self.source.start_sequence);
        } else if let Some(start) = self.source.start_time {
            config.text("deliver_policy", "by_start_time");
            start.put(config.field("opt_start_time"));
        } else {
            config.text("deliver_policy", "all");
        }
    }

    /// The answer to a request for a consumer.
    pub(super) fn answered(&mut self, site: &mut Site<'_>, body: &[u8]) {
        if self.stage != Stage::Asking {
            return;
        }
        match refusal_in(body) {
            Ok(None) => {
                self.stage = Stage::Following;
                self.fault = None;
                self.failures = 0;
                self.due = site.now.time.after(UPSTREAM_SILENCE_MAX);
            }
            Ok(Some(fault)) => self.fail(site, fault),
            Err(cause) => self.fail(site, self.setup_failed(&cause)),
        }
    }

    /// Writes what is to be seen of it in a stream's information.
    pub(crate) fn put(&self, out: &mut Vec<u8>, now: Time) {
        let mut writer = Writer::open(out);
        writer.text("name", &self.source.name);
        if let Some(external) = &self.source.external {
            put_external(writer.field("external"), external);
        }
        writer.natural("lag", self.lag);
        let silence = self.heard.map_or(-1, |heard| now.since(heard).as_nanos() as i64);
        writer.integer("active", silence);
        if let Some(fault) = &self.fault {
            fault.put(writer.field("error"));
        }
        writer.text_unless_empty("filter_subject", &self.source.filter);
        put_transforms(&mut writer, &self.source.transforms);
        writer.close();
    }
}

/// The error in an answer, if there is one; the other error is that it cannot be read.
fn refusal_in(body: &[u8]) -> Result<Option<Fault>, String> {
    let node = json::read_whole(body)?;
    let Value::Object(fields) = &node.value else { return Err("not an object".into()) };
    let Some((_, error)) = fields.iter().find(|(name, _)| name == "error") else { return Ok(None) };
    let Value::Object(fields) = &error.value else { return Err("not an error".into()) };
    let mut fault = Fault { code: 0, number: 0, text: "".into() };
    for (name, field) in fields {
        match (name.as_ref(), &field.value) {
            ("code", Value::Number(code)) => fault.code = code.parse().unwrap_or(0),
            ("err_code", Value::Number(number)) => fault.number = number.parse().unwrap_or(0),
            ("description", Value::Text(text)) => fault.text = text.to_string().into(),
            _ => {}
        }
    }
    Ok(Some(fault))
}

impl Stream {
    /// Lets the upstreams be those of the configuration. Those that stay go on as they were.
    pub(crate) fn settle_upstreams(&mut self, site: &mut Site<'_>) {
        let config = &self.core.config;
        let mirror = config.mirror.iter().map(|source| (source, true));
        let wanted = mirror.chain(config.sources.iter().map(|source| (source, false)));
        let mut old = std::mem::take(&mut self.upstreams);
        for (source, is_mirror) in wanted {
            let same = |it: &Upstream| it.source == *source && it.is_mirror == is_mirror;
            let upstream = if let Some(at) = old.iter().position(same) {
                old.remove(at)
            } else {
                self.upstream_count += 1;
                let mut new = Upstream::new(self.upstream_count, source, is_mirror);
                let note = site.ground.store.note(self.core.log, &new.note_key());
                new.last = note.and_then(read_note).map_or(0, |(last, _)| last);
                new
            };
            self.upstreams.push(upstream);
        }
        for mut gone in old {
            gone.let_go(site);
            site.ground.store.put_note(self.core.log, &gone.note_key(), b"");
        }
        self.list(site);
    }

    /// The stream goes: nothing more is taken.
    pub(crate) fn end_upstreams(&mut self, site: &mut Site<'_>) {
        for mut upstream in std::mem::take(&mut self.upstreams) {
            upstream.let_go(site);
        }
    }

    /// Once a turn: what is due, and notes of how far sources have come.
    pub(crate) fn tend_upstreams(&mut self, site: &mut Site<'_>) {
        if self.upstreams.is_empty() || self.recall.is_some() {
            return;
        }
        let own_last = site.ground.store.log(self.core.log).last();
        for upstream in &mut self.upstreams {
            if std::mem::take(&mut upstream.is_moved) && !upstream.is_mirror {
                let note = format!("{} {own_last}", upstream.last);
                site.ground.store.put_note(self.core.log, &upstream.note_key(), note.as_bytes());
            }
            if upstream.due > site.now.time {
                continue;
            }
            match upstream.stage {
                Stage::Waiting => upstream.ask(&self.core, site, own_last),
                Stage::Asking => upstream.fail(site, upstream.setup_failed("request timed out")),
                Stage::Following => upstream.start_over(site),
            }
        }
    }

    /// When an upstream is due.
    pub(crate) fn upstreams_due(&self) -> Time {
        self.upstreams.iter().map(|upstream| upstream.due).min().unwrap_or(Time::NEVER)
    }

    /// The first own message that may have come from a source since its note was written.
    pub(crate) fn upstreams_unknown_from(&self, site: &Site<'_>) -> Option<u64> {
        let sources = self.upstreams.iter().filter(|upstream| !upstream.is_mirror);
        let store = &site.ground.store;
        let known = sources.map(|upstream| {
            let note = store.note(self.core.log, &upstream.note_key());
            note.and_then(read_note).map_or(0, |(_, own_last)| own_last)
        });
        known.min().map(|known| known + 1)
    }

    /// A stored message came from a source, as its header says.
    pub(crate) fn recall_source(&mut self, header: &[u8]) {
        let Some((sequence, key)) = read_source_header(header) else { return };
        let found = self.upstreams.iter_mut().find(|upstream| upstream.key == key);
        if let Some(upstream) = found {
            upstream.last = upstream.last.max(sequence);
        }
    }

    /// Which streams this one takes messages from, for its information.
    pub(crate) fn put_upstreams(&self, writer: &mut Writer<'_>, now: Time) {
        match self.upstreams.iter().find(|upstream| upstream.is_mirror) {
            Some(mirror) => mirror.put(writer.field("mirror"), now),
            None if self.upstreams.is_empty() => {}
            None => put_list(writer.field("sources"), &self.upstreams, |out, upstream| {
                upstream.put(out, now);
            }),
        }
    }
}

fn read_note(note: &[u8]) -> Option<(u64, u64)> {
    let (last, own_last) = std::str::from_utf8(note).ok()?.split_once(' ')?;
    Some((last.parse().ok()?, own_last.parse().ok()?))
}

/// The origin's sequence and the source's key in a `Nats-Stream-Source` header:
/// `<stream> <sequence> <filters> <destinations> <subject>`.
fn read_source_header(header: &[u8]) -> Option<(u64, String)> {
    let mut words = std::str::from_utf8(header).ok()?.split(' ');
    let (name, sequence) = (words.next()?, words.next()?);
    let (from, to) = (words.next()?, words.next()?);
    Some((sequence.parse().ok()?, format!("{name} {from} {to}")))
}

/// The value of a `Nats-Stream-Source` header.
pub(super) fn put_source_header(out: &mut Vec<u8>, key: &str, sequence: u64, subject: &[u8]) {
    let (name, rest) = key.split_once(' ').expect("a key has three words");
    out.extend_from_slice(name.as_bytes());
    out.push(b' ');
    out.extend_from_slice(base::text::Decimal::new(sequence).as_bytes());
    out.push(b' ');
    out.extend_from_slice(rest.as_bytes());
    out.push(b' ');
    out.extend_from_slice(subject);
}

#[cfg(test)]
mod tests {
    use super::super::config::Transform;
    use super::*;

    fn source(filter: &str, transforms: &[(&str, &str)]) -> Source {
        let transforms = transforms
            .iter()
            .map(|(from, to)| Transform { source: (*from).into(), destination: (*to).into() });
        let transforms = transforms.collect();
        Source { name: "O".into(), filter: filter.into(), transforms, ..Source::default() }
    }

    #[test]
    fn a_header_says_where_a_source_stands() {
        for (source, key) in [
            (source("", &[]), "O > >"),
            (source("a.*", &[]), "O a.* >"),
            (source("", &[("a", "b"), ("c", "")]), "O a\u{c}c b\u{c}>"),
        ] {
            let upstream = Upstream::new(1, &source, false);
            assert_eq!(upstream.key, key);
            let mut header = Vec::new();
            put_source_header(&mut header, &upstream.key, 42, b"x.y");
            assert_eq!(read_source_header(&header), Some((42, key.into())));
        }
        assert_eq!(read_source_header(b"O 1"), None);
        assert_eq!(read_note(b"5 9"), Some((5, 9)));
        assert_eq!(read_note(b"5"), None);
    }

    #[test]
    fn answers_are_errors_or_not() {
        assert_eq!(refusal_in(b"{\"type\":\"x\",\"name\":\"c\"}"), Ok(None));
        let text =
            b"{\"error\":{\"code\":404,\"err_code\":10059,\"description\":\"stream not found\"}}";
        assert_eq!(refusal_in(text), Ok(Some(table::STREAM_NOT_FOUND)));
        assert!(refusal_in(b"[]").is_err());
        assert!(refusal_in(b"{").is_err());
    }
}
