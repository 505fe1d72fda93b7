//! Messages are handed out as they are stored, without JSON (spec 6.8).
//!
//! A request may ask for many. It is served in pieces: so many messages a turn, and it rests while
//! the disk is read.

use base::limits::{DIRECT_PER_TURN_MAX, DIRECT_SUBJECTS_MAX, MAX_PENDING_DEFAULT};
use storage::{Entry, Fetched, KeySet, LogId, ReadId, Store};
use wire::Message;

use super::admit::{keys_of, last_of};
use super::options::Options;
use super::{Core, Stream};
use crate::api::{Look, is_level_served};
use crate::ground::{Ground, Site};
use crate::json::{self, Decoder};
use crate::stamp::Stamp;
use crate::{Outlet, StreamId};

/// A place in a log, if it is known yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// From this sequence on.
    At(u64),
    /// A message has to be read first.
    Reading(ReadId),
}

/// Where the messages of a request are.
pub(crate) mod find {
    use base::Wall;

    use super::{Fetched, Found, LogId, Look, Store, keys_of};

    /// The first message stored at or after a moment; one after the last if there is none.
    pub(crate) fn at_time(store: &mut Store, log: LogId, wall: Wall) -> Found {
        let Some(mut sequence) = store.log(log).sequence_at(wall) else {
            return Found::At(store.log(log).last() + 1);
        };
        loop {
            // The log knows times to a millisecond, messages know them exactly.
            match store.fetch(log, sequence) {
                Fetched::Here(entry) if entry.wall >= wall => return Found::At(sequence),
                Fetched::Reading(read) => return Found::Reading(read),
                Fetched::Here(_) | Fetched::Missing | Fetched::Damaged => {}
            }
            match store.log(log).next(sequence + 1, &storage::KeySet::ALL) {
                Some(next) => sequence = next,
                None => return Found::At(store.log(log).last() + 1),
            }
        }
    }

    /// The one message that is looked for.
    pub(crate) fn one(store: &Store, log: LogId, look: &Look, from: u64) -> Option<u64> {
        let log_id = log;
        let log = store.log(log);
        if !look.next_by.is_empty() {
            return log.next(from, &keys_of(log, look.next_by.as_bytes()));
        }
        if from > 0 {
            return log.contains(from).then_some(from);
        }
        match super::last_of(store, log_id, look.last_by.as_bytes()) {
            0 => None,
            last => Some(last),
        }
    }
}

/// A direct get that is being served.
#[derive(Debug)]
pub(crate) struct Direct {
    pub(crate) stream: StreamId,
    reply: Box<[u8]>,
    look: Look,
    cursor: Cursor,
    /// What the log's last sequence was when the rest was counted.
    counted_at: u64,
    /// Messages that are left after those sent.
    pending: u64,
    /// The last one sent.
    last: u64,
    sent: u64,
    bytes: usize,
}

/// What of a request is still to be done.
#[derive(Debug)]
enum Cursor {
    /// Find where it starts.
    Start,
    /// From a sequence on.
    From(u64),
    /// These sequences, from a place on.
    These(Vec<u64>, usize),
}

/// How far serving has come.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Advance {
    Done,
    /// Go on in the next turn.
    More,
    /// Go on when this has been read.
    Reading(ReadId),
}

impl Direct {
    /// A request for messages by its payload, or its status if it makes no sense.
    pub(crate) fn by_body(stream: StreamId, message: &Message<'_>) -> Result<Self, &'static str> {
        let look = read(message)?.ok_or("408 Empty Request")?;
        let (sequence, time) = (look.sequence > 0, look.start.is_some());
        let (last, next) = (!look.last_by.is_empty(), !look.next_by.is_empty());
        let multi = !look.multi.is_empty();
        if !(sequence || time || last || next || multi) {
            return Err("408 Empty Request");
        }
        let starts = [sequence, time, last].iter().filter(|given| **given).count();
        let several = look.batch > 0 || multi;
        let conflict = starts > 1
            || last && (next || several)
            || next && multi
            || look.up_to > 0 && look.up_to_time.is_some();
        if conflict {
            return Err("408 Bad Request");
        }
        Ok(Self::new(stream, message.reply, look))
    }

    /// A request for the last message of the subject that the request's own subject ends with.
    pub(crate) fn by_subject(
        stream: StreamId,
        message: &Message<'_>,
    ) -> Result<Self, &'static str> {
        let mut look = read(message)?.unwrap_or_default();
        let key = message.subject.splitn(6, |byte| *byte == b'.').nth(5).unwrap_or_default();
        let is_plain = look.last_by.is_empty()
            && look.next_by.is_empty()
            && look.multi.is_empty()
            && look.sequence == 0
            && look.batch == 0
            && look.start.is_none()
            && look.up_to == 0
            && look.up_to_time.is_none();
        if key.is_empty() || !is_plain {
            return Err("408 Bad Request");
        }
        look.last_by = String::from_utf8_lossy(key).into_owned();
        Ok(Self::new(stream, message.reply, look))
    }

    fn new(stream: StreamId, reply: &[u8], look: Look) -> Self {
        Self {
            stream,
            reply: reply.into(),
            look,
            cursor: Cursor::Start,
            counted_at: 0,
            pending: 0,
            last: 0,
            sent: 0,
            bytes: 0,
        }
    }

    fn is_batch(&self) -> bool {
        self.look.batch > 0 || !self.look.multi.is_empty()
    }

    fn messages_max(&self) -> u64 {
        match u64::try_from(self.look.batch) {
            Ok(batch) if batch > 0 => batch,
            _ if self.look.multi.is_empty() => 1,
            _ => u64::MAX,
        }
    }

    fn bytes_max(&self) -> usize {
        usize::try_from(self.look.bytes).ok().filter(|n| *n > 0).unwrap_or(MAX_PENDING_DEFAULT)
    }

    /// Sends what can be sent now.
    pub(crate) fn advance(&mut self, core: &Core, site: &mut Site<'_>) -> Advance {
        if matches!(self.cursor, Cursor::Start) {
            match self.start(core, site) {
                Ok(()) => {}
                Err(Stop::Status(status)) => return self.give_up(core, site, status),
                Err(Stop::Reading(read)) => return Advance::Reading(read),
            }
        }
        let log_id = core.log;
        let set = match &self.cursor {
            Cursor::From(_) => keys_of(site.ground.store.log(log_id), self.look.next_by.as_bytes()),
            _ => KeySet::ALL,
        };
        for _ in 0..DIRECT_PER_TURN_MAX {
            if self.sent >= self.messages_max() || self.bytes >= self.bytes_max() {
                return self.finish(core, site, &set);
            }
            let Some(sequence) = self.next(&site.ground.store, log_id, &set) else {
                let is_early = self.sent == 0 || self.look.batch == 1;
                if is_early && self.look.multi.is_empty() {
                    return self.give_up(core, site, "404 Message Not Found");
                }
                return self.finish(core, site, &set);
            };
            if let Err(read) = self.send_one(core, site, sequence) {
                return Advance::Reading(read);
            }
        }
        Advance::More
    }

    fn start(&mut self, core: &Core, site: &mut Site<'_>) -> Result<(), Stop> {
        let store = &mut site.ground.store;
        if !self.look.multi.is_empty() {
            return self.start_multi(store, core.log);
        }
        let from = match self.look.from(store, core.log) {
            Found::At(from) => from,
            Found::Reading(read) => return Err(Stop::Reading(read)),
        };
        if self.look.batch > 0 {
            let log = store.log(core.log);
            self.pending = log.count(from, &keys_of(log, self.look.next_by.as_bytes()));
            self.counted_at = log.last();
        }
        self.cursor = Cursor::From(from);
        Ok(())
    }

    fn start_multi(&mut self, store: &mut Store, log_id: LogId) -> Result<(), Stop> {
        if let Some(time) = self.look.up_to_time {
            let from = match find::at_time(store, log_id, time.wall()) {
                Found::At(from) => from,
                Found::Reading(read) => return Err(Stop::Reading(read)),
            };
            if from <= store.log(log_id).first() {
                return Err(Stop::Status("404 No Results"));
            }
            self.look.up_to = from - 1;
        }
        let log = store.log(log_id);
        if self.look.up_to == 0 {
            self.look.up_to = log.last();
        }
        let mut sequences = Vec::new();
        for filter in &self.look.multi {
            last_of_each(log, filter.as_bytes(), self.look.up_to, &mut sequences);
            sequences.sort_unstable();
            sequences.dedup();
            if sequences.len() > DIRECT_SUBJECTS_MAX {
                return Err(Stop::Status("413 Too Many Results"));
            }
        }
        if sequences.is_empty() {
            return Err(Stop::Status("404 No Results"));
        }
        self.pending = sequences.len() as u64;
        let start = sequences.partition_point(|sequence| *sequence < self.look.sequence);
        self.pending -= start as u64;
        self.cursor = Cursor::These(sequences, start);
        Ok(())
    }

    /// The next message's sequence.
    fn next(&self, store: &Store, log: LogId, set: &KeySet) -> Option<u64> {
        match &self.cursor {
            Cursor::Start => unreachable!("the start was found"),
            Cursor::These(sequences, place) => sequences.get(*place).copied(),
            Cursor::From(from) if self.look.batch > 0 => store.log(log).next(*from, set),
            Cursor::From(from) => find::one(store, log, &self.look, *from),
        }
    }

    fn send_one(&mut self, core: &Core, site: &mut Site<'_>, sequence: u64) -> Result<(), ReadId> {
        let ground = &mut *site.ground;
        let pending = self.pending.saturating_sub(1);
        let batch = self.is_batch().then_some((pending, self.last));
        match ground.store.fetch(core.log, sequence) {
            Fetched::Here(entry) => {
                self.bytes += entry.subject.len() + entry.size();
                let parcel = &mut ground.parcel;
                parcel.clear();
                if !self.look.no_header {
                    put_origin(parcel, core, &entry, batch);
                }
                parcel.body(entry.payload());
                parcel.send(site.out, core.account, &self.reply, b"");
            }
            Fetched::Reading(read) => return Err(read),
            // It was removed while an earlier one was read, or its bytes are damaged: reported by
            // the store. The rest is still of use.
            Fetched::Missing | Fetched::Damaged => {}
        }
        if !self.look.no_header || !self.look.multi.is_empty() {
            // Without headers the reference does not count them, and says so at the end.
            self.pending = pending;
        }
        self.last = sequence;
        self.sent += 1;
        match &mut self.cursor {
            Cursor::From(from) => *from = sequence + 1,
            Cursor::These(_, place) => *place += 1,
            Cursor::Start => {}
        }
        Ok(())
    }

    fn give_up(&self, core: &Core, site: &mut Site<'_>, status: &str) -> Advance {
        send_status(site.ground, site.out, core, &self.reply, status);
        Advance::Done
    }

    fn finish(&mut self, core: &Core, site: &mut Site<'_>, set: &KeySet) -> Advance {
        if !self.is_batch() {
            return Advance::Done;
        }
        let log = site.ground.store.log(core.log);
        if let Cursor::From(from) = self.cursor
            && log.last() > self.counted_at
        {
            self.pending = log.count(from, set);
        }
        let parcel = site.ground.parcel.status("204 EOB");
        parcel.number("Nats-Num-Pending", self.pending);
        parcel.number("Nats-Last-Sequence", self.last);
        if !self.look.multi.is_empty() {
            parcel.number("Nats-UpTo-Sequence", self.look.up_to);
        }
        parcel.send(site.out, core.account, &self.reply, b"");
        Advance::Done
    }
}

/// Why a request is not served now.
enum Stop {
    Status(&'static str),
    Reading(ReadId),
}

/// Reads a request's payload. Nothing if there is none.
fn read(message: &Message<'_>) -> Result<Option<Look>, &'static str> {
    let all = message.body();
    let (header, body) = all[..all.len() - 2].split_at(message.header);
    if !is_level_served(Options::read(header).api_level) {
        return Err("412 Required Api Level");
    }
    if body.is_empty() {
        return Ok(None);
    }
    let node = json::read_whole(body).map_err(|_| "408 Malformed Request")?;
    let mut look = Look::default();
    let mut decoder = Decoder::new("JSApiMsgGetRequest", false);
    look.take(&mut decoder, &node);
    decoder.finish().map_err(|_| "408 Malformed Request")?;
    Ok(Some(look))
}

/// The last sequence up to `until` of each subject that matches.
fn last_of_each(log: &storage::Log, pattern: &[u8], until: u64, out: &mut Vec<u64>) {
    let matching = |text: &[u8]| subjects::grammar::matches(pattern, text);
    let wanted = log.keys().iter().filter(|(_, text)| matching(text));
    for (key, _) in wanted {
        let Some(state) = log.key_state(key) else { continue };
        if state.last <= until {
            out.push(state.last);
        } else if state.first <= until {
            out.extend(log.previous(until, &KeySet::one(log.keys(), key)));
        }
        if out.len() > DIRECT_SUBJECTS_MAX * 2 {
            return;
        }
    }
}

/// Writes where a message comes from after the headers that it was stored with.
fn put_origin(
    parcel: &mut crate::parcel::Parcel,
    core: &Core,
    entry: &Entry<'_>,
    batch: Option<(u64, u64)>,
) {
    if entry.header > 0 {
        parcel.block(entry.header_block());
    }
    parcel.line("Nats-Stream", core.config.name.as_bytes());
    parcel.line("Nats-Subject", entry.subject);
    parcel.number("Nats-Sequence", entry.sequence);
    parcel.line("Nats-Time-Stamp", Stamp::from(entry.wall).bare().as_bytes());
    if let Some((pending, last)) = batch {
        parcel.number("Nats-Num-Pending", pending);
        parcel.number("Nats-Last-Sequence", last);
    }
}

/// Answers with nothing but a status.
pub(crate) fn send_status(
    ground: &mut Ground,
    out: &mut dyn Outlet,
    core: &Core,
    reply: &[u8],
    status: &str,
) {
    ground.parcel.status(status);
    ground.parcel.send(out, core.account, reply, b"");
}

impl Stream {
    /// Takes a direct get. What it returns is to be advanced.
    pub(crate) fn take_direct(
        &self,
        site: &mut Site<'_>,
        message: &Message<'_>,
        by_subject: bool,
    ) -> Option<Direct> {
        if message.reply.is_empty() {
            return None;
        }
        let request = if by_subject {
            Direct::by_subject(self.core.id, message)
        } else {
            Direct::by_body(self.core.id, message)
        };
        match request {
            Ok(direct) => Some(direct),
            Err(status) => {
                send_status(site.ground, site.out, &self.core, message.reply, status);
                None
            }
        }
    }
}
