//! Who comes in, as whom, and who has to go when the rules change (spec 3.1, 3.2).
//!
//! What takes longer than a core has is proven elsewhere: [`crate::Effects::proofs`] asks for it
//! and [`Shard::proven`] brings the answer. Until then the connection is nobody, and what it sent
//! behind CONNECT waits in its order. One that is in already keeps its old rights until its new
//! ones are proven, and a reload is not over before.

use std::rc::Rc;

use accounts::callout::CALLOUT_SUBJECT;
use accounts::{Auth, Grant, Outcome, Proof, Referral, Rights, Rules};
use base::{ConnectionId, Slot};
use session::admission::{self, Denial, Verdict, Way};
use session::handshake::{self, Identity, Refusal};
use session::{Connection, Occasion, Pending, Reason};
use subjects::SubId;

use crate::effects::Level;
use crate::membership::Seat;
use crate::shard::{PAUSED_BY_PROOF, Shard};

/// Something to be proven, and for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The connection.
    pub slot: Slot,
    /// Which it was; the slot may be another's when the answer comes.
    pub id: ConnectionId,
    /// Which of its claims this is.
    pub number: u64,
    /// What is to be proven.
    pub proof: Proof,
}

impl Shard {
    pub(crate) fn connect(&mut self, slot: Slot, json: &[u8]) {
        let connection = self.wires.connections.get_mut(slot.0);
        connection.liveness.auth_due = base::Time::NEVER;
        connection.liveness.on_connect(connection.opened, self.now);
        let interval = self.config.ping_interval;
        connection.liveness.set_first_ping(interval, self.now, &mut self.random);
        let first = !std::mem::replace(&mut connection.connected, true);
        let mut options = connection.options;
        let mut identity = connection.identity.take().unwrap_or_default();
        let read = handshake::read(json, &mut options, &mut identity);
        if let Some(entrance) = &connection.entrance {
            identity.fill_in(&entrance.cookies);
        }
        options.headers &= self.config.headers;
        connection.options = options;
        connection.identity = Some(identity);
        if !first {
            self.remove_all(slot);
        }
        self.arm(slot);
        match read {
            Ok(()) => self.authenticate(slot, Occasion::Connect { first }),
            Err(refusal) => self.refuse_connect(slot, refusal),
        }
    }

    /// A connection says something before CONNECT although it has to say who it is: it is in if
    /// those who say nothing are somebody.
    pub(crate) fn admit_unasked(&mut self, slot: Slot) {
        let connection = self.wires.connections.get_mut(slot.0);
        let auth = &self.config.auth;
        let own = auth.websocket.as_ref().filter(|_| connection.is_websocket());
        let name = own.map_or("", |own| &own.no_auth_user);
        let name = if name.is_empty() { &auth.simple.no_auth_user } else { name };
        let user = auth.users.get(name).filter(|user| !user.proxy_required);
        if user.is_none_or(|user| !user.kinds.allow(connection.kind())) {
            self.violate_authorization(slot, Reason::AuthenticationFailure);
            return;
        }
        connection.liveness.auth_due = base::Time::NEVER;
        connection.connected = true;
        connection.identity.get_or_insert_default();
        self.authenticate(slot, Occasion::Unasked);
    }

    pub(crate) fn authenticate(&mut self, slot: Slot, occasion: Occasion) {
        match self.judge(slot) {
            Verdict::Granted(grant, proof) if proof.is_empty() => {
                self.let_in(slot, Pending::granted(grant, proof, occasion), None);
            }
            Verdict::Granted(grant, proof) => self.claim(slot, grant, proof, occasion),
            Verdict::Referred(referral, proof) => {
                self.refer_once_proven(slot, referral, proof, occasion);
            }
            Verdict::Refused(denial) => self.deny(slot, denial),
            Verdict::Unknown(account) => self.seek(slot, account, occasion),
        }
    }

    /// Asks somebody else, as soon as all is proven that comes before.
    fn refer_once_proven(
        &mut self,
        slot: Slot,
        referral: Box<Referral>,
        proof: Proof,
        occasion: Occasion,
    ) {
        if proof.is_empty() {
            self.refer(slot, referral, proof, occasion);
            return;
        }
        self.claim(slot, None, proof, occasion);
        let pending = self.wires.get_mut(slot).pending.as_mut().expect("it was just claimed");
        pending.referral = Some(referral);
    }

    pub(crate) fn judge(&self, slot: Slot) -> Verdict {
        self.look_at(slot, |identity, way| admission::judge(identity, &self.config.auth, way))
    }

    fn look_at<T>(&self, slot: Slot, look: impl FnOnce(&Identity, &Way<'_>) -> T) -> T {
        let connection = self.wires.get(slot);
        let identity = connection.identity.as_ref().expect("CONNECT came before");
        let needs_nonce = self.config.auth.needs_nonce();
        let nonce = if needs_nonce { self.nonce(connection) } else { String::new() };
        let way = Way {
            kind: connection.kind(),
            nonce: &nonce,
            by_certificate: self.maps_certificates(connection),
            certificate: connection.certificate(),
            host: &connection.peer.host,
            now: self.wall,
            certificates_count: self.config.tls.as_ref().is_some_and(|tls| tls.map)
                || self.config.websocket.as_ref().is_some_and(|door| door.map),
        };
        look(identity, &way)
    }

    pub(crate) fn nonce(&self, connection: &Connection) -> String {
        session::nonce::nonce(&self.config.nonce_key.0, connection.id)
    }

    /// Does the certificate say who this is?
    fn maps_certificates(&self, connection: &Connection) -> bool {
        if connection.is_websocket() {
            return self.config.websocket.as_ref().is_some_and(|door| door.map);
        }
        self.config.tls.as_ref().is_some_and(|tls| tls.map)
    }

    pub(crate) fn claim(
        &mut self,
        slot: Slot,
        grant: Option<Box<Grant>>,
        proof: Proof,
        occasion: Occasion,
    ) {
        self.claims += 1;
        let number = self.claims;
        let connection = self.wires.get_mut(slot);
        let id = connection.id;
        let claim = Claim { slot, id, number, proof: proof.clone() };
        let pending = Pending { number, ..Pending::granted(grant, proof, occasion) };
        connection.pending = Some(Box::new(pending));
        self.effects.proofs.push(claim);
        if occasion == Occasion::Reload {
            self.rechecking = true;
        } else {
            self.pause(slot, PAUSED_BY_PROOF);
        }
    }

    /// A claim that was among [`crate::Effects::proofs`] has been looked at. An answer that comes
    /// after its connection is gone, or has claimed something else, is of no interest.
    pub fn proven(&mut self, slot: Slot, id: ConnectionId, number: u64, outcome: Outcome) {
        let connection = self.wires.get_mut(slot);
        let current = connection.pending.as_ref().is_some_and(|pending| pending.number == number);
        if connection.id != id || !current || !connection.is_open() {
            return;
        }
        let mut pending = connection.pending.take().expect("it was just looked at");
        let referral = match outcome {
            Outcome::Right(_) => pending.referral.take(),
            Outcome::Wrong => self.second_opinion(slot, &pending),
            Outcome::UntrustedProxy => None,
        };
        if let Some(referral) = referral {
            let Pending { mut proof, occasion, .. } = *pending;
            proof.password = None;
            proof.signatures = Vec::new();
            self.refer(slot, referral, proof, occasion);
            return;
        }
        match outcome {
            Outcome::Right(proxy) => self.let_in(slot, *pending, proxy),
            Outcome::Wrong => self.deny(slot, Denial::Credentials),
            Outcome::UntrustedProxy => self.deny(slot, Denial::UntrustedProxy),
        }
        self.resume(slot, PAUSED_BY_PROOF);
        self.settle();
    }

    /// Whom to ask about somebody whose own words proved to be wrong.
    fn second_opinion(&self, slot: Slot, pending: &Pending) -> Option<Box<Referral>> {
        let vouched = pending.grant.as_ref().is_some_and(|grant| grant.vouched);
        if vouched || pending.referral.is_some() {
            return None;
        }
        let auth = &self.config.auth;
        let ask = |identity: &Identity, way: &Way<'_>| {
            admission::second_opinion(identity, auth, way).map(Box::new)
        };
        self.look_at(slot, ask)
    }

    fn let_in(&mut self, slot: Slot, mut pending: Pending, proxy: Option<String>) {
        if let Some(grant) = &mut pending.grant {
            self.shield_questions(grant);
            let moved = grant.account != self.wires.get(slot).account;
            if moved && pending.occasion == Occasion::Reload {
                // Whoever decides has put it elsewhere: it comes back, and is there then.
                self.wires.end(slot, Reason::ClientClosed);
                return;
            }
        }
        let rules = pending.grant.as_deref_mut().and_then(|grant| self.rules_of(grant));
        self.wires.get_mut(slot).grant = pending.grant;
        self.give_rights(slot, rules, pending.occasion);
        let connection = self.wires.connections.get_mut(slot.0);
        connection.proxy_key = proxy.unwrap_or_default();
        let expires = connection.grant.as_ref().and_then(|grant| grant.expires);
        connection.liveness.expires_due = expires.map_or(base::Time::NEVER, |at| {
            let left = u64::try_from(at.0 - self.wall.0).unwrap_or(0);
            self.now.after(base::Duration::from_nanos(left))
        });
        let empty = pending.proof.is_empty();
        connection.proven = (!empty).then(|| Box::new(pending.proof));
        if pending.occasion == Occasion::Reload {
            self.remove_forbidden(slot);
            self.arm(slot);
            return;
        }
        self.leave_account(slot);
        match self.take_seat(slot) {
            Seat::Granted => self.come_in(slot, pending.occasion),
            Seat::Refused => self.refuse_seat(slot),
            Seat::Awaited => self.wires.get_mut(slot).seeks = Some(pending.occasion),
        }
    }

    /// Nobody may ask in the server's name those who decide who comes in.
    fn shield_questions(&self, grant: &mut Grant) {
        let auth = &self.config.auth;
        let name = &self.config.accounts.get(grant.account).name;
        let by_file = auth.callout.as_ref();
        let asked = by_file.is_some_and(|callout| callout.referral.account == grant.account)
            || auth.operator.as_ref().is_some_and(|operator| operator.refers_in(name));
        if asked {
            let permissions = grant.permissions.get_or_insert_default();
            permissions.publish.deny.push(CALLOUT_SUBJECT.to_owned());
        }
    }

    /// All that was to be known about a connection is known.
    pub(crate) fn come_in(&mut self, slot: Slot, occasion: Occasion) {
        if occasion != Occasion::Reload && self.wires.get(slot).has_too_many_subscriptions() {
            self.refuse_subscriptions(slot);
            return;
        }
        match occasion {
            Occasion::Connect { first } => self.finish_connect(slot, first),
            Occasion::Unasked => self.wires.get_mut(slot).awaits_connect = false,
            Occasion::Reload => {}
        }
        self.arm(slot);
    }

    /// Puts a connection in its account, with what it may do there.
    fn give_rights(&mut self, slot: Slot, rules: Option<Rc<Rules>>, occasion: Occasion) {
        let grant = self.wires.get(slot).grant.as_ref();
        let account = grant.map_or(base::AccountId::GLOBAL, |grant| grant.account);
        self.join(slot, account);
        let connection = self.wires.connections.get_mut(slot.0);
        // What was remembered belongs to another account, or may be forbidden now.
        connection.remembered = session::Remembered::default();
        connection.rights = match (rules, connection.rights.take()) {
            (None, _) => None,
            (Some(rules), Some(mut rights)) if occasion == Occasion::Reload => {
                rights.replace(rules);
                Some(rights)
            }
            (Some(rules), _) => Some(Box::new(Rights::new(rules))),
        };
        connection.note_rights();
    }

    /// The rules of somebody's permissions: one copy for all connections of a configured user.
    fn rules_of(&mut self, grant: &mut Grant) -> Option<Rc<Rules>> {
        let permissions = grant.permissions.take()?;
        if let Some(rules) = self.rules.get(&grant.user)
            && *rules.source() == permissions
        {
            return Some(Rc::clone(rules));
        }
        let rules = Rc::new(Rules::new(permissions));
        if grant.jwt.is_none() && !grant.vouched {
            self.rules.insert(grant.user.clone(), Rc::clone(&rules));
        }
        Some(rules)
    }

    fn finish_connect(&mut self, slot: Slot, first: bool) {
        let connection = self.wires.get_mut(slot);
        let options = connection.options;
        let identity = connection.identity.as_ref().expect("CONNECT came before");
        if let Err(refusal) = handshake::check(&options, identity) {
            self.refuse_connect(slot, refusal);
            return;
        }
        connection.awaits_connect = false;
        if options.verbose {
            self.trace_out(slot, "OK", b"");
            self.wires.write(slot, b"+OK\r\n");
        }
        if first {
            self.note_connected(slot);
        }
    }

    fn refuse_connect(&mut self, slot: Slot, refusal: Refusal) {
        match refusal {
            Refusal::Malformed => self.wires.end(slot, Reason::ProtocolViolation),
            Refusal::Authorization => {
                self.violate_authorization(slot, Reason::AuthenticationFailure);
            }
            Refusal::Protocol => {
                self.wires.write_error(slot, "invalid client protocol");
                self.wires.end(slot, Reason::BadClientProtocolVersion);
            }
            Refusal::NoResponders => {
                self.wires.write_error(slot, "no responders requires headers support");
                self.wires.end(slot, Reason::NoRespondersRequiresHeaders);
            }
        }
    }

    pub(crate) fn deny(&mut self, slot: Slot, denial: Denial) {
        let reason = match denial {
            Denial::Credentials | Denial::Revoked | Denial::Signer => Reason::AuthenticationFailure,
            Denial::UntrustedProxy => Reason::ProxyNotTrusted,
            Denial::ProxyRequired => Reason::ProxyRequired,
        };
        self.violate_authorization(slot, reason);
    }

    fn violate_authorization(&mut self, slot: Slot, reason: Reason) {
        let identity = self.wires.get(slot).identity.as_ref();
        let text = match identity.and_then(|identity| identity.claim()) {
            None => "authentication error".into(),
            Some(claim) => format!("authentication error - {claim}"),
        };
        self.log_for(Level::Error, slot, &text);
        self.wires.write_error(slot, "Authorization Violation");
        self.wires.end(slot, reason);
    }

    /// The rules have changed, and somebody who is in may be so no longer.
    fn cut_off(&mut self, slot: Slot, denial: Denial) {
        match denial {
            Denial::Revoked => {
                self.wires.write_error(slot, "User Authentication Revoked");
                self.log_for(Level::Debug, slot, "User Authentication Revoked");
                self.wires.end(slot, Reason::CredentialsRevoked);
            }
            // The reference says nothing here.
            Denial::Signer => self.wires.end(slot, Reason::AuthenticationFailure),
            other => self.deny(slot, other),
        }
    }

    /// The time of somebody's credentials, or of their account, is over.
    pub(crate) fn expire(&mut self, slot: Slot) {
        let connection = self.wires.get_mut(slot);
        connection.liveness.expires_due = base::Time::NEVER;
        let account = connection.grant.as_ref().is_some_and(|grant| grant.expires_with_account);
        let text =
            if account { "Account Authentication Expired" } else { "User Authentication Expired" };
        self.wires.write_error(slot, text);
        self.log_for(Level::Debug, slot, text);
        self.wires.end(slot, Reason::AuthenticationExpired);
    }

    /// Asks anew whether a connection may be here, and what it may do, after the rules have
    /// changed.
    pub(crate) fn check_again(&mut self, slot: Slot) {
        let connection = self.wires.get_mut(slot);
        let asks = connection.pending.as_ref().is_some_and(|one| one.occasion != Occasion::Reload);
        if asks || connection.awaits_connect || !connection.connected {
            self.await_connect_again(slot);
            return;
        }
        if connection.grant.as_ref().is_some_and(|grant| has_moved(grant, &self.config.auth)) {
            // The reference says nothing: the client comes back, and learns then.
            self.wires.end(slot, Reason::ClientClosed);
            return;
        }
        match self.judge(slot) {
            Verdict::Refused(denial) => self.cut_off(slot, denial),
            // Its account is gone or its time over: to be here needs more than to be looked for.
            Verdict::Unknown(_) => self.expire_account(slot),
            Verdict::Referred(referral, proof) => {
                self.refer_once_proven(slot, referral, proof, Occasion::Reload);
            }
            Verdict::Granted(grant, proof) => {
                let connection = self.wires.get(slot);
                if proof.is_empty() || connection.proven.as_deref() == Some(&proof) {
                    let proxy = Some(connection.proxy_key.clone());
                    let occasion = Occasion::Reload;
                    self.let_in(slot, Pending::granted(grant, proof, occasion), proxy);
                } else {
                    self.claim(slot, grant, proof, Occasion::Reload);
                }
            }
        }
    }

    /// A connection that is not in yet begins anew under the rules of now.
    fn await_connect_again(&mut self, slot: Slot) {
        let connection = self.wires.get_mut(slot);
        if let Some(pending) = connection.pending.take() {
            self.authenticate(slot, pending.occasion);
            if self.wires.get(slot).pending.is_none() {
                self.resume(slot, PAUSED_BY_PROOF);
            }
            return;
        }
        if connection.stage == session::Stage::Open {
            self.set_auth_due(slot);
        }
    }

    /// Takes back what a connection has subscribed to and may no more.
    fn remove_forbidden(&mut self, slot: Slot) {
        let connection = self.wires.connections.get_mut(slot.0);
        let Some(rights) = &mut connection.rights else { return };
        let spaces = &self.spaces;
        let allowed = |id: &u32| {
            let (subject, queue) = spaces.describe(SubId(*id));
            rights.subscribe(subject, queue)
        };
        let all: Vec<u32> = connection.subscriptions.iter().copied().collect();
        let (_, mut forbidden): (Vec<u32>, Vec<u32>) = all.into_iter().partition(allowed);
        connection.note_rights();
        forbidden.sort_unstable();
        for id in forbidden {
            self.remove_one_forbidden(slot, SubId(id));
        }
    }

    fn remove_one_forbidden(&mut self, slot: Slot, id: SubId) {
        let (subject, queue) = self.spaces.describe(id);
        let subscriptions = &self.spaces.subscriptions;
        let sid = subscriptions.sids.with(subscriptions.get(id).sid, crate::trace::quoted);
        let shown = format!("{} (sid {sid})", crate::rights::describe(subject, queue));
        self.remove(slot, id);
        let text = format!("Permissions Violation for Subscription to {shown}");
        self.wires.write_error(slot, &text);
        let user = self.wires.get(slot).user().to_owned();
        let text = format!("Removed sub {shown} for User {user:?} - not authorized");
        self.log_for(Level::Info, slot, &text);
    }

    /// Notes that the last configuration holds for everyone, as soon as all connections that were
    /// in have been asked again and the lanes have taken what came before.
    pub(crate) fn note_rechecked(&mut self) {
        let Some(positions) = &self.reconfigured_at else { return };
        let again = |connection: &Connection| {
            let pending = connection.pending.as_ref();
            connection.is_open() && pending.is_some_and(|one| one.occasion == Occasion::Reload)
        };
        self.rechecking &= self.wires.connections.places().any(|(_, one)| again(one));
        if !self.rechecking && self.outboxes.have_moved(positions) {
            self.reconfigured_at = None;
            self.effects.reconfigured += std::mem::take(&mut self.reconfigurations);
        }
    }
}

/// Is somebody not where they were, or not at all?
fn has_moved(grant: &Grant, auth: &Auth) -> bool {
    if auth.operator.is_some() || grant.vouched {
        return false;
    }
    let list = if grant.nkey.is_empty() { &auth.users } else { &auth.keys };
    if let Some(user) = list.get(&grant.user) {
        return user.account != grant.account;
    }
    let simple = auth.websocket.iter().chain([&auth.simple]);
    let mut single = simple.filter_map(|simple| simple.user.as_ref());
    !single.any(|(name, _)| *name == grant.user)
}
