//! The command line of `pinion bench`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Load and latency against any NATS server.
#[derive(Debug, Parser)]
#[command(name = "pinion bench", no_binary_name = true, disable_version_flag = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) mode: Mode,
}

#[derive(Debug, Args)]
pub(crate) struct Common {
    /// Address of the server
    #[arg(long, global = true, default_value = "127.0.0.1:4222", value_name = "HOST:PORT")]
    pub(crate) server: String,
    /// Name to log in with
    #[arg(long, global = true)]
    pub(crate) user: Option<String>,
    /// Password to log in with
    #[arg(long, global = true)]
    pub(crate) password: Option<String>,
    /// Token to log in with
    #[arg(long, global = true)]
    pub(crate) token: Option<String>,
    /// Process of the server: adds its CPU time and memory to the report
    #[arg(long, global = true, value_name = "PID")]
    pub(crate) server_pid: Option<i32>,
    /// CPU to run on
    #[arg(long, global = true, value_name = "CPU")]
    pub(crate) pin: Option<usize>,
    /// Payload bytes
    #[arg(long, global = true, default_value = "16", value_parser = count)]
    pub(crate) size: u64,
    /// Messages (requests, for that mode) to measure, in place of a duration; takes k and M
    #[arg(long, global = true, value_parser = count, conflicts_with = "duration")]
    pub(crate) messages: Option<u64>,
    /// Time to measure
    #[arg(long, global = true, default_value = "5s", value_parser = duration)]
    pub(crate) duration: Duration,
    /// Time of the same load beforehand, not measured
    #[arg(long, global = true, default_value = "500ms", value_parser = duration)]
    pub(crate) warmup: Duration,
    /// Most bytes on their way to subscribers, in KiB
    #[arg(long, global = true, default_value = "4096", value_name = "KIB")]
    pub(crate) window: u64,
    /// Where the random order of subjects starts
    #[arg(long, global = true, default_value = "1")]
    pub(crate) seed: u64,
    /// Write the result as JSON to a file, or to standard output with `-`
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Mode {
    /// Publish to a subject that nobody hears
    Pub {
        /// Publishing connections
        #[arg(long, default_value = "1")]
        connections: usize,
    },
    /// One publisher, one subscriber
    Pair,
    /// One publisher, several subscribers that all hear everything
    Fanout {
        #[arg(long, default_value = "5")]
        subscribers: usize,
    },
    /// Pairs of publisher and subscriber, each with its own subject
    Pairs {
        #[arg(long, default_value = "50")]
        count: usize,
    },
    /// One publisher, one queue group
    Queue {
        #[arg(long, default_value = "4")]
        members: usize,
        /// Publishing connections
        #[arg(long, default_value = "1")]
        publishers: usize,
    },
    /// Requests, one at a time on each connection, answered by one responder in this process
    Request {
        #[arg(long, default_value = "1")]
        connections: usize,
    },
    /// Publishes to randomly chosen subjects, each with one literal subscription
    Subjects {
        #[arg(long, default_value = "200k", value_parser = count)]
        count: u64,
        /// Connections that share the subscriptions
        #[arg(long, default_value = "4")]
        connections: usize,
    },
    /// Messages at a fixed rate, timed from the moment each was to be sent
    Latency {
        /// Messages per second
        #[arg(long, default_value = "20k", value_parser = count)]
        rate: u64,
        /// Pairs of publisher and subscriber that share the rate
        #[arg(long, default_value = "1")]
        pairs: usize,
        /// Write the percentile distribution for `HdrHistogram` plotters
        #[arg(long, value_name = "FILE")]
        hgrm: Option<PathBuf>,
    },
    /// `JetStream`: publishes, so many at a time on each connection, each acknowledged
    JsPublish {
        /// Publishing connections
        #[arg(long, default_value = "1")]
        connections: usize,
        /// Publishes under way on each connection; 1 waits for each acknowledgement
        #[arg(long, default_value = "256")]
        pending: usize,
        /// Streams that are published to in turn
        #[arg(long, default_value = "1", value_parser = count)]
        streams: u64,
        #[arg(long, value_enum, default_value_t = Storage::File)]
        storage: Storage,
    },
    /// `JetStream`: reads a stream by pull requests
    JsFetch {
        /// Messages in the stream
        #[arg(long, default_value = "100k", value_parser = count)]
        count: u64,
        /// Messages of each pull request
        #[arg(long, default_value = "500", value_parser = count)]
        batch: u64,
        /// Acknowledge each message
        #[arg(long)]
        ack: bool,
        #[arg(long, value_enum, default_value_t = Storage::File)]
        storage: Storage,
    },
    /// `JetStream`: reads a stream with an ordered push consumer
    JsOrdered {
        /// Messages in the stream
        #[arg(long, default_value = "100k", value_parser = count)]
        count: u64,
        #[arg(long, value_enum, default_value_t = Storage::File)]
        storage: Storage,
    },
    /// `JetStream`: fills a stream of many subjects and leaves it behind
    JsFill {
        /// Messages
        #[arg(long, default_value = "1M", value_parser = count)]
        count: u64,
        /// Subjects that are published to in turn
        #[arg(long, default_value = "1M", value_parser = count)]
        subjects: u64,
        #[arg(long, value_enum, default_value_t = Storage::File)]
        storage: Storage,
    },
    /// `JetStream`: consumers with filters in a stream of many subjects, a message each
    JsFilter {
        /// Subjects in the stream
        #[arg(long, default_value = "1M", value_parser = count)]
        subjects: u64,
        /// Filters of each consumer
        #[arg(long, default_value = "1", value_parser = count)]
        filters: u64,
        #[arg(long, value_enum, default_value_t = Storage::File)]
        storage: Storage,
    },
    /// `JetStream`: publishes that ask for no acknowledgement, and how many of them are stored
    JsFlood {
        #[arg(long, value_enum, default_value_t = Storage::File)]
        storage: Storage,
    },
    /// Key-value: puts, one at a time on each connection
    KvPut {
        #[arg(long, default_value = "1")]
        connections: usize,
        /// Keys that are put in turn
        #[arg(long, default_value = "1k", value_parser = count)]
        keys: u64,
    },
    /// Key-value: gets, one at a time on each connection
    KvGet {
        #[arg(long, default_value = "1")]
        connections: usize,
        /// Keys that are got in turn
        #[arg(long, default_value = "1k", value_parser = count)]
        keys: u64,
    },
    /// Hold idle connections, for the memory of each
    Idle {
        #[arg(long, default_value = "10k", value_parser = count)]
        connections: u64,
        /// How long to hold them before looking
        #[arg(long, default_value = "3s", value_parser = duration)]
        hold: Duration,
    },
    /// Hold subscriptions, for the memory of each
    Subs {
        #[arg(long, default_value = "1M", value_parser = count)]
        count: u64,
        /// Connections that share the subscriptions
        #[arg(long, default_value = "4")]
        connections: usize,
        /// How long to hold them before looking
        #[arg(long, default_value = "3s", value_parser = duration)]
        hold: Duration,
    },
}

/// Where a stream keeps its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Storage {
    File,
    Memory,
}

impl Storage {
    /// As the API says it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Memory => "memory",
        }
    }
}

/// A number with an optional `k` or `M`.
fn count(text: &str) -> Result<u64, String> {
    let (digits, factor) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 1_000),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 1_000_000),
        _ => (text, 1),
    };
    let number: u64 = digits.parse().map_err(|error| format!("{error}"))?;
    number.checked_mul(factor).ok_or_else(|| "too large".into())
}

/// Seconds, or a number with `ms`, `s` or `m`.
fn duration(text: &str) -> Result<Duration, String> {
    let (digits, seconds) = if let Some(digits) = text.strip_suffix("ms") {
        (digits, 1e-3)
    } else if let Some(digits) = text.strip_suffix('m') {
        (digits, 60.0)
    } else {
        (text.strip_suffix('s').unwrap_or(text), 1.0)
    };
    let number: f64 = digits.parse().map_err(|error| format!("{error}"))?;
    Duration::try_from_secs_f64(number * seconds).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_is_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn numbers_take_units() {
        assert_eq!(count("200k"), Ok(200_000));
        assert_eq!(count("1M"), Ok(1_000_000));
        assert_eq!(count("7"), Ok(7));
        assert!(count("x").is_err());
        assert!(count("").is_err());
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2m"), Ok(Duration::from_mins(2)));
        assert!(duration("-1").is_err());
    }

    #[test]
    fn common_options_may_follow_the_mode() {
        let arguments = Arguments::try_parse_from(["fanout", "--subscribers", "3", "--size", "1k"])
            .expect("these exist");
        assert_eq!(arguments.common.size, 1000);
        assert!(matches!(arguments.mode, Mode::Fanout { subscribers: 3 }));
    }
}
