//! Stored messages are read, all of them, again and again.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::args::Storage;
use super::super::conn::{Calls, Conn, READ_MAX};
use super::super::failure::Failure;
use super::super::report::{Ledger, Report};
use super::super::request::subscribe;
use super::super::scan::{Event, Message};
use super::super::throughput::Setting;
use super::api::Api;
use super::asking::Asking;
use super::{is_acknowledged, make_stream, publishes, subject};

const INBOX: &str = "_INBOX.bench-read";
const STALL_MAX: Duration = Duration::from_secs(30);
/// Publishes under way while the stream is filled.
const FILL_WINDOW: usize = 1024;

/// How a consumer is read.
#[derive(Debug, Clone, Copy)]
enum Manner {
    /// By pull requests for so many messages, each acknowledged or none.
    Fetch { batch: u64, ack: bool },
    /// Pushed in order, with flow control.
    Push,
}

/// Pull requests: two are under way, so that the server need not wait for the next.
pub(crate) fn fetch(
    api: &mut Api,
    count: u64,
    (batch, ack): (u64, bool),
    storage: Storage,
    setting: &Setting<'_>,
) -> Result<Report, Failure> {
    if batch == 0 {
        return Err(Failure::Usage("a batch of at least one".into()));
    }
    let mut report = rounds(api, count, Manner::Fetch { batch, ack }, storage, setting)?;
    report.mode = "js-fetch";
    report.parameters =
        json!({ "count": count, "batch": batch, "ack": ack, "storage": storage.word() });
    Ok(report)
}

/// A push consumer as clients make an ordered one.
pub(crate) fn ordered(
    api: &mut Api,
    count: u64,
    storage: Storage,
    setting: &Setting<'_>,
) -> Result<Report, Failure> {
    let mut report = rounds(api, count, Manner::Push, storage, setting)?;
    report.mode = "js-ordered";
    report.parameters = json!({ "count": count, "storage": storage.word() });
    Ok(report)
}

/// Fills a stream and reads it until the time is over, in whole rounds.
fn rounds(
    api: &mut Api,
    count: u64,
    manner: Manner,
    storage: Storage,
    setting: &Setting<'_>,
) -> Result<Report, Failure> {
    if count == 0 {
        return Err(Failure::Usage("at least one message".into()));
    }
    let stream = make_stream(api, 0, storage)?;
    let write = publishes(setting.common, vec![subject(0)]);
    let mut filling = Asking::open(1, FILL_WINDOW, is_acknowledged, Box::new(write), setting)?;
    filling.section(count, Duration::MAX)?;
    drop(filling);
    let conn = setting.open()?;
    let mut reader = Reader { conn, buffer: vec![0; READ_MAX], round: 0, stream, manner };
    // The first is not measured.
    reader.round(api, count)?;
    let mut report = Report { unit: "messages read", ..Report::default() };
    let before = Calls::of(std::slice::from_ref(&reader.conn));
    let ledger = Ledger::open(setting.server)?;
    let started = Instant::now();
    let wanted = setting.common.messages.unwrap_or(u64::MAX);
    while report.work < wanted
        && (setting.common.messages.is_some() || started.elapsed() < setting.common.duration)
    {
        reader.round(api, count)?;
        report.work += count;
    }
    report.seconds = started.elapsed().as_secs_f64();
    report.delivered = report.work;
    report.payload_bytes = report.work * setting.common.size;
    let after = Calls::of(std::slice::from_ref(&reader.conn));
    report.count_calls(after.0.since(before.0), after.1.since(before.1));
    ledger.close(&mut report)?;
    Ok(report)
}

struct Reader {
    conn: Conn,
    buffer: Vec<u8>,
    round: u64,
    stream: String,
    manner: Manner,
}

impl Reader {
    /// Reads every message once with a consumer of its own.
    fn round(&mut self, api: &mut Api, count: u64) -> Result<(), Failure> {
        self.round += 1;
        let inbox = format!("{INBOX}.{}", self.round);
        subscribe(&mut self.conn, &inbox)?;
        let name = self.make_consumer(api, &inbox)?;
        let path = format!("{}.{name}", self.stream);
        let (mut got, mut asked, mut moved_at) = (0, 0, Instant::now());
        while got < count {
            if let Manner::Fetch { batch, .. } = self.manner {
                while asked < count && asked < got + 2 * batch {
                    let size = batch.min(count - asked);
                    let body = json!({ "batch": size, "expires": 20_000_000_000_u64 }).to_string();
                    let length = body.len();
                    let line = format!("PUB $JS.API.CONSUMER.MSG.NEXT.{path} {inbox} {length}\r\n");
                    self.conn.queue().extend_from_slice(format!("{line}{body}\r\n").as_bytes());
                    asked += size;
                }
            }
            let before = got;
            self.turn(&inbox, &mut got)?;
            if got > before {
                moved_at = Instant::now();
            } else if moved_at.elapsed() > STALL_MAX {
                return Err(Failure::Stalled(format!("{got} of {count} messages read")));
            }
        }
        // The name of a subscription is free again; a server goes by the subject itself when it
        // asks whether anyone hears what a consumer pushes.
        self.conn.queue().extend_from_slice(b"UNSUB 1\r\n");
        while !self.conn.flush()? {}
        self.finish(api, &path, count)
    }

    fn make_consumer(&self, api: &mut Api, inbox: &str) -> Result<String, Failure> {
        let config = match self.manner {
            Manner::Fetch { ack, .. } => json!({
                "ack_policy": if ack { "explicit" } else { "none" }, "deliver_policy": "all",
                "replay_policy": "instant", "max_ack_pending": -1, "num_replicas": 1,
                "ack_wait": 60_000_000_000_u64, "inactive_threshold": 300_000_000_000_u64,
            }),
            Manner::Push => json!({
                "deliver_subject": inbox, "ack_policy": "none", "deliver_policy": "all",
                "replay_policy": "instant", "max_deliver": 1, "flow_control": true,
                "idle_heartbeat": 5_000_000_000_u64, "ack_wait": 79_200_000_000_000_u64,
                "mem_storage": true, "num_replicas": 1,
            }),
        };
        let stream = &self.stream;
        let body = json!({ "stream_name": stream, "config": config });
        let answer = api.request(&format!("$JS.API.CONSUMER.CREATE.{stream}"), &body)?;
        let name = answer["name"].as_str();
        name.map(str::to_owned).ok_or_else(|| Failure::Protocol(answer.to_string()))
    }

    /// Reads what is there: messages in order, and what is to be answered between them.
    fn turn(&mut self, inbox: &str, got: &mut u64) -> Result<(), Failure> {
        let mut answers = Vec::new();
        let mut wrong = None;
        let manner = self.manner;
        self.conn.receive(&mut self.buffer, |event| {
            let Event::Message(message) = event else { return };
            match sequence_of(&message) {
                Some(sequence) if sequence == *got + 1 => {
                    *got += 1;
                    if let (Manner::Fetch { ack: true, .. }, Some(reply)) = (manner, message.reply)
                    {
                        answers.extend_from_slice(b"PUB ");
                        answers.extend_from_slice(reply);
                        answers.extend_from_slice(b" 4\r\n+ACK\r\n");
                    }
                }
                Some(sequence) => wrong = Some(format!("{sequence} after {got}")),
                None if message.head.starts_with(b"NATS/1.0 100") => {
                    if let Some(reply) = message.reply {
                        answers.extend_from_slice(b"PUB ");
                        answers.extend_from_slice(reply);
                        answers.extend_from_slice(b" 0\r\n\r\n");
                    }
                }
                // A status for a request of an earlier round comes late.
                None if message.subject != inbox.as_bytes() => {}
                None => wrong = Some(String::from_utf8_lossy(message.head).into_owned()),
            }
        })?;
        if let Some(what) = wrong {
            return Err(Failure::Mismatch(what));
        }
        self.conn.queue().append(&mut answers);
        if self.conn.has_queued() {
            self.conn.flush()?;
        }
        Ok(())
    }

    /// Waits until every acknowledgement has arrived, and deletes the consumer.
    fn finish(&self, api: &mut Api, path: &str, count: u64) -> Result<(), Failure> {
        let started = Instant::now();
        let mut acknowledged = !matches!(self.manner, Manner::Fetch { ack: true, .. });
        while !acknowledged {
            let info = api.request(&format!("$JS.API.CONSUMER.INFO.{path}"), &Value::Null)?;
            acknowledged = info["ack_floor"]["consumer_seq"] == json!(count);
            if started.elapsed() > STALL_MAX {
                return Err(Failure::Stalled(format!("acknowledgements: {}", info["ack_floor"])));
            }
        }
        api.request(&format!("$JS.API.CONSUMER.DELETE.{path}"), &Value::Null).map(drop)
    }
}

/// The place of a message among the consumer's deliveries:
/// `$JS.ACK.STREAM.CONSUMER.DELIVERIES.STREAM-SEQUENCE.SEQUENCE.TIME.PENDING`, or, with a domain
/// and an account in front, the same two tokens later.
fn sequence_of(message: &Message<'_>) -> Option<u64> {
    let reply = message.reply?.strip_prefix(b"$JS.ACK.")?;
    let tokens: Vec<&[u8]> = reply.split(|byte| *byte == b'.').collect();
    let token = if tokens.len() == 7 { tokens[4] } else { *tokens.get(6)? };
    std::str::from_utf8(token).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_says_its_place() {
        let message = |reply| Message { subject: b"s", sid: b"1", reply, size: 0, head: b"" };
        let short = b"$JS.ACK.BENCH0.name.1.12.34.1700000000000000000.5";
        assert_eq!(sequence_of(&message(Some(short))), Some(34));
        let long = b"$JS.ACK._.hash.BENCH0.name.1.12.34.1700000000000000000.5.random";
        assert_eq!(sequence_of(&message(Some(long))), Some(34));
        assert_eq!(sequence_of(&message(Some(b"$JS.FC.x"))), None);
        assert_eq!(sequence_of(&message(None)), None);
    }
}
