//! The store of one core over a simulated disk, against plain lists.
//!
//! A run does things to logs, lets the disk carry out some of what it was asked, and now and then
//! ends the process or takes the power away. Then the store is opened again, and what it holds has
//! to be what the lists were after some operation that was asked for: no earlier than the last that
//! was durable, no gap, nothing that was gone, and every message as it was given.
//!
//! Runs in which the disk spoils what it holds compare less: nothing may be there that was never
//! given, and what is missing has to be reported.

pub mod disk;
pub mod model;
pub mod wreck;

use std::collections::{BTreeMap, VecDeque};

use ::storage::{
    Cipher, Damage, Encryption, Entry, Fetched, File, KEY_BYTES, Kind, LogId, LogOptions, Position,
    SALT_BYTES, Store, StoreOptions, Sync,
};
use base::{Duration, Random, Time};

use disk::Disk;
use model::{Deed, Message, Model};

/// What a run amounted to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    /// Operations.
    pub deeds: u64,
    /// Times that the store was opened again.
    pub openings: u64,
    /// Messages that were looked at and as they should be.
    pub fetched: u64,
    /// Segments seen on the disk, at most.
    pub segments: u64,
    /// Things that were reported as damaged.
    pub damage: u64,
}

impl Outcome {
    /// Adds another run's.
    pub fn add(&mut self, other: &Self) {
        self.deeds += other.deeds;
        self.openings += other.openings;
        self.fetched += other.fetched;
        self.segments = self.segments.max(other.segments);
        self.damage += other.damage;
    }
}

struct World {
    random: Random,
    disk: Disk,
    store: Store,
    options: StoreOptions,
    /// The opening from which on it is encrypted.
    encrypted: u64,
    now: u64,
    /// Everything up to the last operation.
    model: Model,
    /// Everything up to the last operation that was durable.
    firm: Model,
    /// What was asked for since.
    recent: VecDeque<(Position, Vec<u8>, Deed)>,
    /// What there was when the store was opened last, and everything that was asked for since.
    begun: Model,
    since: Vec<(Vec<u8>, Deed)>,
    /// Every message that was ever given, by log and sequence.
    given: BTreeMap<(Vec<u8>, u64), Vec<Message>>,
    power: bool,
    spoils: bool,
    /// Was something spoilt, and what is left compared?
    ended: bool,
    outcome: Outcome,
    damage: Vec<Damage>,
}

/// Runs a seed.
///
/// # Errors
/// What did not hold.
pub fn run(seed: u64) -> Result<Outcome, String> {
    let mut world = World::new(seed);
    world.open_anew();
    world.reopen()?;
    let rounds = 2 + world.random.below(6);
    for _ in 0..rounds {
        let deeds = world.random.below(400);
        for _ in 0..deeds {
            world.step()?;
        }
        if world.random.below(4) == 0 {
            world.settle();
            world.check_rest()?;
        }
        let power = world.power && world.random.below(2) == 0;
        world.crash(power);
        world.reopen()?;
        if world.ended {
            break;
        }
        world.compare()?;
    }
    Ok(world.outcome)
}

/// Runs a store, ends it, changes its files as `data` says, and opens it again: six bytes a change,
/// the file, whether the checksums of the block are put right, where, and what is put there.
///
/// # Errors
/// If the store does not open, holds what was never given, or does not work afterwards.
pub fn spoil(data: &[u8]) -> Result<(), String> {
    // The first byte says which of a few stores: with and without encryption among them.
    let mut world = World::new(7);
    world.encrypted = match data.first() {
        Some(byte) if byte & 0x80 != 0 => 0,
        _ => u64::MAX,
    };
    world.open_anew();
    world.disk.faults = disk::Faults { room: u64::MAX, ..disk::Faults::default() };
    world.reopen()?;
    for _ in 0..600 {
        world.step()?;
    }
    world.settle();
    world.crash(false);
    for change in data.as_chunks::<6>().0 {
        let offset = u32::from_le_bytes([change[2], change[3], change[4], 0]) as usize;
        world.disk.change(change[0] as usize, offset, change[5], change[1] & 1 == 1);
    }
    world.open_anew();
    world.open_store()?;
    // What a block says whose checksum was put right may be anything; none of it may do harm.
    for (id, live) in world.all_live() {
        for sequence in live {
            let mut looks = 0;
            while let Fetched::Reading(_) = world.store.fetch(id, sequence) {
                world.turn(3);
                looks += 1;
                if looks > 10_000 {
                    return Err(format!("{sequence} is read for ever"));
                }
            }
        }
    }
    world.settle();
    Ok(())
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut disk = Disk::new(seed);
        let sync = match random.below(4) {
            0 => Sync::Every(Duration::from_millis(5)),
            _ => Sync::Always,
        };
        let spoils = random.below(4) == 0;
        if spoils && random.below(2) == 0 {
            disk.faults.lying = 20 + random.below(200);
        }
        if random.below(6) == 0 {
            disk.faults.failing = 50 + random.below(2000);
        }
        if random.below(6) == 0 {
            disk.faults.room = 200_000 + random.below(1_000_000);
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
        // Some stores are encrypted from the start, some from a later opening on.
        let encrypted = match random.below(4) {
            0 => 0,
            1 => 2,
            _ => u64::MAX,
        };
        let store = Store::open(options.clone());
        Self {
            power: sync == Sync::Always,
            random,
            disk,
            store,
            options,
            encrypted,
            now: 1,
            model: Model::default(),
            firm: Model::default(),
            recent: VecDeque::new(),
            begun: Model::default(),
            since: Vec::new(),
            given: BTreeMap::new(),
            spoils,
            ended: false,
            outcome: Outcome::default(),
            damage: Vec::new(),
        }
    }

    /// Hands requests over, and lets the disk carry out up to so many.
    fn turn(&mut self, steps: u64) {
        self.now += self.random.below(3_000_000);
        self.store.tick(Time(self.now));
        let mut requests = Vec::new();
        self.store.take_requests(&mut requests);
        self.disk.submit(&mut requests);
        for _ in 0..steps {
            let Some(completion) = self.disk.step() else { break };
            self.store.completed(completion);
        }
        let segments = self.disk.files().filter(|file| matches!(file, File::Segment(_)));
        self.outcome.segments = self.outcome.segments.max(segments.count() as u64);
        while let Some((_, name, deed)) =
            self.recent.pop_front_if(|(position, ..)| self.store.durable().covers(*position))
        {
            self.firm.apply(&name, &deed);
        }
    }

    /// Lets the disk catch up.
    fn settle(&mut self) {
        for _ in 0..200 {
            self.turn(20);
        }
    }

    /// Once everything is durable and said to be, nothing more is written.
    fn check_rest(&mut self) -> Result<(), String> {
        let faults = &self.disk.faults;
        if faults.failing > 0 || faults.room < u64::MAX || self.disk.lied {
            return Ok(());
        }
        for _ in 0..100 {
            self.turn(20);
            let due = self.store.next_due();
            if self.disk.is_idle() && due == Time::NEVER {
                return Ok(());
            }
            self.now = self.now.max(due.0.min(self.now + 100_000_000));
        }
        Err(format!("it finds no rest: {:?}", self.store.next_due()))
    }

    fn step(&mut self) -> Result<(), String> {
        if self.random.below(3) > 0 {
            self.act();
            self.outcome.deeds += 1;
        } else if self.random.below(4) == 0 {
            self.look()?;
        } else {
            let steps = self.random.below(8);
            self.turn(steps);
        }
        Ok(())
    }

    fn pick_log(&mut self) -> Option<(Vec<u8>, LogId)> {
        let count = self.model.logs.len() as u64;
        if count == 0 {
            return None;
        }
        let place = self.random.below(count) as usize;
        let name = self.model.logs.keys().nth(place).cloned()?;
        let id = self.store.find(&name).expect("the model has what the store has");
        Some((name, id))
    }

    fn did(&mut self, position: Position, name: Vec<u8>, deed: Deed) {
        self.model.apply(&name, &deed);
        if let Deed::Append(sequence, message) = &deed {
            self.given.entry((name.clone(), *sequence)).or_default().push(message.clone());
        }
        self.since.push((name.clone(), deed.clone()));
        self.recent.push_back((position, name, deed));
    }

    fn create(&mut self) {
        let name = format!("log {}", self.random.below(12)).into_bytes();
        if self.model.logs.contains_key(&name) {
            return;
        }
        let options = LogOptions { compressed: self.random.below(2) == 0 };
        if self.store.create(&name, Kind::File, options).is_ok() {
            let position = self.store.ordered().0;
            self.did(position, name, Deed::Create);
        }
    }

    /// Does something to some log.
    fn act(&mut self) {
        let few = self.model.logs.len() < 2 || self.random.below(100) == 0;
        if few && !self.store.is_fenced() {
            self.create();
        }
        let Some((name, id)) = self.pick_log() else { return };
        let (first, last) = (self.model.logs[&name].first, self.model.logs[&name].last);
        let span = last.saturating_sub(first) + 2;
        let within = first + self.random.below(span);
        match self.random.below(100) {
            0 if self.random.below(10) == 0 => {
                let position = self.store.destroy(id);
                self.did(position, name, Deed::Destroy);
            }
            1 if self.random.below(6) == 0 => {
                let last = self.random.below(1000);
                let position = self.store.reset_to(id, last + 1, last);
                self.did(position, name, Deed::Reset(last + 1, last));
            }
            2..=4 if last > 0 => {
                let sequence = within + u64::from(self.random.below(20) == 0) * 3;
                let position = self.store.truncate_before(id, sequence);
                self.did(position, name, Deed::Truncate(sequence));
            }
            5..=30 if last > 0 => {
                let sequence = if self.random.below(2) == 0 { first } else { within };
                let removed = self.store.remove(id, sequence, self.random.below(10) == 0);
                let was_there = self.model.logs[&name].messages.contains_key(&sequence);
                assert_eq!(removed.is_some(), was_there);
                if let Some(position) = removed {
                    self.did(position, name, Deed::Remove(sequence));
                }
            }
            37 if self.random.below(4) == 0 => {
                let options = LogOptions { compressed: self.random.below(2) == 0 };
                let position = self.store.set_options(id, options);
                self.did(position, name, Deed::Options);
            }
            31..=36 => {
                let key = vec![b'k', self.random.below(4) as u8];
                let length = self.random.below(40) as usize * self.random.below(2) as usize;
                let value = vec![self.random.below(256) as u8; length];
                let position = self.store.put_note(id, &key, &value);
                self.did(position, name, Deed::Note(key, value));
            }
            _ => self.append(name, id, last),
        }
    }

    fn append(&mut self, name: Vec<u8>, id: LogId, last: u64) {
        let longest = if self.random.below(40) == 0 { 20_000 } else { 300 };
        let length = self.random.below(longest) as usize;
        let sizes = format!("{length}\r\n");
        let mut tail = sizes.clone().into_bytes();
        // Some of it is there for a compressor to find.
        let kinds = if self.random.below(2) == 0 { 3 } else { 256 };
        tail.extend((0..length).map(|_| self.random.below(kinds) as u8));
        tail.extend_from_slice(b"\r\n");
        let subject = format!("key.{}", self.random.below(20)).into_bytes();
        let wall = self.now as i64;
        let message = Message { wall, subject, tail, sizes_bytes: sizes.len() };
        let sequence = last + 1 + self.random.below(30) / 29 * 2;
        if let Ok(position) = self.store.append(id, &message.entry(sequence)) {
            self.did(position, name, Deed::Append(sequence, message));
        }
    }

    /// Looks at some message.
    fn look(&mut self) -> Result<(), String> {
        let Some((name, id)) = self.pick_log() else { return Ok(()) };
        let plain = &self.model.logs[&name];
        let within = plain.first + self.random.below(plain.last.saturating_sub(plain.first) + 2);
        self.fetch(&name, id, within)
    }

    fn fetch(&mut self, name: &[u8], id: LogId, sequence: u64) -> Result<(), String> {
        let expected = self.model.logs[name].messages.get(&sequence).cloned();
        let expected = expected.as_ref().map(|message| message.entry(sequence));
        for _ in 0..10_000 {
            match (self.store.fetch(id, sequence), expected) {
                (Fetched::Here(entry), Some(expected)) if same(&entry, &expected) => {
                    self.outcome.fetched += 1;
                    return Ok(());
                }
                (Fetched::Missing, None) => return Ok(()),
                (Fetched::Reading(_), Some(_)) => {}
                (Fetched::Damaged, Some(_)) if self.disk.lied => return Ok(()),
                (fetched, expected) => {
                    return Err(format!("{sequence}: {fetched:?} instead of {expected:?}"));
                }
            }
            self.turn(3);
        }
        Err(format!("{sequence} is read for ever"))
    }

    fn crash(&mut self, power: bool) {
        self.disk.crash(power);
        if self.spoils && self.random.below(2) == 0 {
            for _ in 0..=self.random.below(3) {
                self.disk.rot();
            }
        }
        self.open_anew();
    }

    /// Begins to open the store.
    fn open_anew(&mut self) {
        if self.outcome.openings >= self.encrypted {
            let cipher = if self.random.below(2) == 0 { Cipher::ChaCha } else { Cipher::Aes };
            let mut salt = [0; SALT_BYTES];
            salt.fill_with(|| self.random.below(256) as u8);
            let data_key = [7; KEY_BYTES];
            self.options.encryption = Some(Encryption { data_key, cipher, salt });
        }
        self.store = Store::open(self.options.clone());
    }

    fn all_live(&self) -> Vec<(LogId, Vec<u64>)> {
        self.store.logs().map(|(id, log)| (id, log.live().collect())).collect()
    }

    /// Opens the store.
    fn open_store(&mut self) -> Result<(), String> {
        self.outcome.openings += 1;
        for _ in 0..100_000 {
            let mut requests = Vec::new();
            self.store.take_requests(&mut requests);
            self.disk.submit(&mut requests);
            match self.disk.step() {
                Some(completion) => self.store.completed(completion),
                None if self.store.is_open() => break,
                None => return Err(String::from("the store asks for nothing and is not open")),
            }
        }
        if !self.store.is_open() {
            return Err(String::from("the store is not open after all"));
        }
        self.damage.clear();
        self.store.take_damage(&mut self.damage);
        Ok(())
    }

    /// Opens the store, and finds out how much of what was asked for it holds.
    fn reopen(&mut self) -> Result<(), String> {
        self.open_store()?;
        self.outcome.damage += self.damage.len() as u64;
        if !self.damage.is_empty() && !self.disk.lied {
            return Err(format!("damage without cause: {:?}", self.damage));
        }
        if self.disk.lied {
            return self.accept_damaged();
        }
        let mut problem = self.firm.difference(&self.store);
        while problem.is_some()
            && let Some((_, name, deed)) = self.recent.pop_front()
        {
            self.firm.apply(&name, &deed);
            problem = self.firm.difference(&self.store);
        }
        self.recent.clear();
        self.model = self.firm.clone();
        self.begun = self.firm.clone();
        self.since.clear();
        problem.map_or(Ok(()), |problem| Err(format!("no state there was: {problem}")))
    }

    /// Compares every message.
    fn compare(&mut self) -> Result<(), String> {
        let all: Vec<(Vec<u8>, Vec<u64>)> = self
            .model
            .logs
            .iter()
            .map(|(name, plain)| (name.clone(), plain.messages.keys().copied().collect()))
            .collect();
        for (name, sequences) in all {
            let id = self.store.find(&name).expect("it was compared before");
            for sequence in sequences {
                self.fetch(&name, id, sequence)?;
            }
        }
        Ok(())
    }

    /// The disk spoilt something: what is there has to be what was given, and where anything that
    /// was durable is missing there has to be a report. Without one only the end of the journal may
    /// be gone, which cannot be told from writes that never came about. The run ends with it.
    fn accept_damaged(&mut self) -> Result<(), String> {
        self.ended = true;
        if self.damage.is_empty() {
            let mut state = self.begun.clone();
            let mut problem = state.difference(&self.store);
            for (name, deed) in &self.since {
                if problem.is_none() {
                    break;
                }
                state.apply(name, deed);
                problem = state.difference(&self.store);
            }
            if let Some(problem) = problem {
                return Err(format!("no state there was, and no damage: {problem}"));
            }
        }
        let logs: Vec<LogId> = self.store.logs().map(|(id, _)| id).collect();
        for id in logs {
            let name = self.store.log(id).name().to_vec();
            let live: Vec<u64> = self.store.log(id).live().collect();
            for sequence in live {
                self.check_given(&name, id, sequence)?;
            }
        }
        Ok(())
    }

    /// A message that is there is one that was given.
    fn check_given(&mut self, name: &[u8], id: LogId, sequence: u64) -> Result<(), String> {
        for _ in 0..10_000 {
            match self.store.fetch(id, sequence) {
                Fetched::Here(entry) => {
                    let given = self.given.get(&(name.to_vec(), sequence));
                    let mut given = given.into_iter().flatten();
                    if given.any(|message| same(&entry, &message.entry(sequence))) {
                        self.outcome.fetched += 1;
                        return Ok(());
                    }
                    return Err(format!("{sequence} was never given: {entry:?}"));
                }
                Fetched::Damaged => return Ok(()),
                Fetched::Missing => return Err(format!("{sequence} is live and missing")),
                Fetched::Reading(_) => {}
            }
            self.turn(3);
        }
        Err(format!("{sequence} is read for ever"))
    }
}

fn same(a: &Entry<'_>, b: &Entry<'_>) -> bool {
    (a.sequence, a.wall, a.subject, a.tail, a.sizes_bytes)
        == (b.sequence, b.wall, b.subject, b.tail, b.sizes_bytes)
}
