//! A connection belongs to an account, and what follows from that: its limits, whether what it
//! publishes is mapped, and whether there is room for it.
//!
//! How many connections an account has is known to one core, the first, and only for accounts that
//! have a limit of them. A connection of such an account asks there for a *seat* and waits for the
//! answer before anything else of it is read; when it ends it gives the seat back.

use base::{AccountId, ConnectionId, CoreId, Slot};
use session::Reason;

use crate::frame;
use crate::shard::{PAUSED_BY_SEAT, Shard};

/// The core that counts.
const COUNTER: CoreId = CoreId(0);

/// What comes of a connection's wish to belong to an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seat {
    Granted,
    Refused,
    /// The core that counts is being asked.
    Awaited,
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

    /// Takes a seat in the account that a connection belongs to.
    pub(crate) fn take_seat(&mut self, slot: Slot) -> Seat {
        let connection = self.wires.get(slot);
        let (account, id) = (connection.account, connection.id);
        if self.config.accounts.get(account).limits.connections.is_none() {
            return Seat::Granted;
        }
        if self.core == COUNTER {
            let granted = self.count_in(account);
            self.wires.get_mut(slot).counted = granted.then_some(account);
            return if granted { Seat::Granted } else { Seat::Refused };
        }
        self.outboxes.append(COUNTER, |out| frame::put_seat_wish(out, account, slot, id));
        self.pause(slot, PAUSED_BY_SEAT);
        Seat::Awaited
    }

    /// Another core asks for a seat for one of its connections.
    pub(crate) fn on_seat_wish(
        &mut self,
        core: CoreId,
        account: AccountId,
        slot: Slot,
        id: ConnectionId,
    ) {
        let granted = self.count_in(account);
        self.outboxes.append(core, |out| frame::put_seat_answer(out, account, slot, id, granted));
    }

    /// The core that counts has answered.
    pub(crate) fn on_seat_answer(
        &mut self,
        account: AccountId,
        slot: Slot,
        id: ConnectionId,
        granted: bool,
    ) {
        let found = self.wires.connections.places_from(slot.0).next();
        let waits = found.is_some_and(|(place, found)| {
            let asks = found.is_open() && found.seeks.is_some() && found.account == account;
            place == slot.0 && found.id == id && asks
        });
        // One that has asked again meanwhile is answered again.
        if !waits {
            if granted {
                self.give_seat_back(account);
            }
            return;
        }
        self.resume(slot, PAUSED_BY_SEAT);
        if granted {
            let connection = self.wires.get_mut(slot);
            connection.counted = Some(account);
            let occasion =
                connection.seeks.take().expect("who asked for a seat is about to come in");
            self.come_in(slot, occasion);
        } else {
            self.refuse_seat(slot);
        }
    }

    /// A connection has ended, or belongs to another account from now on.
    pub(crate) fn leave_account(&mut self, slot: Slot) {
        if let Some(account) = self.wires.get_mut(slot).counted.take() {
            self.give_seat_back(account);
        }
    }

    pub(crate) fn refuse_seat(&mut self, slot: Slot) {
        const TEXT: &str = "maximum account active connections exceeded";
        self.log_for(crate::Level::Error, slot, TEXT);
        self.wires.write_error(slot, TEXT);
        self.wires.end(slot, Reason::MaxAccountConnectionsExceeded);
    }

    fn count_in(&mut self, account: AccountId) -> bool {
        let limit = self.config.accounts.accounts.get(account.index());
        let limit = limit.and_then(|account| account.limits.connections).unwrap_or(u64::MAX);
        let taken = self.seats_taken(account);
        let granted = u64::from(*taken) < limit;
        *taken += u32::from(granted);
        granted
    }

    fn give_seat_back(&mut self, account: AccountId) {
        if self.core == COUNTER {
            self.on_seats_free(account, 1);
        } else {
            self.outboxes.append(COUNTER, |out| frame::put_seats(out, account, false, 1));
        }
    }

    /// So many seats of an account are free again.
    pub(crate) fn on_seats_free(&mut self, account: AccountId, count: u32) {
        let taken = self.seats_taken(account);
        assert!(*taken >= count, "no more seats are given back than were taken");
        *taken -= count;
    }

    /// So many connections of an account have been there since before it had a limit.
    pub(crate) fn on_seats_held(&mut self, account: AccountId, count: u32) {
        *self.seats_taken(account) += count;
    }

    fn seats_taken(&mut self, account: AccountId) -> &mut u32 {
        let seats = &mut self.seats;
        seats.resize(seats.len().max(account.index() + 1), 0);
        &mut seats[account.index()]
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
            self.on_seats_held(account, count);
        } else if count > 0 {
            self.outboxes.append(COUNTER, |out| frame::put_seats(out, account, true, count));
        }
    }
}
