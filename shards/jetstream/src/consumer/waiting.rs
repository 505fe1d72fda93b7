//! Requests for messages that wait to be served (spec 6.6).

use std::collections::VecDeque;

use base::{Duration, Time};

use super::config::PriorityPolicy;
use crate::json::{self, Decoder, Node};

/// Highest number a request may have as its priority.
pub(crate) const PRIORITY_MAX: i64 = 9;
/// Buffers of served requests that are kept for later ones.
const SPARE_MAX: usize = 64;

/// What a client asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ask {
    /// Messages.
    pub(crate) batch: i64,
    /// Nanoseconds that the request may wait; zero for ever.
    pub(crate) expires: i64,
    /// Bytes; zero for no limit.
    pub(crate) max_bytes: i64,
    /// Is the request over once there is nothing more?
    pub(crate) no_wait: bool,
    /// Nanoseconds between signs of life; zero for none.
    pub(crate) heartbeat: i64,
    /// The rest, if the request was an object.
    pub(crate) group: Option<GroupAsk>,
}

/// What a request says about priorities.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GroupAsk {
    pub(crate) group: String,
    pub(crate) min_pending: i64,
    pub(crate) min_ack_pending: i64,
    pub(crate) id: String,
    pub(crate) priority: i64,
}

impl Ask {
    /// Reads a request: empty, a number, or an object. The complaint is the reference's.
    pub(crate) fn read(body: &[u8]) -> Result<Self, String> {
        let body = body.trim_ascii();
        let one = Self { batch: 1, ..Self::default() };
        if !body.starts_with(b"{") {
            let digits = std::str::from_utf8(body).unwrap_or_default();
            return Ok(digits.parse().map_or(one, |batch| Self { batch, ..Self::default() }));
        }
        let mut decoder = Decoder::new("", false);
        let node = json::read_whole(body)?;
        let mut ask = Self::default();
        let mut group = GroupAsk::default();
        decoder.object(&node, "server.JSApiConsumerGetNextRequest", |decoder, name, field| {
            ask.read_field(decoder, name, field) || group.read_field(decoder, name, field)
        });
        decoder.finish()?;
        if ask.heartbeat > 0 && ask.heartbeat.saturating_mul(2) > ask.expires {
            return Err("heartbeat value too large".into());
        }
        ask.group = Some(group);
        Ok(ask)
    }

    fn read_field(&mut self, decoder: &mut Decoder, name: &str, node: &Node<'_>) -> bool {
        match name {
            "expires" => decoder.duration(node, &mut self.expires),
            "batch" => decoder.integer(node, "int", &mut self.batch),
            "max_bytes" => decoder.integer(node, "int", &mut self.max_bytes),
            "no_wait" => decoder.bool(node, &mut self.no_wait),
            "idle_heartbeat" => decoder.duration(node, &mut self.heartbeat),
            _ => return false,
        }
        true
    }
}

impl GroupAsk {
    fn read_field(&mut self, decoder: &mut Decoder, name: &str, node: &Node<'_>) -> bool {
        match name {
            "group" => decoder.text(node, &mut self.group),
            "min_pending" => decoder.integer(node, "int64", &mut self.min_pending),
            "min_ack_pending" => decoder.integer(node, "int64", &mut self.min_ack_pending),
            "id" => decoder.text(node, &mut self.id),
            "priority" => decoder.integer(node, "int", &mut self.priority),
            _ => return false,
        }
        true
    }
}

/// A request that waits.
#[derive(Debug, Default)]
pub(crate) struct Waiter {
    /// Where messages for it go.
    pub(crate) reply: Vec<u8>,
    /// Messages that it may still get.
    pub(crate) left: i64,
    /// Messages that it got.
    pub(crate) got: u64,
    /// Bytes that it may still get; zero for no limit.
    pub(crate) bytes_left: i64,
    /// When it is over.
    pub(crate) expires: Time,
    /// Is it over once there is nothing more?
    pub(crate) no_wait: bool,
    /// Time between signs of life.
    pub(crate) heartbeat: Option<Duration>,
    /// When the next sign of life is due.
    pub(crate) next_heartbeat: Time,
    /// What it says about priorities.
    pub(crate) group: Option<GroupAsk>,
}

impl Waiter {
    fn priority(&self) -> i64 {
        self.group.as_ref().map_or(i64::MAX, |group| group.priority)
    }

    /// The pin that it was given or claims; empty for none.
    pub(crate) fn pin(&self) -> &str {
        self.group.as_ref().map_or("", |group| group.id.as_str())
    }
}

/// The requests that wait, in the order in which they are served.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    queue: VecDeque<Waiter>,
    spare: Vec<Vec<u8>>,
}

impl Waiting {
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Adds a request: at the end, or behind those whose number is not higher.
    pub(crate) fn add(&mut self, ask: Ask, reply: &[u8], now: Time, policy: PriorityPolicy) {
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(reply);
        let span = |nanos: i64| Some(Duration::from_nanos(nanos as u64)).filter(|_| nanos > 0);
        let heartbeat = span(ask.heartbeat);
        let expires = match ask.expires {
            0 => Time::NEVER,
            nanos => span(nanos).map_or(now, |wait| now.after(wait)),
        };
        let waiter = Waiter {
            reply: buffer,
            left: ask.batch,
            got: 0,
            bytes_left: ask.max_bytes,
            expires,
            no_wait: ask.no_wait,
            heartbeat,
            next_heartbeat: heartbeat.map_or(Time::NEVER, |wait| now.after(wait)),
            group: ask.group,
        };
        self.put(waiter, policy);
    }

    fn put(&mut self, waiter: Waiter, policy: PriorityPolicy) {
        if policy == PriorityPolicy::Prioritized {
            let priority = waiter.priority();
            let place = self.queue.partition_point(|other| other.priority() <= priority);
            self.queue.insert(place, waiter);
        } else {
            self.queue.push_back(waiter);
        }
    }

    /// The request that is next.
    pub(crate) fn front(&mut self) -> Option<&mut Waiter> {
        self.queue.front_mut()
    }

    /// Every request, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Waiter> {
        self.queue.iter()
    }

    /// The request that is next goes to the end, unserved.
    pub(crate) fn cycle(&mut self) {
        if self.queue.len() > 1 {
            self.queue.rotate_left(1);
        }
    }

    /// The request that is next got a message: it is over with its last, and goes behind its peers
    /// otherwise.
    pub(crate) fn served(&mut self, policy: PriorityPolicy) {
        let waiter = self.queue.front_mut().expect("a request that is served waits");
        waiter.got += 1;
        waiter.left -= 1;
        if waiter.left <= 0 {
            self.drop_front();
        } else if self.queue.len() > 1 {
            let waiter = self.queue.pop_front().expect("it is there");
            self.put(waiter, policy);
        }
    }

    /// The request that is next is over.
    pub(crate) fn drop_front(&mut self) {
        if let Some(waiter) = self.queue.pop_front() {
            self.recycle(waiter.reply);
        }
    }

    fn recycle(&mut self, buffer: Vec<u8>) {
        if self.spare.len() < SPARE_MAX {
            self.spare.push(buffer);
        }
    }

    /// Looks at every request in order and keeps those for which `keep` says so.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&mut Waiter) -> bool) {
        let spare = &mut self.spare;
        self.queue.retain_mut(|waiter| {
            let is_kept = keep(waiter);
            if !is_kept && spare.len() < SPARE_MAX {
                spare.push(std::mem::take(&mut waiter.reply));
            }
            is_kept
        });
    }

    /// Is there a request that does not want to wait?
    pub(crate) fn has_no_wait(&self) -> bool {
        self.queue.iter().any(|waiter| waiter.no_wait)
    }

    /// When a request is over or a sign of life is due.
    pub(crate) fn next_due(&self) -> Time {
        let dues = self.queue.iter().map(|waiter| waiter.expires.min(waiter.next_heartbeat));
        dues.min().unwrap_or(Time::NEVER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_in_every_form() {
        let batch = |text: &str| Ask::read(text.as_bytes()).map(|ask| ask.batch);
        assert_eq!(batch(""), Ok(1));
        assert_eq!(batch(" 7 "), Ok(7));
        assert_eq!(batch("x"), Ok(1));
        assert_eq!(batch(r#"{"batch":3}"#), Ok(3));
        assert_eq!(batch(r#"{"Batch":3,"unknown":true}"#), Ok(3));
        assert_eq!(
            batch(r#"{"batch":1,"expires":3,"idle_heartbeat":2}"#),
            Err("heartbeat value too large".into())
        );
        assert_eq!(
            batch(r#"{"batch":"x"}"#),
            Err(concat!(
                "json: cannot unmarshal string into Go struct field ",
                ".batch of type int"
            )
            .into())
        );
        let text = r#"{"group":"A","id":"x","priority":2,"min_pending":4,"min_ack_pending":5}"#;
        let group = Ask::read(text.as_bytes()).expect("all of it is known").group;
        let group = group.expect("an object has a group");
        assert_eq!((group.group.as_str(), group.id.as_str(), group.priority), ("A", "x", 2));
        assert_eq!((group.min_pending, group.min_ack_pending), (4, 5));
    }

    #[test]
    fn requests_take_turns_within_their_priority() {
        let mut waiting = Waiting::default();
        let policy = PriorityPolicy::Prioritized;
        for (reply, priority) in [("a", 2), ("b", 1), ("c", 1)] {
            let group = Some(GroupAsk { priority, ..GroupAsk::default() });
            let ask = Ask { batch: 2, group, ..Ask::default() };
            waiting.add(ask, reply.as_bytes(), Time(0), policy);
        }
        let mut order = String::new();
        while let Some(waiter) = waiting.front() {
            order.push(char::from(waiter.reply[0]));
            waiting.served(policy);
        }
        assert_eq!(order, "bcbcaa");
    }
}
