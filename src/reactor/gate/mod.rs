//! What stands between a socket and the shard: TLS, and what may come before the protocol.
//!
//! The shard decides how far a connection has come (`shards/shard/src/entrance.rs`); here its bytes
//! are read and made. A connection that came in plainly has no gate, and pays one look for that.
//!
//! Handshakes are the one costly thing that a stranger may ask for, so they wait in a queue of
//! their own: each turn spends a bounded time on them, between the traffic of all others
//! (docs/decisions/tls.md).

mod guard;
mod sealed;

use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::Slot;
use rustls::server::ServerConfig;
use shard::{Door, Shard, Stage};

use super::Desk;
use super::links::{self, Written};
use guard::{Breach, Guard, Opened};
pub(crate) use sealed::Sealed;

/// Time that one turn spends on handshakes, if there are more than one: with it live traffic waits
/// for half a millisecond at most, or for one signature of RSA.
const HANDSHAKE_TIME: Duration = Duration::from_micros(300);
/// Plaintext that is sealed at a time: eight records, so that a flush in the middle of a turn is
/// one write.
const SEAL_BYTES: usize = 128 * 1024;

/// What handshakes are made by; a reload hands in others.
#[derive(Clone, Debug, Default)]
pub(crate) struct Secrets {
    /// The port for clients.
    pub(crate) client: Option<Arc<ServerConfig>>,
}

impl Secrets {
    fn of(&self, door: Door) -> Option<&Arc<ServerConfig>> {
        match door {
            Door::Client => self.client.as_ref(),
            Door::WebSocket => None,
        }
    }
}

/// What stands between one socket and the shard.
#[derive(Default)]
pub(crate) struct Gate {
    guard: Option<Box<Guard>>,
    /// Plaintext that came while reading was paused.
    pub(super) opened: Vec<u8>,
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
        self.guard.is_none() && self.sealed.is_empty()
    }

    fn may_seal(&self) -> bool {
        self.guard.as_ref().is_none_or(|guard| !guard.is_handshaking())
    }

    /// Seals the start of `bytes`, and says how many.
    fn seal(&mut self, bytes: &[u8]) -> Result<usize, Breach> {
        let bytes = &bytes[..bytes.len().min(SEAL_BYTES)];
        match &mut self.guard {
            Some(guard) => guard.seal(bytes, &mut self.sealed)?,
            None => self.sealed.extend(bytes),
        }
        Ok(bytes.len())
    }
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
    /// Connections that have something to say that is not the shard's.
    pub(super) replies: Vec<Slot>,
}

impl Gatehouse {
    pub(super) fn new(secrets: Secrets) -> Self {
        Self { secrets, ..Self::default() }
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
        if self.shard.is_paused(slot) || !gate.opened.is_empty() {
            link.backlog.extend_from_slice(bytes);
            return;
        }
        loop {
            match self.shard.stage(slot) {
                _ if bytes.is_empty() => return,
                Stage::First | Stage::Sniff => self.shard.noticed(slot, bytes[0]),
                Stage::Handshake => return self.keep_handshake(slot, bytes),
                Stage::Open if gate.guard.is_none() => {
                    // Nothing stands in between any more.
                    link.gate = None;
                    return self.feed(slot, bytes);
                }
                Stage::Proxy | Stage::Upgrade | Stage::Open => break,
            }
        }
        self.open(slot, bytes);
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
        let taken = self.hand_in(slot, bytes);
        if taken < bytes.len() {
            self.links.gate(slot).opened.extend_from_slice(&bytes[taken..]);
        }
    }

    /// What was opened before reading was paused.
    pub(super) fn feed_opened(&mut self, slot: Slot) {
        let Some(gate) = &mut self.links.get_mut(slot).gate else { return };
        if !gate.opened.is_empty() {
            let mut opened = std::mem::take(&mut gate.opened);
            self.take_plain(slot, &mut opened);
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
                let (secured, key) = guard.secured();
                self.flush_gate(slot);
                self.shard.secured(slot, secured, key.as_deref());
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
            if bytes.is_empty() || !gate.may_seal() {
                return true;
            }
            if !gate.sealed.has_buffer() {
                gate.sealed.trade(&mut self.gatehouse.spare);
            }
            let Ok(count) = gate.seal(bytes) else {
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
        let Some(gate) = &mut self.links.get_mut(slot).gate else { return };
        let Some(guard) = gate.guard.as_mut().filter(|guard| !guard.is_handshaking()) else {
            return;
        };
        if !std::mem::replace(&mut gate.said_farewell, true) && gate.sealed.is_empty() {
            guard.farewell(&mut gate.sealed);
            self.push(slot);
        }
    }

    /// Writes replies that are not the shard's.
    pub(super) fn flush_replies(&mut self) {
        while let Some(slot) = self.gatehouse.replies.pop() {
            self.flush(slot);
        }
    }
}
