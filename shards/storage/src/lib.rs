//! What one core keeps: its journal, and the segments of its logs.
//!
//! Nothing here knows a file. A [`Store`] decides what is to be written where
//! ([`Store::take_requests`]) and takes what came of it ([`Store::completed`]); between the two
//! everything it was told is already there to be read, in order, and [`Store::durable`] says how
//! much of it survives a loss of power.
//!
//! A log knows keys as opaque bytes; whoever looks for several makes a [`KeySet`] of them.

mod buffer;
mod bytes;
mod compact;
mod damage;
mod disk;
mod entry;
mod fetch;
mod files;
mod frames;
mod journal;
mod keys;
mod lock;
mod log;
mod open;
mod position;
mod requests;
mod seal;
mod segment_file;
mod snapshot;
mod store;
mod upkeep;
mod vault;

pub use buffer::{BLOCK_BYTES, Blocks};
pub use damage::{Damage, What};
pub use disk::{
    Action, DiskCompletion, DiskFailure, DiskRequest, FOLDERS, File, Listing, RequestId,
};
pub use entry::{Entry, Fetched, ReadId};
pub use keys::{KeyId, KeySet, KeyState, Keys};
pub use lock::{Draw, LOCK_ROUNDS, LockFailure, Secrets, Unlocked, unlock};
pub use log::{Log, counted_bytes};
pub use position::{Durable, Ordered, Position};
pub use store::{Failure, Kind, LogId, LogOptions, Refusal, Store, StoreOptions, Sync};
pub use vault::{Cipher, Encryption, KEY_BYTES, SALT_BYTES};
