//! Looking for records in a segment whose tail, directory or index is damaged: each record says by
//! its checksum that it is one, and so does each frame.

use std::collections::BTreeMap;

use super::{Opening, Reading};
use crate::buffer::{BLOCK_BYTES, Blocks};
use crate::damage::What;
use crate::disk::{Action, File};
use crate::entry::{HEAD_BYTES, SIZES_BYTES_MAX, read_checked_record, u64_at};
use crate::frames;
use crate::journal::operation::PartRef;
use crate::log::Log;
use crate::vault::Vault;

/// Messages of a log that are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wanted {
    log: u64,
    base: u64,
    end: u64,
}

/// Records that were found, by sequence, and where.
type Found = BTreeMap<u64, (usize, Box<[u8]>)>;

/// What was found in segments that were searched, until it is taken up.
pub(super) type Finds = BTreeMap<(u64, Wanted), Found>;

impl Wanted {
    fn of(uid: u64, part: &PartRef) -> Self {
        Self { log: uid, base: part.base, end: part.end }
    }
}

impl Opening {
    /// Looks through the journal for messages of the logs that were adopted: a snapshot that is
    /// damaged in one place holds them in all others.
    pub(super) fn salvage(&mut self) {
        if self.adopted.is_empty() {
            return;
        }
        let wanted: Vec<Wanted> =
            self.adopted.iter().map(|uid| Wanted { log: *uid, base: 1, end: u64::MAX }).collect();
        let mut found = vec![Found::new(); wanted.len()];
        self.replay.runs(&self.slots, &mut |run| scan(run, 0, &wanted, &mut found));
        for (wanted, found) in wanted.iter().zip(found) {
            let records = found.into_values().map(|(_, record)| record).collect();
            self.salvaged.insert(wanted.log, records);
        }
    }

    /// Asks for the whole of a segment, to look for the records of its parts. False if there is
    /// nothing to be searched.
    pub(super) fn begin_search(&mut self, uid: u64, part: &PartRef) -> bool {
        let segment = part.segment;
        if self.finds.contains_key(&(segment, Wanted::of(uid, part))) {
            return false;
        }
        // It may stand in another file, which was given its name.
        let file = self.misnamed.get(&segment).copied().unwrap_or(segment);
        let blocks = self.sizes.get(&file).map_or(0, |bytes| bytes.div_ceil(BLOCK_BYTES as u64));
        if blocks == 0 {
            return false;
        }
        self.reading = Some(Reading::Search(segment));
        let (file, blocks) = (File::Segment(file), Blocks::new(blocks as usize));
        self.ask(Action::Read { file, offset: 0, blocks });
        true
    }

    /// Searches a segment for the records of all parts that are still to be attached.
    pub(super) fn searched(&mut self, segment: u64, blocks: Option<&Blocks>) {
        let wanted: Vec<Wanted> = self
            .parts
            .iter()
            .filter(|(_, part)| part.segment == segment)
            .map(|(uid, part)| Wanted::of(*uid, part))
            .collect();
        let mut found = vec![Found::new(); wanted.len()];
        if let Some(blocks) = blocks {
            let store = self.replay.store.unwrap_or_default();
            search(blocks.bytes(), (store, segment), &wanted, &mut found, &mut self.vault);
        }
        for (wanted, found) in wanted.into_iter().zip(found) {
            self.finds.insert((segment, wanted), found);
        }
    }

    /// Takes up what was found of a part. Says what is damaged, and whether anything is lost.
    pub(super) fn take_found(&mut self, uid: u64, part: &PartRef) -> Option<bool> {
        let found = self.finds.remove(&(part.segment, Wanted::of(uid, part)))?;
        let log = self.logs.get_mut(&uid).expect("it was begun before its parts are attached");
        let (count, is_whole) = (found.len() as u64, is_whole(&found, part));
        if count == 0 || !take_up(log, &found, part, is_whole) {
            return None;
        }
        let file = File::Segment(part.segment).to_string();
        let name = log.name().to_vec();
        let lost = (!is_whole && count < part.end - part.base).then_some(part);
        self.report(Some(&name), What::Index, file, lost);
        Some(lost.is_some())
    }
}

/// Was everything found that the part had? Then its records stand one behind the other.
fn is_whole(found: &Found, part: &PartRef) -> bool {
    let ends = |sequence: Option<(&u64, _)>, expected| sequence.map(|(it, _)| *it) == expected;
    let mut next = None;
    let follows = found.values().all(|(at, record)| {
        let follows = next.is_none_or(|next| next == *at);
        next = Some(*at + record.len());
        follows
    });
    follows
        && ends(found.first_key_value(), Some(part.base))
        && ends(found.last_key_value(), part.end.checked_sub(1))
}

/// Puts what was found of a part into a log. What is known to be gone is left out, where it can be
/// told which that is.
fn take_up(log: &mut Log, found: &Found, part: &PartRef, is_whole: bool) -> bool {
    let live = part.live.as_deref().filter(|_| is_whole);
    let is_live = |place: usize| {
        live.and_then(|live| live.get(place / 64)).is_none_or(|word| word >> (place % 64) & 1 == 1)
    };
    let records = found.values().enumerate().filter(|(place, _)| is_live(*place));
    let records = records.map(|(_, (_, record))| record.as_ref());
    log.take_found((part.base, part.end), records, part.segment)
}

/// Searches a segment's file.
fn search(
    file: &[u8],
    (store, segment): (u64, u64),
    wanted: &[Wanted],
    found: &mut [Found],
    vault: &mut Vault,
) {
    scan(file, 0, wanted, found);
    // Frames of one part stand one behind the other; where one is missing another run begins.
    let mut run: Vec<u8> = Vec::new();
    let mut next = (0, 0_u32);
    let mut runs = 1_usize;
    let mut at = 0;
    while let Some(place) = position(&file[at..], &frames::MAGIC) {
        let start = (at + place).checked_sub(frames::MAGIC_OFFSET);
        at += place + frames::MAGIC.len();
        let Some(start) = start else { continue };
        let Some(frame) = frames::read(&file[start..]) else { continue };
        if (frame.home.store, frame.home.segment) != (store, segment) {
            continue;
        }
        if next != (frame.home.log, frame.place) {
            scan(&run, runs << 32, wanted, found);
            run.clear();
            runs += 1;
        }
        let begun = run.len();
        run.resize(begun + frame.records, 0);
        if !frame.unpack(start as u64, vault, &mut run[begun..]) {
            run.truncate(begun);
            continue;
        }
        next = (frame.home.log, frame.place.saturating_add(frame.records as u32));
        at = start + frame.bytes();
    }
    scan(&run, runs << 32, wanted, found);
}

fn position(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes.windows(pattern.len()).position(|window| window == pattern)
}

/// Looks at every place where a record could begin. `offset` tells where the bytes come from.
fn scan(bytes: &[u8], offset: usize, wanted: &[Wanted], found: &mut [Found]) {
    let mut at = 0;
    while at + HEAD_BYTES <= bytes.len() {
        let head = &bytes[at..at + HEAD_BYTES];
        // Cheap things first: the byte that is zero, the sizes, and the sequence.
        if head[35] != 0 || usize::from(head[34]) > SIZES_BYTES_MAX {
            at += 1;
            continue;
        }
        let sequence = u64_at(head, 8);
        let mut length = 0;
        for (wanted, found) in wanted.iter().zip(&mut *found) {
            if (wanted.base..wanted.end).contains(&sequence)
                && let Some((_, bytes_of_it)) = read_checked_record(&bytes[at..], wanted.log)
            {
                length = bytes_of_it;
                let record = bytes[at..at + length].into();
                found.entry(sequence).or_insert((offset + at, record));
                break;
            }
        }
        at += length.max(1);
    }
}

#[cfg(test)]
mod tests {
    use base::Wall;

    use super::*;
    use crate::entry::{Entry, put_record};
    use crate::frames::Home;
    use crate::vault::{Cipher, Encryption, KEY_BYTES, Purpose, SALT_BYTES, Sealer};

    fn records(log: u64, count: u64) -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for sequence in 1..=count {
            let tail = format!("10\r\n{sequence:010}\r\n").into_bytes();
            let (subject, wall) = (&b"a.b"[..], Wall(sequence as i64));
            let entry = Entry { sequence, wall, subject, header: 0, tail: &tail, sizes_bytes: 4 };
            put_record(&mut bytes, &entry, log);
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    fn found_in(file: &[u8], vault: &mut Vault) -> Vec<u64> {
        let wanted = [Wanted { log: 5, base: 1, end: 101 }, Wanted { log: 6, base: 1, end: 9 }];
        let mut found = [Found::new(), Found::new()];
        search(file, (1, 2), &wanted, &mut found, vault);
        assert!(found[1].is_empty());
        found[0].keys().copied().collect()
    }

    #[test]
    fn all_records_but_the_damaged_one_are_found_wherever_they_stand() {
        let (bytes, ends) = records(5, 100);
        let file = [&[9_u8; 100][..], &bytes, &[7; 100]].concat();
        let mut vault = Vault::default();
        assert_eq!(found_in(&file, &mut vault).len(), 100);
        for at in (0..bytes.len()).step_by(5) {
            let mut damaged = file.clone();
            damaged[100 + at] ^= 0x40;
            let lost = ends.partition_point(|end| *end <= at) as u64 + 1;
            let expected: Vec<u64> = (1..=100).filter(|sequence| *sequence != lost).collect();
            assert_eq!(found_in(&damaged, &mut vault), expected, "byte {at}");
        }
    }

    #[test]
    fn records_in_frames_are_found_but_for_those_of_a_damaged_frame() {
        let (bytes, _) = records(5, 100);
        let (data_key, salt) = ([1; KEY_BYTES], [2; SALT_BYTES]);
        let encryption = Encryption { data_key, cipher: Cipher::ChaCha, salt };
        let sealer = Sealer::new(&encryption, Purpose::Segment);
        let mut vault = Vault::new(Some(&encryption));
        let home = Home { store: 1, segment: 2, log: 5 };
        let mut file = vec![3; 50];
        let mut starts = Vec::new();
        for (place, stretch) in (0..).step_by(1000).zip(bytes.chunks(1000)) {
            let offset = file.len() as u64;
            starts.push(file.len());
            frames::put(&mut file, home, (place, stretch), true, (offset, Some(&sealer)));
        }
        assert_eq!(found_in(&file, &mut vault).len(), 100);
        let mut damaged = file.clone();
        damaged[starts[2] + 80] ^= 1;
        let found = found_in(&damaged, &mut vault);
        assert!(found.len() > 75 && found.len() < 90, "{}", found.len());
        assert!(found.contains(&1) && found.contains(&100));
        assert!(found_in(&file, &mut Vault::default()).is_empty(), "without a key");
    }
}
