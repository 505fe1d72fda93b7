//! `JetStream` loads: publishes that are acknowledged, stored messages that are read, keys and
//! values.
//!
//! Each run makes streams of its own, whose names begin with `BENCH`, and deletes them in the end.

mod api;
mod asking;
mod many;
mod reading;

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::args::{Common, Mode, Storage};
use super::block::push_payload;
use super::conn::Calls;
use super::failure::Failure;
use super::report::{Latency, Ledger, Report};
use super::throughput::Setting;
use api::Api;
use asking::Asking;

/// The bucket of the key-value loads.
const BUCKET: &str = "BENCH";

/// Runs one of the modes that need `JetStream`.
pub(crate) fn run(mode: &Mode, setting: &Setting<'_>) -> Result<Report, Failure> {
    let mut api = Api::open(setting.address, &setting.login)?;
    let result = match *mode {
        Mode::JsPublish { connections, pending, streams, storage } => {
            publish(&mut api, (connections, pending), (streams, storage), setting)
        }
        Mode::JsFetch { count, batch, ack, storage } => {
            reading::fetch(&mut api, count, (batch, ack), storage, setting)
        }
        Mode::JsOrdered { count, storage } => reading::ordered(&mut api, count, storage, setting),
        Mode::JsFill { count, subjects, storage } => {
            many::fill(&mut api, (count, subjects), storage, setting)
        }
        Mode::JsFilter { subjects, filters, storage } => {
            many::filter(&mut api, (subjects, filters), storage, setting)
        }
        Mode::JsFlood { storage } => many::flood(&mut api, storage, setting),
        Mode::KvPut { connections, keys } => put(&mut api, connections, keys, setting),
        Mode::KvGet { connections, keys } => get(&mut api, connections, keys, setting),
        _ => unreachable!("other modes are run elsewhere"),
    };
    api.delete_streams()?;
    result
}

/// The subject of a stream's messages.
fn subject(stream: u64) -> String {
    format!("bench.js.{stream}")
}

/// Makes a stream and answers its name.
fn make_stream(api: &mut Api, number: u64, storage: Storage) -> Result<String, Failure> {
    let name = format!("BENCH{number}");
    let config = json!({
        "name": name, "subjects": [subject(number)], "storage": storage.word(),
        "retention": "limits", "discard": "old", "num_replicas": 1,
        "max_consumers": -1, "max_msgs": -1, "max_bytes": -1, "max_age": 0,
    });
    api.make_stream(&config)?;
    Ok(name)
}

/// Publishes that wait for their acknowledgement, so many at a time on each connection.
fn publish(
    api: &mut Api,
    (connections, pending): (usize, usize),
    (streams, storage): (u64, Storage),
    setting: &Setting<'_>,
) -> Result<Report, Failure> {
    if streams == 0 {
        return Err(Failure::Usage("at least one stream".into()));
    }
    for number in 0..streams {
        make_stream(api, number, storage)?;
    }
    let write = publishes(setting.common, (0..streams).map(subject).collect());
    let asking = Asking::open(connections, pending, is_acknowledged, Box::new(write), setting)?;
    let parameters = json!({
        "connections": connections, "pending": pending, "streams": streams,
        "storage": storage.word(),
    });
    let mut report = measure(asking, setting, None)?;
    report.mode = "js-publish";
    report.unit = "acknowledged publishes";
    report.parameters = parameters;
    report.published = report.work;
    Ok(report)
}

/// Writes publish number so and so, with a reply subject.
fn publishes(common: &Common, subjects: Vec<String>) -> impl Fn(&mut Vec<u8>, u64, &str) + use<> {
    let size = common.size as usize;
    move |out, number, reply| {
        let subject = &subjects[number as usize % subjects.len()];
        out.extend_from_slice(b"PUB ");
        out.extend_from_slice(subject.as_bytes());
        out.push(b' ');
        out.extend_from_slice(reply.as_bytes());
        out.extend_from_slice(format!(" {size}\r\n").as_bytes());
        push_payload(out, number, size);
        out.extend_from_slice(b"\r\n");
    }
}

/// Is this the beginning of an acknowledgement, and not of an error?
fn is_acknowledged(head: &[u8]) -> bool {
    head.starts_with(b"{\"stream\":\"")
}

/// Is this the beginning of a stored message, and not of a status?
fn is_found(head: &[u8]) -> bool {
    head.starts_with(b"NATS/1.0\r\n")
}

fn key_subject(key: u64) -> String {
    format!("$KV.{BUCKET}.key-{key:08}")
}

/// Makes the bucket, as clients do.
fn make_bucket(api: &mut Api) -> Result<(), Failure> {
    let config = json!({
        "name": format!("KV_{BUCKET}"), "subjects": [format!("$KV.{BUCKET}.>")],
        "max_msgs_per_subject": 1, "discard": "new", "storage": "file", "num_replicas": 1,
        "allow_rollup_hdrs": true, "deny_delete": true, "allow_direct": true,
        "max_consumers": -1, "max_msgs": -1, "max_bytes": -1, "max_age": 0,
        "duplicate_window": 120_000_000_000_u64,
    });
    api.make_stream(&config)
}

/// Values are put under keys in turn, one at a time on each connection.
fn put(
    api: &mut Api,
    connections: usize,
    keys: u64,
    setting: &Setting<'_>,
) -> Result<Report, Failure> {
    make_bucket(api)?;
    let mut report = measure(putting(connections, 1, keys, setting)?, setting, None)?;
    report.mode = "kv-put";
    report.unit = "puts";
    report.parameters = json!({ "connections": connections, "keys": keys });
    report.published = report.work;
    Ok(report)
}

fn putting(
    connections: usize,
    window: usize,
    keys: u64,
    setting: &Setting<'_>,
) -> Result<Asking, Failure> {
    if keys == 0 {
        return Err(Failure::Usage("at least one key".into()));
    }
    let write = publishes(setting.common, (0..keys).map(key_subject).collect());
    Asking::open(connections, window, is_acknowledged, Box::new(write), setting)
}

/// Values are got by their keys in turn, one at a time on each connection.
fn get(
    api: &mut Api,
    connections: usize,
    keys: u64,
    setting: &Setting<'_>,
) -> Result<Report, Failure> {
    make_bucket(api)?;
    putting(1, 256, keys, setting)?.section(keys, std::time::Duration::MAX)?;
    let write = move |out: &mut Vec<u8>, number: u64, reply: &str| {
        let subject = key_subject(number % keys);
        let line = format!("PUB $JS.API.DIRECT.GET.KV_{BUCKET}.{subject} {reply} 0\r\n\r\n");
        out.extend_from_slice(line.as_bytes());
    };
    let asking = Asking::open(connections, 1, is_found, Box::new(write), setting)?;
    let mut report = measure(asking, setting, None)?;
    report.mode = "kv-get";
    report.unit = "gets";
    report.parameters = json!({ "connections": connections, "keys": keys });
    report.delivered = report.work;
    Ok(report)
}

/// Warms up, and measures one section; or a section of so many, and nothing before it.
fn measure(
    mut asking: Asking,
    setting: &Setting<'_>,
    count: Option<u64>,
) -> Result<Report, Failure> {
    let common = setting.common;
    if !common.warmup.is_zero() && count.is_none() {
        asking.section(u64::MAX, common.warmup)?;
    }
    let (limit, length) = match count.or(common.messages) {
        Some(messages) => (messages, std::time::Duration::MAX),
        None => (u64::MAX, common.duration),
    };
    let mut report = Report::default();
    let before = Calls::of(asking.conns());
    let ledger = Ledger::open(setting.server)?;
    let elapsed = asking.section(limit, length)?;
    report.work = asking.answered();
    report.payload_bytes = report.work * common.size;
    report.seconds = elapsed.as_secs_f64();
    let after = Calls::of(asking.conns());
    report.count_calls(after.0.since(before.0), after.1.since(before.1));
    ledger.close(&mut report)?;
    report.latency = Some(Latency::new(asking.histogram(), asking.gaps()));
    Ok(report)
}

/// What an answer of the API says went wrong.
fn complaint(answer: &Value) -> Option<String> {
    let error = answer.get("error")?;
    let mut text = error["description"].as_str().unwrap_or("an error").to_owned();
    let _ = write!(text, " ({})", error["err_code"]);
    Some(text)
}
