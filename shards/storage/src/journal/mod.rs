//! One core's journal: a stream of operations in blocks, in files that are used again and again.
//!
//! What is put in stands in the buffer that will be written. Once a turn what has come together is
//! handed to the disk as one write; while that is under way more comes together, for the next. A
//! few writes may be under way at a time, and count as durable in order.

pub(crate) mod block;
pub(crate) mod operation;
pub(crate) mod replay;
mod slots;

pub(crate) use slots::{Slots, Used};

use std::collections::VecDeque;

use base::{Duration, Time};

use crate::buffer::{BLOCK_BYTES, BlockPool, Blocks};
use crate::disk::{Action, DiskFailure, DiskRequest, File};
use crate::requests::{Requests, Wants};
use crate::store::Sync;
use crate::vault::Sealer;
use block::Head;

/// Blocks of one buffer: 256 KiB, at which a drive is as fast per byte as it gets.
const BUFFER_BLOCKS: usize = 64;
/// Writes under way at a time. A drive takes several at a time in little more than the time of one;
/// more would be emptier.
const FLIGHTS_MAX: usize = 4;
/// Bytes waiting for the disk at which publishers should pause.
const PRESSED_BYTES: usize = 8 << 20;
/// Quiet time after which a block says that those in front of it are durable, so that damage to
/// them can be told from a write that never finished.
const QUIET: Duration = Duration::from_millis(100);
/// How long to wait before asking a full disk again.
pub(crate) const FULL_RETRY: Duration = Duration::from_millis(250);

/// Blocks that wait to be written.
#[derive(Debug)]
struct Pending {
    blocks: Blocks,
    /// How far the journal is durable once these blocks are.
    end: u64,
}

/// A write under way.
#[derive(Debug)]
struct Flight {
    id: u64,
    /// One more than its last block.
    next: u64,
    end: u64,
    done: bool,
    /// What the disk had no room for, to be written again.
    again: Option<(File, u64, Blocks)>,
}

#[derive(Debug)]
pub(crate) struct Journal {
    store: u64,
    epoch: u64,
    epoch_base: u64,
    sync: Sync,
    pub(crate) slots: Slots,
    pool: BlockPool,
    /// The buffer that is filled, and the block of it.
    open: Option<(Blocks, usize)>,
    pending: VecDeque<Pending>,
    pending_bytes: usize,
    flights: VecDeque<Flight>,
    /// The next block to be handed to the disk.
    next: u64,
    /// The oldest block that is needed.
    oldest: u64,
    /// Blocks below this are written, and below `synced` on the drive for good.
    written: u64,
    synced: u64,
    /// What the last block handed to the disk says of `synced`.
    vouched: u64,
    ordered: u64,
    durable: u64,
    quiet_since: Time,
    sync_due: Time,
    /// A sync under way, and what it makes durable; the files that it is still waited for.
    syncing: Option<(u64, Vec<u64>)>,
    sync_wanted: bool,
    retry: Time,
    /// Was there no room for the last write?
    full: bool,
    /// Is a block to be written although nothing is to stand in it?
    block_wanted: bool,
    sealer: Option<Sealer>,
    /// Bytes of payload in a block.
    payload_bytes: usize,
}

/// Where a journal goes on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Resume {
    pub(crate) store: u64,
    pub(crate) epoch: u64,
    pub(crate) next: u64,
    pub(crate) oldest: u64,
}

impl Journal {
    pub(crate) fn new(resume: Resume, sync: Sync, slots: Slots, sealer: Option<Sealer>) -> Self {
        let Resume { store, epoch, next, oldest } = resume;
        assert!(oldest <= next);
        Self {
            store,
            epoch,
            epoch_base: next,
            sync,
            slots,
            pool: BlockPool::new(BUFFER_BLOCKS),
            open: None,
            pending: VecDeque::new(),
            pending_bytes: 0,
            flights: VecDeque::new(),
            next,
            oldest,
            written: next,
            synced: next,
            vouched: next,
            ordered: 0,
            durable: 0,
            quiet_since: Time(0),
            sync_due: Time::NEVER,
            syncing: None,
            sync_wanted: false,
            retry: Time::NEVER,
            full: false,
            block_wanted: false,
            payload_bytes: match sealer {
                Some(_) => block::SEALED_PAYLOAD_BYTES,
                None => block::PAYLOAD_BYTES,
            },
            sealer,
        }
    }

    /// Appends bytes of an operation.
    pub(crate) fn put(&mut self, mut bytes: &[u8], begins_record: bool) {
        self.ordered += bytes.len() as u64;
        self.pending_bytes += bytes.len();
        let mut begins = begins_record;
        while !bytes.is_empty() {
            let (blocks, at) = self.open.get_or_insert_with(|| {
                let mut blocks = self.pool.lend();
                block::begin(&mut blocks.bytes_mut()[..BLOCK_BYTES]);
                (blocks, 0)
            });
            let place = &mut blocks.bytes_mut()[*at * BLOCK_BYTES..][..BLOCK_BYTES];
            let count = block::fill(place, bytes, begins, self.payload_bytes);
            bytes = &bytes[count..];
            begins &= count == 0;
            if bytes.is_empty() {
                break;
            }
            *at += 1;
            if *at < blocks.count() {
                block::begin(&mut blocks.bytes_mut()[*at * BLOCK_BYTES..][..BLOCK_BYTES]);
            } else {
                let end = self.ordered - bytes.len() as u64;
                let (blocks, _) = self.open.take().expect("it was just filled");
                self.pending.push_back(Pending { blocks, end });
            }
        }
    }

    /// The block that the next byte goes to, or the one in front of it.
    pub(crate) fn block(&self) -> u64 {
        let waiting: usize = self.pending.iter().map(|pending| pending.blocks.count()).sum();
        self.next + waiting as u64 + self.open.as_ref().map_or(0, |(_, at)| *at as u64)
    }

    pub(crate) fn ordered(&self) -> u64 {
        self.ordered
    }

    pub(crate) fn durable(&self) -> u64 {
        self.durable
    }

    /// Blocks below this survive a loss of power.
    pub(crate) fn synced(&self) -> u64 {
        self.synced
    }

    /// Is there no room for more than what makes room?
    pub(crate) fn is_full(&self) -> bool {
        self.full || self.slots.is_short()
    }

    pub(crate) fn is_pressed(&self) -> bool {
        self.pending_bytes > PRESSED_BYTES
    }

    /// Asks for what was written so far to be synced, whatever the interval.
    pub(crate) fn want_sync(&mut self) {
        self.sync_wanted = true;
    }

    /// Asks for a block to be written where nothing else is, since room depends on what it says.
    pub(crate) fn want_block(&mut self) {
        self.block_wanted = self.is_full();
    }

    /// Nothing in front of a block is needed any more.
    pub(crate) fn release(&mut self, block: u64) {
        assert!(block >= self.oldest);
        assert!(block <= self.synced);
        self.oldest = block;
        self.slots.release(block, self.next);
        self.want_block();
    }

    /// Says that what is durable is, if it was quiet for a while; syncs if that is due.
    pub(crate) fn tick(&mut self, now: Time) {
        let is_idle = self.flights.is_empty() && self.pending.is_empty() && self.open.is_none();
        if !is_idle || self.vouched == self.next || self.synced < self.next {
            self.quiet_since = now;
        }
        if self.sync_due == Time::NEVER
            && let Sync::Every(interval) = self.sync
            && self.synced < self.next
        {
            self.sync_due = now.after(interval);
        }
        if now >= self.sync_due {
            self.sync_due = Time::NEVER;
            self.sync_wanted = true;
        }
        if self.is_quiet(now) {
            let mut blocks = self.pool.lend();
            block::begin(&mut blocks.bytes_mut()[..BLOCK_BYTES]);
            self.open = Some((blocks, 0));
        }
        if now >= self.retry {
            self.retry = Time::NEVER;
        }
        self.slots.tick(now);
    }

    /// Is nothing under way, was it so for a while, and is that still to be said?
    pub(crate) fn is_quiet(&self, now: Time) -> bool {
        let is_idle = self.flights.is_empty() && self.pending.is_empty() && self.open.is_none();
        is_idle && (self.block_wanted || now >= self.quiet_since.after(QUIET))
    }

    pub(crate) fn next_due(&self) -> Time {
        let is_idle = self.flights.is_empty() && self.pending.is_empty() && self.open.is_none();
        let quiet = is_idle && self.vouched < self.next && self.synced == self.next;
        if is_idle && self.block_wanted {
            return Time(0);
        }
        let quiet = if quiet { self.quiet_since.after(QUIET) } else { Time::NEVER };
        quiet.min(self.sync_due).min(self.retry).min(self.slots.next_due())
    }

    /// Hands over what has come together, as far as the disk should have it now.
    pub(crate) fn take_requests(
        &mut self,
        now: Time,
        numbers: (u64, u64),
        requests: &mut Requests<'_>,
    ) {
        if self.retry == Time::NEVER {
            for flight in &mut self.flights {
                if let Some((file, offset, blocks)) = flight.again.take() {
                    let durable = self.sync == Sync::Always;
                    let action = Action::Write { file, offset, blocks, durable };
                    requests.out.push(DiskRequest { id: Wants::Journal.id(flight.id), action });
                }
            }
        }
        while self.flights.len() < FLIGHTS_MAX && self.write_one(numbers, requests) {}
        self.request_sync(requests);
        self.slots.take_requests(now, requests);
    }

    /// Hands one buffer over. False if there is none, or no room for it.
    fn write_one(&mut self, numbers: (u64, u64), requests: &mut Requests<'_>) -> bool {
        if self.pending.is_empty() && self.open.is_none() {
            return false;
        }
        let Some((slot, index, room)) = self.slots.room(self.next) else { return false };
        let mut pending = self.pending.pop_front().unwrap_or_else(|| {
            let (mut blocks, at) = self.open.take().expect("one of the two is there");
            blocks.cut(at + 1);
            Pending { blocks, end: self.ordered }
        });
        if pending.blocks.count() > room {
            let rest = split(&mut pending.blocks, room);
            let end = std::mem::replace(&mut pending.end, self.last_end());
            self.pending.push_front(Pending { blocks: rest, end });
        }
        let count = pending.blocks.count();
        for (number, block) in (0..).zip(pending.blocks.bytes_mut().chunks_exact_mut(BLOCK_BYTES)) {
            let head = Head {
                store: self.store,
                slot,
                index: index + number as u32,
                number: self.next + number,
                epoch: self.epoch,
                epoch_base: self.epoch_base,
                oldest: self.oldest,
                durable: self.synced,
                next_log: numbers.0,
                next_segment: numbers.1,
                used: 0,
                first: None,
                seal: None,
            };
            block::finish(block, &head, self.sealer.as_ref());
        }
        self.vouched = self.synced;
        self.block_wanted = false;
        self.next += count as u64;
        self.slots.used(count as u32);
        let id = requests.number();
        let end = pending.end;
        self.flights.push_back(Flight { id, next: self.next, end, done: false, again: None });
        let action = Action::Write {
            file: File::Journal(slot),
            offset: u64::from(index) * BLOCK_BYTES as u64,
            blocks: pending.blocks,
            durable: self.sync == Sync::Always,
        };
        requests.out.push(DiskRequest { id: Wants::Journal.id(id), action });
        true
    }

    /// Where the last write handed over ends.
    fn last_end(&self) -> u64 {
        self.flights.back().map_or(self.durable, |flight| flight.end)
    }

    fn request_sync(&mut self, requests: &mut Requests<'_>) {
        if !self.sync_wanted || self.sync == Sync::Always || self.syncing.is_some() {
            return;
        }
        self.sync_wanted = false;
        if self.written == self.synced {
            return;
        }
        let mut waited = Vec::new();
        for slot in self.slots.holding(self.synced, self.written) {
            let id = requests.number();
            waited.push(id);
            let action = Action::Sync { file: File::Journal(slot) };
            requests.out.push(DiskRequest { id: Wants::Journal.id(id), action });
        }
        self.syncing = Some((self.written, waited));
    }

    /// Takes the outcome of a write or sync of the journal.
    pub(crate) fn completed(
        &mut self,
        id: u64,
        blocks: Option<Blocks>,
        outcome: Result<(), DiskFailure>,
    ) -> Result<(), DiskFailure> {
        let Some(flight) = self.flights.iter_mut().find(|flight| flight.id == id) else {
            return self.synced_one(id, outcome);
        };
        match (outcome, blocks) {
            (Ok(()), blocks) => {
                flight.done = true;
                self.full = false;
                if let Some(blocks) = blocks {
                    self.pool.give_back(blocks);
                }
            }
            (Err(DiskFailure::Full), Some(blocks)) => {
                let (file, offset) = place_of(&blocks);
                flight.again = Some((file, offset, blocks));
                self.full = true;
                return Err(DiskFailure::Full);
            }
            (Err(failure), _) => return Err(failure),
        }
        while let Some(flight) = self.flights.pop_front_if(|flight| flight.done) {
            self.pending_bytes -= (flight.end - self.durable) as usize;
            self.durable = flight.end;
            self.written = flight.next;
            if self.sync == Sync::Always {
                self.is_synced(flight.next);
            }
        }
        Ok(())
    }

    /// The disk is full: asks again after a while.
    pub(crate) fn wait_for_room(&mut self, now: Time) {
        self.retry = now.after(FULL_RETRY);
    }

    fn synced_one(&mut self, id: u64, outcome: Result<(), DiskFailure>) -> Result<(), DiskFailure> {
        outcome?;
        let (until, waited) = self.syncing.as_mut().expect("a sync was asked for");
        waited.retain(|other| *other != id);
        if waited.is_empty() {
            let until = *until;
            self.syncing = None;
            self.is_synced(until);
        }
        Ok(())
    }

    fn is_synced(&mut self, until: u64) {
        self.synced = self.synced.max(until);
        self.slots.synced(self.synced);
    }
}

/// Cuts a buffer and returns what was behind the cut.
fn split(blocks: &mut Blocks, count: usize) -> Blocks {
    let mut rest = Blocks::new(blocks.count() - count);
    rest.bytes_mut().copy_from_slice(&blocks.bytes()[count * BLOCK_BYTES..]);
    blocks.cut(count);
    rest
}

/// Where blocks of the journal were to be written, as their heads say.
fn place_of(blocks: &Blocks) -> (File, u64) {
    let head = block::read(&blocks.bytes()[..BLOCK_BYTES]).expect("it was just finished");
    (File::Journal(head.slot), u64::from(head.index) * BLOCK_BYTES as u64)
}
