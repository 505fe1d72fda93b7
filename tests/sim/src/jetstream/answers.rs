//! What comes back, and what of it has to hold at once.

use super::consumer::{Held, Policy};
use super::peer::Told;
use super::stream::Message;
use super::{Life, MessageId, Simulation, Source};

/// A request that was made.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    Publish(MessageId, Expected),
    /// The end of a batch.
    Commit(usize),
    Make(usize),
    End(usize),
    MakeConsumer(usize),
    EndConsumer(usize),
    /// Of a stream, one of its removers.
    Remove(usize, usize),
    Get {
        stream: usize,
        look: Look,
        asked: u64,
    },
    Pull {
        consumer: usize,
        incarnation: u64,
        left: u64,
        sid: u32,
    },
    /// An acknowledgement.
    Settle {
        consumer: usize,
        incarnation: u64,
        sequence: u64,
        is_stale: bool,
    },
    /// All that comes is wanted by whoever waits for it.
    Collect,
}

/// What a publish says has to stand in front of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    Nothing,
    Last(u64),
    LastOfSubject(u64),
}

/// What is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    At(u64),
    LastOf(usize),
}

/// Codes of the refusals that there may be.
mod code {
    pub(super) const INSUFFICIENT_RESOURCES: u64 = 10_023;
    pub(super) const WRONG_LAST_SEQUENCE: u64 = 10_071;
    pub(super) const STORE_FAILED: u64 = 10_077;
    pub(super) const BATCHES: std::ops::RangeInclusive<u64> = 10_174..=10_215;
}

impl Simulation {
    pub(super) fn on_told(&mut self, place: usize, told: &Told) -> Result<(), String> {
        let peer = self.peers[place].number;
        if told.sid == 1 {
            let number = told.subject.rsplit('.').next().and_then(|word| word.parse().ok());
            return self.on_answer(peer, number.ok_or("an inbox without a number")?, told);
        }
        match self.sources.get(&(peer, told.sid)).copied() {
            Some(Source::Pull(number)) => self.on_pulled(place, number, told),
            Some(Source::Push(consumer, incarnation)) => {
                if told.status().is_some() {
                    self.on_sign(place, told);
                    return Ok(());
                }
                self.on_delivery(peer, consumer, incarnation, told)
            }
            // It was unsubscribed from meanwhile.
            None => Ok(()),
        }
    }

    fn on_answer(&mut self, peer: usize, number: u64, told: &Told) -> Result<(), String> {
        if let Some((_, Ask::Collect)) = self.asks.get(&number) {
            self.collected.push(told.clone());
            return Ok(());
        }
        let (_, ask) = self.asks.remove(&number).ok_or_else(|| format!("twice: {told:?}"))?;
        let problem = |text: String| format!("{ask:?} by {peer}: {text}; {told:?}");
        let taken = match ask {
            Ask::Publish(message, expected) => self.on_published(message, expected, told),
            Ask::Commit(batch) => self.on_committed(batch, told),
            Ask::Get { stream, look, asked } => self.on_got(stream, look, asked, told),
            Ask::Settle { consumer, incarnation, sequence, .. } => {
                self.on_settled(peer, (consumer, incarnation), sequence, told)
            }
            Ask::Make(_) | Ask::End(_) | Ask::MakeConsumer(_) | Ask::EndConsumer(_) => {
                self.on_life(&ask, told)
            }
            Ask::Remove(stream, remover) => self.on_removed(stream, remover, told),
            Ask::Pull { .. } | Ask::Collect => unreachable!("they are answered elsewhere"),
        };
        taken.map_err(problem)
    }

    fn on_life(&mut self, ask: &Ask, told: &Told) -> Result<(), String> {
        let answer = told.json()?;
        if !answer["error"].is_null() {
            return Err("an error".to_owned());
        }
        match *ask {
            Ask::Make(stream) => self.streams[stream].life = Life::There,
            Ask::MakeConsumer(consumer) => {
                self.consumers[consumer].life = Life::There;
                self.consumers[consumer].made = self.tick;
            }
            Ask::EndConsumer(consumer) => self.consumers[consumer].life = Life::Absent,
            Ask::End(stream) => self.stream_is_gone(stream),
            _ => {}
        }
        Ok(())
    }

    /// A stream is not there any more, and nothing of it.
    pub(super) fn stream_is_gone(&mut self, stream: usize) {
        self.streams[stream].life = Life::Absent;
        for consumer in self.consumers.iter_mut().filter(|it| it.stream == stream) {
            consumer.life = Life::Absent;
        }
        for message in self.messages.iter_mut().filter(|it| it.stream == stream) {
            message.is_out = message.is_out.or(Some("its stream is gone"));
        }
    }

    fn on_removed(&mut self, stream: usize, remover: usize, told: &Told) -> Result<(), String> {
        let answer = told.json()?;
        let tick = self.tick;
        let remover = &mut self.streams[stream].removers[remover];
        remover.ended = Some(tick);
        remover.is_done = answer["success"] == true;
        Ok(())
    }

    fn on_published(
        &mut self,
        id: MessageId,
        expected: Expected,
        told: &Told,
    ) -> Result<(), String> {
        if let Some(status) = told.status() {
            return Err(status.to_owned());
        }
        let answer = told.json()?;
        if let Some(code) = answer["error"]["err_code"].as_u64() {
            self.messages[id].is_out = Some("it was refused");
            return self.check_refusal(id, expected, code);
        }
        let sequence = answer["seq"].as_u64().ok_or("no sequence")?;
        let message = &mut self.messages[id];
        let stream = message.stream;
        if answer["duplicate"] == true {
            message.is_out = Some("it was a duplicate");
            return self.check_duplicate(id, sequence);
        }
        self.acknowledged(id, sequence)?;
        match expected {
            Expected::Last(last) if sequence != last + 1 => Err(format!("not behind {last}")),
            Expected::LastOfSubject(last) => {
                let subject = self.messages[id].subject;
                self.streams[stream].expectations.push((subject, last, sequence));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn acknowledged(&mut self, id: MessageId, sequence: u64) -> Result<(), String> {
        let wall = self.wall();
        let message = &mut self.messages[id];
        message.acknowledged = Some(self.tick);
        message.acknowledged_wall = wall;
        message.life = self.outcome.crashes;
        if sequence <= message.floor {
            return Err(format!("{sequence} is not above {}", message.floor));
        }
        self.outcome.acknowledged += 1;
        self.put(id, sequence)
    }

    /// A message is at a sequence for sure.
    pub(super) fn put(&mut self, id: MessageId, sequence: u64) -> Result<(), String> {
        self.check_at(id, sequence)?;
        let message = &mut self.messages[id];
        let stream = &mut self.streams[message.stream];
        message.place = Some(sequence);
        stream.at.insert(sequence, id);
        stream.last = stream.last.max(sequence);
        Ok(())
    }

    /// May a message stand at a sequence?
    pub(super) fn check_at(&self, id: MessageId, sequence: u64) -> Result<(), String> {
        let Message { place, is_out, stream, .. } = &self.messages[id];
        if let Some(why) = is_out {
            return Err(format!("message {id} is at {sequence} although {why}"));
        }
        if place.is_some_and(|place| place != sequence) {
            return Err(format!("message {id} is at {place:?} and at {sequence}"));
        }
        match self.streams[*stream].at.get(&sequence) {
            Some(other) if *other != id => {
                Err(format!("messages {other} and {id} are both at {sequence}"))
            }
            _ => Ok(()),
        }
    }

    fn check_refusal(&self, id: MessageId, expected: Expected, code: u64) -> Result<(), String> {
        let message = &self.messages[id];
        let shape = &self.streams[message.stream].shape;
        let is_fine = match code {
            code::WRONG_LAST_SEQUENCE => expected != Expected::Nothing,
            code::STORE_FAILED => shape.discards_new || self.disk.faults.failing > 0,
            code::INSUFFICIENT_RESOURCES => self.disk.faults.room < u64::MAX,
            code => message.batch.is_some() && code::BATCHES.contains(&code),
        };
        if is_fine { Ok(()) } else { Err("it is refused without reason".to_owned()) }
    }

    /// A message was taken for one that was there before.
    fn check_duplicate(&self, id: MessageId, sequence: u64) -> Result<(), String> {
        let own = &self.messages[id];
        if own.id.is_none() {
            return Err("it has no id".to_owned());
        }
        let is_same = |other: &Message| other.stream == own.stream && other.id == own.id;
        let first = self.streams[own.stream].at.get(&sequence);
        let is_right = match first {
            Some(first) => is_same(&self.messages[*first]),
            None => self.messages.iter().any(|it| is_same(it) && it.place.is_none()),
        };
        if is_right { Ok(()) } else { Err(format!("{first:?} has another id")) }
    }

    fn on_committed(&mut self, batch: usize, told: &Told) -> Result<(), String> {
        let answer = told.json()?;
        let members = self.batches[batch].clone();
        if let Some(code) = answer["error"]["err_code"].as_u64() {
            for id in members {
                self.messages[id].is_out = Some("its batch was refused");
            }
            return self.check_refusal(self.batches[batch][0], Expected::Nothing, code);
        }
        let last = answer["seq"].as_u64().ok_or("no sequence")?;
        if answer["count"].as_u64() != Some(members.len() as u64) {
            return Err(format!("{} messages were sent", members.len()));
        }
        for (id, sequence) in members.iter().rev().zip((1..=last).rev()) {
            self.acknowledged(*id, sequence)?;
        }
        Ok(())
    }

    /// The message that this is, whose body and subject it has.
    pub(super) fn recognize(
        &self,
        stream: usize,
        subject: &str,
        body: &[u8],
    ) -> Result<MessageId, String> {
        let text = String::from_utf8_lossy(&body[..body.len().min(30)]).into_owned();
        let number = text.strip_prefix('m').and_then(|rest| rest.split(' ').next());
        let number = number.and_then(|digits| digits.parse::<usize>().ok());
        let id = number.filter(|number| *number < self.messages.len());
        let id = id.ok_or_else(|| format!("nobody published {text:?}"))?;
        let message = &self.messages[id];
        let is_same = message.stream == stream
            && message.body == body
            && self.streams[stream].subject(message.subject) == subject;
        if is_same { Ok(id) } else { Err(format!("{subject}: message {id} was another")) }
    }

    fn on_got(&mut self, number: usize, look: Look, asked: u64, told: &Told) -> Result<(), String> {
        let wall = self.wall();
        let stream = &self.streams[number];
        let (last, messages) = (u64::MAX, &self.messages);
        let is_sure = |id: &MessageId| {
            let message = &messages[*id];
            let is_known = message.acknowledged.is_some_and(|then| then < asked);
            is_known
                && message.is_out.is_none()
                && !stream.may_be_gone(message, messages, last, wall)
                && !self.may_be_consumed(message)
        };
        if let Some(status) = told.status() {
            let missed = match look {
                Look::At(sequence) => stream.at.get(&sequence).filter(|id| is_sure(id)),
                Look::LastOf(subject) => {
                    let of_subject = |id: &&MessageId| messages[**id].subject == subject;
                    stream.at.values().filter(of_subject).find(|id| is_sure(id))
                }
            };
            return missed.map_or(Ok(()), |id| Err(format!("{status}, and {id} is there")));
        }
        let sequence = told.number("Nats-Sequence").ok_or("no sequence")?;
        let subject = told.field("Nats-Subject").ok_or("no subject")?;
        let id = self.recognize(number, subject, &told.payload)?;
        self.check_at(id, sequence)?;
        match look {
            Look::At(wanted) if wanted != sequence => Err(format!("{wanted} was wanted")),
            Look::LastOf(subject) => {
                let is_later =
                    |(_, id): &(&u64, &MessageId)| messages[**id].subject == subject && is_sure(id);
                let later = stream.at.range(sequence + 1..).find(is_later);
                later.map_or(Ok(()), |(later, _)| Err(format!("there is a later one: {later}")))
            }
            Look::At(_) => Ok(()),
        }
    }

    fn on_settled(
        &mut self,
        peer: usize,
        (consumer, incarnation): (usize, u64),
        sequence: u64,
        told: &Told,
    ) -> Result<(), String> {
        let consumer = &mut self.consumers[consumer];
        if let Some(status) = told.status() {
            // A consumer that is gone has no subscription.
            let is_gone = !consumer.is_there() || consumer.incarnation != incarnation;
            return if is_gone { Ok(()) } else { Err(status.to_owned()) };
        }
        if consumer.incarnation == incarnation {
            consumer.settled.push((sequence, self.tick, peer));
            self.outcome.settled += 1;
        }
        Ok(())
    }

    fn on_pulled(&mut self, place: usize, number: u64, told: &Told) -> Result<(), String> {
        let peer = self.peers[place].number;
        let Some((_, Ask::Pull { consumer, incarnation, left, sid })) = self.asks.get_mut(&number)
        else {
            return Err(format!("more than pull {number} asked for: {told:?}"));
        };
        let (consumer, incarnation, sid) = (*consumer, *incarnation, *sid);
        let status = told.status();
        let is_over = if let Some(status) = status {
            !status.starts_with("100")
        } else {
            *left -= 1;
            *left == 0
        };
        if is_over {
            self.asks.remove(&number);
            self.peers[place].say(format!("UNSUB {sid}\r\n").as_bytes());
        }
        if status.is_some() {
            self.on_sign(place, told);
            return Ok(());
        }
        self.on_delivery(peer, consumer, incarnation, told)
    }

    /// A sign of life, or the question how far the client is.
    fn on_sign(&mut self, place: usize, told: &Told) {
        let asks = [told.reply.as_str(), told.field("Nats-Consumer-Stalled").unwrap_or_default()];
        for subject in asks.into_iter().filter(|subject| subject.starts_with("$JS.FC.")) {
            self.peers[place].publish(subject, "", &[], b"");
        }
    }

    fn on_delivery(
        &mut self,
        peer: usize,
        number: usize,
        incarnation: u64,
        told: &Told,
    ) -> Result<(), String> {
        let problem = |text: String| format!("consumer {number} to {peer}: {text}; {told:?}");
        self.outcome.delivered += 1;
        let consumer = &self.consumers[number];
        if consumer.incarnation != incarnation || consumer.life == Life::Absent {
            return Ok(());
        }
        let words: Vec<&str> = told.reply.split('.').collect();
        let numbers: Vec<u64> = words.iter().filter_map(|word| word.parse().ok()).collect();
        let &[deliveries, sequence, count, _, _] = &numbers[..] else {
            return Err(problem("no subject to acknowledge on".to_owned()));
        };
        let stream = consumer.stream;
        let id = self.recognize(stream, &told.subject, &told.payload).map_err(problem)?;
        self.put(id, sequence).map_err(problem)?;
        self.check_delivery(peer, number, id, deliveries, count).map_err(problem)?;
        let consumer = &mut self.consumers[number];
        consumer.numbers.insert(peer, count);
        if deliveries == 1 {
            consumer.begun.insert(sequence);
        }
        if consumer.form.policy != Policy::None {
            let reply = told.reply.clone();
            let life = self.outcome.crashes;
            self.held.push(Held { consumer: number, incarnation, sequence, reply, life });
        }
        Ok(())
    }

    fn check_delivery(
        &self,
        peer: usize,
        number: usize,
        id: MessageId,
        deliveries: u64,
        count: u64,
    ) -> Result<(), String> {
        let consumer = &self.consumers[number];
        let message = &self.messages[id];
        let sequence = message.place.expect("it was put there");
        if !consumer.wants(message.subject) {
            return Err("it is not wanted".to_owned());
        }
        if consumer.form.deliveries_max.is_some_and(|most| deliveries > most) {
            return Err(format!("it is the {deliveries}th time"));
        }
        if consumer.is_settled(sequence, Some(peer), self.compared) {
            return Err("it was acknowledged, and that was too".to_owned());
        }
        if consumer.numbers.get(&peer).is_some_and(|last| *last >= count) {
            return Err(format!("number {count} does not rise"));
        }
        if deliveries == 1 && consumer.begun.contains(&sequence) {
            return Err("it is the first time once more".to_owned());
        }
        Ok(())
    }
}
