//! What consumers tell those who watch: advisories and metrics (spec 6.15).

use super::{cursor::Consumer, desk::Desk};
use crate::{json::Writer, names, stamp::Stamp};

/// A delivery that something is said about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delivery {
    /// The message.
    pub(crate) sequence: u64,
    /// The number of the delivery.
    pub(crate) number: u64,
    /// How often the message was delivered.
    pub(crate) deliveries: u64,
}

impl Consumer {
    /// Publishes an event if anyone listens. `kind` is the end of its type, `topic` that of its
    /// subject without the names of stream and consumer.
    fn tell(
        &self,
        desk: &mut Desk<'_, '_>,
        topic: &str,
        kind: &str,
        fill: impl FnOnce(&mut Writer<'_>, &Self),
    ) {
        let stream = &desk.view.core.config.name;
        let subject = format!("$JS.EVENT.{topic}.{stream}.{}", self.name);
        let account = desk.view.core.account;
        if !desk.out.is_wanted(account, subject.as_bytes()) {
            return;
        }
        let id = names::unique(desk.view.random);
        let payload = desk.view.parcel.clear().payload();
        let mut fields = Writer::open(payload);
        fields.text("type", &format!("io.nats.jetstream.{kind}"));
        fields.text("id", &id);
        Stamp::from(desk.view.now.wall).put(fields.field("timestamp"));
        fill(&mut fields, self);
        fields.close();
        desk.view.parcel.send(desk.out, account, subject.as_bytes(), b"");
    }

    fn put_names(&self, fields: &mut Writer<'_>, stream: &str) {
        fields.text("stream", stream);
        fields.text("consumer", &self.name);
    }

    fn tell_action(&self, desk: &mut Desk<'_, '_>, topic: &str, action: &str) {
        let (stream, domain) = desk.stream_and_domain();
        self.tell(desk, topic, "advisory.v1.consumer_action", |fields, consumer| {
            consumer.put_names(fields, &stream);
            fields.text("action", action);
            fields.text_unless_empty("domain", &domain);
        });
    }

    pub(crate) fn tell_created(&self, desk: &mut Desk<'_, '_>) {
        self.tell_action(desk, "ADVISORY.CONSUMER.CREATED", "create");
    }

    pub(crate) fn tell_deleted(&self, desk: &mut Desk<'_, '_>) {
        self.tell_action(desk, "ADVISORY.CONSUMER.DELETED", "delete");
    }

    pub(crate) fn tell_paused(&self, desk: &mut Desk<'_, '_>) {
        let (stream, domain) = desk.stream_and_domain();
        let now = desk.view.now.wall;
        self.tell(desk, "ADVISORY.CONSUMER.PAUSE", "advisory.v1.consumer_pause", |fields, of| {
            of.put_names(fields, &stream);
            let until = of.config.pause_until;
            fields.flag("paused", until.is_some_and(|until| now < until.wall()));
            until.unwrap_or(Stamp::ZERO).put(fields.field("pause_until"));
            fields.text_unless_empty("domain", &domain);
        });
    }

    /// An acknowledgement was sampled; `ack_time` is in nanoseconds.
    pub(crate) fn tell_sample(&self, desk: &mut Desk<'_, '_>, delivery: Delivery, ack_time: u64) {
        let (stream, domain) = desk.stream_and_domain();
        self.tell(desk, "METRIC.CONSUMER.ACK", "metric.v1.consumer_ack", |fields, consumer| {
            consumer.put_names(fields, &stream);
            fields.natural("consumer_seq", delivery.number);
            fields.natural("stream_seq", delivery.sequence);
            fields.natural("ack_time", ack_time);
            fields.natural("deliveries", delivery.deliveries);
            fields.text_unless_empty("domain", &domain);
        });
    }

    pub(crate) fn tell_exceeded(&self, desk: &mut Desk<'_, '_>, sequence: u64, deliveries: u64) {
        let (stream, domain) = desk.stream_and_domain();
        let topic = "ADVISORY.CONSUMER.MAX_DELIVERIES";
        self.tell(desk, topic, "advisory.v1.max_deliver", |fields, consumer| {
            consumer.put_names(fields, &stream);
            fields.natural("stream_seq", sequence);
            fields.natural("deliveries", deliveries);
            fields.text_unless_empty("domain", &domain);
        });
    }

    pub(crate) fn tell_nak(&self, desk: &mut Desk<'_, '_>, delivery: Delivery) {
        self.tell_delivery(desk, "ADVISORY.CONSUMER.MSG_NAKED", "nak", delivery, "");
    }

    pub(crate) fn tell_terminated(
        &self,
        desk: &mut Desk<'_, '_>,
        delivery: Delivery,
        reason: &str,
    ) {
        let topic = "ADVISORY.CONSUMER.MSG_TERMINATED";
        self.tell_delivery(desk, topic, "terminated", delivery, reason);
    }

    fn tell_delivery(
        &self,
        desk: &mut Desk<'_, '_>,
        topic: &str,
        kind: &str,
        delivery: Delivery,
        reason: &str,
    ) {
        let (stream, domain) = desk.stream_and_domain();
        self.tell(desk, topic, &format!("advisory.v1.{kind}"), |fields, consumer| {
            consumer.put_names(fields, &stream);
            fields.natural("consumer_seq", delivery.number);
            fields.natural("stream_seq", delivery.sequence);
            fields.natural("deliveries", delivery.deliveries);
            fields.text_unless_empty("reason", reason);
            fields.text_unless_empty("domain", &domain);
        });
    }

    pub(crate) fn tell_pinned(&self, desk: &mut Desk<'_, '_>, group: &str) {
        let (stream, domain) = desk.stream_and_domain();
        let account = desk.view.account_name.to_owned();
        let kind = "advisory.v1.consumer_group_pinned";
        self.tell(desk, "ADVISORY.CONSUMER.PINNED", kind, |fields, consumer| {
            fields.text_unless_empty("account", &account);
            consumer.put_names(fields, &stream);
            fields.text_unless_empty("domain", &domain);
            fields.text("group", group);
            fields.text("pinned_id", &consumer.pin.id);
        });
    }

    pub(crate) fn tell_unpinned(&self, desk: &mut Desk<'_, '_>, group: &str, reason: &str) {
        let (stream, domain) = desk.stream_and_domain();
        let account = desk.view.account_name.to_owned();
        let kind = "advisory.v1.consumer_group_unpinned";
        self.tell(desk, "ADVISORY.CONSUMER.UNPINNED", kind, |fields, consumer| {
            fields.text_unless_empty("account", &account);
            consumer.put_names(fields, &stream);
            fields.text_unless_empty("domain", &domain);
            fields.text("group", group);
            fields.text("reason", reason);
        });
    }
}
