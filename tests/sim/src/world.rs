//! Shards, the lanes between them, and sockets with little room.

use std::collections::VecDeque;
use std::fmt::Write as _;

use base::{CoreId, Duration, Moment, Random, Slot, Time, Wall};
use jetstream::JetStream;
use shard::{Config, Effects, Peer, Shard, Socket};

/// Where a core is in its turn. The order is the reactor's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Notes what its sockets hold.
    Collect,
    /// Takes what its lanes hold.
    Accept,
    /// Takes what its sockets held.
    Input,
    /// Moves frames to its lanes.
    Send,
    /// Ends the turn and writes.
    Finish,
}

/// Bytes one way, with a bound on what may be on the way.
#[derive(Debug, Default)]
pub struct Pipe {
    bytes: VecDeque<u8>,
    capacity: usize,
}

impl Pipe {
    fn new(capacity: usize) -> Self {
        Self { bytes: VecDeque::new(), capacity }
    }

    /// Takes what there is room for.
    pub fn put(&mut self, bytes: &[u8]) -> usize {
        let room = self.capacity.saturating_sub(self.bytes.len()).min(bytes.len());
        self.bytes.extend(&bytes[..room]);
        room
    }

    /// Gives up to `count` bytes.
    pub fn take(&mut self, count: usize) -> Vec<u8> {
        self.bytes.drain(..count.min(self.bytes.len())).collect()
    }

    /// Bytes on the way.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Is nothing on the way?
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// One client's connection.
#[derive(Debug)]
pub struct Wire {
    /// From the client.
    pub up: Pipe,
    /// To the client.
    pub down: Pipe,
    /// The client has closed.
    pub client_closed: bool,
    /// Writing to the client that has closed fails; otherwise what is written is lost in silence.
    pub resets: bool,
    /// The server has closed.
    pub server_closed: bool,
    home: Option<(usize, Slot)>,
}

/// A core's view of one of its sockets.
#[derive(Debug, Default)]
struct Link {
    socket: Option<usize>,
    backlog: Vec<u8>,
    ended: bool,
    end_told: bool,
    shut: bool,
    blocked: bool,
}

struct Core {
    shard: Shard,
    stage: Stage,
    links: Vec<Link>,
    /// What the turn found: bytes per slot, and whether the client has closed.
    collected: Vec<(Slot, Vec<u8>, bool)>,
    effects: Effects,
}

/// Everything but the clients.
pub struct World {
    cores: Vec<Core>,
    /// `lanes[from][to]`.
    lanes: Vec<Vec<Pipe>>,
    /// Sockets by number; clients know theirs.
    pub wires: Vec<Wire>,
    accepts: VecDeque<usize>,
    /// The time.
    pub now: Time,
    /// How far the world's clock is ahead of it, in nanoseconds.
    pub ahead: i64,
    socket_room: usize,
    /// Has anything moved since this was last reset?
    pub moved: bool,
    /// Has the last connection of a lame duck gone?
    pub drained: bool,
}

impl World {
    /// A server of `cores` cores, with little room in lanes and sockets, or more for large
    /// messages.
    pub fn new(cores: usize, config: &Config, large: bool, random: &mut Random) -> Self {
        let now = Time(1_000_000_000);
        let seed = random.next_u64();
        let lane_room = 1 << (if large { 12 } else { 5 } + random.below(8));
        let socket_room = 1 << (if large { 12 } else { 6 } + random.below(8));
        let core = |number: usize| Core {
            shard: Shard::new(CoreId(number as u8), cores, seed, config.clone(), now),
            stage: Stage::Collect,
            links: Vec::new(),
            collected: Vec::new(),
            effects: Effects::default(),
        };
        Self {
            cores: (0..cores).map(core).collect(),
            lanes: (0..cores).map(|_| (0..cores).map(|_| Pipe::new(lane_room)).collect()).collect(),
            wires: Vec::new(),
            accepts: VecDeque::new(),
            now,
            ahead: 0,
            socket_room,
            moved: false,
            drained: false,
        }
    }

    /// A core switches to another configuration.
    pub fn reconfigure(&mut self, core: usize, config: &Config) {
        self.moved = true;
        self.cores[core].shard.reconfigure(config.clone());
    }

    /// A core hears that the server is going away.
    pub fn enter_lame_duck(&mut self, core: usize) {
        self.moved = true;
        self.cores[core].shard.enter_lame_duck();
    }

    /// A client connects. Returns its socket.
    pub fn connect(&mut self) -> usize {
        self.wires.push(Wire {
            up: Pipe::new(self.socket_room),
            down: Pipe::new(self.socket_room),
            client_closed: false,
            resets: false,
            server_closed: false,
            home: None,
        });
        self.accepts.push_back(self.wires.len() - 1);
        self.moved = true;
        self.wires.len() - 1
    }

    /// Cores of the server.
    pub fn cores(&self) -> usize {
        self.cores.len()
    }

    /// A core's shard, to look at.
    pub fn shard(&self, core: usize) -> &Shard {
        &self.cores[core].shard
    }

    /// The same, to have it do something.
    pub fn shard_mut(&mut self, core: usize) -> &mut Shard {
        &mut self.cores[core].shard
    }

    /// Where a core is in its turn.
    pub fn stage(&self, core: usize) -> Stage {
        self.cores[core].stage
    }

    /// A core stores messages from now on, for the accounts that may.
    pub fn store_on(&mut self, core: usize, jetstream: Box<JetStream>) {
        let moment = self.moment();
        let shard = &mut self.cores[core].shard;
        shard.begin_turn(moment);
        shard.start_jetstream(jetstream);
    }

    fn moment(&self) -> Moment {
        Moment { time: self.now, wall: Wall(self.now.0 as i64 + self.ahead) }
    }

    /// Lets time pass.
    pub fn advance(&mut self, by: Duration) {
        self.now = self.now.after(by);
    }

    /// The next moment at which any core has something to do by itself.
    pub fn next_due(&self) -> Time {
        self.cores.iter().map(|core| core.shard.next_due()).min().unwrap_or(Time::NEVER)
    }

    /// Takes one core one stage further.
    pub fn step(&mut self, core: usize, random: &mut Random) {
        let stage = self.cores[core].stage;
        self.cores[core].stage = match stage {
            Stage::Collect => {
                let moment = self.moment();
                self.cores[core].shard.begin_turn(moment);
                self.collect(core, random);
                Stage::Accept
            }
            Stage::Accept => {
                self.accept_lanes(core);
                Stage::Input
            }
            Stage::Input => {
                self.take_input(core);
                Stage::Send
            }
            Stage::Send => {
                self.cores[core].shard.serve();
                self.send_lanes(core);
                Stage::Finish
            }
            Stage::Finish => {
                self.finish(core);
                Stage::Collect
            }
        };
    }

    /// What still waits, for a failure's report.
    pub fn describe(&self) -> String {
        let mut text = String::new();
        for (number, core) in self.cores.iter().enumerate() {
            for to in 0..self.cores.len() {
                let waiting = core.shard.outbox(CoreId(to as u8)).len();
                let lane = self.lanes[number][to].len();
                if waiting + lane > 0 {
                    let _ = write!(text, "{number}->{to}: {waiting} wait, {lane} on the way; ");
                }
            }
            for (slot, link) in core.links.iter().enumerate() {
                if link.socket.is_some() {
                    let paused = core.shard.is_paused(Slot(slot as u32));
                    let _ = write!(text, "core {number} slot {slot} paused {paused}: {link:?}; ");
                }
            }
        }
        text
    }

    fn collect(&mut self, core: usize, random: &mut Random) {
        for number in 0..self.cores[core].links.len() {
            let slot = Slot(number as u32);
            let link = &self.cores[core].links[number];
            let Some(socket) = link.socket else { continue };
            if link.ended {
                continue;
            }
            if self.cores[core].shard.is_paused(slot) {
                continue;
            }
            let wire = &mut self.wires[socket];
            let room = 1 + random.below(self.socket_room as u64) as usize;
            let bytes = wire.up.take(room);
            let ended = wire.client_closed && wire.up.is_empty();
            self.cores[core].links[number].ended = ended;
            if !bytes.is_empty() || ended {
                self.moved = true;
                self.cores[core].collected.push((slot, bytes, ended));
            }
        }
    }

    fn accept_lanes(&mut self, core: usize) {
        for from in 0..self.cores.len() {
            let lane = &mut self.lanes[from][core];
            let bytes = lane.take(lane.len());
            if !bytes.is_empty() {
                self.moved = true;
                self.accept_from(core, from, &bytes);
            }
        }
    }

    fn accept_from(&mut self, core: usize, from: usize, bytes: &[u8]) {
        let mut at = 0;
        while at < bytes.len() {
            at += self.cores[core].shard.accept_frames(CoreId(from as u8), &bytes[at..]);
            self.flush_pressed(core);
        }
    }

    fn flush_pressed(&mut self, core: usize) {
        let mut pressed = Vec::new();
        self.cores[core].shard.take_pressed(&mut pressed);
        for slot in pressed {
            self.flush(core, slot);
        }
    }

    fn take_input(&mut self, core: usize) {
        if core == 0 {
            while let Some(socket) = self.accepts.pop_front() {
                self.moved = true;
                let peer = Peer { host: "127.0.0.1".into(), port: 1 };
                self.cores[0].shard.accepted(Socket(socket as i32), peer);
            }
        }
        for number in 0..self.cores[core].links.len() {
            let slot = Slot(number as u32);
            let waits = !self.cores[core].links[number].backlog.is_empty();
            if waits && !self.cores[core].shard.is_paused(slot) {
                let backlog = std::mem::take(&mut self.cores[core].links[number].backlog);
                self.feed(core, slot, &backlog);
            }
        }
        for (slot, bytes, _) in std::mem::take(&mut self.cores[core].collected) {
            self.feed(core, slot, &bytes);
        }
        for number in 0..self.cores[core].links.len() {
            let link = &mut self.cores[core].links[number];
            if link.ended && !link.end_told && link.backlog.is_empty() {
                link.end_told = true;
                self.moved = true;
                self.cores[core].shard.input_ended(Slot(number as u32), false);
            }
        }
    }

    /// The reactor's loop of the same name.
    fn feed(&mut self, core: usize, slot: Slot, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.cores[core].shard.is_paused(slot) || self.has_backlog(core, slot) {
                self.cores[core].links[slot.index()].backlog.extend_from_slice(bytes);
                return;
            }
            self.moved = true;
            let taken = self.cores[core].shard.receive(slot, bytes);
            bytes = &bytes[taken..];
            if taken > 0 && bytes.is_empty() && !self.cores[core].shard.is_pressed() {
                return;
            }
            self.send_lanes(core);
            if self.cores[core].shard.is_pressed() {
                self.flush_pressed(core);
            }
        }
    }

    fn has_backlog(&self, core: usize, slot: Slot) -> bool {
        !self.cores[core].links[slot.index()].backlog.is_empty()
    }

    fn send_lanes(&mut self, core: usize) {
        for to in (0..self.cores.len()).filter(|to| *to != core) {
            let target = CoreId(to as u8);
            let count = self.lanes[core][to].put(self.cores[core].shard.outbox(target));
            if count > 0 {
                self.moved = true;
                self.cores[core].shard.moved(target, count);
            }
        }
    }

    fn flush(&mut self, core: usize, slot: Slot) {
        let Core { shard, links, .. } = &mut self.cores[core];
        let link = &mut links[slot.index()];
        let Some(socket) = link.socket else { return };
        let wire = &mut self.wires[socket];
        if wire.client_closed {
            let lost = shard.unsent(slot).len();
            if lost > 0 && wire.resets {
                shard.output_failed(slot);
            } else if lost > 0 {
                shard.sent(slot, lost);
            }
            return;
        }
        let count = wire.down.put(shard.unsent(slot));
        if count > 0 {
            self.moved = true;
            shard.sent(slot, count);
        }
        link.blocked = !shard.unsent(slot).is_empty();
        if link.blocked {
            shard.blocked(slot);
        } else if link.shut {
            wire.server_closed = true;
        }
    }

    fn finish(&mut self, core: usize) {
        let mut effects = std::mem::take(&mut self.cores[core].effects);
        self.cores[core].shard.end_turn(&mut effects);
        self.drained |= effects.drained;
        self.moved |= effects.more || self.cores[core].shard.has_outgoing_frames();
        for (slot, socket) in effects.opened.drain(..) {
            let links = &mut self.cores[core].links;
            if links.len() <= slot.index() {
                links.resize_with(slot.index() + 1, Link::default);
            }
            assert!(links[slot.index()].socket.is_none(), "a slot has one socket");
            links[slot.index()] = Link { socket: Some(socket.0 as usize), ..Link::default() };
            self.wires[socket.0 as usize].home = Some((core, slot));
        }
        for socket in effects.dropped.drain(..) {
            self.wires[socket.0 as usize].server_closed = true;
        }
        for slot in effects.flush.drain(..) {
            self.flush(core, slot);
        }
        for slot in effects.shut.drain(..) {
            self.cores[core].links[slot.index()].shut = true;
            self.flush(core, slot);
        }
        for slot in effects.close.drain(..) {
            self.close(core, slot);
        }
        for number in 0..self.cores[core].links.len() {
            if self.cores[core].links[number].blocked {
                self.flush(core, Slot(number as u32));
            }
        }
        self.cores[core].effects = effects;
    }

    fn close(&mut self, core: usize, slot: Slot) {
        let link = std::mem::take(&mut self.cores[core].links[slot.index()]);
        if let Some(socket) = link.socket {
            self.moved = true;
            self.wires[socket].server_closed = true;
            self.cores[core].shard.closed(slot);
        }
    }
}
