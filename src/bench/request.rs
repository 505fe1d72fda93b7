//! Requests one at a time on each connection, answered by a responder in the same thread.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::block::push_payload;
use super::conn::{Calls, Conn, READ_MAX};
use super::failure::Failure;
use super::poll::Poller;
use super::report::{Gaps, Latency, Ledger, Report, histogram, record};
use super::scan::{Event, HEAD};
use super::throughput::Setting;

const SERVICE: &str = "bench.service";
/// Hexadecimal digits of a request's number in its reply subject.
const TOKEN: usize = 8;
const STALL_MAX: Duration = Duration::from_secs(30);
/// Turns between looks at the clock.
const STALL_TURNS: u64 = 4096;

/// Runs the closed loop.
pub(crate) fn run(connections: usize, setting: &Setting<'_>) -> Result<Report, Failure> {
    if connections == 0 {
        return Err(Failure::Usage("at least one connection".into()));
    }
    let mut ring = Ring::open(connections, setting)?;
    if !setting.common.warmup.is_zero() {
        ring.section(u64::MAX, setting.common.warmup)?;
    }
    let (limit, length) = match setting.common.messages {
        Some(messages) => (messages, Duration::MAX),
        None => (u64::MAX, setting.common.duration),
    };
    let mut report = Report {
        mode: "request",
        parameters: serde_json::json!({ "connections": connections }),
        unit: "requests",
        ..Report::default()
    };
    let before = Calls::of(&ring.conns);
    let ledger = Ledger::open(setting.server)?;
    let elapsed = ring.section(limit, length)?;
    report.work = ring.histogram.len();
    report.seconds = elapsed.as_secs_f64();
    report.published = report.work * 2;
    report.delivered = report.work * 2;
    report.payload_bytes = report.work * 4 * setting.common.size;
    let after = Calls::of(&ring.conns);
    report.count_calls(after.0.since(before.0), after.1.since(before.1));
    ledger.close(&mut report)?;
    report.latency = Some(Latency::new(&ring.histogram, &ring.gaps));
    Ok(report)
}

/// One requester: its request is encoded once, and only number and stamp change.
#[derive(Debug)]
struct Requester {
    request: Vec<u8>,
    token_at: usize,
    stamp_at: usize,
    number: u64,
    sent_at: Duration,
    waiting: bool,
}

impl Requester {
    fn new(inbox: &str, size: usize) -> Self {
        let mut request = format!("PUB {SERVICE} {inbox}.").into_bytes();
        let token_at = request.len();
        request.extend_from_slice(format!("{:0TOKEN$x} {size}\r\n", 0).as_bytes());
        let stamp_at = request.len();
        push_payload(&mut request, 0, size);
        request.extend_from_slice(b"\r\n");
        Self { request, token_at, stamp_at, number: 0, sent_at: Duration::ZERO, waiting: false }
    }

    fn token(&self) -> &[u8] {
        &self.request[self.token_at..self.token_at + TOKEN]
    }

    /// The first bytes of the payload, as the reply must bring them back.
    fn head(&self) -> &[u8] {
        let payload = &self.request[self.stamp_at..self.request.len() - 2];
        &payload[..payload.len().min(HEAD)]
    }

    fn next(&mut self, now: Duration) -> &[u8] {
        self.number += 1;
        for place in 0..TOKEN {
            let nibble = (self.number >> (4 * (TOKEN - 1 - place))) & 0xf;
            self.request[self.token_at + place] = b"0123456789abcdef"[nibble as usize];
        }
        let stamp = (self.request.len() - 2 - self.stamp_at).min(8);
        self.request[self.stamp_at..self.stamp_at + stamp]
            .copy_from_slice(&self.number.to_le_bytes()[..stamp]);
        self.sent_at = now;
        self.waiting = true;
        &self.request
    }
}

/// The responder, connection 0, and the requesters behind it.
#[derive(Debug)]
struct Ring {
    conns: Vec<Conn>,
    requesters: Vec<Requester>,
    poller: Poller,
    buffer: Vec<u8>,
    replies: Vec<u8>,
    size: usize,
    histogram: Histogram<u64>,
    gaps: Gaps,
}

impl Ring {
    fn open(connections: usize, setting: &Setting<'_>) -> Result<Self, Failure> {
        let mut responder = setting.open()?;
        subscribe(&mut responder, SERVICE)?;
        let (mut conns, mut requesters) = (vec![responder], Vec::new());
        for index in 0..connections {
            let inbox = format!("_INBOX.bench{index:06}");
            let mut conn = setting.open()?;
            subscribe(&mut conn, &format!("{inbox}.*"))?;
            conns.push(conn);
            requesters.push(Requester::new(&inbox, setting.size()));
        }
        let poller = Poller::new(&conns, |_| false)?;
        Ok(Self {
            conns,
            requesters,
            poller,
            buffer: vec![0; READ_MAX],
            replies: Vec::new(),
            size: setting.size(),
            histogram: histogram(),
            gaps: Gaps::default(),
        })
    }

    /// Requests until `limit` or `length` is reached, then waits for the answers that are due.
    fn section(&mut self, limit: u64, length: Duration) -> Result<Duration, Failure> {
        self.histogram.reset();
        self.gaps = Gaps::default();
        let started = Instant::now();
        let mut asked = 0;
        for (requester, conn) in self.requesters.iter_mut().zip(&mut self.conns[1..]) {
            if asked < limit {
                conn.queue().extend_from_slice(requester.next(started.elapsed()));
                conn.flush()?;
                asked += 1;
            }
        }
        let (mut turns, mut last, mut seen) = (0_u64, Duration::ZERO, (0, Duration::ZERO));
        while self.histogram.len() < asked {
            let now = started.elapsed();
            self.gaps.record(now.saturating_sub(last));
            last = now;
            let more = now < length;
            asked = self.turn(started, if more { limit } else { asked }, asked)?;
            turns += 1;
            if turns.is_multiple_of(STALL_TURNS) {
                if self.histogram.len() != seen.0 {
                    seen = (self.histogram.len(), now);
                } else if now.saturating_sub(seen.1) > STALL_MAX {
                    let what = format!("{asked} requests, {} answers", self.histogram.len());
                    return Err(Failure::Stalled(what));
                }
            }
        }
        Ok(started.elapsed())
    }

    /// Answers what the responder received, and asks again where an answer came.
    fn turn(&mut self, started: Instant, limit: u64, mut asked: u64) -> Result<u64, Failure> {
        for ready in self.poller.ready()? {
            let conn = &mut self.conns[ready.index];
            if ready.index == 0 {
                let (replies, size) = (&mut self.replies, self.size);
                conn.receive(&mut self.buffer, |event| answer(replies, size, &event))?;
                conn.queue().append(replies);
                conn.flush()?;
                continue;
            }
            let requester = &mut self.requesters[ready.index - 1];
            let mut verdict = None;
            conn.receive(&mut self.buffer, |event| {
                if let Event::Message(message) = event {
                    let right = requester.waiting
                        && verdict.is_none()
                        && message.subject.ends_with(requester.token())
                        && message.head == requester.head();
                    verdict = Some(right);
                }
            })?;
            match verdict {
                None => {}
                Some(false) => return Err(Failure::Mismatch("a reply to another request".into())),
                Some(true) => {
                    let now = started.elapsed();
                    let waited = now.saturating_sub(requester.sent_at);
                    record(&mut self.histogram, waited.as_nanos() as u64);
                    requester.waiting = false;
                    if asked < limit {
                        conn.queue().extend_from_slice(requester.next(now));
                        asked += 1;
                    }
                }
            }
            if conn.has_queued() {
                conn.flush()?;
            }
        }
        Ok(asked)
    }
}

/// Subscribes and waits until the server has done so.
pub(crate) fn subscribe(conn: &mut Conn, subject: &str) -> Result<(), Failure> {
    conn.queue().extend_from_slice(format!("SUB {subject} 1\r\nPING\r\n").as_bytes());
    let (started, pongs) = (Instant::now(), conn.pongs);
    let mut buffer = [0; 4096];
    while conn.pongs == pongs {
        conn.flush()?;
        conn.receive(&mut buffer, |_| {})?;
        if started.elapsed() > STALL_MAX {
            return Err(Failure::Stalled(format!("subscribing to {subject}")));
        }
    }
    Ok(())
}

/// Echoes size and head of a request to its reply subject.
fn answer(replies: &mut Vec<u8>, size: usize, event: &Event<'_>) {
    let Event::Message(message) = event else {
        return;
    };
    let Some(reply) = message.reply else { return };
    replies.extend_from_slice(b"PUB ");
    replies.extend_from_slice(reply);
    replies.extend_from_slice(format!(" {size}\r\n").as_bytes());
    let start = replies.len();
    replies.extend_from_slice(message.head);
    replies.resize(start + size, b'.');
    replies.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_carries_its_number_twice() {
        let mut requester = Requester::new("_INBOX.a", 10);
        requester.next(Duration::ZERO);
        let request = requester.next(Duration::ZERO).to_vec();
        let wanted = b"PUB bench.service _INBOX.a.00000002 10\r\n\x02\0\0\0\0\0\0\0..\r\n";
        assert_eq!(request, wanted);
        assert_eq!(requester.token(), b"00000002");
        assert_eq!(requester.head(), b"\x02\0\0\0\0\0\0\0..");
    }

    #[test]
    fn the_answer_is_as_long_as_the_request() {
        let mut replies = Vec::new();
        let message = super::super::scan::Message {
            subject: b"bench.service",
            sid: b"1",
            reply: Some(b"_INBOX.a.1"),
            size: 20,
            head: b"0123456789abcdef",
        };
        answer(&mut replies, 20, &Event::Message(message));
        assert_eq!(replies, b"PUB _INBOX.a.1 20\r\n0123456789abcdef....\r\n");
    }
}
