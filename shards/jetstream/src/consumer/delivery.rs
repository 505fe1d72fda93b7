//! Delivering: the next message, to a push consumer's subject or to the request that is next.

use base::{AccountId, Duration, Random, Time, Wall, text::Decimal};
use storage::{Entry as Stored, Fetched};
use wire::Message;

use super::{
    config::{AckPolicy, PriorityPolicy},
    cursor::Consumer,
    desk::{self, Desk},
    ledger::Entry,
    push::Flow,
    waiting::Waiter,
};
use crate::{Outlet, names, parcel::Parcel};

/// What may still be delivered in this turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

impl Budget {
    pub(crate) fn is_spent(self) -> bool {
        self.messages == 0 || self.bytes == 0
    }

    fn spend(&mut self, bytes: usize) {
        self.messages -= 1;
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// Why delivering came to a halt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Halt {
    /// The turn's share is used up.
    Spent,
    /// There is no further message.
    Empty,
    /// As much is unacknowledged as may be.
    Full,
    /// Nobody is there to deliver to, or something else has to happen first.
    Held,
    /// The message is on its way from the disk.
    Reading,
    /// Not before this time.
    Until(Time),
}

/// The message that is to be delivered next.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    sequence: u64,
    /// How often it will have been delivered.
    deliveries: u32,
}

/// What became of a candidate.
enum Outcome {
    Delivered { bytes: usize },
    Halted(Halt),
}

impl Consumer {
    /// Delivers as much as may be.
    pub(crate) fn deliver(&mut self, desk: &mut Desk<'_, '_>, budget: &mut Budget) -> Halt {
        self.pending(desk.view);
        loop {
            if budget.is_spent() {
                return Halt::Spent;
            }
            if let Some(halt) = self.held(desk) {
                return halt;
            }
            let candidate = match self.candidate(desk) {
                Ok(candidate) => candidate,
                Err(halt) => return halt,
            };
            match self.deliver_one(desk, candidate) {
                Outcome::Delivered { bytes } => budget.spend(bytes),
                Outcome::Halted(halt) => return halt,
            }
        }
    }

    /// Is there a reason to deliver nothing at all?
    fn held(&self, desk: &Desk<'_, '_>) -> Option<Halt> {
        let now = desk.view.now;
        if let Some(until) = self.paused_until(now.wall) {
            let rest = until.0.saturating_sub(now.wall.0) as u64;
            return Some(Halt::Until(Time(now.time.0.saturating_add(rest))));
        }
        let is_held = if self.config.is_push() {
            !self.push.is_active || self.push.flow.as_ref().is_some_and(Flow::is_stalled)
        } else {
            self.waiting.is_empty()
        };
        is_held.then_some(Halt::Held)
    }

    /// The message to deliver: one that was delivered before, or the next.
    fn candidate(&mut self, desk: &mut Desk<'_, '_>) -> Result<Candidate, Halt> {
        while let Some(entry) = self.ledger.next_queued().copied() {
            if desk.view.store.log(desk.view.core.log).contains(entry.sequence) {
                return Ok(Candidate {
                    sequence: entry.sequence,
                    deliveries: entry.deliveries.saturating_add(1),
                });
            }
            self.terminate_lost(desk, entry);
        }
        let most = self.config.max_ack_pending;
        if most > 0 && self.ledger.len() as i64 >= most {
            return Err(Halt::Full);
        }
        let sequence = self.next_new(desk.view).ok_or(Halt::Empty)?;
        self.is_in_time(desk, sequence)?;
        Ok(Candidate { sequence, deliveries: 1 })
    }

    /// At the original pace, a message waits as long after the one in front of it as it did when
    /// it came.
    fn is_in_time(&mut self, desk: &Desk<'_, '_>, sequence: u64) -> Result<(), Halt> {
        let Some(replay) = &mut self.replay else { return Ok(()) };
        if sequence > replay.last {
            self.replay = None;
            return Ok(());
        }
        let log = desk.view.store.log(desk.view.core.log);
        let (Some(previous), Some(wall)) = (replay.previous, log.time_of(sequence)) else {
            return Ok(());
        };
        let due = match replay.due {
            Some((of, due)) if of == sequence => due,
            _ => {
                let pause = wall.0.saturating_sub(previous.0).max(0) as u64;
                Time(desk.now().0.saturating_add(pause))
            }
        };
        replay.due = Some((sequence, due));
        if due > desk.now() { Err(Halt::Until(due)) } else { Ok(()) }
    }

    fn deliver_one(&mut self, desk: &mut Desk<'_, '_>, candidate: Candidate) -> Outcome {
        let now = desk.now();
        let is_new = candidate.deliveries == 1;
        let pending = self.pending_known().saturating_sub(u64::from(is_new));
        let stored = match desk.view.store.fetch(desk.view.core.log, candidate.sequence) {
            Fetched::Here(stored) => stored,
            Fetched::Reading(_) => return Outcome::Halted(Halt::Reading),
            Fetched::Missing | Fetched::Damaged => {
                self.skip_unreadable(desk, candidate);
                return Outcome::Delivered { bytes: 0 };
            }
        };
        self.put_reply(candidate, stored.wall, pending);
        let size = self.size_of(&stored);
        let bytes = stored.subject.len() + self.reply.len() + size;
        if let Some(bucket) = &mut self.push.bucket {
            let ready = bucket.ready_at(bytes as u64, now);
            if ready > now {
                return Outcome::Halted(Halt::Until(ready));
            }
            bucket.take(bytes as u64, now);
        }
        let account = desk.view.core.account;
        let mut post = Post { parcel: desk.view.parcel, out: desk.out, account };
        let is_pinning = if self.config.is_push() {
            let route = self.config.deliver_subject.as_bytes();
            if !post.send(self, route, &stored) {
                self.push.is_active = false;
                self.push.inactive_since = now;
                return Outcome::Halted(Halt::Held);
            }
            false
        } else {
            match self.serve(&mut post, &stored, bytes, desk.view.random, now) {
                Some(is_pinning) => is_pinning,
                // More messages may change what the requests that are left wait for.
                None => return Outcome::Halted(Halt::Empty),
            }
        };
        if let Some(replay) = &mut self.replay {
            replay.previous = Some(stored.wall);
        }
        if is_pinning {
            self.pinned(desk);
        }
        self.delivered(desk, candidate);
        self.count_flow(desk, size);
        Outcome::Delivered { bytes }
    }

    /// A message that is to be delivered cannot be read: there is nothing to wait for.
    fn skip_unreadable(&mut self, desk: &mut Desk<'_, '_>, candidate: Candidate) {
        if candidate.deliveries == 1 {
            self.pass(candidate.sequence);
            Self::done_with(desk.view, candidate.sequence);
        } else if let Some(entry) = self.ledger.get(candidate.sequence).copied() {
            self.terminate_lost(desk, entry);
        }
    }

    /// Writes the subject that the delivery is acknowledged on.
    fn put_reply(&mut self, candidate: Candidate, wall: Wall, pending: u64) {
        self.reply.truncate(self.reply_prefix_bytes);
        for (place, number) in [
            u64::from(candidate.deliveries),
            candidate.sequence,
            self.delivered.number + 1,
            wall.0 as u64,
            pending,
        ]
        .into_iter()
        .enumerate()
        {
            if place > 0 {
                self.reply.push(b'.');
            }
            self.reply.extend_from_slice(Decimal::new(number).as_bytes());
        }
    }

    /// Bytes of header and payload as they are delivered.
    fn size_of(&self, stored: &Stored<'_>) -> usize {
        if !self.config.headers_only {
            return stored.size();
        }
        let digits = Decimal::new(stored.payload().len() as u64);
        let line = "Nats-Msg-Size: \r\n".len() + digits.as_bytes().len();
        let block = if stored.header == 0 { "NATS/1.0\r\n\r\n".len() } else { stored.header };
        block + line
    }

    /// Hands a message to the request that is next and for which it is fit. Nothing if there is
    /// none; true if its client is pinned from now on.
    fn serve(
        &mut self,
        post: &mut Post<'_>,
        stored: &Stored<'_>,
        bytes: usize,
        random: &mut Random,
        now: Time,
    ) -> Option<bool> {
        let is_pinning = self.config.priority_policy == PriorityPolicy::PinnedClient;
        loop {
            let is_pinned = !self.pin.id.is_empty();
            self.choose(post, bytes, now)?;
            let waiter = self.waiting.front().expect("a request was chosen");
            let group = waiter.group.as_mut().filter(|group| !group.group.is_empty());
            let mut is_new = false;
            if let Some(group) = group.filter(|_| is_pinning && !is_pinned) {
                group.id = names::unique(random);
                self.pin.id.clone_from(&group.id);
                self.pin.group.clone_from(&group.group);
                is_new = true;
            }
            let route = std::mem::take(&mut waiter.reply);
            let is_delivered = post.send(self, &route, stored);
            let waiter = self.waiting.front().expect("it still waits");
            waiter.reply = route;
            if is_delivered {
                self.finish_serving(post, bytes, now);
                return Some(is_new);
            }
            if is_new {
                self.pin.id.clear();
            }
            self.waiting.drop_front();
        }
    }

    fn finish_serving(&mut self, post: &mut Post<'_>, bytes: usize, now: Time) {
        let waiter = self.waiting.front().expect("a request was served");
        if let Some(wait) = waiter.heartbeat {
            waiter.next_heartbeat = now.after(wait);
        }
        if waiter.bytes_left > 0 {
            waiter.bytes_left -= bytes as i64;
            if waiter.bytes_left == 0 {
                waiter.left = 1;
            }
            if waiter.left == 1 && waiter.bytes_left > 0 {
                let (reply, left) = (&waiter.reply, (0, waiter.bytes_left));
                let status = "409 Batch Completed";
                desk::send_end(post.parcel, post.out, post.account, reply, status, left);
            }
        }
        self.waiting.served(self.config.priority_policy);
    }

    /// Brings a request to the front that this message may be handed to; ends those in front of it
    /// that are over.
    fn choose(&mut self, post: &mut Post<'_>, bytes: usize, now: Time) -> Option<()> {
        let mut cycled = 0;
        loop {
            let outstanding = self.ledger.len() as i64;
            let pending = self.pending_known() as i64;
            let policy = self.config.priority_policy;
            let waiter = self.waiting.front()?;
            let fitness = if waiter.expires <= now {
                self.last_active = self.last_active.max(waiter.expires);
                Fitness::Over("408 Request Timeout")
            } else if policy == PriorityPolicy::PinnedClient {
                waiter.fits_pin(&self.pin.id)
            } else if policy == PriorityPolicy::Overflow {
                waiter.fits_overflow(pending, outstanding)
            } else {
                Fitness::Fits
            };
            match fitness {
                Fitness::Fits if waiter.bytes_left > 0 && bytes as i64 > waiter.bytes_left => {
                    self.end_front(post, "409 Message Size Exceeds MaxBytes");
                }
                Fitness::Fits => return Some(()),
                Fitness::Later => {
                    self.waiting.cycle();
                    cycled += 1;
                    if cycled >= self.waiting.len() {
                        return None;
                    }
                }
                Fitness::Over(status) => self.end_front(post, status),
            }
        }
    }

    /// Ends the request that is next.
    fn end_front(&mut self, post: &mut Post<'_>, status: &str) {
        if let Some(waiter) = self.waiting.front() {
            let left = (waiter.left, waiter.bytes_left);
            desk::send_end(post.parcel, post.out, post.account, &waiter.reply, status, left);
        }
        self.waiting.drop_front();
    }

    /// A message went out.
    fn delivered(&mut self, desk: &mut Desk<'_, '_>, candidate: Candidate) {
        let now = desk.now();
        let Candidate { sequence, deliveries } = candidate;
        self.delivered.number += 1;
        if deliveries == 1 {
            self.pass(sequence);
            self.delivered.sequence = sequence;
        }
        if self.config.ack_policy == AckPolicy::None {
            self.floor = self.delivered;
            Self::done_with(desk.view, sequence);
        } else if deliveries == 1 {
            let number = self.delivered.number;
            let entry = Entry { sequence, number, since: now, deliveries };
            self.ledger.insert(entry, &self.waits);
        } else {
            self.ledger.redeliver(sequence, now, &self.waits);
            self.notes.redelivered(sequence, now);
        }
        self.notes.delivered(now);
        self.last_delivered = Some(desk.view.now.wall);
        self.push.was_heard(now);
        self.last_active = now;
    }

    fn count_flow(&mut self, desk: &mut Desk<'_, '_>, size: usize) {
        let most = self.config.max_ack_pending;
        let is_by_flow = self.config.ack_policy == AckPolicy::FlowControl;
        let is_full = is_by_flow && most > 0 && self.ledger.len() as i64 >= most;
        let bytes = self.config.deliver_subject.len() + self.reply.len() + size;
        let Some(flow) = &mut self.push.flow else { return };
        if flow.count(bytes as u64, is_full) {
            self.ask_for_flow(desk);
        }
    }

    /// A client was pinned.
    fn pinned(&mut self, desk: &mut Desk<'_, '_>) {
        self.pin.since = desk.view.now.wall;
        self.extend_pin(desk.now());
        let group = self.pin.group.clone();
        self.tell_pinned(desk, &group);
    }

    /// The pinned client was heard of.
    pub(crate) fn extend_pin(&mut self, now: Time) {
        self.pin.until = now.after(Duration::from_nanos(self.config.pin_timeout.max(0) as u64));
    }
}

/// May a request have the next message?
enum Fitness {
    Fits,
    /// Not now.
    Later,
    /// Not any more, for this reason.
    Over(&'static str),
}

impl Waiter {
    fn fits_pin(&self, pin: &str) -> Fitness {
        let own = self.pin();
        if own.is_empty() && !pin.is_empty() {
            Fitness::Later
        } else if own == pin {
            Fitness::Fits
        } else {
            Fitness::Over("423 Nats-Wrong-Pin-Id")
        }
    }

    fn fits_overflow(&self, pending: i64, outstanding: i64) -> Fitness {
        let Some(group) = &self.group else { return Fitness::Fits };
        let is_free = group.min_pending <= 0 && group.min_ack_pending <= 0;
        let is_due = (1..=pending).contains(&group.min_pending)
            || (1..=outstanding).contains(&group.min_ack_pending);
        if is_free || is_due { Fitness::Fits } else { Fitness::Later }
    }
}

/// The way out while the store is borrowed.
struct Post<'p> {
    parcel: &'p mut Parcel,
    out: &'p mut dyn Outlet,
    account: AccountId,
}

impl Post<'_> {
    /// Hands a stored message to the subscribers of `route`. False if there are none.
    fn send(&mut self, consumer: &Consumer, route: &[u8], stored: &Stored<'_>) -> bool {
        let is_pinned = consumer.config.priority_policy == PriorityPolicy::PinnedClient;
        if !consumer.config.headers_only && !is_pinned {
            let message = Message {
                subject: stored.subject,
                reply: &consumer.reply,
                header: stored.header,
                tail: stored.tail,
                sizes_bytes: stored.sizes_bytes,
            };
            return self.out.deliver(self.account, route, &message);
        }
        self.parcel.clear().block(stored.header_block());
        if consumer.config.headers_only {
            self.parcel.number("Nats-Msg-Size", stored.payload().len() as u64);
        } else {
            self.parcel.body(stored.payload());
        }
        if is_pinned {
            self.parcel.line("Nats-Pin-Id", consumer.pin.id.as_bytes());
        }
        let message = self.parcel.message(stored.subject, &consumer.reply);
        self.out.deliver(self.account, route, &message)
    }
}
