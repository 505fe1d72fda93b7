//! Events about streams and requests (spec 6.15). Nothing is built unless someone listens.

use base::{AccountId, Moment};

use crate::Outlet;
use crate::ground::Ground;
use crate::json::Writer;
use crate::names::unique;
use crate::stamp::Stamp;

/// Publishes an event; `fill` writes what is its own.
pub(crate) fn publish(
    ground: &mut Ground,
    out: &mut dyn Outlet,
    now: Moment,
    (account, subject): (AccountId, &[u8]),
    kind: &str,
    fill: impl FnOnce(&mut Writer<'_>),
) {
    if !out.is_wanted(account, subject) {
        return;
    }
    let mut text = Vec::new();
    let mut writer = Writer::open(&mut text);
    writer.text("type", &format!("io.nats.jetstream.advisory.v1.{kind}"));
    writer.text("id", &unique(&mut ground.random));
    Stamp::from(now.wall).put(writer.field("timestamp"));
    fill(&mut writer);
    writer.close();
    ground.parcel.clear().body(&text);
    ground.parcel.send(out, account, subject, b"");
}

/// Publishes, to the system account, that there is no room on the disk.
pub(crate) fn publish_out_of_space(ground: &mut Ground, out: &mut dyn Outlet, now: Moment) {
    const SUBJECT: &[u8] = b"$JS.EVENT.ADVISORY.SERVER.OUT_OF_STORAGE";
    let (server, id) = (ground.config.server_name.clone(), ground.config.server_id.clone());
    let domain = ground.config.domain.clone();
    let place = (AccountId::SYSTEM, SUBJECT);
    publish(ground, out, now, place, "server_out_of_space", |writer| {
        writer.text("server", &server);
        writer.text("server_id", &id);
        writer.text("cluster", "");
        writer.text_unless_empty("domain", &domain);
    });
}

/// Publishes that a stream was made, changed or removed.
pub(crate) fn publish_action(
    ground: &mut Ground,
    out: &mut dyn Outlet,
    now: Moment,
    (account, stream): (AccountId, &str),
    action: &str,
) {
    let word = match action {
        "create" => "CREATED",
        "modify" => "UPDATED",
        _ => "DELETED",
    };
    let subject = format!("$JS.EVENT.ADVISORY.STREAM.{word}.{stream}");
    let domain = ground.config.domain.clone();
    publish(ground, out, now, (account, subject.as_bytes()), "stream_action", |writer| {
        writer.text("stream", stream);
        writer.text("action", action);
        writer.text_unless_empty("domain", &domain);
    });
}
