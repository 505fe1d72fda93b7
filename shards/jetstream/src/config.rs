//! What is configured for JetStream, of the server and of an account.

use base::Duration;

/// JetStream's part of a server's configuration (spec 2.9), and what it has to know of the server.
#[derive(Clone, Debug)]
pub struct Config {
    /// The server's name.
    pub server_name: String,
    /// The server's id.
    pub server_id: String,
    /// The server's version: `_nats.ver` of what is made here.
    pub version: String,
    /// The domain; empty for none.
    pub domain: String,
    /// Is an unknown field in a request an error?
    pub strict: bool,
    /// Bytes of memory for all streams.
    pub memory_max: i64,
    /// Bytes on disk for all streams.
    pub file_max: i64,
    /// Largest message of the server in bytes.
    pub payload_max: i64,
    /// Limits on what a request may ask for.
    pub limits: Limits,
    /// Seed of names and identifiers.
    pub seed: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server_name: "pinion".into(),
            server_id: String::new(),
            version: "2.15.1".into(),
            domain: String::new(),
            strict: true,
            memory_max: 1 << 34,
            file_max: 1 << 40,
            payload_max: 1 << 20,
            limits: Limits::default(),
            seed: 0,
        }
    }
}

/// `jetstream { limits { … } }`. Zero means no limit of its own.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Largest `max_batch` of a pull consumer's request.
    pub max_request_batch: i64,
    /// Largest `max_ack_pending` of a consumer.
    pub max_ack_pending: i64,
    /// Largest `duplicate_window`.
    pub duplicates: Duration,
    /// Consumers of a stream that sets no limit of its own.
    pub default_max_consumers: i64,
    /// Batches in flight, per stream and in all, their messages, and how long they may rest.
    pub batch: BatchLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_request_batch: 0,
            max_ack_pending: 0,
            duplicates: Duration::ZERO,
            default_max_consumers: 1000,
            batch: BatchLimits::default(),
        }
    }
}

/// Limits of batches (spec 6.5).
#[derive(Clone, Debug)]
pub struct BatchLimits {
    /// Atomic batches in flight of one stream.
    pub inflight_stream: usize,
    /// Atomic batches in flight of the server.
    pub inflight_total: usize,
    /// Messages of an atomic batch.
    pub messages: usize,
    /// How long a batch may rest.
    pub timeout: Duration,
    /// Fast batches in flight of one stream.
    pub fast_stream: usize,
    /// Fast batches in flight of the server.
    pub fast_total: usize,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self {
            inflight_stream: 50,
            inflight_total: 1000,
            messages: 1000,
            timeout: Duration::from_secs(10),
            fast_stream: 1000,
            fast_total: 50_000,
        }
    }
}

/// What an account, or a tier of it, may use; -1 for no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountLimits {
    /// Bytes of memory.
    pub max_memory: i64,
    /// Bytes on disk.
    pub max_store: i64,
    /// Streams.
    pub max_streams: i64,
    /// Consumers of all its streams.
    pub max_consumers: i64,
    /// Largest `max_ack_pending` of a consumer.
    pub max_ack_pending: i64,
    /// Largest `max_bytes` of a stream in memory; 0 and -1 for no limit.
    pub memory_max_stream_bytes: i64,
    /// Largest `max_bytes` of a stream on disk; 0 and -1 for no limit.
    pub store_max_stream_bytes: i64,
    /// Must every stream have `max_bytes`?
    pub max_bytes_required: bool,
}

impl Default for AccountLimits {
    fn default() -> Self {
        Self {
            max_memory: -1,
            max_store: -1,
            max_streams: -1,
            max_consumers: -1,
            max_ack_pending: -1,
            memory_max_stream_bytes: -1,
            store_max_stream_bytes: -1,
            max_bytes_required: false,
        }
    }
}
