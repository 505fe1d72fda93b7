//! What the disk is to do, and what came of it.
//!
//! The store asks; `src/reactor/disk.rs` or a simulated disk performs, in any order and any number
//! at a time, and hands each request's outcome back. Requests on which others depend are not made
//! before those have come back, so that a disk need not know any order.

use std::fmt;

use crate::buffer::Blocks;

/// A file of the store, by what it is for. [`Display`](fmt::Display) gives its path below the
/// store's folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum File {
    /// A file of the journal, ready to be written.
    Journal(u32),
    /// A file of the journal that is not filled with zeros yet.
    JournalDraft(u32),
    /// A segment, whole.
    Segment(u64),
    /// A segment that is being written.
    SegmentDraft(u64),
    /// A segment that was set aside, damaged.
    AsideSegment(u64),
    /// The same of a file of the journal.
    AsideJournal(u32),
}

/// The folders that files stand in, below the store's.
pub const FOLDERS: [&str; 3] = ["journal", "segments", "aside"];

impl fmt::Display for File {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Journal(slot) => write!(formatter, "journal/{slot:08x}.journal"),
            Self::JournalDraft(slot) => write!(formatter, "journal/{slot:08x}.draft"),
            Self::Segment(number) => write!(formatter, "segments/{number:016x}.segment"),
            Self::SegmentDraft(number) => write!(formatter, "segments/{number:016x}.draft"),
            Self::AsideSegment(number) => write!(formatter, "aside/{number:016x}.segment"),
            Self::AsideJournal(slot) => write!(formatter, "aside/{slot:08x}.journal"),
        }
    }
}

impl File {
    /// The file of a path below the store's folder, if it is one of the store's.
    pub fn parse(path: &str) -> Option<Self> {
        let (folder, name) = path.split_once('/')?;
        let (digits, kind) = name.split_once('.')?;
        let number = u64::from_str_radix(digits, 16).ok()?;
        let slot = u32::try_from(number);
        let file = match (folder, kind) {
            ("journal", "journal") => Self::Journal(slot.ok()?),
            ("journal", "draft") => Self::JournalDraft(slot.ok()?),
            ("segments", "segment") => Self::Segment(number),
            ("segments", "draft") => Self::SegmentDraft(number),
            ("aside", "segment") => Self::AsideSegment(number),
            ("aside", "journal") => Self::AsideJournal(slot.ok()?),
            _ => return None,
        };
        (file.to_string() == path).then_some(file)
    }
}

/// A request's number, by which its outcome is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Something the disk is to do.
#[derive(Debug)]
pub struct DiskRequest {
    /// Its number.
    pub id: RequestId,
    /// What.
    pub action: Action,
}

/// What the disk is to do.
#[derive(Debug)]
pub enum Action {
    /// Say which files there are, with their sizes. Asked for once, while the store opens.
    List,
    /// Make a file of this size, of which nothing has to be on the disk yet. One that is there
    /// already is emptied.
    Create {
        /// The file.
        file: File,
        /// Its bytes.
        bytes: u64,
    },
    /// Write blocks.
    Write {
        /// The file.
        file: File,
        /// Where in it.
        offset: u64,
        /// What.
        blocks: Blocks,
        /// Must it survive a loss of power before it counts as done?
        durable: bool,
    },
    /// Read blocks. What is beyond the end of the file comes as zeros.
    Read {
        /// The file.
        file: File,
        /// Where in it.
        offset: u64,
        /// Where to.
        blocks: Blocks,
    },
    /// Make what was written to a file survive a loss of power.
    Sync {
        /// The file.
        file: File,
    },
    /// Give a file another name. Done once that survives a loss of power.
    Rename {
        /// The file.
        file: File,
        /// What it is to be called.
        to: File,
    },
    /// Delete a file. Nothing depends on when that survives a loss of power.
    Remove {
        /// The file.
        file: File,
    },
}

/// What came of a request.
#[derive(Debug)]
pub struct DiskCompletion {
    /// The request's number.
    pub id: RequestId,
    /// The blocks of a read or write.
    pub blocks: Option<Blocks>,
    /// How it went.
    pub outcome: Result<Listing, DiskFailure>,
}

/// The files of a store, in answer to [`Action::List`]; nothing otherwise.
#[derive(Debug, Default)]
pub struct Listing {
    /// Files with their sizes in bytes.
    pub files: Vec<(File, u64)>,
    /// Paths below the store's folder that are none of the store's.
    pub strays: Vec<String>,
}

/// Why the disk did not do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFailure {
    /// No room. What was asked for can be asked for again.
    Full,
    /// There is no such file.
    Absent,
    /// Anything else.
    Failed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_back() {
        let files = [
            File::Journal(7),
            File::JournalDraft(0xffff_ffff),
            File::Segment(u64::MAX),
            File::SegmentDraft(1),
            File::AsideSegment(0x12_3456_789a),
            File::AsideJournal(3),
        ];
        for file in files {
            assert_eq!(File::parse(&file.to_string()), Some(file));
        }
        for path in ["", "lock", "journal/7.journal", "journal/000000001.journal", "segments/x.y"] {
            assert_eq!(File::parse(path), None, "{path}");
        }
    }
}
