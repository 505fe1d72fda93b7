//! What consumers do once a turn.

use std::cmp::Reverse;

use base::{
    Time,
    limits::{CONSUMER_TURN_BYTES, CONSUMER_TURN_MESSAGES, CONSUMERS_TURN_BYTES},
};

use super::{
    Consumers,
    cursor::Consumer,
    delivery::{Budget, Halt},
    desk::Desk,
};

/// What is to become of a consumer after its turn.
struct After {
    halt: Halt,
    due: Time,
    /// Has it been without a client for too long?
    is_over: bool,
}

impl Consumers {
    pub(super) fn run(&mut self, desk: &mut Desk<'_, '_>) {
        self.follow_interest(desk);
        self.wake(desk.now());
        let mut bytes = CONSUMERS_TURN_BYTES;
        for _ in 0..self.marked.len() {
            if bytes == 0 {
                break;
            }
            let Some(place) = self.marked.pop_front() else { break };
            self.seats.get_mut(place).is_marked = false;
            let share = bytes.min(CONSUMER_TURN_BYTES);
            let mut budget = Budget { messages: CONSUMER_TURN_MESSAGES, bytes: share };
            let after = self.consumer(place).turn(desk, &mut budget);
            bytes -= share - budget.bytes;
            self.conclude(desk, place, &after);
        }
    }

    /// Looks again who listens, if that changed anywhere.
    fn follow_interest(&mut self, desk: &mut Desk<'_, '_>) {
        let version = desk.out.interest_version();
        if std::mem::replace(&mut self.interest_version, version) == version {
            return;
        }
        for place in self.places() {
            if self.consumer(place).look_for_interest(desk) {
                self.mark(place);
            }
        }
    }

    /// Marks those whose time has come, or who wait for the disk.
    fn wake(&mut self, now: Time) {
        for place in std::mem::take(&mut self.waiting) {
            if std::mem::take(&mut self.seats.get_mut(place).is_waiting) {
                self.mark(place);
            }
        }
        while let Some(Reverse((due, place))) = self.agenda.peek().copied() {
            if due > now {
                break;
            }
            self.agenda.pop();
            let seat = self.seats.get_mut(place);
            if seat.consumer.is_some() && seat.scheduled == Some(due) {
                seat.scheduled = None;
                self.mark(place);
            }
        }
    }

    fn conclude(&mut self, desk: &mut Desk<'_, '_>, place: u32, after: &After) {
        if after.is_over {
            return self.delete(desk, place);
        }
        let is_waiting = after.halt == Halt::Reading || self.consumer(place).is_awaited();
        let seat = self.seats.get_mut(place);
        if is_waiting && !std::mem::replace(&mut seat.is_waiting, true) {
            self.waiting.push(place);
        }
        if after.halt == Halt::Empty && !std::mem::replace(&mut seat.is_hungry, true) {
            self.hungry.push(place);
        }
        if after.due < seat.scheduled.unwrap_or(Time::NEVER) {
            seat.scheduled = Some(after.due);
            self.agenda.push(Reverse((after.due, place)));
        }
        if after.halt == Halt::Spent {
            self.mark(place);
        }
    }
}

impl Consumer {
    fn turn(&mut self, desk: &mut Desk<'_, '_>, budget: &mut Budget) -> After {
        self.tell_lost(desk);
        self.beat(desk);
        self.expire(desk);
        self.check_pin_timeout(desk);
        let halt = self.deliver(desk, budget);
        if !self.waiting.is_empty() && halt != Halt::Spent {
            let is_at_end = !matches!(halt, Halt::Full | Halt::Reading | Halt::Until(_));
            if self.waiting.next_due() <= desk.now() || (is_at_end && self.waiting.has_no_wait()) {
                self.look_after_requests(desk, is_at_end);
            }
        }
        self.settle(desk);
        let (is_over, inactive_at) = self.inactivity(desk);
        After { halt, due: self.next_due(halt).min(inactive_at), is_over }
    }

    fn next_due(&self, halt: Halt) -> Time {
        let halted = match halt {
            Halt::Until(time) => time,
            _ => Time::NEVER,
        };
        let pin = if self.pin.id.is_empty() { Time::NEVER } else { self.pin.until };
        self.notes
            .next_due()
            .min(self.ledger.next_due(&self.waits))
            .min(self.waiting.next_due())
            .min(self.push.next_heartbeat)
            .min(pin)
            .min(halted)
    }

    /// A client was heard of.
    pub(super) fn heard(&mut self, now: Time) {
        self.last_active = now;
        if !self.push.is_active {
            self.push.inactive_since = now;
        }
    }

    /// Has the consumer been without a client for too long? If not, when to look again.
    fn inactivity(&mut self, desk: &mut Desk<'_, '_>) -> (bool, Time) {
        let Some(threshold) = self.threshold else { return (false, Time::NEVER) };
        let now = desk.now();
        if self.config.is_push() {
            if self.push.is_active {
                return (false, Time::NEVER);
            }
            let end = self.push.inactive_since.after(threshold);
            return (end <= now, end);
        }
        let end = self.last_active.after(threshold);
        if end > now {
            return (false, end);
        }
        self.look_after_requests(desk, true);
        if !self.waiting.is_empty() {
            return (false, now.after(threshold));
        }
        // Somebody may still be at work on what was delivered.
        let at_work = self.ledger.iter().filter_map(|entry| {
            let wait = self.waits.after(entry.deliveries)?;
            Some(entry.since.after(wait).after(threshold))
        });
        let end = at_work.max().unwrap_or(end).max(self.last_active.after(threshold));
        (end <= now, end)
    }
}
