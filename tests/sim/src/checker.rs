//! What must hold, whatever happens.
//!
//! - *Flush barrier*: a message published after a client read the PONG to a PING behind its SUB
//!   reaches that subscription, wherever publisher and subscriber live.
//! - *Order*: a plain subscription sees the messages of one publisher in the order they were
//!   published. A queue group's member does too unless members left meanwhile: a message that was
//!   chosen for one of them goes on to another core rather than be lost, and may so be overtaken.
//!   A member that the server cut off has left before its client knows.
//! - *Once*: no subscription sees a message twice; of a queue group one member does, and one does
//!   if the group had an established member throughout.
//! - *End*: nothing comes after the PONG to a PING behind an UNSUB, and no more than asked for.
//! - *No loss*: back-pressure slows, it does not drop.
//! - *No leak*: when all clients have gone, no core holds a connection, a subscription or interest.

use std::collections::{HashMap, HashSet};

use subjects::grammar;

/// A subscription of some client.
#[derive(Debug)]
struct Subscription {
    client: usize,
    sid: u32,
    pattern: String,
    queue: String,
    /// Has its client read the PONG to a PING behind it?
    established: bool,
    /// May it end, or has it ended? Then nothing must come any more, though it may.
    ending: bool,
    /// Has the client read the PONG to a PING behind its UNSUB?
    ended: bool,
    /// Deliveries at most, if it asked for an end by count.
    max: Option<u64>,
    /// Has the client read the PONG to a PING behind that? Before, more may have been on the way.
    capped: bool,
    seen: HashMap<usize, u64>,
    deliveries: u64,
}

/// A message and who must get it.
#[derive(Debug)]
struct Published {
    subject: String,
    publisher: usize,
    number: u64,
    /// Plain subscriptions, established when it was published.
    plain: Vec<usize>,
    /// Queue groups with an established member, by name, and those members.
    groups: HashMap<String, Vec<usize>>,
    got: Vec<usize>,
}

/// The model that the world is compared with.
#[derive(Debug, Default)]
pub struct Checker {
    subscriptions: Vec<Subscription>,
    by_name: HashMap<(usize, u32), usize>,
    published: Vec<Published>,
    by_number: HashMap<(usize, u64), usize>,
    /// Queue groups that some member has left.
    queues_with_leavers: HashSet<String>,
    /// May the server cut a client off? The client learns of it after others may have felt it.
    cuts_off: bool,
    /// Messages that came out of order to a queue group: wrong unless a member has left by the end.
    overtaken: Vec<(String, String)>,
}

impl Checker {
    /// The model of a server that cuts slow clients off, or of one that has no reason to.
    pub fn new(cuts_off: bool) -> Self {
        Self { cuts_off, ..Self::default() }
    }

    /// A client subscribes.
    pub fn subscribe(&mut self, client: usize, sid: u32, pattern: &str, queue: &str) -> usize {
        self.subscriptions.push(Subscription {
            client,
            sid,
            pattern: pattern.to_owned(),
            queue: queue.to_owned(),
            established: false,
            ending: false,
            ended: false,
            max: None,
            capped: false,
            seen: HashMap::new(),
            deliveries: 0,
        });
        let id = self.subscriptions.len() - 1;
        self.by_name.insert((client, sid), id);
        id
    }

    /// A subscription that a client could end.
    pub fn live_of(&self, client: usize) -> Vec<(usize, u32)> {
        let own = self.subscriptions.iter().enumerate();
        own.filter(|(_, sub)| sub.client == client && !sub.ending)
            .map(|(id, sub)| (id, sub.sid))
            .collect()
    }

    /// Deliveries of a subscription so far, as its client has seen them.
    pub fn deliveries(&self, id: usize) -> u64 {
        self.subscriptions[id].deliveries
    }

    /// A client asks for the end of a subscription, at once or after a number of deliveries.
    pub fn unsubscribe(&mut self, id: usize, max: Option<u64>) {
        self.subscriptions[id].max = max;
        self.end(id);
    }

    /// A client read the PONG that vouches for these.
    pub fn pong(&mut self, established: &[usize], ended: &[usize]) {
        for id in established {
            self.subscriptions[*id].established = true;
        }
        for id in ended {
            self.subscriptions[*id].capped = self.subscriptions[*id].max.is_some();
            self.subscriptions[*id].ended = self.subscriptions[*id].max.is_none();
        }
    }

    /// A client is gone: its subscriptions owe nothing any more.
    pub fn leave(&mut self, client: usize) {
        for id in 0..self.subscriptions.len() {
            if self.subscriptions[id].client == client {
                self.end(id);
            }
        }
    }

    fn end(&mut self, id: usize) {
        let sub = &mut self.subscriptions[id];
        sub.ending = true;
        if !sub.queue.is_empty() {
            self.queues_with_leavers.insert(sub.queue.clone());
        }
    }

    /// A publisher is gone before these messages were on their way: nobody has to get them.
    pub fn void(&mut self, publisher: usize, from_number: u64) {
        for message in &mut self.published {
            if message.publisher == publisher && message.number >= from_number {
                message.plain.clear();
                message.groups.clear();
            }
        }
    }

    /// A client publishes.
    pub fn publish(&mut self, publisher: usize, number: u64, subject: &str, echo: bool) {
        let mut plain = Vec::new();
        let mut groups: HashMap<String, Vec<usize>> = HashMap::new();
        for (id, sub) in self.subscriptions.iter().enumerate() {
            let hears = echo || sub.client != publisher;
            if !hears || !sub.established || sub.ending {
                continue;
            }
            if grammar::matches(sub.pattern.as_bytes(), subject.as_bytes()) {
                if sub.queue.is_empty() {
                    plain.push(id);
                } else {
                    groups.entry(sub.queue.clone()).or_default().push(id);
                }
            }
        }
        let subject = subject.to_owned();
        let got = Vec::new();
        self.published.push(Published { subject, publisher, number, plain, groups, got });
        self.by_number.insert((publisher, number), self.published.len() - 1);
    }

    /// A client received a message.
    ///
    /// # Errors
    /// What was wrong with it.
    pub fn receive(
        &mut self,
        client: usize,
        sid: u32,
        subject: &str,
        from: (usize, u64),
        echo: bool,
    ) -> Result<(), String> {
        let what = || format!("client {client} sid {sid}: message {from:?} on {subject}");
        let id = *self.by_name.get(&(client, sid)).ok_or_else(|| what() + ": no such sid")?;
        let message = *self.by_number.get(&from).ok_or_else(|| what() + ": never published")?;
        let sub = &mut self.subscriptions[id];
        let message = &mut self.published[message];
        if message.subject != subject
            || !grammar::matches(sub.pattern.as_bytes(), subject.as_bytes())
        {
            return Err(what() + ": the subject does not match");
        }
        if sub.ended {
            return Err(what() + ": after the PONG behind UNSUB");
        }
        if !echo && from.0 == client {
            return Err(what() + ": its own, without echo");
        }
        sub.deliveries += 1;
        if sub.capped && sub.max.is_some_and(|max| sub.deliveries > max) {
            return Err(what() + ": more than the maximum");
        }
        if message.got.contains(&id) {
            return Err(what() + ": twice");
        }
        let late = sub.seen.insert(from.0, from.1).is_some_and(|last| last >= from.1);
        if late && !self.queues_with_leavers.contains(&sub.queue) {
            let problem = what() + ": out of order";
            if sub.queue.is_empty() || !self.cuts_off {
                return Err(problem);
            }
            self.overtaken.push((sub.queue.clone(), problem));
        }
        message.got.push(id);
        Ok(())
    }

    /// Compares at the end, when nothing moves any more.
    ///
    /// # Errors
    /// What is missing, or too much.
    pub fn conclude(&self) -> Result<(), String> {
        for (queue, problem) in &self.overtaken {
            if !self.queues_with_leavers.contains(queue) {
                return Err(problem.clone());
            }
        }
        for message in &self.published {
            let what =
                format!("message {:?} on {}", (message.publisher, message.number), message.subject);
            for id in &message.plain {
                let sub = &self.subscriptions[*id];
                if !sub.ending && !message.got.contains(id) {
                    return Err(format!("{what} did not reach {sub:?}"));
                }
            }
            let mut got: HashMap<&str, usize> = HashMap::new();
            for id in &message.got {
                *got.entry(&self.subscriptions[*id].queue).or_default() += 1;
            }
            for (queue, count) in &got {
                if !queue.is_empty() && *count > 1 {
                    return Err(format!("{what} reached {count} members of {queue}"));
                }
            }
            for (queue, members) in &message.groups {
                // A member that went away may have taken its message with it.
                let left = self.queues_with_leavers.contains(queue);
                if !left && !got.contains_key(queue.as_str()) {
                    assert!(!members.is_empty());
                    return Err(format!("{what} reached no member of {queue}"));
                }
            }
        }
        Ok(())
    }
}
