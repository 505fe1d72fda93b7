//! What only pull consumers have: requests, and the client that alone is served (spec 6.6).

use base::Time;
use wire::Message;

use super::{
    check::go_duration,
    config::PriorityPolicy,
    cursor::{Consumer, Pin},
    desk::Desk,
    waiting::{Ask, GroupAsk, PRIORITY_MAX},
};

impl Consumer {
    /// A client asks for messages.
    pub(crate) fn take_request(&mut self, desk: &mut Desk<'_, '_>, message: &Message<'_>) {
        if message.reply.is_empty() {
            return;
        }
        let body = message.body();
        let (header, rest) = body.split_at(message.header);
        if self.config.is_push() {
            desk.send_status(message.reply, "409 Consumer is push based");
        } else if super::header::needs_higher_level(header) {
            desk.send_status(message.reply, "412 Required Api Level");
        } else {
            self.ask_next(desk, message.reply, &rest[..rest.len() - 2]);
        }
    }

    /// As [`Self::take_request`]; also at the end of an acknowledgement.
    pub(crate) fn ask_next(&mut self, desk: &mut Desk<'_, '_>, reply: &[u8], body: &[u8]) {
        if reply.is_empty() {
            return;
        }
        if let Err(status) = self.admit(desk, reply, body) {
            desk.send_status(reply, &status);
        }
    }

    /// Puts a request among those that wait. The error is its status.
    fn admit(&mut self, desk: &mut Desk<'_, '_>, reply: &[u8], body: &[u8]) -> Result<(), String> {
        if self.config.is_push() {
            return Err("409 Consumer is push based".into());
        }
        let now = desk.now();
        let ask = Ask::read(body).map_err(|complaint| format!("400 Bad Request - {complaint}"))?;
        self.check_caps(&ask)?;
        if let Some(group) = &ask.group {
            self.check_group(group)?;
            if self.config.priority_policy != PriorityPolicy::None {
                self.check_pin(group, now)?;
            }
        }
        let is_full = |consumer: &Self| {
            let most = usize::try_from(consumer.config.max_waiting).unwrap_or(0);
            consumer.waiting.len() >= most
        };
        if is_full(self) {
            self.look_after_requests(desk, false);
        }
        if ask.no_wait {
            self.check_no_wait(desk, &ask)?;
        }
        if is_full(self) {
            // A client that expects signs of life notices by itself; told at once, it would only
            // ask again at once.
            let is_told = ask.heartbeat <= 0;
            return if is_told { Err("409 Exceeded MaxWaiting".into()) } else { Ok(()) };
        }
        self.last_active = now;
        self.waiting.add(ask, reply, now, self.config.priority_policy);
        Ok(())
    }

    fn check_caps(&self, ask: &Ask) -> Result<(), String> {
        let config = &self.config;
        if config.max_batch > 0 && ask.batch > config.max_batch {
            return Err(format!("409 Exceeded MaxRequestBatch of {}", config.max_batch));
        }
        if config.max_expires > 0 && ask.expires > config.max_expires {
            let limit = go_duration(config.max_expires);
            return Err(format!("409 Exceeded MaxRequestExpires of {limit}"));
        }
        if config.max_bytes > 0 && ask.max_bytes > config.max_bytes {
            return Err(format!("409 Exceeded MaxRequestMaxBytes of {}", config.max_bytes));
        }
        Ok(())
    }

    fn check_group(&self, group: &GroupAsk) -> Result<(), String> {
        let policy = self.config.priority_policy;
        let refused = |what: &str| Err(format!("400 Bad Request - {what}"));
        let has_minimum = group.min_pending != 0 || group.min_ack_pending != 0;
        if has_minimum && policy != PriorityPolicy::Overflow {
            return refused("Not a Overflow Priority consumer");
        }
        if !group.id.is_empty() && policy != PriorityPolicy::PinnedClient {
            return refused("Not a Pinned Client Priority consumer");
        }
        if !(0..=PRIORITY_MAX).contains(&group.priority) {
            return refused("Priority must be between 0 and 9");
        }
        if policy == PriorityPolicy::None {
            return Ok(());
        }
        if group.group.is_empty() {
            return refused("Priority Group missing");
        }
        if !self.config.priority_groups.contains(&group.group) {
            return refused("Invalid Priority Group");
        }
        Ok(())
    }

    fn check_pin(&mut self, group: &GroupAsk, now: Time) -> Result<(), String> {
        if self.pin.id.is_empty() || group.id.is_empty() {
            return Ok(());
        }
        if group.id != self.pin.id {
            return Err("423 Nats-Pin-Id mismatch".into());
        }
        self.extend_pin(now);
        Ok(())
    }

    /// Is there something for a request that does not want to wait?
    fn check_no_wait(&mut self, desk: &mut Desk<'_, '_>, ask: &Ask) -> Result<(), String> {
        let pending = self.pending(desk.view) + self.ledger.queued() as u64;
        if pending == 0 && ask.expires == 0 {
            self.last_active = desk.now();
            return Err("404 No Messages".into());
        }
        if pending > 0 {
            self.look_after_requests(desk, false);
            let asked: i64 = self.waiting.iter().map(|waiter| waiter.left).sum();
            if i64::try_from(pending).is_ok_and(|pending| pending < asked) {
                self.last_active = desk.now();
                return Err("408 Requests Pending".into());
            }
        }
        Ok(())
    }

    /// Ends requests that are over and shows those that wait that the consumer is alive. At the
    /// end of what there is, those that do not want to wait are over too.
    pub(crate) fn look_after_requests(&mut self, desk: &mut Desk<'_, '_>, is_at_end: bool) {
        let now = desk.now();
        let account = desk.view.core.account;
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.retain(|waiter| {
            if waiter.expires < now || (waiter.expires == now && waiter.expires != Time::NEVER) {
                let (left, bytes) = (waiter.left, waiter.bytes_left);
                desk.send_end(&waiter.reply, "408 Request Timeout", left, bytes);
                self.last_active = self.last_active.max(waiter.expires);
                return false;
            }
            let is_one_shot = waiter.expires == Time::NEVER || waiter.got > 0;
            if is_at_end && waiter.no_wait && is_one_shot {
                desk.send_status(&waiter.reply, "404 No Messages");
                self.last_active = now;
                return false;
            }
            if !desk.out.is_wanted(account, &waiter.reply) {
                return false;
            }
            if waiter.next_heartbeat <= now {
                self.send_heartbeat(desk, &waiter.reply);
                waiter.next_heartbeat =
                    waiter.heartbeat.map_or(Time::NEVER, |wait| now.after(wait));
            }
            true
        });
        self.waiting = waiting;
    }

    /// The consumer goes: requests that wait are told.
    pub(crate) fn end_requests(&mut self, desk: &mut Desk<'_, '_>, status: &str) {
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.retain(|waiter| {
            desk.send_status(&waiter.reply, status);
            false
        });
    }

    /// The pinned client is not any more.
    pub(crate) fn unpin(&mut self, desk: &mut Desk<'_, '_>, group: &str, reason: &str) {
        self.pin = Pin::default();
        self.tell_unpinned(desk, group, reason);
    }

    /// Lets the pinned client go if it was silent for too long. True if it was.
    pub(crate) fn check_pin_timeout(&mut self, desk: &mut Desk<'_, '_>) -> bool {
        if self.pin.id.is_empty() || self.pin.until > desk.now() {
            return false;
        }
        let group = self.pin.group.clone();
        self.unpin(desk, &group, "timeout");
        true
    }
}
