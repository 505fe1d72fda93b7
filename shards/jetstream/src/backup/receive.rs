//! A stream on its way back: chunks of a snapshot are taken apart as they come, and its messages
//! go into the log at once. The stream itself is made at the end.

use std::collections::BTreeMap;

use base::{AccountId, ServiceId, Time, Wall};
use storage::{Entry, LogId, Store};

use super::block::{self, Item, Record};
use super::frames::Unpacker;
use super::state::ConsumerState;
use super::tar::{Piece, Reader};
use super::{Checksum, archive};
use crate::json::{self, Value};
use crate::stamp::Stamp;
use crate::stream::config::StreamConfig;
use crate::stream::publication::put_tail;

/// Bytes of a file that is no block: a configuration or a state.
const FILE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A stream that is being restored.
#[derive(Debug)]
pub(crate) struct Restore {
    pub(crate) account: AccountId,
    pub(crate) service: ServiceId,
    pub(crate) config: StreamConfig,
    pub(crate) log: LogId,
    pub(crate) started: Wall,
    pub(crate) heard: Time,
    pub(crate) bytes: u64,
    /// The first and the last sequence as the request says.
    pub(crate) sequences: (u64, u64),
    unpacker: Unpacker,
    form: Form,
    reader: Reader,
    file: File,
    created: Option<Wall>,
    consumers: BTreeMap<String, Consumer>,
    /// Consumers that have come whole.
    received: Vec<(String, Vec<u8>, ConsumerState)>,
    removed: Vec<u64>,
}

/// In what form a snapshot comes.
#[derive(Debug)]
enum Form {
    /// Too little has come to tell.
    Unknown(Vec<u8>),
    Tar,
    /// With the bytes of an entry that is not all there yet, and whether the last has come.
    Archive(Vec<u8>, bool),
}

/// The file at hand.
#[derive(Debug)]
enum File {
    Meta(Vec<u8>),
    Block(Checksum, Vec<u8>),
    Consumer(String, Vec<u8>),
    State(String, Vec<u8>),
    /// Of no use here.
    Other,
}

/// A consumer of a snapshot.
#[derive(Debug, Default)]
struct Consumer {
    config: Vec<u8>,
    state: Vec<u8>,
}

/// What a snapshot held besides messages.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) created: Option<Wall>,
    /// Names with configurations and states.
    pub(crate) consumers: Vec<(String, Vec<u8>, ConsumerState)>,
}

impl Restore {
    pub(crate) fn new(
        (account, service, log): (AccountId, ServiceId, LogId),
        config: StreamConfig,
        sequences: (u64, u64),
        now: base::Moment,
    ) -> Self {
        Self {
            account,
            service,
            config,
            log,
            started: now.wall,
            heard: now.time,
            bytes: 0,
            sequences,
            unpacker: Unpacker::default(),
            form: Form::Unknown(Vec::new()),
            reader: Reader::default(),
            file: File::Other,
            created: None,
            consumers: BTreeMap::new(),
            received: Vec::new(),
            removed: Vec::new(),
        }
    }

    /// Takes a chunk.
    ///
    /// # Errors
    /// If it is damaged, or cannot be stored.
    pub(crate) fn push(&mut self, store: &mut Store, chunk: &[u8]) -> Result<(), String> {
        self.bytes += chunk.len() as u64;
        let mut unpacked = Vec::new();
        self.unpacker.push(chunk, &mut unpacked)?;
        if let Form::Unknown(waiting) = &mut self.form {
            waiting.append(&mut unpacked);
            if waiting.len() < archive::MAGIC.len() {
                return Ok(());
            }
            unpacked = std::mem::take(waiting);
            self.form = if unpacked.starts_with(archive::MAGIC) {
                unpacked.drain(..archive::MAGIC.len());
                Form::Archive(Vec::new(), false)
            } else {
                Form::Tar
            };
        }
        if let Form::Archive(waiting, _) = &mut self.form {
            waiting.append(&mut unpacked);
            return self.take_entries(store);
        }
        self.reader.push(&unpacked);
        while let Some(piece) = self.reader.next()? {
            match piece {
                Piece::File(name) => self.file = self.begin(&name)?,
                Piece::Contents(bytes) => self.take(store, &bytes)?,
                Piece::End => self.end_file()?,
            }
        }
        Ok(())
    }

    fn take_entries(&mut self, store: &mut Store) -> Result<(), String> {
        let Form::Archive(waiting, is_over) = &mut self.form else { return Ok(()) };
        let mut from = 0;
        while let Some((entry, length)) = archive::read(&waiting[from..])? {
            from += length;
            if entry.is_end() {
                *is_over = true;
                break;
            }
            if let Some(name) = entry.name.strip_prefix(b"consumers/")
                && entry.sequence == 0
            {
                let (config, state) = archive::read_consumer(entry.payload)?;
                let name = String::from_utf8_lossy(name).into_owned();
                self.received.push((name, config, state));
            } else if entry.sequence > 0 {
                let record = Record {
                    sequence: entry.sequence,
                    wall: entry.wall,
                    subject: entry.name,
                    header: entry.header,
                    payload: entry.payload,
                };
                append(store, self.log, &record)?;
            }
        }
        waiting.drain(..from);
        Ok(())
    }

    fn begin(&self, name: &str) -> Result<File, String> {
        let parts: Vec<&str> = name.split('/').collect();
        if parts.contains(&"..") {
            return Err("unexpected content".into());
        }
        Ok(match parts[..] {
            ["meta.inf"] => File::Meta(Vec::new()),
            ["msgs", file] => match file.strip_suffix(".blk").and_then(|n| n.parse().ok()) {
                Some(number) => File::Block(block::checksum(&self.config.name, number), Vec::new()),
                None => File::Other,
            },
            ["obs", consumer, "meta.inf"] => File::Consumer(consumer.into(), Vec::new()),
            ["obs", consumer, "o.dat"] => File::State(consumer.into(), Vec::new()),
            _ => File::Other,
        })
    }

    fn take(&mut self, store: &mut Store, bytes: &[u8]) -> Result<(), String> {
        match &mut self.file {
            File::Other => {}
            File::Meta(text) | File::Consumer(_, text) | File::State(_, text) => {
                text.extend_from_slice(bytes);
                if text.len() > FILE_BYTES_MAX {
                    return Err("file in snapshot is too large".into());
                }
            }
            File::Block(sum, waiting) => {
                waiting.extend_from_slice(bytes);
                let mut from = 0;
                while let Some((item, length)) = block::read(&waiting[from..], sum)? {
                    match item {
                        Item::Message(record) => append(store, self.log, &record)?,
                        Item::Removed(sequence) => self.removed.push(sequence),
                    }
                    from += length;
                }
                waiting.drain(..from);
            }
        }
        Ok(())
    }

    fn end_file(&mut self) -> Result<(), String> {
        match std::mem::replace(&mut self.file, File::Other) {
            File::Meta(text) => {
                let (created, name) = meta_of(&text)?;
                self.created = created;
                if name != self.config.name {
                    return Err("stream names do not match".into());
                }
            }
            File::Block(_, waiting) if !waiting.is_empty() => {
                return Err("corrupt message block".into());
            }
            File::Block(..) | File::Other => {}
            File::Consumer(name, text) => self.consumers.entry(name).or_default().config = text,
            File::State(name, state) => self.consumers.entry(name).or_default().state = state,
        }
        Ok(())
    }

    /// All chunks have come.
    ///
    /// # Errors
    /// If the snapshot is not whole.
    pub(crate) fn finish(&mut self, store: &mut Store) -> Result<Received, String> {
        let is_over = match &self.form {
            Form::Unknown(_) => false,
            Form::Tar => self.reader.is_over(),
            Form::Archive(_, is_over) => *is_over,
        };
        if !is_over || self.unpacker.is_cut() {
            return Err("unexpected EOF".into());
        }
        for sequence in self.removed.drain(..) {
            store.remove(self.log, sequence, false);
        }
        let (first, last) = self.sequences;
        let log = store.log(self.log);
        if log.messages() == 0 && last > log.last() && first == last + 1 {
            store.reset_to(self.log, first, last);
        }
        let mut consumers = std::mem::take(&mut self.received);
        for (name, Consumer { config, state }) in std::mem::take(&mut self.consumers) {
            let state = ConsumerState::read(&state)
                .ok_or_else(|| format!("error restoring consumer [\"{name}\"]: corrupt state"))?;
            consumers.push((name, config, state));
        }
        Ok(Received { created: self.created, consumers })
    }
}

fn append(store: &mut Store, log: LogId, record: &Record<'_>) -> Result<(), String> {
    if record.sequence <= store.log(log).last() {
        return Ok(());
    }
    let mut tail = Vec::new();
    let put = |out: &mut Vec<u8>| out.extend_from_slice(record.header);
    let (sizes_bytes, header) = put_tail(&mut tail, put, record.payload);
    let entry = Entry {
        sequence: record.sequence,
        wall: Wall(record.wall),
        subject: record.subject,
        header,
        tail: &tail,
        sizes_bytes,
    };
    let stored = store.append(log, &entry);
    stored.map(|_| ()).map_err(|failure| match failure {
        storage::Failure::Full => "no space left on device".into(),
        other => format!("message {} could not be stored: {other:?}", record.sequence),
    })
}

/// When a stream was made, and its name, from the configuration in a snapshot.
fn meta_of(text: &[u8]) -> Result<(Option<Wall>, String), String> {
    let node = json::read_whole(text)?;
    let Value::Object(fields) = &node.value else { return Err("invalid stream meta file".into()) };
    let text_of = |name: &str| {
        fields.iter().find(|(field, _)| field == name).and_then(|(_, node)| match &node.value {
            Value::Text(text) => Some(text.to_string()),
            _ => None,
        })
    };
    let created = text_of("Created").and_then(|text| Stamp::parse(&text).ok());
    let created = created.filter(|stamp| !stamp.is_zero()).map(Stamp::wall);
    Ok((created, text_of("name").unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use base::{Moment, Random, Slab};
    use storage::{LogOptions, StoreOptions};

    use super::*;
    use crate::backup::frames::Packer;
    use crate::backup::{block, tar};

    /// A snapshot in the older form, or in the newer.
    fn archive(is_newer: bool) -> Vec<u8> {
        let mut out = Vec::new();
        if is_newer {
            out.extend_from_slice(archive::MAGIC);
            // Name, time, sequence, header, payload.
            for (name, sequence, payload) in
                [(&b"state.json"[..], 0, &b"{}"[..]), (b"a.b", 3, b"hello"), (b"a.c", 5, b"")]
            {
                let sizes = [name.len() as u8, 2, sequence, 0, payload.len() as u8];
                out.extend_from_slice(&sizes);
                out.extend_from_slice(name);
                out.extend_from_slice(payload);
            }
            out.extend_from_slice(&[0; 5]);
            return out;
        }
        let sum = block::checksum("S", 1);
        let mut messages = Vec::new();
        for sequence in [3, 5] {
            let record =
                Record { sequence, wall: 1, subject: b"a.b", header: b"", payload: b"hello" };
            block::put_record(&mut messages, &sum, &record);
        }
        tar::put_file(&mut out, "meta.inf", 0, b"{\"name\":\"S\"}");
        tar::put_file(&mut out, "msgs/1.blk", 0, &messages);
        tar::put_end(&mut out);
        out
    }

    fn packed(archive: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        Packer::default().push(archive, true, &mut out);
        out
    }

    fn restore(chunks: &[u8], size: usize) -> Result<u64, String> {
        let mut store = Store::new(StoreOptions::default());
        let made = store.create(b"$G/S", storage::Kind::Memory, LogOptions::default());
        let log = made.expect("it is the first");
        let config = StreamConfig { name: "S".into(), ..StreamConfig::default() };
        let service = ServiceId(Slab::<u8>::default().insert(0));
        let ids = (AccountId::GLOBAL, service, log);
        let mut restore = Restore::new(ids, config, (3, 5), Moment::default());
        for chunk in chunks.chunks(size) {
            restore.push(&mut store, chunk)?;
        }
        restore.finish(&mut store)?;
        Ok(store.log(log).messages())
    }

    #[test]
    fn both_forms_are_taken_however_they_are_cut() {
        for is_newer in [false, true] {
            let chunks = packed(&archive(is_newer));
            for size in [1, 100, chunks.len()] {
                assert_eq!(restore(&chunks, size), Ok(2), "newer: {is_newer}, at every {size}");
            }
            for cut in 0..chunks.len() {
                assert!(restore(&chunks[..cut], 64).is_err(), "newer: {is_newer}, {cut} bytes");
            }
        }
    }

    #[test]
    fn damage_is_an_error_and_nothing_worse() {
        let mut random = Random::new(7);
        for round in 0..4000 {
            let mut bytes = archive(round % 2 == 0);
            for _ in 0..=random.below(3) {
                let at = random.below(bytes.len() as u64) as usize;
                bytes[at] = random.next_u64() as u8;
            }
            // Once with checksums that fit, and once damaged on the way.
            drop(restore(&packed(&bytes), 300));
            let mut chunks = packed(&archive(round % 2 == 0));
            let at = random.below(chunks.len() as u64) as usize;
            chunks[at] ^= 1 << random.below(8);
            drop(restore(&chunks, 300));
        }
    }
}
