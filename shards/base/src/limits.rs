//! Every limit of the broker in one place, with the relations between them proved at compile time.
//!
//! Limits that the reference makes configurable have their default here; the value in force stands
//! in the configuration snapshot of each core.

use crate::time::Duration;

/// Cores of one server: the width of a [`crate::CoreSet`].
pub const CORES_MAX: usize = 64;

/// Longest argument of a control line in bytes (spec 1.7).
pub const MAX_CONTROL_LINE_DEFAULT: usize = 4096;

/// Largest message, header included, in bytes (spec 1.7).
pub const MAX_PAYLOAD_DEFAULT: usize = 1024 * 1024;

/// Largest value that `max_payload` may take: sizes on the wire have at most nine digits.
pub const MAX_PAYLOAD_LIMIT: usize = 999_999_999;

/// Bytes that may wait for a client before it is cut off as a slow consumer (spec 1.7).
pub const MAX_PENDING_DEFAULT: usize = 64 * 1024 * 1024;

/// Connections that may be open at a time (spec 1.7).
pub const MAX_CONNECTIONS_DEFAULT: i64 = 64 * 1024;

/// Time for a client to take what was written to it (spec 1.7).
pub const WRITE_DEADLINE_DEFAULT: Duration = Duration::from_secs(10);

/// Time between a server's PINGs to a quiet client (spec 1.7).
pub const PING_INTERVAL_DEFAULT: Duration = Duration::from_mins(2);

/// Unanswered PINGs after which a connection is stale (spec 1.7).
pub const PING_MAX_DEFAULT: u32 = 2;

/// Longest wait before the first PING, which measures the round trip (spec 1.7).
pub const FIRST_PING_MAX: Duration = Duration::from_secs(2);

/// Age at which a round-trip measurement is taken again even from a busy client (spec 1.7).
pub const RTT_REFRESH: Duration = Duration::from_hours(1);

/// Time for a client to send CONNECT where authentication is required (spec 1.7).
pub const AUTH_TIMEOUT_DEFAULT: Duration = Duration::from_secs(2);

/// Time for a TLS handshake (spec 2.6).
pub const TLS_TIMEOUT_DEFAULT: Duration = Duration::from_secs(2);

/// Time for a PROXY header (spec 3.6).
pub const PROXY_HEADER_WAIT: Duration = Duration::from_secs(5);

/// Time over which TLS handshakes are counted, and after which the log says how many were refused.
pub const THROTTLE_SPAN: Duration = Duration::from_secs(1);

/// Longest pause of a publisher per read while a subscriber of its is behind (spec 1.7).
pub const STALL_PAUSE_MAX: Duration = Duration::from_millis(10);

/// How long a connection that was closed with an error may keep its socket so that the peer reads
/// the error: closing at once with unread input would reset the connection and lose it.
pub const LINGER_MAX: Duration = Duration::from_secs(1);

/// Unsent bytes of one connection at which they are written before the turn ends: twice what one
/// receive can bring in, so that the data is still in the second-level cache.
pub const EARLY_FLUSH_BYTES: usize = 128 * 1024;

/// Bytes waiting for a lane at which the connections that produce them are paused.
pub const OUTBOX_HIGH_BYTES: usize = 512 * 1024;

/// Bytes waiting for a lane below which paused producers go on.
pub const OUTBOX_LOW_BYTES: usize = 64 * 1024;

/// Bytes of one lane (one direction between two cores). A power of two.
pub const LANE_BYTES: usize = 512 * 1024;

/// Requests across accounts of one core that wait for a response: with more the oldest is given up.
/// At about 250 bytes each this is under 64 MiB.
pub const RESPONSES_MAX: usize = 256 * 1024;

/// Time that a request across accounts waits for a response unless its service says otherwise
/// (spec 3.3).
pub const RESPONSE_THRESHOLD_DEFAULT: Duration = Duration::from_mins(2);

/// Accounts that a request may pass through, one importing from the next.
pub const IMPORT_CHAIN_MAX: usize = 32;

/// Requests of one connection that may be answered under `allow_responses` at a time; beyond, the
/// oldest gives way. At some 150 bytes each this is under 10 MiB.
pub const REPLIES_MAX: usize = 64 * 1024;

/// Times that a message for a queue group may be handed on when the chosen core has lost its last
/// member meanwhile.
pub const QUEUE_HOPS_MAX: u8 = 4;

/// Smaller buffers are not worth a place in the pool.
pub const POOLED_BUFFER_BYTES_MIN: usize = 2048;

/// Outbound buffers up to this size go back to the pool; larger ones to the allocator.
pub const POOLED_BUFFER_BYTES_MAX: usize = 256 * 1024;

/// Buffers that a core's pool keeps at most.
pub const POOLED_BUFFERS_MAX: usize = 64;

/// Subjects without a literal subscription whose match a core remembers. At about 100 bytes each
/// this is under 2 MiB a core.
pub const MATCH_CACHE_MAX: usize = 16 * 1024;

/// Tokens of a subject: beyond this a subject matches nothing but `>`-prefixes already consumed.
/// `max_control_line` admits at most half as many tokens as bytes, 16 times for routes.
pub const TOKENS_MAX: usize = 32 * 1024;

/// Blocks of 4 KiB in one file of a core's journal: 16 MiB, zeroed in some ten milliseconds, and
/// read as fast when the store opens.
pub const JOURNAL_BLOCKS: u32 = 4096;

/// Files that a core's journal begins with, and has at most: 1 GiB. More than a few come into being
/// only where segments cannot be written as fast as the journal.
pub const JOURNAL_FILES: (usize, usize) = (2, 64);

/// Files of the journal in use at which the oldest is made free.
pub const JOURNAL_FILES_HELD: usize = 3;

/// Bytes of messages after which a stretch of a log is written to a segment: in one go, with its
/// index in a few milliseconds.
pub const PART_BYTES: u32 = 4 << 20;

/// Bytes of segments that a core keeps in memory after they were looked at.
pub const FETCH_CACHE_BYTES: u64 = 32 * 1024 * 1024;

/// Messages that one consumer delivers in one turn: some hundred microseconds of work, so that the
/// client reads the first while the next are put together.
pub const CONSUMER_TURN_MESSAGES: usize = 256;

/// Bytes that one consumer delivers in one turn: what a lane holds, so that a busy consumer fills
/// its pipe and others still get theirs.
pub const CONSUMER_TURN_BYTES: usize = 256 * 1024;

/// Bytes that the consumers of one stream deliver in one turn.
pub const CONSUMERS_TURN_BYTES: usize = 1024 * 1024;

/// Longest name of a stream or consumer (spec 6.2).
pub const NAME_BYTES_MAX: usize = 255;

/// Longest description of a stream or consumer (spec 6.2).
pub const DESCRIPTION_BYTES_MAX: usize = 4096;

/// Bytes of all names and values in the metadata of a stream or consumer (spec 6.2).
pub const METADATA_BYTES_MAX: usize = 128 * 1024;

/// Copies of a stream (spec 6.2).
pub const REPLICAS_MAX: i64 = 5;

/// Shortest `max_age` and `duplicate_window` of a stream, in nanoseconds (spec 6.2).
pub const STREAM_SPAN_MIN: i64 = 100_000_000;

/// `duplicate_window` of a stream that names none, in nanoseconds (spec 6.2).
pub const DUPLICATE_WINDOW_DEFAULT: i64 = 120_000_000_000;

/// Shortest life of a marker, in nanoseconds (spec 6.2).
pub const DELETE_MARKER_TTL_MIN: i64 = 1_000_000_000;

/// Largest header block of a stored message in bytes (spec 6.5).
pub const STORED_HEADER_BYTES_MAX: usize = 65_535;

/// Names on one page of an answer (spec 6.1).
pub const API_NAMES_MAX: usize = 1024;

/// Descriptions on one page of an answer (spec 6.1).
pub const API_LIST_MAX: usize = 256;

/// Subjects on one page of an answer about a stream (spec 6.1).
pub const API_SUBJECTS_MAX: usize = 100_000;

/// Subjects that one direct get may ask for (spec 6.8).
pub const DIRECT_SUBJECTS_MAX: usize = 1024;

/// Requests to the API that wait for the disk, per core. Beyond it they are refused.
pub const API_WAITING_MAX: usize = 10_000;

/// Highest sequence of a stream: a purge or `first_seq` may ask for a start near the end of what 64
/// bits can count, and arithmetic must not come near that.
pub const SEQUENCE_MAX: u64 = 1 << 63;

/// Messages that a stream removes in one turn because of their age, so that a large stream which
/// expires at once does not hold up its core. A removal costs about a tenth of a microsecond.
pub const EXPIRED_PER_TURN_MAX: usize = 4096;

/// Messages that a stream reads in one turn after a start, to learn what their headers say.
pub const RECALLED_PER_TURN_MAX: usize = 4096;

/// Messages that one direct get sends in one turn; the rest follows in the next.
pub const DIRECT_PER_TURN_MAX: usize = 1024;

/// Time between heartbeats that a mirror or source asks of its origin (spec 6.9).
pub const UPSTREAM_HEARTBEAT: Duration = Duration::from_secs(1);

/// Silence after which a mirror or source asks for another consumer: five heartbeats.
pub const UPSTREAM_SILENCE_MAX: Duration = Duration::from_secs(5);

/// Time that an origin has to answer a mirror or source.
pub const UPSTREAM_ANSWER_WAIT: Duration = Duration::from_secs(5);

/// Shortest and longest time between two requests of a mirror or source for a consumer.
pub const UPSTREAM_PAUSE_LEAST: Duration = Duration::from_millis(250);
/// See [`UPSTREAM_PAUSE_LEAST`].
pub const UPSTREAM_PAUSE_MOST: Duration = Duration::from_secs(10);

/// Bytes of messages that wait in a stream for a read from disk. More are refused.
pub const HELD_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Bytes of messages on one core that wait for the commit of their batch. Batches beyond it are
/// given up.
pub const BATCH_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Messages of a snapshot that are packed in one turn.
pub const SNAPSHOT_PER_TURN_MAX: usize = 512;

/// Time that a client has to take a chunk of a snapshot, and to begin listening (spec 6.11).
pub const SNAPSHOT_ANSWER_WAIT: Duration = Duration::from_secs(5);
/// See [`SNAPSHOT_ANSWER_WAIT`].
pub const SNAPSHOT_INTEREST_WAIT: Duration = Duration::from_secs(2);

/// Time between two chunks after which a restore is given up.
pub const RESTORE_SILENCE_MAX: Duration = Duration::from_secs(5);

const _: () = assert!(OUTBOX_LOW_BYTES < OUTBOX_HIGH_BYTES);
const _: () = assert!(CONSUMER_TURN_BYTES <= CONSUMERS_TURN_BYTES);
const _: () = assert!(CONSUMER_TURN_BYTES <= LANE_BYTES);
const _: () = assert!(LANE_BYTES.is_power_of_two());
const _: () = assert!(MAX_PAYLOAD_DEFAULT <= MAX_PAYLOAD_LIMIT);
const _: () = assert!(EARLY_FLUSH_BYTES <= POOLED_BUFFER_BYTES_MAX);
const _: () = assert!(MAX_CONTROL_LINE_DEFAULT * 16 <= TOKENS_MAX * 2);
