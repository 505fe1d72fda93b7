//! Requests and publishes to streams: whatever they hold, each is answered in JSON or not at all,
//! and what is counted stays right.
//!
//! An input is a row of messages with a zero byte between them: the subject up to the first line
//! feed, a header block up to an empty line if it begins with `NATS/1.0`, and the payload. A
//! message that begins with `+` lets so many milliseconds pass.

use std::collections::BTreeMap;

use base::{AccountId, Moment, ServiceId, Time, Wall};
use jetstream::{AccountLimits, ClientInfo, Config, JetStream, Outlet};
use storage::{Store, StoreOptions};
use subjects::grammar::matches;
use wire::Message;

const REPLY: &[u8] = b"_INBOX.fuzz";

/// Subscriptions, and the answers that were given.
#[derive(Default)]
struct Router {
    services: BTreeMap<ServiceId, Vec<u8>>,
    answers: Vec<(usize, Vec<u8>)>,
}

impl Outlet for Router {
    fn publish(&mut self, account: AccountId, message: &Message<'_>) -> bool {
        self.deliver(account, message.subject, message)
    }

    fn deliver(&mut self, _: AccountId, route: &[u8], message: &Message<'_>) -> bool {
        if route == REPLY {
            let all = message.body();
            self.answers.push((message.header, all[..all.len() - 2].to_vec()));
        }
        route == REPLY
    }

    fn subscribe(&mut self, _: AccountId, pattern: &[u8], _: &[u8], service: ServiceId) {
        assert!(subjects::grammar::is_pattern(pattern), "only subjects are subscribed to");
        assert!(self.services.insert(service, pattern.to_vec()).is_none());
    }

    fn unsubscribe(&mut self, service: ServiceId) {
        assert!(self.services.remove(&service).is_some());
    }

    fn is_wanted(&mut self, _: AccountId, _: &[u8]) -> bool {
        true
    }

    fn is_subscribed(&mut self, _: AccountId, _: &[u8], _: &[u8]) -> bool {
        true
    }

    fn interest_version(&self) -> u64 {
        0
    }
}

/// Runs one input.
pub(crate) fn run(data: &[u8]) {
    let mut router = Router::default();
    let store = Store::new(StoreOptions::default());
    let mut jetstream = JetStream::new(Config::default(), store);
    let mut now = Moment { time: Time(1), wall: Wall(1_700_000_000_000_000_000) };
    let limits = AccountLimits::default();
    jetstream.enable(now, AccountId::GLOBAL, "$G", limits, &mut router);
    for message in data.split(|byte| *byte == 0).take(64) {
        if let Some(digits) = message.strip_prefix(b"+") {
            let text = String::from_utf8_lossy(digits);
            let nanos = text.parse().unwrap_or(1_u64).min(10_000_000) * 1_000_000;
            now = Moment { time: Time(now.time.0 + nanos), wall: Wall(now.wall.0 + nanos as i64) };
        } else {
            send(&mut jetstream, &mut router, now, message);
        }
        jetstream.progress(now, &mut router);
        jetstream.store().take_requests(&mut Vec::new());
        jetstream.progress(now, &mut router);
        check(&jetstream, &mut router);
    }
}

fn send(jetstream: &mut JetStream, router: &mut Router, now: Moment, message: &[u8]) {
    let end = message.iter().position(|byte| *byte == b'\n').unwrap_or(message.len());
    let (subject, rest) = (&message[..end], message.get(end + 1..).unwrap_or_default());
    if !subjects::grammar::is_literal(subject) || subject.iter().any(u8::is_ascii_whitespace) {
        return;
    }
    let header = if rest.starts_with(b"NATS/1.0") {
        rest.windows(4).position(|end| end == b"\r\n\r\n").map_or(0, |at| at + 4)
    } else {
        0
    };
    let sizes = match header {
        0 => format!("{}\r\n", rest.len()),
        header => format!("{header} {}\r\n", rest.len()),
    };
    let tail = [sizes.as_bytes(), rest, b"\r\n"].concat();
    let message = Message { subject, reply: REPLY, header, tail: &tail, sizes_bytes: sizes.len() };
    let heard: Vec<_> = router
        .services
        .iter()
        .filter(|(_, pattern)| matches(pattern, subject))
        .map(|(id, _)| *id)
        .collect();
    assert!(
        heard.len() <= 1 || !subject.starts_with(b"$JS.API."),
        "a request is heard once: {}",
        String::from_utf8_lossy(subject)
    );
    for id in heard {
        if router.services.contains_key(&id) {
            let client = ClientInfo::default();
            jetstream.receive(now, id, AccountId::GLOBAL, &client, &message, router);
        }
    }
}

fn check(jetstream: &JetStream, router: &mut Router) {
    for (header, answer) in router.answers.drain(..) {
        let (block, body) = answer.split_at(header);
        assert!(header == 0 || block.ends_with(b"\r\n\r\n"));
        if header == 0 && body.first() == Some(&b'{') {
            let value: Result<serde_json::Value, _> = serde_json::from_slice(body);
            // What a direct get hands out without its header is anybody's.
            let is_ours = body.starts_with(b"{\"type\"") || body.starts_with(b"{\"stream\"");
            assert!(value.is_ok() || !is_ours, "{}", String::from_utf8_lossy(body));
        }
    }
    for census in jetstream.census() {
        let messages = jetstream.streams(census.account).count();
        assert_eq!(messages, census.streams);
        assert!(census.api_errors <= census.api_total);
        if census.streams == 0 {
            assert_eq!(census.usage, jetstream::Usage::default());
        }
    }
}
