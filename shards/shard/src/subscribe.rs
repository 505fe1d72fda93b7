//! Subscriptions come and go.

use base::{AccountId, ConnectionId, Slot};
use hashbrown::hash_table;
use subjects::{SubId, grammar};

use crate::effects::Level;
use crate::shard::Shard;

/// Subscriptions of ended connections that are taken back per turn: at about 300 ns each this keeps
/// a turn within a millisecond, however many a connection had.
const REAPED_PER_TURN: usize = 2048;

/// A connection whose subscriptions are being taken back.
#[derive(Debug)]
pub(crate) struct Reaping {
    slot: Slot,
    id: ConnectionId,
    subscriptions: hash_table::IntoIter<u32>,
    /// Has the reactor closed the socket?
    closed: bool,
}

impl Shard {
    pub(crate) fn subscribe(&mut self, slot: Slot, subject: &[u8], queue: &[u8], sid: &[u8]) {
        self.wires.get_mut(slot).liveness.last_input = self.now;
        if let Err(error) = self.may_subscribe(slot, subject, queue) {
            self.log_for(Level::Error, slot, &error);
            self.wires.write_error(slot, &error);
            return;
        }
        let connection = self.wires.connections.get(slot.0);
        let known = connection.subscription(sid, &self.spaces.subscriptions).is_some();
        let account = connection.account;
        if !known
            && let Err(subjects::InvalidSubject) = self.add(slot, account, subject, queue, sid)
        {
            self.wires.write_error(slot, "Invalid Subject");
            return;
        }
        self.acknowledge(slot);
    }

    fn may_subscribe(&mut self, slot: Slot, subject: &[u8], queue: &[u8]) -> Result<(), String> {
        self.check_subscribe_right(slot, subject, queue)?;
        let tokens = self.config.max_sub_tokens;
        if tokens > 0 && grammar::tokens(subject).count() > tokens {
            let subject = crate::trace::quoted(subject);
            return Err(format!(
                "Permissions Violation for Subscription to {subject}, too many tokens"
            ));
        }
        let connection = self.wires.get(slot);
        if connection.max_subscriptions.is_some_and(|max| connection.subscriptions.len() >= max) {
            return Err("maximum subscriptions exceeded".into());
        }
        Ok(())
    }

    pub(crate) fn add(
        &mut self,
        slot: Slot,
        account: AccountId,
        subject: &[u8],
        queue: &[u8],
        sid: &[u8],
    ) -> Result<(), subjects::InvalidSubject> {
        let (id, change) = self.spaces.subscribe(account, slot, sid, subject, queue)?;
        let connection = self.wires.connections.get_mut(slot.0);
        connection.add_subscription(sid, id, &self.spaces.subscriptions);
        self.announce(account, &change);
        self.cast_shadows(slot, account, id, (subject, queue, sid));
        Ok(())
    }

    pub(crate) fn unsubscribe(&mut self, slot: Slot, sid: &[u8], max: Option<u64>) {
        let connection = self.wires.connections.get_mut(slot.0);
        connection.liveness.last_input = self.now;
        if let Some(id) = connection.subscription(sid, &self.spaces.subscriptions) {
            let subscriptions = &mut self.spaces.subscriptions;
            match max {
                Some(max) if max > subscriptions.get(id).delivered() => {
                    subscriptions.set_max(id, max);
                }
                _ => self.remove(slot, id),
            }
        }
        self.acknowledge(slot);
    }

    /// Ends one subscription of an open connection.
    pub(crate) fn remove(&mut self, slot: Slot, id: SubId) {
        let connection = self.wires.connections.get_mut(slot.0);
        connection.remove_subscription(id, &self.spaces.subscriptions);
        self.withdraw(id);
    }

    /// Ends a subscription that its connection has forgotten.
    fn withdraw(&mut self, id: SubId) {
        self.take_shadows(id);
        let awaits = self.responses.len() > 0;
        let pattern = if awaits { self.spaces.describe(id).0.to_vec() } else { Vec::new() };
        let (account, change) = self.spaces.unsubscribe(id);
        self.announce(account, &change);
        if awaits {
            self.forget_responses(account, &pattern);
        }
    }

    /// Ends all subscriptions of a connection that goes on, before a second CONNECT.
    pub(crate) fn remove_all(&mut self, slot: Slot) {
        let taken = std::mem::take(&mut self.wires.get_mut(slot).subscriptions);
        for id in taken {
            self.withdraw(SubId(id));
        }
    }

    /// Begins to take back the subscriptions of a connection that ended.
    pub(crate) fn start_reaping(&mut self, slot: Slot) {
        let connection = self.wires.get_mut(slot);
        let subscriptions = std::mem::take(&mut connection.subscriptions).into_iter();
        let id = connection.id;
        self.reaping.push(Reaping { slot, id, subscriptions, closed: false });
    }

    /// The reactor has closed the connection.
    pub(crate) fn note_closed(&mut self, slot: Slot) {
        let id = self.wires.get(slot).id;
        match self.reaping.iter_mut().find(|reaping| reaping.id == id) {
            Some(reaping) => reaping.closed = true,
            None => self.release(slot),
        }
    }

    /// Takes back a bounded number of subscriptions of connections that ended.
    pub(crate) fn reap(&mut self) {
        let mut left = REAPED_PER_TURN;
        let mut reaping = std::mem::take(&mut self.reaping);
        while left > 0
            && let Some(current) = reaping.last_mut()
        {
            while left > 0
                && let Some(id) = current.subscriptions.next()
            {
                left -= 1;
                self.withdraw(SubId(id));
            }
            if left > 0 {
                let (slot, closed) = (current.slot, current.closed);
                reaping.pop();
                if closed {
                    self.release(slot);
                }
            }
        }
        assert!(self.reaping.is_empty(), "taking back subscriptions ends no connection");
        self.reaping = reaping;
    }

    fn acknowledge(&mut self, slot: Slot) {
        if self.wires.get(slot).options.verbose {
            self.trace_out(slot, "OK", b"");
            self.wires.write(slot, b"+OK\r\n");
        }
    }
}
