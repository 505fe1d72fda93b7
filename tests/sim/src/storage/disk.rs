//! A disk that does what it is asked in any order, and loses what it may lose.
//!
//! What was written and not made durable is in [`Content::loose`]: after a loss of power each of
//! its sectors is there or not. The same holds for requests that were under way. Beyond that a disk
//! can be told to be full, to fail, and to spoil what it holds.

use std::collections::BTreeMap;

use ::storage::{
    Action, Blocks, DiskCompletion, DiskFailure, DiskRequest, File, Listing, RequestId,
};
use base::Random;
use xxhash_rust::xxh3::xxh3_64;

use super::wreck::Blow;

/// What a drive writes as a whole.
const SECTOR_BYTES: usize = 512;

/// A file.
#[derive(Clone, Debug, Default)]
struct Content {
    /// What is there for good.
    firm: Vec<u8>,
    /// Sectors that were written and may be lost.
    loose: BTreeMap<usize, Vec<u8>>,
    /// Would the name survive a loss of power?
    named: bool,
}

impl Content {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        for (sector, bytes) in (offset / SECTOR_BYTES..).zip(bytes.chunks(SECTOR_BYTES)) {
            self.loose.insert(sector, bytes.to_vec());
        }
    }

    fn settle(&mut self, sector: usize, bytes: &[u8]) {
        let end = (sector + 1) * SECTOR_BYTES;
        if self.firm.len() < end {
            self.firm.resize(end, 0);
        }
        self.firm[sector * SECTOR_BYTES..end].copy_from_slice(bytes);
    }

    fn settle_all(&mut self) {
        for (sector, bytes) in std::mem::take(&mut self.loose) {
            self.settle(sector, &bytes);
        }
    }

    fn read(&self, offset: usize, out: &mut [u8]) {
        for (sector, out) in (offset / SECTOR_BYTES..).zip(out.chunks_mut(SECTOR_BYTES)) {
            let start = sector * SECTOR_BYTES;
            match self.loose.get(&sector) {
                Some(bytes) => out.copy_from_slice(bytes),
                None if start < self.firm.len() => {
                    out.copy_from_slice(&self.firm[start..start + SECTOR_BYTES]);
                }
                None => out.fill(0),
            }
        }
    }
}

/// What a disk may do wrong.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Bytes that there is room for.
    pub room: u64,
    /// One in so many writes fails; zero for none.
    pub failing: u64,
    /// One in so many writes goes elsewhere or nowhere, although it is said to be done.
    pub lying: u64,
}

/// The disk.
#[derive(Debug)]
pub struct Disk {
    random: Random,
    files: BTreeMap<File, Content>,
    under_way: Vec<DiskRequest>,
    /// What it does wrong.
    pub faults: Faults,
    /// Did it spoil something?
    pub lied: bool,
}

impl Disk {
    /// An empty disk.
    pub fn new(seed: u64) -> Self {
        let faults = Faults { room: u64::MAX, ..Faults::default() };
        let random = Random::new(seed ^ 0xd15c);
        Self { random, files: BTreeMap::new(), under_way: Vec::new(), faults, lied: false }
    }

    /// Takes requests.
    pub fn submit(&mut self, requests: &mut Vec<DiskRequest>) {
        self.under_way.append(requests);
    }

    /// Is nothing under way?
    pub fn is_idle(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Carries out one of the requests under way.
    pub fn step(&mut self) -> Option<DiskCompletion> {
        if self.under_way.is_empty() {
            return None;
        }
        let place = self.random.below(self.under_way.len() as u64) as usize;
        let request = self.under_way.swap_remove(place);
        Some(self.perform(request))
    }

    fn perform(&mut self, request: DiskRequest) -> DiskCompletion {
        let id = request.id;
        let done = |outcome| DiskCompletion { id, blocks: None, outcome };
        match request.action {
            Action::List => {
                let size = |content: &Content| {
                    let last = content.loose.last_key_value().map_or(0, |(sector, _)| sector + 1);
                    content.firm.len().max(last * SECTOR_BYTES) as u64
                };
                let files =
                    self.files.iter().map(|(file, content)| (*file, size(content))).collect();
                done(Ok(Listing { files, strays: Vec::new() }))
            }
            Action::Create { file, bytes } => {
                let used: usize = self.files.values().map(|content| content.firm.len()).sum();
                if used as u64 + bytes > self.faults.room {
                    return done(Err(DiskFailure::Full));
                }
                let content = Content { firm: vec![0; bytes as usize], ..Content::default() };
                self.files.insert(file, content);
                done(Ok(Listing::default()))
            }
            Action::Write { file, offset, blocks, durable } => {
                self.write(id, file, offset as usize, blocks, durable)
            }
            Action::Read { file, offset, mut blocks } => {
                let outcome = match self.files.get(&file) {
                    Some(content) => {
                        content.read(offset as usize, blocks.bytes_mut());
                        Ok(Listing::default())
                    }
                    None => Err(DiskFailure::Absent),
                };
                DiskCompletion { id, blocks: Some(blocks), outcome }
            }
            Action::Sync { file } => {
                let Some(content) = self.files.get_mut(&file) else {
                    return done(Err(DiskFailure::Absent));
                };
                content.settle_all();
                done(Ok(Listing::default()))
            }
            Action::Rename { file, to } => match self.files.remove(&file) {
                Some(content) => {
                    self.files.insert(to, Content { named: true, ..content });
                    done(Ok(Listing::default()))
                }
                None => done(Err(DiskFailure::Absent)),
            },
            Action::Remove { file } => {
                self.files.remove(&file);
                done(Ok(Listing::default()))
            }
        }
    }

    fn write(
        &mut self,
        id: RequestId,
        file: File,
        offset: usize,
        blocks: Blocks,
        durable: bool,
    ) -> DiskCompletion {
        let fails = self.faults.failing > 0 && self.random.below(self.faults.failing) == 0;
        let lies = self.faults.lying > 0 && self.random.below(self.faults.lying) == 0;
        let mut place = (file, offset);
        if lies {
            self.lied = true;
            let place_in_files = self.random.below(self.files.len() as u64) as usize;
            let other = self.files.iter().nth(place_in_files).map(|(file, content)| {
                let blocks = (content.firm.len() / 4096).max(1) as u64;
                (*file, self.random.below(blocks) as usize * 4096)
            });
            match other.filter(|_| self.random.below(2) == 0) {
                Some(other) => place = other,
                None => {
                    return DiskCompletion {
                        id,
                        blocks: Some(blocks),
                        outcome: Ok(Listing::default()),
                    };
                }
            }
        }
        let outcome = match self.files.get_mut(&place.0) {
            None => Err(DiskFailure::Absent),
            Some(_) if fails => Err(DiskFailure::Failed),
            Some(content) => {
                content.write(place.1, blocks.bytes());
                if durable {
                    let sectors =
                        place.1 / SECTOR_BYTES..(place.1 + blocks.bytes().len()) / SECTOR_BYTES;
                    for sector in sectors {
                        let bytes = content.loose.remove(&sector).expect("it was just written");
                        content.settle(sector, &bytes);
                    }
                }
                Ok(Listing::default())
            }
        };
        DiskCompletion { id, blocks: Some(blocks), outcome }
    }

    /// The process ends: what was under way is done or not. With `power` lost, the same goes for
    /// each sector that was written and not made durable, and for names.
    pub fn crash(&mut self, power: bool) {
        for request in std::mem::take(&mut self.under_way) {
            match request.action {
                Action::Write { file, offset, blocks, .. } => {
                    let Some(content) = self.files.get_mut(&file) else { continue };
                    let share = self.random.below(3);
                    for (number, bytes) in (0..).zip(blocks.bytes().chunks(SECTOR_BYTES)) {
                        let is_there = match share {
                            0 => false,
                            1 => true,
                            _ => self.random.below(2) == 0,
                        };
                        if is_there {
                            content.write(offset as usize + number * SECTOR_BYTES, bytes);
                        }
                    }
                }
                _ if self.random.below(2) == 0 => {
                    self.perform(request);
                }
                _ => {}
            }
        }
        if !power {
            self.files.values_mut().for_each(Content::settle_all);
            return;
        }
        let random = &mut self.random;
        self.files.retain(|_, content| {
            let whole = random.below(3);
            for (sector, bytes) in std::mem::take(&mut content.loose) {
                if whole == 0 || (whole == 1 && random.below(2) == 0) {
                    content.settle(sector, &bytes);
                }
            }
            content.named || random.below(2) == 0
        });
    }

    /// Flips a bit of some file. False if there is none to flip.
    pub fn rot(&mut self) -> bool {
        let filled: Vec<File> = self
            .files
            .iter()
            .filter(|(_, content)| !content.firm.is_empty())
            .map(|(file, _)| *file)
            .collect();
        if filled.is_empty() {
            return false;
        }
        let file = filled[self.random.below(filled.len() as u64) as usize];
        let content = self.files.get_mut(&file).expect("it was just listed");
        let bit = self.random.below(content.firm.len() as u64 * 8) as usize;
        content.firm[bit / 8] ^= 1 << (bit % 8);
        self.lied = true;
        true
    }

    /// Puts a byte somewhere, and if `right` makes the checksum of the journal's block right again.
    pub fn change(&mut self, number: usize, offset: usize, value: u8, right: bool) {
        let place = number % self.files.len().max(1);
        let Some((file, content)) = self.files.iter_mut().nth(place) else { return };
        if content.firm.is_empty() {
            return;
        }
        let at = offset % content.firm.len();
        content.firm[at] = value;
        let block = at / 4096 * 4096;
        if right && matches!(file, File::Journal(_)) {
            let sum = xxh3_64(&content.firm[block + 8..block + 4096]);
            content.firm[block..block + 8].copy_from_slice(&sum.to_le_bytes());
        }
    }

    /// The same files once more, with nothing under way.
    #[must_use]
    pub fn copy(&self) -> Self {
        assert!(self.is_idle());
        let (random, faults, lied) = (Random::new(5), self.faults, self.lied);
        Self { random, files: self.files.clone(), under_way: Vec::new(), faults, lied }
    }

    /// Damages files.
    pub fn strike(&mut self, blow: &Blow) {
        match *blow {
            Blow::Flip(file, bit) => {
                let content = self.files.get_mut(&file).expect("it was listed");
                content.firm[(bit / 8) as usize] ^= 1 << (bit % 8);
            }
            Blow::Wipe(file, block) => {
                let content = self.files.get_mut(&file).expect("it was listed");
                content.firm[block as usize * 4096..][..4096].fill(0);
            }
            Blow::Cut(file, bytes) => {
                let content = self.files.get_mut(&file).expect("it was listed");
                // A disk that is simulated reads whole sectors.
                content.firm.truncate(bytes as usize / SECTOR_BYTES * SECTOR_BYTES);
            }
            Blow::Remove(file) => drop(self.files.remove(&file)),
            Blow::Swap(one, other) => {
                let (a, b) = (self.files.remove(&one), self.files.remove(&other));
                self.files.extend(b.map(|content| (one, content)));
                self.files.extend(a.map(|content| (other, content)));
            }
            Blow::NoJournal => self.files.retain(|file, _| !matches!(file, File::Journal(_))),
        }
    }

    /// Files with their bytes.
    pub fn sizes(&self) -> Vec<(File, u64)> {
        self.files.iter().map(|(file, content)| (*file, content.firm.len() as u64)).collect()
    }

    /// The file of the journal in which the newest block stands, by the numbers in its blocks
    /// (docs/STORAGE.md).
    pub fn newest_journal(&self) -> Option<File> {
        let number = |block: &[u8]| u64::from_le_bytes(*block[24..].first_chunk().expect("a head"));
        let journals = self.files.iter().filter(|(file, _)| matches!(file, File::Journal(_)));
        let newest = |content: &Content| content.firm.chunks_exact(4096).map(number).max();
        journals.max_by_key(|(_, content)| newest(content)).map(|(file, _)| *file)
    }

    /// Do these bytes stand in some file?
    pub fn contains(&self, bytes: &[u8]) -> bool {
        let holds = |content: &Content| content.firm.windows(bytes.len()).any(|it| it == bytes);
        self.files.values().any(holds)
    }

    /// Files there are.
    pub fn files(&self) -> impl Iterator<Item = File> {
        self.files.keys().copied()
    }
}
