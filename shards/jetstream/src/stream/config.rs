//! A stream's configuration (spec 6.2).

use std::collections::BTreeMap;

use crate::stamp::Stamp;

/// When messages leave a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Retention {
    /// When a limit is passed.
    #[default]
    Limits,
    /// When every consumer that wants them has acknowledged them.
    Interest,
    /// When a consumer has acknowledged them.
    WorkQueue,
}

/// What gives way when a limit is passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Discard {
    /// The oldest message.
    #[default]
    Old,
    /// The new one.
    New,
}

/// Where messages are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Storage {
    /// On disk.
    #[default]
    File,
    /// In memory.
    Memory,
}

/// How stored messages are packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// By S2.
    S2,
}

/// When a publish is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Persist {
    /// Once it is durable.
    #[default]
    Default,
    /// At once.
    Async,
}

/// A subject and what it becomes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transform {
    /// The pattern that is looked for.
    pub source: String,
    /// What it becomes.
    pub destination: String,
}

/// Where stored messages are published once more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Republish {
    /// Which ones.
    pub source: String,
    /// Where to.
    pub destination: String,
    /// Without their payload?
    pub headers_only: bool,
}

/// Where a stream should live. Kept and shown; there is one place here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// The cluster.
    pub cluster: String,
    /// Tags of servers.
    pub tags: Vec<String>,
    /// A server's name.
    pub preferred: String,
}

/// How to reach a stream in another account or domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct External {
    /// The prefix that stands for `$JS.API`.
    pub api: String,
    /// The prefix of subjects that messages are delivered to.
    pub deliver: String,
}

/// A durable consumer that a mirror or source uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceConsumer {
    /// Its name.
    pub name: String,
    /// Where it delivers to.
    pub deliver_subject: String,
}

/// A stream that messages are taken from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Its name.
    pub name: String,
    /// The sequence to start at; zero for none.
    pub start_sequence: u64,
    /// The time to start at.
    pub start_time: Option<Stamp>,
    /// Which subjects; all if empty.
    pub filter: String,
    /// Which subjects, and what they become.
    pub transforms: Vec<Transform>,
    /// How to reach it, if it is elsewhere.
    pub external: Option<External>,
    /// The consumer to use.
    pub consumer: Option<SourceConsumer>,
}

/// Limits and defaults of a stream's consumers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsumerLimits {
    /// Largest and default `inactive_threshold`, in nanoseconds; zero for none.
    pub inactive_threshold: i64,
    /// Largest and default `max_ack_pending`; zero for none.
    pub max_ack_pending: i64,
}

/// A stream's configuration. Durations are nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamConfig {
    /// The name.
    pub name: String,
    /// For people.
    pub description: String,
    /// Which subjects are stored.
    pub subjects: Vec<String>,
    /// When messages leave.
    pub retention: Retention,
    /// Consumers; -1 for no limit.
    pub max_consumers: i64,
    /// Messages; -1 for no limit.
    pub max_msgs: i64,
    /// Bytes; -1 for no limit.
    pub max_bytes: i64,
    /// Age; zero for no limit.
    pub max_age: i64,
    /// Messages of each subject; -1 for no limit.
    pub max_msgs_per_subject: i64,
    /// Bytes of a message; -1 for no limit.
    pub max_msg_size: i32,
    /// What gives way.
    pub discard: Discard,
    /// Where messages are kept.
    pub storage: Storage,
    /// Copies.
    pub replicas: i64,
    /// Are publishes not acknowledged?
    pub no_ack: bool,
    /// How long message ids are remembered.
    pub duplicate_window: i64,
    /// Where the stream should live.
    pub placement: Option<Placement>,
    /// The stream that this one mirrors.
    pub mirror: Option<Source>,
    /// Streams that this one takes messages from.
    pub sources: Vec<Source>,
    /// How messages are packed.
    pub compression: Compression,
    /// The first sequence; zero for one.
    pub first_seq: u64,
    /// What subjects become before anything else.
    pub subject_transform: Option<Transform>,
    /// Where stored messages are published once more.
    pub republish: Option<Republish>,
    /// Are direct gets answered?
    pub allow_direct: bool,
    /// Are direct gets for the mirrored stream answered?
    pub mirror_direct: bool,
    /// Does `discard` hold for each subject too?
    pub discard_new_per_subject: bool,
    /// May nothing come in or go out any more?
    pub sealed: bool,
    /// May messages not be deleted?
    pub deny_delete: bool,
    /// May the stream not be purged?
    pub deny_purge: bool,
    /// May messages replace all earlier ones?
    pub allow_rollup: bool,
    /// Limits and defaults of consumers.
    pub consumer_limits: ConsumerLimits,
    /// May messages have a time to live?
    pub allow_msg_ttl: bool,
    /// How long the marker of a subject that ran empty lives; zero for no markers.
    pub subject_delete_marker_ttl: i64,
    /// Is every subject a counter?
    pub allow_msg_counter: bool,
    /// Are atomic batches accepted?
    pub allow_atomic: bool,
    /// Are schedules accepted?
    pub allow_msg_schedules: bool,
    /// When publishes are acknowledged.
    pub persist: Persist,
    /// Are fast batches accepted?
    pub allow_batched: bool,
    /// The user's and the server's notes.
    pub metadata: Option<BTreeMap<String, String>>,
}
