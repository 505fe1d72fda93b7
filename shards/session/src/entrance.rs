//! What comes before the protocol: the PROXY header, TLS, the upgrade to WebSocket.
//!
//! The bytes of these are the reactor's business; a connection only knows how far it has come, by
//! when it must have come further, and what was learned on the way.

use base::Duration;

use crate::PeerCertificate;

/// The listener that a connection came in by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Door {
    /// The port for clients.
    #[default]
    Client,
    /// The port for WebSocket.
    WebSocket,
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// The protocol: everything below is behind it, or was never asked for.
    #[default]
    Open,
    /// Nothing was said yet: who sends anything now begins with TLS, all others get INFO when the
    /// wait is over.
    First,
    /// A PROXY header is awaited.
    Proxy,
    /// The first byte says whether this is TLS.
    Sniff,
    /// The TLS handshake.
    Handshake,
    /// The HTTP request that asks for WebSocket.
    Upgrade,
}

/// Whether the TLS handshake comes before INFO.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum First {
    /// No.
    #[default]
    Never,
    /// Yes, for everyone.
    Always,
    /// For those who begin within this time; all others get INFO then.
    Fallback(Duration),
}

/// TLS of the port for clients, as far as a shard has to know of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// May clients do without?
    pub optional: bool,
    /// Must clients show a certificate?
    pub verify: bool,
    /// Does the certificate say who the user is?
    pub map: bool,
    /// Whether the handshake comes first.
    pub first: First,
    /// Time for the handshake.
    pub timeout: Duration,
    /// Handshakes a second; zero for no limit.
    pub rate_limit: i64,
    /// The public keys that clients may have, as lower-case hexadecimal SHA-256; empty for any.
    pub pinned: Vec<String>,
}

/// The port for WebSocket, as far as a shard has to know of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebSocket {
    /// The listen address as told to clients.
    pub host: String,
    /// The listen port as told to clients.
    pub port: u16,
    /// Does it speak TLS?
    pub tls: bool,
    /// Does the certificate say who the user is?
    pub map: bool,
    /// The public keys that clients may have, as lower-case hexadecimal SHA-256; empty for any.
    pub pinned: Vec<String>,
    /// Time for the HTTP request; zero for no limit.
    pub handshake_timeout: Duration,
    /// Time for CONNECT instead of that of all other clients.
    pub auth_timeout: Option<Duration>,
    /// Time between PINGs instead of that of all other clients.
    pub ping_interval: Option<Duration>,
    /// Is there a user, token or `no_auth_user` of its own?
    pub overrides_auth: bool,
}

/// What a TLS handshake came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secured {
    /// `1.2` or `1.3`.
    pub version: &'static str,
    /// The cipher suite by its registered name.
    pub cipher: String,
    /// Who the peer's certificate names.
    pub certificate: Option<PeerCertificate>,
    /// The certificates that the peer showed, its own first.
    pub shown: Vec<ShownCertificate>,
    /// The SHA-256 of the peer's public key, in lower-case hexadecimal, if it showed a certificate.
    pub key: Option<Box<str>>,
    /// The certificates that the peer showed, its own first; kept only where somebody else decides
    /// who comes in, who is told of them.
    pub chain: Vec<Vec<u8>>,
}

/// A certificate, by what tells it from others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShownCertificate {
    /// Its subject, as text.
    pub subject: String,
    /// SHA-256 of its public key, in hexadecimal.
    pub key_digest: String,
    /// SHA-256 of all of it, in hexadecimal.
    pub digest: String,
}

/// Credentials that cookies of the upgrade carried; empty where there was none. They stand in for
/// fields that CONNECT leaves empty.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Cookies {
    /// The user's JWT.
    pub jwt: String,
    /// The user's name.
    pub user: String,
    /// The user's password.
    pub password: String,
    /// The token.
    pub token: String,
}

impl std::fmt::Debug for Cookies {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Cookies([REDACTED])")
    }
}

/// What is known of a connection's way in. Connections that came in plainly have none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entrance {
    /// The listener.
    pub door: Door,
    /// Was the handshake begun before INFO?
    pub tls_first: bool,
    /// Is INFO still owed?
    pub owes_info: bool,
    /// What the TLS handshake came to, once it is done.
    pub secured: Option<Secured>,
    /// Credentials of the upgrade.
    pub cookies: Cookies,
    /// The address that an HTTP proxy gave for the peer; shown in logs.
    pub forwarded_for: Option<String>,
}
