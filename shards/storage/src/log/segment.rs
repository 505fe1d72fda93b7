//! A stretch of one log: an index of parallel arrays, and the records it points into.
//!
//! 13 bytes a message and a bit: where its record begins, its key, its time, and how much longer
//! its record is than what it counts for. Sequences are implied while there are no gaps.

use base::Wall;

use crate::keys::{KeyId, KeySet, Members, is_set};

/// A position within a segment.
pub(crate) type Place = usize;

/// Offsets, extras, keys, times and bits of life of a stretch.
pub(crate) type Arrays = (Vec<u32>, Vec<u8>, Vec<u32>, Times, Vec<u64>);

#[derive(Debug)]
pub(crate) struct Segment {
    /// The sequence of the first place.
    pub(crate) base: u64,
    /// More than the sequence of the last place, by one unless what followed is gone.
    pub(crate) end: u64,
    /// Sequences relative to the base, once there are gaps.
    sequences: Option<Vec<u32>>,
    pub(crate) offsets: Vec<u32>,
    pub(crate) extras: Vec<u8>,
    pub(crate) keys: Vec<u32>,
    pub(crate) times: Times,
    live: Vec<u64>,
    living: u32,
    /// Bytes of live records.
    pub(crate) live_bytes: u64,
    /// Bytes of all records.
    pub(crate) length: u32,
}

/// When each message came: 32 bits each, at the precision that the stretch allows for. A thousandth
/// of a microsecond within four seconds, a microsecond within an hour, ten milliseconds in a year.
#[derive(Debug, Default)]
pub(crate) struct Times {
    pub(crate) origin: i64,
    pub(crate) shift: u8,
    pub(crate) deltas: Vec<u32>,
    /// The latest, exactly.
    pub(crate) latest: i64,
}

impl Times {
    #[inline]
    fn push(&mut self, wall: Wall) {
        if self.deltas.is_empty() {
            (self.origin, self.shift, self.latest) = (wall.0, 0, wall.0);
        }
        self.latest = self.latest.max(wall.0);
        // A clock that was set back moves the origin; a stretch of many hours the precision.
        let earlier = self.origin.saturating_sub(wall.0).max(0) as u64;
        let delta = wall.0.wrapping_sub(self.origin).max(0) as u64 >> self.shift;
        if earlier > 0 || delta > u64::from(u32::MAX) {
            self.stretch(wall.0);
        }
        let delta = wall.0.wrapping_sub(self.origin) as u64 >> self.shift;
        self.deltas.push(delta as u32);
    }

    #[cold]
    fn stretch(&mut self, wall: i64) {
        let origin = self.origin.min(wall);
        let span = self.latest.wrapping_sub(origin) as u64;
        let shift = (u64::BITS - span.leading_zeros()).saturating_sub(u32::BITS) as u8;
        let shift = shift.max(self.shift);
        for delta in &mut self.deltas {
            let exact = (u64::from(*delta) << self.shift) + self.origin.wrapping_sub(origin) as u64;
            *delta = (exact >> shift) as u32;
        }
        (self.origin, self.shift) = (origin, shift);
    }

    pub(crate) fn get(&self, place: Place) -> Wall {
        Wall(self.origin.wrapping_add((u64::from(self.deltas[place]) << self.shift) as i64))
    }
}

impl Segment {
    /// A stretch that begins with `base`.
    pub(crate) fn new(base: u64) -> Self {
        Self {
            base,
            end: base,
            sequences: None,
            offsets: Vec::new(),
            extras: Vec::new(),
            keys: Vec::new(),
            times: Times::default(),
            live: Vec::new(),
            living: 0,
            live_bytes: 0,
            length: 0,
        }
    }

    /// A stretch that was read. Nothing if its arrays do not fit each other.
    pub(crate) fn of(
        base: u64,
        end: u64,
        sequences: Option<Vec<u32>>,
        (offsets, extras, keys, times, live): Arrays,
        length: u32,
    ) -> Option<Self> {
        let count = offsets.len();
        let offsets_rise = offsets.windows(2).all(|pair| pair[0] <= pair[1])
            && offsets.last().is_none_or(|last| *last <= length);
        let last = match &sequences {
            None => count as u64,
            Some(all) if all.windows(2).all(|pair| pair[0] < pair[1]) => {
                all.last().map_or(0, |last| u64::from(*last) + 1)
            }
            Some(_) => return None,
        };
        if !offsets_rise || live.len() != count.div_ceil(64) || base.checked_add(last)? > end {
            return None;
        }
        let living: u32 = live.iter().map(|word| word.count_ones()).sum();
        let mut segment = Self {
            base,
            end,
            sequences,
            offsets,
            extras,
            keys,
            times,
            live,
            living,
            live_bytes: 0,
            length,
        };
        let mut place = segment.next_live(0);
        while let Some(at) = place {
            let (start, end) = segment.extent(at);
            if at >= count || end - start < u32::from(segment.extras[at]) {
                return None;
            }
            segment.live_bytes += u64::from(end - start);
            place = segment.next_live(at + 1);
        }
        Some(segment)
    }

    /// Sequences relative to the base, if there are gaps.
    pub(crate) fn sequences(&self) -> Option<&[u32]> {
        self.sequences.as_deref()
    }

    /// A bit for each place.
    pub(crate) fn live_words(&self) -> &[u64] {
        &self.live
    }

    /// Marks as gone what is not in `live`. False if that is not for as many places.
    pub(crate) fn keep_live(&mut self, live: &[u64]) -> bool {
        if live.len() != self.live.len() {
            return false;
        }
        let mut place = self.next_live(0);
        while let Some(at) = place {
            if !is_set(live, at as u32) {
                self.kill(at);
            }
            place = self.next_live(at + 1);
        }
        true
    }

    /// Places, dead ones included.
    pub(crate) fn len(&self) -> usize {
        self.offsets.len()
    }

    pub(crate) fn living(&self) -> u64 {
        u64::from(self.living)
    }

    /// Is there room for the sequence, and for so many more bytes?
    pub(crate) fn has_room(&self, sequence: u64, bytes: usize) -> bool {
        sequence - self.base < u64::from(u32::MAX)
            && u64::from(self.length) + (bytes as u64) < u64::from(u32::MAX)
    }

    /// Adds a message at the end. The record has `bytes` bytes and counts for `size`.
    #[inline]
    pub(crate) fn push(&mut self, sequence: u64, wall: Wall, key: KeyId, bytes: usize, size: u64) {
        assert!(sequence >= self.end);
        if let Some(sequences) = &mut self.sequences {
            sequences.push((sequence - self.base) as u32);
        } else if sequence != self.base + self.offsets.len() as u64 {
            self.become_sparse(sequence);
        }
        let place = self.offsets.len();
        self.offsets.push(self.length);
        self.extras.push((bytes as u64 - size) as u8);
        self.keys.push(key.0);
        self.times.push(wall);
        if place.is_multiple_of(64) {
            self.live.push(0);
        }
        self.live[place / 64] |= 1 << (place % 64);
        self.living += 1;
        self.live_bytes += bytes as u64;
        self.length += bytes as u32;
        self.end = sequence + 1;
    }

    #[cold]
    fn become_sparse(&mut self, sequence: u64) {
        let mut sequences: Vec<u32> = (0..self.offsets.len() as u32).collect();
        sequences.push((sequence - self.base) as u32);
        self.sequences = Some(sequences);
    }

    /// The sequence of a place.
    #[inline]
    pub(crate) fn sequence(&self, place: Place) -> u64 {
        match &self.sequences {
            None => self.base + place as u64,
            Some(sequences) => self.base + u64::from(sequences[place]),
        }
    }

    /// The first place at or after a sequence; the number of places if there is none.
    #[inline]
    pub(crate) fn place_from(&self, sequence: u64) -> Place {
        if sequence <= self.base {
            return 0;
        }
        if sequence >= self.end {
            return self.len();
        }
        let relative = sequence - self.base;
        match &self.sequences {
            None => (relative as usize).min(self.len()),
            Some(sequences) => sequences.partition_point(|&other| u64::from(other) < relative),
        }
    }

    /// The place of a live message.
    #[inline]
    pub(crate) fn find(&self, sequence: u64) -> Option<Place> {
        if !(self.base..self.end).contains(&sequence) {
            return None;
        }
        let place = self.place_from(sequence);
        let is_there = place < self.len() && self.sequence(place) == sequence;
        (is_there && self.is_live(place)).then_some(place)
    }

    #[inline]
    pub(crate) fn is_live(&self, place: Place) -> bool {
        self.live[place / 64] >> (place % 64) & 1 == 1
    }

    /// Where the record of a place stands.
    pub(crate) fn extent(&self, place: Place) -> (u32, u32) {
        let end = self.offsets.get(place + 1).copied().unwrap_or(self.length);
        (self.offsets[place], end)
    }

    /// What a message counts for.
    pub(crate) fn size(&self, place: Place) -> u64 {
        let (start, end) = self.extent(place);
        u64::from(end - start) - u64::from(self.extras[place])
    }

    /// Marks a live message as gone.
    pub(crate) fn kill(&mut self, place: Place) {
        assert!(self.is_live(place));
        self.live[place / 64] &= !(1 << (place % 64));
        self.living -= 1;
        let (start, end) = self.extent(place);
        self.live_bytes -= u64::from(end - start);
    }

    /// The first live place at or after `from`.
    pub(crate) fn next_live(&self, from: Place) -> Option<Place> {
        let mut word = from / 64;
        let mut bits = self.live.get(word)? & (u64::MAX << (from % 64));
        loop {
            if bits != 0 {
                return Some(word * 64 + bits.trailing_zeros() as usize);
            }
            word += 1;
            bits = *self.live.get(word)?;
        }
    }

    /// The last live place in front of `until`.
    pub(crate) fn previous_live(&self, until: Place) -> Option<Place> {
        self.previous_where(until, |_| true)
    }

    /// The first live place at or after `from` whose key is in the set.
    pub(crate) fn next(&self, from: Place, set: &KeySet) -> Option<Place> {
        match &set.members {
            Members::All => self.next_live(from),
            Members::Few(few) => match few.as_slice() {
                [] => None,
                &[key] => self.next_of(from, key),
                _ => self.next_where(from, |key| few.contains(&key)),
            },
            Members::Listed(_, bits) | Members::Many(bits) => {
                self.next_where(from, |key| is_set(bits, key))
            }
        }
    }

    /// The last live place in front of `until` whose key is in the set.
    pub(crate) fn previous(&self, until: Place, set: &KeySet) -> Option<Place> {
        if set.is_all() {
            return self.previous_live(until);
        }
        self.previous_where(until, |key| set.contains(KeyId(key)))
    }

    /// The keys are compared many at a time before the bitmap is looked at.
    fn next_of(&self, from: Place, key: u32) -> Option<Place> {
        let mut start = from.min(self.keys.len());
        while start < self.keys.len() {
            // Up to the next boundary of a word, so that whole words follow.
            let end = (start / 64 * 64 + 64).min(self.keys.len());
            let keys = &self.keys[start..end];
            let hits = keys.iter().fold(0_u32, |hits, &other| hits + u32::from(other == key));
            if hits > 0 {
                let of_key = |place: &Place| self.keys[*place] == key && self.is_live(*place);
                if let Some(place) = (start..end).find(of_key) {
                    return Some(place);
                }
            }
            start = end;
        }
        None
    }

    fn next_where(&self, from: Place, wanted: impl Fn(u32) -> bool) -> Option<Place> {
        let mut place = self.next_live(from)?;
        while !wanted(self.keys[place]) {
            place = self.next_live(place + 1)?;
        }
        Some(place)
    }

    fn previous_where(&self, until: Place, wanted: impl Fn(u32) -> bool) -> Option<Place> {
        let until = until.min(self.len());
        (0..until).rev().find(|&place| self.is_live(place) && wanted(self.keys[place]))
    }

    /// Live messages at or after `from` whose key is in the set.
    pub(crate) fn count(&self, from: Place, set: &KeySet) -> u64 {
        if set.is_all() && from == 0 {
            return self.living();
        }
        if set.is_all() {
            let Some(first) = self.live.get(from / 64) else { return 0 };
            let head = (first & (u64::MAX << (from % 64))).count_ones();
            let rest = self.live[from / 64 + 1..].iter().map(|word| u64::from(word.count_ones()));
            return u64::from(head) + rest.sum::<u64>();
        }
        let wanted = |place: &Place| set.contains(KeyId(self.keys[*place])) && self.is_live(*place);
        (from..self.len()).filter(wanted).count() as u64
    }

    /// The first live place whose time is not before `wall`.
    pub(crate) fn at_time(&self, wall: Wall) -> Option<Place> {
        if self.times.latest < wall.0 {
            return None;
        }
        // What lies within the same unit of time counts as not before.
        let unit = (1_i64 << self.times.shift) - 1;
        let mut place = self.next_live(0)?;
        while self.times.get(place).0.saturating_add(unit) < wall.0 {
            place = self.next_live(place + 1)?;
        }
        Some(place)
    }

    /// Gives back memory that growing has left over.
    pub(crate) fn shrink(&mut self) {
        self.offsets.shrink_to_fit();
        self.extras.shrink_to_fit();
        self.keys.shrink_to_fit();
        self.times.deltas.shrink_to_fit();
        self.live.shrink_to_fit();
        if let Some(sequences) = &mut self.sequences {
            sequences.shrink_to_fit();
        }
    }

    /// Bytes of memory that the index takes, about.
    pub(crate) fn memory_bytes(&self) -> usize {
        let sequences = self.sequences.as_ref().map_or(0, Vec::capacity);
        4 * (self.offsets.capacity() + self.keys.capacity() + self.times.deltas.capacity())
            + 4 * sequences
            + self.extras.capacity()
            + 8 * self.live.capacity()
    }
}
