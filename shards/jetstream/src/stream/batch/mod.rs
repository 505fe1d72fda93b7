//! Messages that are published together: all of them or none ([`atomic`], ADR-50), or in quick
//! succession with an acknowledgement for many ([`fast`]).

mod atomic;
mod fast;

pub(crate) use fast::is_fast;

use std::collections::HashMap;

use base::Time;

use super::Stream;
use crate::ground::Site;
use atomic::AtomicBatch;
use fast::FastBatch;

/// Longest name of a batch in bytes (spec 6.5).
const ID_BYTES_MAX: usize = 64;

/// The batches of a stream that were begun and not yet brought to an end.
#[derive(Debug, Default)]
pub(crate) struct Batches {
    atomic: HashMap<Box<[u8]>, AtomicBatch>,
    fast: HashMap<Box<[u8]>, FastBatch>,
}

/// How many batches there are on this core, and the bytes that wait for a commit.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BatchCount {
    pub(super) atomic: usize,
    pub(super) fast: usize,
    pub(super) bytes: usize,
}

impl Batches {
    fn is_empty(&self) -> bool {
        self.atomic.is_empty() && self.fast.is_empty()
    }
}

impl Stream {
    /// When the first batch has rested too long.
    pub(crate) fn batches_due(&self) -> Time {
        let atomic = self.batches.atomic.values().map(|batch| batch.due);
        let fast = self.batches.fast.values().map(|batch| batch.due);
        atomic.chain(fast).min().unwrap_or(Time::NEVER)
    }

    /// Gives up batches that have rested too long.
    pub(crate) fn expire_batches(&mut self, site: &mut Site<'_>) {
        if self.batches.is_empty() || self.batches_due() > site.now.time {
            return;
        }
        let now = site.now.time;
        let atomic = self.batches.atomic.iter().filter(|(_, batch)| batch.due <= now);
        for id in atomic.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            self.abandon(site, &id, "timeout");
        }
        let fast = self.batches.fast.iter().filter(|(_, batch)| batch.due <= now);
        for id in fast.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            self.end_fast(site, &id);
        }
    }

    /// The stream goes, and its batches with it.
    pub(crate) fn end_batches(&mut self, site: &mut Site<'_>) {
        for id in self.batches.atomic.keys().cloned().collect::<Vec<_>>() {
            self.end_atomic(site, &id);
        }
        for id in self.batches.fast.keys().cloned().collect::<Vec<_>>() {
            self.end_fast(site, &id);
        }
    }
}

/// What follows the sequence in the acknowledgement of a batch.
fn put_suffix(out: &mut Vec<u8>, id: &[u8], count: u64) {
    out.clear();
    out.extend_from_slice(b",\"batch\":");
    crate::json::put_text(out, &String::from_utf8_lossy(id));
    out.extend_from_slice(b",\"count\":");
    out.extend_from_slice(base::text::Decimal::new(count).as_bytes());
    out.push(b'}');
}
