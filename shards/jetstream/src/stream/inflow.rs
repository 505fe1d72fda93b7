//! What comes in from an origin: messages of a mirror or source, heartbeats and flow control.

use base::Wall;
use wire::Message;

use super::Stream;
use super::admit::{Admission, bytes_of};
use super::options::{Ttl, header_value, put_filtered, ttl_of};
use super::publication::{Publication, Refusal, put_tail};
use super::upstream::{Stage, put_source_header};
use crate::error::{Fault, table};
use crate::ground::Site;
use crate::services::UpstreamEnd;

/// What the reply subject of a delivered message says (spec 6.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Delivered<'a> {
    consumer: &'a [u8],
    deliveries: u64,
    sequence: u64,
    consumer_sequence: u64,
    wall: Wall,
    pending: u64,
}

impl<'a> Delivered<'a> {
    /// Reads both forms: of nine tokens, and of eleven or more, with domain and account in front.
    fn read(reply: &'a [u8]) -> Option<Self> {
        let tokens: Vec<&[u8]> = reply.split(|byte| *byte == b'.').collect();
        let start = match tokens.len() {
            9 => 3,
            11.. => 5,
            _ => return None,
        };
        if !reply.starts_with(b"$JS.ACK.") {
            return None;
        }
        let number = |at: usize| -> Option<u64> {
            std::str::from_utf8(tokens[start + at]).ok()?.parse().ok()
        };
        Some(Self {
            consumer: tokens[start],
            deliveries: number(1)?,
            sequence: number(2)?,
            consumer_sequence: number(3)?,
            wall: Wall(number(4)? as i64),
            pending: number(5)?,
        })
    }
}

/// What is to follow from a message of an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Store it.
    Take,
    /// It is old, or of a consumer that is not listened to any more.
    Ignore,
    /// Something is missing.
    StartOver,
}

impl Stream {
    /// A message came for a subscription of an upstream's.
    pub(crate) fn receive_upstream(
        &mut self,
        site: &mut Site<'_>,
        place: u32,
        end: UpstreamEnd,
        message: &Message<'_>,
    ) {
        let Some(at) = self.upstreams.iter().position(|upstream| upstream.place == place) else {
            return;
        };
        let all = message.body();
        let (header, body) = all[..all.len() - 2].split_at(message.header);
        match end {
            UpstreamEnd::Answer => self.upstreams[at].answered(site, body),
            UpstreamEnd::Delivery if body.is_empty() && header.starts_with(b"NATS/1.0 100") => {
                self.control(site, at, header, message.reply);
            }
            UpstreamEnd::Delivery => self.delivered(site, at, message),
        }
        self.list(site);
    }

    /// A heartbeat, or a question how far we are.
    fn control(&mut self, site: &mut Site<'_>, at: usize, header: &[u8], reply: &[u8]) {
        let account = self.core.account;
        let upstream = &mut self.upstreams[at];
        upstream.hear(site.now.time);
        if !reply.is_empty() {
            let parcel = site.ground.parcel.clear();
            parcel.number("Nats-Last-Consumer", upstream.delivered);
            parcel.number("Nats-Last-Stream", upstream.last);
            parcel.send(site.out, account, reply, b"");
            return;
        }
        let last = header_value(header, b"Nats-Last-Consumer");
        let last = last.and_then(|text| std::str::from_utf8(text).ok()?.parse::<u64>().ok());
        if last.is_some_and(|last| last > 0 && last != upstream.delivered) {
            upstream.start_over(site);
        } else if let Some(question) = header_value(header, b"Nats-Consumer-Stalled") {
            site.ground.parcel.clear().send(site.out, account, question, b"");
        }
    }

    fn delivered(&mut self, site: &mut Site<'_>, at: usize, message: &Message<'_>) {
        let Some(delivered) = Delivered::read(message.reply) else { return };
        let own_last = site.ground.store.log(self.core.log).last();
        match self.judge(at, &delivered, own_last) {
            Verdict::Ignore => return,
            Verdict::StartOver => {
                self.upstreams[at].start_over(site);
                return;
            }
            Verdict::Take => {}
        }
        let before = (self.upstreams[at].last, self.upstreams[at].delivered);
        let upstream = &mut self.upstreams[at];
        upstream.hear(site.now.time);
        upstream.last = delivered.sequence;
        upstream.delivered = delivered.consumer_sequence;
        upstream.lag = delivered.pending.saturating_sub(1);
        upstream.is_moved = true;
        let is_mirror = upstream.is_mirror;
        let subject = self.renamed(site, at, message.subject);
        let taken = if is_mirror {
            self.mirror(site, message, &subject, &delivered)
        } else {
            self.source(site, at, message, &subject, delivered.sequence)
        };
        if let Err(fault) = taken {
            let upstream = &mut self.upstreams[at];
            (upstream.last, upstream.delivered) = before;
            upstream.fail(site, fault);
        }
    }

    /// The subject that a message is stored under: renamed by its source, then by the stream.
    fn renamed(&self, site: &mut Site<'_>, at: usize, subject: &[u8]) -> Vec<u8> {
        let mut transforms = self.upstreams[at].transforms.iter();
        let first = transforms.find(|it| it.is_for(subject));
        let mut renamed = subject.to_vec();
        for transform in first.into_iter().chain(&self.transform) {
            if transform.is_for(&renamed) {
                let before = std::mem::take(&mut renamed);
                transform.apply(&before, &mut site.ground.random, &mut renamed);
            }
        }
        renamed
    }

    fn judge(&mut self, at: usize, delivered: &Delivered<'_>, own_last: u64) -> Verdict {
        let upstream = &mut self.upstreams[at];
        if upstream.stage == Stage::Waiting || delivered.deliveries > 1 {
            return Verdict::Ignore;
        }
        if upstream.consumer.is_empty() {
            upstream.consumer.extend_from_slice(delivered.consumer);
            upstream.delivered = delivered.consumer_sequence - 1;
        } else if upstream.consumer != delivered.consumer {
            return Verdict::Ignore;
        }
        let last = if upstream.is_mirror { own_last.max(upstream.last) } else { upstream.last };
        if delivered.consumer_sequence != upstream.delivered + 1 {
            return Verdict::StartOver;
        }
        if delivered.sequence <= last {
            upstream.delivered += 1;
            return Verdict::Ignore;
        }
        Verdict::Take
    }

    /// Stores a message under the sequence and time it has in its origin. Sequences that it passes
    /// over are those of messages the origin does not have, or that a filter leaves out.
    fn mirror(
        &mut self,
        site: &mut Site<'_>,
        message: &Message<'_>,
        subject: &[u8],
        delivered: &Delivered<'_>,
    ) -> Result<(), Fault> {
        let mut publication = Publication::new(message);
        publication.is_trusted = true;
        publication.reply = b"";
        let mut tail = std::mem::take(&mut site.ground.scratch);
        if publication.options.is_conditional() {
            let put = |out: &mut Vec<u8>| put_filtered(publication.block(), is_kept, out);
            (publication.sizes_bytes, publication.header) =
                put_tail(&mut tail, put, publication.payload());
        }
        let kept = if publication.options.is_conditional() { &tail[..] } else { publication.tail };
        let publication = Publication { subject, tail: kept, ..publication };
        let stored = self.store_mirrored(site, &publication, delivered.sequence, delivered.wall);
        site.ground.scratch = tail;
        stored
    }

    fn store_mirrored(
        &mut self,
        site: &mut Site<'_>,
        publication: &Publication<'_>,
        sequence: u64,
        wall: Wall,
    ) -> Result<(), Fault> {
        let bytes = bytes_of(self.core.config.storage, publication);
        let ttl = ttl_of(publication.options.ttl).unwrap_or(Ttl::Unset);
        let kept = self.check_budget(site, bytes).and_then(|()| {
            let admission = Admission { ttl, rollup: self.check_history(publication)? };
            self.keep_as(site, publication, (sequence, wall), admission)
        });
        match kept {
            Ok(position) => {
                self.stored(site, position, sequence, b"");
                Ok(())
            }
            Err(Refusal::Fault(fault)) => Err(fault),
            Err(Refusal::Duplicate(_) | Refusal::Reading) => {
                unreachable!("a mirror looks at no earlier message")
            }
        }
    }

    /// Stores a message as one of the stream's own, with a note in its header where it is from.
    fn source(
        &mut self,
        site: &mut Site<'_>,
        at: usize,
        message: &Message<'_>,
        subject: &[u8],
        sequence: u64,
    ) -> Result<(), Fault> {
        let mut tail = std::mem::take(&mut site.ground.scratch);
        let original = Publication::new(message);
        let key = &self.upstreams[at].key;
        let put = |out: &mut Vec<u8>| {
            if original.header > 0 {
                put_filtered(original.block(), is_kept, out);
                out.truncate(out.len() - 2);
            } else {
                out.extend_from_slice(b"NATS/1.0\r\n");
            }
            out.extend_from_slice(b"Nats-Stream-Source: ");
            put_source_header(out, key, sequence, message.subject);
            out.extend_from_slice(b"\r\n\r\n");
        };
        let (sizes_bytes, header) = put_tail(&mut tail, put, original.payload());
        let own = Message { subject, reply: b"", header, tail: &tail, sizes_bytes };
        let mut publication = Publication::new(&own);
        publication.is_trusted = true;
        let outcome = match self.store(site, &publication) {
            Ok((sequence, position)) => {
                self.stored(site, position, sequence, b"");
                Ok(())
            }
            Err(Refusal::Duplicate(_)) => Ok(()),
            Err(Refusal::Fault(fault)) => Err(fault),
            // It is asked for again, and then what has to be looked at is there.
            Err(Refusal::Reading) => Err(table::INSUFFICIENT_RESOURCES),
        };
        site.ground.scratch = tail;
        if !site.ground.wanted.is_empty() {
            self.attend(site);
        }
        outcome
    }
}

/// Does a header line stay when a message is taken from elsewhere? Conditions were judged where it
/// was published first, and an earlier origin gives way to the nearest.
fn is_kept(name: &[u8]) -> bool {
    !name.starts_with(b"Nats-Expected-")
        && !name.starts_with(b"Nats-Batch-")
        && name != b"Nats-Stream-Source"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_of_both_forms_are_read() {
        let expected = Delivered {
            consumer: b"c",
            deliveries: 1,
            sequence: 7,
            consumer_sequence: 3,
            wall: Wall(1234),
            pending: 9,
        };
        assert_eq!(Delivered::read(b"$JS.ACK.s.c.1.7.3.1234.9"), Some(expected));
        assert_eq!(Delivered::read(b"$JS.ACK._.hash.s.c.1.7.3.1234.9"), Some(expected));
        assert_eq!(Delivered::read(b"$JS.ACK.s.c.1.7.3.1234"), None);
        assert_eq!(Delivered::read(b"$JS.ACK.s.c.x.7.3.1234.9"), None);
        assert_eq!(Delivered::read(b""), None);
    }
}
