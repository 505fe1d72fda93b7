//! What stands between a socket and the shard: TLS, and what may come before the protocol.
//!
//! The shard decides how far a connection has come (`shards/shard/src/entrance.rs`); here its bytes
//! are read and made. A connection that came in plainly has no gate, and pays one look for that.
//!
//! Handshakes are the one costly thing that a stranger may ask for, so they wait in a queue of
//! their own: each turn spends a bounded time on them, between the traffic of all others
//! (docs/decisions/tls.md).

mod frames;
mod guard;
mod sealed;
pub(crate) mod upgrade;

use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::Slot;
use rustls::server::ServerConfig;
use shard::{Door, Peer, Reason, Shard, Stage};
use wire::proxy::{self, Header};
use wire::upgrade::Parsed;
use wire::websocket::{self, Part};

use super::Desk;
use super::links::{self, Written};
use frames::{Misfit, Press, Reader, Writer};
use guard::{Breach, Guard, Opened};
pub(crate) use sealed::Sealed;

/// Time that one turn spends on handshakes, if there are more than one: with it live traffic waits
/// for half a millisecond at most, or for one signature of RSA.
const HANDSHAKE_TIME: Duration = Duration::from_micros(300);
/// Bytes of a message that a stranger may compress into, ahead of saying who they are.
const STRANGER_BYTES_MAX: usize = 64 * 1024;
/// Compressed bytes for each byte that a message may have, as in the reference, and at most.
const COMPRESSED_FACTOR: usize = 8;
const COMPRESSED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Plaintext that is sealed at a time: eight records, so that a flush in the middle of a turn is
/// one write.
const SEAL_BYTES: usize = 128 * 1024;

/// What handshakes are made by; a reload hands in others.
#[derive(Clone, Debug, Default)]
pub(crate) struct Secrets {
    /// The port for clients.
    pub(crate) client: Option<Arc<ServerConfig>>,
    /// The port for WebSocket.
    pub(crate) websocket: Option<Arc<ServerConfig>>,
}

impl Secrets {
    fn of(&self, door: Door) -> Option<&Arc<ServerConfig>> {
        match door {
            Door::Client => self.client.as_ref(),
            Door::WebSocket => self.websocket.as_ref(),
        }
    }
}

/// What stands between one socket and the shard.
#[derive(Default)]
pub(crate) struct Gate {
    guard: Option<Box<Guard>>,
    /// The two halves of WebSocket.
    reader: Option<Box<Reader>>,
    writer: Option<Box<Writer>>,
    /// Of a PROXY header or an upgrade what has come; of WebSocket what came while reading was
    /// paused.
    raw: Vec<u8>,
    /// Bytes of the protocol that came while reading was paused; they go ahead of `raw`.
    opened: Vec<u8>,
    /// What the socket has yet to take.
    sealed: Sealed,
    /// Bytes of the connection's output that `sealed` stands for.
    covers: usize,
    /// Does it wait for its turn to shake hands?
    queued: bool,
    /// Was the peer told that nothing more comes?
    said_farewell: bool,
}

impl Gate {
    /// Is output written as it is?
    pub(super) const fn is_clear(&self) -> bool {
        self.guard.is_none() && self.writer.is_none() && self.sealed.is_empty()
    }

    /// Does input wait for reading to go on?
    pub(super) fn has_input(&self) -> bool {
        !self.opened.is_empty() || (self.reader.is_some() && !self.raw.is_empty())
    }

    pub(super) fn drop_input(&mut self) {
        self.opened = Vec::new();
        self.raw = Vec::new();
    }

    fn may_seal(&self) -> bool {
        self.guard.as_ref().is_none_or(|guard| !guard.is_handshaking())
    }

    fn has_control(&self) -> bool {
        self.writer.as_ref().is_some_and(|writer| writer.has_control())
    }

    /// Seals the start of `bytes`, and says how many.
    fn seal(&mut self, bytes: &[u8], tools: &mut Tools) -> Result<usize, Breach> {
        let bytes = &bytes[..bytes.len().min(SEAL_BYTES)];
        match (&mut self.writer, &mut self.guard) {
            (None, None) => self.sealed.extend(bytes),
            (None, Some(guard)) => guard.seal(bytes, &mut self.sealed)?,
            (Some(writer), None) => writer.frame(bytes, &mut tools.press, &mut self.sealed),
            (Some(writer), Some(guard)) => {
                writer.frame(bytes, &mut tools.press, &mut tools.framed);
                let outcome = guard.seal(tools.framed.unsent(), &mut self.sealed);
                tools.framed.advance(tools.framed.unsent().len());
                outcome?;
            }
        }
        Ok(bytes.len())
    }

    /// Says something that is neither the shard's nor framed.
    fn say(&mut self, text: &[u8]) {
        match &mut self.guard {
            // It fails only if the connection is lost.
            Some(guard) => drop(guard.seal(text, &mut self.sealed)),
            None => self.sealed.extend(text),
        }
    }

    /// Says the last words.
    fn say_farewell(&mut self, reason: Reason) {
        let mut last = Sealed::default();
        if let Some(writer) = &mut self.writer {
            writer.last(reason, &mut last);
            self.say(last.unsent());
        }
        if let Some(guard) = &mut self.guard {
            guard.farewell(&mut self.sealed);
        }
    }
}

/// What sealing needs beside the connection.
#[derive(Default)]
struct Tools {
    press: Press,
    /// Lent to the one that seals frames.
    framed: Sealed,
}

/// What the connections of a core share to open and seal with.
#[derive(Default)]
pub(crate) struct Gatehouse {
    pub(crate) secrets: Secrets,
    /// Connections that wait for their turn to shake hands.
    handshakes: std::collections::VecDeque<Slot>,
    /// Lent to the one that seals.
    spare: Sealed,
    /// Lent to the one that opens.
    plain: Vec<u8>,
    tools: Tools,
    /// What the port for WebSocket grants, if there is one.
    terms: Option<upgrade::Terms>,
    /// Connections that have something to say that is not the shard's.
    pub(super) replies: Vec<Slot>,
}

impl Gatehouse {
    pub(super) fn new(secrets: Secrets, terms: Option<upgrade::Terms>) -> Self {
        Self { secrets, terms, ..Self::default() }
    }

    /// A gate for a connection that needs one.
    pub(super) fn gate(shard: &Shard, slot: Slot) -> Option<Box<Gate>> {
        (shard.stage(slot) != Stage::Open).then(Box::default)
    }

    /// Does anyone wait to shake hands?
    pub(crate) fn is_busy(&self) -> bool {
        !self.handshakes.is_empty()
    }
}

impl Desk {
    /// Input of a connection with a gate.
    pub(super) fn feed_gate(&mut self, slot: Slot, bytes: &mut [u8]) {
        if !self.shard.is_open(slot) {
            return;
        }
        let link = self.links.get_mut(slot);
        let gate = link.gate.as_mut().expect("only those with a gate come here");
        if self.shard.is_paused(slot) || gate.has_input() {
            link.backlog.extend_from_slice(bytes);
            return;
        }
        loop {
            match self.shard.stage(slot) {
                _ if bytes.is_empty() => return,
                Stage::First | Stage::Sniff => self.shard.noticed(slot, bytes[0]),
                Stage::Proxy => return self.take_proxy_header(slot, bytes),
                Stage::Handshake => return self.keep_handshake(slot, bytes),
                Stage::Open if gate.is_clear() => {
                    // Nothing stands in between any more.
                    link.gate = None;
                    return self.feed(slot, bytes);
                }
                Stage::Upgrade | Stage::Open if gate.guard.is_none() => {
                    return self.take_plain(slot, bytes);
                }
                Stage::Upgrade | Stage::Open => return self.open(slot, bytes),
            }
        }
    }

    fn take_proxy_header(&mut self, slot: Slot, bytes: &[u8]) {
        let raw = &mut self.links.gate(slot).raw;
        raw.extend_from_slice(bytes);
        let (peer, taken) = match proxy::read(raw) {
            Header::Incomplete => return,
            Header::Absent => (None, 0),
            Header::Own(taken) => (None, taken),
            Header::For(address, port, taken) => {
                (Some(Peer { host: address.to_string(), port }), taken)
            }
            Header::Wrong(problem) => return self.shard.proxied(slot, Err(&problem)),
        };
        let mut rest = std::mem::take(raw).split_off(taken);
        self.shard.proxied(slot, Ok(peer));
        self.feed(slot, &mut rest);
    }

    /// Opens what came sealed.
    fn open(&mut self, slot: Slot, bytes: &mut [u8]) {
        let mut plain = std::mem::take(&mut self.gatehouse.plain);
        plain.clear();
        let gate = self.links.gate(slot);
        let guard = gate.guard.as_mut().expect("what is sealed has a guard");
        let outcome = guard.open(bytes, &mut plain, &mut gate.sealed);
        if !gate.sealed.is_empty() {
            self.gatehouse.replies.push(slot);
        }
        self.take_plain(slot, &mut plain);
        self.gatehouse.plain = plain;
        match outcome {
            Ok(Opened::On) => {}
            Ok(Opened::Ended) => self.end_input(slot, false),
            Err(breach) => self.fail(slot, &breach),
        }
    }

    /// Bytes of the protocol, or of what comes right before it.
    fn take_plain(&mut self, slot: Slot, bytes: &mut [u8]) {
        if bytes.is_empty() || !self.shard.is_open(slot) {
            return;
        }
        if self.shard.stage(slot) == Stage::Upgrade {
            return self.take_request(slot, bytes);
        }
        if self.links.gate(slot).reader.is_some() {
            return self.take_frames(slot, bytes);
        }
        let taken = self.hand_in(slot, bytes);
        if taken < bytes.len() {
            self.links.gate(slot).opened.extend_from_slice(&bytes[taken..]);
        }
    }

    /// What was opened before reading was paused.
    pub(super) fn feed_opened(&mut self, slot: Slot) {
        let Some(gate) = &mut self.links.get_mut(slot).gate else { return };
        if !gate.has_input() {
            return;
        }
        let opened = std::mem::take(&mut gate.opened);
        let taken = self.hand_in(slot, &opened);
        let gate = self.links.gate(slot);
        if taken < opened.len() {
            gate.opened.extend_from_slice(&opened[taken..]);
        } else if gate.reader.is_some() {
            let mut raw = std::mem::take(&mut gate.raw);
            self.take_plain(slot, &mut raw);
        }
    }

    /// Bytes of an HTTP request.
    fn take_request(&mut self, slot: Slot, bytes: &[u8]) {
        let gate = self.links.gate(slot);
        gate.raw.extend_from_slice(bytes);
        let raw = std::mem::take(&mut gate.raw);
        let (request, taken) = match wire::upgrade::read(&raw) {
            Parsed::Incomplete => {
                gate.raw = raw;
                return;
            }
            Parsed::Request(request, taken) => (request, taken),
            Parsed::Wrong(status) => {
                gate.say(upgrade::rejection(status).as_bytes());
                self.flush_gate(slot);
                return self.shard.upgrade_failed(slot, None);
            }
        };
        let terms = self.gatehouse.terms.as_ref().expect("who came by this door has terms");
        match terms.grant(&request) {
            Ok(_) if raw.len() > taken => {
                let problem = "client sent data before handshake is complete";
                self.shard.upgrade_failed(slot, Some(problem));
            }
            Ok(granted) => {
                gate.say(granted.answer.as_bytes());
                gate.reader = Some(Box::new(Reader::new(granted.is_masked, granted.compresses)));
                gate.writer = Some(Box::new(Writer::new(granted.compresses, &granted.agent)));
                self.gatehouse.replies.push(slot);
                self.shard.upgraded(slot, granted.cookies, granted.forwarded_for);
            }
            Err((status, problem)) => {
                gate.say(upgrade::refusal(status, &request).as_bytes());
                self.flush_gate(slot);
                if request.is_1_0 || request.has_body() {
                    return self.shard.upgrade_failed(slot, Some(&problem));
                }
                self.shard.upgrade_refused(slot, &problem);
                self.take_request(slot, &raw[taken..]);
            }
        }
    }

    /// Bytes of frames.
    fn take_frames(&mut self, slot: Slot, bytes: &mut [u8]) {
        let mut reader = self.links.gate(slot).reader.take().expect("frames have a reader");
        let mut at = 0;
        while at < bytes.len() && self.shard.is_open(slot) && !self.shard.is_paused(slot) {
            let (part, used) = reader.decoder.step(&mut bytes[at..]);
            at += used;
            match part {
                Part::Incomplete | Part::Pong => {}
                Part::Data { bytes, compressed: false, .. } => {
                    let taken = self.hand_in(slot, bytes);
                    self.links.gate(slot).opened.extend_from_slice(&bytes[taken..]);
                }
                Part::Data { bytes, last, .. } => {
                    reader.message.extend_from_slice(bytes);
                    let message = &mut reader.message;
                    self.take_compressed(slot, message, last);
                }
                Part::Ping(payload) => {
                    if let Some(writer) = &mut self.links.gate(slot).writer {
                        writer.pong(payload);
                        self.gatehouse.replies.push(slot);
                    }
                }
                Part::Close(payload) => {
                    self.prepare_farewell(slot, payload);
                    self.end_input(slot, false);
                }
                Part::Wrong(problem) => {
                    let farewell = websocket::farewell(websocket::PROTOCOL_ERROR, &problem);
                    self.prepare_farewell(slot, farewell);
                    self.shard.misframed(slot, &problem, false);
                }
            }
        }
        let gate = self.links.gate(slot);
        gate.reader = Some(reader);
        if self.shard.is_open(slot) {
            gate.raw.extend_from_slice(&bytes[at..]);
        }
    }

    fn prepare_farewell(&mut self, slot: Slot, payload: Vec<u8>) {
        if let Some(writer) = &mut self.links.gate(slot).writer {
            writer.prepare_farewell(payload);
        }
    }

    /// A compressed message, or the beginning of one. Those who have not said who they are may
    /// send little, so that a bomb costs next to nothing.
    fn take_compressed(&mut self, slot: Slot, message: &mut Vec<u8>, last: bool) {
        let max_payload = self.shard.config().max_payload;
        let mut limit = max_payload.saturating_mul(COMPRESSED_FACTOR).min(COMPRESSED_BYTES_MAX);
        let mut inflated_max = max_payload;
        if self.shard.is_stranger(slot) {
            limit = STRANGER_BYTES_MAX;
            inflated_max = STRANGER_BYTES_MAX.min(max_payload);
        }
        let outcome = if message.len() > limit {
            Err(Misfit::TooLarge)
        } else if last {
            let mut plain = Vec::new();
            let press = &mut self.gatehouse.tools.press;
            let outcome =
                press.inflate(message, inflated_max, |bytes| plain.extend_from_slice(bytes));
            *message = Vec::new();
            let taken = self.hand_in(slot, &plain);
            self.links.gate(slot).opened.extend_from_slice(&plain[taken..]);
            outcome
        } else {
            return;
        };
        match outcome {
            Ok(()) => {}
            Err(Misfit::TooLarge) => self.shard.misframed(slot, "maximum payload exceeded", true),
            Err(Misfit::Corrupt(at)) => {
                let problem = format!("flate: corrupt input before offset {at}");
                self.shard.misframed(slot, &problem, false);
            }
        }
    }

    fn keep_handshake(&mut self, slot: Slot, bytes: &[u8]) {
        let door = self.shard.door(slot);
        let gate = self.links.gate(slot);
        if gate.guard.is_none() {
            // INFO may not have left yet, and goes as it is.
            let unsent = self.shard.unsent(slot);
            gate.sealed.extend(unsent);
            gate.covers = unsent.len();
            let guard = match self.gatehouse.secrets.of(door) {
                Some(config) => Guard::new(config.clone()),
                None => Err(Breach {
                    text: "tls: no certificates configured".to_owned(),
                    by_stranger: false,
                }),
            };
            match guard {
                Ok(guard) => gate.guard = Some(Box::new(guard)),
                Err(breach) => return self.shard.insecure(slot, &breach.text, breach.by_stranger),
            }
        }
        let guard = gate.guard.as_mut().expect("it was just put there");
        match guard.keep(bytes) {
            Ok(()) if guard.may_step() && !gate.queued => {
                gate.queued = true;
                self.gatehouse.handshakes.push_back(slot);
            }
            Ok(()) => {}
            Err(breach) => self.shard.insecure(slot, &breach.text, breach.by_stranger),
        }
    }

    /// Goes on with handshakes, for a bounded time.
    pub(super) fn shake_hands(&mut self) {
        if !self.gatehouse.is_busy() {
            return;
        }
        let until = Instant::now() + HANDSHAKE_TIME;
        while let Some(slot) = self.gatehouse.handshakes.pop_front() {
            let link = self.links.get_mut(slot);
            let Some(gate) = link.gate.as_mut().filter(|gate| gate.queued) else { continue };
            gate.queued = false;
            if link.closing || self.shard.stage(slot) != Stage::Handshake {
                continue;
            }
            self.step(slot);
            if Instant::now() >= until {
                return;
            }
        }
    }

    fn step(&mut self, slot: Slot) {
        let mut plain = std::mem::take(&mut self.gatehouse.plain);
        plain.clear();
        let gate = self.links.gate(slot);
        let guard = gate.guard.as_mut().expect("who shakes hands has a guard");
        let outcome = guard.step(&mut plain, &mut gate.sealed);
        let done = !guard.is_handshaking();
        match outcome {
            Err(breach) => {
                self.flush_gate(slot);
                self.shard.insecure(slot, &breach.text, breach.by_stranger);
            }
            Ok(_) if !done => {
                self.flush_gate(slot);
            }
            Ok(opened) => {
                let secured = guard.secured();
                self.flush_gate(slot);
                self.shard.secured(slot, secured);
                self.take_plain(slot, &mut plain);
                if opened == Opened::Ended {
                    self.end_input(slot, false);
                }
            }
        }
        self.gatehouse.plain = plain;
    }

    /// The peer broke the rules of TLS: it is told so, and gone.
    fn fail(&mut self, slot: Slot, breach: &Breach) {
        self.lanes.send(&mut self.shard);
        self.flush_gate(slot);
        if self.shard.stage(slot) == Stage::Handshake {
            self.shard.insecure(slot, &breach.text, breach.by_stranger);
        } else {
            self.end_input(slot, true);
        }
    }

    /// Writes as much as the socket takes of a connection with a gate. False if it takes no more.
    pub(super) fn flush_gate(&mut self, slot: Slot) -> bool {
        loop {
            let link = self.links.get_mut(slot);
            if link.polling {
                return false;
            }
            if !self.push(slot) {
                return false;
            }
            let gate = self.links.gate(slot);
            let bytes = self.shard.unsent(slot);
            if (bytes.is_empty() && !gate.has_control()) || !gate.may_seal() {
                return true;
            }
            if !gate.sealed.has_buffer() {
                gate.sealed.trade(&mut self.gatehouse.spare);
            }
            let Ok(count) = gate.seal(bytes, &mut self.gatehouse.tools) else {
                self.shard.output_failed(slot);
                return false;
            };
            gate.covers = count;
        }
    }

    /// Writes what is sealed. False if the socket did not take all of it.
    fn push(&mut self, slot: Slot) -> bool {
        let link = self.links.get_mut(slot);
        loop {
            let gate = link.gate.as_mut().expect("only those with a gate come here");
            if gate.sealed.is_empty() {
                break;
            }
            let socket = link.socket.as_ref().expect("a link in use has a socket");
            match links::write(socket.as_fd(), gate.sealed.unsent()) {
                Written::Bytes(count) => gate.sealed.advance(count),
                Written::WouldBlock => {
                    self.shard.blocked(slot);
                    self.blocked.push(slot);
                    return false;
                }
                Written::Failed => {
                    self.shard.output_failed(slot);
                    return false;
                }
            }
        }
        let gate = link.gate.as_mut().expect("it was there a moment ago");
        if gate.sealed.has_buffer() && !self.gatehouse.spare.has_buffer() {
            gate.sealed.trade(&mut self.gatehouse.spare);
        } else {
            gate.sealed = Sealed::default();
        }
        // The output may have been dropped meanwhile.
        let covered = std::mem::take(&mut gate.covers).min(self.shard.unsent(slot).len());
        if covered > 0 {
            self.shard.sent(slot, covered);
        }
        true
    }

    /// Tells the peer that nothing more comes, as far as its socket takes that.
    pub(super) fn say_farewell(&mut self, slot: Slot) {
        let reason = self.shard.reason(slot).unwrap_or(Reason::ClientClosed);
        let Some(gate) = &mut self.links.get_mut(slot).gate else { return };
        if gate.is_clear() || !gate.may_seal() || !gate.sealed.is_empty() {
            return;
        }
        if !std::mem::replace(&mut gate.said_farewell, true) {
            gate.say_farewell(reason);
            self.push(slot);
        }
    }

    /// The input of a connection that has yet to name its proxy's peer ends.
    pub(super) fn end_proxy_header(&mut self, slot: Slot) {
        let raw = self.links.get(slot).gate.as_ref().map_or(&[][..], |gate| &gate.raw);
        let end = if raw.is_empty() { "EOF" } else { "unexpected EOF" };
        let problem = format!("failed to read {}: {end}", proxy::awaited(raw));
        self.shard.proxied(slot, Err(&problem));
    }

    /// Writes replies that are not the shard's.
    pub(super) fn flush_replies(&mut self) {
        while let Some(slot) = self.gatehouse.replies.pop() {
            self.flush(slot);
        }
    }
}
