//! What the broker runs on: typed, complete, and valid by construction.

use std::collections::BTreeMap;
use std::fmt;
use std::num::{NonZeroU8, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use accounts::Directory;

use super::JetStream;
use super::authorization::Authorization;
use super::settings::Settings;
use super::tls::{Ocsp, Tls};
use super::websocket::WebSocket;

/// Every option, with defaults filled in.
///
/// Built only by [`super::load`], from which it follows that `max_payload <= max_pending`, that the
/// lame duck grace period is shorter than its duration, and that nothing is asked for which this
/// version does not have.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// The file given by `-c`, as given.
    pub config_file: Option<String>,
    /// `sha256:…` of the parsed file.
    pub config_digest: Option<String>,
    /// `server_name`; the server's identity stands in for a missing one.
    pub server_name: Option<String>,
    /// Address to listen on.
    pub host: String,
    /// Port to listen on.
    pub port: Port,
    /// `host[:port]` that clients are told to connect to instead.
    pub client_advertise: Option<String>,
    /// Log debugging lines.
    pub debug: bool,
    /// Log protocol lines.
    pub trace: bool,
    /// Log protocol lines of the system account too.
    pub trace_verbose: bool,
    /// Log headers only, without payloads.
    pub trace_headers: bool,
    /// How log lines are stamped.
    pub log_time: LogTime,
    /// Log here instead of to standard error.
    pub log_file: Option<PathBuf>,
    /// Bytes after which the log file is set aside and begun anew.
    pub log_size_limit: Option<NonZeroUsize>,
    /// Log files to keep, the current one included.
    pub log_max_files: Option<NonZeroUsize>,
    /// Where to write the process number.
    pub pid_file: Option<PathBuf>,
    /// Where to write the ports in use.
    pub ports_file_dir: Option<PathBuf>,
    /// What there is to look at over HTTP.
    pub monitor: Monitor,
    /// Client connections at one time; zero refuses all.
    pub max_connections: usize,
    /// Subscriptions of one connection.
    pub max_subscriptions: Option<NonZeroUsize>,
    /// Tokens in the subject of a subscription.
    pub max_subscription_tokens: Option<NonZeroU8>,
    /// Bytes of a protocol line's arguments.
    pub max_control_line: usize,
    /// Bytes of a message, headers included; never above [`Options::max_pending`].
    pub max_payload: usize,
    /// Bytes that may wait for one connection before it counts as too slow.
    pub max_pending: usize,
    /// Bytes of a message that a trace line shows.
    pub max_traced_msg_len: Option<NonZeroUsize>,
    /// How long a write may be stuck before the connection counts as too slow.
    pub write_deadline: Duration,
    /// Time between PINGs to a silent client.
    pub ping_interval: Duration,
    /// PINGs without an answer after which the client is dropped.
    pub ping_max: u32,
    /// Time over which lame duck mode spreads the closing of clients.
    pub lame_duck_duration: Duration,
    /// Time that lame duck mode waits before it closes any; shorter than the duration.
    pub lame_duck_grace_period: Duration,
    /// Do not offer message headers.
    pub no_header_support: bool,
    /// Drop for slow subscribers instead of slowing their publishers.
    pub no_fast_producer_stall: bool,
    /// Who may connect.
    pub authorization: Authorization,
    /// All accounts.
    pub accounts: Directory,
    /// How long a new client may take to say who it is.
    pub auth_timeout: Duration,
    /// TLS of the port for clients.
    pub tls: Option<Tls>,
    /// May clients do without TLS?
    pub allow_non_tls: bool,
    /// What is stapled to certificates, and the folder in which staples are kept.
    pub staples: (Option<Ocsp>, Option<PathBuf>),
    /// The port for WebSocket.
    pub websocket: Option<WebSocket>,
    /// Does every connection to the port for clients begin with a PROXY header?
    pub proxy_protocol: bool,
    /// Report every so many failures of a first connection to another server.
    pub connect_error_reports: i64,
    /// Report every so many failures of a repeated connection to another server.
    pub reconnect_error_reports: i64,
    /// `server_tags`.
    pub tags: Vec<String>,
    /// `server_metadata`.
    pub metadata: BTreeMap<String, String>,
    /// Where and how streams are kept; absent without JetStream.
    pub jetstream: Option<JetStream>,
    /// What the machine is for; fills in cores and spin where they are not given.
    pub profile: Option<Profile>,
    /// Cores to use; all that the process may run on when absent.
    pub cores: Option<NonZeroUsize>,
    /// How long a core looks for work before it sleeps; the reactor's own choice when absent.
    pub spin: Option<Duration>,
    /// The command line, which a reload lays over the file again.
    pub(super) command_line: Settings,
}

/// The monitoring listener.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Monitor {
    /// Address to listen on.
    pub host: String,
    /// Port for HTTP; zero for none, -1 for any that is free.
    pub http_port: i64,
    /// Port for HTTPS; zero for none, -1 for any that is free.
    pub https_port: i64,
    /// What stands before each path, as written.
    pub base_path: String,
    /// Closed connections that are remembered.
    pub max_closed_clients: usize,
}

/// The port to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// This one.
    Fixed(u16),
    /// Any that is free.
    Random,
}

/// What the machine is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Something else as well: one core, which sleeps when there is nothing to do.
    Dev,
    /// Short waits: every core, or those that the kernel has set aside, and each looks for work
    /// before it sleeps.
    Latency,
    /// Much work for little CPU: the same cores, which sleep at once.
    Throughput,
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dev => "dev",
            Self::Latency => "latency",
            Self::Throughput => "throughput",
        })
    }
}

/// How log lines are stamped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogTime {
    /// Not at all.
    None,
    /// In the zone of the machine.
    Local,
    /// In UTC.
    Utc,
}
