//! Streams and consumers as state machines, and the API that manages them.
//!
//! [`JetStream`] holds what one core has of it: its streams, each with its consumers, over one
//! [`storage::Store`]. Messages come in by [`JetStream::receive`] under the number of the
//! subscription that matched; everything that goes out does so by an [`Outlet`].

mod account;
mod advisory;
pub mod api;
mod backup;
pub mod config;
pub mod consumer;
mod describe;
pub mod error;
mod ground;
mod jetstream;
mod json;
mod names;
mod outlet;
pub mod parcel;
pub mod services;
mod span;
pub mod stamp;
pub mod stream;
mod tenancy;

pub use config::{AccountLimits, Config};
pub use describe::{Description, Wanted};
pub use error::Fault;
pub use ground::Usage;
pub use jetstream::{Census, JetStream};
pub use outlet::{ClientInfo, Outlet};
pub use services::{Service, Services, StreamId};
