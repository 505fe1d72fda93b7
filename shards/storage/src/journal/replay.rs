//! What a journal's files say when a store opens: which blocks are whole, where they begin and end,
//! and the operations in them, in order.

use std::collections::BTreeMap;
use std::ops::Range;

use super::block::{self, Head};
use super::operation::{self, Entered};
use super::slots::Used;
use crate::buffer::{BLOCK_BYTES, Blocks};
use crate::vault::Vault;

/// A file of the journal, read whole.
#[derive(Debug)]
pub(crate) struct SlotBytes {
    pub(crate) slot: u32,
    pub(crate) blocks: Blocks,
    /// Is one of its blocks whole? [`Replay::of`] finds out.
    pub(crate) has_whole: bool,
}

impl SlotBytes {
    /// Does something stand in it, and no block that is whole? Where nothing was written there are
    /// zeros.
    pub(crate) fn is_ruined(&self) -> bool {
        !self.has_whole && self.blocks.bytes().iter().any(|byte| *byte != 0)
    }
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    /// Every block that counts: its head, the file and the place in it.
    blocks: Vec<(Head, usize)>,
    /// Blocks that had been durable and are not whole.
    pub(crate) lost: Vec<Range<u64>>,
    /// Files in use, in order.
    pub(crate) used: Vec<Used>,
    /// The store's number; nothing if there is no journal.
    pub(crate) store: Option<u64>,
    pub(crate) epoch: u64,
    /// The first block that is needed, and the one that comes next.
    pub(crate) oldest: u64,
    pub(crate) next: u64,
    pub(crate) next_log: u64,
    pub(crate) next_segment: u64,
    /// Blocks that are whole and could be decrypted, and some that could not.
    pub(crate) opened: usize,
    pub(crate) locked: usize,
}

impl Replay {
    /// Looks through the files, and decrypts what in them is encrypted.
    pub(crate) fn of(files: &mut [SlotBytes], vault: &mut Vault) -> Self {
        let mut found: Vec<(Head, usize)> = Vec::new();
        let (mut opened, mut locked) = (0, 0);
        for (place, file) in files.iter_mut().enumerate() {
            let slot = file.slot;
            let blocks = file.blocks.bytes_mut().chunks_exact_mut(BLOCK_BYTES);
            for (index, bytes) in (0_u32..).zip(blocks) {
                let head = block::read(bytes);
                let in_place = head.filter(|head| head.slot == slot && head.index == index);
                let Some(head) = in_place else { continue };
                file.has_whole = true;
                if block::open(bytes, &head, vault) {
                    opened += usize::from(head.seal.is_some());
                    found.push((head, place));
                } else {
                    locked += 1;
                }
            }
        }
        let Some(newest) = found.iter().map(|(head, _)| (head.epoch, head.number)).max() else {
            return Self { opened, locked, ..Self::default() };
        };
        let is_newest = |(head, _): &&(Head, usize)| (head.epoch, head.number) == newest;
        let store = found.iter().find(is_newest).map(|(head, _)| head.store);
        found.retain(|(head, _)| Some(head.store) == store);
        let mut replay = Self { store, epoch: newest.0, opened, locked, ..Self::default() };
        let valid = replay.without_void(found);
        replay.choose(valid);
        replay.name_files(files);
        replay
    }

    /// Leaves out what an epoch wrote beyond the beginning of a later one.
    fn without_void(&mut self, found: Vec<(Head, usize)>) -> BTreeMap<u64, (Head, usize)> {
        let mut bases: BTreeMap<u64, u64> = BTreeMap::new();
        for (head, _) in &found {
            bases.insert(head.epoch, head.epoch_base);
            self.next_log = self.next_log.max(head.next_log);
            self.next_segment = self.next_segment.max(head.next_segment);
        }
        let mut limit = u64::MAX;
        let mut limits = BTreeMap::new();
        for (epoch, base) in bases.iter().rev() {
            limits.insert(*epoch, limit);
            limit = limit.min(*base);
        }
        let is_valid = |head: &Head| head.number < limits[&head.epoch];
        let valid = found.into_iter().filter(|(head, _)| is_valid(head));
        valid.map(|(head, file)| (head.number, (head, file))).collect()
    }

    /// Finds where the journal begins and ends. Blocks that are not there although a later one says
    /// that they were durable are lost; in front of such that nobody vouches for it ends.
    fn choose(&mut self, valid: BTreeMap<u64, (Head, usize)>) {
        let heads = || valid.values().map(|(head, _)| head);
        self.oldest = heads().map(|head| head.oldest).max().unwrap_or(0);
        let vouched = heads().map(|head| head.durable).max().unwrap_or(0);
        let mut expected = self.oldest;
        for (number, (head, file)) in valid {
            if number < self.oldest {
                continue;
            }
            if number > expected {
                if expected < vouched {
                    self.lost.push(expected..number.min(vouched));
                }
                if number > vouched {
                    break;
                }
            }
            self.blocks.push((head, file));
            expected = number + 1;
        }
        if expected < vouched && self.lost.last().is_none_or(|lost| lost.end <= expected) {
            self.lost.push(expected..vouched);
        }
        self.next = expected.max(vouched);
    }

    fn name_files(&mut self, files: &[SlotBytes]) {
        for (head, file) in &self.blocks {
            let slot = head.slot;
            if self.used.last().is_none_or(|used| used.slot != slot) {
                let blocks = files[*file].blocks.count() as u32;
                self.used.push(Used { slot, base: head.number - u64::from(head.index), blocks });
            }
        }
    }

    /// Goes through what stands in blocks that follow each other.
    pub(crate) fn runs(&self, files: &[SlotBytes], visit: &mut dyn FnMut(&[u8])) {
        let mut run: Vec<u8> = Vec::new();
        let mut expected = None;
        for (head, file) in &self.blocks {
            if expected != Some(head.number) {
                visit(&run);
                run.clear();
            }
            expected = Some(head.number + 1);
            let at = head.index as usize * BLOCK_BYTES;
            let bytes = &files[*file].blocks.bytes()[at..at + BLOCK_BYTES];
            run.extend_from_slice(block::payload(bytes, head));
        }
        visit(&run);
    }

    /// Goes through the operations in order, with the block that each begins in. Returns the blocks
    /// in which something stood that is none.
    pub(crate) fn walk(
        &self,
        files: &[SlotBytes],
        visit: &mut dyn FnMut(u64, &Entered<'_>),
    ) -> Vec<u64> {
        let mut strange = Vec::new();
        let mut partial: Vec<u8> = Vec::new();
        let mut began = 0;
        let (mut expected, mut in_step) = (None, false);
        for (head, file) in &self.blocks {
            let at = head.index as usize * BLOCK_BYTES;
            let bytes = &files[*file].blocks.bytes()[at..at + BLOCK_BYTES];
            let mut payload = block::payload(bytes, head);
            let continues = expected == Some(head.number) && head.number != head.epoch_base;
            expected = Some(head.number + 1);
            if !continues {
                partial.clear();
                in_step = false;
            }
            if !in_step {
                // The end of something whose beginning is not there.
                let Some(first) = head.first else { continue };
                payload = &payload[usize::from(first)..];
                in_step = true;
            }
            if !partial.is_empty() {
                payload = complete(&mut partial, payload);
                if is_whole(&partial) {
                    match operation::read(&partial[4..]) {
                        Some(entered) => visit(began, &entered),
                        None => strange.push(began),
                    }
                    partial.clear();
                }
            }
            if partial.is_empty() {
                began = head.number;
                let rest = whole_ones(payload, &mut |operation| match operation {
                    Some(entered) => visit(began, entered),
                    None => strange.push(began),
                });
                partial.extend_from_slice(rest);
            }
        }
        strange
    }
}

/// Bytes of the operation that begins here, with its length, once that is known.
fn length(bytes: &[u8]) -> Option<usize> {
    let length = u32::from_le_bytes(*bytes.first_chunk()?);
    Some(length as usize + 4)
}

fn is_whole(partial: &[u8]) -> bool {
    length(partial).is_some_and(|length| partial.len() == length)
}

/// Moves what belongs to the operation that was begun.
fn complete<'a>(partial: &mut Vec<u8>, payload: &'a [u8]) -> &'a [u8] {
    let head = 4_usize.saturating_sub(partial.len()).min(payload.len());
    partial.extend_from_slice(&payload[..head]);
    let missing = length(partial).map_or(0, |length| length - partial.len());
    let body = missing.min(payload.len() - head);
    partial.extend_from_slice(&payload[head..head + body]);
    &payload[head + body..]
}

/// Visits the operations that are whole, and returns the beginning of one that is not.
fn whole_ones<'a>(mut payload: &'a [u8], visit: &mut dyn FnMut(Option<&Entered<'_>>)) -> &'a [u8] {
    while let Some(length) = length(payload)
        && let Some((operation, rest)) = payload.split_at_checked(length)
    {
        visit(operation::read(&operation[4..]).as_ref());
        payload = rest;
    }
    payload
}
