//! A consumer's configuration (spec 6.3).

use std::collections::BTreeMap;

use crate::stamp::Stamp;

/// Where a consumer begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum DeliverPolicy {
    /// With the first message.
    #[default]
    All,
    /// With the last message.
    Last,
    /// With the next message that comes.
    New,
    /// At a sequence.
    StartSequence,
    /// At a time.
    StartTime,
    /// With the last message of each subject.
    LastPerSubject,
}

/// What the client has to acknowledge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum AckPolicy {
    /// Nothing.
    #[default]
    None,
    /// The last message, for all in front of it too.
    All,
    /// Each message.
    Explicit,
    /// By answers to flow control, which count as for [`AckPolicy::All`].
    FlowControl,
}

/// How fast messages that are there already are delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ReplayPolicy {
    /// As fast as possible.
    #[default]
    AtOnce,
    /// As fast as they came.
    Original,
}

/// Which of several waiting requests is served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum PriorityPolicy {
    /// The one that waits longest.
    #[default]
    None,
    /// Only those whose conditions on what is pending hold.
    Overflow,
    /// Those of one client, as long as it keeps asking.
    PinnedClient,
    /// Those with the lowest number first.
    Prioritized,
}

/// A consumer's configuration. Durations are nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ConsumerConfig {
    /// The name of a durable consumer; empty for an ephemeral one.
    pub(crate) durable: String,
    /// The name.
    pub(crate) name: String,
    /// For people.
    pub(crate) description: String,
    /// Where it begins.
    pub(crate) deliver_policy: DeliverPolicy,
    /// The sequence to begin at; zero for none.
    pub(crate) start_sequence: u64,
    /// The time to begin at.
    pub(crate) start_time: Option<Stamp>,
    /// What has to be acknowledged.
    pub(crate) ack_policy: AckPolicy,
    /// After how long an unacknowledged message is delivered again.
    pub(crate) ack_wait: i64,
    /// How often a message is delivered; -1 for no limit.
    pub(crate) max_deliver: i64,
    /// In place of `ack_wait`, by the number of deliveries so far.
    pub(crate) backoff: Vec<i64>,
    /// Which subjects; all if this and `filters` are empty.
    pub(crate) filter: String,
    /// Which subjects.
    pub(crate) filters: Vec<String>,
    /// How fast messages that are there already are delivered.
    pub(crate) replay_policy: ReplayPolicy,
    /// Bits per second; zero for no limit.
    pub(crate) rate_limit: u64,
    /// Of how many in a hundred acknowledgements there is a metric, with or without `%`.
    pub(crate) sample_frequency: String,
    /// Requests that may wait.
    pub(crate) max_waiting: i64,
    /// Messages that may be out unacknowledged; -1 for no limit, zero without acknowledgements.
    pub(crate) max_ack_pending: i64,
    /// Does the client say when it is ready for more?
    pub(crate) flow_control: bool,
    /// Are messages delivered without their payload?
    pub(crate) headers_only: bool,
    /// Largest `batch` of a request; zero for no limit.
    pub(crate) max_batch: i64,
    /// Largest `expires` of a request; zero for no limit.
    pub(crate) max_expires: i64,
    /// Largest `max_bytes` of a request; zero for no limit.
    pub(crate) max_bytes: i64,
    /// Where a push consumer delivers to; empty for a pull consumer.
    pub(crate) deliver_subject: String,
    /// The queue group that it delivers to.
    pub(crate) deliver_group: String,
    /// After how long without a message a push consumer says that it is alive; zero for never.
    pub(crate) heartbeat: i64,
    /// After how long without a client the consumer goes; zero for never.
    pub(crate) inactive_threshold: i64,
    /// Copies; zero for as many as the stream.
    pub(crate) replicas: i64,
    /// Is its state kept in memory only?
    pub(crate) memory_storage: bool,
    /// Is it for another stream, and not shown to clients?
    pub(crate) direct: bool,
    /// Does it feed a source or mirror?
    pub(crate) sourcing: bool,
    /// The user's and the server's notes.
    pub(crate) metadata: Option<BTreeMap<String, String>>,
    /// Nothing is delivered before.
    pub(crate) pause_until: Option<Stamp>,
    /// Groups that requests may belong to.
    pub(crate) priority_groups: Vec<String>,
    /// Which of several waiting requests is served.
    pub(crate) priority_policy: PriorityPolicy,
    /// How long a pinned client may be silent.
    pub(crate) pin_timeout: i64,
}

impl ConsumerConfig {
    /// Does the consumer deliver on its own, without being asked?
    pub(crate) fn is_push(&self) -> bool {
        !self.deliver_subject.is_empty()
    }

    /// Does it stay without a client?
    pub(crate) fn is_durable(&self) -> bool {
        !self.durable.is_empty()
    }

    /// Every filter, in the order in which the reference looks at them; none for all subjects.
    pub(crate) fn all_filters(&self) -> impl Iterator<Item = &str> + Clone {
        let single = Some(self.filter.as_str()).filter(|filter| !filter.is_empty());
        self.filters.iter().map(String::as_str).chain(single)
    }

    /// How often a message is delivered at most; nothing for no limit.
    pub(crate) fn deliveries_max(&self) -> Option<u32> {
        u32::try_from(self.max_deliver).ok().filter(|&most| most > 0)
    }
}
