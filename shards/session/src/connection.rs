//! The state of one connection.

use accounts::{Grant, Proof, Referral, Rights};
use base::{AccountId, BufferPool, ConnectionId, Time};
use hashbrown::HashTable;
use subjects::{Sids, SubId, Subscriptions};

use crate::entrance::{Door, Entrance, Stage};
use crate::handshake::Identity;
use crate::{Liveness, Outbound, Reason, Remembered};

/// Who is at the other end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// The address without port.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl std::fmt::Display for Peer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(formatter, "[{}]:{}", self.host, self.port)
        } else {
            write!(formatter, "{}:{}", self.host, self.port)
        }
    }
}

/// What CONNECT asked for (spec 1.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// +OK for each operation.
    pub verbose: bool,
    /// Publish subjects are checked.
    pub pedantic: bool,
    /// The connection gets its own messages.
    pub echo: bool,
    /// The connection understands headers.
    pub headers: bool,
    /// A request that nobody can serve is answered with 503.
    pub no_responders: bool,
    /// 1 if the connection understands INFO at any time.
    pub protocol: i64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            verbose: true,
            pedantic: true,
            echo: true,
            headers: false,
            no_responders: false,
            protocol: 0,
        }
    }
}

/// What a connection becomes as soon as something is proven.
#[derive(Debug)]
pub struct Pending {
    /// Who it will be.
    pub grant: Option<Box<Grant>>,
    /// What is being proven.
    pub proof: Proof,
    /// What it was asked for.
    pub occasion: Occasion,
    /// Which of the shard's claims this is.
    pub number: u64,
    /// Whom to ask before it is known who it will be, if anybody is to be asked.
    pub referral: Option<Box<Referral>>,
    /// The key that those who are asked shall name; empty before they are.
    pub user_key: String,
}

impl Pending {
    /// Nothing but a grant.
    pub fn granted(grant: Option<Box<Grant>>, proof: Proof, occasion: Occasion) -> Self {
        Self { grant, proof, occasion, number: 0, referral: None, user_key: String::new() }
    }
}

/// Why a connection is asked who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// It said so.
    Connect {
        /// For the first time?
        first: bool,
    },
    /// It said something else first.
    Unasked,
    /// It is in already, and the rules have changed.
    Reload,
}

/// Messages and bytes from and to a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Messages from the peer.
    pub in_messages: u64,
    /// Their bytes, header and payload.
    pub in_bytes: u64,
    /// Messages to the peer.
    pub out_messages: u64,
    /// Their bytes, header and payload.
    pub out_bytes: u64,
    /// Times that the peer was too slow.
    pub stalls: u64,
}

impl Statistics {
    /// Adds another's counts.
    pub const fn add(&mut self, other: &Self) {
        self.in_messages += other.in_messages;
        self.in_bytes += other.in_bytes;
        self.out_messages += other.out_messages;
        self.out_bytes += other.out_bytes;
        self.stalls += other.stalls;
    }
}

/// One connection, owned by the shard of its core.
#[derive(Debug, Default)]
pub struct Connection {
    /// Its public number.
    pub id: ConnectionId,
    /// When it was accepted.
    pub opened: Time,
    /// When messages were last written to it, and how many there were then.
    pub last_output: (Time, u64),
    /// Who is at the other end.
    pub peer: Peer,
    /// What CONNECT asked for.
    pub options: Options,
    /// The account whose subjects it speaks of.
    pub account: AccountId,
    /// Has the account mappings, so that subjects of what it publishes may become others?
    pub maps: bool,
    /// Largest message in bytes that it may publish.
    pub max_payload: usize,
    /// Subscriptions that it may have; no limit if `None`.
    pub max_subscriptions: Option<usize>,
    /// The account among whose connections it is counted, which has a limit of them.
    pub counted: Option<AccountId>,
    /// On what occasion it asks for a seat in its account, while it waits for the answer.
    pub seeks: Option<Occasion>,
    /// What it may do; everything if `None`.
    pub rights: Option<Box<Rights>>,
    /// Do its rights say something about what is delivered to it?
    pub guarded: bool,
    /// Who it is, if it is anybody in particular. The permissions have become its rights.
    pub grant: Option<Box<Grant>>,
    /// What was proven when it was let in.
    pub proven: Option<Box<Proof>>,
    /// What is being proven.
    pub pending: Option<Box<Pending>>,
    /// The public key of the trusted proxy that it came through; empty if it came without.
    pub proxy_key: String,
    /// Counts.
    pub statistics: Statistics,
    /// Bytes on their way to the peer.
    pub outbound: Outbound,
    /// Deadlines.
    pub liveness: Liveness,
    /// Input that ends within an operation.
    pub carry: Vec<u8>,
    /// Bytes of input that the operation in `carry` takes in all; zero if not known.
    pub carry_needs: usize,
    /// Does `carry` start with a publish line that was checked already?
    pub announced: bool,
    /// Why it ends, once it does.
    pub closing: Option<Reason>,
    /// Was it let in only to be told that the server is full?
    pub refused: bool,
    /// Has its socket been asked to be closed? That is asked once: the slot may be another's after.
    pub close_asked: bool,
    /// How far it has come before the protocol begins.
    pub stage: Stage,
    /// How it came in, unless plainly.
    pub entrance: Option<Box<Entrance>>,
    /// Must CONNECT come before anything else?
    pub awaits_connect: bool,
    /// Has CONNECT come?
    pub connected: bool,
    /// Has the first PONG been sent, with which the peer is ready for INFO at any time?
    pub greeted: bool,
    /// How far the lanes must have come before the PING at the front of the input is answered.
    pub barrier: Option<Box<[u64]>>,
    /// Why reading is paused; see the shard.
    pub pauses: u8,
    /// Subscriptions by the peer's name for them.
    pub subscriptions: HashTable<u32>,
    /// The last train of messages that was written to it; see the shard.
    pub train: u64,
    /// Where its last message went.
    pub remembered: Remembered,
    /// What CONNECT said; boxed because most of a connection's life needs none of it.
    pub identity: Option<Box<Identity>>,
}

impl Connection {
    /// A connection that has just been accepted.
    pub fn new(id: ConnectionId, peer: Peer) -> Self {
        Self { id, peer, ..Self::default() }
    }

    /// May messages be delivered?
    #[inline]
    pub const fn is_open(&self) -> bool {
        self.closing.is_none()
    }

    /// Did it come in by WebSocket?
    pub fn is_websocket(&self) -> bool {
        self.entrance.as_ref().is_some_and(|entrance| entrance.door == Door::WebSocket)
    }

    /// Who its certificate names, if it showed one.
    pub fn certificate(&self) -> Option<&crate::PeerCertificate> {
        self.entrance.as_ref()?.secured.as_ref()?.certificate.as_ref()
    }

    /// Takes note of whether its rights say something about what is delivered to it.
    pub fn note_rights(&mut self) {
        self.guarded = self.rights.as_ref().is_some_and(|rights| rights.guards());
    }

    /// May a message be delivered to it, as to a member of a queue group or plainly?
    #[inline]
    pub fn admits(&self, subject: &[u8], queue: &[u8]) -> bool {
        !self.guarded || self.rights.as_ref().is_none_or(|rights| rights.admits(subject, queue))
    }

    /// Takes note of a request that it got, which it may be allowed to answer.
    #[cold]
    pub fn note_request(&mut self, reply: &[u8], now: Time) {
        if let Some(rights) = &mut self.rights {
            rights.note_request(reply, now);
        }
    }

    /// Counts a message that came from it.
    #[inline]
    pub const fn note_input(&mut self, size: usize, now: Time) {
        self.statistics.in_messages += 1;
        self.statistics.in_bytes += size as u64;
        self.liveness.last_input = now;
    }

    /// Has it as many subscriptions as it may, which is so from the start if it may have none?
    pub fn has_too_many_subscriptions(&self) -> bool {
        self.max_subscriptions.is_some_and(|most| self.subscriptions.len() >= most)
    }

    /// Who it is as the log and monitoring name it: the user's name, or the public key.
    pub fn user(&self) -> &str {
        match (&self.grant, &self.identity) {
            // Whoever let it in had no other name for it.
            (Some(grant), Some(identity)) if grant.user.is_empty() => identity.raw_user(),
            (Some(grant), _) => &grant.user,
            (None, Some(identity)) => &identity.user,
            (None, None) => "",
        }
    }

    /// How it came in, as users are allowed to.
    pub fn kind(&self) -> accounts::ConnectionKind {
        if self.is_websocket() {
            accounts::ConnectionKind::WebSocket
        } else {
            accounts::ConnectionKind::Standard
        }
    }

    /// Appends protocol text to what goes to the peer.
    pub fn write(&mut self, text: &[u8], pool: &mut BufferPool) {
        self.outbound.extend(text, pool);
    }

    /// When a message last came from it or went to it.
    pub fn last_activity(&self) -> Time {
        self.liveness.last_input.max(self.last_output.0).max(self.opened)
    }

    /// Notes, as output is about to be written, whether there are messages in it.
    #[inline]
    pub const fn note_output(&mut self, now: Time) {
        if self.last_output.1 != self.statistics.out_messages {
            self.last_output = (now, self.statistics.out_messages);
        }
    }

    /// The subscription of a name.
    pub fn subscription(&self, sid: &[u8], all: &Subscriptions) -> Option<SubId> {
        let found = self
            .subscriptions
            .find(all.sids.hash(sid), |id| all.sids.is(all.get(SubId(*id)).sid, sid))?;
        Some(SubId(*found))
    }

    /// Notes a new subscription.
    pub fn add_subscription(&mut self, sid: &[u8], id: SubId, all: &Subscriptions) {
        self.subscriptions.insert_unique(all.sids.hash(sid), id.0, |id| hash_of(SubId(*id), all));
    }

    /// Forgets a subscription, which must still exist.
    pub fn remove_subscription(&mut self, id: SubId, all: &Subscriptions) {
        let found = self.subscriptions.find_entry(hash_of(id, all), |other| *other == id.0);
        found.expect("a connection knows its subscriptions").remove();
        if self.subscriptions.is_empty() {
            self.subscriptions = HashTable::new();
        }
    }

    /// `ip:port - cid:N - "v1:lang:name"`, as logs name it.
    pub fn label(&self) -> String {
        let known = self.identity.as_ref().map(|identity| identity.label()).unwrap_or_default();
        let kind = if self.is_websocket() { "wid" } else { "cid" };
        let forwarded = self.entrance.as_ref().and_then(|way| way.forwarded_for.as_ref());
        let forwarded = forwarded.map_or_else(String::new, |host| {
            if host.contains(':') { format!("[{host}]/") } else { format!("{host}/") }
        });
        let known = if known.is_empty() { String::new() } else { format!(" - {known:?}") };
        format!("{forwarded}{} - {kind}:{}{known}", self.peer, self.id.0)
    }

    /// The next moment at which the connection has to be looked at.
    pub fn next_due(&self, config: &crate::Config) -> Time {
        self.liveness.next_due(self.outbound.blocked_since, config)
    }
}

fn hash_of(id: SubId, all: &Subscriptions) -> u64 {
    let sids: &Sids = &all.sids;
    sids.with(all.get(id).sid, |text| sids.hash(text))
}
