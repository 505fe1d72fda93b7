//! Batches of which all messages are stored or none (ADR-50, spec 6.5).
//!
//! Messages wait in memory until the commit. Then all are judged as if those in front of them were
//! stored, and only if none is refused they are appended, one behind the other. A note of the log
//! says meanwhile where the batch begins: should the machine stop in the middle, the next start
//! takes away what is there of it.

use std::collections::HashSet;

use base::Time;
use base::limits::BATCH_BYTES_MAX;
use storage::Position;
use wire::Message;

use super::{ID_BYTES_MAX, put_suffix};
use crate::advisory;
use crate::error::{Fault, table};
use crate::ground::Site;
use crate::stream::Stream;
use crate::stream::admit::{Admission, Rollup, bytes_of, last_of, limit};
use crate::stream::config::Discard;
use crate::stream::options::{number_of, put_filtered, sequence_of};
use crate::stream::publication::{Publication, Refusal, not_stored, put_tail};

/// The note that says where a batch begins that is being stored: a sequence as text.
const NOTE: &[u8] = b"b/open";

/// A batch that waits for its commit.
#[derive(Debug)]
pub(crate) struct AtomicBatch {
    staged: Vec<Staged>,
    bytes: usize,
    pub(super) due: Time,
}

/// A message that waits.
#[derive(Debug)]
struct Staged {
    subject: Vec<u8>,
    header: usize,
    tail: Vec<u8>,
    sizes_bytes: usize,
}

impl Staged {
    fn message(&self) -> Message<'_> {
        let (tail, sizes_bytes) = (&self.tail[..], self.sizes_bytes);
        Message { subject: &self.subject, reply: b"", header: self.header, tail, sizes_bytes }
    }
}

/// What a batch that is being judged has come to.
#[derive(Default)]
struct Draft {
    ids: HashSet<Vec<u8>>,
    subjects: HashSet<Vec<u8>>,
    messages: u64,
    bytes: u64,
}

/// What the commit header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Commit {
    None,
    WithThis,
    WithoutThis,
    Unknown,
}

impl Commit {
    fn read(value: &[u8]) -> Self {
        match value {
            b"" => Self::None,
            b"1" => Self::WithThis,
            b"eob" => Self::WithoutThis,
            _ => Self::Unknown,
        }
    }
}

impl Stream {
    /// Takes a message of a batch.
    pub(crate) fn take_batched(&mut self, site: &mut Site<'_>, publication: &Publication<'_>) {
        let id = publication.options.batch;
        match self.stage(site, publication) {
            Ok(Commit::None) => {
                if !self.core.config.no_ack && !publication.reply.is_empty() {
                    let parcel = site.ground.parcel.clear();
                    parcel.send(site.out, self.core.account, publication.reply, b"");
                }
            }
            Ok(commit) => {
                let outcome = self.commit(site, publication, commit == Commit::WithThis);
                self.end_atomic(site, id);
                if let Err(fault) = outcome {
                    self.answer_fault(site, publication.reply, &fault);
                }
            }
            Err(fault) => self.answer_fault(site, publication.reply, &fault),
        }
        self.list(site);
    }

    fn answer_fault(&mut self, site: &mut Site<'_>, reply: &[u8], fault: &Fault) {
        if !self.core.config.no_ack {
            self.refuse(site, reply, fault);
        }
    }

    fn stage(
        &mut self,
        site: &mut Site<'_>,
        publication: &Publication<'_>,
    ) -> Result<Commit, Fault> {
        let options = &publication.options;
        let commit = Commit::read(options.batch_commit);
        let sequence = self.check_batched(site, publication)?;
        let is_known = self.batches.atomic.contains_key(options.batch);
        let messages = sequence.wrapping_sub(u64::from(commit == Commit::WithoutThis));
        let most = site.ground.config.limits.batch.messages;
        let too_large = || table::ATOMIC_PUBLISH_TOO_LARGE_BATCH.with("{size}", most);
        if !is_known {
            if sequence != 1 {
                let is_large = messages > most as u64;
                let incomplete = table::ATOMIC_PUBLISH_INCOMPLETE_BATCH;
                return Err(if is_large { too_large() } else { incomplete });
            }
            self.begin_atomic(site, options.batch)?;
        }
        if commit == Commit::Unknown {
            self.end_atomic(site, options.batch);
            return Err(table::ATOMIC_PUBLISH_INVALID_BATCH_COMMIT);
        }
        if !options.api_level.is_empty() && !crate::api::is_level_served(options.api_level) {
            self.abandon(site, options.batch, "unsupported");
            return Err(table::REQUIRED_API_LEVEL);
        }
        let batch = self.batches.atomic.get_mut(options.batch).expect("it was just made");
        let expected = batch.staged.len() as u64 + 1;
        if sequence != expected || (sequence == 1 && commit == Commit::WithoutThis) {
            self.abandon(site, options.batch, "incomplete");
            return Err(table::ATOMIC_PUBLISH_INCOMPLETE_BATCH);
        }
        if messages > most as u64 || site.ground.batches.bytes > BATCH_BYTES_MAX {
            self.abandon(site, options.batch, "large");
            return Err(too_large());
        }
        batch.due = site.now.time.after(site.ground.config.limits.batch.timeout);
        if commit != Commit::WithoutThis {
            let staged = staged(publication);
            let bytes = staged.tail.len() + staged.subject.len();
            batch.bytes += bytes;
            site.ground.batches.bytes += bytes;
            batch.staged.push(staged);
        }
        Ok(commit)
    }

    /// What is wrong with a message whatever its batch; its number in the batch.
    fn check_batched(&self, site: &Site<'_>, publication: &Publication<'_>) -> Result<u64, Fault> {
        let config = &self.core.config;
        if config.sealed {
            return Err(table::STREAM_SEALED);
        }
        let bytes = bytes_of(config.storage, publication);
        self.check_budget(site, bytes).map_err(fault_of)?;
        self.check_size(publication).map_err(fault_of)?;
        if !config.allow_atomic {
            return Err(table::ATOMIC_PUBLISH_DISABLED);
        }
        if publication.options.batch.len() > ID_BYTES_MAX {
            return Err(table::ATOMIC_PUBLISH_INVALID_BATCH_ID);
        }
        number_of(publication.options.batch_sequence).ok_or(table::ATOMIC_PUBLISH_MISSING_SEQ)
    }

    fn begin_atomic(&mut self, site: &mut Site<'_>, id: &[u8]) -> Result<(), Fault> {
        let limits = &site.ground.config.limits.batch;
        if self.batches.atomic.len() >= limits.inflight_stream
            || site.ground.batches.atomic >= limits.inflight_total
        {
            return Err(table::ATOMIC_PUBLISH_TOO_MANY_INFLIGHT);
        }
        let batch = AtomicBatch { staged: Vec::new(), bytes: 0, due: Time::NEVER };
        self.batches.atomic.insert(id.into(), batch);
        site.ground.batches.atomic += 1;
        Ok(())
    }

    /// Forgets a batch.
    pub(super) fn end_atomic(&mut self, site: &mut Site<'_>, id: &[u8]) {
        if let Some(batch) = self.batches.atomic.remove(id) {
            site.ground.batches.atomic -= 1;
            site.ground.batches.bytes -= batch.bytes;
        }
    }

    /// Forgets a batch and tells whoever listens why.
    pub(super) fn abandon(&mut self, site: &mut Site<'_>, id: &[u8], reason: &str) {
        self.end_atomic(site, id);
        let stream = &self.core.config.name;
        let subject = format!("$JS.EVENT.ADVISORY.STREAM.BATCH_ABANDONED.{stream}");
        let (account, domain) = (&site.account.name, site.ground.config.domain.clone());
        let about = (self.core.account, subject.as_bytes());
        let kind = "stream_batch_abandoned";
        advisory::publish(site.ground, site.out, site.now, about, kind, |writer| {
            writer.text("account", account);
            writer.text("stream", stream);
            writer.text_unless_empty("domain", &domain);
            writer.text("batch", &String::from_utf8_lossy(id));
            writer.text("reason", reason);
        });
    }

    /// Stores all messages of a batch, or none.
    fn commit(
        &mut self,
        site: &mut Site<'_>,
        publication: &Publication<'_>,
        with_this: bool,
    ) -> Result<(), Fault> {
        let id = publication.options.batch;
        let batch = self.batches.atomic.get_mut(id).expect("the commit belongs to it");
        let mut staged = std::mem::take(&mut batch.staged);
        if !with_this {
            close(staged.last_mut().expect("a batch has a first message"));
        }
        let mut draft = Draft::default();
        let mut admissions = Vec::with_capacity(staged.len());
        for one in &mut staged {
            self.rename(site, one);
            let message = one.message();
            let publication = Publication::new(&message);
            admissions.push(self.judge_batched(site, &publication, &mut draft)?);
        }
        let first = site.ground.store.log(self.core.log).last() + 1;
        site.ground.store.put_note(self.core.log, NOTE, first.to_string().as_bytes());
        let stored = self.store_all(site, &staged, &admissions);
        let sequence = match stored {
            Ok(sequence) => sequence,
            Err(refusal) => {
                self.take_back(site, first);
                return Err(fault_of(refusal));
            }
        };
        let position = site.ground.store.put_note(self.core.log, NOTE, b"");
        put_suffix(&mut self.ack_suffix, id, staged.len() as u64);
        let reply = if self.core.config.no_ack { b"" } else { publication.reply };
        self.stored(site, position, sequence, reply);
        self.attend(site);
        Ok(())
    }

    fn rename(&self, site: &mut Site<'_>, staged: &mut Staged) {
        if let Some(transform) = self.transform.as_ref().filter(|it| it.is_for(&staged.subject)) {
            let before = std::mem::take(&mut staged.subject);
            transform.apply(&before, &mut site.ground.random, &mut staged.subject);
        }
    }

    fn store_all(
        &mut self,
        site: &mut Site<'_>,
        staged: &[Staged],
        admissions: &[Admission],
    ) -> Result<u64, Refusal> {
        let mut last = 0;
        for (one, admission) in staged.iter().zip(admissions) {
            let message = one.message();
            let publication = Publication::new(&message);
            let (sequence, _): (u64, Position) = match self.increment_of(&publication)? {
                Some(increment) => self.count_up(site, &publication, increment, *admission)?,
                None => self.keep_wanted(site, &publication, *admission)?,
            };
            last = sequence;
        }
        Ok(last)
    }

    /// Takes away what was stored of a batch that did not come to its end.
    fn take_back(&mut self, site: &mut Site<'_>, first: u64) {
        let last = site.ground.store.log(self.core.log).last();
        for sequence in first..=last {
            site.ground.store.remove(self.core.log, sequence, false);
        }
        site.ground.store.put_note(self.core.log, NOTE, b"");
        self.count(site);
    }

    /// After a start: takes away what is there of a batch that was being stored.
    pub(crate) fn recover_batches(&mut self, site: &mut Site<'_>) {
        let note = site.ground.store.note(self.core.log, NOTE);
        if let Some(first) = note.and_then(number_of) {
            self.take_back(site, first);
        }
    }

    /// Judges a message as if those in front of it in its batch were stored.
    fn judge_batched(
        &self,
        site: &Site<'_>,
        publication: &Publication<'_>,
        draft: &mut Draft,
    ) -> Result<Admission, Fault> {
        let options = &publication.options;
        if !options.expected_id.is_empty() {
            let header = "Nats-Expected-Last-Msg-Id";
            return Err(table::ATOMIC_PUBLISH_UNSUPPORTED_HEADER_BATCH.with("{header}", header));
        }
        self.increment_of(publication).map_err(fault_of)?;
        if !options.message_id.is_empty() {
            let is_new = draft.ids.insert(options.message_id.to_vec());
            if !is_new || self.dedupe.find(options.message_id).is_some() {
                return Err(table::ATOMIC_PUBLISH_CONTAINS_DUPLICATE_MESSAGE);
            }
        }
        self.check_batched_sequences(site, publication, draft)?;
        // What remains is no different from a message on its own.
        let mut rest = *publication;
        rest.options.expected_last = b"";
        rest.options.expected_subject_last = b"";
        rest.options.expected_subject = b"";
        let admission = self.admit(site, &rest).map_err(fault_of)?;
        let failed = |cause: &str| Err(table::STREAM_ROLLUP_FAILED.because(cause));
        match admission.rollup {
            Rollup::Subject if draft.subjects.contains(publication.subject) => {
                return failed("batch rollup sub invalid");
            }
            Rollup::All if draft.messages > 0 => return failed("batch rollup all invalid"),
            Rollup::None | Rollup::Subject | Rollup::All => {}
        }
        draft.subjects.insert(publication.subject.to_vec());
        draft.messages += 1;
        draft.bytes += bytes_of(self.core.config.storage, publication);
        self.check_budget(site, draft.bytes).map_err(fault_of)?;
        self.check_batched_room(site, publication, draft)?;
        Ok(admission)
    }

    fn check_batched_sequences(
        &self,
        site: &Site<'_>,
        publication: &Publication<'_>,
        draft: &Draft,
    ) -> Result<(), Fault> {
        let options = &publication.options;
        let log = site.ground.store.log(self.core.log);
        if !options.expected_last.is_empty() {
            let last = log.last() + draft.messages;
            if sequence_of(options.expected_last) != last {
                return Err(table::STREAM_WRONG_LAST_SEQUENCE.with("{seq}", last));
            }
            if draft.messages > 0 {
                return Err(table::STREAM_WRONG_LAST_SEQUENCE_CONSTANT);
            }
        }
        if options.expected_subject_last.is_empty() {
            let is_alone = !options.expected_subject.is_empty();
            let fault = table::STREAM_EXPECTED_LAST_SEQ_PER_SUBJECT_INVALID;
            return if is_alone { Err(fault) } else { Ok(()) };
        }
        let subject = match options.expected_subject {
            b"" => publication.subject,
            other => other,
        };
        if draft.subjects.contains(subject) {
            return Err(table::STREAM_WRONG_LAST_SEQUENCE_CONSTANT);
        }
        let last = last_of(&site.ground.store, self.core.log, subject);
        if last == sequence_of(options.expected_subject_last) {
            return Ok(());
        }
        Err(table::STREAM_WRONG_LAST_SEQUENCE.with("{seq}", last))
    }

    fn check_batched_room(
        &self,
        site: &Site<'_>,
        publication: &Publication<'_>,
        draft: &Draft,
    ) -> Result<(), Fault> {
        let config = &self.core.config;
        if config.discard != Discard::New {
            return Ok(());
        }
        let log = site.ground.store.log(self.core.log);
        let full = |cause: &str| Err(fault_of(not_stored(cause)));
        if limit(config.max_msgs).is_some_and(|most| log.messages() + draft.messages > most) {
            return full("maximum messages exceeded");
        }
        if limit(config.max_bytes).is_some_and(|most| log.bytes() + draft.bytes > most) {
            return full("maximum bytes exceeded");
        }
        let most = limit(config.max_msgs_per_subject);
        if config.discard_new_per_subject && publication.options.rollup.is_empty() {
            let key = log.keys().find(publication.subject);
            let count = key.map_or(0, |key| log.keys().count(key));
            if most.is_some_and(|most| count + 1 > most) {
                return full("maximum messages per subject exceeded");
            }
        }
        Ok(())
    }
}

fn fault_of(refusal: Refusal) -> Fault {
    match refusal {
        Refusal::Fault(fault) => fault,
        Refusal::Duplicate(_) => table::ATOMIC_PUBLISH_CONTAINS_DUPLICATE_MESSAGE,
        // A counter whose last value is on disk: asked again, it is in memory.
        Refusal::Reading => table::INSUFFICIENT_RESOURCES,
    }
}

/// A message that waits owns its bytes. The level of the API that it asks for is not stored.
fn staged(publication: &Publication<'_>) -> Staged {
    let mut tail = Vec::new();
    let put = |out: &mut Vec<u8>| {
        put_filtered(publication.block(), |name| name != b"Nats-Required-Api-Level", out);
    };
    let (sizes_bytes, header) = put_tail(&mut tail, put, publication.payload());
    Staged { subject: publication.subject.to_vec(), header, tail, sizes_bytes }
}

/// The last message of a batch says that it is the last, though a message that is not stored did.
fn close(last: &mut Staged) {
    let message = last.message();
    let publication = Publication::new(&message);
    let mut tail = Vec::new();
    let put = |out: &mut Vec<u8>| {
        put_filtered(publication.block(), |name| name != b"Nats-Batch-Commit", out);
        out.truncate(out.len() - 2);
        out.extend_from_slice(b"Nats-Batch-Commit: 1\r\n\r\n");
    };
    let (sizes_bytes, header) = put_tail(&mut tail, put, publication.payload());
    (last.sizes_bytes, last.header, last.tail) = (sizes_bytes, header, tail);
}
