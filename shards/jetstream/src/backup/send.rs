//! A snapshot on its way to a client: chunks, as many at a time as the client takes.

use base::limits::{SNAPSHOT_ANSWER_WAIT, SNAPSHOT_INTEREST_WAIT, SNAPSHOT_PER_TURN_MAX};
use base::{AccountId, ServiceId, Time, Wall};
use storage::{Fetched, KeySet};

use super::block::{self, Record};
use super::frames::Packer;
use super::{Checksum, hexadecimal, tar};
use crate::ground::Ground;
use crate::json::Writer;
use crate::stamp::Stamp;
use crate::stream::Stream;
use crate::stream::codec::put_config;
use crate::{Outlet, StreamId};

/// Bytes of messages that a block holds.
const BLOCK_BYTES: usize = 4 * 1024 * 1024;
const CHUNK_DEFAULT: i64 = 128 * 1024;
const WINDOW_DEFAULT: i64 = 8 * 1024 * 1024;
const LEAST: i64 = 1024;
const CHUNK_MOST: i64 = 1024 * 1024;
const WINDOW_MOST: i64 = 32 * 1024 * 1024;

/// What a client asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wish {
    pub(crate) deliver_subject: String,
    pub(crate) without_consumers: bool,
    pub(crate) chunk_bytes: i64,
    pub(crate) window_bytes: i64,
}

/// A snapshot that is being sent.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) stream: StreamId,
    pub(crate) account: AccountId,
    pub(crate) service: ServiceId,
    pub(crate) started: Wall,
    wish: Wish,
    acks: String,
    chunk_bytes: usize,
    inflight_most: usize,
    inflight: usize,
    chunks: usize,
    stage: Stage,
    next: u64,
    last: u64,
    block: Vec<u8>,
    blocks: u64,
    packer: Packer,
    packed: Vec<u8>,
    begun: Time,
    /// When the client last took a chunk.
    heard: Time,
    listener: Listener,
    is_waiting: bool,
}

/// Who listens to what is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listener {
    /// Nobody yet. A client may subscribe only once it has the answer to its request, although the
    /// pattern for all its answers covers the subject already.
    Awaited,
    /// Somebody who subscribes to this very subject.
    There,
    /// Time is over: whoever listens by a pattern will have to do.
    Pattern,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Configuration,
    Messages,
    Consumers,
    Over,
}

/// How far a snapshot has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// There is more to do at once.
    More,
    /// It waits: for the client, or for the disk.
    Waits,
    /// All is sent, or it has failed: nothing more is to be done.
    Done,
}

impl Snapshot {
    pub(crate) fn new(
        (stream, account, service): (StreamId, AccountId, ServiceId),
        acks: String,
        wish: Wish,
        last: u64,
        now: base::Moment,
    ) -> Self {
        let clamped = |wish: i64, default: i64, most: i64| {
            if wish == 0 { default } else { wish.clamp(LEAST, most) }
        };
        let chunk = clamped(wish.chunk_bytes, CHUNK_DEFAULT, CHUNK_MOST);
        let window = clamped(wish.window_bytes, WINDOW_DEFAULT, WINDOW_MOST).max(chunk);
        Self {
            stream,
            account,
            service,
            started: now.wall,
            wish,
            acks,
            chunk_bytes: chunk as usize,
            inflight_most: (window / chunk) as usize,
            inflight: 0,
            chunks: 0,
            stage: Stage::Configuration,
            next: 0,
            last,
            block: Vec::new(),
            blocks: 0,
            packer: Packer::default(),
            packed: Vec::new(),
            begun: now.time,
            heard: now.time,
            listener: Listener::Awaited,
            is_waiting: false,
        }
    }

    /// The client took a chunk.
    pub(crate) fn acknowledged(&mut self, now: Time) {
        self.inflight = self.inflight.saturating_sub(1);
        self.heard = now;
        self.is_waiting = false;
    }

    /// A read has come to an end.
    pub(crate) fn wake(&mut self) {
        self.is_waiting = false;
    }

    /// When it has to be looked at.
    pub(crate) fn due(&self) -> Time {
        match self.listener {
            _ if !self.is_waiting => Time(0),
            Listener::Awaited => self.begun.after(SNAPSHOT_INTEREST_WAIT),
            Listener::There | Listener::Pattern => self.heard.after(SNAPSHOT_ANSWER_WAIT),
        }
    }

    /// Is it of use to look at it? A listener may come in any turn.
    pub(crate) fn is_ready(&self, now: Time) -> bool {
        self.listener == Listener::Awaited || self.due() <= now
    }

    /// Looks for who listens now. False if nobody does any more, or in time.
    fn find_listener(&mut self, out: &mut dyn Outlet, now: Time) -> bool {
        let subject = self.wish.deliver_subject.as_bytes();
        let is_late = now >= self.begun.after(SNAPSHOT_INTEREST_WAIT);
        let was_awaited = self.listener == Listener::Awaited;
        self.listener = match self.listener {
            _ if out.is_subscribed(self.account, subject, b"") => Listener::There,
            Listener::Awaited if !is_late => return true,
            Listener::Awaited | Listener::Pattern if out.is_wanted(self.account, subject) => {
                Listener::Pattern
            }
            _ => return false,
        };
        if was_awaited {
            self.heard = now;
        }
        true
    }

    /// Goes on as far as it goes now.
    pub(crate) fn advance(
        &mut self,
        stream: &Stream,
        ground: &mut Ground,
        out: &mut dyn Outlet,
        now: base::Moment,
    ) -> Progress {
        if !self.find_listener(out, now.time) {
            return self.end(ground, out, "408 No Interest");
        }
        if self.listener == Listener::Awaited {
            self.is_waiting = true;
            return Progress::Waits;
        }
        let subject = self.wish.deliver_subject.clone();
        for _ in 0..SNAPSHOT_PER_TURN_MAX {
            while self.packed.len() >= self.chunk_bytes {
                if self.inflight >= self.inflight_most {
                    if now.time >= self.heard.after(SNAPSHOT_ANSWER_WAIT) {
                        return self.end(ground, out, "408 No Flow Response");
                    }
                    self.is_waiting = true;
                    return Progress::Waits;
                }
                self.send_chunk(ground, out);
            }
            if self.stage == Stage::Over {
                let rest = std::mem::take(&mut self.packed);
                if !rest.is_empty() {
                    let parcel = ground.parcel.clear().body(&rest);
                    parcel.send(out, self.account, subject.as_bytes(), b"");
                }
                return self.end(ground, out, "");
            }
            match self.go_on(stream, ground, now) {
                Ok(true) => {}
                Ok(false) => {
                    self.is_waiting = true;
                    return Progress::Waits;
                }
                Err(problem) => return self.end(ground, out, &format!("500 {problem}")),
            }
        }
        Progress::More
    }

    fn send_chunk(&mut self, ground: &mut Ground, out: &mut dyn Outlet) {
        self.chunks += 1;
        self.inflight += 1;
        let reply = format!("{}.{}.{}", self.acks, self.chunk_bytes, self.chunks);
        let parcel = ground.parcel.clear().body(&self.packed[..self.chunk_bytes]);
        let subject = self.wish.deliver_subject.as_bytes();
        parcel.send(out, self.account, subject, reply.as_bytes());
        self.packed.drain(..self.chunk_bytes);
    }

    /// Tells the client that this was all, or why there is no more.
    fn end(&mut self, ground: &mut Ground, out: &mut dyn Outlet, problem: &str) -> Progress {
        let subject = self.wish.deliver_subject.as_bytes();
        let parcel = match problem {
            "" if self.chunks == 0 => ground.parcel.clear(),
            "" => ground.parcel.status("204"),
            problem => ground.parcel.status(problem),
        };
        parcel.send(out, self.account, subject, b"");
        Progress::Done
    }

    /// Packs some more. False if a message has to be read first.
    fn go_on(
        &mut self,
        stream: &Stream,
        ground: &mut Ground,
        now: base::Moment,
    ) -> Result<bool, String> {
        let seconds = now.wall.0 / 1_000_000_000;
        let mut archive = Vec::new();
        match self.stage {
            Stage::Configuration => {
                put_configuration(&mut archive, stream, seconds);
                self.stage = Stage::Messages;
            }
            Stage::Messages => {
                let is_read = self.collect(stream, ground)?;
                let is_all = self.next > self.last;
                if self.block.len() >= BLOCK_BYTES || (is_all && is_read) {
                    if !self.block.is_empty() {
                        self.blocks += 1;
                        let name = format!("msgs/{}.blk", self.blocks);
                        tar::put_file(&mut archive, &name, seconds, &self.block);
                        self.block.clear();
                    }
                    if is_all {
                        self.stage = Stage::Consumers;
                    }
                }
                if !is_read {
                    self.packer.push(&archive, false, &mut self.packed);
                    return Ok(false);
                }
            }
            Stage::Consumers => {
                if !self.wish.without_consumers {
                    put_consumers(&mut archive, stream, now.wall);
                }
                tar::put_end(&mut archive);
                self.stage = Stage::Over;
            }
            Stage::Over => unreachable!("nothing is left"),
        }
        let is_end = self.stage == Stage::Over;
        self.packer.push(&archive, is_end, &mut self.packed);
        Ok(true)
    }

    /// Adds the next message to the block. False if it has to be read first.
    fn collect(&mut self, stream: &Stream, ground: &mut Ground) -> Result<bool, String> {
        let log_id = stream.core.log;
        let found = ground.store.log(log_id).next(self.next, &KeySet::ALL);
        let Some(sequence) = found.filter(|sequence| *sequence <= self.last) else {
            self.next = self.last + 1;
            return Ok(true);
        };
        let sum = block::checksum(&stream.core.config.name, self.blocks + 1);
        match ground.store.fetch(log_id, sequence) {
            Fetched::Here(entry) => {
                let tail = entry.tail;
                let record = Record {
                    sequence,
                    wall: entry.wall.0,
                    subject: entry.subject,
                    header: entry.header_block(),
                    payload: &tail[entry.sizes_bytes + entry.header..tail.len() - 2],
                };
                block::put_record(&mut self.block, &sum, &record);
            }
            Fetched::Reading(_) => return Ok(false),
            Fetched::Missing => {}
            Fetched::Damaged => return Err(format!("message {sequence} is damaged")),
        }
        self.next = sequence + 1;
        Ok(true)
    }
}

fn put_meta(archive: &mut Vec<u8>, folder: &str, name: &str, seconds: i64, text: &[u8]) {
    let sum = hexadecimal(Checksum::new(name).of(&[text]));
    tar::put_file(archive, &format!("{folder}meta.inf"), seconds, text);
    tar::put_file(archive, &format!("{folder}meta.sum"), seconds, sum.as_bytes());
}

/// A JSON object with fields in front of those it has.
fn with_fields(fields: impl FnOnce(&mut Writer<'_>), object: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    let mut writer = Writer::open(&mut text);
    fields(&mut writer);
    writer.close();
    let rest = object.strip_prefix(b"{").expect("an object begins with a brace");
    if rest != b"}" {
        text.pop();
        text.push(b',');
        text.extend_from_slice(rest);
    }
    text
}

fn put_configuration(archive: &mut Vec<u8>, stream: &Stream, seconds: i64) {
    let mut config = Vec::new();
    put_config(&mut config, &stream.core.config, &[]);
    let created = |writer: &mut Writer<'_>| {
        Stamp::from(stream.core.created).put(writer.field("Created"));
    };
    let text = with_fields(created, &config);
    put_meta(archive, "", &stream.core.config.name, seconds, &text);
}

fn put_consumers(archive: &mut Vec<u8>, stream: &Stream, now: Wall) {
    let seconds = now.0 / 1_000_000_000;
    for copy in stream.consumers.copies(now) {
        let about = |writer: &mut Writer<'_>| {
            Stamp::from(copy.created).put(writer.field("Created"));
            writer.text("Name", &copy.name);
        };
        let text = with_fields(about, &copy.config);
        let folder = format!("obs/{}/", copy.name);
        put_meta(archive, &folder, &copy.name, seconds, &text);
        let mut state = Vec::new();
        copy.state.put(&mut state, seconds);
        tar::put_file(archive, &format!("{folder}o.dat"), seconds, &state);
    }
}
