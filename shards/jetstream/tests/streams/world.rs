//! `JetStream` with a router that delivers to it and remembers what it says.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;

use base::{AccountId, Moment, ServiceId, Time, Wall};
use jetstream::{AccountLimits, ClientInfo, Config, JetStream, Outlet};
use serde_json::Value;
use storage::{Store, StoreOptions};
use subjects::grammar::matches;
use wire::Message;

/// A message that was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) subject: String,
    pub(crate) reply: String,
    pub(crate) header: String,
    pub(crate) payload: String,
}

impl Said {
    fn new(message: &Message<'_>) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let all = message.body();
        let (header, payload) = all[..all.len() - 2].split_at(message.header);
        Self {
            subject: text(message.subject),
            reply: text(message.reply),
            header: text(header),
            payload: text(payload),
        }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.payload).expect("an answer is JSON")
    }
}

#[derive(Debug, Default)]
pub(crate) struct Router {
    services: BTreeMap<ServiceId, (AccountId, Vec<u8>)>,
    /// Patterns that clients listen to.
    pub(crate) listened: Vec<&'static str>,
    /// Subjects that clients subscribe to by patterns alone.
    pub(crate) by_pattern: Vec<&'static str>,
    pub(crate) said: Vec<Said>,
    /// Messages for services, which get them once they have returned.
    waiting: VecDeque<(ServiceId, AccountId, Said)>,
}

impl Router {
    fn services_of(&self, account: AccountId, subject: &[u8]) -> Vec<ServiceId> {
        let wanted = |(_, (of, pattern)): &(&ServiceId, &(AccountId, Vec<u8>))| {
            *of == account && matches(pattern, subject)
        };
        self.services.iter().filter(wanted).map(|(id, _)| *id).collect()
    }
}

impl Outlet for Router {
    fn publish(&mut self, account: AccountId, message: &Message<'_>) -> bool {
        self.deliver(account, message.subject, message)
    }

    fn deliver(&mut self, account: AccountId, route: &[u8], message: &Message<'_>) -> bool {
        let services = self.services_of(account, route);
        let is_taken = !services.is_empty();
        for id in services {
            self.waiting.push_back((id, account, Said::new(message)));
        }
        let is_heard = self.is_wanted(account, route);
        if is_heard {
            self.said.push(Said::new(message));
        }
        is_taken || is_heard
    }

    fn subscribe(&mut self, account: AccountId, pattern: &[u8], _: &[u8], service: ServiceId) {
        let old = self.services.insert(service, (account, pattern.to_vec()));
        assert_eq!(old, None, "one service has one subscription");
    }

    fn unsubscribe(&mut self, service: ServiceId) {
        self.services.remove(&service).expect("a subscription is ended once");
    }

    fn is_wanted(&mut self, _: AccountId, subject: &[u8]) -> bool {
        subject.starts_with(b"_INBOX.")
            || self.listened.iter().any(|pattern| matches(pattern.as_bytes(), subject))
    }

    fn interest_version(&self) -> u64 {
        0
    }

    fn is_subscribed(&mut self, _: AccountId, subject: &[u8], _: &[u8]) -> bool {
        !self.by_pattern.iter().any(|known| known.as_bytes() == subject)
    }
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) jetstream: JetStream,
    pub(crate) router: Router,
    pub(crate) now: Moment,
    replies: u64,
}

pub(crate) const ACCOUNT: AccountId = AccountId::GLOBAL;

impl World {
    pub(crate) fn new() -> Self {
        Self::over(Store::new(StoreOptions::default()), &AccountLimits::default())
    }

    pub(crate) fn over(store: Store, limits: &AccountLimits) -> Self {
        let config = Config { server_name: "here".into(), seed: 5, ..Config::default() };
        let wall = Wall(1_700_000_000_000_000_000);
        let now = Moment { time: Time(1_000_000_000), wall };
        let mut router = Router::default();
        let mut jetstream = JetStream::new(config, store);
        jetstream.enable(now, ACCOUNT, "$G", limits.clone(), &mut router);
        let mut world = Self { jetstream, router, now, replies: 0 };
        world.settle();
        world
    }

    /// Time passes, and what is due is done.
    pub(crate) fn pass(&mut self, nanos: i64) {
        self.now.time.0 += nanos.unsigned_abs();
        self.now.wall.0 += nanos;
        self.settle();
    }

    /// Until nothing is left to do now.
    pub(crate) fn settle(&mut self) {
        let mut requests = Vec::new();
        for _ in 0..10_000 {
            self.jetstream.progress(self.now, &mut self.router);
            while let Some((id, account, said)) = self.router.waiting.pop_front() {
                self.hand_over(id, account, &said);
            }
            self.jetstream.store().take_requests(&mut requests);
            let idle = self.router.waiting.is_empty();
            if idle && self.jetstream.next_due() > self.now.time {
                return;
            }
        }
        panic!("it does not come to rest");
    }

    fn hand_over(&mut self, id: ServiceId, account: AccountId, said: &Said) {
        if !self.router.services.contains_key(&id) {
            return;
        }
        let (header, payload) = (said.header.as_bytes(), said.payload.as_bytes());
        let sizes = if header.is_empty() {
            format!("{}\r\n", payload.len())
        } else {
            format!("{} {}\r\n", header.len(), header.len() + payload.len())
        };
        let tail = [sizes.as_bytes(), header, payload, b"\r\n"].concat();
        let message = Message {
            subject: said.subject.as_bytes(),
            reply: said.reply.as_bytes(),
            header: header.len(),
            tail: &tail,
            sizes_bytes: sizes.len(),
        };
        let client = ClientInfo::default();
        self.jetstream.receive(self.now, id, account, &client, &message, &mut self.router);
    }

    /// Publishes; what is said on the reply subject comes back.
    pub(crate) fn ask(
        &mut self,
        subject: &str,
        header: &[(&str, &str)],
        payload: &str,
    ) -> Vec<Said> {
        self.replies += 1;
        let reply = format!("_INBOX.{}", self.replies);
        let mut block = String::new();
        if !header.is_empty() {
            block.push_str("NATS/1.0\r\n");
            for (name, value) in header {
                let _ = write!(block, "{name}: {value}\r\n");
            }
            block.push_str("\r\n");
        }
        let said = Said { subject: subject.into(), reply, header: block, payload: payload.into() };
        for id in self.router.services_of(ACCOUNT, subject.as_bytes()) {
            self.hand_over(id, ACCOUNT, &said);
        }
        self.settle();
        self.router.said.extract_if(.., |answer| answer.subject == said.reply).collect()
    }

    /// The one JSON answer to a publish or request.
    pub(crate) fn ask_json(&mut self, subject: &str, header: &[(&str, &str)], body: &str) -> Value {
        let answers = self.ask(subject, header, body);
        assert_eq!(answers.len(), 1, "{subject} {body}: {answers:?}");
        answers[0].json()
    }

    /// A request to the API below `$JS.API.`.
    pub(crate) fn api(&mut self, verb: &str, body: &str) -> Value {
        self.ask_json(&format!("$JS.API.{verb}"), &[], body)
    }

    /// The `err_code` of an answer; zero without one.
    pub(crate) fn api_error(&mut self, verb: &str, body: &str) -> u64 {
        self.api(verb, body)["error"]["err_code"].as_u64().unwrap_or(0)
    }

    /// Creates a stream that has to be accepted.
    pub(crate) fn create(&mut self, name: &str, fields: &str) {
        let comma = if fields.is_empty() { "" } else { "," };
        let body = format!("{{\"name\":\"{name}\"{comma}{fields}}}");
        let answer = self.api(&format!("STREAM.CREATE.{name}"), &body);
        assert_eq!(answer["did_create"], true, "{answer}");
    }

    /// The state of a stream.
    pub(crate) fn state(&mut self, name: &str) -> Value {
        let body = r#"{"subjects_filter":">","deleted_details":true}"#;
        self.api(&format!("STREAM.INFO.{name}"), body)["state"].take()
    }
}
