//! What a stream has to be: every message that was ever published, where it stands, and what may
//! have taken it away.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use base::Random;

use super::{ALL_SUBJECTS, Life, MessageId};

/// Why a message that was there must not be seen again.
pub(super) const GONE: &str = "it was gone";

/// What is to be done with messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retention {
    Limits,
    WorkQueue,
    Interest,
}

/// How a stream is configured.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) retention: Retention,
    pub(super) max_messages: Option<u64>,
    pub(super) max_per_subject: Option<u64>,
    pub(super) max_bytes: Option<u64>,
    pub(super) discards_new: bool,
    pub(super) in_memory: bool,
    /// Seconds.
    pub(super) max_age: Option<u64>,
    /// Seconds.
    pub(super) window: u64,
}

impl Shape {
    pub(super) fn draw(random: &mut Random) -> Self {
        let retention = match random.below(6) {
            0 | 1 => Retention::WorkQueue,
            2 => Retention::Interest,
            _ => Retention::Limits,
        };
        let mut one_in =
            |bound: u64, most: u64| (random.below(bound) == 0).then(|| 3 + random.below(most));
        let (max_messages, max_age) = (one_in(3, 40), one_in(5, 10));
        Self {
            retention,
            max_messages,
            max_per_subject: one_in(4, 10),
            max_bytes: one_in(6, 8_000).map(|bytes| bytes + 3_000),
            max_age,
            discards_new: max_messages.is_some() && one_in(3, 1).is_some(),
            in_memory: one_in(8, 1).is_some(),
            // A window is at most as long as messages stay.
            window: one_in(3, 10).unwrap_or(120).min(max_age.unwrap_or(u64::MAX)),
        }
    }

    /// As the API takes it.
    pub(super) fn json(&self, name: &str, subjects: &str) -> String {
        let mut text = format!(
            "{{\"name\":\"{name}\",\"subjects\":[\"{subjects}\"],\"allow_direct\":true,\
             \"allow_rollup_hdrs\":true,\"allow_atomic\":true,\"duplicate_window\":{}",
            self.window * 1_000_000_000
        );
        for (field, value) in [
            ("max_msgs", self.max_messages),
            ("max_msgs_per_subject", self.max_per_subject),
            ("max_bytes", self.max_bytes),
            ("max_age", self.max_age.map(|seconds| seconds * 1_000_000_000)),
        ] {
            if let Some(value) = value {
                let _ = write!(text, ",\"{field}\":{value}");
            }
        }
        let retention = match self.retention {
            Retention::Limits => "limits",
            Retention::WorkQueue => "workqueue",
            Retention::Interest => "interest",
        };
        let storage = if self.in_memory { "memory" } else { "file" };
        let discard = if self.discards_new { "new" } else { "old" };
        let _ = write!(
            text,
            ",\"retention\":\"{retention}\",\"storage\":\"{storage}\",\"discard\":\"{discard}\"}}"
        );
        text
    }
}

/// Something that takes messages away.
#[derive(Clone, Debug)]
pub(super) struct Remover {
    pub(super) what: Removal,
    /// When it was asked for.
    pub(super) asked: u64,
    /// When it was over at the latest.
    pub(super) ended: Option<u64>,
    /// Did the server say that it is done?
    pub(super) is_done: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Removal {
    /// Of one subject, or of all; in front of a sequence, if that is not zero; but so many.
    Purge { subject: usize, below: u64, keep: u64 },
    /// One message.
    Delete(u64),
    /// A message that replaces its subject's, or all.
    Rollup { subject: usize, by: MessageId },
}

impl Remover {
    /// Can it have taken this away: what stands at this sequence, if that is known?
    fn may_take(&self, message: &Message, messages: &[Message]) -> bool {
        if self.ended.is_some_and(|ended| ended < message.sent) {
            return false;
        }
        match self.what {
            Removal::Delete(sequence) => message.place.is_none_or(|place| place == sequence),
            Removal::Purge { subject, below, .. } => {
                let is_below = below == 0 || message.place.is_none_or(|place| place < below);
                is_below && (subject == ALL_SUBJECTS || subject == message.subject)
            }
            Removal::Rollup { subject, by } => {
                let is_meant = subject == ALL_SUBJECTS || subject == message.subject;
                is_meant && messages[by].is_out.is_none_or(|why| why == GONE)
            }
        }
    }

    /// Must it have taken this away?
    fn must_take(&self, message: &Message, messages: &[Message]) -> bool {
        let Some(place) = message.place else { return false };
        let is_before = message.acknowledged.is_some_and(|then| then < self.asked);
        match self.what {
            Removal::Delete(sequence) => self.is_done && place == sequence,
            Removal::Purge { subject, below, keep } => {
                let is_meant = subject == ALL_SUBJECTS || subject == message.subject;
                let is_below = below == 0 || place < below;
                self.is_done && keep == 0 && is_before && is_meant && is_below
            }
            Removal::Rollup { subject, by } => {
                let is_meant = subject == ALL_SUBJECTS || subject == message.subject;
                is_meant && messages[by].place.is_some_and(|by| place < by)
            }
        }
    }
}

/// A message that was published.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) stream: usize,
    pub(super) subject: usize,
    /// Its `Nats-Msg-Id`.
    pub(super) id: Option<u64>,
    pub(super) body: Vec<u8>,
    /// When it was said, by events and by the clock.
    pub(super) sent: u64,
    pub(super) sent_wall: i64,
    /// The highest sequence that was told then.
    pub(super) floor: u64,
    /// When it was acknowledged, by events and by the clock.
    pub(super) acknowledged: Option<u64>,
    pub(super) acknowledged_wall: i64,
    /// Ends of the process by then.
    pub(super) life: u64,
    /// Where it stands, once that is sure.
    pub(super) place: Option<u64>,
    /// Why it must not be seen.
    pub(super) is_out: Option<&'static str>,
    /// It is one of a batch.
    pub(super) batch: Option<usize>,
}

/// A stream.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) name: String,
    /// What its subjects begin with.
    pub(super) prefix: String,
    pub(super) life: Life,
    pub(super) shape: Shape,
    /// Messages whose place is sure.
    pub(super) at: BTreeMap<u64, MessageId>,
    pub(super) removers: Vec<Remover>,
    /// The highest sequence that was told.
    pub(super) last: u64,
    /// Publishes that were taken for one with a sequence that was expected: the last of the
    /// subject, or of all, in front of it.
    pub(super) expectations: Vec<(usize, u64, u64)>,
    /// Was anything asked to be changed of which it is not known whether it is?
    pub(super) other_shape: Option<Shape>,
}

impl Stream {
    pub(super) fn new(number: usize, shape: Shape) -> Self {
        Self {
            name: format!("S{number}"),
            prefix: format!("s{number}"),
            life: Life::Absent,
            shape,
            at: BTreeMap::new(),
            removers: Vec::new(),
            last: 0,
            expectations: Vec::new(),
            other_shape: None,
        }
    }

    pub(super) fn subjects(&self) -> String {
        format!("{}.*", self.prefix)
    }

    pub(super) fn subject(&self, number: usize) -> String {
        format!("{}.{number}", self.prefix)
    }

    pub(super) fn is_there(&self) -> bool {
        self.life == Life::There
    }

    /// It begins anew.
    pub(super) fn reset(&mut self) {
        self.at.clear();
        self.removers.clear();
        self.expectations.clear();
        self.other_shape = None;
        self.last = 0;
    }

    /// Can anything but consumers have taken this message away, as far as `last` is the highest
    /// sequence there can be by `now`?
    pub(super) fn may_be_gone(
        &self,
        message: &Message,
        messages: &[Message],
        last: u64,
        now: i64,
    ) -> bool {
        if self.removers.iter().any(|remover| remover.may_take(message, messages)) {
            return true;
        }
        let behind = message.place.map_or(u64::MAX, |place| last.saturating_sub(place));
        let others = || {
            let is_other = |other: &&Message| {
                other.stream == message.stream
                    && other.subject == message.subject
                    && other.place.is_none_or(|place| Some(place) > message.place)
                    && other.is_out.is_none()
            };
            messages.iter().filter(is_other).count() as u64
        };
        [Some(&self.shape), self.other_shape.as_ref()].into_iter().flatten().any(|shape| {
            let aged = |age: u64| message.sent_wall + age as i64 * 1_000_000_000 <= now;
            shape.max_messages.is_some_and(|most| behind >= most)
                || shape.max_bytes.is_some()
                || shape.max_age.is_some_and(aged)
                || shape.max_per_subject.is_some_and(|most| others() >= most)
        })
    }

    /// Why this message cannot be there any more, if there is a reason.
    pub(super) fn must_be_gone(&self, message: &Message, messages: &[Message]) -> Option<String> {
        let taken = self.removers.iter().find(|remover| remover.must_take(message, messages));
        taken.map(|remover| format!("{:?}", remover.what))
    }
}
