//! What a consumer has to be: what it delivered, and what was acknowledged to whom.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use base::Random;

use super::stream::{Message, Retention};
use super::{ALL_SUBJECTS, Life, SUBJECTS};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policy {
    Explicit,
    All,
    None,
}

/// Where it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    All,
    New,
    LastPerSubject,
}

/// How a consumer is configured.
#[derive(Clone, Debug)]
pub(super) struct Form {
    pub(super) is_push: bool,
    pub(super) policy: Policy,
    pub(super) start: Start,
    /// A subject, or all.
    pub(super) filter: usize,
    pub(super) deliveries_max: Option<u64>,
    pub(super) pending_max: u64,
    pub(super) wait_ms: u64,
    pub(super) in_memory: bool,
    pub(super) heartbeat: bool,
}

impl Form {
    pub(super) fn draw(random: &mut Random, retention: Retention, in_memory: bool) -> Self {
        let policy = match random.below(5) {
            0 if retention == Retention::Limits => Policy::None,
            1 if retention != Retention::WorkQueue => Policy::All,
            _ => Policy::Explicit,
        };
        let start = match random.below(6) {
            // A work queue delivers all there is.
            _ if retention == Retention::WorkQueue => Start::All,
            0 => Start::New,
            1 => Start::LastPerSubject,
            _ => Start::All,
        };
        let is_filtered = retention != Retention::WorkQueue && random.below(3) == 0;
        let with_limit = policy != Policy::None && random.below(4) == 0;
        Self {
            is_push: random.below(4) == 0,
            policy,
            start,
            filter: if is_filtered { random.below(SUBJECTS) as usize } else { ALL_SUBJECTS },
            deliveries_max: with_limit.then(|| 1 + random.below(3)),
            pending_max: if random.below(3) == 0 { 2 + random.below(10) } else { 1000 },
            wait_ms: 2_000 + random.below(3_000),
            in_memory: in_memory || random.below(10) == 0,
            heartbeat: random.below(2) == 0,
        }
    }
}

/// A consumer.
#[derive(Debug)]
pub(super) struct Consumer {
    pub(super) stream: usize,
    pub(super) name: String,
    /// How often one of this name was made: what it pushes to says so.
    pub(super) incarnation: u64,
    pub(super) life: Life,
    pub(super) form: Form,
    /// When it was there for sure.
    pub(super) made: u64,
    /// Sequences it delivered for the first time since the server was started.
    pub(super) begun: BTreeSet<u64>,
    /// Sequences for which an acknowledgement was said.
    pub(super) said: BTreeSet<u64>,
    /// The same, for those under [`Policy::All`]: everything up to here.
    pub(super) said_up_to: u64,
    /// Acknowledgements that were acknowledged: sequence, when, and to which client.
    pub(super) settled: Vec<(u64, u64, usize)>,
    /// Its floor, as it was told last since the server was started.
    pub(super) floor: u64,
    /// The last number of a delivery, by client, since the server was started.
    pub(super) numbers: BTreeMap<usize, u64>,
    /// The client that listens to what is pushed.
    pub(super) listener: Option<usize>,
}

impl Consumer {
    pub(super) fn new(stream: usize, number: usize, form: Form) -> Self {
        Self {
            stream,
            name: format!("C{number}"),
            incarnation: 0,
            life: Life::Absent,
            form,
            made: 0,
            begun: BTreeSet::new(),
            said: BTreeSet::new(),
            said_up_to: 0,
            settled: Vec::new(),
            floor: 0,
            numbers: BTreeMap::new(),
            listener: None,
        }
    }

    /// It is to be made anew.
    pub(super) fn reset(&mut self) {
        self.incarnation += 1;
        self.said.clear();
        self.said_up_to = 0;
        self.settled.clear();
        self.restarted();
    }

    /// The server was started anew.
    pub(super) fn restarted(&mut self) {
        self.floor = 0;
        self.numbers.clear();
        self.begun.clear();
        self.listener = None;
    }

    pub(super) fn is_there(&self) -> bool {
        self.life == Life::There
    }

    /// Can it be brought to its end?
    pub(super) fn is_drainable(&self) -> bool {
        self.is_there() && self.form.policy != Policy::None && self.form.deliveries_max.is_none()
    }

    /// The subject that it pushes to.
    pub(super) fn target(&self) -> String {
        format!("push.{}.{}.{}", self.stream, self.name, self.incarnation)
    }

    pub(super) fn wants(&self, subject: usize) -> bool {
        self.form.filter == ALL_SUBJECTS || self.form.filter == subject
    }

    /// Was an acknowledgement of this sequence said?
    pub(super) fn is_said(&self, sequence: u64) -> bool {
        self.said.contains(&sequence) || sequence <= self.said_up_to
    }

    /// Was one acknowledged, and is `seen_by` to know of that: it heard it itself, or it was before
    /// `then`?
    pub(super) fn is_settled(&self, sequence: u64, seen_by: Option<usize>, then: u64) -> bool {
        let covers = |of: u64| match self.form.policy {
            Policy::All => sequence <= of,
            _ => sequence == of,
        };
        let is_known = |when: u64, peer: usize| Some(peer) == seen_by || when < then;
        self.settled.iter().any(|(of, when, peer)| covers(*of) && is_known(*when, *peer))
    }

    /// Under a retention by interest or work: may it be done with a message?
    pub(super) fn may_be_done(&self, message: &Message) -> bool {
        message.place.is_none_or(|place| self.is_said(place))
    }

    /// As the API takes it.
    pub(super) fn json(&self, stream: &str, prefix: &str) -> String {
        let Form { policy, start, filter, .. } = self.form;
        let policy = match policy {
            Policy::Explicit => "explicit",
            Policy::All => "all",
            Policy::None => "none",
        };
        let start = match start {
            Start::All => "all",
            Start::New => "new",
            Start::LastPerSubject => "last_per_subject",
        };
        let mut text = format!(
            "{{\"stream_name\":\"{stream}\",\"config\":{{\"durable_name\":\"{}\",\
             \"ack_policy\":\"{policy}\",\"deliver_policy\":\"{start}\",\"mem_storage\":{}",
            self.name, self.form.in_memory
        );
        if filter != ALL_SUBJECTS {
            let _ = write!(text, ",\"filter_subject\":\"{prefix}.{filter}\"");
        } else if self.form.start == Start::LastPerSubject {
            let _ = write!(text, ",\"filter_subject\":\"{prefix}.*\"");
        }
        if self.form.policy != Policy::None {
            let (wait, most) = (self.form.wait_ms * 1_000_000, self.form.pending_max);
            let _ = write!(text, ",\"ack_wait\":{wait},\"max_ack_pending\":{most}");
        }
        if let Some(most) = self.form.deliveries_max {
            let _ = write!(text, ",\"max_deliver\":{most}");
        }
        if self.form.is_push {
            let _ = write!(text, ",\"deliver_subject\":\"{}\"", self.target());
            if self.form.heartbeat {
                text.push_str(",\"idle_heartbeat\":1000000000,\"flow_control\":true");
            }
        }
        text.push_str("}}");
        text
    }
}

/// A delivery that a client has not yet answered.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) consumer: usize,
    pub(super) incarnation: u64,
    pub(super) sequence: u64,
    /// Ends of the process by then.
    pub(super) life: u64,
    /// Where to.
    pub(super) reply: String,
}
