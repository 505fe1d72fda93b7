//! Asking somebody else who may come in (spec 3.5).
//!
//! A question is composed elsewhere, since it is signed and may be sealed, published here in the
//! account of those who decide, and answered to an inbox of this core. The connection waits
//! meanwhile, as for any proof, and for as long as one may take to send CONNECT; what the answer
//! says is a claim like any other, whose signatures are proven before it counts.

use accounts::callout::{self, Asked, CALLOUT_SUBJECT};
use accounts::{CalloutFault, Inquiry, Proof, Referral};
use base::{AccountId, ConnectionId, ServiceId, Slot};
use session::admission::Denial;
use session::{Occasion, Pending, inquiry};
use wire::Message;

use crate::effects::Level;
use crate::services::Owner;
use crate::shard::{PAUSED_BY_PROOF, Shard};

/// Whose question or answer something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errand {
    /// The connection.
    pub slot: Slot,
    /// Which it was; the slot may be another's when the answer comes.
    pub id: ConnectionId,
    /// Which of its claims this is.
    pub number: u64,
}

/// What has to be done, off the cores, for somebody else to decide who may come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dispatch {
    /// A question is to be composed; see [`Shard::composed`].
    Compose(Errand, Box<Inquiry>),
    /// An answer is sealed, by the owner of this curve key; see [`Shard::unsealed`].
    Unseal(Errand, Vec<u8>, String),
}

/// A question that is ready to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Composed {
    /// The key that an answer has to name.
    pub user_key: String,
    /// The header block with its empty line, or nothing.
    pub header: Vec<u8>,
    /// The payload.
    pub payload: Vec<u8>,
}

impl Shard {
    /// Asks somebody else about a connection.
    pub(crate) fn refer(
        &mut self,
        slot: Slot,
        referral: Box<Referral>,
        proof: Proof,
        occasion: Occasion,
    ) {
        self.claims += 1;
        let (number, id) = (self.claims, self.wires.get(slot).id);
        let sealed = !referral.xkey.is_empty();
        let connection = self.wires.get(slot);
        let nonce = self.nonce(connection);
        let inquiry = Inquiry {
            referral: (*referral).clone(),
            server_id: self.config.server_id.clone(),
            issued_s: self.wall.0.div_euclid(1_000_000_000),
            patience_s: self.config.auth_timeout.as_secs() as i64,
            facts: inquiry::facts(connection, &self.config, &nonce, sealed),
        };
        self.listen_for_answers(referral.account);
        let due = self.now.after(self.config.auth_timeout);
        let connection = self.wires.get_mut(slot);
        let referral = Some(referral);
        let pending = Pending { number, referral, ..Pending::granted(None, proof, occasion) };
        connection.pending = Some(Box::new(pending));
        connection.liveness.auth_due = due;
        let errand = Errand { slot, id, number };
        self.effects.dispatches.push(Dispatch::Compose(errand, Box::new(inquiry)));
        if occasion == Occasion::Reload {
            self.rechecking = true;
        } else {
            self.pause(slot, PAUSED_BY_PROOF);
        }
        self.arm(slot);
    }

    /// Subscribes to answers in an account, once.
    fn listen_for_answers(&mut self, account: AccountId) {
        let known = &mut self.service_accounts[Owner::Callout as usize];
        if known.contains(&account) {
            return;
        }
        let service = ServiceId(known.len() as u32);
        let pattern = format!("{}*", self.inbox());
        let listening = self.listen(account, pattern.as_bytes(), b"", Owner::Callout, service);
        listening.expect("an inbox is a subject");
    }

    /// Where answers come to, but for the last token. No other core has the same.
    fn inbox(&self) -> String {
        let id = &self.config.server_id;
        let hash = id.get(id.len().saturating_sub(7)..).unwrap_or("");
        format!("$SYS._INBOX.{hash}{:02}.", self.core.0)
    }

    /// The pending claim of an errand, if it still is one.
    fn errand_of(&mut self, errand: Errand) -> Option<&mut Pending> {
        let connection = self.wires.get_mut(errand.slot);
        if connection.id != errand.id || !connection.is_open() {
            return None;
        }
        connection.pending.as_deref_mut().filter(|pending| pending.number == errand.number)
    }

    /// A question that was among [`crate::Effects::dispatches`] is composed: it is asked now.
    pub fn composed(&mut self, errand: Errand, composed: Composed) {
        let reply = format!("{}{}_{}", self.inbox(), errand.slot.0, errand.number);
        let Some(pending) = self.errand_of(errand) else { return };
        pending.user_key = composed.user_key;
        let account = pending.referral.as_ref().expect("somebody is asked").account;
        let (header, payload) = (composed.header.len(), composed.payload);
        let total = header + payload.len();
        let sizes =
            if header == 0 { format!("{total}\r\n") } else { format!("{header} {total}\r\n") };
        let tail = [sizes.as_bytes(), &composed.header, &payload, b"\r\n"].concat();
        let message = Message {
            subject: CALLOUT_SUBJECT.as_bytes(),
            reply: reply.as_bytes(),
            header,
            tail: &tail,
            sizes_bytes: sizes.len(),
        };
        self.speak(account, &message);
    }

    /// An answer came to the inbox.
    pub(crate) fn on_answer(&mut self, message: &Message<'_>) {
        let Some(errand) = self.find_errand(message.subject) else { return };
        let Some(pending) = self.errand_of(errand).filter(|pending| !pending.user_key.is_empty())
        else {
            return;
        };
        let referral = pending.referral.as_deref().expect("somebody was asked");
        let xkey = referral.xkey.clone();
        let body = message.body();
        let answer = &body[message.header..body.len() - 2];
        if !xkey.is_empty() && !answer.is_empty() && callout::is_sealed(answer) {
            self.effects.dispatches.push(Dispatch::Unseal(errand, answer.to_vec(), xkey));
        } else {
            self.weigh(errand, answer, false);
        }
    }

    /// Which question an answer is to, by its subject. Anybody may write one.
    fn find_errand(&self, subject: &[u8]) -> Option<Errand> {
        let subject = str::from_utf8(subject).ok()?;
        let (slot, number) = subject.rsplit('.').next()?.split_once('_')?;
        let (slot, number) = (slot.parse().ok()?, number.parse().ok()?);
        let (slot, connections) = (Slot(slot), &self.wires.connections);
        let id = (slot.index() < connections.place_count()).then(|| self.wires.get(slot).id)?;
        Some(Errand { slot, id, number })
    }

    /// An answer that was among [`crate::Effects::dispatches`] is unsealed, or could not be.
    pub fn unsealed(&mut self, errand: Errand, answer: Option<&[u8]>) {
        if self.errand_of(errand).is_none() {
            return;
        }
        if let Some(answer) = answer {
            self.weigh(errand, answer, true);
        } else {
            let text = "Error decrypting auth callout response".to_owned();
            self.reject(errand.slot, CalloutFault::Refused(text));
        }
        self.settle();
    }

    /// Takes an answer at its word, once its signatures are proven.
    fn weigh(&mut self, errand: Errand, answer: &[u8], was_sealed: bool) {
        let slot = errand.slot;
        let connection = self.wires.get_mut(slot);
        let pending = connection.pending.take().expect("the errand was looked at");
        let asked = Asked {
            referral: pending.referral.as_deref().expect("somebody was asked"),
            user: &pending.user_key,
            server_id: &self.config.server_id,
            directory: &self.config.accounts,
            operator: self.config.auth.operator.as_deref(),
            kind: connection.kind(),
            by_proxy: pending.proof.proxy.is_some(),
            now: self.wall,
        };
        let read = asked.read(answer, was_sealed);
        connection.liveness.auth_due = base::Time::NEVER;
        match read {
            Ok(vouched) => {
                let mut proof = pending.proof;
                proof.password = None;
                proof.signatures = vouched.signatures;
                self.claim(slot, Some(Box::new(vouched.grant)), proof, pending.occasion);
            }
            Err(fault) => self.reject(slot, fault),
        }
    }

    fn reject(&mut self, slot: Slot, fault: CalloutFault) {
        match fault {
            CalloutFault::Refused(text) => {
                self.log(Level::Warning, text);
                self.deny(slot, Denial::Credentials);
            }
            CalloutFault::ProxyRequired => self.deny(slot, Denial::ProxyRequired),
        }
        self.resume(slot, PAUSED_BY_PROOF);
    }

    /// Nobody has answered in time.
    pub(crate) fn give_up_asking(&mut self, slot: Slot) {
        let text = "Authorization callout response not received in time";
        self.log(Level::Debug, text.to_owned());
        self.deny(slot, Denial::Credentials);
        self.resume(slot, PAUSED_BY_PROOF);
    }
}
