//! One seed: events, then quiet, then the verdict.

use base::{Duration, Random, Time};
use shard::Config;

use crate::checker::Checker;
use crate::client::{Client, Heard};
use crate::world::World;

/// What a seed came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Messages published.
    pub published: u64,
    /// Messages received.
    pub received: u64,
    /// Clients that the server cut off.
    pub cut_off: u64,
}

struct Simulation {
    world: World,
    clients: Vec<Client>,
    checker: Checker,
    random: Random,
    outcome: Outcome,
    /// Is everything that may be slow allowed to be cut off?
    harsh: bool,
    large: bool,
    /// Do clients come and go all the time?
    churns: bool,
}

const SUBJECTS: [&str; 8] = ["a", "b", "a.b", "a.c", "a.b.c", "foo.bar", "foo.baz", "x"];
const PATTERNS: [&str; 12] =
    ["a", "b", "a.b", "a.*", "a.>", "*", ">", "*.b", "foo.bar", "foo.*", "x", "a.*.c"];
const QUEUES: [&str; 3] = ["q", "workers", "z"];

/// Runs a seed.
///
/// # Errors
/// What did not hold.
pub fn run(seed: u64) -> Result<Outcome, String> {
    let mut random = Random::new(seed);
    let harsh = random.below(5) == 0;
    let large = random.below(8) == 0;
    let churns = random.below(4) == 0;
    let cores = [1, 2, 2, 3, 4, 8][random.below(6) as usize];
    let config = Config {
        max_pending: if harsh { 4096 } else { 1 << 30 },
        write_deadline: Duration::from_hours(1),
        ..Config::default()
    };
    let world = World::new(cores, &config, large, &mut random);
    let mut simulation = Simulation {
        world,
        clients: Vec::new(),
        checker: Checker::new(harsh),
        outcome: Outcome::default(),
        harsh,
        large,
        churns,
        random,
    };
    let events = 100 + simulation.random.below(500);
    for _ in 0..events {
        simulation.event()?;
    }
    simulation.conclude()?;
    Ok(simulation.outcome)
}

impl Simulation {
    fn event(&mut self) -> Result<(), String> {
        let open: Vec<usize> = (0..self.clients.len()).filter(|c| !self.clients[*c].gone).collect();
        let draw = self.random.below(100);
        let comers = if self.churns { 12 } else { 4 };
        if open.is_empty() || (draw < comers && open.len() < 12) {
            self.connect();
        } else {
            let client = open[self.random.below(open.len() as u64) as usize];
            match draw {
                0..=15 => self.subscribe(client),
                16..=22 => self.unsubscribe(client),
                23..=55 => self.publish(client),
                56..=70 => self.ping(client),
                71..=73 => self.clients[client].reads = !self.clients[client].reads,
                74 => self.depart(client),
                90..=96 if self.churns => self.depart(client),
                75..=77 => self.world.advance(Duration::from_millis(3)),
                _ => {}
            }
        }
        for _ in 0..self.random.below(12) {
            self.progress()?;
        }
        Ok(())
    }

    fn connect(&mut self) {
        let socket = self.world.connect();
        let echo = self.random.below(4) > 0;
        self.clients.push(Client::new(socket, echo));
    }

    fn subscribe(&mut self, client: usize) {
        let pattern = PATTERNS[self.random.below(PATTERNS.len() as u64) as usize];
        let queue = match self.random.below(3) {
            0 => QUEUES[self.random.below(QUEUES.len() as u64) as usize],
            _ => "",
        };
        let sid = self.clients[client].next_sid;
        self.clients[client].next_sid += 1;
        let id = self.checker.subscribe(client, sid, pattern, queue);
        self.clients[client].fresh.push(id);
        self.clients[client].say(format!("SUB {pattern} {queue} {sid}\r\n").as_bytes());
        if queue.is_empty() && self.random.below(4) == 0 {
            // It ends by itself, soon.
            let max = 1 + self.random.below(3);
            self.checker.unsubscribe(id, Some(max));
            self.clients[client].say(format!("UNSUB {sid} {max}\r\n").as_bytes());
            self.clients[client].ending.push(id);
        }
    }

    fn unsubscribe(&mut self, client: usize) {
        let live = self.checker.live_of(client);
        if live.is_empty() {
            return;
        }
        let (id, sid) = live[self.random.below(live.len() as u64) as usize];
        if self.random.below(3) == 0 {
            // What is on its way may be more than this already: then the end is at once.
            let max = self.checker.deliveries(id) + 1000 + self.random.below(5);
            self.checker.unsubscribe(id, Some(max));
            self.clients[client].say(format!("UNSUB {sid} {max}\r\n").as_bytes());
        } else {
            self.checker.unsubscribe(id, None);
            self.clients[client].say(format!("UNSUB {sid}\r\n").as_bytes());
        }
        self.clients[client].ending.push(id);
    }

    fn publish(&mut self, client: usize) {
        // Bursts on one subject travel as trains.
        let train = self.random.below(2) == 0;
        let mut subject = SUBJECTS[self.random.below(SUBJECTS.len() as u64) as usize];
        for _ in 0..=self.random.below(if train { 12 } else { 4 }) {
            if !train {
                subject = SUBJECTS[self.random.below(SUBJECTS.len() as u64) as usize];
            }
            self.clients[client].published += 1;
            let number = self.clients[client].published;
            let mut body = format!("{client} {number} ");
            if self.large && self.random.below(10) == 0 {
                body.push_str(&"x".repeat(self.random.below(200_000) as usize));
            }
            let text = if self.random.below(if train { 20 } else { 4 }) == 0 {
                let total = body.len() + 12;
                format!("HPUB {subject} r 12 {total}\r\nNATS/1.0\r\n\r\n{body}\r\n")
            } else {
                format!("PUB {subject} {}\r\n{body}\r\n", body.len())
            };
            let echo = self.clients[client].echo;
            self.clients[client].say(text.as_bytes());
            let said = self.clients[client].said;
            self.clients[client].ends.push(said);
            self.checker.publish(client, number, subject, echo);
            self.outcome.published += 1;
        }
    }

    fn ping(&mut self, client: usize) {
        let client = &mut self.clients[client];
        let vouched = (std::mem::take(&mut client.fresh), std::mem::take(&mut client.ending));
        client.pings.push_back(vouched);
        client.say(b"PING\r\n");
    }

    /// A client goes, some with a last word that nobody understands.
    fn depart(&mut self, client: usize) {
        if self.random.below(2) == 0 {
            let Client { socket, .. } = self.clients[client];
            self.clients[client].say(b"NONSENSE\r\n");
            let outgoing = self.clients[client].outgoing.make_contiguous();
            let count = self.world.wires[socket].up.put(outgoing);
            self.clients[client].outgoing.drain(..count);
        }
        self.leave(client);
    }

    fn leave(&mut self, client: usize) {
        self.clients[client].gone = true;
        let socket = self.clients[client].socket;
        let abrupt = self.random.below(2) == 0;
        self.world.wires[socket].client_closed = true;
        self.world.wires[socket].resets = abrupt;
        self.checker.leave(client);
        // A reset loses input that was not read, and who may be cut off may just have been.
        let lossy = self.harsh || abrupt;
        let unsent = if lossy { 0 } else { self.clients[client].first_unsent() };
        self.checker.void(client, unsent);
    }

    /// Something moves a little further.
    fn progress(&mut self) -> Result<(), String> {
        let cores = self.world.cores() as u64;
        if self.clients.is_empty() || self.random.below(3) > 0 {
            let core = self.random.below(cores) as usize;
            self.world.step(core, &mut self.random);
            return Ok(());
        }
        let client = self.random.below(self.clients.len() as u64) as usize;
        self.exchange(client)
    }

    /// A client writes and reads what it can.
    fn exchange(&mut self, client: usize) -> Result<(), String> {
        let Client { socket, gone, reads, .. } = self.clients[client];
        if gone {
            return Ok(());
        }
        let wire = &mut self.world.wires[socket];
        let outgoing = self.clients[client].outgoing.make_contiguous();
        let count = wire.up.put(outgoing);
        self.clients[client].outgoing.drain(..count);
        self.world.moved |= count > 0;
        if !reads {
            return Ok(());
        }
        let count = 1 + self.random.below(4096) as usize;
        let bytes = wire.down.take(count);
        self.world.moved |= !bytes.is_empty();
        let closed = wire.server_closed && wire.down.is_empty();
        for heard in self.clients[client].hear(&bytes) {
            self.on_heard(client, heard)?;
        }
        if closed {
            if !self.harsh {
                return Err(format!("client {client} was cut off"));
            }
            self.outcome.cut_off += 1;
            self.leave(client);
        }
        Ok(())
    }

    fn on_heard(&mut self, client: usize, heard: Heard) -> Result<(), String> {
        match heard {
            Heard::Message { sid, subject, publisher, number, .. } => {
                self.outcome.received += 1;
                let echo = self.clients[client].echo;
                self.checker.receive(client, sid, &subject, (publisher, number), echo)
            }
            Heard::Pong => {
                let vouched = self.clients[client].pings.pop_front();
                let (established, ended) = vouched.ok_or("a PONG that nobody asked for")?;
                self.checker.pong(&established, &ended);
                Ok(())
            }
            Heard::Ping => {
                self.clients[client].say(b"PONG\r\n");
                Ok(())
            }
            Heard::Error(text) => Err(format!("client {client} got {text}")),
        }
    }

    /// Lets everything come to rest, and compares; then lets all clients go, and looks for what is
    /// left.
    fn conclude(&mut self) -> Result<(), String> {
        for client in &mut self.clients {
            client.reads = true;
        }
        self.rest()?;
        for client in self.clients.iter().filter(|client| !client.gone) {
            if !client.pings.is_empty() || !client.outgoing.is_empty() {
                return Err(format!("a client still waits: {client:?}"));
            }
        }
        self.checker.conclude()?;
        if self.random.below(2) == 0 {
            self.go_away()?;
        }
        for client in 0..self.clients.len() {
            if !self.clients[client].gone {
                self.leave(client);
            }
        }
        self.rest()?;
        for core in 0..self.world.cores() {
            let census = self.world.shard(core).census();
            if census != (0, 0, (0, 0)) {
                return Err(format!("core {core} still holds {census:?}"));
            }
        }
        Ok(())
    }

    /// The server goes into lame duck mode, of which its cores hear one after the other, while more
    /// clients come.
    fn go_away(&mut self) -> Result<(), String> {
        // Who is closed now was not cut off.
        self.harsh = true;
        let cores = self.world.cores();
        let first = self.random.below(cores as u64) as usize;
        for number in 0..cores {
            self.world.enter_lame_duck((first + number) % cores);
            if self.random.below(2) == 0 {
                self.connect();
            }
            for _ in 0..self.random.below(30) {
                self.progress()?;
            }
        }
        // Longer than it may take: ten seconds of grace, then two minutes at most.
        let end = self.world.now.after(Duration::from_secs(10 + 120 + 5));
        self.rest()?;
        while !self.world.drained && self.world.now < end {
            self.world.now = self.world.next_due().clamp(self.world.now, end);
            self.rest()?;
        }
        if !self.world.drained {
            return Err(format!("the server does not go away: {}", self.world.describe()));
        }
        Ok(())
    }

    fn rest(&mut self) -> Result<(), String> {
        const ROUNDS_MAX: usize = 100_000;
        let mut quiet_rounds = 0;
        for _ in 0..ROUNDS_MAX {
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
            // Nothing moves: a pause or a linger may still end by itself within seconds.
            let soon = self.world.now.after(Duration::from_millis(1500));
            let due = self.world.next_due();
            if due == Time::NEVER || due > soon {
                return Ok(());
            }
            self.world.now = due;
            quiet_rounds = 0;
        }
        Err(format!("the world does not come to rest: {}", self.world.describe()))
    }
}
