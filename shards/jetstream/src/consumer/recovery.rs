//! Consumers when messages leave their stream, when they are reset, and after a start.

use base::{Time, Wall};
use wire::Message;

use super::{
    Consumers,
    check::is_subset,
    config::{ConsumerConfig, DeliverPolicy},
    cursor::{Consumer, Pair, sequence_at},
    desk::Desk,
    events::Delivery,
    header::needs_higher_level,
    notes::PREFIX,
};
use crate::{
    error::{Fault, table},
    json::{self, Decoder, Writer},
    stamp::Stamp,
    stream::{Wanted, config::Retention},
};

impl Consumer {
    /// A message that may be outstanding left the stream. True if it was.
    pub(super) fn lose_delivery(&mut self, sequence: u64, now: Time) -> bool {
        if self.ledger.forget(sequence).is_some() {
            self.notes.changed_all(now);
        }
        let Some(entry) = self.ledger.remove(sequence) else { return false };
        self.raise_floor(entry.number, sequence);
        self.notes.ended(sequence, now);
        self.lost.push(entry);
        true
    }

    /// Tells those who watch of deliveries whose message is gone.
    pub(super) fn tell_lost(&mut self, desk: &mut Desk<'_, '_>) {
        for entry in std::mem::take(&mut self.lost) {
            self.last_acked = Some(desk.view.now.wall);
            self.tell_lost_delivery(desk, entry);
        }
    }

    /// Many messages left the stream.
    pub(super) fn purged(&mut self, desk: &mut Desk<'_, '_>, filter: &[u8]) {
        let log = desk.view.store.log(desk.view.core.log);
        let is_whole = filter.is_empty()
            || self.config.all_filters().any(|own| is_subset(own.as_bytes(), filter));
        // What the consumer wants may begin later than the stream does.
        let first = match log.next(0, self.filter.keys(log)) {
            Some(first) if is_whole => first.max(log.first()),
            None if is_whole => log.last() + 1,
            _ => log.first(),
        };
        let gone = |sequence: &u64| !log.contains(*sequence);
        let ended: Vec<u64> = self.ledger.iter().map(|entry| entry.sequence).filter(gone).collect();
        let given_up: Vec<u64> =
            self.ledger.given_up().map(|(sequence, _)| sequence).filter(gone).collect();
        if let Some(skip) = &mut self.skip {
            skip.sequences.retain(|sequence| log.contains(*sequence));
        }
        if !ended.is_empty() {
            self.last_acked = Some(desk.view.now.wall);
        }
        for sequence in ended {
            self.ledger.remove(sequence);
        }
        for sequence in given_up {
            self.ledger.forget(sequence);
        }
        if self.next < first {
            self.next = first;
            self.delivered.sequence = first - 1;
        }
        match self.ledger.lowest() {
            None => {
                let sequence = self.delivered.sequence.max(self.floor.sequence);
                self.floor = Pair { number: self.delivered.number, sequence };
            }
            Some(lowest) if lowest.number > self.floor.number + 1 => {
                let (number, sequence) = (lowest.number - 1, lowest.sequence - 1);
                let sequence = sequence.max(self.floor.sequence);
                self.floor = Pair { number, sequence };
            }
            Some(_) => {}
        }
        self.recount(desk.view);
        self.notes.changed_all(desk.now());
    }

    /// A client wants the consumer to begin again somewhere.
    pub(super) fn take_reset(&mut self, desk: &mut Desk<'_, '_>, message: &Message<'_>) {
        if message.reply.is_empty() {
            return;
        }
        let body = message.body();
        let (header, rest) = body.split_at(message.header);
        let result = if needs_higher_level(header) {
            Err(table::REQUIRED_API_LEVEL)
        } else {
            self.reset(desk, &rest[..rest.len() - 2])
        };
        let mut answer = Vec::new();
        let mut fields = Writer::open(&mut answer);
        fields.text("type", "io.nats.jetstream.api.v1.consumer_reset_response");
        let sequence = match result {
            Ok(sequence) => {
                self.put_info(desk, &mut fields, true);
                sequence
            }
            Err(fault) => {
                let mut error = Writer::open(fields.field("error"));
                error.natural("code", u64::from(fault.code));
                error.natural("err_code", u64::from(fault.number));
                error.text("description", &fault.text);
                error.close();
                0
            }
        };
        fields.natural("reset_seq", sequence);
        fields.close();
        let account = desk.view.core.account;
        desk.view.parcel.clear().body(&answer).send(desk.out, account, message.reply, b"");
    }

    fn reset(&mut self, desk: &mut Desk<'_, '_>, body: &[u8]) -> Result<u64, Fault> {
        let mut sequence = 0_u64;
        if !body.is_empty() {
            let mut decoder = Decoder::new("JSApiConsumerResetRequest", false);
            let node = json::read_whole(body).map_err(|text| table::INVALID_JSON.because(text))?;
            decoder.object(&node, "server.JSApiConsumerResetRequest", |decoder, name, field| {
                if name == "seq" {
                    decoder.integer(field, "uint64", &mut sequence);
                }
                name == "seq"
            });
            decoder.finish().map_err(|text| table::INVALID_JSON.because(text))?;
        }
        let refused = |text: &str| Err(table::CONSUMER_INVALID_RESET.because(text));
        if sequence == 0 {
            sequence = self.floor.sequence + 1;
        } else {
            match self.config.deliver_policy {
                DeliverPolicy::StartSequence if sequence < self.config.start_sequence => {
                    return refused("below start seq");
                }
                DeliverPolicy::All | DeliverPolicy::StartSequence => {}
                DeliverPolicy::StartTime => {
                    let wall = self.config.start_time.map_or(Wall(0), Stamp::wall);
                    if sequence < sequence_at(desk.view, wall) {
                        return refused("below start time");
                    }
                }
                _ => return refused("not allowed"),
            }
        }
        self.restart_at(sequence, desk.view);
        if desk.view.core.config.retention != Retention::Limits {
            desk.view.wanted.push(Wanted::DoneUpTo(sequence - 1));
        }
        Ok(sequence)
    }

    /// Writes down what was not yet.
    pub(super) fn flush(&mut self, desk: &mut Desk<'_, '_>) {
        if self.notes.next_due() < Time::NEVER {
            self.note_state(desk);
        }
    }

    fn tell_lost_delivery(&self, desk: &mut Desk<'_, '_>, entry: super::ledger::Entry) {
        let delivery = Delivery {
            sequence: entry.sequence,
            number: entry.number,
            deliveries: u64::from(entry.deliveries),
        };
        self.tell_terminated(desk, delivery, super::acks::LOST);
    }
}

impl Consumers {
    /// Builds the consumers from their notes.
    pub(super) fn recall_all(&mut self, desk: &mut Desk<'_, '_>) {
        let notes = desk.view.store.notes(desk.view.core.log);
        let configurations = notes.filter_map(|(key, value)| {
            let name = key.strip_prefix(PREFIX)?;
            let name = std::str::from_utf8(name).ok().filter(|name| !name.contains('/'))?;
            let (created, text) = value.split_first_chunk()?;
            let mut decoder = Decoder::new("ConsumerConfig", false);
            let mut config = ConsumerConfig::default();
            config.read(&mut decoder, &json::read_whole(text).ok()?);
            decoder.finish().ok()?;
            Some((name.to_owned(), Wall(i64::from_le_bytes(*created)), config))
        });
        for (name, created, config) in configurations.collect::<Vec<_>>() {
            let Ok(mut consumer) = Consumer::new(name, config, desk.view) else { continue };
            consumer.created = created;
            if !consumer.recall(desk) {
                consumer.begin(desk.view);
            }
            self.insert(desk, consumer);
        }
        let last = desk.view.store.log(desk.view.core.log).last();
        // What was acknowledged right before the end may still be there.
        desk.view.wanted.push(match desk.view.core.config.retention {
            Retention::WorkQueue if !self.is_empty() => Wanted::DoneUpTo(last),
            _ => Wanted::InterestChanged,
        });
    }
}
