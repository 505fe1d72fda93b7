//! What only push consumers have: a subject with or without listeners, signs of life, flow control
//! and a rate limit (spec 6.4).

use base::{Duration, Time};
use wire::Message;

use super::{
    config::{AckPolicy, ConsumerConfig},
    cursor::Consumer,
    desk::Desk,
};
use crate::names;
use crate::stream::View;

/// Largest window of flow control in bytes.
const WINDOW_MAX: u64 = 32 * 1024 * 1024;
/// The window to begin with.
const WINDOW_START: u64 = WINDOW_MAX / 16;
/// Random characters at the end of the subject that flow control is answered on.
const FLOW_CHARACTERS: usize = 4;

/// The state that only push consumers have.
#[derive(Debug)]
pub(crate) struct Push {
    /// Does anyone listen?
    pub(crate) is_active: bool,
    /// Since when nobody does.
    pub(crate) inactive_since: Time,
    pub(crate) flow: Option<Flow>,
    pub(crate) bucket: Option<Bucket>,
    heartbeat: Option<Duration>,
    pub(crate) next_heartbeat: Time,
}

/// Flow control: the client says when it is ready for more.
#[derive(Debug)]
pub(crate) struct Flow {
    /// Bytes that may be out.
    window: u64,
    /// Bytes that are out.
    bytes: u64,
    /// Bytes that the answer to the present request is for.
    asked_bytes: u64,
    /// Where the present request is to be answered; empty if there is none.
    subject: Vec<u8>,
}

impl Flow {
    fn new() -> Self {
        Self { window: WINDOW_START, bytes: 0, asked_bytes: 0, subject: Vec::new() }
    }

    /// Is so much out that nothing more is delivered?
    pub(crate) fn is_stalled(&self) -> bool {
        self.bytes > self.window
    }

    pub(crate) fn is_asked(&self) -> bool {
        !self.subject.is_empty()
    }

    /// Notes a delivery. True if the client is to be asked now; `is_full` says that it will get no
    /// more unless it is.
    pub(crate) fn count(&mut self, bytes: u64, is_full: bool) -> bool {
        self.bytes += bytes;
        if self.is_asked() {
            if self.bytes.saturating_sub(self.asked_bytes) >= self.window {
                self.asked_bytes += bytes;
            }
            return false;
        }
        self.bytes > self.window / 2 || is_full
    }

    /// The client answered.
    fn answered(&mut self) {
        self.window = (self.window * 2).min(WINDOW_MAX);
        self.bytes = self.bytes.saturating_sub(self.asked_bytes);
        self.asked_bytes = 0;
        self.subject.clear();
    }
}

/// A limit of bytes per second, with bursts.
#[derive(Debug)]
pub(crate) struct Bucket {
    bytes_per_second: u64,
    burst: Duration,
    /// When the bucket was or will be empty.
    empty_at: Time,
}

impl Bucket {
    /// A full bucket. Nothing without a limit.
    pub(crate) fn new(bits_per_second: u64, burst_bytes: u64, now: Time) -> Option<Self> {
        let bytes_per_second = bits_per_second / 8;
        if bits_per_second == 0 {
            return None;
        }
        let bytes_per_second = bytes_per_second.max(1);
        let mut bucket = Self { bytes_per_second, burst: Duration::ZERO, empty_at: Time(0) };
        bucket.burst = bucket.time_of(burst_bytes);
        bucket.empty_at = Time(now.0.saturating_sub(bucket.burst.as_nanos() as u64));
        Some(bucket)
    }

    fn time_of(&self, bytes: u64) -> Duration {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    fn from(&self, now: Time) -> Time {
        let full = Time(now.0.saturating_sub(self.burst.as_nanos() as u64));
        self.empty_at.max(full)
    }

    /// When so many bytes may go.
    pub(crate) fn ready_at(&self, bytes: u64, now: Time) -> Time {
        self.from(now).after(self.time_of(bytes).min(self.burst))
    }

    /// So many bytes go.
    pub(crate) fn take(&mut self, bytes: u64, now: Time) {
        self.empty_at = self.from(now).after(self.time_of(bytes).min(self.burst));
    }
}

/// Bytes that may go at once under a rate limit: the largest message.
fn burst_bytes(view: &View<'_>) -> u64 {
    let of_stream = i64::from(view.core.config.max_msg_size);
    (if of_stream > 0 { of_stream } else { view.server.payload_max }).max(1) as u64
}

impl Push {
    pub(crate) fn new(config: &ConsumerConfig, view: &View<'_>) -> Self {
        let heartbeat = (config.heartbeat > 0 && config.is_push())
            .then(|| Duration::from_nanos(config.heartbeat as u64));
        Self {
            is_active: false,
            inactive_since: view.now.time,
            flow: config.flow_control.then(Flow::new),
            bucket: Bucket::new(config.rate_limit, burst_bytes(view), view.now.time),
            heartbeat,
            next_heartbeat: heartbeat.map_or(Time::NEVER, |wait| view.now.time.after(wait)),
        }
    }

    /// Changes the rate limit.
    pub(crate) fn limit(&mut self, bits_per_second: u64, view: &View<'_>) {
        self.bucket = Bucket::new(bits_per_second, burst_bytes(view), view.now.time);
    }

    /// A message went out, so that the next sign of life is not due for a while.
    #[inline]
    pub(crate) fn was_heard(&mut self, now: Time) {
        if let Some(wait) = self.heartbeat {
            self.next_heartbeat = now.after(wait);
        }
    }
}

impl Consumer {
    /// Looks whether anyone listens. True if that changed.
    pub(crate) fn look_for_interest(&mut self, desk: &mut Desk<'_, '_>) -> bool {
        if !self.config.is_push() {
            return false;
        }
        let subject = self.config.deliver_subject.as_bytes();
        let group = self.config.deliver_group.as_bytes();
        let is_wanted = desk.out.is_subscribed(desk.view.core.account, subject, group);
        if is_wanted == self.push.is_active {
            return false;
        }
        self.push.is_active = is_wanted;
        self.push.inactive_since = desk.now();
        true
    }

    /// Sends a sign of life if it is due.
    pub(crate) fn beat(&mut self, desk: &mut Desk<'_, '_>) {
        if self.push.next_heartbeat > desk.now() {
            return;
        }
        self.push.was_heard(desk.now());
        if !self.push.is_active {
            return;
        }
        let subject = std::mem::take(&mut self.config.deliver_subject);
        self.send_heartbeat(desk, subject.as_bytes());
        self.config.deliver_subject = subject;
        let is_asked = self.push.flow.as_ref().is_some_and(Flow::is_asked);
        let is_by_flow = self.config.ack_policy == AckPolicy::FlowControl;
        if is_by_flow && !self.ledger.is_empty() && !is_asked {
            self.ask_for_flow(desk);
        }
    }

    /// Says that the consumer is alive and how far it is.
    pub(crate) fn send_heartbeat(&self, desk: &mut Desk<'_, '_>, subject: &[u8]) {
        let account = desk.view.core.account;
        let parcel = desk.view.parcel.status("100 Idle Heartbeat");
        parcel.number("Nats-Last-Consumer", self.delivered.number);
        parcel.number("Nats-Last-Stream", self.next - 1);
        if let Some(flow) = self.push.flow.as_ref().filter(|flow| flow.is_asked()) {
            parcel.line("Nats-Consumer-Stalled", &flow.subject);
        }
        parcel.send(desk.out, account, subject, b"");
    }

    /// Asks the client to say when it has got here.
    pub(crate) fn ask_for_flow(&mut self, desk: &mut Desk<'_, '_>) {
        let Some(flow) = &mut self.push.flow else { return };
        flow.asked_bytes = flow.bytes;
        flow.subject.clear();
        flow.subject.extend_from_slice(b"$JS.FC.");
        flow.subject.extend_from_slice(desk.view.core.config.name.as_bytes());
        flow.subject.push(b'.');
        flow.subject.extend_from_slice(self.name.as_bytes());
        flow.subject.push(b'.');
        names::put_random(&mut flow.subject, desk.view.random, FLOW_CHARACTERS);
        let account = desk.view.core.account;
        let subject = self.config.deliver_subject.as_bytes();
        let parcel = desk.view.parcel.status("100 FlowControl Request");
        parcel.send(desk.out, account, subject, &flow.subject);
    }

    /// The client answered a request of flow control.
    pub(crate) fn flow_answered(&mut self, desk: &mut Desk<'_, '_>, message: &Message<'_>) {
        let Some(flow) = &mut self.push.flow else { return };
        if flow.subject != message.subject {
            return;
        }
        flow.answered();
        if self.config.ack_policy != AckPolicy::FlowControl {
            return;
        }
        let header = &message.body()[..message.header];
        let number = |name: &str| super::header::number_in(header, name);
        if let Some(sequence) = number("Nats-Last-Stream").filter(|sequence| *sequence > 0) {
            let number = number("Nats-Last-Consumer").unwrap_or(0);
            self.acknowledge_to(desk, sequence, number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_lets_a_burst_through_and_then_its_rate() {
        let mut bucket = Bucket::new(8_000, 100, Time(0)).expect("there is a limit");
        let second = 1_000_000_000;
        let mut now = Time(second);
        assert!(bucket.ready_at(100, now) <= now);
        bucket.take(100, now);
        assert_eq!(bucket.ready_at(50, now), Time(second + second / 20));
        now = Time(second + second / 20);
        bucket.take(50, now);
        assert_eq!(bucket.ready_at(1_000, now), now.after(Duration::from_millis(100)));
    }

    #[test]
    fn a_window_grows_with_each_answer() {
        let mut flow = Flow::new();
        assert!(!flow.count(WINDOW_START / 2, false));
        assert!(flow.count(1, false));
        flow.subject = b"x".to_vec();
        flow.asked_bytes = flow.bytes;
        assert!(!flow.count(WINDOW_START, false));
        assert!(flow.is_stalled());
        flow.answered();
        assert!(!flow.is_stalled());
        assert_eq!((flow.window, flow.bytes), (2 * WINDOW_START, 0));
    }
}
