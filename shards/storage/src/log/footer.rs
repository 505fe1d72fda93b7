//! A part's index as it stands in a segment (docs/STORAGE.md), with the text of its keys, so that
//! each part can be read without any other.

use base::Wall;
use hashbrown::HashMap;

use super::segment::{Segment, Times};
use super::{Log, Part, Whereabouts};
use crate::bytes::{Put, Take};
use crate::frames::Frames;
use crate::keys::{KeyId, KeyState, Keys};

const SPARSE: u8 = 1;
const WITH_DEAD: u8 = 2;
/// The key of a place whose message was gone when the index was written.
const NO_KEY: u32 = u32::MAX;

/// Appends a part's index.
pub(crate) fn put(out: &mut Vec<u8>, segment: &Segment, keys: &Keys) {
    let count = segment.len();
    let all_live = segment.living() == count as u64;
    let sparse = segment.sequences();
    let flags = u8::from(sparse.is_some()) * SPARSE + u8::from(!all_live) * WITH_DEAD;
    out.reserve(count * 14 + 64);
    out.put_u32(count as u32);
    out.put_u8(flags);
    out.put_u8(segment.times.shift);
    out.put_u64(segment.base);
    out.put_u64(segment.end);
    out.put_u64(segment.times.origin as u64);
    out.put_u64(segment.times.latest as u64);
    out.put_u32(segment.length);
    put_words(out, &segment.offsets);
    put_words(out, &segment.times.deltas);
    if let Some(sequences) = sparse {
        put_words(out, sequences);
    }
    out.extend_from_slice(&segment.extras);
    if !all_live {
        for word in segment.live_words() {
            out.put_u64(*word);
        }
    }
    put_keys(out, segment, keys);
}

fn put_words(out: &mut Vec<u8>, words: &[u32]) {
    for word in words {
        out.put_u32(*word);
    }
}

/// The key of each place, numbered in the order that they come up in, and then their text.
fn put_keys(out: &mut Vec<u8>, segment: &Segment, keys: &Keys) {
    let mut numbers: HashMap<u32, u32, ahash::RandomState> = HashMap::with_capacity_and_hasher(
        segment.len().min(keys.len()),
        ahash::RandomState::with_seeds(1, 2, 3, 4),
    );
    let mut order = Vec::new();
    for place in 0..segment.len() {
        if !segment.is_live(place) {
            out.put_u32(NO_KEY);
            continue;
        }
        let key = segment.keys[place];
        let number = *numbers.entry(key).or_insert_with(|| {
            order.push(key);
            order.len() as u32 - 1
        });
        out.put_u32(number);
    }
    out.put_u32(order.len() as u32);
    for key in &order {
        out.put_u16(keys.text(KeyId(*key)).len() as u16);
    }
    for key in &order {
        out.extend_from_slice(keys.text(KeyId(*key)));
    }
}

/// A part's index as it was read: its keys have the index's own numbers.
pub(crate) struct Footer<'a> {
    pub(crate) segment: Segment,
    keys: Vec<&'a [u8]>,
}

/// Reads an index. Nothing if anything in it does not fit the rest.
pub(crate) fn read(bytes: &[u8]) -> Option<Footer<'_>> {
    let mut from = Take(bytes);
    let count = from.u32()? as usize;
    let (flags, shift) = (from.u8()?, from.u8()?);
    let (base, end) = (from.u64()?, from.u64()?);
    let (origin, latest) = (from.u64()? as i64, from.u64()? as i64);
    let length = from.u32()?;
    let offsets = words(&mut from, count)?;
    let deltas = words(&mut from, count)?;
    let sequences = match flags & SPARSE {
        0 => None,
        _ => Some(words(&mut from, count)?),
    };
    let extras = from.bytes(count)?.to_vec();
    let live = if flags & WITH_DEAD == 0 {
        all_live(count)
    } else {
        let bytes = from.bytes(count.div_ceil(64) * 8)?;
        bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect()
    };
    let keys = words(&mut from, count)?;
    let times = Times { origin, shift, deltas, latest };
    let arrays = (offsets, extras, keys, times, live);
    let segment = Segment::of(base, end, sequences, arrays, length)?;
    let keys = texts(&mut from)?;
    let is_known = |place| (segment.keys[place] as usize) < keys.len();
    let sound = (0..count).all(|place| !segment.is_live(place) || is_known(place));
    (sound && shift < 64 && from.0.is_empty()).then_some(Footer { segment, keys })
}

fn words(from: &mut Take<'_>, count: usize) -> Option<Vec<u32>> {
    let bytes = from.bytes(count.checked_mul(4)?)?;
    Some(bytes.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect())
}

fn texts<'a>(from: &mut Take<'a>) -> Option<Vec<&'a [u8]>> {
    let count = from.u32()? as usize;
    let lengths = from.bytes(count.checked_mul(2)?)?.as_chunks().0;
    lengths.iter().map(|length| from.bytes(usize::from(u16::from_le_bytes(*length)))).collect()
}

/// A bit for each of so many places.
pub(crate) fn all_live(count: usize) -> Vec<u64> {
    let mut live = vec![u64::MAX; count / 64];
    if !count.is_multiple_of(64) {
        live.push((1 << (count % 64)) - 1);
    }
    live
}

impl Log {
    /// Takes up a part that was found in a segment, behind those that were taken up before. False
    /// if it does not follow them.
    pub(crate) fn attach(
        &mut self,
        footer: Footer<'_>,
        (place, frames): (Whereabouts, Option<Frames>),
    ) -> bool {
        let Footer { mut segment, keys: texts } = footer;
        if segment.base <= self.last && self.last > 0 || segment.base >= segment.end {
            return false;
        }
        let mut states = vec![KeyState { first: 0, last: 0, count: 0 }; texts.len()];
        let (mut bytes, mut next) = (0, segment.next_live(0));
        while let Some(place) = next {
            let state = &mut states[segment.keys[place] as usize];
            state.last = segment.sequence(place);
            if state.count == 0 {
                state.first = state.last;
            }
            state.count += 1;
            bytes += segment.size(place);
            next = segment.next_live(place + 1);
        }
        let mut ids = Vec::with_capacity(texts.len());
        for (text, state) in texts.iter().zip(&states) {
            let id = match state.count {
                0 => Some(KeyId(NO_KEY)),
                _ => self.keys.absorb(text, *state),
            };
            let Some(id) = id else { return false };
            ids.push(id.0);
        }
        for key in &mut segment.keys {
            *key = ids.get(*key as usize).copied().unwrap_or(NO_KEY);
        }
        if self.messages == 0
            && let Some(place) = segment.next_live(0)
        {
            self.first = segment.sequence(place);
            self.first_wall = segment.times.get(place);
        }
        self.messages += segment.living();
        self.bytes += bytes;
        self.last = segment.end - 1;
        self.last_wall = Wall(segment.times.latest);
        if segment.living() == 0 {
            self.left.push(place.segment);
        } else {
            let number = self.next_part();
            self.parts.push_back(Part::sealed(number, segment, (place, frames)));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Entry;
    use crate::store::{Kind, LogOptions};

    fn log() -> Log {
        let hasher = ahash::RandomState::with_seeds(5, 6, 7, 8);
        Log::new(b"log", Kind::File, LogOptions::default(), hasher)
    }

    #[test]
    fn an_index_reads_back_and_none_does_cut_or_flipped() {
        for (gaps, removed) in [(false, false), (true, false), (false, true), (true, true)] {
            let mut source = log();
            for number in 0..150_u64 {
                let sequence = if gaps && number > 70 { number * 3 } else { number } + 10;
                let subject = format!("key.{}", number % 7);
                let entry = Entry {
                    sequence,
                    wall: Wall(1000 + number as i64),
                    subject: subject.as_bytes(),
                    header: 0,
                    tail: b"2\r\nhi\r\n",
                    sizes_bytes: 3,
                };
                source.append(&entry).expect("it is in order");
            }
            if removed {
                assert!(source.remove(10) && source.remove(50));
            }
            let mut bytes = Vec::new();
            put(&mut bytes, &source.parts[0].segment, &source.keys);
            let place = Whereabouts { segment: 1, index: 0, offset: 0, living: 0 };
            let mut found = log();
            assert!(found.attach(read(&bytes).expect("it reads back"), (place, None)));
            assert!(found.live().eq(source.live()));
            assert_eq!((found.first(), found.last()), (source.first(), source.last()));
            assert_eq!(found.bytes(), source.bytes());
            for sequence in source.live() {
                assert_eq!(found.time_of(sequence), source.time_of(sequence));
                let key = |log: &Log| {
                    let id = log.key_of(sequence).expect("it is there");
                    (log.keys().text(id).to_vec(), log.key_state(id))
                };
                assert_eq!(key(&found), key(&source));
            }
            for cut in 0..bytes.len() {
                assert!(read(&bytes[..cut]).is_none(), "{cut}");
            }
        }
    }
}
