//! JetStream's options: what the file and the command line say, and what follows from it.

use std::path::PathBuf;
use std::time::Duration;

use jetstream::config::{BatchLimits, Limits};

/// What a `jetstream` block says; `None` where it is silent.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Block {
    pub(super) max_memory: Option<i64>,
    pub(super) max_file: Option<i64>,
    pub(super) domain: Option<String>,
    pub(super) strict: Option<bool>,
    pub(super) sync: Option<Sync>,
    pub(super) key: Option<String>,
    pub(super) previous_key: Option<String>,
    pub(super) cipher: Option<Cipher>,
    pub(super) unique_tag: Option<String>,
    pub(super) max_ack_pending: Option<i64>,
    pub(super) max_request_batch: Option<i64>,
    pub(super) default_max_consumers: Option<i64>,
    pub(super) duplicate_window: Option<Duration>,
    pub(super) batch_per_stream: Option<i64>,
    pub(super) batch_total: Option<i64>,
    pub(super) batch_messages: Option<i64>,
    pub(super) batch_timeout: Option<Duration>,
}

/// When what was written reaches the disk for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// Before it is acknowledged, as group commit.
    Always,
    /// At most this much later: power loss may take what was acknowledged since.
    Every(Duration),
}

/// How data is encrypted at rest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Cipher {
    /// ChaCha20-Poly1305.
    #[default]
    ChaCha,
    /// AES-256-GCM.
    Aes,
}

/// Keys of encryption at rest. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    /// With which new data is written.
    pub current: String,
    /// With which older data may have been.
    pub previous: Option<String>,
    /// How.
    pub cipher: Cipher,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Keys").field("cipher", &self.cipher).finish_non_exhaustive()
    }
}

/// JetStream's options, complete.
#[derive(Debug, Clone, PartialEq)]
pub struct JetStream {
    /// Where data is kept: the configured directory with `jetstream` appended.
    pub directory: PathBuf,
    /// Bytes of memory for streams; what the machine suggests when absent.
    pub max_memory: Option<i64>,
    /// Bytes on disk for streams; what the machine suggests when absent.
    pub max_file: Option<i64>,
    /// The domain; empty for none.
    pub domain: String,
    /// Is an unknown field in a request an error?
    pub strict: bool,
    /// When data is durable.
    pub sync: Sync,
    /// Encryption at rest.
    pub keys: Option<Keys>,
    /// The prefix of a tag by which replicas are spread.
    pub unique_tag: String,
    /// Limits on what requests may ask for.
    pub limits: ApiLimits,
}

/// `jetstream { limits { … } }`, zero for none.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiLimits {
    /// Largest `max_ack_pending` of a consumer.
    pub max_ack_pending: i64,
    /// Largest batch of a pull request.
    pub max_request_batch: i64,
    /// Consumers of a stream that sets no limit of its own.
    pub default_max_consumers: i64,
    /// Largest duplicate window.
    pub duplicate_window: Duration,
    /// Batches in flight of one stream, in all, their messages, and how long one may rest.
    pub batch: (usize, usize, usize, Duration),
}

impl ApiLimits {
    /// The limits as JetStream takes them.
    pub fn to_limits(&self) -> Limits {
        let (inflight_stream, inflight_total, messages, timeout) = self.batch;
        Limits {
            max_request_batch: self.max_request_batch,
            max_ack_pending: self.max_ack_pending,
            duplicates: self.duplicate_window,
            default_max_consumers: self.default_max_consumers,
            batch: BatchLimits {
                inflight_stream,
                inflight_total,
                messages,
                timeout,
                ..BatchLimits::default()
            },
        }
    }
}

impl Block {
    /// The options that follow, with `directory` as given beside the block.
    pub(super) fn resolve(self, directory: Option<String>) -> JetStream {
        let base = directory.map_or_else(|| std::env::temp_dir().join("nats"), PathBuf::from);
        let defaults = BatchLimits::default();
        let size = |value: Option<i64>, default: usize| {
            value
                .and_then(|value| usize::try_from(value).ok())
                .filter(|v| *v > 0)
                .unwrap_or(default)
        };
        let limit = |value: Option<i64>| value.unwrap_or(0);
        let limits = ApiLimits {
            max_ack_pending: limit(self.max_ack_pending),
            max_request_batch: limit(self.max_request_batch),
            default_max_consumers: match self.default_max_consumers {
                None | Some(0) => Limits::default().default_max_consumers,
                Some(consumers) => consumers,
            },
            duplicate_window: self.duplicate_window.unwrap_or_default(),
            batch: (
                size(self.batch_per_stream, defaults.inflight_stream),
                size(self.batch_total, defaults.inflight_total),
                size(self.batch_messages, defaults.messages),
                self.batch_timeout.filter(|time| !time.is_zero()).unwrap_or(defaults.timeout),
            ),
        };
        let cipher = self.cipher.unwrap_or_default();
        let previous = self.previous_key.filter(|key| !key.is_empty());
        JetStream {
            directory: base.join("jetstream"),
            max_memory: self.max_memory.filter(|bytes| *bytes > 0),
            max_file: self.max_file.filter(|bytes| *bytes > 0),
            domain: self.domain.unwrap_or_default(),
            strict: self.strict.unwrap_or(true),
            sync: self.sync.unwrap_or(Sync::Always),
            keys: self.key.filter(|key| !key.is_empty()).map(|current| Keys {
                current,
                previous,
                cipher,
            }),
            unique_tag: self.unique_tag.unwrap_or_default(),
            limits,
        }
    }
}
