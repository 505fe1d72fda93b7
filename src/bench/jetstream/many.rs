//! Streams of many subjects: filled, read through filters, and flooded without acknowledgements.

use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::args::Storage;
use super::super::block::{Block, Source, SplitMix, push_payload};
use super::super::conn::{Calls, Conn, READ_MAX};
use super::super::failure::Failure;
use super::super::report::{Gaps, Latency, Ledger, Report, histogram, record};
use super::super::request::subscribe;
use super::super::scan::Event;
use super::super::throughput::Setting;
use super::api::Api;
use super::asking::{Asking, Write};
use super::{is_acknowledged, make_stream, measure, subject};

const STREAM: &str = "BENCH";
const INBOX: &str = "_INBOX.bench-many";
/// Publishes under way while a stream is filled.
const FILL_WINDOW: usize = 1024;
const STALL_MAX: Duration = Duration::from_secs(30);
/// A flooded stream that has not grown for so long has all that it will ever have.
const SETTLED_AFTER: Duration = Duration::from_secs(2);

fn many_subject(number: u64) -> String {
    format!("bench.many.{number:08}")
}

/// Publishes to so many subjects in turn.
fn writes(subjects: u64, size: usize) -> Write {
    Box::new(move |out, number, reply| {
        let subject = many_subject(number % subjects);
        out.extend_from_slice(format!("PUB {subject} {reply} {size}\r\n").as_bytes());
        push_payload(out, number, size);
        out.extend_from_slice(b"\r\n");
    })
}

fn make_many(api: &mut Api, storage: Storage) -> Result<(), Failure> {
    let config = json!({
        "name": STREAM, "subjects": ["bench.many.*"], "storage": storage.word(),
        "retention": "limits", "discard": "old", "num_replicas": 1,
        "max_consumers": -1, "max_msgs": -1, "max_bytes": -1, "max_age": 0,
    });
    api.make_stream(&config)
}

/// Fills a stream, which is left behind.
pub(crate) fn fill(
    api: &mut Api,
    (count, subjects): (u64, u64),
    storage: Storage,
    setting: &Setting<'_>,
) -> Result<Report, Failure> {
    if count == 0 || subjects == 0 {
        return Err(Failure::Usage("at least one message and one subject".into()));
    }
    make_many(api, storage)?;
    api.keep_streams();
    let write = writes(subjects, setting.size());
    let asking = Asking::open(1, FILL_WINDOW, is_acknowledged, write, setting)?;
    let mut report = measure(asking, setting, Some(count))?;
    report.mode = "js-fill";
    report.unit = "acknowledged publishes";
    report.parameters = json!({
        "count": count, "subjects": subjects, "storage": storage.word(), "stream": STREAM,
    });
    report.published = report.work;
    Ok(report)
}

/// Consumers with filters on a few of many subjects: each is made, read to its end and deleted.
pub(crate) fn filter(
    api: &mut Api,
    (subjects, filters): (u64, u64),
    storage: Storage,
    setting: &Setting<'_>,
) -> Result<Report, Failure> {
    if filters == 0 || subjects < filters {
        return Err(Failure::Usage("at least one filter, and no more than subjects".into()));
    }
    make_many(api, storage)?;
    let write = writes(subjects, setting.size());
    Asking::open(1, FILL_WINDOW, is_acknowledged, write, setting)?
        .section(subjects, Duration::MAX)?;
    let mut seeker = Seeker::open(subjects, filters, setting)?;
    // The first is not measured.
    seeker.round(api)?;
    let mut report = Report { mode: "js-filter", unit: "messages read", ..Report::default() };
    let (mut times, mut gaps) = (histogram(), Gaps::default());
    let before = Calls::of(std::slice::from_ref(&seeker.conn));
    let ledger = Ledger::open(setting.server)?;
    let started = Instant::now();
    while started.elapsed() < setting.common.duration {
        let begun = Instant::now();
        seeker.round(api)?;
        record(&mut times, begun.elapsed().as_nanos() as u64);
        gaps.record(Duration::ZERO);
        report.work += filters;
    }
    report.seconds = started.elapsed().as_secs_f64();
    report.delivered = report.work;
    report.payload_bytes = report.work * setting.common.size;
    report.parameters =
        json!({ "subjects": subjects, "filters": filters, "storage": storage.word() });
    let after = Calls::of(std::slice::from_ref(&seeker.conn));
    report.count_calls(after.0.since(before.0), after.1.since(before.1));
    ledger.close(&mut report)?;
    report.latency = Some(Latency::new(&times, &gaps));
    Ok(report)
}

/// Reads single subjects of a stream.
struct Seeker {
    conn: Conn,
    buffer: Vec<u8>,
    random: SplitMix,
    subjects: u64,
    filters: u64,
    rounds: u64,
}

impl Seeker {
    fn open(subjects: u64, filters: u64, setting: &Setting<'_>) -> Result<Self, Failure> {
        let mut conn = setting.open()?;
        subscribe(&mut conn, &format!("{INBOX}.*"))?;
        let random = SplitMix(setting.common.seed);
        Ok(Self { conn, buffer: vec![0; READ_MAX], random, subjects, filters, rounds: 0 })
    }

    /// Makes a consumer, reads what it finds, and deletes it.
    fn round(&mut self, api: &mut Api) -> Result<(), Failure> {
        self.rounds += 1;
        // One of each stretch, so that no subject comes twice.
        let stretch = self.subjects / self.filters;
        let wanted: Vec<String> = (0..self.filters)
            .map(|place| many_subject(place * stretch + self.random.below(stretch)))
            .collect();
        let config = json!({
            "filter_subjects": wanted, "ack_policy": "none", "deliver_policy": "all",
            "replay_policy": "instant", "mem_storage": true, "num_replicas": 1,
            "inactive_threshold": 300_000_000_000_u64,
        });
        let body = json!({ "stream_name": STREAM, "config": config });
        let answer = api.request(&format!("$JS.API.CONSUMER.CREATE.{STREAM}"), &body)?;
        let name = answer["name"].as_str();
        let name = name.ok_or_else(|| Failure::Protocol(answer.to_string()))?.to_owned();
        self.read(&name, &wanted)?;
        api.request(&format!("$JS.API.CONSUMER.DELETE.{STREAM}.{name}"), &Value::Null).map(drop)
    }

    fn read(&mut self, name: &str, wanted: &[String]) -> Result<(), Failure> {
        let count = self.filters;
        let body = json!({ "batch": count, "expires": 20_000_000_000_u64 }).to_string();
        let inbox = format!("{INBOX}.{}", self.rounds);
        let line = format!("PUB $JS.API.CONSUMER.MSG.NEXT.{STREAM}.{name} {inbox} {}", body.len());
        self.conn.queue().extend_from_slice(format!("{line}\r\n{body}\r\n").as_bytes());
        let (started, mut got, mut wrong) = (Instant::now(), 0, None);
        while got < count {
            self.conn.flush()?;
            self.conn.receive(&mut self.buffer, |event| {
                let Event::Message(message) = event else { return };
                match wanted.get(got as usize) {
                    Some(subject) if message.subject == subject.as_bytes() => got += 1,
                    _ => wrong = Some(String::from_utf8_lossy(message.subject).into_owned()),
                }
            })?;
            if let Some(subject) = wrong {
                return Err(Failure::Mismatch(format!("{subject} as message {got}")));
            }
            if started.elapsed() > STALL_MAX {
                return Err(Failure::Stalled(format!("{got} of {count} messages read")));
            }
        }
        Ok(())
    }
}

/// Publishes without a reply subject as fast as the connection takes them, and counts what of it
/// the stream has.
pub(crate) fn flood(
    api: &mut Api,
    storage: Storage,
    setting: &Setting<'_>,
) -> Result<Report, Failure> {
    let stream = make_stream(api, 0, storage)?;
    let block = Rc::new(Block::ordered(&subject(0), setting.size()));
    let mut source = Source::new(block);
    source.restart(setting.common.messages.unwrap_or(u64::MAX));
    let mut conn = setting.open()?;
    let mut report = Report { mode: "js-flood", unit: "stored messages", ..Report::default() };
    let ledger = Ledger::open(setting.server)?;
    let started = Instant::now();
    while !source.is_done() {
        if setting.common.messages.is_none() && started.elapsed() > setting.common.duration {
            source.stop();
        }
        let sent = conn.send(source.next(u64::MAX))?;
        source.advance(sent);
    }
    // The server has read all of it before it answers.
    subscribe(&mut conn, INBOX)?;
    report.published = source.messages();
    let (mut stored, mut grown) = (0, Instant::now());
    while stored < report.published && grown.elapsed() < SETTLED_AFTER {
        let info = api.request(&format!("$JS.API.STREAM.INFO.{stream}"), &Value::Null)?;
        let now = info["state"]["messages"].as_u64().unwrap_or(0);
        if now > stored {
            (stored, grown) = (now, Instant::now());
        }
    }
    report.seconds = (grown - started).as_secs_f64();
    report.work = stored;
    report.lost = Some(report.published - stored);
    report.payload_bytes = stored * setting.common.size;
    report.parameters = json!({ "storage": storage.word() });
    ledger.close(&mut report)?;
    Ok(report)
}
