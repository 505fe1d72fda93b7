//! Snapshots of streams and their way back (spec 6.11), in the reference's format: a tar archive,
//! packed by S2, of the configuration, of blocks of messages and of consumers. What nats-server
//! wrote can be restored here, and what is written here there.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `meta.inf`, `meta.sum` | the configuration as JSON, and its checksum |
//! | `msgs/<n>.blk` | messages, one record behind the other ([`block`]) |
//! | `obs/<name>/meta.inf`, `meta.sum`, `o.dat` | a consumer's: configuration, state ([`state`]) |
//!
//! The reference's newer form ([`archive`]) is read as well; the older one is written since every
//! version of it takes that.

pub(crate) mod archive;
pub(crate) mod block;
pub(crate) mod frames;
mod receive;
mod send;
pub(crate) mod state;
pub(crate) mod tar;

pub(crate) use receive::{Received, Restore};
pub(crate) use send::{Progress, Snapshot, Wish};

use highway::{HighwayHash as _, HighwayHasher, Key};
use sha2::{Digest as _, Sha256};

/// The reference's checksums: `HighwayHash` under a key that is derived from a name.
#[derive(Clone, Debug)]
pub(crate) struct Checksum(Key);

impl Checksum {
    pub(crate) fn new(name: &str) -> Self {
        let digest = Sha256::digest(name.as_bytes());
        let word = |at: usize| {
            u64::from_le_bytes(digest[at * 8..at * 8 + 8].try_into().expect("eight bytes"))
        };
        Self(Key([word(0), word(1), word(2), word(3)]))
    }

    pub(crate) fn of(&self, parts: &[&[u8]]) -> [u8; 8] {
        let mut hasher = HighwayHasher::new(self.0);
        for part in parts {
            hasher.append(part);
        }
        hasher.finalize64().to_le_bytes()
    }
}

/// A checksum as `meta.sum` holds it.
pub(crate) fn hexadecimal(bytes: [u8; 8]) -> String {
    format!("{:016x}", u64::from_be_bytes(bytes))
}
