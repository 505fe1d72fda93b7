//! What clients do.

use base::Duration;

use super::answers::{Ask, Expected, Look};
use super::consumer::{Held, Policy};
use super::stream::{Message, Removal, Remover, Retention};
use super::{ALL_SUBJECTS, Life, MessageId, SUBJECTS, Simulation, Source};

/// Clients at a time.
const PEERS_MAX: usize = 6;
/// Message ids that are used again and again.
const IDS: u64 = 12;

impl Simulation {
    pub(super) fn act(&mut self) -> Result<(), String> {
        let draw = self.random.below(100);
        if self.peers.is_empty() {
            self.join();
        }
        let peer = self.random.below(self.peers.len() as u64) as usize;
        match draw {
            0 | 1 if self.peers.len() < PEERS_MAX => self.join(),
            2 => self.depart(peer),
            3..=7 => self.make(peer),
            8..=32 => self.publish(peer),
            33..=36 => self.publish_batch(peer),
            37..=42 => self.get(peer),
            43..=57 => self.take_from_consumer(peer),
            58..=82 => self.answer_held(peer),
            83 | 84 => self.purge(peer),
            85..=87 => self.delete(peer),
            88 | 89 => {
                self.look()?;
                if !self.is_over && !self.peers.is_empty() {
                    self.end_something();
                }
            }
            90 | 91 => self.crash()?,
            92..=97 => {
                let span = self.random.below(2500);
                self.world.advance(Duration::from_millis(span));
            }
            _ => {}
        }
        Ok(())
    }

    /// Sends a request.
    pub(super) fn ask(&mut self, place: usize, subject: &str, body: &[u8], ask: Ask) {
        self.ask_with(place, subject, &[], body, ask);
    }

    fn ask_with(
        &mut self,
        place: usize,
        subject: &str,
        header: &[(&str, String)],
        body: &[u8],
        ask: Ask,
    ) {
        self.asked += 1;
        let peer = &mut self.peers[place];
        let reply = format!("in.{}.{}", peer.number, self.asked);
        peer.publish(subject, &reply, header, body);
        self.asks.insert(self.asked, (peer.number, ask));
    }

    fn depart(&mut self, place: usize) {
        let peer = self.peers.swap_remove(place);
        let wire = &mut self.world.wires[peer.socket];
        wire.client_closed = true;
        wire.resets = self.random.below(2) == 0;
        self.world.moved = true;
        self.asks.retain(|_, (of, _)| *of != peer.number);
        self.sources.retain(|(of, _), _| *of != peer.number);
        let left = |consumer: &&mut super::Consumer| consumer.listener == Some(peer.number);
        self.consumers.iter_mut().filter(left).for_each(|consumer| consumer.listener = None);
    }

    /// Makes a stream or a consumer that is not there.
    pub(super) fn make(&mut self, place: usize) {
        let tick = self.tick;
        for number in 0..self.streams.len() {
            let stream = &mut self.streams[number];
            if stream.life == Life::Absent {
                stream.life = Life::Making;
                stream.reset();
                let body = stream.shape.json(&stream.name, &stream.subjects());
                let subject = format!("$JS.API.STREAM.CREATE.{}", stream.name);
                return self.ask(place, &subject, body.as_bytes(), Ask::Make(number));
            }
        }
        for number in 0..self.consumers.len() {
            let consumer = &mut self.consumers[number];
            let stream = &self.streams[consumer.stream];
            if consumer.life == Life::Absent && stream.is_there() {
                consumer.life = Life::Making;
                consumer.reset();
                consumer.made = tick;
                let body = consumer.json(&stream.name, &stream.prefix);
                let (stream, name) = (&stream.name, &consumer.name);
                let subject = format!("$JS.API.CONSUMER.DURABLE.CREATE.{stream}.{name}");
                return self.ask(place, &subject, body.as_bytes(), Ask::MakeConsumer(number));
            }
        }
    }

    /// Ends a stream or a consumer. Nothing else is under way.
    fn end_something(&mut self) {
        if self.random.below(2) == 0 {
            return;
        }
        let number = self.random.below(self.consumers.len() as u64) as usize;
        let stream = self.consumers[number].stream;
        if self.random.below(3) == 0 && self.streams[stream].is_there() {
            self.streams[stream].life = Life::Ending;
            for consumer in self.consumers.iter_mut().filter(|it| it.stream == stream) {
                consumer.life = Life::Ending;
            }
            let subject = format!("$JS.API.STREAM.DELETE.{}", self.streams[stream].name);
            self.ask(0, &subject, b"", Ask::End(stream));
        } else if self.consumers[number].is_there() {
            self.consumers[number].life = Life::Ending;
            let (stream, name) = (&self.streams[stream].name, &self.consumers[number].name);
            let subject = format!("$JS.API.CONSUMER.DELETE.{stream}.{name}");
            self.ask(0, &subject, b"", Ask::EndConsumer(number));
        }
    }

    fn pick_stream(&mut self) -> Option<usize> {
        let there: Vec<usize> =
            (0..self.streams.len()).filter(|number| self.streams[*number].is_there()).collect();
        let place = self.random.below(there.len().max(1) as u64) as usize;
        there.get(place).copied()
    }

    /// A message that nobody has said yet.
    fn compose(&mut self, stream: usize, subject: usize) -> MessageId {
        let number = self.messages.len();
        let longest = if self.random.below(30) == 0 { 6_000 } else { 200 };
        let filler = self.random.below(longest) as usize;
        let body = [format!("m{number} ").as_bytes(), &vec![b'x'; filler]].concat();
        self.messages.push(Message {
            stream,
            subject,
            id: None,
            body,
            sent: self.tick,
            sent_wall: self.wall(),
            floor: self.streams[stream].last,
            acknowledged: None,
            acknowledged_wall: i64::MAX,
            life: 0,
            place: None,
            is_out: None,
            batch: None,
        });
        self.outcome.published += 1;
        number
    }

    fn publish(&mut self, place: usize) {
        let Some(number) = self.pick_stream() else { return self.make(place) };
        for _ in 0..=self.random.below(4) {
            let subject = self.random.below(SUBJECTS) as usize;
            let message = self.compose(number, subject);
            let mut header = Vec::new();
            if self.random.below(3) == 0 {
                let id = self.random.below(IDS);
                self.messages[message].id = Some(id);
                header.push(("Nats-Msg-Id", id.to_string()));
            }
            let expected = self.expect(number, subject, &mut header);
            if self.random.below(30) == 0 {
                self.roll_up(number, message, &mut header);
            }
            let to = self.streams[number].subject(subject);
            let body = self.messages[message].body.clone();
            self.ask_with(place, &to, &header, &body, Ask::Publish(message, expected));
        }
    }

    fn expect(
        &mut self,
        stream: usize,
        subject: usize,
        header: &mut Vec<(&str, String)>,
    ) -> Expected {
        let stream = &self.streams[stream];
        match self.random.below(16) {
            0 => {
                header.push(("Nats-Expected-Last-Sequence", stream.last.to_string()));
                Expected::Last(stream.last)
            }
            1 => {
                let is_same = |id: &MessageId| self.messages[*id].subject == subject;
                let known = stream.at.iter().rev().find(|(_, id)| is_same(id));
                let last = known.map_or(0, |(sequence, _)| *sequence);
                header.push(("Nats-Expected-Last-Subject-Sequence", last.to_string()));
                Expected::LastOfSubject(last)
            }
            _ => Expected::Nothing,
        }
    }

    fn roll_up(&mut self, stream: usize, by: MessageId, header: &mut Vec<(&str, String)>) {
        let of_all = self.random.below(4) == 0;
        header.push(("Nats-Rollup", if of_all { "all" } else { "sub" }.to_owned()));
        let subject = if of_all { ALL_SUBJECTS } else { self.messages[by].subject };
        self.remove(stream, Removal::Rollup { subject, by });
    }

    fn remove(&mut self, stream: usize, what: Removal) -> usize {
        let remover = Remover { what, asked: self.tick, ended: None, is_done: false };
        self.streams[stream].removers.push(remover);
        self.streams[stream].removers.len() - 1
    }

    /// Publishes some messages that are to be there together.
    fn publish_batch(&mut self, place: usize) {
        let Some(number) = self.pick_stream() else { return };
        let batch = self.batches.len();
        let count = 2 + self.random.below(5) as usize;
        let mut members = Vec::new();
        for at in 1..=count {
            let subject = self.random.below(SUBJECTS) as usize;
            let message = self.compose(number, subject);
            self.messages[message].batch = Some(batch);
            members.push(message);
            let mut header = vec![
                ("Nats-Batch-Id", format!("b{batch}")),
                ("Nats-Batch-Sequence", at.to_string()),
            ];
            let to = self.streams[number].subject(subject);
            let body = self.messages[message].body.clone();
            if at == count {
                header.push(("Nats-Batch-Commit", "1".to_owned()));
                self.ask_with(place, &to, &header, &body, Ask::Commit(batch));
            } else {
                self.peers[place].publish(&to, "", &header, &body);
            }
        }
        self.batches.push(members);
    }

    fn get(&mut self, place: usize) {
        let Some(number) = self.pick_stream() else { return };
        let stream = &self.streams[number];
        let (look, body) = if self.random.below(3) > 0 {
            let sequence = 1 + self.random.below(stream.last + 2);
            (Look::At(sequence), format!("{{\"seq\":{sequence}}}"))
        } else {
            let subject = self.random.below(SUBJECTS) as usize;
            let text = format!("{{\"last_by_subj\":\"{}\"}}", stream.subject(subject));
            (Look::LastOf(subject), text)
        };
        let subject = format!("$JS.API.DIRECT.GET.{}", stream.name);
        let ask = Ask::Get { stream: number, look, asked: self.tick };
        self.ask(place, &subject, body.as_bytes(), ask);
    }

    /// Asks a consumer for messages, or listens to it.
    fn take_from_consumer(&mut self, place: usize) {
        let there: Vec<usize> =
            (0..self.consumers.len()).filter(|it| self.consumers[*it].is_there()).collect();
        if there.is_empty() {
            return self.make(place);
        }
        let number = there[self.random.below(there.len() as u64) as usize];
        let batch = 1 + self.random.below(10);
        let rest = match self.random.below(3) {
            0 => ",\"no_wait\":true".to_owned(),
            1 => format!(",\"expires\":{}", 2_000_000_000 + self.random.below(5_000_000_000)),
            _ => ",\"expires\":5000000000,\"idle_heartbeat\":1000000000".to_owned(),
        };
        self.take(place, number, batch, &rest);
    }

    pub(super) fn take(&mut self, place: usize, number: usize, batch: u64, rest: &str) {
        let consumer = &mut self.consumers[number];
        let peer = &mut self.peers[place];
        if consumer.form.is_push {
            if consumer.listener.is_none() {
                consumer.listener = Some(peer.number);
                let sid = peer.subscribe(&consumer.target());
                let source = Source::Push(number, consumer.incarnation);
                self.sources.insert((peer.number, sid), source);
            }
            return;
        }
        self.asked += 1;
        let inbox = format!("pull.{}", self.asked);
        let sid = peer.subscribe(&inbox);
        let stream = &self.streams[consumer.stream].name;
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{}", consumer.name);
        let body = format!("{{\"batch\":{batch}{rest}}}");
        peer.publish(&subject, &inbox, &[], body.as_bytes());
        self.sources.insert((peer.number, sid), Source::Pull(self.asked));
        let incarnation = consumer.incarnation;
        let ask = Ask::Pull { consumer: number, incarnation, left: batch, sid };
        self.asks.insert(self.asked, (peer.number, ask));
    }

    /// Says something about a delivery.
    fn answer_held(&mut self, place: usize) {
        if self.held.is_empty() {
            return self.take_from_consumer(place);
        }
        let chosen = self.random.below(self.held.len() as u64) as usize;
        let held = self.held.swap_remove(chosen);
        let consumer = &self.consumers[held.consumer];
        if consumer.incarnation != held.incarnation || !consumer.is_there() {
            return;
        }
        let delay = format!("-NAK {{\"delay\":{}}}", self.random.below(3_000_000_000));
        match self.random.below(16) {
            0..=4 => self.acknowledge(place, &held, b"+ACK", false),
            5..=10 => self.acknowledge(place, &held, b"", true),
            11 => self.peers[place].publish(&held.reply, "", &[], b"-NAK"),
            12 => self.peers[place].publish(&held.reply, "", &[], delay.as_bytes()),
            13 => {
                self.peers[place].publish(&held.reply, "", &[], b"+WPI");
                self.held.push(held);
            }
            14 => self.acknowledge(place, &held, b"+TERM for good", true),
            // It is forgotten, and has to be delivered again.
            _ => {}
        }
    }

    pub(super) fn acknowledge(&mut self, place: usize, held: &Held, word: &[u8], waits: bool) {
        let consumer = &mut self.consumers[held.consumer];
        match consumer.form.policy {
            Policy::All => consumer.said_up_to = consumer.said_up_to.max(held.sequence),
            _ => drop(consumer.said.insert(held.sequence)),
        }
        if waits {
            let Held { consumer, incarnation, sequence, .. } = *held;
            let is_stale = held.life < self.outcome.crashes;
            let ask = Ask::Settle { consumer, incarnation, sequence, is_stale };
            self.ask(place, &held.reply, word, ask);
        } else {
            self.peers[place].publish(&held.reply, "", &[], word);
        }
    }

    fn purge(&mut self, place: usize) {
        let Some(number) = self.pick_stream() else { return };
        let stream = &self.streams[number];
        let any = self.random.below(SUBJECTS + 2) as usize;
        let subject = if any < SUBJECTS as usize { any } else { ALL_SUBJECTS };
        let filter = match subject {
            ALL_SUBJECTS => String::new(),
            subject => stream.subject(subject),
        };
        let (below, keep) = match self.random.below(4) {
            0 => (self.random.below(stream.last + 2), 0),
            1 => (0, self.random.below(4)),
            _ => (0, 0),
        };
        let to = format!("$JS.API.STREAM.PURGE.{}", stream.name);
        let body = format!("{{\"filter\":\"{filter}\",\"seq\":{below},\"keep\":{keep}}}");
        let remover = self.remove(number, Removal::Purge { subject, below, keep });
        self.ask(place, &to, body.as_bytes(), Ask::Remove(number, remover));
    }

    fn delete(&mut self, place: usize) {
        let Some(number) = self.pick_stream() else { return };
        let stream = &self.streams[number];
        // A message of a work queue that is deleted is not one that was worked on.
        if stream.shape.retention == Retention::WorkQueue && self.random.below(2) == 0 {
            return;
        }
        let sequence = 1 + self.random.below(stream.last + 1);
        let to = format!("$JS.API.STREAM.MSG.DELETE.{}", stream.name);
        let is_secure = self.random.below(2) == 0;
        let body = format!("{{\"seq\":{sequence},\"no_erase\":{}}}", !is_secure);
        let remover = self.remove(number, Removal::Delete(sequence));
        self.ask(place, &to, body.as_bytes(), Ask::Remove(number, remover));
    }
}
