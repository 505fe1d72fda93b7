//! A message comes in: judged, appended, and all that follows from it.

use base::limits::SEQUENCE_MAX;
use base::text::Decimal;
use base::{Time, Wall};
use storage::{Entry, Failure, Position};
use wire::Message;

use super::admit::{Admission, Rollup, bytes_of, last_of, limit};
use super::config::{Persist, Retention};
use super::options::{Ttl, put_stripped};
use super::publication::{Publication, Refusal, not_stored, put_tail};
use super::purge::Scope;
use super::{Stream, batch};
use crate::error::{Fault, table};
use crate::ground::{Ground, Site};

/// What follows the sequence in an acknowledgement of a message that was stored before.
const DUPLICATE: &[u8] = b",\"duplicate\": true}";

impl Stream {
    /// Takes a message that was published to one of the stream's subjects.
    pub(crate) fn ingest(&mut self, site: &mut Site<'_>, message: &Message<'_>) {
        if self.recall.is_some() || !self.held.is_empty() {
            if self.held.is_full() {
                self.refuse(site, message.reply, &table::STREAM_TOO_MANY_REQUESTS);
            } else {
                self.hold(message);
            }
            return;
        }
        self.ingest_now(site, message);
    }

    pub(super) fn ingest_now(&mut self, site: &mut Site<'_>, message: &Message<'_>) {
        let publication = Publication::new(message);
        if !publication.options.batch.is_empty() {
            self.take_batched(site, &publication);
            return;
        }
        if batch::is_fast(publication.reply) {
            self.take_fast(site, &publication);
            return;
        }
        if self.transform.is_none() && !publication.options.must_strip {
            self.take(site, &publication);
            return;
        }
        self.rewrite_and_take(site, &publication);
    }

    /// As [`Self::ingest`], for a message that is not stored as it came.
    #[cold]
    fn rewrite_and_take(&mut self, site: &mut Site<'_>, publication: &Publication<'_>) {
        let mut subject = std::mem::take(&mut site.ground.subject);
        let mut tail = std::mem::take(&mut site.ground.scratch);
        subject.clear();
        match &self.transform {
            Some(transform) if transform.is_for(publication.subject) => {
                transform.apply(publication.subject, &mut site.ground.random, &mut subject);
            }
            _ => subject.extend_from_slice(publication.subject),
        }
        let (mut sizes_bytes, mut header) = (publication.sizes_bytes, publication.header);
        if publication.options.must_strip {
            let put = |out: &mut Vec<u8>| put_stripped(publication.block(), b"", out);
            (sizes_bytes, header) = put_tail(&mut tail, put, publication.payload());
        }
        let is_stripped = publication.options.must_strip;
        let kept = if is_stripped { &tail[..] } else { publication.tail };
        let subject_kept = &subject[..];
        let rewritten =
            Publication { subject: subject_kept, tail: kept, sizes_bytes, header, ..*publication };
        self.take(site, &rewritten);
        site.ground.subject = subject;
        site.ground.scratch = tail;
    }

    /// Stores a message of the server's own in the stream.
    pub(crate) fn store_own(
        &mut self,
        site: &mut Site<'_>,
        subject: &[u8],
        header: &[u8],
        payload: &[u8],
    ) {
        let mut tail = Vec::with_capacity(header.len() + payload.len() + 24);
        let put = |out: &mut Vec<u8>| out.extend_from_slice(header);
        let (sizes_bytes, header) = put_tail(&mut tail, put, payload);
        let message = Message { subject, reply: b"", header, tail: &tail, sizes_bytes };
        let mut publication = Publication::new(&message);
        publication.is_trusted = true;
        self.take(site, &publication);
    }

    /// Stores a message, or says why not.
    pub(super) fn take(&mut self, site: &mut Site<'_>, publication: &Publication<'_>) {
        let reply = if self.core.config.no_ack { b"" } else { publication.reply };
        match self.store(site, publication) {
            Ok((sequence, position)) => self.stored(site, position, sequence, reply),
            Err(Refusal::Duplicate(sequence)) if !reply.is_empty() => {
                // The first of them may still wait for the disk.
                let position = self.all_kept(site);
                self.acknowledge(site, position, sequence, reply, DUPLICATE);
            }
            Err(Refusal::Duplicate(_)) => {}
            Err(Refusal::Reading) => self.hold_for_read(site, publication),
            Err(Refusal::Fault(fault)) => self.refuse(site, reply, &fault),
        }
        if !site.ground.wanted.is_empty() {
            self.attend(site);
        }
    }

    /// Where what the stream writes has to be durable up to before it is told of.
    fn kept_at(&self, position: Position) -> Position {
        let is_kept = self.core.config.storage == super::config::Storage::File
            && self.core.config.persist == Persist::Default;
        if is_kept { position } else { Position::START }
    }

    /// Where the last of all that was written has to be durable up to before it is told of.
    pub(super) fn all_kept(&self, site: &Site<'_>) -> Position {
        self.kept_at(site.ground.store.ordered().0)
    }

    pub(super) fn stored(
        &mut self,
        site: &mut Site<'_>,
        position: Position,
        sequence: u64,
        reply: &[u8],
    ) {
        let position = self.kept_at(position);
        let suffix = std::mem::take(&mut self.ack_suffix);
        let rest = if suffix.is_empty() { b"}" } else { &suffix[..] };
        self.acknowledge(site, position, sequence, reply, rest);
        self.ack_suffix = suffix;
        self.ack_suffix.clear();
    }

    /// Answers with a text once everything up to a position is durable.
    pub(super) fn answer_at(
        &mut self,
        site: &mut Site<'_>,
        position: Position,
        reply: &[u8],
        text: &[u8],
    ) {
        if position > Position::START {
            site.ground.acks.push(position, self.core.id, 0, reply, text);
        } else {
            self.settle(site, 0, reply, text);
        }
    }

    /// Sends an acknowledgement and shows the message to consumers, now or once it is durable.
    pub(super) fn acknowledge(
        &mut self,
        site: &mut Site<'_>,
        position: Position,
        sequence: u64,
        reply: &[u8],
        suffix: &[u8],
    ) {
        if position > Position::START {
            site.ground.acks.push(position, self.core.id, sequence, reply, suffix);
            return;
        }
        self.settle(site, sequence, reply, suffix);
    }

    /// A publish is as durable as it has to be. A suffix that is a whole JSON object is the answer.
    pub(crate) fn settle(
        &mut self,
        site: &mut Site<'_>,
        sequence: u64,
        reply: &[u8],
        suffix: &[u8],
    ) {
        if sequence > self.core.visible {
            if self.untold == 0 {
                self.untold = self.core.visible + 1;
            }
            self.core.visible = sequence;
            self.list(site);
        }
        if suffix.first() == Some(&b'{') {
            let parcel = site.ground.parcel.clear().body(suffix);
            parcel.send(site.out, self.core.account, reply, b"");
        } else if !reply.is_empty() {
            let mut tail = std::mem::take(&mut site.ground.ack);
            let sizes_bytes = put_ack(&mut tail, &self.ack_head, sequence, suffix);
            let message =
                Message { subject: reply, reply: b"", header: 0, tail: &tail, sizes_bytes };
            site.out.publish(self.core.account, &message);
            site.ground.ack = tail;
        }
    }

    /// Something happened to the stream that is to be looked at once in this turn.
    pub(crate) fn list(&mut self, site: &mut Site<'_>) {
        if !self.is_listed {
            self.is_listed = true;
            site.ground.listed.push(self.core.id);
        }
    }

    #[cold]
    pub(super) fn refuse(&mut self, site: &mut Site<'_>, reply: &[u8], fault: &Fault) {
        if reply.is_empty() {
            return;
        }
        let parcel = &mut site.ground.parcel;
        let out = parcel.clear().payload();
        let mut writer = crate::json::Writer::open(out);
        fault.put(writer.field("error"));
        writer.text("stream", &self.core.config.name);
        writer.natural("seq", 0);
        writer.close();
        parcel.send(site.out, self.core.account, reply, b"");
    }

    pub(super) fn store(
        &mut self,
        site: &mut Site<'_>,
        publication: &Publication<'_>,
    ) -> Result<(u64, Position), Refusal> {
        let increment = self.increment_of(publication)?;
        let admission = self.admit(site, publication)?;
        if let Some(increment) = increment {
            return self.count_up(site, publication, increment, admission);
        }
        self.keep_wanted(site, publication, admission)
    }

    /// Stores a message that was judged, if anyone wants it and there is room.
    pub(super) fn keep_wanted(
        &mut self,
        site: &mut Site<'_>,
        publication: &Publication<'_>,
        admission: Admission,
    ) -> Result<(u64, Position), Refusal> {
        let config = &self.core.config;
        if config.retention == Retention::Interest && !self.consumers.wants(publication.subject) {
            return self.skip(site, publication, admission);
        }
        self.check_room(site, publication, bytes_of(config.storage, publication))?;
        if let Ttl::Seconds(seconds) = admission.ttl {
            let least = config.subject_delete_marker_ttl / 1_000_000_000;
            if config.max_msgs_per_subject != 1 && seconds < least {
                return self.store_longer(site, publication, admission, least);
            }
        }
        self.keep(site, publication, admission)
    }

    /// Stores a message that would end before a marker for its subject does.
    #[cold]
    fn store_longer(
        &mut self,
        site: &mut Site<'_>,
        publication: &Publication<'_>,
        admission: Admission,
        seconds: i64,
    ) -> Result<(u64, Position), Refusal> {
        let mut tail = Vec::with_capacity(publication.tail.len() + 24);
        let put = |out: &mut Vec<u8>| {
            put_stripped(publication.block(), b"Nats-TTL", out);
            out.truncate(out.len() - 2);
            out.extend_from_slice(format!("Nats-TTL: {seconds}\r\n\r\n").as_bytes());
        };
        let (sizes_bytes, header) = put_tail(&mut tail, put, publication.payload());
        let longer = Publication { tail: &tail, sizes_bytes, header, ..*publication };
        self.keep(site, &longer, Admission { ttl: Ttl::Seconds(seconds), ..admission })
    }

    pub(super) fn keep(
        &mut self,
        site: &mut Site<'_>,
        publication: &Publication<'_>,
        admission: Admission,
    ) -> Result<(u64, Position), Refusal> {
        if !publication.options.schedule.is_empty() && publication.options.rollup.is_empty() {
            let mut tail = Vec::new();
            let (sizes_bytes, header) = Self::put_schedule(&mut tail, publication);
            let mut schedule = Publication { tail: &tail, sizes_bytes, header, ..*publication };
            schedule.options.rollup = b"sub";
            return self.keep(site, &schedule, Admission { rollup: Rollup::Subject, ..admission });
        }
        let sequence = site.ground.store.log(self.core.log).last() + 1;
        let at = (sequence, site.now.wall);
        let position = self.keep_as(site, publication, at, admission)?;
        Ok((sequence, position))
    }

    /// Appends a message under a sequence and a time, and does all that follows from it.
    pub(super) fn keep_as(
        &mut self,
        site: &mut Site<'_>,
        publication: &Publication<'_>,
        (sequence, wall): (u64, Wall),
        admission: Admission,
    ) -> Result<Position, Refusal> {
        let previous = match &self.republish {
            Some(_) => last_of(&site.ground.store, self.core.log, publication.subject),
            None => 0,
        };
        let position = self.append(site, publication, sequence, wall)?;
        if publication.header > 0 {
            self.note(publication, sequence, wall, admission.ttl);
            self.roll_up(site, publication.subject, admission.rollup, 1);
            self.note_schedule(site, publication, sequence, wall);
        } else {
            self.last_id.clear();
        }
        self.enforce(site);
        self.count(site);
        self.hasten(site, wall, admission.ttl);
        if self.republish.is_some() {
            self.republish(site, publication, sequence, previous);
        }
        Ok(position)
    }

    fn append(
        &mut self,
        site: &mut Site<'_>,
        publication: &Publication<'_>,
        sequence: u64,
        wall: Wall,
    ) -> Result<Position, Refusal> {
        if sequence > SEQUENCE_MAX {
            return Err(not_stored("no sequence is left"));
        }
        let entry = Entry {
            sequence,
            wall,
            subject: publication.subject,
            header: publication.header,
            tail: publication.tail,
            sizes_bytes: publication.sizes_bytes,
        };
        site.ground.store.append(self.core.log, &entry).map_err(|failure| match failure {
            Failure::TooLarge => not_stored("message too large"),
            Failure::Full => Refusal::Fault(table::INSUFFICIENT_RESOURCES),
            Failure::Fenced => not_stored("the log is fenced after a failed write"),
            Failure::TooManyKeys => not_stored("too many subjects"),
            Failure::OutOfOrder | Failure::Exists => unreachable!("the sequence is the next one"),
        })
    }

    /// Remembers what the header of a stored message says.
    fn note(&mut self, publication: &Publication<'_>, sequence: u64, wall: Wall, ttl: Ttl) {
        let id = publication.options.message_id;
        self.last_id.clear();
        self.last_id.extend_from_slice(id);
        if !id.is_empty() {
            self.dedupe.insert(id, sequence, wall);
        }
        self.expiry.note(sequence, wall, ttl);
    }

    /// The stream may have to be looked at earlier because of this message.
    fn hasten(&mut self, site: &mut Site<'_>, wall: Wall, ttl: Ttl) {
        let config = &self.core.config;
        let span = match ttl {
            Ttl::Seconds(seconds) => seconds.saturating_mul(1_000_000_000),
            Ttl::Unset | Ttl::Never => i64::MAX,
        };
        let aged = if config.max_age > 0 { config.max_age } else { i64::MAX };
        let forgotten = if self.last_id.is_empty() { i64::MAX } else { config.duplicate_window };
        let span = span.min(aged).min(forgotten);
        if span == i64::MAX {
            return;
        }
        let due = crate::ground::time_at(site.now, Wall(wall.0.saturating_add(span)));
        if due < self.due {
            self.list(site);
        }
    }

    /// Uses up a sequence for a message that no consumer wants.
    fn skip(
        &mut self,
        site: &mut Site<'_>,
        publication: &Publication<'_>,
        admission: Admission,
    ) -> Result<(u64, Position), Refusal> {
        let nothing = Message {
            subject: publication.subject,
            reply: b"",
            header: 0,
            tail: b"0\r\n\r\n",
            sizes_bytes: 3,
        };
        let sequence = site.ground.store.log(self.core.log).last() + 1;
        let wall = site.now.wall;
        self.append(site, &Publication::new(&nothing), sequence, wall)?;
        let position = site.ground.store.remove(self.core.log, sequence, false);
        self.note(publication, sequence, wall, Ttl::Unset);
        self.roll_up(site, publication.subject, admission.rollup, 0);
        self.count(site);
        Ok((sequence, position.expect("it was appended just now")))
    }

    fn roll_up(&mut self, site: &mut Site<'_>, subject: &[u8], rollup: Rollup, keep: u64) {
        let scope = match rollup {
            Rollup::None => return,
            Rollup::Subject => Scope { filter: subject, below: 0, keep },
            Rollup::All => Scope { filter: b"", below: 0, keep },
        };
        self.purge(site, &scope);
    }

    /// Takes away what is over the stream's limits.
    pub(crate) fn enforce(&mut self, site: &mut Site<'_>) {
        let log_id = self.core.log;
        let config = &self.core.config;
        let (messages, bytes) = (limit(config.max_msgs), limit(config.max_bytes));
        if let Some(most) = limit(config.max_msgs_per_subject) {
            let log = site.ground.store.log(log_id);
            let key = log.key_of(log.last()).filter(|key| log.keys().count(*key) > most);
            if let Some(key) = key {
                self.trim_subject(site, key, most);
            }
        }
        loop {
            let log = site.ground.store.log(log_id);
            let is_over = messages.is_some_and(|most| log.messages() > most)
                || bytes.is_some_and(|most| log.bytes() > most);
            if !is_over || log.messages() == 0 {
                return;
            }
            let first = log.first();
            self.remove(site, first, false);
        }
    }

    /// Takes the oldest messages of a subject away until `most` are left.
    pub(crate) fn trim_subject(&mut self, site: &mut Site<'_>, key: storage::KeyId, most: u64) {
        while let Some(state) = site.ground.store.key_state(self.core.log, key)
            && state.count > most
        {
            self.remove(site, state.first, false);
        }
    }

    /// Takes one message away, and tells consumers. False if there is none.
    pub(crate) fn remove(&mut self, site: &mut Site<'_>, sequence: u64, secure: bool) -> bool {
        if self.consumers.is_empty() {
            return site.ground.store.remove(self.core.log, sequence, secure).is_some();
        }
        let mut subject = std::mem::take(&mut site.ground.removed);
        subject.clear();
        let log = site.ground.store.log(self.core.log);
        if let Some(key) = log.key_of(sequence) {
            subject.extend_from_slice(log.keys().text(key));
        }
        let is_removed = site.ground.store.remove(self.core.log, sequence, secure).is_some();
        if is_removed {
            let mut view = site.ground.view(site.now, &self.core, site.account);
            self.consumers.removed(&mut view, sequence, &subject);
        }
        site.ground.removed = subject;
        is_removed
    }

    /// Tells the account and the server what the stream holds now.
    pub(crate) fn count(&mut self, site: &mut Site<'_>) {
        let bytes = site.ground.store.log(self.core.log).bytes();
        let storage = self.core.config.storage;
        site.account.usage.replace(storage, self.counted_bytes, bytes);
        site.ground.totals.usage.replace(storage, self.counted_bytes, bytes);
        self.counted_bytes = bytes;
        let consumers = self.consumers.len();
        site.account.consumers = site.account.consumers - self.counted_consumers + consumers;
        self.counted_consumers = consumers;
    }

    /// Publishes a stored message once more (spec 6.5).
    fn republish(
        &mut self,
        site: &mut Site<'_>,
        publication: &Publication<'_>,
        sequence: u64,
        previous: u64,
    ) {
        let Some(transform) = &self.republish else { return };
        if !transform.is_for(publication.subject) {
            return;
        }
        let target = transform.applied(publication.subject, &mut site.ground.random);
        if !std::str::from_utf8(&target).is_ok_and(super::check::is_publishable) {
            return;
        }
        let headers_only = self.core.config.republish.as_ref().is_some_and(|it| it.headers_only);
        let parcel = &mut site.ground.parcel;
        parcel.clear();
        if publication.header > 0 {
            parcel.block(publication.block());
        }
        parcel.line("Nats-Stream", self.core.config.name.as_bytes());
        parcel.line("Nats-Subject", publication.subject);
        parcel.number("Nats-Sequence", sequence);
        parcel.line("Nats-Time-Stamp", crate::stamp::Stamp::from(site.now.wall).bare().as_bytes());
        parcel.number("Nats-Last-Sequence", previous);
        if headers_only {
            parcel.number("Nats-Msg-Size", publication.payload().len() as u64);
        } else {
            parcel.body(publication.payload());
        }
        parcel.send(site.out, self.core.account, &target, b"");
    }

    /// Once a turn in which something happened: consumers get to know, and ages are looked at.
    pub(crate) fn progress(&mut self, site: &mut Site<'_>) {
        self.is_listed = false;
        self.recall(site);
        self.take_up_held(site);
        self.tend_upstreams(site);
        if self.untold > 0 {
            let from = std::mem::take(&mut self.untold);
            if !self.consumers.is_empty() {
                let mut view = site.ground.view(site.now, &self.core, site.account);
                self.consumers.stored(&mut view, from, site.out);
            }
        }
        if !self.consumers.is_empty() {
            let mut view = site.ground.view(site.now, &self.core, site.account);
            self.consumers.progress(&mut view, site.out);
            if self.consumers.waits_for_disk() {
                site.ground.awaiting.push(self.core.id);
            }
        }
        let is_behind = self.expire(site);
        self.attend(site);
        self.count(site);
        self.expire_batches(site);
        self.run_schedules(site);
        let due = self.expiry_due(site).min(self.consumers.next_due()).min(self.batches_due());
        let due = due.min(self.schedules_due(site));
        self.due = if is_behind { Time(0) } else { due.min(self.upstreams_due()) };
        self.schedule(site.ground);
    }

    /// Puts the stream on the list of due ones, unless it stands there for an earlier time.
    pub(crate) fn schedule(&mut self, ground: &mut Ground) {
        if self.due < self.scheduled {
            self.scheduled = self.due;
            ground.note_due(self.core.id, self.due);
        }
    }
}

/// Writes an acknowledgement as a message's tail; says how many bytes of it are sizes.
fn put_ack(out: &mut Vec<u8>, head: &[u8], sequence: u64, suffix: &[u8]) -> usize {
    let digits = Decimal::new(sequence);
    let size = head.len() + digits.as_bytes().len() + suffix.len();
    out.clear();
    out.extend_from_slice(Decimal::new(size as u64).as_bytes());
    out.extend_from_slice(b"\r\n");
    let sizes_bytes = out.len();
    out.extend_from_slice(head);
    out.extend_from_slice(digits.as_bytes());
    out.extend_from_slice(suffix);
    out.extend_from_slice(b"\r\n");
    sizes_bytes
}
