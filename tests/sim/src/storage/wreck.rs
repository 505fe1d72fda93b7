//! A store that is damaged in one place, again and again: what is intact has to be served.

use std::collections::BTreeSet;

use ::storage::{Damage, Fetched, File, Kind, LogOptions, Store, StoreOptions, Sync};
use base::Random;

use super::disk::Disk;
use super::model::{Deed, Message};
use super::{World, same};

/// Messages of each log.
const MESSAGES: u64 = 400;

/// What happens to the files.
#[derive(Clone, Debug)]
pub enum Blow {
    /// A bit is another.
    Flip(File, u64),
    /// A block is zeros.
    Wipe(File, u64),
    /// The file ends here.
    Cut(File, u64),
    /// The file is gone.
    Remove(File),
    /// Two files have each other's name.
    Swap(File, File),
    /// Every file of the journal is gone.
    NoJournal,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Messages that are not served, by log and sequence.
    pub lost: BTreeSet<(Vec<u8>, u64)>,
    /// Logs that are not there.
    pub logs: usize,
    /// Messages that had been removed and are there.
    pub back: usize,
    /// What was reported.
    pub damage: Vec<Damage>,
}

/// A store that was closed in good order.
pub struct Wreck {
    world: World,
}

impl Wreck {
    /// Three logs: one whose messages stand in many parts, one that is compressed, and a small one.
    ///
    /// # Errors
    /// What did not hold.
    pub fn new(encrypted: bool) -> Result<Self, String> {
        let mut world = World::small(encrypted)?;
        for (name, compressed) in [(&b"plain"[..], false), (b"packed", true), (b"small", false)] {
            let options = LogOptions { compressed };
            let id = world.store.create(name, Kind::File, options);
            let id = id.map_err(|failure| format!("{failure:?}"))?;
            let position = world.store.put_note(id, b"about", name);
            world.did(position, name.to_vec(), Deed::Create);
            world.did(position, name.to_vec(), Deed::Note(b"about".to_vec(), name.to_vec()));
            let count = if name == b"small" { 5 } else { MESSAGES };
            for sequence in 1..=count {
                world.append_one(name, id, sequence)?;
            }
            for sequence in (10..count).step_by(50) {
                let position = world.store.remove(id, sequence, false).ok_or("it is there")?;
                world.did(position, name.to_vec(), Deed::Remove(sequence));
            }
        }
        world.settle();
        world.crash(false);
        Ok(Self { world })
    }

    /// Its files, and their bytes.
    pub fn files(&self) -> Vec<(File, u64)> {
        self.world.disk.sizes()
    }

    /// Damages a copy of it and opens that, twice.
    ///
    /// # Errors
    /// What did not hold: it does not open, a message is not what was given, something is missing
    /// and not reported, a second opening serves less than the first, or it does not work on.
    pub fn strike(&self, blow: &Blow) -> Result<Verdict, String> {
        let mut world = World::new(7);
        world.options = self.world.options.clone();
        world.encrypted = self.world.encrypted;
        world.disk = self.world.disk.copy();
        world.disk.strike(blow);
        world.disk.lied = true;
        world.model = self.world.model.clone();
        world.random = Random::new(9);
        world.outcome.openings = self.world.outcome.openings;
        let first = world.judge()?;
        let is_less = !first.lost.is_empty() || first.logs > 0 || first.back > 0;
        // Nothing speaks of what stood in the newest file alone.
        let is_untold = match blow {
            Blow::Remove(file) => Some(*file) == self.world.disk.newest_journal(),
            _ => false,
        };
        if is_less && first.damage.is_empty() && !is_untold {
            return Err(format!("{first:?} and no report"));
        }
        world.settle();
        let again = world.store.create(b"another", Kind::File, LogOptions::default());
        let position = world.store.ordered().0;
        world.settle();
        if again.is_err() || !world.store.durable().covers(position) {
            return Err(String::from("it does not work on"));
        }
        world.disk.crash(false);
        let second = world.judge()?;
        if second.lost != first.lost || second.logs != first.logs {
            return Err(format!("at first {first:?}, then {second:?}"));
        }
        Ok(first)
    }
}

/// Bytes of the segments of a log that is compressed, and of one that is not.
///
/// # Errors
/// What did not hold.
pub fn sizes_of_segments() -> Result<[u64; 2], String> {
    let mut sizes = [0; 2];
    for (compressed, size) in [true, false].into_iter().zip(&mut sizes) {
        let mut world = World::small(false)?;
        let options = LogOptions { compressed };
        let id = world.store.create(b"log", Kind::File, options);
        let id = id.map_err(|failure| format!("{failure:?}"))?;
        world.did(world.store.ordered().0, b"log".to_vec(), Deed::Create);
        for sequence in 1..=2000 {
            world.append_one(b"log", id, sequence)?;
        }
        world.settle();
        world.compare()?;
        let segments = world.disk.sizes();
        let segments = segments.iter().filter(|(file, _)| matches!(file, File::Segment(_)));
        *size = segments.map(|(_, bytes)| bytes).sum();
    }
    Ok(sizes)
}

impl World {
    /// An empty store whose files are small, over a disk that does nothing wrong.
    fn small(encrypted: bool) -> Result<Self, String> {
        let mut world = Self::new(7);
        world.disk = Disk::new(7);
        world.options = StoreOptions {
            sync: Sync::Always,
            seed: 7,
            journal_blocks: 24,
            journal_files: (2, 8),
            part_bytes: 20_000,
            cache_bytes: 100_000,
            encryption: None,
        };
        world.encrypted = if encrypted { 0 } else { u64::MAX };
        (world.spoils, world.power) = (false, false);
        world.open_anew();
        world.reopen()?;
        Ok(world)
    }

    fn append_one(
        &mut self,
        name: &[u8],
        id: ::storage::LogId,
        sequence: u64,
    ) -> Result<(), String> {
        let body = format!("{sequence:>0width$}", width = 60 + (sequence % 7) as usize * 20);
        let sizes = format!("{}\r\n", body.len());
        let tail = format!("{sizes}{body}\r\n").into_bytes();
        let subject = format!("key.{}", sequence % 9).into_bytes();
        let wall = sequence as i64 * 1000;
        let message = Message { wall, subject, tail, sizes_bytes: sizes.len() };
        let position = self.store.append(id, &message.entry(sequence));
        let position = position.map_err(|failure| format!("{failure:?}"))?;
        self.did(position, name.to_vec(), Deed::Append(sequence, message));
        self.turn(4);
        Ok(())
    }

    /// Opens the store and looks at every message.
    fn judge(&mut self) -> Result<Verdict, String> {
        self.open_anew();
        self.open_store()?;
        let mut verdict =
            Verdict { damage: std::mem::take(&mut self.damage), ..Verdict::default() };
        for (name, plain) in self.model.logs.clone() {
            let Some(id) = self.store.find(&name) else {
                verdict.logs += 1;
                continue;
            };
            if self.store.note(id, b"about") != Some(&name) && verdict.damage.is_empty() {
                return Err(format!("the note of {} is gone", String::from_utf8_lossy(&name)));
            }
            for sequence in 1..=MESSAGES {
                let expected = plain.messages.get(&sequence);
                match (self.fetched(id, sequence)?, expected) {
                    (Some(message), Some(expected)) if message == *expected => {}
                    (Some(message), Some(_)) => return Err(format!("{sequence} is {message:?}")),
                    (Some(_), None) => verdict.back += 1,
                    (None, Some(_)) => {
                        verdict.lost.insert((name.clone(), sequence));
                    }
                    (None, None) => {}
                }
            }
        }
        self.store.take_damage(&mut verdict.damage);
        Ok(verdict)
    }

    fn fetched(&mut self, id: ::storage::LogId, sequence: u64) -> Result<Option<Message>, String> {
        for _ in 0..10_000 {
            match self.store.fetch(id, sequence) {
                Fetched::Here(entry) => {
                    let message = Message {
                        wall: entry.wall.0,
                        subject: entry.subject.to_vec(),
                        tail: entry.tail.to_vec(),
                        sizes_bytes: entry.sizes_bytes,
                    };
                    assert!(same(&entry, &message.entry(sequence)));
                    return Ok(Some(message));
                }
                Fetched::Missing | Fetched::Damaged => return Ok(None),
                Fetched::Reading(_) => self.turn(3),
            }
        }
        Err(format!("{sequence} is read for ever"))
    }
}

/// A store of a seed that is a key of its own.
///
/// # Errors
/// If an encrypted store opens without its key, or with another, or shows what is in it.
pub fn check_locked() -> Result<(), String> {
    let wreck = Wreck::new(true)?;
    if wreck.world.disk.contains(b"0000000000") || wreck.world.disk.contains(b"packed") {
        return Err(String::from("what was encrypted can be read"));
    }
    let encryption = wreck.world.options.encryption.clone().ok_or("it is encrypted")?;
    for without_journal in [false, true] {
        for data_key in [None, Some([8; ::storage::KEY_BYTES])] {
            let mut disk = wreck.world.disk.copy();
            if without_journal {
                disk.strike(&Blow::NoJournal);
            }
            let encryption =
                data_key.map(|data_key| ::storage::Encryption { data_key, ..encryption.clone() });
            let mut store = Store::open(StoreOptions { encryption, ..wreck.world.options.clone() });
            while store.refusal().is_none() {
                let mut requests = Vec::new();
                store.take_requests(&mut requests);
                disk.submit(&mut requests);
                let completion = disk.step().ok_or("it opens without its key")?;
                store.completed(completion);
            }
        }
    }
    Ok(())
}
