//! The shard and its entry points.

use std::collections::HashMap;
use std::rc::Rc;

use accounts::{Account, Rules};
use base::{AccountId, ConnectionId, CoreId, Moment, Random, Slab, Slot, Time, Wall};
use jetstream::JetStream;
use session::{Alarm, Config, Connection, Door, InfoLine, Peer, Reason, Stage, Statistics};
use subjects::Change;

use crate::amend::Seekers;
use crate::census::Past;
use crate::effects::{Effects, Level, LogLine, Socket};
use crate::entrance::Throttle;
use crate::frame;
use crate::inspect::Inquiries;
use crate::itinerary::Numbers;
use crate::lame_duck::LameDuck;
use crate::outbox::Outboxes;
use crate::placement::Placement;
use crate::publish::Scratch;
use crate::responses::{Prefix, Responses};
use crate::services::SERVICES;
use crate::shadows::Shadows;
use crate::spaces::Spaces;
use crate::subscribe::Reaping;
use crate::timers::Timers;
use crate::train;
use crate::wires::Wires;

/// Reading is paused because frames for another core wait.
pub(crate) const PAUSED_BY_LANES: u8 = 1;
/// Reading is paused because a subscriber is behind.
pub(crate) const PAUSED_BY_STALL: u8 = 2;
/// Reading is paused at a PING until the lanes have taken what came before it.
pub(crate) const PAUSED_BY_BARRIER: u8 = 4;
/// Reading is paused until it is known whether there is room in the account.
pub(crate) const PAUSED_BY_SEAT: u8 = 16;

/// Reading is paused until it is proven who this is.
pub(crate) const PAUSED_BY_PROOF: u8 = 8;

/// What one core owns.
#[derive(Debug)]
pub struct Shard {
    pub(crate) core: CoreId,
    pub(crate) config: Config,
    pub(crate) info: InfoLine,
    pub(crate) now: Time,
    /// The time that messages are stamped with.
    pub(crate) wall: Wall,
    pub(crate) random: Random,
    pub(crate) spaces: Spaces,
    pub(crate) shadows: Shadows,
    /// Requests across accounts that wait for a response.
    pub(crate) responses: Responses,
    /// What their reply subjects begin with, by account.
    pub(crate) response_prefixes: Vec<Option<Prefix>>,
    /// Connections of accounts that have a limit of them, on the core that counts.
    pub(crate) seats: Vec<u32>,
    pub(crate) wires: Wires,
    pub(crate) outboxes: Outboxes,
    pub(crate) timers: Timers,
    pub(crate) effects: Effects,
    pub(crate) placement: Placement,
    pub(crate) reaping: Vec<Reaping>,
    /// Connections whose reading is paused until the lanes have room.
    pub(crate) lane_paused: Vec<(Slot, ConnectionId)>,
    /// Connections whose PING waits until the lanes have taken what came before it.
    pub(crate) at_barrier: Vec<(Slot, ConnectionId)>,
    /// The rules of configured users who are here, by their names.
    pub(crate) rules: HashMap<String, Rc<Rules>>,
    /// Counts what was to be proven.
    pub(crate) claims: u64,
    /// Connections that wait for an account to be found, by its key.
    pub(crate) seekers: Seekers,
    /// May connections still be asked again, after a reload, who they are?
    pub(crate) rechecking: bool,
    /// Reloads that are not over until they all have been.
    pub(crate) reconfigurations: u32,
    /// How far the lanes must have come as well: what was published under old rights is on its way
    /// ahead of whoever hears that the reload is over.
    pub(crate) reconfigured_at: Option<Box<[u64]>>,
    pub(crate) jetstream: Option<Box<JetStream>>,
    /// The accounts of services by their owner and number.
    pub(crate) service_accounts: [Vec<AccountId>; 3],
    pub(crate) lame_duck: Option<LameDuck>,
    /// Counts TLS handshakes, on the core that accepts.
    pub(crate) throttle: Throttle,
    pub(crate) scratch: Scratch,
    pub(crate) trace_numbers: Numbers,
    pub(crate) lists: train::Lists,
    pub(crate) inquiries: Inquiries,
    /// Counts of connections that are gone.
    pub(crate) past: Past,
    pub(crate) slow_consumers: u64,
    pub(crate) stale_connections: u64,
}

impl Shard {
    /// The shard of `core` in a server of `cores`. `seed` is the server's secret seed, the same for
    /// all its shards; what is random on one core alone is drawn from it and the core's number.
    pub fn new(core: CoreId, cores: usize, seed: u64, config: Config, now: Time) -> Self {
        assert!(core.index() < cores && cores <= base::limits::CORES_MAX);
        let mut shard = Self {
            core,
            info: InfoLine::new(&config),
            now,
            wall: Wall::default(),
            random: Random::new(seed ^ u64::from(core.0).wrapping_mul(0xd134_2543_de82_ef95)),
            spaces: Spaces::new(seed),
            shadows: Shadows::new(seed),
            responses: Responses::new(seed),
            response_prefixes: Vec::new(),
            seats: Vec::new(),
            wires: Wires::default(),
            outboxes: Outboxes::new(core, cores),
            timers: Timers::default(),
            effects: Effects::default(),
            placement: Placement::new(cores),
            reaping: Vec::new(),
            lane_paused: Vec::new(),
            at_barrier: Vec::new(),
            rules: HashMap::new(),
            claims: 0,
            seekers: Seekers::default(),
            rechecking: false,
            reconfigurations: 0,
            reconfigured_at: None,
            jetstream: None,
            service_accounts: [const { Vec::new() }; 3],
            lame_duck: None,
            throttle: Throttle::default(),
            scratch: Scratch::default(),
            trace_numbers: Numbers::new(core),
            lists: train::Lists::default(),
            inquiries: Inquiries::default(),
            past: Past::default(),
            slow_consumers: 0,
            stale_connections: 0,
            config,
        };
        shard.wires.configure(&shard.config);
        shard.wires.open_services();
        shard.bind_imports();
        shard
    }

    /// Which core's it is.
    pub const fn core(&self) -> CoreId {
        self.core
    }

    /// A turn begins at `now`.
    pub const fn begin_turn(&mut self, now: Moment) {
        self.now = now.time;
        self.wires.now = now.time;
        self.wall = now.wall;
    }

    /// The next moment at which something is due without any input.
    pub fn next_due(&self) -> Time {
        let lame_duck = self.lame_duck.as_ref().map_or(Time::NEVER, LameDuck::next_due);
        let throttle = self.throttle.next_due();
        let services = self.jetstream_due().min(self.responses.next_due());
        self.timers.next().min(lame_duck).min(services).min(throttle)
    }

    /// Ends a turn: does what is due, writes the PONGs that may go and lists what is to be done.
    /// The caller has moved the outboxes before.
    pub fn end_turn(&mut self, effects: &mut Effects) {
        self.tick();
        self.settle();
        self.reap();
        self.resume_barriers();
        self.resume_lanes();
        self.settle();
        self.effects.flush.append(&mut self.wires.dirty);
        for slot in &self.effects.flush {
            let connection = self.wires.connections.get_mut(slot.0);
            connection.outbound.listed = false;
            connection.outbound.urgent = false;
            connection.note_output(self.now);
        }
        self.wires.pressed = false;
        self.answer_a_page();
        self.note_rechecked();
        let asked = !self.inquiries.is_empty();
        self.effects.more = !self.reaping.is_empty() || self.has_services_input() || asked;
        effects.clear();
        std::mem::swap(effects, &mut self.effects);
    }

    fn tick(&mut self) {
        while let Some(slot) = self.timers.pop_due(self.now) {
            self.wires.get_mut(slot).liveness.armed = Time::NEVER;
            self.on_due(slot);
            self.arm(slot);
        }
        self.expire_responses();
        self.tick_lame_duck();
        self.tick_throttle();
    }

    fn on_due(&mut self, slot: Slot) {
        let now = self.now;
        let write_deadline = self.config.write_deadline;
        let connection = self.wires.get_mut(slot);
        let liveness = &mut connection.liveness;
        if liveness.linger_due <= now {
            liveness.linger_due = Time::NEVER;
            self.ask_close(slot);
        } else if liveness.auth_due <= now && connection.stage != Stage::Open {
            liveness.auth_due = Time::NEVER;
            self.on_entrance_due(slot);
        } else if liveness.auth_due <= now && connection.pending.is_some() {
            liveness.auth_due = Time::NEVER;
            self.give_up_asking(slot);
        } else if liveness.auth_due <= now {
            liveness.auth_due = Time::NEVER;
            self.wires.write_error(slot, "Authentication Timeout");
            self.log_for(Level::Debug, slot, "Authentication Timeout");
            self.wires.end(slot, Reason::AuthenticationTimeout);
        } else if liveness.expires_due <= now {
            self.expire(slot);
        } else if connection.outbound.blocked_since.after(write_deadline) <= now {
            let pending = connection.outbound.pending();
            let text = format!(
                "Slow Consumer Detected: WriteDeadline of {write_deadline:?} exceeded with 1 \
                 chunks of {pending} total bytes."
            );
            self.log_for(Level::Info, slot, &text);
            self.wires.end(slot, Reason::SlowConsumerWriteDeadline);
        } else if liveness.stall_due <= now {
            liveness.stall_due = Time::NEVER;
            self.resume(slot, PAUSED_BY_STALL);
        } else if liveness.ping_due <= now {
            self.on_ping_due(slot);
        }
    }

    fn on_ping_due(&mut self, slot: Slot) {
        let connection = self.wires.connections.get_mut(slot.0);
        let websocket = self.config.websocket.as_ref().filter(|_| connection.is_websocket());
        let interval = websocket.and_then(|door| door.ping_interval);
        let interval = interval.unwrap_or(self.config.ping_interval);
        let alarm = connection.liveness.on_ping_due(interval, self.config.ping_max, self.now);
        self.debug_for(slot, "Client Ping Timer");
        match alarm {
            Alarm::Quiet => {}
            Alarm::Ping => {
                self.trace_out(slot, "PING", b"");
                self.wires.write(slot, b"PING\r\n");
            }
            Alarm::Stale => {
                self.debug_for(slot, "Stale Client Connection - Closing");
                self.wires.write_error(slot, "Stale Connection");
                self.wires.end(slot, Reason::StaleConnection);
            }
        }
    }

    /// Makes sure that the connection is looked at when it is next due.
    pub(crate) fn arm(&mut self, slot: Slot) {
        let connection = self.wires.connections.get_mut(slot.0);
        let due = if connection.is_open() {
            connection.next_due(&self.config)
        } else {
            connection.liveness.linger_due
        };
        // What is due already comes up in the next turn, so that a turn ends whatever is due.
        let due = due.max(Time(self.now.0 + 1));
        if due < connection.liveness.armed {
            let before = std::mem::replace(&mut connection.liveness.armed, due);
            self.timers.set(slot, before, due);
        }
    }

    /// Has a connection come to its end since the last turn ended? Then another turn is needed,
    /// even if there is no input.
    pub fn has_unsettled(&self) -> bool {
        !self.wires.ended.is_empty() || !self.effects.close.is_empty()
    }

    /// Deals with connections that have come to their end since this was last asked.
    pub(crate) fn settle(&mut self) {
        while let Some(slot) = self.wires.ended.pop() {
            self.end_connection(slot);
        }
    }

    fn end_connection(&mut self, slot: Slot) {
        let closing = self.wires.get(slot).closing;
        let reason = closing.expect("only connections that end are settled");
        self.note_end(slot, reason);
        let connection = self.wires.connections.get_mut(slot.0);
        connection.carry = Vec::new();
        let ping_sent = connection.liveness.ping_sent;
        let armed = connection.liveness.armed;
        connection.liveness =
            session::Liveness { ping_sent, armed, ..session::Liveness::default() };
        if reason.flushes() && !connection.close_asked {
            let linger = self.now.after(base::limits::LINGER_MAX);
            connection.liveness.linger_due = linger;
            self.effects.shut.push(slot);
            self.arm(slot);
        } else {
            connection.outbound.clear(&mut self.wires.pool);
            self.ask_close(slot);
        }
        if reason.is_slow_consumer() {
            self.slow_consumers += 1;
        }
        if reason == Reason::SlowConsumerPendingBytes {
            let max_pending = self.config.max_pending;
            let text = format!("Slow Consumer Detected: MaxPending of {max_pending} Exceeded");
            self.log_for(Level::Info, slot, &text);
        }
        self.stale_connections += u64::from(reason == Reason::StaleConnection);
        let text = format!("Client connection closed: {}", reason.text());
        self.debug_for(slot, &text);
        self.leave_account(slot);
        self.start_reaping(slot);
    }

    /// A connection that was opened with [`Effects::opened`] is closed and no more will be heard of
    /// it: its slot is free for another once its subscriptions are gone.
    pub fn closed(&mut self, slot: Slot) {
        self.wires.get_mut(slot).close_asked = true;
        self.wires.end(slot, Reason::ClientClosed);
        self.settle();
        self.note_closed(slot);
    }

    /// Lets go of a connection that is closed and has no subscription left.
    pub(crate) fn release(&mut self, slot: Slot) {
        self.count_released(slot);
        let mut connection: Connection = self.wires.connections.remove(slot.0);
        connection.outbound.clear(&mut self.wires.pool);
        self.timers.forget(slot, connection.liveness.armed);
        self.past.add(&connection);
        self.note_gone(connection.refused);
    }

    /// The peer closed its side, or the socket failed on reading.
    pub fn input_ended(&mut self, slot: Slot, failed: bool) {
        let connection = self.wires.get_mut(slot);
        if connection.is_open() && connection.stage == Stage::Handshake {
            let problem = if failed { "connection reset by peer" } else { "EOF" };
            self.insecure(slot, problem, false);
        } else if connection.is_open() {
            let reason = if failed { Reason::ReadError } else { Reason::ClientClosed };
            self.wires.end(slot, reason);
        } else {
            // It was being waited for so that the peer could read its error.
            connection.liveness.linger_due = Time::NEVER;
            self.ask_close(slot);
        }
    }

    /// The socket failed on writing.
    pub fn output_failed(&mut self, slot: Slot) {
        let connection = self.wires.connections.get_mut(slot.0);
        connection.outbound.clear(&mut self.wires.pool);
        if connection.is_open() {
            self.wires.end(slot, Reason::WriteError);
        } else {
            self.ask_close(slot);
        }
    }

    /// Asks for the socket to be closed, unless that was asked before: what is asked while the
    /// effects of a turn are carried out comes up in the next, when the slot may be another's.
    fn ask_close(&mut self, slot: Slot) {
        let asked = std::mem::replace(&mut self.wires.get_mut(slot).close_asked, true);
        if !asked {
            self.effects.close.push(slot);
        }
    }

    /// Bytes that wait to be written to a connection.
    pub fn unsent(&self, slot: Slot) -> &[u8] {
        self.wires.get(slot).outbound.unsent()
    }

    /// So many of them were written.
    pub fn sent(&mut self, slot: Slot, count: usize) {
        let connection = self.wires.connections.get_mut(slot.0);
        connection.outbound.advance(count, &mut self.wires.pool);
    }

    /// The socket takes no more for now.
    pub fn blocked(&mut self, slot: Slot) {
        let now = self.now;
        self.wires.get_mut(slot).outbound.block(now);
        self.arm(slot);
    }

    /// Is reading from this connection paused?
    pub fn is_paused(&self, slot: Slot) -> bool {
        let connection = self.wires.get(slot);
        connection.pauses != 0 && connection.is_open()
    }

    /// Is the connection neither ended nor about to?
    pub fn is_open(&self, slot: Slot) -> bool {
        self.wires.get(slot).is_open()
    }

    pub(crate) fn pause(&mut self, slot: Slot, why: u8) {
        let connection = self.wires.get_mut(slot);
        if connection.pauses == 0 {
            self.effects.flow.push(slot);
        }
        self.wires.get_mut(slot).pauses |= why;
    }

    pub(crate) fn resume(&mut self, slot: Slot, why: u8) {
        let connection = self.wires.get_mut(slot);
        if connection.pauses == 0 {
            return;
        }
        connection.pauses &= !why;
        if connection.pauses == 0 {
            self.effects.flow.push(slot);
        }
    }

    fn resume_lanes(&mut self) {
        if self.lane_paused.is_empty() || !self.outboxes.are_low() {
            return;
        }
        for (slot, id) in std::mem::take(&mut self.lane_paused) {
            if self.wires.get(slot).id == id {
                self.resume(slot, PAUSED_BY_LANES);
            }
        }
    }

    /// Must bytes be written before any more input is handed in? The caller then flushes what
    /// [`Shard::take_pressed`] names.
    pub const fn is_pressed(&self) -> bool {
        self.wires.pressed
    }

    /// Connections with much to write, for a flush in the middle of a turn. One that was opened in
    /// this turn is none of them: its socket is not known to the caller yet.
    pub fn take_pressed(&mut self, into: &mut Vec<Slot>) {
        self.wires.pressed = false;
        if self.wires.get(SERVICES).outbound.pending() > self.wires.pressure_at {
            self.serve();
        }
        let opened = &self.effects.opened;
        let connections: &mut Slab<Connection> = &mut self.wires.connections;
        let pressure = self.wires.pressure_at;
        self.wires.dirty.retain(|slot| {
            let outbound = &mut connections.get_mut(slot.0).outbound;
            let much = outbound.pending() > pressure || outbound.urgent;
            if !much || opened.iter().any(|(fresh, _)| fresh == slot) {
                return true;
            }
            outbound.listed = false;
            outbound.urgent = false;
            into.push(*slot);
            false
        });
    }

    fn resume_barriers(&mut self) {
        if self.at_barrier.is_empty() {
            return;
        }
        for (slot, id) in std::mem::take(&mut self.at_barrier) {
            let connection = self.wires.get(slot);
            if connection.id != id {
                continue;
            }
            let positions = connection.barrier.as_deref();
            if positions.is_none_or(|positions| self.outboxes.have_moved(positions)) {
                self.resume(slot, PAUSED_BY_BARRIER);
            } else {
                self.at_barrier.push((slot, id));
            }
        }
    }

    /// Tells the other cores what they must know.
    pub(crate) fn announce(&mut self, account: AccountId, change: &Change) {
        match change {
            Change::None => {}
            Change::Literal { hash, wanted } => {
                self.outboxes.append_all(|out| frame::put_literal(out, account, *hash, *wanted));
            }
            Change::Pattern { pattern, queue, weight } => {
                self.outboxes
                    .append_all(|out| frame::put_pattern(out, account, pattern, queue, *weight));
            }
        }
    }

    /// Counts over all connections of this core, those that are gone included.
    pub fn statistics(&self) -> Statistics {
        let mut sum = self.past.statistics;
        for (_, connection) in self.wires.connections.places().skip(1) {
            sum.add(&connection.statistics);
        }
        sum
    }

    /// Connections, their subscriptions, and interest of other cores (literals, patterns) held
    /// here.
    pub fn census(&self) -> (usize, usize, (usize, usize)) {
        let connections = self.wires.connections.len() - 1;
        let services = self.wires.get(SERVICES).subscriptions.len();
        let prefixes = self.response_prefixes.iter().flatten().count();
        let special = self.shadows.count() + prefixes;
        let subscriptions = self.spaces.subscriptions.len() - services - special;
        (connections, subscriptions, self.spaces.remote_interest())
    }

    /// Deadlines that are kept: one for each connection at most.
    pub fn deadlines(&self) -> usize {
        self.timers.len()
    }

    /// Slow consumers and stale connections so far.
    pub const fn troubles(&self) -> (u64, u64) {
        (self.slow_consumers, self.stale_connections)
    }

    /// The configuration in force.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Puts another configuration in force. Connections learn of a new `max_payload`; those that
    /// would not be let in any more are cut off, and so are the newest above a lower limit.
    /// [`Effects::reconfigured`] says when all of that is done.
    pub fn reconfigure(&mut self, config: Config) {
        self.reconfigurations += 1;
        self.rules.clear();
        let old = std::mem::replace(&mut self.config, config);
        self.info = InfoLine::new(&self.config);
        self.wires.configure(&self.config);
        let nobody = Account::default();
        let all = (0..self.config.accounts.accounts.len() as u32).map(AccountId);
        let before = |id: AccountId| old.accounts.accounts.get(id.index()).unwrap_or(&nobody);
        let before: Vec<(AccountId, &Account)> = all.map(|id| (id, before(id))).collect();
        self.change_accounts(&before);
        self.check_pins_again(&old);
        for slot in self.open_slots() {
            let limit = self.wires.get(slot).max_payload;
            self.join(slot, self.wires.get(slot).account);
            if old.auth != self.config.auth {
                self.check_again(slot);
            }
            if limit != self.wires.get(slot).max_payload {
                self.send_info(slot);
            }
            self.arm(slot);
        }
        self.settle();
        self.evict_excess();
        self.reconfigured_at = Some(self.outboxes.positions());
    }

    /// Ends every connection because the server stops.
    pub fn stop(&mut self) {
        self.flush_jetstream();
        for slot in self.open_slots() {
            self.wires.end(slot, Reason::ServerShutdown);
        }
        self.settle();
    }

    pub(crate) fn open_slots(&self) -> Vec<Slot> {
        let places = self.wires.connections.places();
        places
            .filter(|(_, connection)| connection.id.0 != 0 && connection.is_open())
            .map(|(slot, _)| Slot(slot))
            .collect()
    }

    /// Opens a connection on this core and greets it, or waits for what has to come before.
    pub(crate) fn open(
        &mut self,
        socket: Socket,
        id: ConnectionId,
        door: Door,
        peer: Peer,
    ) -> Slot {
        assert_ne!(id.0, 0, "connections are counted from one");
        let mut connection = Connection::new(id, peer);
        let interval = self.config.ping_interval;
        connection.liveness.set_first_ping(interval, self.now, &mut self.random);
        connection.opened = self.now;
        connection.liveness.last_input = self.now;
        let slot = Slot(self.wires.connections.insert(connection));
        self.join(slot, AccountId::GLOBAL);
        self.effects.opened.push((slot, socket));
        self.note_late(slot);
        self.enter(slot, door);
        slot
    }

    pub(crate) fn log(&mut self, level: Level, text: String) {
        self.effects.log.push(LogLine { level, text });
    }
}
