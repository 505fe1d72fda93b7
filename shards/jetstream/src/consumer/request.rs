//! Requests about consumers: `$JS.API.CONSUMER.…` (spec 6.1).

use subjects::grammar;

use super::{
    Consumers,
    check::{NAME_BYTES_MAX, Surroundings, is_group, is_name},
    config::{AckPolicy, ConsumerConfig, DeliverPolicy},
    config_json::read_word,
    cursor::Consumer,
    desk::Desk,
};
use crate::{
    Config,
    api::Request,
    error::{Fault, table},
    json::{self, Decoder, Node, Writer, put_text},
    names,
    stamp::Stamp,
    stream::{Wanted, config::Retention},
};

/// Names on one page.
const NAMES_MAX: usize = 1024;
/// Descriptions on one page.
const LIST_MAX: usize = 256;

/// What a request to create a consumer may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Action {
    #[default]
    CreateOrUpdate,
    Create,
    Update,
}

/// A request to create a consumer.
#[derive(Debug, Default)]
struct Creation {
    stream: String,
    config: ConsumerConfig,
    action: Action,
    is_pedantic: bool,
}

/// Which subject a request to create a consumer came on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// `CONSUMER.CREATE.<stream>`.
    Ephemeral,
    /// `CONSUMER.DURABLE.CREATE.<stream>.<consumer>`.
    Durable,
    /// `CONSUMER.CREATE.<stream>.<consumer>`, with or without a filter.
    Named,
}

/// What a request for a list asks for.
fn offset_of(server: &Config, request: &Request<'_>) -> Result<usize, Fault> {
    let mut offset = 0_i64;
    if is_object_or_array(request.body) {
        request.decode("JSApiConsumersRequest", server.strict, |decoder, node| {
            decoder.object(node, "server.JSApiConsumersRequest", |decoder, name, field| {
                if name == "offset" {
                    decoder.integer(field, "int", &mut offset);
                }
                name == "offset"
            });
        })?;
    }
    Ok(usize::try_from(offset).unwrap_or(0))
}

fn is_object_or_array(body: &[u8]) -> bool {
    let first = body.iter().find(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
    matches!(first, Some(b'{' | b'['))
}

/// Is a body that has to be empty so?
fn check_empty(request: &Request<'_>) -> Result<(), Fault> {
    if request.is_empty() { Ok(()) } else { Err(table::NOT_EMPTY_REQUEST) }
}

impl Creation {
    fn read(server: &Config, request: &Request<'_>) -> Result<Self, Fault> {
        let mut creation = Self::default();
        request.decode("CreateConsumerRequest", server.strict, |decoder, node| {
            decoder.object(node, "server.CreateConsumerRequest", |decoder, name, field| {
                creation.read_field(decoder, name, field)
            });
        })?;
        Ok(creation)
    }

    fn read_field(&mut self, decoder: &mut Decoder, name: &str, node: &Node<'_>) -> bool {
        match name {
            "stream_name" => decoder.text(node, &mut self.stream),
            "config" => self.config.read(decoder, node),
            "action" => {
                let words = [
                    ("", Action::CreateOrUpdate),
                    ("create", Action::Create),
                    ("update", Action::Update),
                ];
                let complain = |raw: &str| format!("unknown consumer action: {raw}");
                read_word(decoder, node, &words, &mut self.action, complain);
            }
            "pedantic" => decoder.bool(node, &mut self.is_pedantic),
            _ => return false,
        }
        true
    }

    /// Makes subject and configuration agree.
    fn check_names(&mut self, request: &Request<'_>) -> Result<(), Fault> {
        let tokens = grammar::tokens(request.subject).count();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (form, stream, name, filter) = match request.token(4) {
            b"DURABLE" if tokens != 7 => return Err(table::CONSUMER_DURABLE_NAME_NOT_IN_SUBJECT),
            b"DURABLE" => (Form::Durable, request.token(6), text(request.token(7)), &[][..]),
            _ if tokens == 5 => {
                (Form::Ephemeral, request.token(5), self.config.name.clone(), &[][..])
            }
            _ => (Form::Named, request.token(5), text(request.token(6)), request.rest(7)),
        };
        if stream != self.stream.as_bytes() {
            return Err(table::STREAM_MISMATCH);
        }
        if name.contains(['\\', '/']) {
            return Err(table::CONSUMER_NAME_CONTAINS_PATH_SEPARATORS);
        }
        let config = &mut self.config;
        match form {
            Form::Durable if config.durable.is_empty() => {
                return Err(table::CONSUMER_DURABLE_NAME_NOT_SET);
            }
            Form::Durable | Form::Named => {
                if !config.durable.is_empty() && config.durable != name {
                    return Err(table::CONSUMER_DURABLE_NAME_NOT_MATCH_SUBJECT);
                }
                config.name = name;
            }
            Form::Ephemeral if !config.durable.is_empty() => {
                return Err(table::CONSUMER_EPHEMERAL_WITH_DURABLE_NAME);
            }
            Form::Ephemeral => {}
        }
        if !filter.is_empty() && !config.filters.is_empty() {
            return Err(table::CONSUMER_MULTIPLE_FILTERS_NOT_ALLOWED);
        }
        if !filter.is_empty() && config.filter.as_bytes() != filter {
            return Err(table::CONSUMER_CREATE_FILTER_SUBJECT_MISMATCH);
        }
        if config.replicas > 1 {
            return Err(table::STREAM_REPLICAS_NOT_SUPPORTED);
        }
        Ok(())
    }
}

/// What is wrong with a request about a consumer, whatever the stream: the reference looks for it
/// in front of the stream.
///
/// # Errors
/// What the answer's `error` is to be.
pub fn check_request(server: &Config, request: &Request<'_>) -> Result<(), Fault> {
    match request.token(4) {
        b"CREATE" | b"DURABLE" => Creation::read(server, request)?.check_names(request),
        b"INFO" | b"DELETE" => check_empty(request),
        b"NAMES" | b"LIST" => offset_of(server, request).map(|_| ()),
        b"PAUSE" => pause_of(server, request).map(|_| ()),
        b"UNPIN" => unpin_of(request.body).map(|_| ()),
        _ => Err(table::CLUSTER_REQUIRED),
    }
}

fn pause_of(server: &Config, request: &Request<'_>) -> Result<Option<Stamp>, Fault> {
    let mut until = None;
    if is_object_or_array(request.body) {
        request.decode("JSApiConsumerPauseRequest", server.strict, |decoder, node| {
            decoder.object(node, "server.JSApiConsumerPauseRequest", |decoder, name, field| {
                if name == "pause_until" {
                    decoder.time(field, &mut until);
                }
                name == "pause_until"
            });
        })?;
    }
    Ok(until.map(Stamp::utc).filter(|until: &Stamp| !until.is_zero()))
}

fn unpin_of(body: &[u8]) -> Result<String, Fault> {
    let mut group = String::new();
    let mut decoder = Decoder::new("JSApiConsumerUnpinRequest", false);
    let node = json::read_whole(body).map_err(|text| table::INVALID_JSON.because(text))?;
    decoder.object(&node, "server.JSApiConsumerUnpinRequest", |decoder, name, field| {
        if name == "group" {
            decoder.text(field, &mut group);
        }
        name == "group"
    });
    decoder.finish().map_err(|text| table::INVALID_JSON.because(text))?;
    if group.is_empty() {
        return Err(table::INVALID_JSON.because("consumer group not specified"));
    }
    if !is_group(&group) {
        return Err(table::CONSUMER_INVALID_GROUP_NAME);
    }
    Ok(group)
}

fn open<'a>(answer: &'a mut Vec<u8>, kind: &str) -> Writer<'a> {
    let mut fields = Writer::open(answer);
    fields.text("type", &format!("io.nats.jetstream.api.v1.consumer_{kind}_response"));
    fields
}

impl Consumers {
    /// Serves a request; see [`Consumers::request`].
    pub(super) fn serve(
        &mut self,
        desk: &mut Desk<'_, '_>,
        request: &Request<'_>,
        answer: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        let server = desk.view.server;
        match request.token(4) {
            b"CREATE" | b"DURABLE" => self.serve_create(desk, request, answer),
            b"INFO" => {
                check_empty(request)?;
                let place = self.find(request.token(6))?;
                let mut fields = open(answer, "info");
                self.consumer(place).put_info(desk, &mut fields, true);
                fields.close();
                Ok(())
            }
            b"NAMES" => {
                let offset = offset_of(server, request)?;
                self.serve_names(offset, answer);
                Ok(())
            }
            b"LIST" => {
                let offset = offset_of(server, request)?;
                self.serve_list(desk, offset, answer);
                Ok(())
            }
            b"DELETE" => {
                check_empty(request)?;
                let place = self.find(request.token(6))?;
                self.delete(desk, place);
                let mut fields = open(answer, "delete");
                fields.flag("success", true);
                fields.close();
                Ok(())
            }
            b"PAUSE" => {
                let until = pause_of(server, request)?;
                let place = self.find(request.token(6))?;
                self.serve_pause(desk, place, until, answer)
            }
            b"UNPIN" => {
                let group = unpin_of(request.body)?;
                let place = self.find(request.token(6))?;
                let consumer = self.consumer(place);
                if !consumer.config.priority_groups.contains(&group) {
                    return Err(table::CONSUMER_INVALID_PRIORITY_GROUP);
                }
                consumer.unpin(desk, &group, "admin");
                self.mark(place);
                open(answer, "unpin").close();
                Ok(())
            }
            _ => Err(table::CLUSTER_REQUIRED),
        }
    }

    fn find(&self, name: &[u8]) -> Result<u32, Fault> {
        let name = std::str::from_utf8(name).ok();
        let place = name.and_then(|name| self.place_of(name));
        place.ok_or(table::CONSUMER_NOT_FOUND)
    }

    fn serve_names(&self, offset: usize, answer: &mut Vec<u8>) {
        let names: Vec<&str> = self.public().map(|(name, _)| name).collect();
        let offset = offset.min(names.len());
        let mut fields = open(answer, "names");
        fields.natural("total", names.len() as u64);
        fields.natural("offset", offset as u64);
        fields.natural("limit", NAMES_MAX as u64);
        let page: Vec<&str> = names[offset..].iter().take(NAMES_MAX).copied().collect();
        json::put_list(fields.field("consumers"), &page, |out, name| put_text(out, name));
        fields.close();
    }

    fn serve_list(&mut self, desk: &mut Desk<'_, '_>, offset: usize, answer: &mut Vec<u8>) {
        let places: Vec<u32> = self.public().map(|(_, place)| place).collect();
        let offset = offset.min(places.len());
        let mut fields = open(answer, "list");
        fields.natural("total", places.len() as u64);
        fields.natural("offset", offset as u64);
        fields.natural("limit", LIST_MAX as u64);
        let page: Vec<u32> = places[offset..].iter().take(LIST_MAX).copied().collect();
        json::put_list(fields.field("consumers"), &page, |out, place| {
            let mut info = Writer::open(out);
            self.consumer(*place).put_info(desk, &mut info, false);
            info.close();
        });
        fields.close();
    }

    fn serve_pause(
        &mut self,
        desk: &mut Desk<'_, '_>,
        place: u32,
        until: Option<Stamp>,
        answer: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        let consumer = self.consumer(place);
        let mut config = consumer.config.clone();
        config.pause_until = until;
        config.stamp_level();
        self.update(desk, place, config)?;
        let now = desk.view.now.wall;
        let mut fields = open(answer, "pause");
        let left = until.map_or(0, |until| until.wall().0.saturating_sub(now.0)).max(0);
        fields.flag("paused", left > 0);
        until.unwrap_or(Stamp::ZERO).put(fields.field("pause_until"));
        fields.integer_unless_zero("pause_remaining", left);
        fields.close();
        Ok(())
    }

    fn serve_create(
        &mut self,
        desk: &mut Desk<'_, '_>,
        request: &Request<'_>,
        answer: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        let mut creation = Creation::read(desk.view.server, request)?;
        creation.check_names(request)?;
        Self::make_durable(desk, &mut creation.config);
        let existing = self.place_of(&creation.config.name);
        if let Some(place) = existing {
            // Whether it is paused is changed by PAUSE alone.
            let config = &self.consumer(place).config;
            creation.config.pause_until = config.pause_until;
            if creation.config.sourcing && creation.config.is_durable() {
                creation.config.deliver_policy = config.deliver_policy;
                creation.config.start_sequence = config.start_sequence;
                creation.config.start_time = config.start_time;
            }
        }
        creation.config.stamp_level();
        let Creation { config, action, is_pedantic, .. } = creation;
        let place = self.create(desk, config, action, is_pedantic)?;
        let mut fields = open(answer, "create");
        self.consumer(place).put_info(desk, &mut fields, true);
        fields.close();
        let is_paused = self.consumer(place).paused_until(desk.view.now.wall).is_some();
        if is_paused {
            self.consumer(place).tell_paused(desk);
        }
        Ok(())
    }

    /// A consumer that feeds a source keeps its place if the stream lets go of what is consumed;
    /// otherwise it gets a name of its own.
    fn make_durable(desk: &mut Desk<'_, '_>, config: &mut ConsumerConfig) {
        if !config.direct || !config.sourcing || config.name.is_empty() {
            return;
        }
        if desk.view.core.config.retention == Retention::Limits {
            let suffix = names::of_consumer(desk.view.random);
            config.name = format!("{}-{suffix}", config.name);
            return;
        }
        config.direct = false;
        config.durable.clone_from(&config.name);
        config.ack_policy = AckPolicy::FlowControl;
        config.ack_wait = 0;
        config.max_deliver = 0;
        config.inactive_threshold = 0;
    }

    /// Creates or changes a consumer.
    fn create(
        &mut self,
        desk: &mut Desk<'_, '_>,
        mut config: ConsumerConfig,
        action: Action,
        is_pedantic: bool,
    ) -> Result<u32, Fault> {
        let around = Surroundings {
            server: desk.view.server,
            limits: desk.view.limits,
            stream: &desk.view.core.config,
        };
        config.fill_in(around, is_pedantic)?;
        config.check(around)?;
        let name = if config.is_durable() { config.durable.clone() } else { config.name.clone() };
        if let Some(place) = self.place_of(&name) {
            if action == Action::Create {
                let existing = &self.consumer(place).config;
                config.copy_level(existing);
                if config.shown() != existing.shown() {
                    return Err(table::CONSUMER_ALREADY_EXISTS);
                }
            }
            if around.stream.retention == Retention::WorkQueue && !self.is_apart(&name, &config) {
                return Err(table::CONSUMER_WQ_CONSUMER_NOT_UNIQUE);
            }
            self.update(desk, place, config)?;
            return Ok(place);
        }
        if action == Action::Update {
            return Err(table::CONSUMER_DOES_NOT_EXIST);
        }
        self.check_room(around, &config)?;
        self.check_queue(around, &name, &config)?;
        if config.durable.len() > NAME_BYTES_MAX {
            return Err(table::CONSUMER_NAME_TOO_LONG.with("{max}", NAME_BYTES_MAX));
        }
        let name = if name.is_empty() { self.make_name(desk) } else { name };
        if !is_name(&name) {
            return Err(table::CONSUMER_BAD_DURABLE_NAME);
        }
        let mut consumer = Consumer::new(name, config, desk.view)?;
        consumer.begin(desk.view);
        let place = self.insert(desk, consumer);
        let consumer = self.consumer(place);
        consumer.note_config(desk);
        consumer.note_state(desk);
        consumer.tell_created(desk);
        desk.view.wanted.push(Wanted::InterestChanged);
        Ok(place)
    }

    fn make_name(&self, desk: &mut Desk<'_, '_>) -> String {
        loop {
            let name = names::of_consumer(desk.view.random);
            if self.place_of(&name).is_none() {
                return name;
            }
        }
    }

    fn check_room(&self, around: Surroundings<'_>, config: &ConsumerConfig) -> Result<(), Fault> {
        if config.direct || config.sourcing {
            return Ok(());
        }
        let of_account = around.limits.max_consumers;
        let mut most = around.stream.max_consumers;
        if most <= 0 || (of_account > 0 && of_account < most) {
            most = of_account;
        }
        if most <= 0 {
            most = around.server.limits.default_max_consumers;
        }
        if most > 0 && self.limitable().count() as i64 >= most {
            return Err(table::MAXIMUM_CONSUMERS_LIMIT);
        }
        Ok(())
    }

    /// On a work queue each message has at most one consumer.
    fn check_queue(
        &self,
        around: Surroundings<'_>,
        name: &str,
        config: &ConsumerConfig,
    ) -> Result<(), Fault> {
        let is_queue = around.stream.retention == Retention::WorkQueue;
        if !is_queue || config.direct || config.sourcing {
            return Ok(());
        }
        if !matches!(config.ack_policy, AckPolicy::Explicit | AckPolicy::FlowControl) {
            return Err(table::CONSUMER_WQ_REQUIRES_EXPLICIT_ACK);
        }
        if config.deliver_policy != DeliverPolicy::All {
            return Err(table::CONSUMER_WQ_CONSUMER_NOT_DELIVER_ALL);
        }
        if self.limitable().next().is_none() {
            return Ok(());
        }
        if config.all_filters().next().is_none() {
            return Err(table::CONSUMER_WQ_MULTIPLE_UNFILTERED);
        }
        if !self.is_apart(name, config) {
            return Err(table::CONSUMER_WQ_CONSUMER_NOT_UNIQUE);
        }
        Ok(())
    }

    /// Is there no other consumer that wants a subject which this one wants?
    fn is_apart(&self, name: &str, config: &ConsumerConfig) -> bool {
        let others = self.limitable().filter(|other| other.name != name);
        let collides = |other: &Consumer| {
            let mut filters = other.config.all_filters().peekable();
            filters.peek().is_none() && config.all_filters().next().is_some()
                || filters.any(|filter| {
                    let filter = filter.as_bytes();
                    config.all_filters().any(|own| grammar::collide(own.as_bytes(), filter))
                })
        };
        !others.into_iter().any(collides)
    }
}

impl ConsumerConfig {
    /// As it is compared with another: without what the server fills in of its own.
    fn shown(&self) -> Self {
        let mut shown = self.clone();
        if !shown.is_durable() && shown.inactive_threshold == 0 {
            shown.inactive_threshold = super::check::INACTIVE_DEFAULT;
        }
        shown
    }
}
