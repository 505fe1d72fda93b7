//! A stream's configuration as JSON: in requests, answers and in the log's notes.

use std::collections::BTreeMap;

use crate::json::{Decoder, Node, Writer, put_list};
use crate::stream::config::{
    Compression, ConsumerLimits, Discard, External, Persist, Placement, Republish, Retention,
    Source, SourceConsumer, Storage, StreamConfig, Transform,
};

/// A configuration as it was asked for.
#[derive(Debug, Default)]
pub(crate) struct Wish {
    pub(crate) config: StreamConfig,
    /// Is what would be corrected refused?
    pub(crate) pedantic: bool,
}

/// Reads the object of a request to create or update a stream.
pub(crate) fn read_wish(decoder: &mut Decoder, node: &Node<'_>, wish: &mut Wish) {
    decoder.object(node, "server.StreamConfigRequest", |decoder, name, field| {
        if name == "pedantic" {
            decoder.bool(field, &mut wish.pedantic);
            return true;
        }
        take_field(decoder, name, field, &mut wish.config)
    });
}

/// Reads a configuration that stands alone: in a note, or in a request to restore a stream.
pub(crate) fn read_config(decoder: &mut Decoder, node: &Node<'_>, config: &mut StreamConfig) {
    decoder.object(node, "server.StreamConfig", |decoder, name, field| {
        take_field(decoder, name, field, config)
    });
}

fn take_field(
    decoder: &mut Decoder,
    name: &str,
    field: &Node<'_>,
    config: &mut StreamConfig,
) -> bool {
    match name {
        "name" => decoder.text(field, &mut config.name),
        "description" => decoder.text(field, &mut config.description),
        "subjects" => decoder.texts(field, &mut config.subjects),
        "max_consumers" => decoder.integer(field, "int", &mut config.max_consumers),
        "max_msgs" => decoder.integer(field, "int64", &mut config.max_msgs),
        "max_bytes" => decoder.integer(field, "int64", &mut config.max_bytes),
        "max_age" => decoder.duration(field, &mut config.max_age),
        "max_msgs_per_subject" => {
            decoder.integer(field, "int64", &mut config.max_msgs_per_subject);
        }
        "max_msg_size" => decoder.integer(field, "int32", &mut config.max_msg_size),
        "num_replicas" => decoder.integer(field, "int", &mut config.replicas),
        "duplicate_window" => decoder.duration(field, &mut config.duplicate_window),
        "first_seq" => decoder.integer(field, "uint64", &mut config.first_seq),
        "subject_delete_marker_ttl" => {
            decoder.duration(field, &mut config.subject_delete_marker_ttl);
        }
        "metadata" => match &field.value {
            crate::json::Value::Null => config.metadata = None,
            _ => decoder.map(field, config.metadata.get_or_insert_default()),
        },
        _ => {
            return take_flag(decoder, name, field, config)
                || take_part(decoder, name, field, config);
        }
    }
    true
}

fn take_flag(
    decoder: &mut Decoder,
    name: &str,
    field: &Node<'_>,
    config: &mut StreamConfig,
) -> bool {
    let flag = match name {
        "no_ack" => &mut config.no_ack,
        "allow_direct" => &mut config.allow_direct,
        "mirror_direct" => &mut config.mirror_direct,
        "discard_new_per_subject" => &mut config.discard_new_per_subject,
        "sealed" => &mut config.sealed,
        "deny_delete" => &mut config.deny_delete,
        "deny_purge" => &mut config.deny_purge,
        "allow_rollup_hdrs" => &mut config.allow_rollup,
        "allow_msg_ttl" => &mut config.allow_msg_ttl,
        "allow_msg_counter" => &mut config.allow_msg_counter,
        "allow_atomic" => &mut config.allow_atomic,
        "allow_msg_schedules" => &mut config.allow_msg_schedules,
        "allow_batched" => &mut config.allow_batched,
        _ => return false,
    };
    decoder.bool(field, flag);
    true
}

fn take_part(
    decoder: &mut Decoder,
    name: &str,
    field: &Node<'_>,
    config: &mut StreamConfig,
) -> bool {
    match name {
        "retention" => choose(decoder, field, &RETENTIONS, &mut config.retention),
        "discard" => choose_in_any_case(decoder, field, &DISCARDS, &mut config.discard),
        "storage" => choose(decoder, field, &STORAGES, &mut config.storage),
        "compression" => choose_compression(decoder, field, &mut config.compression),
        "persist_mode" => choose(decoder, field, &PERSISTS, &mut config.persist),
        "placement" => optional(decoder, field, &mut config.placement, read_placement),
        "mirror" => optional(decoder, field, &mut config.mirror, read_source),
        "sources" => {
            decoder.list(field, "[]*server.StreamSource", &mut config.sources, read_source);
        }
        "subject_transform" => {
            optional(decoder, field, &mut config.subject_transform, read_transform);
        }
        "republish" => optional(decoder, field, &mut config.republish, read_republish),
        "consumer_limits" => read_limits(decoder, field, &mut config.consumer_limits),
        _ => return false,
    }
    true
}

const RETENTIONS: [(&str, Retention); 3] = [
    ("limits", Retention::Limits),
    ("interest", Retention::Interest),
    ("workqueue", Retention::WorkQueue),
];
const DISCARDS: [(&str, Discard); 2] = [("old", Discard::Old), ("new", Discard::New)];
const STORAGES: [(&str, Storage); 2] = [("file", Storage::File), ("memory", Storage::Memory)];
const PERSISTS: [(&str, Persist); 3] =
    [("default", Persist::Default), ("async", Persist::Async), ("", Persist::Default)];

/// The word of a value, as it stands in the first row that has it.
fn word<T: PartialEq>(choices: &[(&'static str, T)], value: &T) -> &'static str {
    let row = choices.iter().find(|(_, choice)| choice == value);
    row.expect("every value has a word").0
}

fn choose<T: Copy>(
    decoder: &mut Decoder,
    node: &Node<'_>,
    choices: &[(&'static str, T)],
    into: &mut T,
) {
    let inside = node.raw.strip_prefix(b"\"").and_then(|raw| raw.strip_suffix(b"\""));
    match choices.iter().find(|(word, _)| inside == Some(word.as_bytes())) {
        Some((_, choice)) => *into = *choice,
        None => decoder.complain(format!("can not unmarshal {}", quoted(node))),
    }
}

fn choose_in_any_case<T: Copy>(
    decoder: &mut Decoder,
    node: &Node<'_>,
    choices: &[(&'static str, T)],
    into: &mut T,
) {
    let lower = node.raw.to_ascii_lowercase();
    let plain = Node { raw: &lower, value: crate::json::Value::Null };
    let known = choices.iter().any(|(word, _)| lower == format!("\"{word}\"").as_bytes());
    choose(decoder, if known { &plain } else { node }, choices, into);
}

fn choose_compression(decoder: &mut Decoder, node: &Node<'_>, into: &mut Compression) {
    match node.raw {
        b"\"none\"" => *into = Compression::None,
        b"\"s2\"" => *into = Compression::S2,
        // The reference reads it as text first, on its own.
        _ => {
            let mut alone = Decoder::new("string", true);
            alone.text_alone(node);
            let complaint = alone.finish().err();
            decoder.complain(complaint.unwrap_or("unknown compression algorithm".into()));
        }
    }
}

fn quoted(node: &Node<'_>) -> String {
    crate::json::go_quoted(node.raw)
}

/// Fills what may be left out: `null` takes it away.
fn optional<T: Default>(
    decoder: &mut Decoder,
    node: &Node<'_>,
    into: &mut Option<T>,
    read: impl Fn(&mut Decoder, &Node<'_>, &mut T),
) {
    match node.value {
        crate::json::Value::Null => *into = None,
        _ => read(decoder, node, into.get_or_insert_default()),
    }
}

fn read_placement(decoder: &mut Decoder, node: &Node<'_>, placement: &mut Placement) {
    decoder.object(node, "server.Placement", |decoder, name, field| {
        match name {
            "cluster" => decoder.text(field, &mut placement.cluster),
            "tags" => decoder.texts(field, &mut placement.tags),
            "preferred" => decoder.text(field, &mut placement.preferred),
            _ => return false,
        }
        true
    });
}

fn read_source(decoder: &mut Decoder, node: &Node<'_>, source: &mut Source) {
    decoder.object(node, "server.StreamSource", |decoder, name, field| {
        match name {
            "name" => decoder.text(field, &mut source.name),
            "opt_start_seq" => decoder.integer(field, "uint64", &mut source.start_sequence),
            "opt_start_time" => decoder.time(field, &mut source.start_time),
            "filter_subject" => decoder.text(field, &mut source.filter),
            "subject_transforms" => decoder.list(
                field,
                "[]server.SubjectTransformConfig",
                &mut source.transforms,
                read_transform,
            ),
            "external" => optional(decoder, field, &mut source.external, read_external),
            "consumer" => optional(decoder, field, &mut source.consumer, read_consumer),
            _ => return false,
        }
        true
    });
}

fn read_external(decoder: &mut Decoder, node: &Node<'_>, external: &mut External) {
    decoder.object(node, "server.ExternalStream", |decoder, name, field| {
        match name {
            "api" => decoder.text(field, &mut external.api),
            "deliver" => decoder.text(field, &mut external.deliver),
            _ => return false,
        }
        true
    });
}

fn read_consumer(decoder: &mut Decoder, node: &Node<'_>, consumer: &mut SourceConsumer) {
    decoder.object(node, "server.StreamConsumerSource", |decoder, name, field| {
        match name {
            "name" => decoder.text(field, &mut consumer.name),
            "deliver_subject" => decoder.text(field, &mut consumer.deliver_subject),
            _ => return false,
        }
        true
    });
}

fn read_transform(decoder: &mut Decoder, node: &Node<'_>, transform: &mut Transform) {
    decoder.object(node, "server.SubjectTransformConfig", |decoder, name, field| {
        match name {
            "src" => decoder.text(field, &mut transform.source),
            "dest" => decoder.text(field, &mut transform.destination),
            _ => return false,
        }
        true
    });
}

fn read_republish(decoder: &mut Decoder, node: &Node<'_>, republish: &mut Republish) {
    decoder.object(node, "server.RePublish", |decoder, name, field| {
        match name {
            "src" => decoder.text(field, &mut republish.source),
            "dest" => decoder.text(field, &mut republish.destination),
            "headers_only" => decoder.bool(field, &mut republish.headers_only),
            _ => return false,
        }
        true
    });
}

fn read_limits(decoder: &mut Decoder, node: &Node<'_>, limits: &mut ConsumerLimits) {
    decoder.object(node, "server.StreamConsumerLimits", |decoder, name, field| {
        match name {
            "inactive_threshold" => decoder.duration(field, &mut limits.inactive_threshold),
            "max_ack_pending" => decoder.integer(field, "int", &mut limits.max_ack_pending),
            _ => return false,
        }
        true
    });
}

/// Writes a configuration in the reference's order, with the server's notes for answers if there
/// are any.
pub(crate) fn put_config(out: &mut Vec<u8>, config: &StreamConfig, notes: &[(&str, &str)]) {
    let mut writer = Writer::open(out);
    writer.text("name", &config.name);
    writer.text_unless_empty("description", &config.description);
    writer.texts_unless_empty("subjects", &config.subjects);
    writer.text("retention", word(&RETENTIONS, &config.retention));
    writer.integer("max_consumers", config.max_consumers);
    writer.integer("max_msgs", config.max_msgs);
    writer.integer("max_bytes", config.max_bytes);
    writer.integer("max_age", config.max_age);
    writer.integer("max_msgs_per_subject", config.max_msgs_per_subject);
    writer.integer_unless_zero("max_msg_size", i64::from(config.max_msg_size));
    writer.text("discard", word(&DISCARDS, &config.discard));
    writer.text("storage", word(&STORAGES, &config.storage));
    writer.integer("num_replicas", config.replicas);
    writer.flag_if_set("no_ack", config.no_ack);
    writer.integer_unless_zero("duplicate_window", config.duplicate_window);
    if let Some(placement) = &config.placement {
        put_placement(writer.field("placement"), placement);
    }
    if let Some(mirror) = &config.mirror {
        put_source(writer.field("mirror"), mirror);
    }
    if !config.sources.is_empty() {
        put_list(writer.field("sources"), &config.sources, put_source);
    }
    let compression = if config.compression == Compression::S2 { "s2" } else { "none" };
    writer.text("compression", compression);
    writer.natural_unless_zero("first_seq", config.first_seq);
    if let Some(transform) = &config.subject_transform {
        put_transform(writer.field("subject_transform"), transform);
    }
    if let Some(republish) = &config.republish {
        put_republish(writer.field("republish"), republish);
    }
    put_flags(&mut writer, config);
    put_metadata(&mut writer, config.metadata.as_ref(), notes);
    writer.close();
}

fn put_flags(writer: &mut Writer<'_>, config: &StreamConfig) {
    writer.flag("allow_direct", config.allow_direct);
    writer.flag("mirror_direct", config.mirror_direct);
    writer.flag_if_set("discard_new_per_subject", config.discard_new_per_subject);
    writer.flag("sealed", config.sealed);
    writer.flag("deny_delete", config.deny_delete);
    writer.flag("deny_purge", config.deny_purge);
    writer.flag("allow_rollup_hdrs", config.allow_rollup);
    let mut limits = Writer::open(writer.field("consumer_limits"));
    limits.integer_unless_zero("inactive_threshold", config.consumer_limits.inactive_threshold);
    limits.integer_unless_zero("max_ack_pending", config.consumer_limits.max_ack_pending);
    limits.close();
    writer.flag("allow_msg_ttl", config.allow_msg_ttl);
    writer.integer_unless_zero("subject_delete_marker_ttl", config.subject_delete_marker_ttl);
    writer.flag_if_set("allow_msg_counter", config.allow_msg_counter);
    writer.flag_if_set("allow_atomic", config.allow_atomic);
    writer.flag_if_set("allow_msg_schedules", config.allow_msg_schedules);
    if config.persist == Persist::Async {
        writer.text("persist_mode", "async");
    }
    writer.flag_if_set("allow_batched", config.allow_batched);
}

/// Writes the user's and the server's notes together, in order of name.
fn put_metadata(
    writer: &mut Writer<'_>,
    metadata: Option<&BTreeMap<String, String>>,
    notes: &[(&str, &str)],
) {
    let users = metadata.into_iter().flatten();
    let mut all: BTreeMap<&str, &str> =
        users.map(|(name, value)| (name.as_str(), value.as_str())).collect();
    all.extend(notes.iter().copied());
    if all.is_empty() {
        return;
    }
    let out = writer.field("metadata");
    put_map(out, all.iter().map(|(name, value)| (*name, *value)), crate::json::put_text);
}

/// Writes an object whose names are data.
pub(crate) fn put_map<'a, T>(
    out: &mut Vec<u8>,
    rows: impl Iterator<Item = (&'a str, T)>,
    put: impl Fn(&mut Vec<u8>, T),
) {
    out.push(b'{');
    for (place, (name, value)) in rows.enumerate() {
        if place > 0 {
            out.push(b',');
        }
        crate::json::put_text(out, name);
        out.push(b':');
        put(out, value);
    }
    out.push(b'}');
}

fn put_placement(out: &mut Vec<u8>, placement: &Placement) {
    let mut writer = Writer::open(out);
    writer.text_unless_empty("cluster", &placement.cluster);
    writer.texts_unless_empty("tags", &placement.tags);
    writer.text_unless_empty("preferred", &placement.preferred);
    writer.close();
}

fn put_source(out: &mut Vec<u8>, source: &Source) {
    let mut writer = Writer::open(out);
    writer.text("name", &source.name);
    writer.natural_unless_zero("opt_start_seq", source.start_sequence);
    if let Some(time) = source.start_time {
        time.put(writer.field("opt_start_time"));
    }
    writer.text_unless_empty("filter_subject", &source.filter);
    put_transforms(&mut writer, &source.transforms);
    if let Some(external) = &source.external {
        put_external(writer.field("external"), external);
    }
    if let Some(consumer) = &source.consumer {
        let mut writer = Writer::open(writer.field("consumer"));
        writer.text_unless_empty("name", &consumer.name);
        writer.text_unless_empty("deliver_subject", &consumer.deliver_subject);
        writer.close();
    }
    writer.close();
}

pub(crate) fn put_transforms(writer: &mut Writer<'_>, transforms: &[Transform]) {
    if !transforms.is_empty() {
        put_list(writer.field("subject_transforms"), transforms, put_transform);
    }
}

pub(crate) fn put_external(out: &mut Vec<u8>, external: &External) {
    let mut writer = Writer::open(out);
    writer.text("api", &external.api);
    writer.text("deliver", &external.deliver);
    writer.close();
}

fn put_transform(out: &mut Vec<u8>, transform: &Transform) {
    let mut writer = Writer::open(out);
    writer.text("src", &transform.source);
    writer.text("dest", &transform.destination);
    writer.close();
}

fn put_republish(out: &mut Vec<u8>, republish: &Republish) {
    let mut writer = Writer::open(out);
    writer.text_unless_empty("src", &republish.source);
    writer.text("dest", &republish.destination);
    writer.flag_if_set("headers_only", republish.headers_only);
    writer.close();
}
