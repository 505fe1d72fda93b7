//! A stream as answers describe it (spec 6.1).

use base::limits::API_SUBJECTS_MAX;
use storage::Log;

use super::API_LEVEL;
use super::request::Request;
use super::verbs::put_page;
use crate::error::Fault;
use crate::ground::Ground;
use crate::json::Writer;
use crate::stamp::Stamp;
use crate::stream::Stream;
use crate::stream::codec::{put_config, put_map};

/// What a request for information about a stream may ask for.
#[derive(Debug, Default)]
pub(super) struct Details {
    /// Every sequence that is gone?
    deleted: bool,
    /// Subjects that match, with their messages.
    subjects: String,
    offset: i64,
}

impl Details {
    pub(super) fn read(request: &Request<'_>, strict: bool) -> Result<Self, Fault> {
        let mut details = Self::default();
        if !request.has_fields() {
            return Ok(details);
        }
        request.decode("JSApiStreamInfoRequest", strict, |decoder, node| {
            decoder.object(node, "server.JSApiStreamInfoRequest", |decoder, name, field| {
                match name {
                    "offset" => decoder.integer(field, "int", &mut details.offset),
                    "deleted_details" => decoder.bool(field, &mut details.deleted),
                    "subjects_filter" => decoder.text(field, &mut details.subjects),
                    _ => return false,
                }
                true
            });
        })?;
        Ok(details)
    }

    fn offset(&self) -> usize {
        usize::try_from(self.offset).unwrap_or(0)
    }
}

/// What is said about a stream beyond what is always said.
#[derive(Debug, Default)]
pub(super) struct Extent {
    /// What the request asked for.
    pub(super) details: Details,
    /// Are the server's own notes added to the configuration?
    pub(super) with_level: bool,
    /// Is the domain named?
    pub(super) with_domain: bool,
    /// Is the leader named?
    pub(super) with_cluster: bool,
}

/// A page of a stream's subjects.
#[derive(Default)]
pub(super) struct Subjects<'a> {
    rows: Vec<(&'a [u8], u64)>,
    total: usize,
    offset: usize,
}

impl<'a> Subjects<'a> {
    pub(super) fn of(log: &'a Log, details: &Details) -> Self {
        if details.subjects.is_empty() {
            return Self::default();
        }
        let pattern = details.subjects.as_bytes();
        let keys = log.keys();
        let wanted = keys.iter().filter(|(_, text)| subjects::grammar::matches(pattern, text));
        let mut rows: Vec<_> = wanted.map(|(key, text)| (text, keys.count(key))).collect();
        rows.sort_unstable();
        let total = rows.len();
        let offset = details.offset().min(total);
        let end = (offset + API_SUBJECTS_MAX).min(total);
        Self { rows: rows[offset..end].to_vec(), total, offset }
    }

    /// Writes where the page stands, all zero if nobody asked.
    pub(super) fn put_page(&self, writer: &mut Writer<'_>) {
        let limit = if self.total == 0 { 0 } else { API_SUBJECTS_MAX };
        put_page(writer, (self.total, self.offset, limit));
    }
}

/// Writes a stream's information.
pub(super) fn put_stream(
    writer: &mut Writer<'_>,
    stream: &Stream,
    ground: &Ground,
    now: base::Moment,
    extent: &Extent,
) {
    let log = ground.store.log(stream.core.log);
    let level = API_LEVEL.to_string();
    let notes = [("_nats.level", level.as_str()), ("_nats.ver", ground.config.version.as_str())];
    let notes = if extent.with_level { &notes[..] } else { &[] };
    put_config(writer.field("config"), &stream.core.config, notes);
    Stamp::from(stream.core.created).put(writer.field("created"));
    put_state(writer.field("state"), stream, log, extent);
    if extent.with_domain {
        writer.text_unless_empty("domain", &ground.config.domain);
    }
    if extent.with_cluster {
        let mut cluster = Writer::open(writer.field("cluster"));
        cluster.text("leader", &ground.config.server_name);
        cluster.close();
    }
    stream.put_upstreams(writer, now.time);
    Stamp::from(now.wall).put(writer.field("ts"));
}

/// Writes what those who watch the server are shown of a stream.
pub(crate) fn put_detail(out: &mut Vec<u8>, stream: &Stream, ground: &Ground, now: base::Moment) {
    let log = ground.store.log(stream.core.log);
    let mut writer = Writer::open(out);
    writer.text("name", &stream.core.config.name);
    Stamp::from(stream.core.created).put(writer.field("created"));
    let mut cluster = Writer::open(writer.field("cluster"));
    cluster.text("leader", &ground.config.server_name);
    cluster.close();
    put_config(writer.field("config"), &stream.core.config, &[]);
    put_state(writer.field("state"), stream, log, &Extent::default());
    stream.put_upstreams(&mut writer, now.time);
    writer.close();
}

fn stamp_or_none(wall: base::Wall) -> Stamp {
    if wall.0 == 0 { Stamp::ZERO } else { Stamp::from(wall) }
}

pub(super) fn put_state(out: &mut Vec<u8>, stream: &Stream, log: &Log, extent: &Extent) {
    let mut writer = Writer::open(out);
    writer.natural("messages", log.messages());
    writer.natural("bytes", log.bytes());
    writer.natural("first_seq", log.first());
    stamp_or_none(log.first_wall()).put(writer.field("first_ts"));
    writer.natural("last_seq", log.last());
    stamp_or_none(log.last_wall()).put(writer.field("last_ts"));
    writer.natural_unless_zero("num_subjects", log.keys().len() as u64);
    let subjects = Subjects::of(log, &extent.details);
    if !subjects.rows.is_empty() {
        let rows = subjects.rows.iter();
        let texts: Vec<_> =
            rows.map(|(text, count)| (String::from_utf8_lossy(text), *count)).collect();
        let rows = texts.iter().map(|(text, count)| (text.as_ref(), *count));
        put_map(writer.field("subjects"), rows, |out, count| {
            out.extend_from_slice(base::text::Decimal::new(count).as_bytes());
        });
    }
    writer.natural_unless_zero("num_deleted", log.deleted_count());
    if extent.details.deleted && log.deleted_count() > 0 {
        let sequences: Vec<u64> = log.deleted().flatten().collect();
        crate::json::put_list(writer.field("deleted"), &sequences, |out, sequence| {
            out.extend_from_slice(base::text::Decimal::new(*sequence).as_bytes());
        });
    }
    let lost: Vec<u64> = log.lost().collect();
    if !lost.is_empty() {
        let mut writer = Writer::open(writer.field("lost"));
        crate::json::put_list(writer.field("msgs"), &lost, |out, sequence| {
            out.extend_from_slice(base::text::Decimal::new(*sequence).as_bytes());
        });
        // What is lost is not there to be counted.
        writer.natural("bytes", 0);
        writer.close();
    }
    writer.natural("consumer_count", stream.consumers.len() as u64);
    writer.close();
}
