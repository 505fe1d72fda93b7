//! Messages in quick succession, acknowledged many at a time (spec 6.5).
//!
//! Where a publisher stands is in its reply subjects:
//! `<prefix>.<batch>.<flow>.<ok|fail>.<number>.<operation>.$FI`. Each message is stored as it
//! comes; what the publisher hears is how far it may count on that, and how often it will hear.

use base::Time;
use storage::Position;

use super::{ID_BYTES_MAX, put_suffix};
use crate::error::{Fault, table};
use crate::ground::Site;
use crate::json::Writer;
use crate::stream::Stream;
use crate::stream::options::{number_of, put_filtered};
use crate::stream::publication::{Publication, Refusal, put_tail};

/// The last token of a reply subject that belongs to a batch.
const SUFFIX: &[u8] = b".$FI";
/// Messages between two acknowledgements at most, over all batches of a stream.
const FLOW_MAX: u16 = 500;
/// Messages between two acknowledgements where the publisher names none.
const FLOW_DEFAULT: u16 = 10;

/// What a reply subject says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Step<'a> {
    id: &'a [u8],
    flow: u16,
    gap_ok: bool,
    sequence: u64,
    operation: Operation,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Start,
    Append,
    Commit,
    /// Commit without this message.
    End,
    /// How far are we?
    Ping,
}

/// Does a reply subject belong to a batch?
pub(crate) fn is_fast(reply: &[u8]) -> bool {
    reply.ends_with(SUFFIX)
}

impl<'a> Step<'a> {
    fn read(reply: &'a [u8]) -> Option<Self> {
        let mut tokens = reply.strip_suffix(SUFFIX)?.rsplit(|byte| *byte == b'.');
        let operation = match tokens.next()? {
            b"0" => Operation::Start,
            b"1" => Operation::Append,
            b"2" => Operation::Commit,
            b"3" => Operation::End,
            b"4" => Operation::Ping,
            _ => return None,
        };
        let sequence = number_of(tokens.next()?).filter(|sequence| *sequence > 0)?;
        let gap_ok = match tokens.next()? {
            b"ok" => true,
            b"fail" => false,
            _ => return None,
        };
        let flow = number_of(tokens.next()?).unwrap_or(0);
        let flow = if flow == 0 { FLOW_DEFAULT } else { flow.min(u64::from(u16::MAX)) as u16 };
        let id = tokens.next()?;
        tokens.next()?;
        let is_first = sequence == 1;
        let fits = match operation {
            Operation::Start => is_first,
            Operation::Append | Operation::End => !is_first,
            Operation::Commit | Operation::Ping => true,
        };
        fits.then_some(Self { id, flow, gap_ok, sequence, operation })
    }
}

/// A batch that was begun.
#[derive(Debug)]
pub(crate) struct FastBatch {
    gap_ok: bool,
    flow_max: u16,
    /// Messages until the next acknowledgement.
    flow: u16,
    /// The last number that came.
    last: u64,
    /// The number that was acknowledged last.
    acknowledged: u64,
    /// The stream's sequence of the last message that was stored.
    sequence: u64,
    pub(super) due: Time,
}

impl Stream {
    /// Takes a message of a batch.
    pub(crate) fn take_fast(&mut self, site: &mut Site<'_>, publication: &Publication<'_>) {
        let outcome = self.check_fast(site, publication).and_then(|()| {
            let step = Step::read(publication.reply).ok_or(table::BATCH_PUBLISH_INVALID_PATTERN)?;
            if step.id.len() > ID_BYTES_MAX {
                return Err(table::BATCH_PUBLISH_INVALID_BATCH_ID);
            }
            self.step(site, publication, &step)
        });
        if let Err(fault) = outcome
            && !self.core.config.no_ack
        {
            self.refuse(site, publication.reply, &fault);
        }
        self.list(site);
    }

    fn check_fast(&self, site: &Site<'_>, publication: &Publication<'_>) -> Result<(), Fault> {
        let config = &self.core.config;
        if config.sealed {
            return Err(table::STREAM_SEALED);
        }
        let bytes = crate::stream::admit::bytes_of(config.storage, publication);
        let room = self.check_budget(site, bytes).and_then(|()| self.check_size(publication));
        if let Err(Refusal::Fault(fault)) = room {
            return Err(fault);
        }
        if config.allow_batched { Ok(()) } else { Err(table::BATCH_PUBLISH_DISABLED) }
    }

    fn step(
        &mut self,
        site: &mut Site<'_>,
        publication: &Publication<'_>,
        step: &Step<'_>,
    ) -> Result<(), Fault> {
        if !self.batches.fast.contains_key(step.id) {
            self.begin_fast(site, step)?;
        }
        let level = publication.options.api_level;
        if !level.is_empty() && !crate::api::is_level_served(level) {
            self.end_fast(site, step.id);
            return Err(table::REQUIRED_API_LEVEL);
        }
        let due = site.now.time.after(site.ground.config.limits.batch.timeout);
        let batch = self.batches.fast.get_mut(step.id).expect("it was just made");
        batch.due = due;
        let reply = publication.reply;
        if step.operation == Operation::Ping {
            self.answer_ping(site, step, reply);
            return Ok(());
        }
        if step.sequence != batch.last + 1 {
            let (expected, gap_ok) = (batch.last + 1, batch.gap_ok);
            self.tell_gap(site, reply, expected, step.sequence);
            if !gap_ok || step.sequence < expected {
                self.commit_fast(site, step.id, reply);
                return Ok(());
            }
        }
        let batch = self.batches.fast.get_mut(step.id).expect("it is still there");
        if step.operation == Operation::End {
            batch.last = step.sequence - 1;
            self.commit_fast(site, step.id, reply);
            return Ok(());
        }
        batch.last = step.sequence;
        let is_commit = step.operation == Operation::Commit;
        if step.sequence == 1 && !is_commit {
            let flow = batch.flow;
            self.tell_flow(site, Position::START, reply, 0, flow);
        }
        self.store_fast(site, publication, step, is_commit)
    }

    fn begin_fast(&mut self, site: &mut Site<'_>, step: &Step<'_>) -> Result<(), Fault> {
        if step.sequence != 1 || step.operation == Operation::Ping {
            return Err(table::BATCH_PUBLISH_UNKNOWN_BATCH_ID);
        }
        let limits = &site.ground.config.limits.batch;
        let is_full = self.batches.fast.len() >= limits.fast_stream
            || site.ground.batches.fast >= limits.fast_total;
        if is_full {
            return Err(table::BATCH_PUBLISH_TOO_MANY_INFLIGHT);
        }
        let is_alone = self.batches.fast.is_empty();
        let batch = FastBatch {
            gap_ok: step.gap_ok,
            flow_max: step.flow,
            flow: if is_alone { step.flow.min(FLOW_MAX) } else { 1 },
            last: 0,
            acknowledged: 0,
            sequence: 0,
            due: Time::NEVER,
        };
        self.batches.fast.insert(step.id.into(), batch);
        site.ground.batches.fast += 1;
        Ok(())
    }

    /// Forgets a batch; what was stored of it stays.
    pub(super) fn end_fast(&mut self, site: &mut Site<'_>, id: &[u8]) {
        if self.batches.fast.remove(id).is_some() {
            site.ground.batches.fast -= 1;
        }
    }

    fn answer_ping(&mut self, site: &mut Site<'_>, step: &Step<'_>, reply: &[u8]) {
        let batch = self.batches.fast.get_mut(step.id).expect("the caller looked");
        if step.sequence > batch.last {
            let (expected, gap_ok) = (batch.last + 1, batch.gap_ok);
            self.tell_gap(site, reply, expected, step.sequence + 1);
            if !gap_ok {
                self.commit_fast(site, step.id, reply);
                return;
            }
            let batch = self.batches.fast.get_mut(step.id).expect("it is still there");
            batch.last = step.sequence;
            if self.flow_on(site, step.id, reply) {
                return;
            }
        }
        let batch = &self.batches.fast[step.id];
        let (acknowledged, flow) = (batch.acknowledged, batch.flow);
        let position = self.all_kept(site);
        self.tell_flow(site, position, reply, acknowledged, flow);
    }

    fn store_fast(
        &mut self,
        site: &mut Site<'_>,
        publication: &Publication<'_>,
        step: &Step<'_>,
        is_commit: bool,
    ) -> Result<(), Fault> {
        let reply = publication.reply;
        let stored = self.store_stripped(site, publication);
        self.ack_suffix.clear();
        let batch = self.batches.fast.get_mut(step.id).expect("it is still there");
        match stored {
            Ok((sequence, position)) => {
                batch.sequence = sequence;
                // Consumers get to see it; the publisher hears of it with others.
                self.stored(site, position, sequence, b"");
                if !is_commit {
                    self.flow_on(site, step.id, reply);
                }
            }
            Err(Refusal::Duplicate(sequence)) if step.sequence == 1 && !step.gap_ok => {
                self.end_fast(site, step.id);
                let mut suffix = Vec::new();
                put_suffix(&mut suffix, step.id, step.sequence);
                suffix.splice(0..0, *b",\"duplicate\": true");
                let position = self.all_kept(site);
                self.acknowledge(site, position, sequence, reply, &suffix);
                return Ok(());
            }
            Err(Refusal::Duplicate(_)) => {
                if !is_commit {
                    self.flow_on(site, step.id, reply);
                }
            }
            Err(Refusal::Fault(fault)) if step.sequence == 1 && !step.gap_ok => {
                self.end_fast(site, step.id);
                return Err(fault);
            }
            Err(refusal) => {
                let fault = match refusal {
                    Refusal::Fault(fault) => fault,
                    Refusal::Duplicate(_) | Refusal::Reading => table::INSUFFICIENT_RESOURCES,
                };
                self.tell_fault(site, reply, step.sequence, &fault);
                if step.gap_ok && !is_commit {
                    return Ok(());
                }
                let batch = self.batches.fast.get_mut(step.id).expect("it is still there");
                batch.last -= 1;
                self.commit_fast(site, step.id, reply);
                return Ok(());
            }
        }
        if is_commit {
            self.commit_fast(site, step.id, reply);
        }
        self.attend(site);
        Ok(())
    }

    /// Stores a message under its own subject, without what concerns only the batch.
    fn store_stripped(
        &mut self,
        site: &mut Site<'_>,
        publication: &Publication<'_>,
    ) -> Result<(u64, Position), Refusal> {
        let mut subject = Vec::new();
        match self.transform.as_ref().filter(|it| it.is_for(publication.subject)) {
            Some(transform) => {
                transform.apply(publication.subject, &mut site.ground.random, &mut subject);
            }
            None => subject.extend_from_slice(publication.subject),
        }
        let mut tail = Vec::new();
        let mut own = Publication { subject: &subject, ..*publication };
        if !publication.options.api_level.is_empty() || publication.options.must_strip {
            let put = |out: &mut Vec<u8>| {
                put_filtered(publication.block(), |name| name != b"Nats-Required-Api-Level", out);
            };
            (own.sizes_bytes, own.header) = put_tail(&mut tail, put, publication.payload());
            own.tail = &tail;
        }
        self.store(site, &own)
    }

    /// Ends a batch with an acknowledgement of all that was stored.
    fn commit_fast(&mut self, site: &mut Site<'_>, id: &[u8], reply: &[u8]) {
        let batch = &self.batches.fast[id];
        let (sequence, count) = (batch.sequence, batch.last);
        let mut suffix = Vec::new();
        put_suffix(&mut suffix, id, count);
        self.end_fast(site, id);
        let reply = if self.core.config.no_ack { b"" } else { reply };
        let position = self.all_kept(site);
        self.acknowledge(site, position, sequence, reply, &suffix);
    }

    /// Tells the publisher how far it has come, if it is time for that, and settles when it hears
    /// next. True if it was told.
    fn flow_on(&mut self, site: &mut Site<'_>, id: &[u8], reply: &[u8]) -> bool {
        let share = (usize::from(FLOW_MAX) / self.batches.fast.len().max(1)).max(1) as u16;
        let batch = self.batches.fast.get_mut(id).expect("the caller looked");
        let flow = u64::from(batch.flow);
        if batch.last < batch.acknowledged + flow {
            return false;
        }
        batch.acknowledged += (batch.last - batch.acknowledged) / flow * flow;
        let most = share.min(batch.flow_max);
        batch.flow = if batch.flow < most {
            batch.flow.saturating_mul(2).min(most)
        } else {
            (batch.flow / 2).max(most)
        };
        let (acknowledged, flow) = (batch.acknowledged, batch.flow);
        let position = self.all_kept(site);
        self.tell_flow(site, position, reply, acknowledged, flow);
        true
    }

    fn tell_flow(
        &mut self,
        site: &mut Site<'_>,
        position: Position,
        reply: &[u8],
        sequence: u64,
        flow: u16,
    ) {
        let mut text = Vec::new();
        let mut writer = Writer::open(&mut text);
        writer.text("type", "ack");
        writer.natural("seq", sequence);
        writer.natural("msgs", u64::from(flow));
        writer.close();
        self.answer_at(site, position, reply, &text);
    }

    fn tell_gap(&mut self, site: &mut Site<'_>, reply: &[u8], expected: u64, current: u64) {
        let mut text = Vec::new();
        let mut writer = Writer::open(&mut text);
        writer.text("type", "gap");
        writer.natural("last_seq", expected);
        writer.natural("seq", current);
        writer.close();
        self.answer_at(site, Position::START, reply, &text);
    }

    fn tell_fault(&mut self, site: &mut Site<'_>, reply: &[u8], sequence: u64, fault: &Fault) {
        let mut text = Vec::new();
        let mut writer = Writer::open(&mut text);
        writer.text("type", "err");
        writer.natural("seq", sequence);
        fault.put(writer.field("error"));
        writer.close();
        self.answer_at(site, Position::START, reply, &text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reply_subjects_say_where_a_publisher_stands() {
        let step = |sequence, operation| {
            Some(Step { id: b"u", flow: 7, gap_ok: true, sequence, operation })
        };
        for (reply, expected) in [
            ("_INBOX.x.u.7.ok.1.0.$FI", step(1, Operation::Start)),
            ("_INBOX.x.u.7.ok.2.1.$FI", step(2, Operation::Append)),
            ("p.u.7.ok.1.2.$FI", step(1, Operation::Commit)),
            ("p.u.7.ok.9.3.$FI", step(9, Operation::End)),
            ("p.u.7.ok.3.4.$FI", step(3, Operation::Ping)),
            ("p.u.7.ok.2.0.$FI", None),
            ("p.u.7.ok.1.1.$FI", None),
            ("p.u.7.ok.1.3.$FI", None),
            ("p.u.7.ok.0.0.$FI", None),
            ("p.u.7.maybe.1.0.$FI", None),
            ("p.u.7.ok.1.5.$FI", None),
            ("u.7.ok.1.0.$FI", None),
            ("p.u.7.ok.1.0", None),
            (".$FI", None),
        ] {
            assert_eq!(Step::read(reply.as_bytes()), expected, "{reply}");
        }
    }
}
