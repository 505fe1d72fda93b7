//! One connection: its handshake, its outbound bytes, its liveness, its end.
//!
//! A [`Connection`] is plain state; the shard that owns it drives it and decides what its
//! publishes and subscriptions mean.

pub mod admission;
pub mod certificate;
pub mod config;
mod connection;
mod distinguished_name;
pub mod entrance;
pub mod handshake;
mod info;
pub mod inquiry;
mod liveness;
pub mod nonce;
mod outbound;
mod reason;
mod remembered;

pub use certificate::PeerCertificate;
pub use config::{Config, NonceKey};
pub use connection::{Connection, Occasion, Options, Peer, Pending, Statistics};
pub use entrance::{Cookies, Door, Entrance, Secured, ShownCertificate, Stage};
pub use info::InfoLine;
pub use liveness::{Alarm, Liveness};
pub use outbound::Outbound;
pub use reason::Reason;
pub use remembered::{Remembered, is_same};
