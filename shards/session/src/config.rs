//! The configuration snapshot of one core.
//!
//! Each core holds its own copy; a reload replaces it whole. Nothing in the data path reads shared
//! state.

use accounts::{Auth, Directory};
use base::Duration;

use crate::entrance::{Tls, WebSocket};

/// 32 bytes that nobody else knows.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct NonceKey(pub [u8; 32]);

impl std::fmt::Debug for NonceKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("NonceKey([REDACTED])")
    }
}

/// What a shard needs to know. Defaults and meaning: spec 1.7 and 2.3.
#[derive(Clone, Debug)]
pub struct Config {
    /// The server's public key, `N…`, new at every start.
    pub server_id: String,
    /// The server's name.
    pub server_name: String,
    /// The version of the reference whose features clients may rely on.
    pub version: String,
    /// This product's own version.
    pub product_version: String,
    /// `server_tags`.
    pub tags: Vec<String>,
    /// The server's public curve key, `X…`.
    pub xkey: String,
    /// The listen address as told to clients.
    pub host: String,
    /// The listen port as told to clients.
    pub port: u16,
    /// TLS of the port for clients, if it is on.
    pub tls: Option<Tls>,
    /// The port for WebSocket, if there is one.
    pub websocket: Option<WebSocket>,
    /// Does every connection to the port for clients begin with a PROXY header?
    pub proxy_protocol: bool,
    /// All accounts.
    pub accounts: Directory,
    /// Who may connect.
    pub auth: Auth,
    /// What nonces are made from: secret, and as long as the server lives the same.
    pub nonce_key: NonceKey,
    /// Time for CONNECT where authentication is required.
    pub auth_timeout: Duration,
    /// Are headers supported?
    pub headers: bool,
    /// Longest argument of a control line in bytes.
    pub max_control_line: usize,
    /// Largest message in bytes.
    pub max_payload: usize,
    /// Outbound bytes beyond which a client is a slow consumer.
    pub max_pending: usize,
    /// Connections at a time; zero for no limit, negative to refuse all.
    pub max_connections: i64,
    /// Subscriptions of one connection; zero for no limit.
    pub max_subscriptions: usize,
    /// Tokens of a subscription's subject; zero for no limit.
    pub max_sub_tokens: usize,
    /// Time for a client to take what was written to it.
    pub write_deadline: Duration,
    /// Time between PINGs.
    pub ping_interval: Duration,
    /// Unanswered PINGs that are borne.
    pub ping_max: u32,
    /// Are publishers left unslowed, and messages for a slow subscriber dropped instead?
    pub no_fast_producer_stall: bool,
    /// Is debug output wanted?
    pub debug: bool,
    /// Is every operation traced?
    pub trace: bool,
    /// Payload bytes shown in the trace; zero for all.
    pub max_traced_message: usize,
    /// Is of a payload only the header traced?
    pub trace_headers: bool,
    /// Are messages stored here?
    pub jetstream: bool,
    /// The domain of what is stored; empty for none.
    pub domain: String,
    /// Time that a lame duck takes to close its clients, the grace period included.
    pub lame_duck_duration: Duration,
    /// Time that a lame duck waits before it closes the first client.
    pub lame_duck_grace: Duration,
}

impl Default for Config {
    fn default() -> Self {
        use base::limits;
        Self {
            server_id: String::new(),
            server_name: String::new(),
            version: String::from("2.15.1"),
            product_version: String::from(env!("CARGO_PKG_VERSION")),
            tags: Vec::new(),
            xkey: String::new(),
            host: String::from("0.0.0.0"),
            port: 4222,
            tls: None,
            websocket: None,
            proxy_protocol: false,
            accounts: Directory::default(),
            auth: Auth::default(),
            nonce_key: NonceKey::default(),
            auth_timeout: limits::AUTH_TIMEOUT_DEFAULT,
            headers: true,
            max_control_line: limits::MAX_CONTROL_LINE_DEFAULT,
            max_payload: limits::MAX_PAYLOAD_DEFAULT,
            max_pending: limits::MAX_PENDING_DEFAULT,
            max_connections: limits::MAX_CONNECTIONS_DEFAULT,
            max_subscriptions: 0,
            max_sub_tokens: 0,
            write_deadline: limits::WRITE_DEADLINE_DEFAULT,
            ping_interval: limits::PING_INTERVAL_DEFAULT,
            ping_max: limits::PING_MAX_DEFAULT,
            no_fast_producer_stall: false,
            debug: false,
            trace: false,
            max_traced_message: 0,
            trace_headers: false,
            jetstream: false,
            domain: String::new(),
            lame_duck_duration: Duration::from_mins(2),
            lame_duck_grace: Duration::from_secs(10),
        }
    }
}
