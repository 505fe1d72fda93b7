//! A closed loop: each connection has so many requests under way, each answered once.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::super::conn::{Conn, READ_MAX};
use super::super::failure::Failure;
use super::super::poll::Poller;
use super::super::progress::Progress;
use super::super::report::{Gaps, histogram, record};
use super::super::request::subscribe;
use super::super::scan::Event;
use super::super::throughput::Setting;

const STALL_MAX: Duration = Duration::from_secs(30);

/// Appends request number so and so with this reply subject.
pub(crate) type Write = Box<dyn Fn(&mut Vec<u8>, u64, &str)>;

/// The requests that one connection has under way.
#[derive(Debug)]
struct Asker {
    inbox: String,
    /// Places that are free; a request's reply subject ends in its place.
    free: Vec<usize>,
    /// When the request of each place was made, while one is under way.
    asked_at: Vec<Option<Duration>>,
}

pub(crate) struct Asking {
    conns: Vec<Conn>,
    askers: Vec<Asker>,
    poller: Poller,
    buffer: Vec<u8>,
    write: Write,
    /// Is this, judged by its first bytes, the answer that was hoped for?
    is_right: fn(&[u8]) -> bool,
    /// Requests made since the beginning, which numbers them.
    number: u64,
    histogram: Histogram<u64>,
    gaps: Gaps,
}

impl Asking {
    pub(crate) fn open(
        connections: usize,
        window: usize,
        is_right: fn(&[u8]) -> bool,
        write: Write,
        setting: &Setting<'_>,
    ) -> Result<Self, Failure> {
        if connections == 0 || window == 0 {
            return Err(Failure::Usage("at least one connection and a window of one".into()));
        }
        let (mut conns, mut askers) = (Vec::new(), Vec::new());
        for index in 0..connections {
            let inbox = format!("_INBOX.bench{index:06}");
            let mut conn = setting.open()?;
            subscribe(&mut conn, &format!("{inbox}.*"))?;
            conns.push(conn);
            let free = (0..window).rev().collect();
            askers.push(Asker { inbox, free, asked_at: vec![None; window] });
        }
        let poller = Poller::new(&conns, |_| false)?;
        Ok(Self {
            conns,
            askers,
            poller,
            buffer: vec![0; READ_MAX],
            write,
            is_right,
            number: 0,
            histogram: histogram(),
            gaps: Gaps::default(),
        })
    }

    pub(crate) fn conns(&self) -> &[Conn] {
        &self.conns
    }

    /// Requests that were answered in the last section.
    pub(crate) fn answered(&self) -> u64 {
        self.histogram.len()
    }

    pub(crate) const fn histogram(&self) -> &Histogram<u64> {
        &self.histogram
    }

    pub(crate) const fn gaps(&self) -> &Gaps {
        &self.gaps
    }

    /// Asks until `limit` or `length` is reached, then waits for the answers that are due.
    pub(crate) fn section(&mut self, limit: u64, length: Duration) -> Result<Duration, Failure> {
        self.histogram.reset();
        self.gaps = Gaps::default();
        let (started, first) = (Instant::now(), self.number);
        let (mut last, mut seen) = (Duration::ZERO, (0, Duration::ZERO));
        let mut progress = Progress::start();
        loop {
            let now = started.elapsed();
            self.gaps.record(now.saturating_sub(last));
            last = now;
            let answered = self.histogram.len();
            progress.tick(started + now, || format!("{:.0} s, {answered}", now.as_secs_f64()));
            let asked = self.number - first;
            let more = if now < length { limit - asked } else { 0 };
            if more == 0 && answered == asked {
                return Ok(now);
            }
            self.turn(started, more)?;
            if self.histogram.len() != seen.0 {
                seen = (self.histogram.len(), now);
            } else if now.saturating_sub(seen.1) > STALL_MAX {
                return Err(Failure::Stalled(format!("{asked} requests, {answered} answers")));
            }
        }
    }

    /// Takes answers, and makes up to `more` requests.
    fn turn(&mut self, started: Instant, mut more: u64) -> Result<(), Failure> {
        for ready in self.poller.ready()? {
            let asker = &mut self.askers[ready.index];
            let (histogram, is_right) = (&mut self.histogram, self.is_right);
            let mut wrong = None;
            self.conns[ready.index].receive(&mut self.buffer, |event| {
                let Event::Message(message) = event else { return };
                let place = place_of(message.subject);
                let asked_at = asker.asked_at.get_mut(place).and_then(Option::take);
                match asked_at.filter(|_| is_right(message.head)) {
                    Some(then) => {
                        let waited = started.elapsed().saturating_sub(then);
                        record(histogram, waited.as_nanos() as u64);
                        asker.free.push(place);
                    }
                    None => wrong = Some(String::from_utf8_lossy(message.head).into_owned()),
                }
            })?;
            if let Some(head) = wrong {
                return Err(Failure::Mismatch(format!("an answer that begins {head:?}")));
            }
        }
        for (asker, conn) in self.askers.iter_mut().zip(&mut self.conns) {
            while more > 0
                && let Some(place) = asker.free.pop()
            {
                asker.asked_at[place] = Some(started.elapsed());
                let reply = format!("{}.{place}", asker.inbox);
                (self.write)(conn.queue(), self.number, &reply);
                self.number += 1;
                more -= 1;
            }
            if conn.has_queued() {
                conn.flush()?;
            }
        }
        Ok(())
    }
}

/// The place that a reply subject ends in.
fn place_of(subject: &[u8]) -> usize {
    let digits = subject.rsplit(|byte| *byte == b'.').next().unwrap_or_default();
    digits.iter().fold(0, |place, digit| place * 10 + usize::from(digit.wrapping_sub(b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_subject_ends_in_a_place() {
        assert_eq!(place_of(b"_INBOX.bench000001.0"), 0);
        assert_eq!(place_of(b"_INBOX.bench000001.255"), 255);
    }
}
