//! All there is to know of a log, for the journal: after it nothing in front of it is needed.

use base::Wall;

use crate::bytes::{Put, Take};
use crate::journal::operation::PartRef;
use crate::log::{Data, Log, Part};
use crate::store::LogOptions;

/// A snapshot as it was read.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot<'a> {
    pub(crate) options: LogOptions,
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) last_wall: Wall,
    pub(crate) name: &'a [u8],
    pub(crate) notes: Vec<(&'a [u8], &'a [u8])>,
    pub(crate) parts: Vec<PartRef>,
    /// Records of messages that stand in no segment.
    pub(crate) records: Vec<&'a [u8]>,
}

/// How a part is referred to from the journal.
pub(crate) fn refer(part: &Part) -> Option<PartRef> {
    let Data::Sealed(place) = &part.data else { return None };
    let segment = &part.segment;
    let live = (segment.living() != place.living).then(|| segment.live_words().to_vec());
    let (base, end) = (segment.base, segment.end);
    Some(PartRef { segment: place.segment, index: place.index, base, end, live })
}

/// Appends a snapshot of a log.
pub(crate) fn put(out: &mut Vec<u8>, log: &Log) {
    out.put_u8(log.options().to_byte());
    for word in [log.first(), log.last(), log.last_wall().0 as u64] {
        out.put_u64(word);
    }
    out.put_run(log.name());
    out.put_u32(log.notes.len() as u32);
    for (key, value) in &log.notes {
        out.put_run(key);
        out.put_run(value);
    }
    let sealed = log.parts.iter().filter_map(refer);
    out.put_u32(sealed.clone().count() as u32);
    for part in sealed {
        part.put(out);
    }
    let in_memory = log.parts.iter().filter(|part| part.data.place().is_none());
    let count: u64 = in_memory.clone().map(|part| part.segment.living()).sum();
    out.put_u32(count as u32);
    for part in in_memory {
        let mut place = part.segment.next_live(0);
        while let Some(at) = place {
            let extent = part.segment.extent(at);
            out.put_run(part.data.read(extent).expect("it is in memory"));
            place = part.segment.next_live(at + 1);
        }
    }
}

/// A key and a value.
pub(crate) type Note = (Box<[u8]>, Box<[u8]>);

/// Appends a snapshot of a log of which no more is told than what it is called and how it is kept.
pub(crate) fn put_name(out: &mut Vec<u8>, options: LogOptions, name: &[u8], notes: &[Note]) {
    out.put_u8(options.to_byte());
    for word in [0, 0, 0] {
        out.put_u64(word);
    }
    out.put_run(name);
    out.put_u32(notes.len() as u32);
    for (key, value) in notes {
        out.put_run(key);
        out.put_run(value);
    }
    out.put_u32(0);
    out.put_u32(0);
}

/// Reads a snapshot.
pub(crate) fn read(bytes: &[u8]) -> Option<Snapshot<'_>> {
    let mut from = Take(bytes);
    let options = LogOptions::of_byte(from.u8()?);
    let (first, last) = (from.u64()?, from.u64()?);
    if last == u64::MAX {
        return None;
    }
    let last_wall = Wall(from.u64()? as i64);
    let name = from.run()?;
    let mut snapshot = Snapshot {
        options,
        first,
        last,
        last_wall,
        name,
        notes: Vec::new(),
        parts: Vec::new(),
        records: Vec::new(),
    };
    for _ in 0..from.u32()? {
        snapshot.notes.push((from.run()?, from.run()?));
    }
    for _ in 0..from.u32()? {
        snapshot.parts.push(PartRef::take(&mut from)?);
    }
    for _ in 0..from.u32()? {
        snapshot.records.push(from.run()?);
    }
    from.0.is_empty().then_some(snapshot)
}
