//! Accounts that share with each other over many cores, while the configuration changes.
//!
//! Four accounts: the first offers a stream and a service, the second imports both, the third only
//! the service, the last nothing. From time to time the cores switch, one after the other and amid
//! traffic, to a configuration that shares less, or more again.
//!
//! - *Isolation*: what was published in one account is heard in another only by way of an import
//!   that is in force somewhere, under the name that the import gives it.
//! - *Order*: a subscription hears a publisher's messages under one subject in their order.
//! - *Barrier*: what a subscription whose PONG was read has to hear it hears, by way of imports
//!   too; a request finds who serves it.
//! - *Responses*: a request has one response, which comes to who asked.
//! - *Others notice nothing*: a switch neither ends a subscription nor loses a message that has
//!   nothing to do with what is shared.
//! - *No leak*: in the end no core holds a connection, a subscription or a request that waits.

use std::collections::{HashMap, HashSet};

use accounts::{Account, Auth, Directory, Export, ExportKind, ResponseType, Secret, User};
use base::{AccountId, Duration, Random, Time};
use shard::Config;
use subjects::grammar;

use crate::client::{Client, Heard};
use crate::run::Outcome;
use crate::world::World;

const NAMES: [&str; 4] = ["A", "B", "C", "D"];

/// Subjects that are published to, and patterns that are listened to.
const SUBJECTS: [&str; 7] = ["s.x", "s.y", "q.x", "r.x", "p.s.x", "m", "n"];
const PATTERNS: [&str; 8] = ["s.x", "s.*", ">", "p.s.x", "p.>", "r.*", "q.*", "n"];

/// What is shared: bit by bit, so that any change is drawn as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shared(u8);

impl Shared {
    const fn stream(self) -> bool {
        self.0 & 1 != 0
    }

    const fn prefixed(self) -> bool {
        self.0 & 2 != 0
    }

    const fn service_of_b(self) -> bool {
        self.0 & 4 != 0
    }

    const fn service_of_c(self) -> bool {
        self.0 & 8 != 0
    }

    const fn mapping(self) -> bool {
        self.0 & 16 != 0
    }

    fn directory(self) -> Directory {
        let (a, b, c) = (AccountId(2), AccountId(3), AccountId(4));
        let mut directory = Directory::default();
        directory.accounts.extend(NAMES.map(Account::new));
        let export = |subject: &str, kind| Export {
            subject: subject.into(),
            kind,
            accounts: None,
            token_required: false,
            account_token_position: 0,
        };
        let service = ExportKind::Service {
            response: ResponseType::Singleton,
            threshold: Duration::from_secs(30),
            latency: None,
            allow_trace: false,
        };
        for export in [export("s.>", ExportKind::Stream), export("r.*", service)] {
            directory.add_export(a, export).expect("an export");
        }
        if self.stream() {
            directory.add_stream_import(b, (a, "s.x"), "", false).expect("an import");
        }
        if self.prefixed() {
            let added = directory.add_prefixed_stream_import(b, (a, "s.*"), "p", false);
            added.expect("an import");
        }
        for (importer, wanted) in [(b, self.service_of_b()), (c, self.service_of_c())] {
            if wanted {
                let added = directory.add_service_import(importer, (a, "r.*"), "q.*", false);
                added.expect("an import");
            }
        }
        if self.mapping() {
            let target = accounts::MappingTarget {
                destination: "n".into(),
                weight: 100,
                cluster: String::new(),
            };
            let mapping = accounts::Mapping::new("m", vec![target]).expect("a mapping");
            directory.accounts[5].mappings.push(mapping);
        }
        directory
    }

    /// Where a message of an account goes: accounts, and what it is called there.
    fn ways(self, from: usize, subject: &str) -> Vec<(usize, String)> {
        let mapped = if from == 3 && subject == "m" && self.mapping() { "n" } else { subject };
        let mut ways = vec![(from, mapped.to_owned())];
        if from == 0 && self.stream() && subject == "s.x" {
            ways.push((1, subject.to_owned()));
        }
        if from == 0 && self.prefixed() && grammar::matches(b"s.*", subject.as_bytes()) {
            ways.push((1, format!("p.{subject}")));
        }
        let asks = (from == 1 && self.service_of_b()) || (from == 2 && self.service_of_c());
        if let Some(token) = subject.strip_prefix("q.").filter(|_| asks) {
            ways.push((0, format!("r.{token}")));
        }
        ways
    }
}

/// A subscription of some client.
#[derive(Debug)]
struct Subscription {
    account: usize,
    pattern: &'static str,
    established: bool,
    ending: bool,
    seen: HashMap<(usize, String), u64>,
}

/// Something that has to be heard.
#[derive(Debug)]
struct Due {
    subscription: usize,
    subject: String,
    message: (usize, u64),
}

struct Simulation {
    world: World,
    config: Config,
    clients: Vec<Client>,
    accounts: Vec<usize>,
    subscriptions: Vec<Subscription>,
    /// By client and name.
    names: HashMap<(usize, u32), usize>,
    /// Subject, account and request of each message.
    published: HashMap<(usize, u64), (String, usize)>,
    due: Vec<Due>,
    heard: HashSet<(usize, String, (usize, u64))>,
    /// Requests that have to be answered.
    asked: Vec<(usize, u64)>,
    answered: HashSet<(usize, u64)>,
    /// What is shared somewhere; the last is what will be everywhere.
    in_force: Vec<Shared>,
    /// Cores that have not switched yet.
    to_switch: Vec<usize>,
    random: Random,
    outcome: Outcome,
}

/// Runs a seed.
///
/// # Errors
/// What did not hold.
pub fn run(seed: u64) -> Result<Outcome, String> {
    let mut random = Random::new(seed ^ 0xacc0);
    let cores = [1, 2, 2, 3, 4, 8][random.below(6) as usize];
    let shared = Shared(random.below(32) as u8);
    let mut auth = Auth::default();
    for (place, name) in NAMES.iter().enumerate() {
        let user = User {
            name: (*name).to_owned(),
            secret: Secret::new(String::new()),
            account: AccountId(place as u32 + 2),
            permissions: None,
            kinds: accounts::ConnectionKinds::default(),
            proxy_required: false,
        };
        auth.users.insert(user.name.clone(), user);
    }
    let config = Config {
        max_pending: 1 << 30,
        write_deadline: Duration::from_hours(1),
        accounts: shared.directory(),
        auth,
        ..Config::default()
    };
    let world = World::new(cores, &config, false, &mut random);
    let mut simulation = Simulation {
        world,
        config,
        clients: Vec::new(),
        accounts: Vec::new(),
        subscriptions: Vec::new(),
        names: HashMap::new(),
        published: HashMap::new(),
        due: Vec::new(),
        heard: HashSet::new(),
        asked: Vec::new(),
        answered: HashSet::new(),
        in_force: vec![shared],
        to_switch: Vec::new(),
        random,
        outcome: Outcome::default(),
    };
    for _ in 0..100 + simulation.random.below(300) {
        simulation.event()?;
    }
    simulation.conclude()?;
    Ok(simulation.outcome)
}

impl Simulation {
    fn event(&mut self) -> Result<(), String> {
        let draw = self.random.below(100);
        if self.clients.is_empty() || (draw < 6 && self.clients.len() < 10) {
            self.connect();
        } else {
            let client = self.random.below(self.clients.len() as u64) as usize;
            match draw {
                0..=20 => self.subscribe(client),
                21..=26 => self.unsubscribe(client),
                27..=65 => self.publish(client),
                66..=80 => self.ping(client),
                81..=83 => self.begin_to_switch(),
                84..=95 => self.switch_one(),
                96 => self.settle()?,
                _ => self.world.advance(Duration::from_millis(3)),
            }
        }
        for _ in 0..self.random.below(12) {
            self.progress()?;
        }
        Ok(())
    }

    fn connect(&mut self) {
        let socket = self.world.connect();
        let account = self.random.below(NAMES.len() as u64) as usize;
        let mut client = Client::of_user(socket, true, NAMES[account]);
        // Every client may ask, and hears what it is answered under a name of its own.
        let number = self.clients.len();
        client.say(format!("SUB in.{number} 1\r\n").as_bytes());
        client.next_sid = 2;
        self.accounts.push(account);
        self.clients.push(client);
    }

    fn subscribe(&mut self, client: usize) {
        let pattern = PATTERNS[self.random.below(PATTERNS.len() as u64) as usize];
        let sid = self.clients[client].next_sid;
        self.clients[client].next_sid += 1;
        let account = self.accounts[client];
        self.subscriptions.push(Subscription {
            account,
            pattern,
            established: false,
            ending: false,
            seen: HashMap::new(),
        });
        let id = self.subscriptions.len() - 1;
        self.names.insert((client, sid), id);
        self.clients[client].fresh.push(id);
        self.clients[client].say(format!("SUB {pattern} {sid}\r\n").as_bytes());
    }

    fn unsubscribe(&mut self, client: usize) {
        let own = |(name, id): (&(usize, u32), &usize)| {
            (name.0 == client && !self.subscriptions[*id].ending).then_some((name.1, *id))
        };
        let mut live: Vec<(u32, usize)> = self.names.iter().filter_map(own).collect();
        live.sort_unstable();
        if live.is_empty() {
            return;
        }
        let (sid, id) = live[self.random.below(live.len() as u64) as usize];
        self.subscriptions[id].ending = true;
        self.clients[client].say(format!("UNSUB {sid}\r\n").as_bytes());
    }

    fn publish(&mut self, client: usize) {
        let subject = SUBJECTS[self.random.below(SUBJECTS.len() as u64) as usize];
        for _ in 0..=self.random.below(4) {
            self.clients[client].published += 1;
            let number = self.clients[client].published;
            let account = self.accounts[client];
            let body = format!("{client} {number} ");
            let asks = subject == "q.x" && self.random.below(2) == 0;
            let reply = if asks { format!("in.{client} ") } else { String::new() };
            let text = format!("PUB {subject} {reply}{}\r\n{body}\r\n", body.len());
            self.clients[client].say(text.as_bytes());
            self.published.insert((client, number), (subject.to_owned(), account));
            self.outcome.published += 1;
            if self.in_force.len() == 1 {
                self.expect((client, number), subject, account, asks);
            }
        }
    }

    /// Notes who has to hear a message, as long as nothing changes.
    fn expect(&mut self, message: (usize, u64), subject: &str, account: usize, asks: bool) {
        for (there, name) in self.in_force[0].ways(account, subject) {
            let mut served = false;
            for (id, one) in self.subscriptions.iter().enumerate() {
                let meant = one.account == there && one.established && !one.ending;
                if meant && grammar::matches(one.pattern.as_bytes(), name.as_bytes()) {
                    served = true;
                    self.due.push(Due { subscription: id, subject: name.clone(), message });
                }
            }
            if asks && served && there != account {
                self.asked.push(message);
            }
        }
    }

    fn ping(&mut self, client: usize) {
        let client = &mut self.clients[client];
        let vouched = (std::mem::take(&mut client.fresh), Vec::new());
        client.pings.push_back(vouched);
        client.say(b"PING\r\n");
    }

    /// From now on something else is to be shared.
    fn begin_to_switch(&mut self) {
        if !self.to_switch.is_empty() {
            return;
        }
        let shared = Shared(self.random.below(32) as u8);
        self.config.accounts = shared.directory().after(&self.config.accounts);
        self.in_force.push(shared);
        self.to_switch = (0..self.world.cores()).collect();
        // What is on its way may still take the old way, or the new.
        self.due.retain(|due| self.subscriptions[due.subscription].account == 3);
        self.due.retain(|due| due.subject != "m" && due.subject != "n");
        self.asked.clear();
    }

    fn switch_one(&mut self) {
        if self.to_switch.is_empty() {
            return;
        }
        let place = self.random.below(self.to_switch.len() as u64) as usize;
        let core = self.to_switch.swap_remove(place);
        self.world.reconfigure(core, &self.config);
    }

    /// Lets everything come to rest and compares; from then on one configuration is in force.
    fn settle(&mut self) -> Result<(), String> {
        while !self.to_switch.is_empty() {
            self.switch_one();
        }
        self.rest()?;
        for due in self.due.drain(..) {
            let one = &self.subscriptions[due.subscription];
            let heard = (due.subscription, due.subject.clone(), due.message);
            if !one.ending && !self.heard.contains(&heard) {
                return Err(format!("{:?} was not heard as {}: {one:?}", due.message, due.subject));
            }
        }
        if let Some(request) = self.asked.iter().find(|asked| !self.answered.contains(*asked)) {
            return Err(format!("request {request:?} was not answered"));
        }
        self.asked.clear();
        let last = *self.in_force.last().expect("something is in force");
        self.in_force = vec![last];
        Ok(())
    }

    fn progress(&mut self) -> Result<(), String> {
        if self.clients.is_empty() || self.random.below(3) > 0 {
            let core = self.random.below(self.world.cores() as u64) as usize;
            self.world.step(core, &mut self.random);
            return Ok(());
        }
        let client = self.random.below(self.clients.len() as u64) as usize;
        self.exchange(client)
    }

    fn exchange(&mut self, client: usize) -> Result<(), String> {
        let socket = self.clients[client].socket;
        if self.clients[client].gone {
            return Ok(());
        }
        let wire = &mut self.world.wires[socket];
        let outgoing = self.clients[client].outgoing.make_contiguous();
        let count = wire.up.put(outgoing);
        self.clients[client].outgoing.drain(..count);
        let bytes = wire.down.take(1 + self.random.below(4096) as usize);
        self.world.moved |= count > 0 || !bytes.is_empty();
        if wire.server_closed {
            return Err(format!("client {client} was cut off"));
        }
        for heard in self.clients[client].hear(&bytes) {
            self.on_heard(client, heard)?;
        }
        Ok(())
    }

    fn on_heard(&mut self, client: usize, heard: Heard) -> Result<(), String> {
        match heard {
            Heard::Message { sid: 1, subject, publisher, number, .. } => {
                self.on_answer(client, &subject, (publisher, number))
            }
            Heard::Message { sid, subject, reply, publisher, number } => {
                self.outcome.received += 1;
                self.on_message(client, sid, &subject, (publisher, number))?;
                // Who serves requests answers each, whoever else may have.
                if subject == "r.x" && reply.starts_with("_R_.") {
                    let body = format!("{publisher} {number} ");
                    let text = format!("PUB {reply} {}\r\n{body}\r\n", body.len());
                    self.clients[client].say(text.as_bytes());
                }
                Ok(())
            }
            Heard::Pong => {
                let vouched = self.clients[client].pings.pop_front();
                for id in vouched.ok_or("a PONG that nobody asked for")?.0 {
                    self.subscriptions[id].established = true;
                }
                Ok(())
            }
            Heard::Ping => {
                self.clients[client].say(b"PONG\r\n");
                Ok(())
            }
            Heard::Error(text) => Err(format!("client {client} got {text}")),
        }
    }

    fn on_message(
        &mut self,
        client: usize,
        sid: u32,
        subject: &str,
        message: (usize, u64),
    ) -> Result<(), String> {
        let what = || format!("client {client} sid {sid}: message {message:?} on {subject}");
        let id = *self.names.get(&(client, sid)).ok_or_else(|| what() + ": no such sid")?;
        let (published, from) = &self.published[&message];
        let one = &mut self.subscriptions[id];
        if !grammar::matches(one.pattern.as_bytes(), subject.as_bytes()) {
            return Err(what() + ": the subject does not match");
        }
        // Those who listen to everything hear what is answered in their account as well.
        if subject.starts_with("in.") || subject.starts_with("_R_.") {
            return Ok(());
        }
        let way = (one.account, subject.to_owned());
        if !self.in_force.iter().any(|shared| shared.ways(*from, published).contains(&way)) {
            return Err(what() + &format!(": published on {published} in {}", NAMES[*from]));
        }
        let late = one.seen.insert((message.0, subject.to_owned()), message.1);
        if late.is_some_and(|last| last >= message.1) {
            return Err(what() + ": out of order, or twice");
        }
        self.heard.insert((id, subject.to_owned(), message));
        Ok(())
    }

    fn on_answer(
        &mut self,
        client: usize,
        subject: &str,
        request: (usize, u64),
    ) -> Result<(), String> {
        if subject != format!("in.{client}") || request.0 != client {
            return Err(format!("client {client} got the answer to {request:?} on {subject}"));
        }
        if !self.answered.insert(request) {
            return Err(format!("client {client} was answered twice: {request:?}"));
        }
        Ok(())
    }

    fn conclude(&mut self) -> Result<(), String> {
        self.settle()?;
        for client in 0..self.clients.len() {
            self.clients[client].gone = true;
            self.world.wires[self.clients[client].socket].client_closed = true;
        }
        self.rest()?;
        self.world.advance(Duration::from_secs(31));
        self.rest()?;
        for core in 0..self.world.cores() {
            let shard = self.world.shard(core);
            let (connections, subscriptions, (literals, _)) = shard.census();
            let waiting = shard.requests_waiting();
            if (connections, subscriptions, literals, waiting) != (0, 0, 0, 0) {
                let held = shard.census();
                return Err(format!("core {core} still holds {held:?} and {waiting} requests"));
            }
        }
        Ok(())
    }

    fn rest(&mut self) -> Result<(), String> {
        let mut quiet_rounds = 0;
        for _ in 0..100_000 {
            self.world.moved = false;
            for core in 0..self.world.cores() {
                self.world.step(core, &mut self.random);
            }
            for client in 0..self.clients.len() {
                self.exchange(client)?;
            }
            quiet_rounds = if self.world.moved { 0 } else { quiet_rounds + 1 };
            if quiet_rounds < 12 {
                continue;
            }
            let due = self.world.next_due();
            if due == Time::NEVER || due > self.world.now.after(Duration::from_millis(1500)) {
                return Ok(());
            }
            self.world.now = due;
            quiet_rounds = 0;
        }
        Err(format!("the world does not come to rest: {}", self.world.describe()))
    }
}
