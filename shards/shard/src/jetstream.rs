//! What stores messages, as a part of the shard: its subscriptions are services, and what it says
//! is published like any client's message.

use std::fmt::Write as _;

use accounts::StorageLimits;
use base::{AccountId, Moment, ServiceId, Slot, Time, Wall};
use jetstream::stamp::Stamp;
use jetstream::{AccountLimits, ClientInfo, JetStream, Outlet};
use session::handshake::Identity;
use wire::Message;

use crate::frame;
use crate::services::Owner;
use crate::shard::Shard;

/// Requests that are made so often that nobody asks who made them.
const ANONYMOUS: [&[u8]; 2] = [b"$JS.API.CONSUMER.MSG.NEXT.", b"$JS.API.DIRECT.GET."];

impl Outlet for Shard {
    fn publish(&mut self, account: AccountId, message: &Message<'_>) -> bool {
        self.speak(account, message)
    }

    fn deliver(&mut self, account: AccountId, route: &[u8], message: &Message<'_>) -> bool {
        self.speak_to(account, route, message)
    }

    fn subscribe(&mut self, account: AccountId, pattern: &[u8], queue: &[u8], service: ServiceId) {
        let listening = self.listen(account, pattern, queue, Owner::JetStream, service);
        listening.expect("subjects of streams are checked before they are subscribed to");
    }

    fn unsubscribe(&mut self, service: ServiceId) {
        self.unlisten(Owner::JetStream, service);
    }

    fn is_wanted(&mut self, account: AccountId, subject: &[u8]) -> bool {
        Self::is_wanted(self, account, subject)
    }

    fn is_subscribed(&mut self, account: AccountId, subject: &[u8], queue: &[u8]) -> bool {
        self.spaces.at(account).is_subscribed(subject, queue)
    }

    fn interest_version(&self) -> u64 {
        self.spaces.changes()
    }
}

impl Shard {
    /// Lets this core store messages, for the accounts that may. Of those whose messages are there
    /// and that are not known, it is asked who they are.
    pub fn start_jetstream(&mut self, jetstream: Box<JetStream>) {
        assert!(self.jetstream.is_none(), "a core has one JetStream");
        self.jetstream = Some(jetstream);
        for place in 0..self.config.accounts.accounts.len() as u32 {
            self.change_storage(AccountId(place));
        }
        let seeks = self.config.auth.operator.as_ref().is_some_and(|operator| operator.seeks);
        if let Some(jetstream) = self.jetstream.as_ref().filter(|_| seeks) {
            self.effects.sought.extend(jetstream.absent_accounts());
        }
    }

    /// Lets an account store messages as its limits are now, or not at all.
    pub(crate) fn change_storage(&mut self, id: AccountId) {
        let Some(mut jetstream) = self.jetstream.take() else { return };
        let account = self.config.accounts.get(id);
        let limits = account.jetstream.as_ref().filter(|_| !account.removed);
        let now = self.moment();
        match (limits.map(limits_of), jetstream.is_enabled(id)) {
            (Some(limits), true) => jetstream.limit(id, limits),
            (Some(limits), false) => {
                let name = account.name.clone();
                jetstream.enable(now, id, &name, limits, self);
            }
            (None, true) => jetstream.disable(now, id, self),
            (None, false) => {}
        }
        let account = self.config.accounts.get(id);
        let is_there =
            !account.removed && (id != AccountId::SYSTEM || self.config.accounts.has_system);
        if is_there {
            jetstream.open_door(id, self);
        } else {
            jetstream.close_door(id, self);
        }
        self.jetstream = Some(jetstream);
    }

    /// What this core stores, for the reactor to carry out what its store asks of the disk.
    pub fn jetstream(&mut self) -> Option<&mut JetStream> {
        self.jetstream.as_deref_mut()
    }

    pub(crate) fn jetstream_due(&self) -> Time {
        self.jetstream.as_ref().map_or(Time::NEVER, |jetstream| jetstream.next_due())
    }

    /// Hands a message to the service that it is for.
    pub(crate) fn store_message(
        &mut self,
        account: AccountId,
        service: ServiceId,
        speaker: Option<Slot>,
        message: &Message<'_>,
    ) {
        let Some(mut jetstream) = self.jetstream.take() else { return };
        let subject = message.subject;
        let asks = subject.starts_with(b"$JS.API.")
            && !ANONYMOUS.iter().any(|prefix| subject.starts_with(prefix));
        let json = match speaker {
            Some(slot) if asks => self.describe_client(slot, jetstream.account_name(account)),
            _ => Vec::new(),
        };
        let client = ClientInfo { json: &json, is_system: false };
        jetstream.receive(self.moment(), service, account, &client, message, self);
        self.jetstream = Some(jetstream);
    }

    /// Once a turn: acknowledgements of what is durable, deliveries, and what is due.
    pub(crate) fn progress_jetstream(&mut self) {
        if let Some(mut jetstream) = self.jetstream.take() {
            jetstream.progress(self.moment(), self);
            let pressed = jetstream.store().is_pressed();
            self.jetstream = Some(jetstream);
            self.press(pressed);
        }
    }

    /// Producers wait, on every core, while there is more to store than the disk takes.
    fn press(&mut self, pressed: bool) {
        if pressed != self.outboxes.is_own_pressed() {
            self.outboxes.set_pressed(self.core, pressed);
            self.outboxes.append_all(|out| frame::put_pressed(out, pressed));
        }
    }

    /// Writes down what is not yet, for an orderly end.
    pub(crate) fn flush_jetstream(&mut self) {
        if let Some(mut jetstream) = self.jetstream.take() {
            jetstream.flush(self.moment(), self);
            self.jetstream = Some(jetstream);
        }
    }

    pub(crate) fn moment(&self) -> Moment {
        Moment { time: self.now, wall: self.wall }
    }

    /// A client as advisories describe it (spec 7.1), in the reference's order.
    fn describe_client(&self, slot: Slot, account: &str) -> Vec<u8> {
        let connection = self.wires.get(slot);
        let opened = self.now.since(connection.opened).as_nanos() as i64;
        let start = Stamp::from(Wall(self.wall.0.saturating_sub(opened))).bare();
        let nothing = Identity::default();
        let identity = connection.identity.as_deref().unwrap_or(&nothing);
        let mut out = String::from("{");
        let mut put = |name: &str, value: String| {
            let comma = if out.len() > 1 { "," } else { "" };
            let _ = write!(out, "{comma}\"{name}\":{value}");
        };
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        put("start", quoted(&start));
        put("host", quoted(&connection.peer.host));
        put("id", connection.id.0.to_string());
        put("acc", quoted(account));
        for (name, text) in [
            ("user", connection.user()),
            ("name", &identity.name),
            ("lang", &identity.lang),
            ("ver", &identity.version),
        ] {
            if !text.is_empty() {
                put(name, quoted(text));
            }
        }
        if !connection.liveness.round_trip.is_zero() {
            put("rtt", connection.liveness.round_trip.as_nanos().to_string());
        }
        put("server", quoted(&self.config.server_name));
        put("kind", quoted("Client"));
        put("client_type", quoted("nats"));
        out.push('}');
        out.into_bytes()
    }
}

fn limits_of(limits: &StorageLimits) -> AccountLimits {
    AccountLimits {
        max_memory: limits.memory,
        max_store: limits.file,
        max_streams: limits.streams,
        max_consumers: limits.consumers,
        max_ack_pending: limits.ack_pending,
        memory_max_stream_bytes: limits.memory_stream,
        store_max_stream_bytes: limits.file_stream,
        max_bytes_required: limits.max_bytes_required,
    }
}

#[cfg(test)]
mod tests {
    use base::CoreId;

    use super::*;

    #[test]
    fn who_stores_waits_for_the_disk_on_every_core_and_nobody_else_does() {
        let config = crate::Config::default();
        let mut cores = [0, 1].map(|core| Shard::new(CoreId(core), 2, 7, config.clone(), Time(1)));
        let account = AccountId::GLOBAL;
        cores[0].listen(account, b"s", b"", Owner::System, ServiceId(1)).expect("a subject");
        cores[0].accepted(crate::Socket(3), crate::Peer { host: "::1".into(), port: 1 });
        let mut effects = crate::Effects::default();
        cores[0].end_turn(&mut effects);
        let (slot, _) = effects.opened[0];
        cores[0].begin_turn(Moment::simulated(Time(2)));
        cores[0].press(true);
        let silent = b"CONNECT {\"verbose\":false}\r\nPUB other 1\r\nx\r\n";
        assert_eq!(cores[0].receive(slot, silent), silent.len());
        assert!(!cores[0].is_paused(slot));
        cores[0].receive(slot, b"PUB s 1\r\nx\r\n");
        assert!(cores[0].is_paused(slot));
        let news = cores[0].outbox(CoreId(1)).to_vec();
        cores[0].moved(CoreId(1), news.len());
        cores[1].accept_frames(CoreId(0), &news);
        assert!(cores[1].outboxes.are_high());
        cores[0].press(false);
        cores[0].end_turn(&mut effects);
        assert!(!cores[0].is_paused(slot));
        let news = cores[0].outbox(CoreId(1)).to_vec();
        cores[1].accept_frames(CoreId(0), &news);
        assert!(cores[1].outboxes.are_low());
    }
}
