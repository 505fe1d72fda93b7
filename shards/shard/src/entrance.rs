//! The way in: what comes before the protocol, stage by stage, and by when (spec 1.9, 3.6, 9.2).
//!
//! A connection to the port for clients goes through `First`, `Proxy`, `Sniff` and `Handshake`, as
//! far as the configuration asks for each; one to the port for WebSocket through `Handshake` and
//! `Upgrade`. The reactor reads the bytes of all these and says what they came to. A plain client
//! of a server without any of it begins where all others end, with the protocol.

use base::{Slot, Time};
use session::entrance::{First, Tls};
use session::{Cookies, Door, Entrance, Reason, Secured, Stage};

use crate::effects::Level;
use crate::shard::Shard;

/// How many handshakes there may be in a second. The reference counts the same way: a second
/// begins with the first connection after the last second's end, which is not counted.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    ends: Time,
    count: i64,
    blocked: u64,
    /// When the log says how many were refused.
    log_due: Option<Time>,
}

impl Throttle {
    /// May another begin?
    fn allows(&mut self, limit: i64, now: Time) -> bool {
        if now > self.ends {
            self.count = 0;
            self.ends = now.after(base::limits::THROTTLE_SPAN);
        } else {
            self.count += 1;
        }
        if self.count < limit {
            return true;
        }
        self.blocked += 1;
        self.log_due.get_or_insert(now.after(base::limits::THROTTLE_SPAN));
        false
    }

    pub(crate) fn next_due(&self) -> Time {
        self.log_due.unwrap_or(Time::NEVER)
    }
}

impl Shard {
    /// How far a connection has come.
    #[inline]
    pub fn stage(&self, slot: Slot) -> Stage {
        self.wires.get(slot).stage
    }

    /// The listener that a connection came in by.
    pub fn door(&self, slot: Slot) -> Door {
        self.wires.get(slot).entrance.as_ref().map_or(Door::Client, |entrance| entrance.door)
    }

    /// Why a connection ended, if it has.
    pub fn reason(&self, slot: Slot) -> Option<Reason> {
        self.wires.get(slot).closing
    }

    /// Is TLS begun too often for one more?
    pub(crate) fn is_throttled(&mut self, door: Door) -> bool {
        let limit = self.config.tls.as_ref().map_or(0, |tls| tls.rate_limit);
        limit > 0 && door == Door::Client && !self.throttle.allows(limit, self.now)
    }

    pub(crate) fn tick_throttle(&mut self) {
        if self.throttle.next_due() <= self.now {
            self.throttle.log_due = None;
            let blocked = std::mem::take(&mut self.throttle.blocked);
            let text = format!("Rejected {blocked} connections due to TLS rate limiting");
            self.log(Level::Warning, text);
        }
    }

    /// A connection has just been opened: greets it, or waits for what has to come first.
    pub(crate) fn enter(&mut self, slot: Slot, door: Door) {
        let first = self.config.tls.as_ref().map_or(First::Never, |tls| tls.first);
        let plain = self.config.tls.is_none() && !self.config.proxy_protocol;
        if door == Door::Client && plain {
            self.debug_for(slot, "Client connection created");
            self.greet(slot);
            self.begin(slot);
            return;
        }
        let entrance = Entrance { door, owes_info: true, ..Entrance::default() };
        let connection = self.wires.get_mut(slot);
        connection.entrance = Some(Box::new(entrance));
        // In the middle of a handshake a PING would be taken for a part of it.
        connection.liveness.ping_due = Time::NEVER;
        if door == Door::WebSocket {
            let secure = self.config.websocket.as_ref().is_some_and(|door| door.tls);
            self.advance(slot, if secure { Stage::Handshake } else { Stage::Upgrade });
            return;
        }
        self.debug_for(slot, "Client connection created");
        match first {
            First::Fallback(_) => self.advance(slot, Stage::First),
            First::Always => self.after_wait(slot, true),
            First::Never => self.after_wait(slot, false),
        }
    }

    /// The first byte of a connection in stage [`Stage::First`] or [`Stage::Sniff`] came.
    pub fn noticed(&mut self, slot: Slot, byte: u8) {
        /// A TLS record that carries a handshake begins with this.
        const HANDSHAKE_RECORD: u8 = 0x16;
        match self.stage(slot) {
            Stage::First => self.after_wait(slot, true),
            Stage::Sniff if byte == HANDSHAKE_RECORD => self.advance(slot, Stage::Handshake),
            Stage::Sniff => self.advance(slot, Stage::Open),
            Stage::Open | Stage::Proxy | Stage::Handshake | Stage::Upgrade => {}
        }
    }

    /// The PROXY header came. It names the peer, unless the proxy speaks for itself; with an error,
    /// it was wrong.
    pub fn proxied(&mut self, slot: Slot, header: Result<Option<session::Peer>, &str>) {
        match header {
            Ok(peer) => {
                if let Some(peer) = peer {
                    self.wires.get_mut(slot).peer = peer;
                }
                self.after_proxy(slot);
            }
            Err(problem) => {
                let peer = &self.wires.get(slot).peer;
                let text = format!("Error reading PROXY protocol header from {peer}: {problem}");
                self.log(Level::Warning, text);
                self.wires.end(slot, Reason::ProtocolViolation);
                self.settle();
            }
        }
    }

    /// The TLS handshake is done.
    pub fn secured(&mut self, slot: Slot, mut secured: Secured) {
        if !self.wires.get(slot).is_open() || self.stage(slot) != Stage::Handshake {
            return;
        }
        if let Err(text) = self.check_pinned(slot, secured.key.as_deref()) {
            self.debug_for(slot, &text);
            self.insecure(slot, "certificate not pinned", false);
            return;
        }
        let lines = [
            "TLS handshake complete".to_owned(),
            format!("TLS version {}, cipher suite {}", secured.version, secured.cipher),
        ];
        let auth = &self.config.auth;
        if auth.callout.is_none() && auth.operator.is_none() {
            secured.chain = Vec::new();
        }
        let entrance = self.wires.get_mut(slot).entrance.get_or_insert_default();
        entrance.secured = Some(secured);
        if entrance.door == Door::WebSocket {
            self.advance(slot, Stage::Upgrade);
            return;
        }
        self.advance(slot, Stage::Open);
        for line in lines {
            self.debug_for(slot, &line);
        }
    }

    fn check_pinned(&self, slot: Slot, key: Option<&str>) -> Result<(), String> {
        let pinned = match self.door(slot) {
            Door::Client => self.config.tls.as_ref().map(|tls| &tls.pinned),
            Door::WebSocket => self.config.websocket.as_ref().map(|door| &door.pinned),
        };
        let Some(pinned) = pinned.filter(|pinned| !pinned.is_empty()) else { return Ok(()) };
        match key {
            None => {
                Err("Failed pinned cert test as client did not provide a certificate".to_owned())
            }
            Some(key) if pinned.iter().any(|pin| pin == key) => Ok(()),
            Some(key) => Err(format!("Failed pinned cert test for key id: {key}")),
        }
    }

    /// Ends those whose keys are pinned no more, once other keys are. Like the reference it takes
    /// those for strangers who came without TLS.
    pub(crate) fn check_pins_again(&mut self, old: &session::Config) {
        let lists = |config: &session::Config| {
            let client = config.tls.as_ref().map_or_else(Vec::new, |tls| tls.pinned.clone());
            let websocket = config.websocket.as_ref();
            (client, websocket.map_or_else(Vec::new, |door| door.pinned.clone()))
        };
        let (old, new) = (lists(old), lists(&self.config));
        for slot in self.open_slots() {
            let changed = match self.door(slot) {
                Door::Client => old.0 != new.0,
                Door::WebSocket => old.1 != new.1,
            };
            let entrance = self.wires.get(slot).entrance.as_ref();
            let key = entrance.and_then(|entrance| entrance.secured.as_ref()?.key.clone());
            if changed
                && self.stage(slot) == Stage::Open
                && let Err(text) = self.check_pinned(slot, key.as_deref())
            {
                self.debug_for(slot, &text);
                self.wires.end(slot, Reason::TlsHandshakeError);
            }
        }
    }

    /// The TLS handshake failed. Whoever never meant to speak TLS is not worth an error in the log.
    pub fn insecure(&mut self, slot: Slot, problem: &str, by_stranger: bool) {
        if !self.wires.get(slot).is_open() {
            return;
        }
        if self.door(slot) == Door::WebSocket {
            let peer = &self.wires.get(slot).peer;
            let text = format!("websocket: TLS handshake error from {peer}: {problem}");
            self.log(Level::Error, text);
        } else {
            let text = format!("TLS handshake error: {problem}");
            if by_stranger {
                self.debug_for(slot, &text);
            } else {
                self.log_for(Level::Error, slot, &text);
            }
        }
        self.wires.end(slot, Reason::TlsHandshakeError);
        self.settle();
    }

    /// The upgrade to WebSocket is done. `client` is the address that a proxy
    /// gave for the peer.
    pub fn upgraded(&mut self, slot: Slot, cookies: Cookies, client: Option<String>) {
        if !self.wires.get(slot).is_open() {
            return;
        }
        let entrance = self.wires.get_mut(slot).entrance.get_or_insert_default();
        entrance.cookies = cookies;
        entrance.forwarded_for = client;
        self.debug_for(slot, "Client connection created");
        self.advance(slot, Stage::Open);
    }

    /// An upgrade was asked for in a way that cannot be granted; the answer is written.
    pub fn upgrade_refused(&mut self, slot: Slot, problem: &str) {
        let peer = &self.wires.get(slot).peer;
        let text = format!("{peer} - websocket handshake error: {problem}");
        self.log(Level::Error, text);
        // Go's server reads the next request on the same connection.
        self.advance(slot, Stage::Upgrade);
    }

    /// Bytes followed the request for an upgrade before it was answered, or what came is no
    /// request: it ends here.
    pub fn upgrade_failed(&mut self, slot: Slot, problem: Option<&str>) {
        if !self.wires.get(slot).is_open() {
            return;
        }
        if let Some(problem) = problem {
            let peer = &self.wires.get(slot).peer;
            let text = format!("{peer} - websocket handshake error: {problem}");
            self.log(Level::Error, text);
        }
        self.wires.end(slot, Reason::ClientClosed);
        self.settle();
    }

    /// Frames came that break the rules.
    pub fn misframed(&mut self, slot: Slot, problem: &str, too_large: bool) {
        if !self.wires.get(slot).is_open() {
            return;
        }
        self.log_for(Level::Error, slot, &format!("read error: {problem}"));
        let reason = if too_large { Reason::MaxPayloadExceeded } else { Reason::ReadError };
        self.wires.end(slot, reason);
        self.settle();
    }

    /// Is it a stranger, who has yet to say who they are?
    pub fn is_stranger(&self, slot: Slot) -> bool {
        self.wires.get(slot).awaits_connect
    }

    /// What came before the protocol took too long.
    pub(crate) fn on_entrance_due(&mut self, slot: Slot) {
        match self.stage(slot) {
            Stage::Open => {}
            Stage::First => self.after_wait(slot, false),
            Stage::Proxy => {
                self.proxied(slot, Err("failed to read protocol version: i/o timeout"));
            }
            Stage::Sniff => self.advance(slot, Stage::Open),
            Stage::Handshake => {
                if self.door(slot) == Door::Client {
                    self.debug_for(slot, "TLS handshake timeout");
                }
                self.insecure(slot, "i/o timeout", true);
            }
            Stage::Upgrade => self.wires.end(slot, Reason::ClientClosed),
        }
    }

    /// The wait for a handshake before INFO is over, or there was none. With the handshake first
    /// INFO comes after it.
    fn after_wait(&mut self, slot: Slot, tls_first: bool) {
        if tls_first {
            self.wires.get_mut(slot).entrance.get_or_insert_default().tls_first = true;
        } else {
            self.greet(slot);
        }
        if self.config.proxy_protocol {
            self.advance(slot, Stage::Proxy);
        } else {
            self.after_proxy(slot);
        }
    }

    fn after_proxy(&mut self, slot: Slot) {
        let entrance = self.wires.get(slot).entrance.as_ref();
        let tls_first = entrance.is_some_and(|entrance| entrance.tls_first);
        let stage = match &self.config.tls {
            None => Stage::Open,
            Some(Tls { optional: true, .. }) if !tls_first => Stage::Sniff,
            Some(_) => Stage::Handshake,
        };
        self.advance(slot, stage);
    }

    /// Enters a stage, and sets by when it must be left.
    fn advance(&mut self, slot: Slot, stage: Stage) {
        self.wires.get_mut(slot).stage = stage;
        if stage == Stage::Handshake && self.door(slot) == Door::Client {
            self.debug_for(slot, "Starting TLS client connection handshake");
        }
        if stage == Stage::Open {
            self.begin(slot);
            return;
        }
        let tls = self.config.tls.as_ref();
        let websocket = self.config.websocket.as_ref();
        let limit = match stage {
            Stage::First => match tls.map(|tls| tls.first) {
                Some(First::Fallback(wait)) => wait,
                _ => base::Duration::ZERO,
            },
            Stage::Proxy => base::limits::PROXY_HEADER_WAIT,
            Stage::Handshake if self.door(slot) == Door::Client => {
                tls.map_or(base::limits::TLS_TIMEOUT_DEFAULT, |tls| tls.timeout)
            }
            Stage::Sniff => tls.map_or(base::limits::TLS_TIMEOUT_DEFAULT, |tls| tls.timeout),
            Stage::Open | Stage::Handshake | Stage::Upgrade => {
                websocket.map_or(base::Duration::ZERO, |door| door.handshake_timeout)
            }
        };
        let unlimited = limit.is_zero() && matches!(stage, Stage::Upgrade | Stage::Handshake);
        let due = if unlimited { Time::NEVER } else { self.now.after(limit) };
        self.wires.get_mut(slot).liveness.auth_due = due;
        self.arm(slot);
    }

    /// Sends the first INFO.
    fn greet(&mut self, slot: Slot) {
        let connection = self.wires.get_mut(slot);
        if let Some(entrance) = &mut connection.entrance {
            entrance.owes_info = false;
        }
        let greeting = self.info.greeting(self.wires.get(slot), &self.config);
        self.wires.write(slot, greeting.as_bytes());
    }

    /// The protocol begins.
    fn begin(&mut self, slot: Slot) {
        let connection = self.wires.get(slot);
        if connection.entrance.as_ref().is_some_and(|entrance| entrance.owes_info) {
            self.greet(slot);
        }
        self.set_auth_due(slot);
        let liveness = &mut self.wires.connections.get_mut(slot.0).liveness;
        if liveness.ping_due == Time::NEVER {
            liveness.set_first_ping(self.config.ping_interval, self.now, &mut self.random);
        }
        let connection = self.wires.get(slot);
        let refused = connection.refused && connection.is_open();
        self.arm(slot);
        if refused {
            self.turn_away(slot);
        }
    }

    /// Sets by when CONNECT must have come.
    pub(crate) fn set_auth_due(&mut self, slot: Slot) {
        let websocket = self.config.websocket.as_ref();
        let websocket = websocket.filter(|_| self.door(slot) == Door::WebSocket);
        let required =
            !self.config.auth.is_open() || websocket.is_some_and(|door| door.overrides_auth);
        let timeout =
            websocket.and_then(|door| door.auth_timeout).unwrap_or(self.config.auth_timeout);
        let due = if required { self.now.after(timeout) } else { Time::NEVER };
        let connection = self.wires.get_mut(slot);
        connection.awaits_connect = required;
        connection.liveness.auth_due = due;
    }
}
