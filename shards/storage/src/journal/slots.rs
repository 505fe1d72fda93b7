//! The journal's files: made ahead of time, filled with zeros, used one behind the other, and used
//! again once nothing in them is needed.

use std::collections::VecDeque;

use base::Time;

use super::FULL_RETRY;
use crate::buffer::{BLOCK_BYTES, Blocks};
use crate::disk::{Action, DiskFailure, DiskRequest, File};
use crate::requests::{Requests, Wants};

/// Blocks of zeros in one write: moderate, so that a drive without protection against power loss
/// is not held up.
const ZEROS_BLOCKS: u32 = 64;

/// The share of a file that is kept for what makes room where the disk is full: 2 MiB.
const RESERVE_SHARE: u32 = 8;

/// A file in use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Used {
    pub(crate) slot: u32,
    /// The number of its first block.
    pub(crate) base: u64,
    pub(crate) blocks: u32,
}

impl Used {
    pub(crate) fn end(self) -> u64 {
        self.base + u64::from(self.blocks)
    }
}

/// The file that is being made.
#[derive(Debug)]
struct Making {
    slot: u32,
    stage: Stage,
    /// The request that is waited for.
    id: Option<u64>,
    /// Not asked for again before this.
    not_before: Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Create,
    /// Blocks that are zero.
    Zero(u32),
    Sync,
    Rename,
}

#[derive(Debug)]
pub(crate) struct Slots {
    /// Blocks of a new file.
    file_blocks: u32,
    /// Files that are made without being asked for, and how many there may be.
    least: usize,
    most: usize,
    /// In use, oldest first; the last is being filled.
    used: VecDeque<Used>,
    /// Blocks of the last that are in use.
    index: u32,
    /// Ready to be used.
    free: VecDeque<(u32, u32)>,
    /// No longer needed, once a block with this number has said so for good.
    freeing: VecDeque<(u32, u32, u64)>,
    making: Option<Making>,
    /// Was there no room for the file that was to be made last?
    failed: bool,
    next_slot: u32,
}

impl Slots {
    pub(crate) fn new(file_blocks: u32, least: usize, most: usize) -> Self {
        assert!(file_blocks >= 2);
        assert!(least <= most);
        Self {
            file_blocks,
            least,
            most,
            used: VecDeque::new(),
            index: 0,
            free: VecDeque::new(),
            freeing: VecDeque::new(),
            making: None,
            failed: false,
            next_slot: 0,
        }
    }

    /// A file that was found, of which nothing is needed.
    pub(crate) fn found_free(&mut self, slot: u32, blocks: u32) {
        self.next_slot = self.next_slot.max(slot.saturating_add(1));
        self.free.push_back((slot, blocks));
    }

    /// A file that is set aside: its number is not given to another.
    pub(crate) fn found_aside(&mut self, slot: u32) {
        self.next_slot = self.next_slot.max(slot.saturating_add(1));
    }

    /// A file that was found, later than those in front of it. `next` is the block that comes next.
    pub(crate) fn found_used(&mut self, used: Used, next: u64) {
        self.next_slot = self.next_slot.max(used.slot.saturating_add(1));
        self.index = next.saturating_sub(used.base).min(u64::from(used.blocks)) as u32;
        self.used.push_back(used);
    }

    /// The oldest file in use, if `count` or more are.
    pub(crate) fn oldest_of(&self, count: usize) -> Option<Used> {
        self.used.front().copied().filter(|_| self.used.len() >= count)
    }

    /// Is there a file to write to?
    pub(crate) fn is_ready(&self) -> bool {
        !self.free.is_empty() || self.used.back().is_some_and(|used| self.index < used.blocks)
    }

    /// Is there no room for another file, and little left in the one that is being filled? What is
    /// left is for what makes room: messages that are removed, segments that are dropped.
    pub(crate) fn is_short(&self) -> bool {
        let left = self.used.back().map_or(0, |used| used.blocks - self.index);
        self.failed && self.free.is_empty() && left <= self.file_blocks / RESERVE_SHARE
    }

    /// Where the block of this number goes, and how many fit there.
    pub(crate) fn room(&mut self, next: u64) -> Option<(u32, u32, usize)> {
        if let Some(used) = self.used.back()
            && self.index < used.blocks
        {
            return Some((used.slot, self.index, (used.blocks - self.index) as usize));
        }
        let (slot, blocks) = self.free.pop_front()?;
        self.used.push_back(Used { slot, base: next, blocks });
        self.index = 0;
        Some((slot, 0, blocks as usize))
    }

    pub(crate) fn used(&mut self, count: u32) {
        self.index += count;
    }

    /// Nothing in front of a block is needed; `next` is the first block that will say so.
    pub(crate) fn release(&mut self, block: u64, next: u64) {
        while self.used.len() > 1
            && let Some(used) = self.used.pop_front_if(|used| used.end() <= block)
        {
            self.freeing.push_back((used.slot, used.blocks, next));
        }
    }

    /// Blocks below `synced` are on the drive for good.
    pub(crate) fn synced(&mut self, synced: u64) {
        while let Some((slot, blocks, _)) = self.freeing.pop_front_if(|(.., said)| *said < synced) {
            self.free.push_back((slot, blocks));
        }
    }

    /// The files that hold blocks of a range.
    pub(crate) fn holding(&self, from: u64, until: u64) -> impl Iterator<Item = u32> {
        let holds = move |used: &&Used| used.base < until && used.end() > from;
        self.used.iter().filter(holds).map(|used| used.slot)
    }

    pub(crate) fn tick(&mut self, now: Time) {
        let count = self.used.len() + self.free.len() + self.freeing.len();
        // One ahead of the one in use. Where all there may be wait for a block to say that they are
        // free, that block has to go somewhere.
        let is_stuck = !self.freeing.is_empty() && !self.is_ready();
        let wanted = count < self.least || (self.free.is_empty() && count < self.most) || is_stuck;
        if self.making.is_none() && wanted {
            let slot = self.next_slot;
            self.next_slot += 1;
            self.making = Some(Making { slot, stage: Stage::Create, id: None, not_before: now });
        }
    }

    pub(crate) fn next_due(&self) -> Time {
        let waits = self.making.as_ref().filter(|making| making.id.is_none());
        waits.map_or(Time::NEVER, |making| making.not_before)
    }

    pub(crate) fn take_requests(&mut self, now: Time, requests: &mut Requests<'_>) {
        let Some(making) = &mut self.making else { return };
        if making.id.is_some() || now < making.not_before {
            return;
        }
        let file = File::JournalDraft(making.slot);
        let action = match making.stage {
            Stage::Create => {
                let bytes = u64::from(self.file_blocks) * BLOCK_BYTES as u64;
                Action::Create { file, bytes }
            }
            Stage::Zero(done) => Action::Write {
                file,
                offset: u64::from(done) * BLOCK_BYTES as u64,
                blocks: Blocks::new(ZEROS_BLOCKS.min(self.file_blocks - done) as usize),
                durable: false,
            },
            Stage::Sync => Action::Sync { file },
            Stage::Rename => Action::Rename { file, to: File::Journal(making.slot) },
        };
        let id = requests.number();
        making.id = Some(id);
        requests.out.push(DiskRequest { id: Wants::Slot.id(id), action });
    }

    /// Takes the outcome of a step in making a file.
    pub(crate) fn completed(
        &mut self,
        now: Time,
        outcome: Result<(), DiskFailure>,
    ) -> Result<(), DiskFailure> {
        let making = self.making.as_mut().expect("a step was asked for");
        making.id = None;
        self.failed = outcome == Err(DiskFailure::Full);
        if let Err(failure) = outcome {
            // Nothing of it is needed: it is begun anew.
            making.stage = Stage::Create;
            making.not_before = now.after(FULL_RETRY);
            return Err(failure);
        }
        making.stage = match making.stage {
            Stage::Create => Stage::Zero(0),
            Stage::Zero(done) if done + ZEROS_BLOCKS < self.file_blocks => {
                Stage::Zero(done + ZEROS_BLOCKS)
            }
            Stage::Zero(_) => Stage::Sync,
            Stage::Sync => Stage::Rename,
            Stage::Rename => {
                self.free.push_back((making.slot, self.file_blocks));
                self.making = None;
                return Ok(());
            }
        };
        Ok(())
    }
}
