//! Messages at a fixed rate, timed from the moment each was to be sent.
//!
//! When the server, the machine or the load itself pauses, the messages that should have been sent
//! in the meantime are sent late and timed from their own moment: the pause shows in all of them.

use std::path::Path;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::conn::{Calls, Conn, READ_MAX};
use super::failure::Failure;
use super::flow::{Delivery, Flow, Member, Section};
use super::poll::Poller;
use super::progress::Progress;
use super::report::{Gaps, Latency, Ledger, Report, hgrm, histogram, record};
use super::scan::{Event, HEAD};
use super::throughput::Setting;

/// After the last message, the longest wait for those on their way.
const DRAIN_MAX: Duration = Duration::from_secs(30);
/// Turns between looks at publishers, which only have PINGs to say.
const LISTEN_TURNS: u64 = 64;

/// Runs the open loop.
pub(crate) fn run(
    rate: u64,
    pairs: usize,
    hgrm_file: Option<&Path>,
    setting: &Setting<'_>,
) -> Result<Report, Failure> {
    if rate == 0 || pairs == 0 {
        return Err(Failure::Usage("a rate and at least one pair".into()));
    }
    if setting.size() < HEAD {
        return Err(Failure::Usage(format!("--size of at least {HEAD}, for the stamp")));
    }
    let mut line = Line::open(rate, pairs, setting)?;
    line.section(setting.common.warmup)?;
    let mut report = Report {
        mode: "latency",
        parameters: serde_json::json!({ "rate": rate, "pairs": pairs }),
        ..Report::default()
    };
    let ledger = Ledger::open(setting.server)?;
    let section = line.section(setting.common.duration)?;
    report.count(&section, setting.size());
    ledger.close(&mut report)?;
    report.latency = Some(Latency::new(&line.histogram, &line.gaps));
    if let Some(path) = hgrm_file {
        let text = hgrm(&line.histogram);
        std::fs::write(path, text).map_err(Failure::io("writing the percentile distribution"))?;
    }
    Ok(report)
}

/// When each message is due.
#[derive(Debug, Clone, Copy)]
struct Schedule {
    rate: u64,
}

impl Schedule {
    fn due_ns(self, number: u64) -> u64 {
        (u128::from(number) * 1_000_000_000 / u128::from(self.rate)) as u64
    }

    fn messages(self, length: Duration) -> u64 {
        (length.as_nanos() * u128::from(self.rate) / 1_000_000_000) as u64
    }
}

/// What a message carries: its number and when it was to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    number: u64,
    due_ns: u64,
}

impl Stamp {
    fn encode(self) -> [u8; HEAD] {
        let mut bytes = [0; HEAD];
        bytes[..8].copy_from_slice(&self.number.to_le_bytes());
        bytes[8..].copy_from_slice(&self.due_ns.to_le_bytes());
        bytes
    }

    fn decode(head: &[u8]) -> Option<Self> {
        let (number, due_ns) = head.split_first_chunk()?;
        let due_ns = u64::from_le_bytes(*due_ns.first_chunk()?);
        Some(Self { number: u64::from_le_bytes(*number), due_ns })
    }
}

/// What one subscriber must receive next, and what it has received.
#[derive(Debug)]
struct Arrivals {
    next: u64,
    step: u64,
    schedule: Schedule,
    received: u64,
    wrong: Option<Stamp>,
}

impl Arrivals {
    /// Checks a message and records how late it is.
    fn take(&mut self, stamp: Option<Stamp>, now_ns: u64, histogram: &mut Histogram<u64>) {
        let wanted = Stamp { number: self.next, due_ns: self.schedule.due_ns(self.next) };
        let stamp = stamp.unwrap_or(Stamp { number: u64::MAX, due_ns: 0 });
        if stamp != wanted {
            self.wrong.get_or_insert(stamp);
            return;
        }
        self.next += self.step;
        self.received += 1;
        record(histogram, now_ns.saturating_sub(stamp.due_ns));
    }
}

/// Publishers at even places, their subscribers behind them.
#[derive(Debug)]
struct Line {
    conns: Vec<Conn>,
    /// Control lines of each pair's publishes.
    heads: Vec<Vec<u8>>,
    filling: Vec<u8>,
    poller: Poller,
    buffer: Vec<u8>,
    schedule: Schedule,
    histogram: Histogram<u64>,
    gaps: Gaps,
}

impl Line {
    fn open(rate: u64, pairs: usize, setting: &Setting<'_>) -> Result<Self, Failure> {
        let (mut members, mut heads) = (Vec::new(), Vec::new());
        for pair in 0..pairs {
            let subject = format!("bench.{pair}");
            heads.push(format!("PUB {subject} {}\r\n", setting.size()).into_bytes());
            members.push(Member { conn: setting.open()?, source: None, group: 0 });
            let mut conn = setting.open()?;
            conn.queue().extend_from_slice(format!("SUB {subject} 1\r\n").as_bytes());
            members.push(Member { conn, source: None, group: 0 });
        }
        let mut flow = Flow::new(members, Delivery::Nobody, 0)?;
        flow.barrier(|_| true)?;
        let conns = flow.into_conns();
        let poller = Poller::new(&conns, |_| false)?;
        let mut filling = vec![b'.'; setting.size() - HEAD];
        filling.extend_from_slice(b"\r\n");
        Ok(Self {
            conns,
            heads,
            filling,
            poller,
            buffer: vec![0; READ_MAX],
            schedule: Schedule { rate },
            histogram: histogram(),
            gaps: Gaps::default(),
        })
    }

    /// Sends for `length` and receives everything.
    fn section(&mut self, length: Duration) -> Result<Section, Failure> {
        self.histogram.reset();
        self.gaps = Gaps::default();
        self.conns.iter_mut().for_each(|conn| conn.scanner.restart());
        let pairs = self.heads.len() as u64;
        let first = |pair| Arrivals {
            next: pair,
            step: pairs,
            schedule: self.schedule,
            received: 0,
            wrong: None,
        };
        let mut arrivals: Vec<_> = (0..pairs).map(first).collect();
        let total = self.schedule.messages(length);
        let (reads, writes) = Calls::of(&self.conns);
        let (mut next, mut last, mut turns) = (0, Duration::ZERO, 0_u64);
        let (started, mut progress) = (Instant::now(), Progress::start());
        while arrivals.iter().map(|arrivals| arrivals.received).sum::<u64>() < total {
            let now = started.elapsed();
            self.gaps.record(now.saturating_sub(last));
            last = now;
            progress.tick(started + now, || format!("{:.0} s, {next} sent", now.as_secs_f64()));
            next = self.send_due(next, total, now.as_nanos() as u64)?;
            turns += 1;
            self.receive(started, &mut arrivals, turns.is_multiple_of(LISTEN_TURNS))?;
            if now > length + DRAIN_MAX {
                return Err(Failure::Stalled(format!("of {next} messages some never came")));
            }
        }
        let (reads_after, writes_after) = Calls::of(&self.conns);
        Ok(Section {
            published: total,
            delivered: total,
            delivered_bytes: self.conns.iter().map(|conn| conn.scanner.payload_bytes()).sum(),
            elapsed: started.elapsed(),
            busy: Duration::ZERO,
            reads: reads_after.since(reads),
            writes: writes_after.since(writes),
        })
    }

    /// Writes every message whose moment has come.
    fn send_due(&mut self, mut next: u64, total: u64, now_ns: u64) -> Result<u64, Failure> {
        let pairs = self.heads.len();
        let first = next;
        while next < total && self.schedule.due_ns(next) <= now_ns {
            let pair = (next % pairs as u64) as usize;
            let stamp = Stamp { number: next, due_ns: self.schedule.due_ns(next) };
            let queue = self.conns[2 * pair].queue();
            queue.extend_from_slice(&self.heads[pair]);
            queue.extend_from_slice(&stamp.encode());
            queue.extend_from_slice(&self.filling);
            next += 1;
        }
        // Each pair in turn got one message, so only so many of them have something to say.
        for number in first..next.min(first + pairs as u64) {
            self.conns[2 * (number % pairs as u64) as usize].flush()?;
        }
        Ok(next)
    }

    fn receive(
        &mut self,
        started: Instant,
        arrivals: &mut [Arrivals],
        listen: bool,
    ) -> Result<(), Failure> {
        for ready in self.poller.ready()? {
            let subscribes = ready.index % 2 == 1;
            if !subscribes && !listen {
                continue;
            }
            let arrivals = &mut arrivals[ready.index / 2];
            let mut now_ns = None;
            let conn = &mut self.conns[ready.index];
            conn.receive(&mut self.buffer, |event| {
                if let Event::Message(message) = event {
                    // All that one read brings has arrived at one time.
                    let now_ns = *now_ns.get_or_insert_with(|| started.elapsed().as_nanos() as u64);
                    arrivals.take(Stamp::decode(message.head), now_ns, &mut self.histogram);
                }
            })?;
            if let Some(stamp) = arrivals.wrong {
                let what = format!("expected number {}, came {stamp:?}", arrivals.next);
                return Err(Failure::Mismatch(what));
            }
        }
        if listen {
            for conn in self.conns.iter_mut().filter(|conn| conn.has_queued()) {
                conn.flush()?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_does_not_drift() {
        let schedule = Schedule { rate: 3 };
        assert_eq!(schedule.due_ns(3_000_000), 1_000_000_000_000_000);
        assert_eq!(schedule.messages(Duration::from_secs(2)), 6);
        assert_eq!(Schedule { rate: 200_000 }.due_ns(1), 5_000);
    }

    #[test]
    fn stamps_survive_the_wire() {
        let stamp = Stamp { number: 7, due_ns: 1 << 40 };
        assert_eq!(Stamp::decode(&stamp.encode()), Some(stamp));
        assert_eq!(Stamp::decode(b"short"), None);
    }

    /// A pause of one second at 1000/s: a load that timed from the actual send would record one
    /// slow message; from the intended time a thousand of them are late.
    #[test]
    fn a_pause_is_charged_to_every_message_due_in_it() {
        let schedule = Schedule { rate: 1000 };
        let mut arrivals = Arrivals { next: 0, step: 1, schedule, received: 0, wrong: None };
        let mut histogram = histogram();
        for number in 0..2000 {
            let due_ns = schedule.due_ns(number);
            let now_ns = due_ns.max(1_000_000_000) + 10_000;
            arrivals.take(Some(Stamp { number, due_ns }), now_ns, &mut histogram);
        }
        assert!(arrivals.wrong.is_none());
        assert_eq!(histogram.len(), 2000);
        let p75 = histogram.value_at_quantile(0.75);
        assert!((490_000_000..=510_000_000).contains(&p75), "{p75}");
        assert!(histogram.value_at_quantile(0.49) < 20_000);
    }

    #[test]
    fn a_message_out_of_order_is_not_recorded() {
        let schedule = Schedule { rate: 1000 };
        let mut arrivals = Arrivals { next: 0, step: 2, schedule, received: 0, wrong: None };
        let mut histogram = histogram();
        arrivals.take(Some(Stamp { number: 0, due_ns: 0 }), 5, &mut histogram);
        arrivals.take(Some(Stamp { number: 1, due_ns: 1_000_000 }), 5, &mut histogram);
        assert_eq!(arrivals.wrong, Some(Stamp { number: 1, due_ns: 1_000_000 }));
        assert_eq!((arrivals.received, histogram.len()), (1, 1));
    }
}
