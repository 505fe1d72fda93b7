//! Consumers over a real store and a pretend shard.

mod api;
mod kinds;
mod model;
mod pull;
mod push;

use base::{AccountId, Duration, Moment, Random, Time, Wall, ids::ServiceId};
use storage::{Entry, Kind, LogOptions, Store, StoreOptions};
use subjects::grammar;
use wire::Message;

use super::{Consumers, Endpoint};
use crate::{
    AccountLimits, ClientInfo, Config, Outlet, Service, Services, StreamId,
    api::Request,
    parcel::Parcel,
    stream::{
        Core, StreamConfig, View, Wanted,
        config::{Retention, Storage},
    },
};

/// What went out.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sent {
    route: String,
    subject: String,
    reply: String,
    /// Header block and payload.
    header: String,
    payload: String,
}

impl Sent {
    fn status(&self) -> &str {
        let line = self.header.lines().next().unwrap_or_default();
        line.strip_prefix("NATS/1.0").unwrap_or_default().trim()
    }

    /// The message's sequence in the stream, from its reply subject.
    fn sequence(&self) -> u64 {
        self.token(5)
    }

    fn token(&self, place: usize) -> u64 {
        let token = self.reply.split('.').nth(place).unwrap_or_default();
        token.parse().unwrap_or(0)
    }
}

/// A shard with listeners.
#[derive(Debug, Default)]
struct Shard {
    listeners: Vec<String>,
    version: u64,
    services: Vec<(ServiceId, String)>,
    sent: Vec<Sent>,
}

impl Shard {
    fn send(&mut self, route: &[u8], message: &Message<'_>) -> bool {
        if !self.is_wanted(AccountId::GLOBAL, route) {
            return false;
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let body = message.body();
        let (header, rest) = body.split_at(message.header);
        self.sent.push(Sent {
            route: text(route),
            subject: text(message.subject),
            reply: text(message.reply),
            header: text(header),
            payload: text(&rest[..rest.len() - 2]),
        });
        true
    }
}

impl Outlet for Shard {
    fn publish(&mut self, _: AccountId, message: &Message<'_>) -> bool {
        self.send(message.subject, message)
    }

    fn deliver(&mut self, _: AccountId, route: &[u8], message: &Message<'_>) -> bool {
        self.send(route, message)
    }

    fn subscribe(&mut self, _: AccountId, pattern: &[u8], _: &[u8], service: ServiceId) {
        self.services.push((service, String::from_utf8_lossy(pattern).into_owned()));
    }

    fn unsubscribe(&mut self, service: ServiceId) {
        self.services.retain(|(other, _)| *other != service);
    }

    fn is_wanted(&mut self, _: AccountId, subject: &[u8]) -> bool {
        let wants = |listener: &String| {
            let pattern = listener.split(' ').next().unwrap_or_default();
            grammar::matches(pattern.as_bytes(), subject)
        };
        self.listeners.iter().any(wants)
    }

    fn is_subscribed(&mut self, _: AccountId, subject: &[u8], queue: &[u8]) -> bool {
        let wants = |listener: &String| match listener.split_once(' ') {
            Some((pattern, group)) => pattern.as_bytes() == subject && group.as_bytes() == queue,
            None => queue.is_empty() && listener.as_bytes() == subject,
        };
        self.listeners.iter().any(wants)
    }

    fn interest_version(&self) -> u64 {
        self.version
    }
}

/// A stream with consumers and nothing else.
struct World {
    now: Moment,
    config: Config,
    core: Core,
    store: Store,
    services: Services,
    random: Random,
    consumers: Consumers,
    shard: Shard,
    wanted: Vec<Wanted>,
}

impl World {
    fn new(change: impl FnOnce(&mut StreamConfig)) -> Self {
        let mut config = StreamConfig {
            name: "S".into(),
            subjects: vec!["in.>".into()],
            max_consumers: -1,
            replicas: 1,
            ..StreamConfig::default()
        };
        change(&mut config);
        let kind = match config.storage {
            Storage::File => Kind::File,
            Storage::Memory => Kind::Memory,
        };
        let mut store = Store::new(StoreOptions::default());
        let log = store.create(b"S", kind, LogOptions::default()).expect("the first log");
        let now = Moment { time: Time(1_000_000_000_000), wall: Wall(1_700_000_000_000_000_000) };
        Self {
            now,
            config: Config::default(),
            core: Core {
                id: StreamId(0),
                account: AccountId::GLOBAL,
                config,
                created: now.wall,
                log,
                visible: 0,
            },
            store,
            services: Services::default(),
            random: Random::new(7),
            consumers: Consumers::default(),
            shard: Shard::default(),
            wanted: Vec::new(),
        }
    }

    fn with<T>(&mut self, call: impl FnOnce(&mut Consumers, &mut View<'_>, &mut Shard) -> T) -> T {
        let mut parcel = Parcel::default();
        let limits = AccountLimits::default();
        let mut view = View {
            now: self.now,
            server: &self.config,
            account_name: "$G",
            limits: &limits,
            account_consumers: 0,
            core: &self.core,
            store: &mut self.store,
            services: &mut self.services,
            random: &mut self.random,
            parcel: &mut parcel,
            wanted: &mut self.wanted,
        };
        let result = call(&mut self.consumers, &mut view, &mut self.shard);
        self.attend();
        result
    }

    /// Does what consumers want done, as a stream does.
    fn attend(&mut self) {
        for wanted in std::mem::take(&mut self.wanted) {
            let Wanted::Done(sequence) = wanted else { continue };
            let log = self.store.log(self.core.log);
            let Some(key) = log.key_of(sequence) else { continue };
            let subject = log.keys().text(key).to_vec();
            if !self.consumers.needs(sequence, &subject) {
                self.store.remove(self.core.log, sequence, false);
            }
        }
    }

    /// Stores a message, which may be seen at once.
    fn publish(&mut self, subject: &str, payload: &str) -> u64 {
        let sequence = self.core.visible + 1;
        let sizes = format!("{}\r\n", payload.len());
        let tail = format!("{sizes}{payload}\r\n");
        let entry = Entry {
            sequence,
            wall: self.now.wall,
            subject: subject.as_bytes(),
            header: 0,
            tail: tail.as_bytes(),
            sizes_bytes: sizes.len(),
        };
        self.store.append(self.core.log, &entry).expect("there is room");
        self.core.visible = sequence;
        self.with(|consumers, view, shard| consumers.stored(view, sequence, shard));
        sequence
    }

    fn remove(&mut self, sequence: u64) {
        let log = self.store.log(self.core.log);
        let key = log.key_of(sequence).expect("the message exists");
        let subject = log.keys().text(key).to_vec();
        self.store.remove(self.core.log, sequence, false);
        self.with(|consumers, view, _| consumers.removed(view, sequence, &subject));
    }

    /// One turn: the disk first.
    fn turn(&mut self) {
        let mut requests = Vec::new();
        self.store.take_requests(&mut requests);
        self.with(|consumers, view, shard| consumers.progress(view, shard));
    }

    /// Turns until nothing is left to do at once.
    fn settle(&mut self) {
        for _ in 0..100 {
            self.turn();
            let is_idle = self.consumers.next_due() > self.now.time;
            if is_idle && !self.consumers.waits_for_disk() {
                return;
            }
        }
        panic!("consumers always find something to do");
    }

    fn pass(&mut self, millis: u64) {
        self.now.time = self.now.time.after(Duration::from_millis(millis));
        self.now.wall.0 += millis as i64 * 1_000_000;
        self.settle();
    }

    fn listen(&mut self, pattern: &str) {
        self.shard.listeners.push(pattern.into());
        self.shard.version += 1;
    }

    fn deafen(&mut self, pattern: &str) {
        self.shard.listeners.retain(|listener| listener != pattern);
        self.shard.version += 1;
    }

    fn api(&mut self, subject: &str, body: &str) -> Result<String, (u16, String)> {
        let subject = format!("$JS.API.CONSUMER.{subject}");
        let request = Request {
            subject: subject.as_bytes(),
            reply: b"r",
            header: b"",
            body: body.as_bytes(),
            client: ClientInfo::default(),
        };
        let mut answer = Vec::new();
        let result = self
            .with(|consumers, view, shard| consumers.request(view, &request, &mut answer, shard));
        match result {
            Ok(()) => Ok(String::from_utf8(answer).expect("JSON is text")),
            Err(fault) => Err((fault.number, fault.text.into_owned())),
        }
    }

    /// Creates the consumer `C` with these fields of its configuration.
    fn create(&mut self, fields: &str) {
        let comma = if fields.is_empty() { "" } else { "," };
        let body =
            format!(r#"{{"stream_name":"S","config":{{"durable_name":"C"{comma}{fields}}}}}"#);
        self.api("CREATE.S.C", &body).expect("the configuration is valid");
        self.settle();
    }

    /// A field of the consumer's description.
    fn info(&mut self, field: &str) -> String {
        let info = self.api("INFO.S.C", "").expect("the consumer exists");
        let start = format!("\"{field}\":");
        let from = info.find(&start).map(|at| at + start.len());
        let Some(from) = from else { return String::new() };
        let rest = &info[from..];
        let end = if rest.starts_with('{') {
            rest.find('}').map(|at| at + 1)
        } else {
            rest.find([',', '}'])
        };
        rest[..end.expect("values have an end")].into()
    }

    /// Publishes to the subscription that listens for the subject.
    fn send(&mut self, subject: &str, reply: &str, payload: &str) {
        let matching = self
            .shard
            .services
            .iter()
            .find(|(_, pattern)| grammar::matches(pattern.as_bytes(), subject.as_bytes()));
        let (service, _) = matching.unwrap_or_else(|| panic!("nobody listens to {subject}"));
        let Service::Consumer(_, place, endpoint) = self.services.get(*service) else {
            panic!("a consumer's subscription is known")
        };
        let mut parcel = Parcel::default();
        let message =
            parcel.clear().body(payload.as_bytes()).message(subject.as_bytes(), reply.as_bytes());
        self.with(|consumers, view, shard| {
            consumers.receive(view, place, endpoint, &ClientInfo::default(), &message, shard);
        });
        assert!(matches!(
            endpoint,
            Endpoint::Next | Endpoint::Ack | Endpoint::Flow | Endpoint::Reset
        ));
    }

    fn ask(&mut self, reply: &str, request: &str) {
        self.send("$JS.API.CONSUMER.MSG.NEXT.S.C", reply, request);
        self.settle();
    }

    fn ack(&mut self, of: &Sent, word: &str) {
        self.send(&of.reply, "", word);
        self.settle();
    }

    fn taken(&mut self) -> Vec<Sent> {
        std::mem::take(&mut self.shard.sent)
    }

    /// The messages that went out, by their sequences.
    fn sequences(&mut self) -> Vec<u64> {
        self.taken().iter().map(Sent::sequence).collect()
    }

    /// The statuses that went out.
    fn statuses(&mut self) -> Vec<String> {
        self.taken().iter().map(|sent| sent.status().to_owned()).collect()
    }

    /// Starts again with what is on disk.
    fn restart(&mut self) {
        self.consumers = Consumers::default();
        self.services = Services::default();
        self.shard.services.clear();
        self.with(|consumers, view, shard| consumers.recover(view, shard));
        self.settle();
    }

    fn interest() -> Self {
        Self::new(|config| config.retention = Retention::Interest)
    }
}
