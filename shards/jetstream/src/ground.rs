//! What all streams of a core share, and what one of them sees while it works.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use base::{Duration, Moment, Random, Time, Wall};
use storage::{Kind, Store};

use crate::account::Account;
use crate::parcel::Parcel;
use crate::stream::acks::Acks;
use crate::stream::batch::BatchCount;
use crate::stream::config::Storage;
use crate::stream::{Core, View, Wanted};
use crate::{Config, Outlet, Services, StreamId};

/// What all streams of a core share.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) config: Config,
    pub(crate) store: Store,
    pub(crate) services: Services,
    pub(crate) random: Random,
    pub(crate) parcel: Parcel,
    pub(crate) wanted: Vec<Wanted>,
    /// Publishes whose acknowledgement waits for the disk.
    pub(crate) acks: Acks,
    /// Streams that something happened to in this turn.
    pub(crate) listed: Vec<StreamId>,
    /// Streams that wait for a read of their own.
    pub(crate) readers: Vec<StreamId>,
    /// Streams with a consumer that waits for a read, or for more to be durable.
    pub(crate) awaiting: Vec<StreamId>,
    pub(crate) totals: Totals,
    /// Batches that were begun and not yet brought to an end.
    pub(crate) batches: BatchCount,
    /// When streams are due. Some entries may be out of date: the stream itself knows.
    pub(crate) dues: BinaryHeap<Reverse<(Time, StreamId)>>,
    /// Buffers: for a subject that is transformed, a message that is rewritten, an acknowledgement,
    /// and the subject of a message that is removed.
    pub(crate) subject: Vec<u8>,
    pub(crate) scratch: Vec<u8>,
    pub(crate) ack: Vec<u8>,
    pub(crate) removed: Vec<u8>,
}

/// What is used of memory and disk, and what `max_bytes` of streams lays claim to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes that messages in memory count for.
    pub memory: u64,
    /// Bytes that messages on disk count for.
    pub file: u64,
    /// Bytes of memory that `max_bytes` reserves.
    pub reserved_memory: u64,
    /// Bytes on disk that `max_bytes` reserves.
    pub reserved_file: u64,
}

/// What the whole core uses.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) usage: Usage,
    pub(crate) api_total: u64,
    pub(crate) api_errors: u64,
}

impl Usage {
    pub(crate) const fn used(&self, storage: Storage) -> u64 {
        match storage {
            Storage::Memory => self.memory,
            Storage::File => self.file,
        }
    }

    pub(crate) const fn reserved(&self, storage: Storage) -> u64 {
        match storage {
            Storage::Memory => self.reserved_memory,
            Storage::File => self.reserved_file,
        }
    }

    /// Replaces what a stream counted for.
    pub(crate) fn replace(&mut self, storage: Storage, old: u64, new: u64) {
        let used = match storage {
            Storage::Memory => &mut self.memory,
            Storage::File => &mut self.file,
        };
        assert!(*used >= old, "a stream's bytes were counted before");
        *used = *used - old + new;
    }

    /// Replaces what a stream laid claim to: its `max_bytes`, if it has one.
    pub(crate) fn replace_claim(&mut self, storage: Storage, old: i64, new: i64) {
        let reserved = match storage {
            Storage::Memory => &mut self.reserved_memory,
            Storage::File => &mut self.reserved_file,
        };
        let (old, new) = (old.max(0).unsigned_abs(), new.max(0).unsigned_abs());
        assert!(*reserved >= old, "a stream's claim was counted before");
        *reserved = (*reserved - old).saturating_add(new);
    }
}

/// The kind of log for a kind of storage.
pub(crate) const fn kind_of(storage: Storage) -> Kind {
    match storage {
        Storage::Memory => Kind::Memory,
        Storage::File => Kind::File,
    }
}

/// The surroundings of one stream for the length of a call.
pub(crate) struct Site<'a> {
    pub(crate) now: Moment,
    pub(crate) ground: &'a mut Ground,
    pub(crate) account: &'a mut Account,
    pub(crate) out: &'a mut dyn Outlet,
}

impl Ground {
    pub(crate) fn new(config: Config, store: Store) -> Self {
        Self {
            random: Random::new(config.seed),
            config,
            store,
            services: Services::default(),
            parcel: Parcel::default(),
            wanted: Vec::new(),
            acks: Acks::default(),
            listed: Vec::new(),
            readers: Vec::new(),
            awaiting: Vec::new(),
            totals: Totals::default(),
            batches: BatchCount::default(),
            dues: BinaryHeap::new(),
            subject: Vec::new(),
            scratch: Vec::new(),
            ack: Vec::new(),
            removed: Vec::new(),
        }
    }

    /// Notes when a stream is due.
    pub(crate) fn note_due(&mut self, stream: StreamId, due: Time) {
        if due < Time::NEVER {
            self.dues.push(Reverse((due, stream)));
        }
    }

    /// What consumers of a stream see.
    pub(crate) fn view<'a>(
        &'a mut self,
        now: Moment,
        core: &'a Core,
        account: &'a Account,
    ) -> View<'a> {
        View {
            now,
            server: &self.config,
            limits: &account.limits,
            account_name: &account.name,
            account_consumers: account.consumers,
            core,
            store: &mut self.store,
            services: &mut self.services,
            random: &mut self.random,
            parcel: &mut self.parcel,
            wanted: &mut self.wanted,
        }
    }
}

/// When the monotonic clock will stand where the world's clock says `wall`, if that does not jump.
pub(crate) fn time_at(now: Moment, wall: Wall) -> Time {
    let ahead = wall.0.saturating_sub(now.wall.0);
    now.time.after(Duration::from_nanos(ahead.max(0).unsigned_abs()))
}
