//! A stream against a vector of messages, step by step.

use std::fmt::Write as _;

use base::Random;
use serde_json::Value;

use crate::world::World;

/// A stored message.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stored {
    sequence: u64,
    subject: String,
    payload: String,
    wall: i64,
}

/// What a stream is to be, without any cleverness.
#[derive(Debug, Default)]
struct Model {
    messages: Vec<Stored>,
    last: u64,
    max_msgs: Option<usize>,
    max_bytes: Option<u64>,
    max_per_subject: Option<usize>,
    max_age: Option<i64>,
    discard_new: bool,
    new_per_subject: bool,
}

impl Model {
    fn bytes(&self) -> u64 {
        self.messages.iter().map(size).sum()
    }

    fn count_of(&self, subject: &str) -> usize {
        self.messages.iter().filter(|stored| stored.subject == subject).count()
    }

    fn first_of(&self, subject: &str) -> Option<usize> {
        self.messages.iter().position(|stored| stored.subject == subject)
    }

    /// Stores a message; the sequence, or nothing if there is no room.
    fn publish(&mut self, subject: &str, payload: &str, wall: i64, rollup: &str) -> Option<u64> {
        let new = Stored {
            sequence: self.last + 1,
            subject: subject.into(),
            payload: payload.into(),
            wall,
        };
        if self.discard_new && !self.has_room(&new, rollup) {
            return None;
        }
        self.last += 1;
        let size = new.sequence;
        self.messages.push(new);
        while self.max_per_subject.is_some_and(|most| self.count_of(subject) > most) {
            let first = self.first_of(subject).expect("there are some");
            self.messages.remove(first);
        }
        match rollup {
            "sub" => self.messages.retain(|it| it.subject != subject || it.sequence == size),
            "all" => self.messages.retain(|it| it.sequence == size),
            _ => {}
        }
        while self.max_msgs.is_some_and(|most| self.messages.len() > most)
            || self.max_bytes.is_some_and(|most| self.bytes() > most) && !self.messages.is_empty()
        {
            self.messages.remove(0);
        }
        Some(self.last)
    }

    fn has_room(&self, new: &Stored, rollup: &str) -> bool {
        let count = self.count_of(&new.subject);
        let replaces = self.max_per_subject.is_some_and(|most| count >= most);
        if replaces && self.new_per_subject && rollup.is_empty() {
            return false;
        }
        if self.max_msgs.is_some_and(|most| self.messages.len() >= most) && !replaces {
            return false;
        }
        let is_over = self.max_bytes.is_some_and(|most| self.bytes() + size(new) > most);
        let first = self.first_of(&new.subject).filter(|_| replaces);
        !is_over || first.is_some_and(|first| size(&self.messages[first]) >= size(new))
    }

    fn purge(&mut self, filter: &str, below: u64, keep: usize) -> usize {
        let before = self.messages.len();
        if below == 1 {
            return 0;
        }
        let is_meant = |stored: &Stored| filter.is_empty() || stored.subject == filter;
        let meant = self.messages.iter().filter(|stored| is_meant(stored)).count();
        let mut rest = if keep == 0 { usize::MAX } else { meant.saturating_sub(keep) };
        self.messages.retain(|stored| {
            let goes = is_meant(stored) && rest > 0 && (below == 0 || stored.sequence < below);
            rest -= usize::from(goes);
            !goes
        });
        if filter.is_empty() && below > self.last {
            self.last = below - 1;
        }
        before - self.messages.len()
    }

    fn expire(&mut self, wall: i64) {
        if let Some(age) = self.max_age {
            self.messages.retain(|stored| stored.wall > wall - age);
        }
    }
}

/// What a message on disk counts for. Those that roll up have a header.
fn size(stored: &Stored) -> u64 {
    let header = match stored.payload.as_bytes().first() {
        Some(b'S') => "NATS/1.0\r\nNats-Rollup: sub\r\n\r\n".len() + 4,
        Some(b'A') => "NATS/1.0\r\nNats-Rollup: all\r\n\r\n".len() + 4,
        _ => 0,
    };
    (30 + header + stored.subject.len() + stored.payload.len()) as u64
}

struct Run {
    random: Random,
    world: World,
    model: Model,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut model = Model::default();
        let mut fields = String::from(r#""subjects":["s.*"],"allow_rollup_hdrs":true"#);
        let mut chance = |bound: u64| (random.below(2) == 0).then(|| random.below(bound) + 1);
        model.max_msgs = chance(20).map(|most| most as usize);
        model.max_bytes = chance(1500);
        model.max_per_subject = chance(4).map(|most| most as usize);
        model.max_age = chance(20).map(|seconds| seconds as i64 * 1_000_000_000);
        model.discard_new = chance(1).is_some();
        model.new_per_subject =
            model.discard_new && model.max_per_subject.is_some() && chance(1).is_some();
        for (name, value) in [
            ("max_msgs", model.max_msgs.map(|most| most as u64)),
            ("max_bytes", model.max_bytes),
            ("max_msgs_per_subject", model.max_per_subject.map(|most| most as u64)),
            ("max_age", model.max_age.map(i64::unsigned_abs)),
        ] {
            if let Some(value) = value {
                let _ = write!(fields, ",\"{name}\":{value}");
            }
        }
        if model.discard_new {
            fields.push_str(r#","discard":"new""#);
        }
        if model.new_per_subject {
            fields.push_str(r#","discard_new_per_subject":true"#);
        }
        let mut world = World::new();
        world.create("S", &fields);
        Self { random, world, model }
    }

    fn subject(&mut self) -> String {
        format!("s.{}", self.random.below(5))
    }

    fn step(&mut self) {
        match self.random.below(20) {
            0..=11 => self.publish(),
            12 | 13 => self.delete(),
            14 => self.purge(),
            15 => self.get(),
            _ => {
                let nanos = self.random.below(3_000_000_000) as i64;
                self.world.pass(nanos);
                // The stream looks a little after the time, so that it is never too early.
                self.world.pass(2_000_000);
                self.model.expire(self.world.now.wall.0 - 1_000_000);
            }
        }
        self.compare();
    }

    fn publish(&mut self) {
        let subject = self.subject();
        let (rollup, mark) = match self.random.below(20) {
            0 => ("sub", "S"),
            1 => ("all", "A"),
            _ => ("", "x"),
        };
        let payload = mark.repeat(1 + self.random.below(30) as usize);
        let header = [("Nats-Rollup", rollup)];
        let header = if rollup.is_empty() { &[][..] } else { &header[..] };
        let answer = self.world.ask_json(&subject, header, &payload);
        let wall = self.world.now.wall.0;
        let expected = self.model.publish(&subject, &payload, wall, rollup);
        assert_eq!(answer["seq"].as_u64().unwrap_or(0), expected.unwrap_or(0), "{answer}");
    }

    fn delete(&mut self) {
        let sequence = self.random.below(self.model.last + 2);
        let body = format!("{{\"seq\":{sequence}}}");
        let answer = self.world.api("STREAM.MSG.DELETE.S", &body);
        let place = self.model.messages.iter().position(|stored| stored.sequence == sequence);
        assert_eq!(answer["success"] == true, place.is_some(), "{answer}");
        if let Some(place) = place {
            self.model.messages.remove(place);
        }
    }

    fn purge(&mut self) {
        let filter = if self.random.below(2) == 0 { self.subject() } else { String::new() };
        let (mut below, mut keep) = (0, 0);
        match self.random.below(3) {
            0 => below = self.random.below(self.model.last + 3),
            1 => keep = self.random.below(4),
            _ => {}
        }
        let body = format!("{{\"filter\":\"{filter}\",\"seq\":{below},\"keep\":{keep}}}");
        let answer = self.world.api("STREAM.PURGE.S", &body);
        let purged = self.model.purge(&filter, below, keep as usize);
        assert_eq!(answer["purged"], purged, "{body}");
    }

    fn get(&mut self) {
        let (subject, from) = (self.subject(), self.random.below(self.model.last + 2));
        let body = format!("{{\"seq\":{from},\"next_by_subj\":\"{subject}\"}}");
        let answer = self.world.api("STREAM.MSG.GET.S", &body);
        let expected = self
            .model
            .messages
            .iter()
            .find(|stored| stored.sequence >= from && stored.subject == subject);
        let expected = expected.map_or(Value::Null, |stored| stored.sequence.into());
        assert_eq!(answer["message"]["seq"], expected);
        let answer =
            self.world.api("STREAM.MSG.GET.S", &format!("{{\"last_by_subj\":\"{subject}\"}}"));
        let expected = self.model.messages.iter().rfind(|stored| stored.subject == subject);
        let expected = expected.map_or(Value::Null, |stored| stored.sequence.into());
        assert_eq!(answer["message"]["seq"], expected);
    }

    fn compare(&mut self) {
        let state = self.world.state("S");
        let model = &self.model;
        let number = |name: &str| state[name].as_u64().unwrap_or(0);
        assert_eq!(number("messages"), model.messages.len() as u64);
        assert_eq!(number("bytes"), model.bytes());
        assert_eq!(number("last_seq"), model.last);
        let first = model.messages.first().map_or(model.last + 1, |stored| stored.sequence);
        if model.last > 0 {
            assert_eq!(number("first_seq"), first);
        }
        for number in 0..5 {
            let subject = format!("s.{number}");
            let count = model.count_of(&subject);
            assert_eq!(state["subjects"][&subject].as_u64().unwrap_or(0), count as u64);
        }
        let present = |sequence: &u64| model.messages.iter().any(|it| it.sequence == *sequence);
        let gone: Vec<u64> = (first..=model.last).filter(|it| !present(it)).collect();
        let found = state["deleted"].as_array().into_iter().flatten();
        let found: Vec<u64> = found.filter_map(Value::as_u64).collect();
        assert_eq!(found, gone);
    }
}

#[test]
fn a_stream_agrees_with_a_vector() {
    for seed in 0..60 {
        let mut run = Run::new(seed);
        for _ in 0..150 {
            run.step();
        }
    }
}
