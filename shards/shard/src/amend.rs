//! Accounts that are found, or become others, while the server runs (spec 3.4).
//!
//! Whoever shows a token of an account that this core does not know waits, with what they sent
//! behind CONNECT, while it is looked for elsewhere: [`crate::Effects::sought`] asks, and
//! [`Shard::answer`] says that all that is to be known of it is. What was found comes before that,
//! by [`Shard::amend`] on every core: whoever comes in finds their account wherever they ask.

use std::collections::HashMap;

use accounts::{Account, Amendment, Trusted};
use base::{AccountId, ConnectionId, Slot};
use session::admission::{Denial, Verdict};
use session::{Occasion, Pending, Reason};

use crate::effects::Level;
use crate::shard::{PAUSED_BY_PROOF, Shard};

/// Connections that wait for accounts, with the number of what they claim.
#[derive(Debug, Default)]
pub(crate) struct Seekers(HashMap<String, Vec<(Slot, ConnectionId, u64)>>);

/// An account as it was before it became another.
struct Former {
    place: AccountId,
    account: Account,
    trusted: Option<Trusted>,
}

impl Shard {
    /// Lets a connection wait until more is known about an account.
    pub(crate) fn seek(&mut self, slot: Slot, account: String, occasion: Occasion) {
        self.claims += 1;
        let number = self.claims;
        let connection = self.wires.get_mut(slot);
        let seeker = (slot, connection.id, number);
        let proof = accounts::Proof::default();
        let pending = Pending { number, ..Pending::granted(None, proof, occasion) };
        connection.pending = Some(Box::new(pending));
        let seekers = self.seekers.0.entry(account.clone()).or_default();
        seekers.push(seeker);
        if seekers.len() == 1 {
            self.effects.sought.push(account);
        }
        self.pause(slot, PAUSED_BY_PROOF);
    }

    /// Puts in force what became known about accounts. Connections of other accounts notice
    /// nothing; [`crate::Effects::reconfigured`] says when it holds for everyone.
    pub fn amend(&mut self, amendment: &Amendment) {
        self.reconfigurations += 1;
        let places = amendment.accounts.iter().map(|one| one.place);
        let former: Vec<Former> = places.map(|place| self.former(place)).collect();
        self.config.accounts.amend(amendment);
        let operator = self.config.auth.operator.as_mut();
        let operator = operator.expect("accounts change one by one only where operators are");
        operator.amend(amendment);
        let before: Vec<(AccountId, &Account)> =
            former.iter().map(|former| (former.place, &former.account)).collect();
        self.change_accounts(&before);
        for former in &former {
            self.review_members(former);
        }
        self.settle();
        self.reconfigured_at = Some(self.outboxes.positions());
    }

    /// An account as it is now, before it becomes another.
    fn former(&self, place: AccountId) -> Former {
        let account = self.config.accounts.accounts.get(place.index());
        let account = account.cloned().unwrap_or_default();
        let operator = self.config.auth.operator.as_ref();
        let trusted = operator.and_then(|operator| operator.accounts.get(&account.name)).cloned();
        Former { place, account, trusted }
    }

    /// Asks the members of an account anew what they may do, as far as that is another.
    fn review_members(&mut self, former: &Former) {
        let account = self.config.accounts.get(former.place);
        let same_limits = account.limits == former.account.limits
            && account.mappings.is_empty() == former.account.mappings.is_empty();
        let operator = self.config.auth.operator.as_ref();
        let trusted = operator.and_then(|operator| operator.accounts.get(&account.name));
        let alike = match (trusted, &former.trusted) {
            (Some(now), Some(before)) => now.judges_alike(before),
            (None, None) => true,
            _ => false,
        };
        if same_limits && alike {
            return;
        }
        let before = former.trusted.as_ref();
        let altered = before.zip(trusted).map_or_else(Vec::new, |(before, now)| {
            now.altered_signers(before).map(str::to_owned).collect()
        });
        let mut members = self.open_slots();
        members.retain(|slot| self.wires.get(*slot).account == former.place);
        for slot in members {
            self.review(slot, alike, &altered);
        }
        self.settle();
    }

    fn review(&mut self, slot: Slot, alike: bool, altered: &[String]) {
        let limit = self.wires.get(slot).max_payload;
        self.join(slot, self.wires.get(slot).account);
        let grant = self.wires.get(slot).grant.as_ref();
        let signer = grant.and_then(|grant| grant.jwt.as_ref()).map(|jwt| &jwt.1);
        if signer.is_some_and(|signer| altered.contains(signer)) {
            // The reference says nothing: the client comes back, and learns then.
            self.wires.end(slot, Reason::AuthenticationFailure);
            return;
        }
        if !alike {
            self.check_again(slot);
        }
        if !self.is_open(slot) {
            return;
        }
        if self.wires.get(slot).has_too_many_subscriptions() {
            self.refuse_subscriptions(slot);
            return;
        }
        if limit != self.wires.get(slot).max_payload {
            self.send_info(slot);
        }
        self.arm(slot);
    }

    /// Cuts off somebody whose account has no room for a single subscription more.
    pub(crate) fn refuse_subscriptions(&mut self, slot: Slot) {
        const TEXT: &str = "maximum subscriptions exceeded";
        self.log_for(Level::Error, slot, TEXT);
        self.wires.write_error(slot, TEXT);
        self.wires.end(slot, Reason::MaxSubscriptionsExceeded);
    }

    /// The account of a connection is there no more.
    pub(crate) fn expire_account(&mut self, slot: Slot) {
        const TEXT: &str = "Account Authentication Expired";
        self.wires.write_error(slot, TEXT);
        self.log_for(Level::Debug, slot, TEXT);
        self.wires.end(slot, Reason::AuthenticationExpired);
    }

    /// What is to be known about accounts is known, on all cores: those who waited for them come in
    /// or stay out.
    pub fn answer(&mut self, keys: &[String]) {
        for key in keys {
            self.answer_seekers(key);
        }
        self.settle();
    }

    fn answer_seekers(&mut self, key: &str) {
        for (slot, id, number) in self.seekers.0.remove(key).unwrap_or_default() {
            let connection = self.wires.get_mut(slot);
            let waits = connection.pending.as_ref().is_some_and(|one| one.number == number);
            if connection.id != id || !waits || !connection.is_open() {
                continue;
            }
            let pending = connection.pending.take().expect("it was just looked at");
            if matches!(self.judge(slot), Verdict::Unknown(_)) {
                self.deny(slot, Denial::Credentials);
            } else {
                self.authenticate(slot, pending.occasion);
            }
            if self.wires.get(slot).pending.is_none() {
                self.resume(slot, PAUSED_BY_PROOF);
            }
        }
    }
}
