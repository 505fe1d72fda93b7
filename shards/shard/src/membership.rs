//! A connection belongs to an account, and what follows from that: its limits, whether what it
//! publishes is mapped, and whether there is room for it.
//!
//! How many connections an account has is known to one core, the first, and only for accounts that
//! have a limit of them. A connection of such an account asks there for a place and waits for the
//! answer before anything else of it is read; when it ends it gives the place back.

use base::{AccountId, ConnectionId, CoreId, Slot};
use session::Reason;

use crate::frame;
use crate::shard::{PAUSED_BY_CLAIM, Shard};

/// The core that counts.
const COUNTER: CoreId = CoreId(0);

/// What comes of a connection's wish to belong to an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    Granted,
    Refused,
    /// The core that counts is being asked.
    Waits,
}

impl Shard {
    /// Makes a connection one of an account, with the limits that are in force now.
    pub(crate) fn join(&mut self, slot: Slot, account: AccountId) {
        let known = self.config.accounts.get(account);
        let connection = self.wires.connections.get_mut(slot.0);
        connection.account = account;
        connection.maps = !known.mappings.is_empty();
        let payload = known.limits.payload.map_or(usize::MAX, |limit| limit as usize);
        connection.max_payload = payload.min(self.config.max_payload);
        let server = Some(self.config.max_subscriptions).filter(|limit| *limit > 0);
        let own = known.limits.subscriptions.map(|limit| limit as usize);
        connection.max_subscriptions = server.into_iter().chain(own).min();
    }

    /// Takes a place among the connections of the account that a connection belongs to.
    pub(crate) fn claim(&mut self, slot: Slot) -> Claim {
        let connection = self.wires.get(slot);
        let (account, id) = (connection.account, connection.id);
        if self.config.accounts.get(account).limits.connections.is_none() {
            return Claim::Granted;
        }
        if self.core == COUNTER {
            let granted = self.take_place(account);
            self.wires.get_mut(slot).counted = granted.then_some(account);
            return if granted { Claim::Granted } else { Claim::Refused };
        }
        self.outboxes.append(COUNTER, |out| frame::put_claim(out, account, slot, id));
        self.pause(slot, PAUSED_BY_CLAIM);
        Claim::Waits
    }

    /// Another core asks for a place for one of its connections.
    pub(crate) fn on_claim(&mut self, core: CoreId, account: AccountId, slot: Slot, id: ConnectionId) {
        let granted = self.take_place(account);
        self.outboxes.append(core, |out| frame::put_verdict(out, account, slot, id, granted));
    }

    /// The core that counts has answered.
    pub(crate) fn on_verdict(
        &mut self,
        account: AccountId,
        slot: Slot,
        id: ConnectionId,
        granted: bool,
    ) {
        let found = self.wires.connections.places_from(slot.0).next();
        let waits = found.is_some_and(|(place, found)| {
            place == slot.0 && found.id == id && found.is_open() && found.account == account
        });
        if !waits {
            if granted {
                self.give_place(account);
            }
            return;
        }
        self.resume(slot, PAUSED_BY_CLAIM);
        if granted {
            self.wires.get_mut(slot).counted = Some(account);
            self.welcome(slot);
        } else {
            self.refuse_place(slot);
        }
    }

    /// A connection has ended, or belongs to another account from now on.
    pub(crate) fn leave_account(&mut self, slot: Slot) {
        if let Some(account) = self.wires.get_mut(slot).counted.take() {
            self.give_place(account);
        }
    }

    pub(crate) fn refuse_place(&mut self, slot: Slot) {
        const TEXT: &str = "maximum account active connections exceeded";
        self.log_for(crate::Level::Error, slot, TEXT);
        self.wires.write_error(slot, TEXT);
        self.wires.end(slot, Reason::MaxAccountConnectionsExceeded);
    }

    fn take_place(&mut self, account: AccountId) -> bool {
        let limit = self.config.accounts.accounts.get(account.index());
        let limit = limit.and_then(|account| account.limits.connections).unwrap_or(u64::MAX);
        let taken = self.taken_places(account);
        let granted = u64::from(*taken) < limit;
        *taken += u32::from(granted);
        granted
    }

    fn give_place(&mut self, account: AccountId) {
        if self.core == COUNTER {
            self.on_place_given(account, 1);
        } else {
            self.outboxes.append(COUNTER, |out| frame::put_places(out, account, false, 1));
        }
    }

    /// So many places of an account are free again.
    pub(crate) fn on_place_given(&mut self, account: AccountId, count: u32) {
        let taken = self.taken_places(account);
        assert!(*taken >= count, "no more places are given back than were taken");
        *taken -= count;
    }

    /// So many connections of an account have been there since before it had a limit.
    pub(crate) fn on_places_held(&mut self, account: AccountId, count: u32) {
        *self.taken_places(account) += count;
    }

    fn taken_places(&mut self, account: AccountId) -> &mut u32 {
        let places = &mut self.places;
        places.resize(places.len().max(account.index() + 1), 0);
        &mut places[account.index()]
    }

    /// Counts the connections of an account that has a limit from now on.
    pub(crate) fn count_members(&mut self, account: AccountId) {
        let mut count = 0;
        for slot in self.open_slots() {
            let connection = self.wires.get_mut(slot);
            let uncounted = connection.counted.is_none() && connection.connected;
            if connection.account == account && uncounted && !connection.awaits_connect {
                connection.counted = Some(account);
                count += 1;
            }
        }
        if self.core == COUNTER {
            self.on_places_held(account, count);
        } else if count > 0 {
            self.outboxes.append(COUNTER, |out| frame::put_places(out, account, true, count));
        }
    }
}
