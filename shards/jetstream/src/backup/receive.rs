//! A stream on its way back: chunks of a snapshot are taken apart as they come, and its messages
//! go into the log at once. The stream itself is made at the end.

use std::collections::BTreeMap;

use base::{AccountId, ServiceId, Time, Wall};
use storage::{Entry, LogId, Store};

use super::Checksum;
use super::block::{self, Item, Record};
use super::frames::Unpacker;
use super::state::ConsumerState;
use super::tar::{Piece, Reader};
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
    reader: Reader,
    file: File,
    created: Option<Wall>,
    consumers: BTreeMap<String, Consumer>,
    removed: Vec<u64>,
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
            reader: Reader::default(),
            file: File::Other,
            created: None,
            consumers: BTreeMap::new(),
            removed: Vec::new(),
        }
    }

    /// Takes a chunk.
    ///
    /// # Errors
    /// If it is damaged, or cannot be stored.
    pub(crate) fn push(&mut self, store: &mut Store, chunk: &[u8]) -> Result<(), String> {
        self.bytes += chunk.len() as u64;
        let mut archive = Vec::new();
        self.unpacker.push(chunk, &mut archive)?;
        self.reader.push(&archive);
        while let Some(piece) = self.reader.next()? {
            match piece {
                Piece::File(name) => self.file = self.begin(&name)?,
                Piece::Contents(bytes) => self.take(store, &bytes)?,
                Piece::End => self.end_file()?,
            }
        }
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
        if !self.reader.is_over() || self.unpacker.is_cut() {
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
        let mut consumers = Vec::new();
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
