//! Snapshots of streams, and streams made of them (spec 6.11).

use base::limits::RESTORE_SILENCE_MAX;
use base::{Moment, Time};
use wire::Message;

use super::info::{Extent, put_stream};
use super::verbs::Verb;
use super::{Call, Outcome};
use crate::advisory;
use crate::backup::{Received, Restore, Snapshot, Wish};
use crate::consumer::copies;
use crate::error::{Fault, table};
use crate::json::Writer;
use crate::names::unique;
use crate::services::Service;
use crate::stamp::Stamp;
use crate::stream::check::is_publishable;
use crate::stream::codec::{self, read_config};
use crate::stream::config::StreamConfig;
use crate::stream::life;
use crate::{JetStream, Outlet};

impl JetStream {
    /// `STREAM.SNAPSHOT`.
    pub(super) fn stream_snapshot(
        &mut self,
        call: &Call<'_>,
        writer: &mut Writer<'_>,
        out: &mut dyn Outlet,
    ) -> Result<Outcome, Fault> {
        if call.request.is_empty() {
            return Err(table::BAD_REQUEST);
        }
        let name = call.stream(Verb::StreamSnapshot).to_owned();
        let id = self.find_stream(call.account, &name)?;
        let wish = self.read_snapshot_wish(call)?;
        if !is_publishable(&wish.deliver_subject) {
            return Err(table::SNAPSHOT_DELIVER_SUBJECT_INVALID);
        }
        let place = self.snapshots.insert(None);
        let acks = format!("$JS.SNAPSHOT.ACK.{name}.{}", unique(&mut self.ground.random));
        let service = Service::Snapshot(place);
        let pattern = format!("{acks}.>");
        let services = &mut self.ground.services;
        let service = services.open(out, call.account, pattern.as_bytes(), b"", service);
        let stream = self.stream(id);
        let last = stream.core.visible;
        let snapshot = Snapshot::new((id, call.account, service), acks, wish, last, call.now);
        let mut config = Vec::new();
        codec::put_config(&mut config, &stream.core.config, &[]);
        writer.field("config").extend_from_slice(&config);
        super::info::put_state(
            writer.field("state"),
            stream,
            self.ground.store.log(stream.core.log),
            &Extent::default(),
        );
        *self.snapshots.get_mut(place) = Some(Box::new(snapshot));
        self.tell_backup(call.now, call.account, &name, "snapshot_create", |_| {}, out);
        Ok(Outcome::Answered)
    }

    fn read_snapshot_wish(&self, call: &Call<'_>) -> Result<Wish, Fault> {
        let mut wish = Wish::default();
        let mut checked = false;
        let strict = self.ground.config.strict;
        call.request.decode("JSApiStreamSnapshotRequest", strict, |decoder, node| {
            decoder.object(node, "server.JSApiStreamSnapshotRequest", |decoder, name, field| {
                match name {
                    "deliver_subject" => decoder.text(field, &mut wish.deliver_subject),
                    "no_consumers" => decoder.bool(field, &mut wish.without_consumers),
                    "chunk_size" => decoder.integer(field, "int", &mut wish.chunk_bytes),
                    "window_size" => decoder.integer(field, "int", &mut wish.window_bytes),
                    // Every message that is read is checked anyway.
                    "jsck" => decoder.bool(field, &mut checked),
                    _ => return false,
                }
                true
            });
        })?;
        Ok(wish)
    }

    /// A client took a chunk.
    pub(crate) fn snapshot_taken(&mut self, place: u32) {
        let now = self.now.time;
        if let Some(snapshot) = self.snapshots.get_mut(place) {
            snapshot.acknowledged(now);
        }
    }

    /// Goes on with snapshots; `has_read` if a message was read from disk since.
    pub(crate) fn go_on_with_snapshots(&mut self, has_read: bool, out: &mut dyn Outlet) {
        if self.snapshots.is_empty() {
            return;
        }
        let places: Vec<u32> = self.snapshots.places().map(|(place, _)| place).collect();
        for place in places {
            let Some(mut snapshot) = self.snapshots.get_mut(place).take() else { continue };
            if has_read {
                snapshot.wake();
            }
            let now = self.now;
            if !snapshot.is_ready(now.time) {
                *self.snapshots.get_mut(place) = Some(snapshot);
                continue;
            }
            let stream = self.streams.get(snapshot.stream.0).as_deref();
            let progress =
                stream.map(|stream| snapshot.advance(stream, &mut self.ground, out, now));
            match progress {
                Some(crate::backup::Progress::More | crate::backup::Progress::Waits) => {
                    *self.snapshots.get_mut(place) = Some(snapshot);
                }
                Some(crate::backup::Progress::Done) | None => {
                    self.end_snapshot(place, &snapshot, out);
                }
            }
        }
    }

    fn end_snapshot(&mut self, place: u32, snapshot: &Snapshot, out: &mut dyn Outlet) {
        self.snapshots.remove(place);
        self.ground.services.close(out, snapshot.service);
        let Some(stream) = self.streams.get(snapshot.stream.0).as_deref() else { return };
        let name = stream.core.config.name.clone();
        let (now, started) = (self.now, snapshot.started);
        let times = |writer: &mut Writer<'_>| {
            Stamp::from(started).put(writer.field("start"));
            Stamp::from(now.wall).put(writer.field("end"));
        };
        self.tell_backup(now, snapshot.account, &name, "snapshot_complete", times, out);
    }

    /// `STREAM.RESTORE`.
    pub(super) fn stream_restore(
        &mut self,
        call: &Call<'_>,
        writer: &mut Writer<'_>,
        out: &mut dyn Outlet,
    ) -> Result<Outcome, Fault> {
        if call.request.is_empty() {
            return Err(table::BAD_REQUEST);
        }
        let name = call.stream(Verb::StreamRestore).to_owned();
        let (mut config, sequences) = read_restore_wish(call)?;
        if config.name.is_empty() {
            config.name.clone_from(&name);
        }
        if config.name != name {
            return Err(table::STREAM_MISMATCH);
        }
        if name.contains(['\\', '/']) {
            return Err(table::STREAM_NAME_CONTAINS_PATH_SEPARATORS);
        }
        let mut wish = codec::Wish { config, pedantic: false };
        self.check_config(call.account, &mut wish)?;
        if self.find_stream(call.account, &name).is_ok() || self.is_restoring(call.account, &name) {
            return Err(table::STREAM_NAME_EXIST_RESTORE_FAILED);
        }
        self.check_new_stream(call.account, &wish.config)?;
        let fault = || table::STREAM_RESTORE.because("error creating store for stream");
        let log = self.new_log(call.account, &wish.config).ok_or_else(fault)?;
        let place = self.restores.insert(None);
        let subject = format!("$JS.SNAPSHOT.RESTORE.{name}.{}", unique(&mut self.ground.random));
        let (account, service) = (call.account, Service::Restore(place));
        let services = &mut self.ground.services;
        let service = services.open(out, account, subject.as_bytes(), b"", service);
        let restore = Restore::new((account, service, log), wish.config, sequences, call.now);
        *self.restores.get_mut(place) = Some(Box::new(restore));
        writer.text("deliver_subject", &subject);
        self.tell_backup(call.now, account, &name, "restore_create", |_| {}, out);
        Ok(Outcome::Answered)
    }

    /// Is a stream of this name being restored?
    pub(crate) fn is_restoring(&self, account: base::AccountId, name: &str) -> bool {
        let mut restores = self.restores.places().filter_map(|(_, restore)| restore.as_deref());
        restores.any(|it| it.account == account && it.config.name == name)
    }

    /// A chunk of a snapshot came.
    pub(crate) fn receive_chunk(
        &mut self,
        place: u32,
        message: &Message<'_>,
        out: &mut dyn Outlet,
    ) {
        let Some(mut restore) = self.restores.get_mut(place).take() else { return };
        let all = message.body();
        let chunk = &all[message.header..all.len() - 2];
        restore.heard = self.now.time;
        let outcome = if message.reply.is_empty() {
            Err("restore requires reply subject for each chunk".to_owned())
        } else if chunk.is_empty() {
            restore.finish(&mut self.ground.store).map(Some)
        } else {
            restore.push(&mut self.ground.store, chunk).map(|()| None)
        };
        let (account, reply) = (restore.account, message.reply);
        let received = match outcome {
            Ok(None) => {
                *self.restores.get_mut(place) = Some(restore);
                self.ground.parcel.clear().send(out, account, reply, b"");
                return;
            }
            Ok(Some(received)) => self.restored(&restore, &received, out),
            Err(problem) => Err(problem),
        };
        self.answer_restore(place, &restore, received, reply, out);
    }

    /// Makes the stream whose messages are there.
    fn restored(
        &mut self,
        restore: &Restore,
        received: &Received,
        out: &mut dyn Outlet,
    ) -> Result<crate::StreamId, String> {
        let (log, now) = (restore.log, self.now);
        if self.find_stream(restore.account, &restore.config.name).is_ok() {
            return Err(table::STREAM_NAME_EXIST_RESTORE_FAILED.text.into());
        }
        let created = received.created.unwrap_or(now.wall);
        let store = &mut self.ground.store;
        for (name, config, state) in &received.consumers {
            copies::put_notes(store, log, (name, config), state, now.wall)
                .map_err(|cause| format!("error restoring consumer [\"{name}\"]: {cause}"))?;
        }
        life::put_notes(store, log, &restore.config, created);
        let config = restore.config.clone();
        let id = self.add_stream(now, restore.account, config, (created, log), out);
        let (stream, mut site) = self.at_stream(id, now, out);
        stream.recover(&mut site);
        stream.open(&mut site);
        Ok(id)
    }

    fn answer_restore(
        &mut self,
        place: u32,
        restore: &Restore,
        outcome: Result<crate::StreamId, String>,
        reply: &[u8],
        out: &mut dyn Outlet,
    ) {
        self.restores.remove(place);
        self.ground.services.close(out, restore.service);
        let mut text = Vec::new();
        let mut writer = Writer::open(&mut text);
        writer.text("type", &Verb::StreamCreate.kind());
        match outcome {
            Ok(id) => {
                let extent = Extent { with_level: true, ..Extent::default() };
                let stream = self.streams.get(id.0).as_deref().expect("it was just made");
                put_stream(&mut writer, stream, &self.ground, self.now, &extent);
            }
            Err(problem) => {
                self.ground.store.destroy(restore.log);
                table::STREAM_RESTORE.because(problem).put(writer.field("error"));
            }
        }
        writer.close();
        let position = self.ground.store.ordered().0;
        let (account, name) = (restore.account, restore.config.name.clone());
        self.answers.push_plain(account, reply, text, position);
        self.send_answers(out);
        let (now, started, bytes) = (self.now, restore.started, restore.bytes);
        let times = |writer: &mut Writer<'_>| {
            Stamp::from(started).put(writer.field("start"));
            Stamp::from(now.wall).put(writer.field("end"));
            writer.natural("bytes", bytes);
        };
        self.tell_backup(now, account, &name, "restore_complete", times, out);
    }

    /// Gives up restores whose client has gone silent.
    pub(crate) fn expire_restores(&mut self, out: &mut dyn Outlet) {
        if self.restores_due() > self.now.time {
            return;
        }
        let places: Vec<u32> = self.restores.places().map(|(place, _)| place).collect();
        for place in places {
            let is_late =
                |restore: &Restore| restore.heard.after(RESTORE_SILENCE_MAX) <= self.now.time;
            if self.restores.get(place).as_deref().is_some_and(is_late)
                && let Some(restore) = self.restores.get_mut(place).take()
            {
                self.answer_restore(place, &restore, Err("timed out".into()), b"", out);
            }
        }
    }

    /// Gives up the restores of an account that may not store any more.
    pub(crate) fn abandon_restores(&mut self, account: base::AccountId, out: &mut dyn Outlet) {
        let places: Vec<u32> = self.restores.places().map(|(place, _)| place).collect();
        for place in places {
            let restore = self.restores.get_mut(place);
            if restore.as_deref().is_some_and(|restore| restore.account == account)
                && let Some(restore) = restore.take()
            {
                let problem = "JetStream was disabled for the account".into();
                self.answer_restore(place, &restore, Err(problem), b"", out);
            }
        }
    }

    /// When a restore is given up.
    pub(crate) fn restores_due(&self) -> Time {
        let restores = self.restores.places().filter_map(|(_, restore)| restore.as_deref());
        let dues = restores.map(|restore| restore.heard.after(RESTORE_SILENCE_MAX));
        dues.min().unwrap_or(Time::NEVER)
    }

    /// When a snapshot has to be looked at.
    pub(crate) fn snapshots_due(&self) -> Time {
        let snapshots = self.snapshots.places().filter_map(|(_, snapshot)| snapshot.as_deref());
        snapshots.map(Snapshot::due).min().unwrap_or(Time::NEVER)
    }

    fn tell_backup(
        &mut self,
        now: Moment,
        account: base::AccountId,
        stream: &str,
        event: &str,
        fill: impl FnOnce(&mut Writer<'_>),
        out: &mut dyn Outlet,
    ) {
        let words = event.to_uppercase();
        let subject = format!("$JS.EVENT.ADVISORY.STREAM.{words}.{stream}");
        let domain = self.ground.config.domain.clone();
        let about = (account, subject.as_bytes());
        advisory::publish(&mut self.ground, out, now, about, event, |writer| {
            writer.text("stream", stream);
            fill(writer);
            writer.text_unless_empty("domain", &domain);
        });
    }
}

/// The configuration, and the first and last sequence, that a request to restore names.
fn read_restore_wish(call: &Call<'_>) -> Result<(StreamConfig, (u64, u64)), Fault> {
    let mut config = StreamConfig::default();
    let mut sequences = (0, 0);
    call.request.decode("JSApiStreamRestoreRequest", false, |decoder, node| {
        decoder.object(node, "server.JSApiStreamRestoreRequest", |decoder, name, field| {
            match name {
                "config" => read_config(decoder, field, &mut config),
                "state" => decoder.object(field, "server.StreamState", |decoder, name, field| {
                    match name {
                        "first_seq" => decoder.integer(field, "uint64", &mut sequences.0),
                        "last_seq" => decoder.integer(field, "uint64", &mut sequences.1),
                        _ => {}
                    }
                    true
                }),
                _ => return false,
            }
            true
        });
    })?;
    Ok((config, sequences))
}
