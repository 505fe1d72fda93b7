//! One core's turn: completions in, effects out.
//!
//! # Order of a turn
//! 1. Completions are collected from the ring.
//! 2. What the lanes hold is handed to the shard *before* what was collected: whoever sent input
//!    because of something another core did finds it done (docs/decisions/flush-barrier.md).
//! 3. Input is handed to the shard, and so is what the disk has done.
//! 4. Frames for other cores are moved to the lanes *before* anything is written to a socket.
//! 5. The turn's effects are carried out.
//! 6. If nothing is left to do, the core spins for a bounded time and then sleeps in the ring.
//!
//! # glommio
//! The turn runs as the main task of a glommio executor, which pins the thread. Sockets and files
//! are the business of the core's own ring, in which it also sleeps: one system call, where parking
//! through glommio makes about five.

mod disk;
mod doors;
pub(crate) mod gate;
mod keys;
pub(crate) mod lanes;
mod links;
pub(crate) mod meter;
mod orders;
pub(crate) mod ring;
mod speech;

use std::collections::VecDeque;
use std::net::{Shutdown, TcpListener};
use std::sync::mpsc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use base::{CoreId, Duration, Moment, Slot, Time, Wall};
use shard::{Config, Effects, Owner, Shard, Stage};
use storage::Store;

use crate::auth::Provers;
use crate::jetstream;
use crate::log::{self, Logger};
use crate::monitor::{Notices, Outlet};
use crate::resolver::{Ask, Resolver};
use disk::Disk;
use doors::Doors;
use gate::upgrade::Terms;
use gate::{Gatehouse, Secrets};
use keys::Keyring;
use lanes::Lanes;
use links::{Link, Links, Written};
use meter::Meter;
pub(crate) use orders::{Command, Report};
use ring::{Event, Kind, Ring};
pub(crate) use speech::Speech;

/// Buffers that the kernel may fill before the broker has looked at them. Together they bound the
/// input of one turn: 32 times 64 KiB, well under a millisecond of work and within the second-level
/// cache.
const RECEIVE_BUFFERS: u16 = 32;
const RECEIVE_BUFFER_BYTES: usize = 64 * 1024;
/// How long a stop waits for peers to take what was written to them.
const STOP_WAIT: Duration = Duration::from_millis(500);

/// What a core is started with.
pub(crate) struct Parts {
    pub(crate) core: CoreId,
    pub(crate) cores: usize,
    pub(crate) seed: u64,
    pub(crate) config: Config,
    pub(crate) spin: Duration,
    /// The ports for clients and for WebSocket, on the core that accepts.
    pub(crate) listeners: [Option<TcpListener>; 2],
    pub(crate) jetstream: Option<jetstream::Parts>,
    pub(crate) secrets: Secrets,
    /// What the port for WebSocket grants.
    pub(crate) terms: Option<Terms>,
    pub(crate) lanes: Lanes,
    pub(crate) provers: Provers,
    pub(crate) resolver: Option<Resolver>,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) reports: mpsc::Sender<Report>,
    pub(crate) notices: Notices,
    pub(crate) logger: Logger,
    pub(crate) started: Instant,
}

/// Runs a core until it is told to stop.
pub(crate) fn run(parts: Parts) {
    let (core, reports) = (parts.core, parts.reports.clone());
    // The boot thread holds the other end for as long as the process lives.
    let report = |report| drop(reports.send(report));
    match Reactor::new(parts) {
        Ok(mut reactor) => {
            report(Report::Ready);
            match reactor.run() {
                Ok(()) => report(Report::Stopped),
                Err(error) => report(Report::Failed(core, error.to_string())),
            }
        }
        Err(error) => report(Report::Failed(core, error.to_string())),
    }
}

struct Reactor {
    desk: Desk,
    ring: Ring,
    events: Vec<Event>,
    effects: Effects,
    /// The disk that this core stores on, if it does.
    disk: Option<Disk>,
    doors: Doors,
    /// Connections whose socket is to be closed.
    leaving: VecDeque<Slot>,
    commands: mpsc::Receiver<Command>,
    provers: Provers,
    resolver: Option<Resolver>,
    reports: mpsc::Sender<Report>,
    outlet: Outlet,
    logger: Logger,
    started: Instant,
    spin: Duration,
    stopping: Option<Time>,
    /// Is there something to do although nothing came in?
    again: bool,
}

/// The shard and its sockets: what input and output work on while the ring lends a buffer.
struct Desk {
    shard: Shard,
    links: Links,
    lanes: Lanes,
    gatehouse: Gatehouse,
    meter: Meter,
    pressed: Vec<Slot>,
    /// Connections whose socket takes no more for now.
    blocked: Vec<Slot>,
    /// Connections whose reading goes on after a pause.
    resumed: VecDeque<Slot>,
}

impl Desk {
    /// Hands input to the shard, through a gate if there is one.
    fn feed(&mut self, slot: Slot, bytes: &mut [u8]) {
        if self.links.get(slot).gate.is_some() {
            return self.feed_gate(slot, bytes);
        }
        let taken = self.hand_in(slot, bytes);
        if taken < bytes.len() {
            self.links.get_mut(slot).backlog.extend_from_slice(&bytes[taken..]);
        }
    }

    /// Hands input to the shard, and writes in between when much has come together. Returns how
    /// many bytes were taken: fewer than there are if reading is paused.
    fn hand_in(&mut self, slot: Slot, bytes: &[u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() && !self.shard.is_paused(slot) {
            let taken = self.shard.receive(slot, &bytes[at..]);
            at += taken;
            let is_much = self.shard.is_pressed() || self.shard.has_much_outgoing();
            if taken > 0 && at == bytes.len() && !is_much {
                break;
            }
            self.flush_pressed();
        }
        at
    }

    /// Hands to the shard what the lanes hold.
    fn accept_lanes(&mut self) {
        self.lanes.refresh();
        while !self.lanes.accept(&mut self.shard) {
            self.flush_pressed();
        }
    }

    /// Moves frames to the lanes, and writes in the middle of the turn where much has come
    /// together.
    fn flush_pressed(&mut self) {
        self.lanes.send(&mut self.shard);
        if !self.shard.is_pressed() {
            return;
        }
        let mut pressed = std::mem::take(&mut self.pressed);
        self.shard.take_pressed(&mut pressed);
        for slot in pressed.drain(..) {
            self.flush(slot);
        }
        self.pressed = pressed;
    }

    /// Writes as much as the socket takes.
    fn flush(&mut self, slot: Slot) {
        let link = self.links.get_mut(slot);
        if !link.is_in_use() || link.closing || link.polling {
            return;
        }
        if link.gate.as_ref().is_some_and(|gate| !gate.is_clear()) {
            if self.flush_gate(slot) {
                self.shut_if_written(slot);
            }
            return;
        }
        loop {
            let bytes = self.shard.unsent(slot);
            if bytes.is_empty() {
                break;
            }
            self.meter.writes += 1;
            match link.write(bytes) {
                Written::Bytes(count) => self.shard.sent(slot, count),
                Written::WouldBlock => {
                    self.shard.blocked(slot);
                    self.blocked.push(slot);
                    return;
                }
                Written::Failed => {
                    self.shard.output_failed(slot);
                    return;
                }
            }
        }
        self.shut_if_written(slot);
    }

    /// Everything is written: shuts for writing, if that is what was waited for.
    fn shut_if_written(&mut self, slot: Slot) {
        if std::mem::take(&mut self.links.get_mut(slot).shut_when_written) {
            self.say_farewell(slot);
            self.links.get(slot).shut(Shutdown::Write);
        }
    }

    /// The end of a connection's input, unless earlier input still waits.
    fn end_input(&mut self, slot: Slot, failed: bool) {
        let link = self.links.get_mut(slot);
        let waits = link.gate.as_ref().is_some_and(|gate| gate.has_input());
        if self.shard.stage(slot) == Stage::Proxy && self.shard.is_open(slot) {
            self.end_proxy_header(slot);
        } else if link.backlog.is_empty() && !waits {
            self.shard.input_ended(slot, failed);
        } else {
            link.ended = Some(failed);
        }
    }
}

/// What the world's clock says.
fn wall() -> Wall {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Wall(since.map_or(0, |since| since.as_nanos() as i64))
}

impl Reactor {
    fn new(parts: Parts) -> std::io::Result<Self> {
        let now = Time(1).after(parts.started.elapsed());
        let mut ring = Ring::new(RECEIVE_BUFFERS, RECEIVE_BUFFER_BYTES)?;
        ring.listen_for_bell(parts.lanes.descriptor());
        let doors = Doors::open(parts.listeners, &mut ring)?;
        let mut shard = Shard::new(parts.core, parts.cores, parts.seed, parts.config, now);
        let mut disk = None;
        if let Some(jetstream) = parts.jetstream {
            let logger = parts.logger.clone();
            let mut fresh =
                Disk::open(&jetstream.options.directory, logger).map_err(std::io::Error::other)?;
            shard.begin_turn(Moment { time: now, wall: wall() });
            let options = &jetstream.options;
            let keyring =
                Keyring::unlock(&options.directory, options.keys.as_ref(), &parts.logger)?;
            let encryption = keyring.encryption.clone();
            let opened = jetstream.open(encryption, |store| fresh.recover(store));
            let jetstream = opened.map_err(std::io::Error::other)?;
            keyring.settle()?;
            shard.start_jetstream(jetstream);
            disk = Some(fresh);
        }
        Ok(Self {
            desk: Desk {
                shard,
                links: Links::default(),
                lanes: parts.lanes,
                gatehouse: Gatehouse::new(parts.secrets, parts.terms),
                meter: Meter::default(),
                pressed: Vec::new(),
                blocked: Vec::new(),
                resumed: VecDeque::new(),
            },
            ring,
            events: Vec::new(),
            effects: Effects::default(),
            disk,
            doors,
            leaving: VecDeque::new(),
            commands: parts.commands,
            provers: parts.provers,
            resolver: parts.resolver,
            reports: parts.reports,
            outlet: parts.notices.outlet(parts.core),
            logger: parts.logger,
            started: parts.started,
            spin: parts.spin,
            stopping: None,
            again: false,
        })
    }

    fn now(&self) -> Time {
        Time(1).after(self.started.elapsed())
    }

    fn run(&mut self) -> std::io::Result<()> {
        loop {
            self.rest()?;
            let now = self.now();
            self.desk.shard.begin_turn(Moment { time: now, wall: wall() });
            self.ring.collect(&mut self.events);
            self.desk.accept_lanes();
            self.take_up_resumed();
            self.take_events();
            self.desk.shake_hands();
            self.doors.admit(&mut self.desk, &mut self.ring, now, &self.logger);
            self.desk.shard.serve();
            self.desk.lanes.send(&mut self.desk.shard);
            self.desk.shard.end_turn(&mut self.effects);
            self.carry_out();
            self.ask_disk(now);
            self.desk.meter.note_turn(now, self.now());
            let is_idle = self.disk.as_ref().is_none_or(Disk::is_idle);
            if let Some(deadline) = self.stopping
                && ((self.desk.links.are_empty() && is_idle) || now >= deadline)
            {
                return Ok(());
            }
        }
    }

    /// Submits, and sleeps if there is nothing to do.
    fn rest(&mut self) -> std::io::Result<()> {
        let again = std::mem::take(&mut self.again)
            || !self.desk.resumed.is_empty()
            || !self.leaving.is_empty()
            || self.doors.are_knocked()
            || self.desk.gatehouse.is_busy();
        if again {
            return self.ring.enter(None);
        }
        if self.desk.lanes.await_room(&self.desk.shard) {
            return self.ring.enter(None);
        }
        if !self.spin.is_zero() && self.spin_for_work()? {
            return Ok(());
        }
        self.desk.lanes.own.bell.lie_down();
        if self.desk.lanes.hold_something() {
            self.desk.lanes.own.bell.get_up();
            return self.ring.enter(None);
        }
        let due = self.desk.shard.next_due().min(self.doors.next_due());
        let due = due.min(self.outlet.next_due(self.now()));
        let due = self.stopping.map_or(due, |deadline| due.min(deadline));
        let due = self.store().map_or(due, |store| due.min(store.next_due()));
        let wait = if due == Time::NEVER { Duration::MAX } else { due.since(self.now()) };
        let slept = self.ring.enter(Some(wait));
        self.desk.lanes.own.bell.get_up();
        slept
    }

    /// Looks for work without sleeping. True if there is some.
    fn spin_for_work(&mut self) -> std::io::Result<bool> {
        let until = Instant::now() + self.spin;
        loop {
            self.ring.enter(None)?;
            if self.ring.has_completions() || self.desk.lanes.hold_something() {
                return Ok(true);
            }
            if Instant::now() >= until {
                return Ok(false);
            }
            std::hint::spin_loop();
        }
    }

    fn store(&mut self) -> Option<&mut Store> {
        self.desk.shard.jetstream().map(::jetstream::JetStream::store)
    }

    /// Hands to the disk what the store asks of it.
    fn ask_disk(&mut self, now: Time) {
        if let (Some(disk), Some(jetstream)) = (&mut self.disk, self.desk.shard.jetstream()) {
            disk.ask(jetstream.store(), now, &mut self.ring);
        }
    }

    fn on_disk(&mut self, event: &Event) {
        if let (Some(disk), Some(jetstream)) = (&mut self.disk, self.desk.shard.jetstream()) {
            disk.take(jetstream.store(), event, &mut self.ring);
        }
    }

    fn take_events(&mut self) {
        let mut events = std::mem::take(&mut self.events);
        for event in events.drain(..) {
            match event.kind {
                Kind::Accept => self.doors.note(&event),
                Kind::Receive => self.on_receive(&event),
                Kind::Writable => self.on_writable(event.slot),
                Kind::Bell => self.on_bell(event.more),
                Kind::File | Kind::FileSync => self.on_disk(&event),
                Kind::Cancel => {}
            }
        }
        self.events = events;
    }

    fn on_receive(&mut self, event: &Event) {
        let slot = event.slot;
        if !event.more {
            self.desk.links.get_mut(slot).receiving = false;
        }
        if let Some(id) = event.buffer {
            let count = event.result.max(0) as usize;
            if !self.desk.links.get(slot).closing {
                self.desk.feed(slot, self.ring.buffer(id, count));
            }
            self.ring.recycle(id);
        }
        if self.desk.links.get(slot).closing {
            self.finish_close(slot);
            return;
        }
        match event.result {
            0 => self.desk.end_input(slot, false),
            result if result > 0 || result == -libc::ENOBUFS || result == -libc::ECANCELED => {
                if !event.more {
                    self.receive(slot);
                }
            }
            _ => self.desk.end_input(slot, true),
        }
    }

    /// Goes on reading, unless that is paused.
    fn receive(&mut self, slot: Slot) {
        if self.desk.shard.is_paused(slot) {
            return;
        }
        let link = self.desk.links.get_mut(slot);
        if link.receiving || link.closing || link.ended.is_some() {
            return;
        }
        link.receiving = true;
        self.ring.receive(link.socket(), slot);
        self.again = true;
    }

    fn on_writable(&mut self, slot: Slot) {
        let link = self.desk.links.get_mut(slot);
        link.polling = false;
        if link.closing {
            self.finish_close(slot);
        } else {
            // As everywhere, frames go before anything is written that may follow from the same
            // input.
            self.desk.lanes.send(&mut self.desk.shard);
            self.desk.flush(slot);
        }
    }

    fn on_bell(&mut self, armed: bool) {
        if !armed {
            self.ring.listen_for_bell(self.desk.lanes.descriptor());
        }
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Stop => {
                    self.doors.close(&mut self.ring);
                    self.desk.shard.stop();
                    self.stopping = Some(self.now().after(STOP_WAIT));
                    self.again = true;
                }
                Command::LameDuck => self.desk.shard.enter_lame_duck(),
                Command::Reconfigure(config) => self.desk.shard.reconfigure(*config),
                Command::Amend(amendment) => self.desk.shard.amend(&amendment),
                Command::Answer(keys) => self.desk.shard.answer(&keys),
                Command::Proven(answered) => answered.hand_in(&mut self.desk.shard),
                Command::Secure(secrets) => self.desk.gatehouse.secrets = secrets,
                Command::SetLevels(levels) => self.logger.set_levels(levels),
                Command::Listen { account, pattern, queue, service } => {
                    let shard = &mut self.desk.shard;
                    let listening = shard.listen(account, &pattern, &queue, Owner::System, service);
                    listening.expect("the server listens to subjects");
                }
                Command::Ask(ticket, question) => {
                    self.desk.shard.ask(ticket, question);
                    self.again = true;
                }
                Command::Measure(told) => {
                    self.desk.meter.enters = self.ring.enters();
                    self.desk.meter.journal = self.disk.as_ref().map(|it| it.commits.clone());
                    // Whoever asked may have lost interest.
                    let _ = told.send(self.desk.meter.clone());
                }
                Command::Speak(speech) => speech.publish(&mut self.desk.shard),
            }
        }
    }

    /// Hands in what waited while connections were paused.
    fn take_up_resumed(&mut self) {
        for _ in 0..self.desk.resumed.len() {
            let Some(slot) = self.desk.resumed.pop_front() else { return };
            let link = self.desk.links.get_mut(slot);
            if !link.is_in_use() || link.closing {
                continue;
            }
            let mut backlog = std::mem::take(&mut link.backlog);
            let ended = link.ended.take();
            self.desk.feed_opened(slot);
            self.desk.feed(slot, &mut backlog);
            if let Some(failed) = ended {
                self.desk.end_input(slot, failed);
            }
            self.receive(slot);
        }
    }

    fn carry_out(&mut self) {
        let mut effects = std::mem::take(&mut self.effects);
        for line in effects.log.drain(..) {
            self.logger.line(level_of(line.level), line.text);
        }
        for (slot, socket) in effects.opened.drain(..) {
            let gate = Gatehouse::gate(&self.desk.shard, slot);
            self.desk.links.insert(slot, Link::new(ring::own(socket.0), gate));
            self.receive(slot);
        }
        for socket in effects.dropped.drain(..) {
            drop(ring::own(socket.0));
        }
        for slot in effects.flush.drain(..) {
            self.desk.flush(slot);
        }
        self.desk.flush_replies();
        for slot in effects.flow.drain(..) {
            self.change_flow(slot);
        }
        for slot in effects.shut.drain(..) {
            self.shut(slot);
        }
        for slot in effects.close.drain(..) {
            self.close(slot);
        }
        self.see_off();
        for slot in std::mem::take(&mut self.desk.blocked) {
            let link = self.desk.links.get_mut(slot);
            if link.is_in_use() && !link.polling && !link.closing {
                link.polling = true;
                self.ring.poll_writable(link.socket(), slot);
            }
        }
        self.outlet.pass(&mut effects);
        self.provers.prove(effects.proofs.drain(..));
        self.provers.dispatch(effects.dispatches.drain(..));
        self.seek(&mut effects.sought);
        if effects.reconfigured > 0 {
            drop(self.reports.send(Report::Reconfigured(effects.reconfigured)));
        }
        if effects.stop_accepting {
            self.doors.close(&mut self.ring);
        }
        if effects.drained {
            drop(self.reports.send(Report::Drained));
        }
        self.again |= effects.more || self.desk.shard.has_unsettled();
        self.effects = effects;
    }

    /// Has accounts looked for, if any are wanted.
    fn seek(&self, sought: &mut Vec<String>) {
        if let Some(resolver) = self.resolver.as_ref().filter(|_| !sought.is_empty()) {
            resolver.ask(Ask::Find(std::mem::take(sought)));
        }
    }

    fn change_flow(&mut self, slot: Slot) {
        let link = self.desk.links.get(slot);
        if !link.is_in_use() || link.closing {
            return;
        }
        if !self.desk.shard.is_paused(slot) {
            self.desk.resumed.push_back(slot);
        } else if link.receiving {
            self.ring.cancel(Kind::Receive, slot);
        }
    }

    /// Writes what can be written, and reads on to see the peer go, although reading was paused.
    fn shut(&mut self, slot: Slot) {
        let link = self.desk.links.get_mut(slot);
        if !link.is_in_use() || link.closing {
            return;
        }
        link.shut_when_written = true;
        link.backlog = Vec::new();
        if let Some(gate) = &mut link.gate {
            gate.drop_input();
        }
        let ended = link.ended.take();
        self.desk.flush(slot);
        match ended {
            Some(failed) => self.desk.shard.input_ended(slot, failed),
            None => self.receive(slot),
        }
    }

    fn close(&mut self, slot: Slot) {
        let link = self.desk.links.get_mut(slot);
        if !link.is_in_use() || link.closing {
            return;
        }
        link.closing = true;
        link.leaving = true;
        self.leaving.push_back(slot);
    }

    fn finish_close(&mut self, slot: Slot) {
        if self.desk.links.get(slot).is_quiet() {
            self.desk.links.remove(slot);
            self.desk.shard.closed(slot);
            self.again = true;
        }
    }
}

const fn level_of(level: shard::Level) -> log::Level {
    match level {
        shard::Level::Info => log::Level::Info,
        shard::Level::Warning => log::Level::Warn,
        shard::Level::Error => log::Level::Error,
        shard::Level::Debug => log::Level::Debug,
        shard::Level::Trace => log::Level::Trace,
    }
}
