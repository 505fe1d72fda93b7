//! `JetStream` as a whole: clients on many cores, streams with consumers on one of them, and a disk
//! that is slow, tears what it writes, fails, and ends with the process at any moment.
//!
//! Clients publish, alone or in batches, under ids and with expectations; they read, take messages
//! away, pull, listen, and answer what they are handed in every way there is. From time to time
//! everything comes to rest, and all that there is is compared with what clients were told; then
//! streams and consumers go, and come again under the same names. The process ends when it likes,
//! with or without the power, and what was asked for and not answered may be or not.
//!
//! - *Kept*: what was acknowledged, or handed to a consumer, is there until something that was
//!   asked for takes it away; what was taken away stays away, and nothing is there that nobody
//!   published.
//! - *Once*: a message stands at one sequence, and a message id within its window at one as well.
//! - *Order*: sequences that are told rise, over every end of the process; an expected one is the
//!   last. A batch is there as a whole, in one piece, or not at all.
//! - *Settled*: an acknowledgement that was itself acknowledged is not forgotten: the message is
//!   not delivered again, not even after a loss of power.
//! - *Counted*: what a consumer says is pending is what it has still to deliver; none is delivered
//!   more often than may be, and no request is answered with more than it asked for.
//! - *Answered*: every request is answered once everything has come to rest.
//! - *Drained*: in the end each consumer delivers all that is left, and a work queue is empty.
//!
//! Where the disk spoils what it holds, less is compared: nothing may be there that was never
//! given.

mod acts;
mod answers;
mod compare;
mod consumer;
mod peer;
mod stream;

use std::collections::{BTreeMap, VecDeque};

use ::jetstream::JetStream;
use ::storage::{DiskCompletion, Store, StoreOptions, Sync};
use accounts::StorageLimits;
use base::{Duration, Random, Time};
use shard::Config;

use crate::storage::disk::Disk;
use crate::world::{Stage, World};
use answers::Ask;
use consumer::{Consumer, Form, Held};
use peer::{Peer, Told};
use stream::{Message, Shape, Stream};

/// A message's place among all that were published.
type MessageId = usize;

/// Subjects of a stream.
const SUBJECTS: u64 = 4;
/// Stands for all of them.
const ALL_SUBJECTS: usize = usize::MAX;
/// Rounds without anything to do before all is at rest: each stage of a turn comes twice.
const QUIET_ROUNDS: u32 = 12;
/// What becomes due so soon belongs to what is going on: notes, and the end of the journal.
const HORIZON: Duration = Duration::from_millis(400);

/// What a run amounted to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    /// Messages published.
    pub published: u64,
    /// Those of them that were acknowledged.
    pub acknowledged: u64,
    /// Messages that consumers delivered.
    pub delivered: u64,
    /// Acknowledgements that were acknowledged.
    pub settled: u64,
    /// Messages that were compared.
    pub compared: u64,
    /// Ends of the process.
    pub crashes: u64,
    /// Things that were reported as damaged.
    pub damage: u64,
}

impl Outcome {
    /// Adds another run's.
    pub fn add(&mut self, other: &Self) {
        self.published += other.published;
        self.acknowledged += other.acknowledged;
        self.delivered += other.delivered;
        self.settled += other.settled;
        self.compared += other.compared;
        self.crashes += other.crashes;
        self.damage += other.damage;
    }
}

/// What is known of whether a stream or consumer is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Absent,
    /// It was asked for.
    Making,
    There,
    /// It was asked to go.
    Ending,
}

/// What a client listens to by a subscription.
#[derive(Clone, Copy, Debug)]
enum Source {
    /// Answers to a request for messages.
    Pull(u64),
    /// What a consumer pushes, of an incarnation.
    Push(usize, u64),
}

struct Simulation {
    seed: u64,
    random: Random,
    world: World,
    disk: Disk,
    options: StoreOptions,
    cores: usize,
    /// The core that stores.
    home: usize,
    /// What the disk has done and the core not taken.
    completions: VecDeque<DiskCompletion>,
    /// One in so many chances the disk does something.
    disk_slowness: u64,
    peers: Vec<Peer>,
    /// Clients that there have been.
    joined: usize,
    /// By client and subscription.
    sources: BTreeMap<(usize, u32), Source>,
    /// Requests that are not answered, by their number, with the client.
    asks: BTreeMap<u64, (usize, Ask)>,
    asked: u64,
    collected: Vec<Told>,
    /// Rises with each event and each answer.
    tick: u64,
    /// When everything was compared last.
    compared: u64,
    streams: Vec<Stream>,
    consumers: Vec<Consumer>,
    messages: Vec<Message>,
    batches: Vec<Vec<MessageId>>,
    held: Vec<Held>,
    /// May the power be lost?
    power: bool,
    spoils: bool,
    is_over: bool,
    outcome: Outcome,
}

/// Runs a seed.
///
/// # Errors
/// What did not hold.
pub fn run(seed: u64) -> Result<Outcome, String> {
    let mut simulation = Simulation::new(seed);
    simulation.open()?;
    let events = 60 + simulation.random.below(240);
    for _ in 0..events {
        simulation.event()?;
        if simulation.is_over {
            return Ok(simulation.outcome);
        }
    }
    simulation.conclude()?;
    Ok(simulation.outcome)
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x15_57e0);
        let cores = [1, 2, 2, 3, 4][random.below(5) as usize];
        let sync = match random.below(4) {
            0 => Sync::Every(Duration::from_millis(5)),
            _ => Sync::Always,
        };
        let spoils = random.below(8) == 0;
        let mut disk = Disk::new(seed);
        if spoils && random.below(2) == 0 {
            disk.faults.lying = 20 + random.below(200);
        }
        if random.below(8) == 0 {
            disk.faults.failing = 100 + random.below(2000);
        }
        if random.below(8) == 0 {
            disk.faults.room = 300_000 + random.below(1_000_000);
        }
        let options = StoreOptions {
            sync,
            seed,
            journal_blocks: 4 + random.below(30) as u32,
            journal_files: (2, 8 + random.below(8) as usize),
            part_bytes: 2000 + random.below(60_000) as u32,
            cache_bytes: 100_000,
            encryption: None,
        };
        let streams: Vec<Stream> = (0..=random.below(2) as usize)
            .map(|number| Stream::new(number, Shape::draw(&mut random)))
            .collect();
        let mut consumers = Vec::new();
        for (number, stream) in streams.iter().enumerate() {
            let Shape { retention, in_memory, .. } = stream.shape;
            let most = if retention == stream::Retention::WorkQueue { 1 } else { 3 };
            for _ in 0..most {
                let form = Form::draw(&mut random, retention, in_memory);
                consumers.push(Consumer::new(number, consumers.len(), form));
            }
        }
        let world = World::new(cores, &Config::default(), true, &mut random);
        Self {
            seed,
            world,
            disk,
            cores,
            home: random.below(cores as u64) as usize,
            completions: VecDeque::new(),
            disk_slowness: 1 + random.below(6),
            peers: Vec::new(),
            joined: 0,
            sources: BTreeMap::new(),
            asks: BTreeMap::new(),
            asked: 0,
            collected: Vec::new(),
            tick: 1,
            compared: 0,
            streams,
            consumers,
            messages: Vec::new(),
            batches: Vec::new(),
            held: Vec::new(),
            power: options.sync == Sync::Always,
            spoils,
            is_over: false,
            outcome: Outcome::default(),
            options,
            random,
        }
    }

    /// Starts the server over what the disk holds, and compares what it has.
    fn open(&mut self) -> Result<(), String> {
        let mut store = Store::open(self.options.clone());
        let mut requests = Vec::new();
        while !store.is_open() {
            store.take_requests(&mut requests);
            self.disk.submit(&mut requests);
            let done = self.disk.step().ok_or("the store asks for nothing and is not open")?;
            store.completed(done);
        }
        let mut damage = Vec::new();
        store.take_damage(&mut damage);
        self.outcome.damage += damage.len() as u64;
        if !damage.is_empty() && !self.disk.lied {
            return Err(format!("damage without cause: {damage:?}"));
        }
        self.begin_world(store);
        if self.home > 0 {
            // Core 0 hands connections on behind what it has to tell; the others are awaited.
            self.rest()?;
        }
        for _ in 0..2 + self.random.below(3) {
            self.join();
        }
        if self.disk.lied {
            self.is_over = true;
            return self.accept_spoilt();
        }
        self.adopt()?;
        self.look()
    }

    fn begin_world(&mut self, store: Store) {
        let mut config = Config {
            max_pending: 1 << 30,
            write_deadline: Duration::from_hours(1),
            ..Config::default()
        };
        config.accounts.accounts[0].jetstream = Some(StorageLimits::default());
        // The world's clock goes on, that of the process begins anew.
        let wall = self.wall() + self.random.below(1_500_000_000) as i64;
        let large = self.random.below(4) > 0;
        self.world = World::new(self.cores, &config, large, &mut self.random);
        self.world.ahead = wall - self.world.now.0 as i64;
        let rules = ::jetstream::Config { seed: self.seed, ..::jetstream::Config::default() };
        let jetstream = Box::new(JetStream::new(rules, store));
        self.world.store_on(self.home, jetstream);
    }

    fn wall(&self) -> i64 {
        self.world.now.0 as i64 + self.world.ahead
    }

    /// A client comes.
    fn join(&mut self) {
        let socket = self.world.connect();
        self.peers.push(Peer::new(socket, self.joined));
        self.joined += 1;
    }

    fn event(&mut self) -> Result<(), String> {
        self.tick += 1;
        self.act()?;
        for _ in 0..self.random.below(14) {
            self.progress()?;
        }
        Ok(())
    }

    /// One thing moves on.
    fn progress(&mut self) -> Result<(), String> {
        match self.random.below(4) {
            0 | 1 => {
                let core = self.random.below(self.cores as u64) as usize;
                self.step(core);
            }
            2 if !self.peers.is_empty() => {
                let peer = self.random.below(self.peers.len() as u64) as usize;
                self.exchange(peer)?;
            }
            _ if self.random.below(self.disk_slowness) == 0 => self.step_disk(),
            _ => {}
        }
        Ok(())
    }

    /// Takes a core one stage further. The one that stores takes what the disk did together with
    /// its input, and asks for more at the end of the turn.
    fn step(&mut self, core: usize) {
        let stage = self.world.stage(core);
        if core == self.home && stage == Stage::Input {
            let jetstream = self.world.shard_mut(core).jetstream().expect("it stores");
            self.completions.drain(..).for_each(|done| jetstream.store().completed(done));
        }
        self.world.step(core, &mut self.random);
        if core == self.home && stage == Stage::Finish {
            let now = self.world.now;
            let store = self.store();
            store.tick(now);
            let mut requests = Vec::new();
            store.take_requests(&mut requests);
            self.world.moved |= !requests.is_empty();
            self.disk.submit(&mut requests);
        }
    }

    fn store(&mut self) -> &mut Store {
        let jetstream = self.world.shard_mut(self.home).jetstream();
        jetstream.expect("this core stores").store()
    }

    fn step_disk(&mut self) {
        self.completions.extend(self.disk.step());
    }

    /// A client and its socket exchange what they can.
    fn exchange(&mut self, place: usize) -> Result<(), String> {
        let peer = &mut self.peers[place];
        let wire = &mut self.world.wires[peer.socket];
        let count = wire.up.put(peer.outgoing.make_contiguous());
        peer.outgoing.drain(..count);
        let bytes = wire.down.take(1 + self.random.below(4096) as usize);
        self.world.moved |= count > 0 || !bytes.is_empty();
        if wire.server_closed {
            return Err(format!("client {} was cut off", peer.number));
        }
        for told in peer.hear(&bytes)? {
            self.tick += 1;
            self.on_told(place, &told)?;
        }
        Ok(())
    }

    /// Until nothing moves any more and nothing is due soon.
    fn rest(&mut self) -> Result<(), String> {
        let mut quiet_rounds = 0;
        for _ in 0..200_000 {
            self.world.moved = false;
            for core in 0..self.cores {
                self.step(core);
            }
            for peer in 0..self.peers.len() {
                self.exchange(peer)?;
            }
            for _ in 0..4 {
                self.step_disk();
            }
            let is_idle = self.disk.is_idle() && self.completions.is_empty();
            quiet_rounds = if self.world.moved || !is_idle { 0 } else { quiet_rounds + 1 };
            if quiet_rounds < QUIET_ROUNDS {
                continue;
            }
            let due = self.world.next_due().min(self.store().next_due());
            if due == Time::NEVER || due > self.world.now.after(HORIZON) {
                return Ok(());
            }
            self.world.now = self.world.now.max(due);
            quiet_rounds = 0;
        }
        let (now, due) = (self.world.now, (self.world.next_due(), self.store().next_due()));
        let text = self.world.describe();
        Err(format!("the world does not come to rest: {now:?}, due {due:?}: {text}"))
    }

    /// The process ends, and another begins.
    fn crash(&mut self) -> Result<(), String> {
        self.outcome.crashes += 1;
        let power = self.power && self.random.below(2) == 0;
        self.disk.crash(power);
        if self.spoils && self.random.below(2) == 0 {
            for _ in 0..=self.random.below(3) {
                self.disk.rot();
            }
        }
        self.completions.clear();
        self.peers.clear();
        self.sources.clear();
        self.asks.clear();
        self.tick += 1;
        let tick = self.tick;
        for stream in &mut self.streams {
            stream.removers.iter_mut().for_each(|it| it.ended = it.ended.or(Some(tick)));
        }
        self.consumers.iter_mut().for_each(Consumer::restarted);
        if self.random.below(2) == 0 {
            // Otherwise clients live on, and answer what they were handed before.
            self.held.clear();
        }
        self.open()
    }
}
