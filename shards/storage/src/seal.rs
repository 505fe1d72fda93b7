//! Writing one segment: made under another name, written, synced, and only then given its own.

use std::collections::VecDeque;

use base::Time;

use crate::buffer::{BLOCK_BYTES, Blocks};
use crate::disk::{Action, DiskFailure, DiskRequest, File};
use crate::frames::Frames;
use crate::log::Whereabouts;
use crate::log::segment::Segment;
use crate::requests::{Requests, Wants};
use crate::segment_file::Image;
use crate::store::LogId;

/// Writes of one segment under way at a time.
const WRITES_MAX: usize = 2;

/// A part on its way to the segment.
#[derive(Debug)]
pub(crate) struct Sealing {
    pub(crate) id: LogId,
    pub(crate) uid: u64,
    pub(crate) place: (Whereabouts, Option<Frames>),
    /// The part's number in its log.
    pub(crate) part: u64,
    /// Where it takes the place of several: its index, and their numbers.
    pub(crate) merged: Option<(Segment, Vec<u64>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Create,
    Write,
    Sync,
    Rename,
    Failed,
}

/// The segment that is being written.
#[derive(Debug)]
pub(crate) struct Build {
    pub(crate) number: u64,
    pub(crate) parts: Vec<Sealing>,
    bytes: u64,
    pieces: VecDeque<(u64, Blocks)>,
    stage: Stage,
    waiting: usize,
    failure: DiskFailure,
}

/// What became of a step.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// There is more to do.
    More,
    /// The segment is there for good.
    Done,
}

impl Build {
    pub(crate) fn new(image: Image, parts: Vec<Sealing>) -> Self {
        let mut offset = 0;
        let mut pieces = VecDeque::new();
        let bytes = image.bytes;
        for piece in image.pieces {
            let length = piece.count() * BLOCK_BYTES;
            pieces.push_back((offset, piece));
            offset += length as u64;
        }
        assert_eq!(offset, bytes);
        Self {
            number: image.number,
            parts,
            bytes,
            pieces,
            stage: Stage::Create,
            waiting: 0,
            failure: DiskFailure::Failed,
        }
    }

    pub(crate) fn take_requests(&mut self, requests: &mut Requests<'_>) {
        let file = File::SegmentDraft(self.number);
        while self.waiting < if self.stage == Stage::Write { WRITES_MAX } else { 1 } {
            let action = match self.stage {
                Stage::Create => Action::Create { file, bytes: self.bytes },
                Stage::Write => match self.pieces.pop_front() {
                    Some((offset, blocks)) => {
                        Action::Write { file, offset, blocks, durable: false }
                    }
                    None => return,
                },
                Stage::Sync => Action::Sync { file },
                Stage::Failed => return,
                Stage::Rename => Action::Rename { file, to: File::Segment(self.number) },
            };
            self.waiting += 1;
            let id = Wants::Seal.id(requests.number());
            requests.out.push(DiskRequest { id, action });
        }
    }

    /// Takes the outcome of a request. Where one fails the others are waited for.
    pub(crate) fn completed(
        &mut self,
        outcome: Result<(), DiskFailure>,
    ) -> Result<Step, DiskFailure> {
        self.waiting -= 1;
        if let Err(failure) = outcome {
            self.failure = failure;
            self.stage = Stage::Failed;
            self.pieces.clear();
        }
        if self.waiting > 0 || (self.stage == Stage::Write && !self.pieces.is_empty()) {
            return Ok(Step::More);
        }
        self.stage = match self.stage {
            Stage::Create => Stage::Write,
            Stage::Write => Stage::Sync,
            Stage::Sync => Stage::Rename,
            Stage::Rename => return Ok(Step::Done),
            Stage::Failed => return Err(self.failure),
        };
        Ok(Step::More)
    }
}

/// What waits to be sealed.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    pub(crate) parts: VecDeque<(LogId, u64, u64)>,
    /// Nothing is begun before this: the disk was full.
    pub(crate) not_before: Time,
}
