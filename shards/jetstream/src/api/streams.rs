//! Streams are made, changed, listed and removed.

use std::collections::BTreeMap;

use base::limits::{API_LIST_MAX, API_NAMES_MAX};
use subjects::grammar::collide;

use super::info::{Details, Extent, Subjects, put_stream};
use super::request::Request;
use super::verbs::{Verb, put_page};
use super::{Call, Outcome};
use crate::advisory::publish_action;
use crate::error::{Fault, table};
use crate::json::{Writer, put_text};
use crate::stream::check::invalid;
use crate::stream::codec::{Wish, read_wish};
use crate::stream::config::{Persist, StreamConfig};
use crate::stream::purge::Scope;
use crate::{JetStream, Outlet, StreamId};

/// The level of the API that a stream needs, as its metadata says.
const REQUIRED_LEVEL: &str = "_nats.req.level";
/// Metadata that is added to answers and not kept.
const DYNAMIC: [&str; 2] = ["_nats.ver", "_nats.level"];

/// Notes in the metadata what the configuration needs of a server.
fn set_required_level(config: &mut StreamConfig) {
    let mut level = 0;
    if config.allow_msg_ttl || config.subject_delete_marker_ttl > 0 {
        level = 1;
    }
    if config.allow_msg_counter
        || config.allow_atomic
        || config.allow_msg_schedules
        || config.persist == Persist::Async
    {
        level = 2;
    }
    if config.allow_batched {
        level = 4;
    }
    let metadata = config.metadata.get_or_insert_default();
    forget_dynamic(metadata);
    metadata.insert(REQUIRED_LEVEL.into(), level.to_string());
}

fn forget_dynamic(metadata: &mut BTreeMap<String, String>) {
    for name in DYNAMIC {
        metadata.remove(name);
    }
}

/// Which page of streams is asked for, and of those with which subjects.
#[derive(Debug, Default)]
struct Page {
    subject: String,
    offset: i64,
}

impl Page {
    fn read(request: &Request<'_>, root: &'static str, strict: bool) -> Result<Self, Fault> {
        let mut page = Self::default();
        if !request.has_fields() {
            return Ok(page);
        }
        request.decode(root, strict, |decoder, node| {
            decoder.object(node, "server.JSApiStreamNamesRequest", |decoder, name, field| {
                match name {
                    "offset" => decoder.integer(field, "int", &mut page.offset),
                    "subject" => decoder.text(field, &mut page.subject),
                    _ => return false,
                }
                true
            });
        })?;
        Ok(page)
    }
}

impl JetStream {
    fn read_wish(&self, call: &Call<'_>) -> Result<Wish, Fault> {
        let mut wish = Wish::default();
        let strict = self.ground.config.strict;
        call.request.decode("StreamConfigRequest", strict, |decoder, node| {
            read_wish(decoder, node, &mut wish);
        })?;
        Ok(wish)
    }

    /// `STREAM.CREATE`.
    pub(super) fn stream_create(
        &mut self,
        call: &Call<'_>,
        writer: &mut Writer<'_>,
        out: &mut dyn Outlet,
    ) -> Result<Outcome, Fault> {
        let mut wish = self.read_wish(call)?;
        set_required_level(&mut wish.config);
        let name = call.stream(Verb::StreamCreate);
        if name != wish.config.name {
            return Err(table::STREAM_MISMATCH);
        }
        if name.contains(['\\', '/']) {
            return Err(table::STREAM_NAME_CONTAINS_PATH_SEPARATORS);
        }
        if wish.config.sealed {
            return Err(invalid("stream configuration for create can not be sealed"));
        }
        if wish.config.mirror_direct && wish.config.mirror.is_none() {
            return Err(invalid("stream has no mirror but does have mirror direct"));
        }
        let id = self.create_stream(call, wish, out)?;
        let extent = Extent { with_level: true, ..Extent::default() };
        self.put_stream(writer, id, call, &extent);
        writer.flag("did_create", true);
        Ok(Outcome::Answered)
    }

    /// `STREAM.UPDATE`.
    pub(super) fn stream_update(
        &mut self,
        call: &Call<'_>,
        writer: &mut Writer<'_>,
        out: &mut dyn Outlet,
    ) -> Result<Outcome, Fault> {
        let mut wish = self.read_wish(call)?;
        self.check_config(call.account, &mut wish)?;
        let name = call.stream(Verb::StreamUpdate);
        if name != wish.config.name {
            return Err(table::STREAM_MISMATCH);
        }
        let id = self.find_stream(call.account, name)?;
        set_required_level(&mut wish.config);
        self.update_stream(call, id, wish, out)?;
        let extent = Extent { with_level: true, with_domain: true, ..Extent::default() };
        self.put_stream(writer, id, call, &extent);
        Ok(Outcome::Answered)
    }

    fn put_stream(&self, writer: &mut Writer<'_>, id: StreamId, call: &Call<'_>, extent: &Extent) {
        put_stream(writer, self.stream(id), &self.ground, call.now, extent);
    }

    /// The account's streams that store any subject of a pattern, in order of name.
    fn listed_streams(&self, call: &Call<'_>, subject: &str) -> Vec<StreamId> {
        let account = self.account(call.account).expect("the caller looked");
        let stores = |id: &StreamId| {
            let subjects = &self.stream(*id).core.config.subjects;
            subjects.iter().any(|other| collide(subject.as_bytes(), other.as_bytes()))
        };
        let all = account.streams.values().copied();
        all.filter(|id| subject.is_empty() || stores(id)).collect()
    }

    /// `STREAM.NAMES`.
    pub(super) fn stream_names(
        &self,
        call: &Call<'_>,
        writer: &mut Writer<'_>,
    ) -> Result<Outcome, Fault> {
        let strict = self.ground.config.strict;
        let page = Page::read(call.request, "JSApiStreamNamesRequest", strict)?;
        let streams = self.listed_streams(call, &page.subject);
        let offset = usize::try_from(page.offset).unwrap_or(0).min(streams.len());
        put_page(writer, (streams.len(), offset, API_NAMES_MAX));
        let rest = &streams[offset..];
        if rest.is_empty() {
            writer.field("streams").extend_from_slice(b"null");
        } else {
            let rest = &rest[..rest.len().min(API_NAMES_MAX)];
            crate::json::put_list(writer.field("streams"), rest, |out, id| {
                put_text(out, &self.stream(*id).core.config.name);
            });
        }
        Ok(Outcome::Answered)
    }

    /// `STREAM.LIST`.
    pub(super) fn stream_list(
        &self,
        call: &Call<'_>,
        writer: &mut Writer<'_>,
    ) -> Result<Outcome, Fault> {
        let strict = self.ground.config.strict;
        let page = Page::read(call.request, "JSApiStreamListRequest", strict)?;
        let streams = self.listed_streams(call, &page.subject);
        let offset = usize::try_from(page.offset).unwrap_or(0).min(streams.len());
        put_page(writer, (streams.len(), offset, API_LIST_MAX));
        let rest = &streams[offset..];
        let rest = &rest[..rest.len().min(API_LIST_MAX)];
        let extent = Extent { with_domain: true, ..Extent::default() };
        crate::json::put_list(writer.field("streams"), rest, |out, id| {
            let mut writer = Writer::open(out);
            self.put_stream(&mut writer, *id, call, &extent);
            writer.close();
        });
        Ok(Outcome::Answered)
    }

    /// `STREAM.INFO`.
    pub(super) fn stream_info(
        &self,
        call: &Call<'_>,
        writer: &mut Writer<'_>,
    ) -> Result<Outcome, Fault> {
        let details = Details::read(call.request, self.ground.config.strict)?;
        let id = self.find_stream(call.account, call.stream(Verb::StreamInfo))?;
        let log = self.ground.store.log(self.stream(id).core.log);
        Subjects::of(log, &details).put_page(writer);
        let extent = Extent { details, with_level: true, with_domain: true, with_cluster: true };
        self.put_stream(writer, id, call, &extent);
        Ok(Outcome::Answered)
    }

    /// `STREAM.DELETE`.
    pub(super) fn stream_delete(
        &mut self,
        call: &Call<'_>,
        writer: &mut Writer<'_>,
        out: &mut dyn Outlet,
    ) -> Result<Outcome, Fault> {
        if !call.request.is_empty() {
            return Err(table::NOT_EMPTY_REQUEST);
        }
        let name = call.stream(Verb::StreamDelete);
        let id = self.find_stream(call.account, name)?;
        self.delete_stream(call.now, id, out);
        publish_action(&mut self.ground, out, call.now, (call.account, name), "delete");
        writer.flag("success", true);
        Ok(Outcome::Answered)
    }

    /// `STREAM.PURGE`.
    pub(super) fn stream_purge(
        &mut self,
        call: &Call<'_>,
        writer: &mut Writer<'_>,
        out: &mut dyn Outlet,
    ) -> Result<Outcome, Fault> {
        let (mut filter, mut below, mut keep) = (String::new(), 0_u64, 0_u64);
        let strict = self.ground.config.strict;
        if call.request.has_fields() {
            call.request.decode("JSApiStreamPurgeRequest", strict, |decoder, node| {
                decoder.object(node, "server.JSApiStreamPurgeRequest", |decoder, name, field| {
                    match name {
                        "seq" => decoder.integer(field, "uint64", &mut below),
                        "filter" => decoder.text(field, &mut filter),
                        "keep" => decoder.integer(field, "uint64", &mut keep),
                        _ => return false,
                    }
                    true
                });
            })?;
        }
        if below > 0 && keep > 0 {
            return Err(table::BAD_REQUEST);
        }
        let id = self.find_stream(call.account, call.stream(Verb::StreamPurge))?;
        let config = &self.stream(id).core.config;
        if config.sealed {
            return Err(table::STREAM_SEALED);
        }
        if config.deny_purge {
            return Err(table::STREAM_PURGE_FAILED.because("stream purge not permitted"));
        }
        let (stream, mut site) = self.at_stream(id, call.now, out);
        let scope = Scope { filter: filter.as_bytes(), below, keep };
        let purged = stream.purge(&mut site, &scope);
        stream.attend(&mut site);
        writer.flag("success", true);
        writer.natural("purged", purged);
        Ok(Outcome::Answered)
    }
}
