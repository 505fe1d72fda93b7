//! Comparing all that there is, once everything has come to rest.

use std::collections::BTreeMap;

use serde_json::Value;

use super::answers::Ask;
use super::consumer::{Policy, Start};
use super::peer::Told;
use super::stream::{GONE, Message, Retention};
use super::{Life, MessageId, SUBJECTS, Simulation};

/// Rounds in which consumers deliver what is left.
const DRAIN_ROUNDS: usize = 80;
/// How late what is too old may go.
const LATE_NANOS: i64 = 1_000_000_000;

impl Simulation {
    /// Under its stream's retention: may consumers be done with a message?
    pub(super) fn may_be_consumed(&self, message: &Message) -> bool {
        let of_stream = self.consumers.iter().filter(|it| it.stream == message.stream);
        let mut wanting = of_stream.filter(|it| it.wants(message.subject));
        match self.streams[message.stream].shape.retention {
            Retention::Limits => false,
            Retention::WorkQueue => wanting.any(|it| it.may_be_done(message)),
            // Who came later, or may be gone, need not have kept it.
            Retention::Interest => wanting
                .all(|it| !it.is_there() || it.made >= message.sent || it.may_be_done(message)),
        }
    }

    /// Must consumers be done with it?
    fn must_be_consumed(&self, message: &Message) -> bool {
        let Some(place) = message.place else { return false };
        let of_stream = self.consumers.iter().filter(|it| it.stream == message.stream);
        let mut wanting = of_stream.filter(|it| it.wants(message.subject));
        let is_settled =
            |it: &super::Consumer| it.is_there() && it.is_settled(place, None, self.tick + 1);
        match self.streams[message.stream].shape.retention {
            Retention::Limits => false,
            Retention::WorkQueue => wanting.any(is_settled),
            Retention::Interest => wanting.all(|it| it.life == Life::Absent || is_settled(it)),
        }
    }

    /// Asks for something and waits for all that is answered.
    fn query(&mut self, subject: &str, body: &str) -> Result<Vec<Told>, String> {
        if self.peers.is_empty() {
            self.join();
        }
        self.collected.clear();
        self.ask(0, subject, body.as_bytes(), Ask::Collect);
        let number = self.asked;
        self.rest()?;
        self.asks.remove(&number);
        if self.collected.is_empty() {
            return Err(format!("no answer to {subject} {body}"));
        }
        Ok(std::mem::take(&mut self.collected))
    }

    /// What the API says; nothing if there is no such thing.
    fn info(&mut self, subject: &str) -> Result<Option<Value>, String> {
        let answer = self.query(subject, "")?[0].json()?;
        match answer["error"]["code"].as_u64() {
            Some(404) => Ok(None),
            Some(_) => Err(format!("{subject}: {answer}")),
            None => Ok(Some(answer)),
        }
    }

    /// After a start: finds out what is there, which has to be what was acknowledged.
    pub(super) fn adopt(&mut self) -> Result<(), String> {
        for number in 0..self.streams.len() {
            let (name, life) = (self.streams[number].name.clone(), self.streams[number].life);
            let info = self.info(&format!("$JS.API.STREAM.INFO.{name}"))?;
            let in_memory = self.streams[number].shape.in_memory;
            match (life, info.is_some()) {
                (Life::There, false) if !in_memory => return Err(format!("{name} is lost")),
                (Life::Absent, true) => return Err(format!("{name} came back")),
                (_, true) => self.streams[number].life = Life::There,
                (_, false) => self.stream_is_gone(number),
            }
        }
        for number in 0..self.consumers.len() {
            let consumer = &self.consumers[number];
            let (stream, life) = (&self.streams[consumer.stream], consumer.life);
            if !stream.is_there() {
                self.consumers[number].life = Life::Absent;
                continue;
            }
            let name = format!("{}.{}", stream.name, consumer.name);
            let info = self.info(&format!("$JS.API.CONSUMER.INFO.{name}"))?;
            let consumer = &mut self.consumers[number];
            consumer.life = match (life, info.is_some()) {
                (Life::There, false) if !consumer.form.in_memory => {
                    return Err(format!("consumer {name} is lost"));
                }
                (Life::Absent, true) => return Err(format!("consumer {name} came back")),
                (_, true) => Life::There,
                (_, false) => Life::Absent,
            };
            if life == Life::Making {
                consumer.made = self.tick;
            }
        }
        Ok(())
    }

    /// Lets everything come to rest and compares all there is.
    pub(super) fn look(&mut self) -> Result<(), String> {
        self.rest()?;
        if self.store().is_fenced() {
            return self.crash();
        }
        if self.disk.lied {
            return Ok(());
        }
        if self.disk.faults.room < u64::MAX && !self.asks.is_empty() {
            self.disk.faults.room = u64::MAX;
            self.rest()?;
        }
        // An acknowledgement of what the server forgot that it delivered is not taken.
        let is_open =
            |ask: &Ask| !matches!(ask, Ask::Pull { .. } | Ask::Settle { is_stale: true, .. });
        if let Some((peer, ask)) = self.asks.values().find(|(_, ask)| is_open(ask)) {
            return Err(format!("{ask:?} by {peer} was not answered"));
        }
        for number in 0..self.streams.len() {
            if self.streams[number].is_there() {
                self.compare_stream(number)?;
            }
        }
        self.tick += 1;
        self.compared = self.tick;
        Ok(())
    }

    /// Every message of a stream, by its sequence.
    fn read_all(&mut self, number: usize) -> Result<BTreeMap<u64, MessageId>, String> {
        let subject = format!("$JS.API.DIRECT.GET.{}", self.streams[number].name);
        let mut all = BTreeMap::new();
        let mut answers = self.query(&subject, "{\"seq\":1,\"batch\":100000}")?;
        let end = answers.pop().expect("there is one");
        let is_end = end.status().is_some_and(|it| it.starts_with("404") || it.starts_with("204"));
        if !is_end {
            return Err(format!("reading all ends with {end:?}"));
        }
        for told in answers {
            let sequence = told.number("Nats-Sequence").ok_or("no sequence")?;
            let subject = told.field("Nats-Subject").ok_or("no subject")?;
            let id = self.recognize(number, subject, &told.payload)?;
            all.insert(sequence, id);
        }
        Ok(all)
    }

    fn compare_stream(&mut self, number: usize) -> Result<(), String> {
        let name = self.streams[number].name.clone();
        let found = self.read_all(number)?;
        for (sequence, id) in &found {
            self.put(*id, *sequence)?;
            self.outcome.compared += 1;
        }
        let info = self.info(&format!("$JS.API.STREAM.INFO.{name}"))?;
        let info = info.ok_or_else(|| format!("{name} is gone"))?;
        let state = &info["state"];
        let count = |field: &str| state[field].as_u64().ok_or_else(|| format!("{name}: {field}"));
        let stream = &mut self.streams[number];
        let (messages, last) = (count("messages")?, count("last_seq")?);
        if messages != found.len() as u64 {
            return Err(format!("{name}: {messages} messages, of which {} are read", found.len()));
        }
        if last < stream.last {
            return Err(format!("{name}: {last} is the last, {} was", stream.last));
        }
        stream.last = last;
        self.compare_messages(number, &found)?;
        self.compare_limits(number, &found, count("bytes")?)?;
        self.compare_order(number, &found)?;
        self.streams[number].removers.clear();
        for consumer in 0..self.consumers.len() {
            let it = &self.consumers[consumer];
            if it.stream == number && it.is_there() {
                self.compare_consumer(consumer, &found)?;
            }
        }
        Ok(())
    }

    /// Is what should be there there, and nothing else?
    fn compare_messages(
        &mut self,
        number: usize,
        found: &BTreeMap<u64, MessageId>,
    ) -> Result<(), String> {
        let (stream, wall) = (&self.streams[number], self.wall());
        let mut gone = Vec::new();
        for (id, message) in self.messages.iter().enumerate() {
            if message.stream != number || message.is_out.is_some() {
                continue;
            }
            let is_found = message.place.is_some_and(|place| found.contains_key(&place));
            let at = || format!("{} message {id} at {:?}", stream.name, message.place);
            if !is_found {
                let is_excused = stream.may_be_gone(message, &self.messages, stream.last, wall)
                    || self.may_be_consumed(message);
                if message.place.is_some() && !is_excused {
                    return Err(format!("{} is lost: {message:?}", at()));
                }
                gone.push(id);
            } else if let Some(why) = stream.must_be_gone(message, &self.messages) {
                return Err(format!("{} is there in spite of {why}", at()));
            } else if self.must_be_consumed(message) {
                return Err(format!("{} is there, and all are done with it", at()));
            }
        }
        self.compare_batches(number, &gone)?;
        for id in gone {
            let was_there = self.messages[id].place.is_some();
            self.messages[id].is_out = Some(if was_there { GONE } else { "it was not there" });
        }
        Ok(())
    }

    /// Of a batch all is there that can be, or nothing.
    fn compare_batches(&self, number: usize, gone: &[MessageId]) -> Result<(), String> {
        for members in &self.batches {
            let is_meant = |id: &MessageId| {
                self.messages[*id].stream == number && self.messages[*id].is_out.is_none()
            };
            if !members.iter().all(is_meant) {
                continue;
            }
            let is_excused = |message: &Message| {
                let last = u64::MAX;
                let stream = &self.streams[number];
                stream.may_be_gone(message, &self.messages, last, self.wall())
                    || self.may_be_consumed(message)
            };
            let (missing, there): (Vec<MessageId>, Vec<MessageId>) =
                members.iter().copied().partition(|id| gone.contains(id));
            let missed = missing.iter().find(|id| !is_excused(&self.messages[**id]));
            if let (Some(missed), Some(one)) = (missed, there.first()) {
                return Err(format!("of a batch {one} is there and {missed} is not"));
            }
            let places: Vec<u64> =
                members.iter().filter_map(|id| self.messages[*id].place).collect();
            if places.len() == members.len() && places.windows(2).any(|two| two[1] != two[0] + 1) {
                return Err(format!("a batch is not in one piece: {places:?}"));
            }
        }
        Ok(())
    }

    fn compare_limits(
        &self,
        number: usize,
        found: &BTreeMap<u64, MessageId>,
        bytes: u64,
    ) -> Result<(), String> {
        let stream = &self.streams[number];
        let shape = &stream.shape;
        let exceeds = |most: Option<u64>, is: u64| most.is_some_and(|most| is > most);
        let name = &stream.name;
        if exceeds(shape.max_messages, found.len() as u64) || exceeds(shape.max_bytes, bytes) {
            return Err(format!("{name} holds {} messages, {bytes} bytes", found.len()));
        }
        for subject in 0..SUBJECTS as usize {
            let of_subject = found.values().filter(|id| self.messages[**id].subject == subject);
            if exceeds(shape.max_per_subject, of_subject.count() as u64) {
                return Err(format!("{name} holds too much of subject {subject}"));
            }
        }
        let Some(age) = shape.max_age else { return Ok(()) };
        let oldest = self.wall() - age as i64 * 1_000_000_000 - LATE_NANOS;
        match found.values().find(|id| self.messages[**id].acknowledged_wall < oldest) {
            Some(id) => Err(format!("{name} still has message {id}, which is too old")),
            None => Ok(()),
        }
    }

    /// Ids stand once within their window, and what was expected in front of a message was there.
    fn compare_order(
        &mut self,
        number: usize,
        found: &BTreeMap<u64, MessageId>,
    ) -> Result<(), String> {
        let stream = &self.streams[number];
        let window = stream.shape.window as i64 * 1_000_000_000;
        let wall = self.wall();
        let mut firsts: BTreeMap<u64, MessageId> = BTreeMap::new();
        for id in stream.at.values() {
            let message = &self.messages[*id];
            let Some(name) = message.id else { continue };
            if let Some(first) = firsts.insert(name, *id) {
                let earlier = &self.messages[first];
                let apart = message.acknowledged_wall.min(wall) - earlier.sent_wall;
                // Across an end of the process ids are learned from the messages that are left.
                let is_remembered = found.values().any(|it| *it == first)
                    || (earlier.acknowledged.is_some_and(|then| then < message.sent)
                        && message.acknowledged.is_some()
                        && earlier.life == message.life);
                if apart < window && is_remembered {
                    return Err(format!("messages {first} and {id} have the id {name}"));
                }
            }
        }
        let stream = &mut self.streams[number];
        for (subject, last, sequence) in std::mem::take(&mut stream.expectations) {
            // What was taken away meanwhile may have been before.
            let mut between = found.range(last + 1..sequence);
            if let Some((at, _)) = between.find(|(_, id)| self.messages[**id].subject == subject) {
                return Err(format!("{at} is between {last} and {sequence}, which follows it"));
            }
        }
        Ok(())
    }

    /// Does a consumer count what it has to?
    fn compare_consumer(
        &mut self,
        number: usize,
        found: &BTreeMap<u64, MessageId>,
    ) -> Result<(), String> {
        let consumer = &self.consumers[number];
        let name = format!("{}.{}", self.streams[consumer.stream].name, consumer.name);
        let info = self.info(&format!("$JS.API.CONSUMER.INFO.{name}"))?;
        let info = info.ok_or_else(|| format!("consumer {name} is gone"))?;
        let count = |field: &Value| field.as_u64().ok_or_else(|| format!("{name}: {info}"));
        let (pending, outstanding) =
            (count(&info["num_pending"])?, count(&info["num_ack_pending"])?);
        let floor = count(&info["ack_floor"]["stream_seq"])?;
        let delivered = count(&info["delivered"]["stream_seq"])?;
        let consumer = &self.consumers[number];
        let wanted = || found.iter().filter(|(_, id)| consumer.wants(self.messages[**id].subject));
        let problem = |text: &str, count: usize| Err(format!("{name}: {count} {text}; {info}"));
        let ahead = wanted().filter(|(sequence, _)| **sequence > delivered).count();
        if consumer.form.start != Start::LastPerSubject && pending != ahead as u64 {
            return problem("are in front of it", ahead);
        }
        if consumer.form.policy == Policy::None {
            return Ok(());
        }
        let all = pending + outstanding;
        let is_settled = |sequence: u64| consumer.is_settled(sequence, None, self.tick + 1);
        let most = wanted().filter(|(sequence, _)| !is_settled(**sequence)).count();
        if all > most as u64 {
            return problem("at most are left", most);
        }
        let is_due = |(sequence, id): &(&u64, &MessageId)| {
            let is_covered =
                consumer.form.start == Start::All || self.messages[**id].sent > consumer.made;
            is_covered && !consumer.is_said(**sequence)
        };
        let least = wanted().filter(is_due).count();
        if consumer.form.deliveries_max.is_none() && all < least as u64 {
            return problem("at least are left", least);
        }
        if floor < consumer.floor {
            return problem("was its floor", consumer.floor as usize);
        }
        self.consumers[number].floor = floor;
        Ok(())
    }

    /// The disk spoils nothing more; consumers deliver all that is left.
    pub(super) fn conclude(&mut self) -> Result<(), String> {
        self.disk.faults.failing = 0;
        self.disk.faults.room = u64::MAX;
        self.look()?;
        for _ in 0..DRAIN_ROUNDS {
            if self.is_over || self.is_drained()? {
                break;
            }
            self.drain()?;
        }
        if self.is_over || self.disk.lied {
            return Ok(());
        }
        if !self.is_drained()? {
            return Err("consumers still have something to deliver".to_owned());
        }
        self.look()?;
        for message in &self.messages {
            let Some(place) = message.place.filter(|_| message.is_out.is_none()) else { continue };
            let missed = self.consumers.iter().find(|it| {
                let is_meant = it.stream == message.stream && it.wants(message.subject);
                let is_covered = it.form.start == Start::All || message.sent > it.made;
                it.is_drainable() && is_meant && is_covered && !it.is_said(place)
            });
            if let Some(consumer) = missed {
                return Err(format!("{} never delivered {place}: {message:?}", consumer.name));
            }
        }
        Ok(())
    }

    fn is_drained(&mut self) -> Result<bool, String> {
        for number in 0..self.consumers.len() {
            let consumer = &self.consumers[number];
            if !consumer.is_drainable() {
                continue;
            }
            let name = format!("{}.{}", self.streams[consumer.stream].name, consumer.name);
            let info = self.info(&format!("$JS.API.CONSUMER.INFO.{name}"))?;
            let info = info.ok_or_else(|| format!("consumer {name} is gone"))?;
            if info["num_pending"] != 0 || info["num_ack_pending"] != 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn drain(&mut self) -> Result<(), String> {
        for number in 0..self.consumers.len() {
            if self.consumers[number].is_drainable() {
                self.take(0, number, 100, ",\"no_wait\":true");
            }
        }
        self.rest()?;
        for held in std::mem::take(&mut self.held) {
            let consumer = &self.consumers[held.consumer];
            if consumer.incarnation == held.incarnation && consumer.is_there() {
                self.acknowledge(0, &held, b"+ACK", true);
            }
        }
        self.rest()?;
        self.world.advance(base::Duration::from_millis(1100));
        self.rest()
    }

    /// What a disk that spoilt something still holds was once given.
    pub(super) fn accept_spoilt(&mut self) -> Result<(), String> {
        for number in 0..self.streams.len() {
            let name = self.streams[number].name.clone();
            if self.info(&format!("$JS.API.STREAM.INFO.{name}"))?.is_none() {
                continue;
            }
            for (sequence, id) in self.read_all(number)? {
                let message = &self.messages[id];
                if message.is_out == Some("it was refused") {
                    return Err(format!("message {id} was refused, and is there"));
                }
                if message.place.is_some_and(|place| place != sequence) {
                    return Err(format!("message {id} is at {sequence}: {message:?}"));
                }
                self.outcome.compared += 1;
            }
        }
        self.peers.iter().for_each(|peer| assert!(!peer.gone, "nobody left"));
        self.rest()
    }
}
