//! What clients send back about deliveries (spec 6.4).

use base::Duration;
use wire::Message;

use super::{
    config::AckPolicy,
    cursor::{Consumer, Pair},
    desk::Desk,
    events::Delivery,
    ledger::Entry,
};
use crate::json::Decoder;

/// Why a delivery ended that nobody acknowledged.
pub(crate) const LOST: &str = "Unacknowledged message was deleted";

/// What an acknowledgement says of its delivery in its subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AckSubject {
    pub(crate) deliveries: u64,
    pub(crate) sequence: u64,
    pub(crate) number: u64,
}

impl AckSubject {
    /// Reads `$JS.ACK.<stream>.<consumer>.<deliveries>.<sequence>.<number>.<time>.<pending>`, or
    /// the longer form with domain and account in front of the stream.
    pub(crate) fn read(subject: &[u8]) -> Option<Self> {
        let count = subject.split(|byte| *byte == b'.').count();
        let from = match count {
            9 => 4,
            11.. => 6,
            _ => return None,
        };
        let mut numbers = subject.split(|byte| *byte == b'.').skip(from);
        let mut number = || numbers.next().and_then(decimal);
        let (deliveries, sequence) = (number()?, number()?);
        Some(Self { deliveries, sequence, number: number()? })
    }
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |sum, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
        sum.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// What a client says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word<'a> {
    Ack,
    Next(&'a [u8]),
    Nak(&'a [u8]),
    Progress,
    Terminate(&'a [u8]),
    Unknown,
}

impl<'a> Word<'a> {
    fn read(payload: &'a [u8]) -> Self {
        let rest = |word: &[u8]| payload.strip_prefix(word);
        if payload.is_empty() || payload == b"+ACK" || payload == b"+OK" {
            Self::Ack
        } else if let Some(request) = rest(b"+NXT") {
            Self::Next(request)
        } else if let Some(delay) = rest(b"-NAK") {
            Self::Nak(delay.trim_ascii())
        } else if payload == b"+WPI" {
            Self::Progress
        } else if let Some(reason) = rest(b"+TERM") {
            Self::Terminate(reason.trim_ascii())
        } else {
            Self::Unknown
        }
    }
}

impl Consumer {
    /// A client said something about a delivery.
    pub(crate) fn take_ack(&mut self, desk: &mut Desk<'_, '_>, message: &Message<'_>) {
        self.heard(desk.now());
        let body = message.body();
        let payload = &body[message.header..body.len() - 2];
        let Some(of) = AckSubject::read(message.subject).filter(|of| of.sequence > 0) else {
            if let Word::Next(request) = Word::read(payload) {
                self.ask_next(desk, message.reply, request);
            }
            return;
        };
        let is_taken = match Word::read(payload) {
            Word::Ack => self.acknowledge(desk, of, true),
            Word::Next(request) => {
                self.acknowledge(desk, of, true);
                self.ask_next(desk, message.reply, request);
                return;
            }
            Word::Nak(delay) => {
                self.refuse(desk, of, delay);
                true
            }
            Word::Progress => {
                if self.ledger.touch(of.sequence, desk.now(), &self.waits) {
                    self.last_delivered = Some(desk.view.now.wall);
                }
                true
            }
            Word::Terminate(reason) => {
                let is_taken = self.acknowledge(desk, of, false);
                let reason = String::from_utf8_lossy(reason);
                self.tell_terminated(desk, of.delivery(), &reason);
                is_taken
            }
            Word::Unknown => true,
        };
        if is_taken && !message.reply.is_empty() {
            self.notes.answer(message.reply, desk.now());
        }
    }

    /// Ends a delivery, or under [`AckPolicy::All`] all up to it. False if it cannot have been
    /// made.
    fn acknowledge(&mut self, desk: &mut Desk<'_, '_>, of: AckSubject, is_sampled: bool) -> bool {
        if of.sequence >= self.next {
            return false;
        }
        self.last_acked = Some(desk.view.now.wall);
        match self.config.ack_policy {
            AckPolicy::None => return false,
            AckPolicy::All | AckPolicy::FlowControl => {
                self.acknowledge_to(desk, of.sequence, of.number);
            }
            AckPolicy::Explicit => {
                if let Some(entry) = self.ledger.remove(of.sequence) {
                    self.acknowledged(desk, entry, of, is_sampled);
                } else if self.ledger.forget(of.sequence).is_some() {
                    self.notes.changed_all(desk.now());
                    Self::done_with(desk.view, of.sequence);
                }
            }
        }
        true
    }

    fn acknowledged(
        &mut self,
        desk: &mut Desk<'_, '_>,
        entry: Entry,
        of: AckSubject,
        is_sampled: bool,
    ) {
        self.raise_floor(entry.number, entry.sequence);
        self.notes.ended(entry.sequence, desk.now());
        Self::done_with(desk.view, entry.sequence);
        if is_sampled && self.is_sample(desk) {
            let ack_time = desk.now().since(entry.since).as_nanos() as u64;
            self.tell_sample(desk, of.delivery(), ack_time);
        }
    }

    fn is_sample(&self, desk: &mut Desk<'_, '_>) -> bool {
        self.sampling >= 100 || (self.sampling > 0 && desk.view.random.below(100) <= self.sampling)
    }

    /// Ends every delivery up to a sequence.
    pub(crate) fn acknowledge_to(&mut self, desk: &mut Desk<'_, '_>, sequence: u64, number: u64) {
        if sequence <= self.floor.sequence {
            return;
        }
        // What was delivered again has a higher number than what lies behind it in the stream.
        let number = number.min(self.delivered.number).max(self.floor.number);
        let floor = Pair { number, sequence };
        if floor.sequence > self.delivered.sequence {
            return;
        }
        self.last_acked = Some(desk.view.now.wall);
        self.notes.changed_all(desk.now());
        while let Some(entry) = self.ledger.remove_lowest(sequence) {
            Self::done_with(desk.view, entry.sequence);
        }
        self.floor = floor;
    }

    /// A client will not or cannot do it now.
    fn refuse(&mut self, desk: &mut Desk<'_, '_>, of: AckSubject, delay: &[u8]) {
        if of.number <= self.floor.number || of.number > self.delivered.number + 1 {
            return;
        }
        let Some(entry) = self.ledger.get(of.sequence).copied() else { return };
        self.tell_nak(desk, of.delivery());
        match delay_of(delay) {
            Some(delay) => {
                let until = desk.now().after(delay);
                self.ledger.delay(of.sequence, until);
            }
            None if self.is_last_delivery(entry) => self.exceed(desk, of.sequence),
            None => self.ledger.queue(of.sequence),
        }
    }

    fn is_last_delivery(&self, entry: Entry) -> bool {
        self.config.deliveries_max().is_some_and(|most| entry.deliveries >= most)
    }

    /// A message was delivered as often as is allowed: it is outstanding no longer, but stays in
    /// the stream. The ack floor moves on with the next acknowledgement, as in the reference.
    pub(crate) fn exceed(&mut self, desk: &mut Desk<'_, '_>, sequence: u64) {
        let Some(entry) = self.ledger.give_up(sequence) else { return };
        self.notes.changed_all(desk.now());
        self.tell_exceeded(desk, sequence, u64::from(entry.deliveries));
    }

    /// A message that is outstanding has left the stream.
    pub(crate) fn terminate_lost(&mut self, desk: &mut Desk<'_, '_>, entry: Entry) {
        if self.ledger.remove(entry.sequence).is_none() {
            return;
        }
        self.raise_floor(entry.number, entry.sequence);
        self.notes.ended(entry.sequence, desk.now());
        self.last_acked = Some(desk.view.now.wall);
        let delivery = Delivery {
            sequence: entry.sequence,
            number: entry.number,
            deliveries: u64::from(entry.deliveries),
        };
        self.tell_terminated(desk, delivery, LOST);
    }

    /// Moves what was not acknowledged in time to the queue of what is delivered again.
    pub(crate) fn expire(&mut self, desk: &mut Desk<'_, '_>) {
        if self.ledger.next_due(&self.waits) > desk.now() {
            return;
        }
        let mut exceeded = Vec::new();
        let most = self.config.deliveries_max();
        self.ledger.expire(desk.now(), &self.waits, most, &mut exceeded);
        for sequence in exceeded {
            self.exceed(desk, sequence);
        }
    }
}

impl AckSubject {
    fn delivery(self) -> Delivery {
        Delivery { sequence: self.sequence, number: self.number, deliveries: self.deliveries }
    }
}

/// How long a message is to be put off; nothing for at once, and for what cannot be read.
fn delay_of(argument: &[u8]) -> Option<Duration> {
    if argument.is_empty() {
        return None;
    }
    let nanos = if argument.starts_with(b"{") {
        let mut decoder = Decoder::new("ConsumerNakOptions", false);
        let node = crate::json::read_whole(argument).ok()?;
        let mut delay = 0;
        decoder.object(&node, "server.ConsumerNakOptions", |decoder, name, field| {
            if name == "delay" {
                decoder.duration(field, &mut delay);
            }
            name == "delay"
        });
        decoder.finish().ok()?;
        delay
    } else {
        go_nanos(argument)?
    };
    Some(Duration::from_nanos(nanos.max(0) as u64))
}

/// Nanoseconds of a duration as Go reads it: `1h2m3.5s`, `-5ms`, `0`.
pub(crate) fn go_nanos(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0_f64;
    while !rest.is_empty() {
        let digits = rest.find(|mark: char| !mark.is_ascii_digit() && mark != '.')?;
        let (number, tail) = rest.split_at(digits);
        let units = tail.find(|mark: char| mark.is_ascii_digit() || mark == '.');
        let (unit, tail) = tail.split_at(units.unwrap_or(tail.len()));
        let scale = match unit {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * scale;
        rest = tail;
    }
    (total < 9e18).then_some(sign * total as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_subject_are_read() {
        let expected = AckSubject { deliveries: 2, sequence: 30, number: 7 };
        for (subject, expected) in [
            ("$JS.ACK.S.C.2.30.7.123.4", Some(expected)),
            ("$JS.ACK._.hash.S.C.2.30.7.123.4", Some(expected)),
            ("$JS.ACK._.hash.S.C.2.30.7.123.4.more.to.come", Some(expected)),
            ("$JS.ACK.S.C.2.30.7.123", None),
            ("$JS.ACK.S.C.2.30.7.123.4.5", None),
            ("$JS.ACK.S.C.x.30.7.123.4", None),
            ("$JS.ACK.S.C.2.99999999999999999999.7.123.4", None),
        ] {
            assert_eq!(AckSubject::read(subject.as_bytes()), expected, "{subject}");
        }
    }

    #[test]
    fn words_and_delays() {
        for (payload, expected) in [
            ("", Word::Ack),
            ("+ACK", Word::Ack),
            ("+OK", Word::Ack),
            ("+NXT 5", Word::Next(b" 5")),
            ("-NAK", Word::Nak(b"")),
            ("-NAK {\"delay\":1}", Word::Nak(b"{\"delay\":1}")),
            ("+WPI", Word::Progress),
            ("+TERM why not", Word::Terminate(b"why not")),
            ("+WPI ", Word::Unknown),
            ("hello", Word::Unknown),
        ] {
            assert_eq!(Word::read(payload.as_bytes()), expected, "{payload}");
        }
        for (argument, expected) in [
            ("", None),
            ("{\"delay\":1500}", Some(1_500)),
            ("{\"delay\":\"x\"}", None),
            ("1.5ms", Some(1_500_000)),
            ("1m2s", Some(62_000_000_000)),
            ("-1s", Some(0)),
            ("soon", None),
        ] {
            let found = delay_of(argument.as_bytes()).map(|delay| delay.as_nanos());
            assert_eq!(found, expected, "{argument}");
        }
    }
}
