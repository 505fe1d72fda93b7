//! What a store has on disk, and what is under way there.

use std::collections::{HashMap, HashSet, VecDeque};

use ahash::RandomState;
use base::Time;

use crate::compact::Compaction;
use crate::damage::Damage;
use crate::disk::{DiskRequest, File};
use crate::fetch::Cache;
use crate::journal::Journal;
use crate::journal::operation::{self, Operation};
use crate::log::Log;
use crate::seal::{Build, Queue};
use crate::store::LogId;
use crate::vault::{Sealer, Vault};

/// The oldest file of the journal is made free.
#[derive(Debug)]
pub(crate) struct Recycle {
    /// One more than its last block.
    pub(crate) end: u64,
    /// Logs whose snapshot is in it.
    pub(crate) logs: VecDeque<(LogId, u64)>,
    /// Parts that are to be sealed before.
    pub(crate) awaited: Vec<(LogId, u64, u64)>,
    /// The block that has to be durable, once every log has another snapshot.
    pub(crate) written: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) store: u64,
    pub(crate) journal: Journal,
    pub(crate) queue: Queue,
    pub(crate) build: Option<Build>,
    pub(crate) compaction: Compaction,
    pub(crate) cache: Cache,
    /// Segments, and how many of their parts are still needed.
    pub(crate) segments: HashMap<u64, u32, RandomState>,
    /// Segments that nobody needs once a block of the journal is durable, and that block.
    pub(crate) dropped: VecDeque<(u64, u64)>,
    /// Segments that are set aside once nobody needs them, and not deleted.
    pub(crate) damaged: HashSet<u64, RandomState>,
    /// Seals segments, and opens them.
    pub(crate) sealer: Option<Sealer>,
    pub(crate) vault: Vault,
    /// Logs whose name stands in the journal only once, by number.
    pub(crate) unnamed: VecDeque<u64>,
    pub(crate) removals: Vec<File>,
    pub(crate) renames: Vec<(File, File)>,
    pub(crate) recycle: Option<Recycle>,
    pub(crate) next_log: u64,
    pub(crate) next_segment: u64,
    /// Bytes of a journal file.
    pub(crate) file_bytes: u64,
    pub(crate) operations: u64,
    pub(crate) fenced: bool,
    pub(crate) damage: Vec<Damage>,
    /// What of it was reported, as it is shown.
    pub(crate) known_damage: Vec<String>,
    /// Requests that follow from the outcome of others.
    pub(crate) again: Vec<DiskRequest>,
    pub(crate) requests: u64,
    pub(crate) now: Time,
    pub(crate) scratch: Vec<u8>,
}

impl Files {
    /// Puts an operation of a log into the journal. Returns where it ends.
    pub(crate) fn enter(&mut self, log: &mut Log, operation: &Operation<'_>) -> u64 {
        log.operations += 1;
        self.put(log.uid, log.operations, operation)
    }

    fn put(&mut self, log: u64, number: u64, operation: &Operation<'_>) -> u64 {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        operation::put(&mut scratch, log, number, operation);
        self.journal.put(&scratch, true);
        // One large snapshot should not be remembered.
        scratch.shrink_to(64 * 1024);
        self.scratch = scratch;
        self.journal.ordered()
    }

    /// Would the log be known to the journal after a loss of power? A segment that stands there
    /// before would seem to be all that is left of the journal.
    pub(crate) fn is_known(&self, log: &Log) -> bool {
        self.journal.durable() >= log.known
    }

    /// Puts the message that was just appended to a log into the journal.
    #[inline]
    pub(crate) fn enter_append(&mut self, log: &mut Log) -> u64 {
        log.operations += 1;
        let (uid, number) = (log.uid, log.operations);
        let record = log.last_record();
        let frame = operation::append_frame(record.len(), uid, number);
        self.journal.put(&frame, true);
        self.journal.put(record, false);
        self.journal.ordered()
    }

    /// A part of a log stands in a segment no longer.
    pub(crate) fn leave(&mut self, segment: u64) {
        let parts = self.segments.get_mut(&segment).expect("the part stood there");
        *parts -= 1;
        if *parts > 0 {
            return;
        }
        self.segments.remove(&segment);
        self.cache.forget(segment);
        self.operations += 1;
        let number = self.operations;
        self.put(operation::NO_LOG, number, &Operation::Dropped(segment));
        self.dropped.push_back((self.journal.block(), segment));
    }

    /// Takes up what a log left behind.
    pub(crate) fn settle(&mut self, log: &mut Log) {
        while let Some(segment) = log.left.pop() {
            self.leave(segment);
        }
    }

    pub(crate) fn new_segment(&mut self) -> u64 {
        self.next_segment += 1;
        self.next_segment - 1
    }
}
