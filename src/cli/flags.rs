//! Flags in Go's manner: `-x v`, `-x=v`, `--x v`, long names behind one dash, `-b` or `-b=false`.
//!
//! A table and sixty lines; `docs/decisions/command-line.md` says why no library does this. The
//! help, the manual page and the completions are made from the same table.

use std::num::NonZeroUsize;
use std::time::Duration;

use crate::config::{self, Settings};
use crate::notation::{parse_bool, parse_duration, parse_integer, quote};

/// A command line, taken apart.
#[derive(Debug, Default)]
pub(super) struct CommandLine {
    pub(super) settings: Settings,
    pub(super) version: bool,
    pub(super) help: bool,
    pub(super) tls_help: bool,
    pub(super) check: bool,
    pub(super) config: String,
    pub(super) signal: String,
    pub(super) tls: Tls,
    pub(super) cluster: Cluster,
    /// `-DV`, `-DVV`, `-VV`: in this order they win over `-D` and `-V`.
    debug_and_trace: Option<bool>,
    debug_and_verbose: Option<bool>,
    verbose: Option<bool>,
    /// Words behind the flags.
    pub(super) words: Vec<String>,
}

/// The flags about TLS.
#[derive(Debug, Default)]
pub(super) struct Tls {
    /// `--tls`, if given.
    pub(super) on: Option<bool>,
    pub(super) certificate: String,
    pub(super) key: String,
    pub(super) authorities: String,
    pub(super) verify: bool,
    /// Whether any flag with a name in `tls…` but `--tls` was given.
    pub(super) details: bool,
}

/// The flags about clusters.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    pub(super) listen: Option<String>,
    pub(super) routes: String,
}

/// Flags that belong together.
pub(super) struct Section {
    pub(super) title: &'static str,
    pub(super) flags: &'static [Flag],
}

/// A flag, and what is said about it.
pub(super) struct Flag {
    /// Without dashes; the shortest first.
    pub(super) names: &'static [&'static str],
    /// What its value is called; nothing for a switch.
    pub(super) value: &'static str,
    pub(super) text: &'static str,
    take: Take,
}

impl Flag {
    /// Its names as they are shown: one dash in front of a letter and of what stands for two, two
    /// in front of a word. Any number is taken.
    pub(super) fn spellings(&self) -> impl Iterator<Item = String> {
        self.names.iter().map(|name| {
            let is_short = name.len() <= 2 || name.bytes().all(|byte| byte.is_ascii_uppercase());
            format!("{}{name}", if is_short { "-" } else { "--" })
        })
    }
}

enum Take {
    Bool(fn(&mut CommandLine, bool)),
    Integer(fn(&mut CommandLine, i64)),
    Text(fn(&mut CommandLine, String)),
    /// Our own; the error is the reason.
    Parsed(fn(&mut CommandLine, &str) -> Result<(), String>),
}

/// Takes `arguments` apart, without the program's name. The error is what to print above the usage.
pub(super) fn parse(arguments: &[String]) -> Result<CommandLine, String> {
    let mut line = CommandLine::default();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.clone().next() {
        let Some(body) = argument.strip_prefix('-').filter(|body| !body.is_empty()) else {
            break;
        };
        rest.next();
        if body == "-" {
            break;
        }
        let body = body.strip_prefix('-').unwrap_or(body);
        if body.starts_with(['-', '=']) {
            return Err(format!("bad flag syntax: {argument}"));
        }
        let (name, value) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (body, None),
        };
        let flag = SECTIONS
            .iter()
            .flat_map(|section| section.flags)
            .find(|flag| flag.names.contains(&name))
            .ok_or_else(|| format!("flag provided but not defined: -{name}"))?;
        if let Take::Bool(set) = flag.take {
            let value = value.unwrap_or("true");
            let on = parse_bool(value).ok_or_else(|| {
                format!("invalid boolean value {} for -{name}: parse error", quote(value))
            })?;
            set(&mut line, on);
            continue;
        }
        let value = value
            .or_else(|| rest.next().map(String::as_str))
            .ok_or_else(|| format!("flag needs an argument: -{name}"))?;
        flag.take.value(&mut line, value).map_err(|reason| {
            format!("invalid value {} for flag -{name}: {reason}", quote(value))
        })?;
    }
    line.words = rest.cloned().collect();
    line.combine();
    Ok(line)
}

impl Take {
    fn value(&self, line: &mut CommandLine, value: &str) -> Result<(), String> {
        match self {
            Self::Bool(_) => {}
            Self::Integer(set) => {
                set(line, parse_integer(value).map_err(|error| error.to_string())?);
            }
            Self::Text(set) => set(line, value.to_owned()),
            Self::Parsed(set) => set(line, value)?,
        }
        Ok(())
    }
}

impl CommandLine {
    fn combine(&mut self) {
        if let Some(on) = self.debug_and_trace {
            self.settings.debug = Some(on);
            self.settings.trace = Some(on);
        }
        if let Some(on) = self.debug_and_verbose {
            self.settings.debug = Some(on);
            self.settings.trace = Some(on);
            self.settings.trace_verbose = Some(on);
        }
        if let Some(on) = self.verbose {
            self.settings.trace = Some(on);
            self.settings.trace_verbose = Some(on);
        }
    }

    /// Notes that a flag asks for something that is still to come.
    fn missing(&mut self, flag: &str, wanted: bool) {
        if wanted {
            self.settings.missing_features.push(flag.to_owned());
        }
    }
}

const fn bool(
    names: &'static [&'static str],
    text: &'static str,
    set: fn(&mut CommandLine, bool),
) -> Flag {
    Flag { names, value: "", text, take: Take::Bool(set) }
}

const fn integer(
    names: &'static [&'static str],
    value: &'static str,
    text: &'static str,
    set: fn(&mut CommandLine, i64),
) -> Flag {
    Flag { names, value, text, take: Take::Integer(set) }
}

const fn text(
    names: &'static [&'static str],
    value: &'static str,
    text: &'static str,
    set: fn(&mut CommandLine, String),
) -> Flag {
    Flag { names, value, text, take: Take::Text(set) }
}

const fn parsed(
    names: &'static [&'static str],
    value: &'static str,
    text: &'static str,
    set: fn(&mut CommandLine, &str) -> Result<(), String>,
) -> Flag {
    Flag { names, value, text, take: Take::Parsed(set) }
}

/// Every flag there is.
pub(super) static SECTIONS: &[Section] = &[
    Section { title: "Server Options", flags: SERVER },
    Section { title: "Core Options", flags: CORES },
    Section { title: "Logging Options", flags: LOGGING },
    Section { title: "JetStream Options", flags: JETSTREAM },
    Section { title: "Authorization Options", flags: AUTHORIZATION },
    Section { title: "TLS Options", flags: TLS },
    Section { title: "Cluster Options", flags: CLUSTER },
    Section { title: "Common Options", flags: COMMON },
];

static SERVER: &[Flag] = &[
    text(&["a", "addr", "net"], "host", "Address to listen on (default: 0.0.0.0)", |l, v| {
        l.settings.host = Some(v);
    }),
    integer(
        &["p", "port"],
        "port",
        "Port for clients, -1 for a free one (default: 4222)",
        |l, v| {
            l.settings.port = Some(v);
        },
    ),
    text(&["n", "name", "server_name"], "name", "Name of this server (default: its id)", |l, v| {
        l.settings.server_name = Some(v);
    }),
    text(&["P", "pid"], "file", "Write the process id to this file", |l, v| {
        l.settings.pid_file = Some(v);
    }),
    integer(&["m", "http_port"], "port", "Port for http monitoring", |l, v| {
        l.settings.http_port = (v != 0).then_some(v);
    }),
    integer(&["ms", "https_port"], "port", "Port for https monitoring", |l, v| {
        l.settings.https_port = (v != 0).then_some(v);
    }),
    text(&["c", "config"], "file", "Configuration file", |l, v| l.config = v),
    bool(&["t"], "Check the configuration file and exit", |l, v| l.check = v),
    text(
        &["sl", "signal"],
        "signal[=pid]",
        "Signal a running server: ldm, stop, quit, term, reopen, reload. The pid is a process id, \
         a file that holds one, or the start of one followed by *",
        |l, v| l.signal = v,
    ),
    text(
        &["client_advertise"],
        "address",
        "Address that clients are told to connect to",
        |l, v| {
            l.settings.client_advertise = Some(v);
        },
    ),
    text(&["ports_file_dir"], "dir", "Write <executable>_<pid>.ports to this directory", |l, v| {
        l.settings.ports_file_dir = Some(v);
    }),
];

/// Our own.
static CORES: &[Flag] = &[
    parsed(&["profile"], "name", "dev, latency or throughput: fills in the two below", set_profile),
    parsed(
        &["cores"],
        "number",
        "Cores to use (default: all that the process may run on)",
        set_cores,
    ),
    parsed(&["spin"], "duration", "How long a core looks for work before it sleeps", set_spin),
];

static LOGGING: &[Flag] = &[
    text(&["l", "log"], "file", "Log to this file instead of standard error", |l, v| {
        l.settings.log_file = Some(v);
    }),
    bool(&["T", "logtime"], "Stamp log lines with the time (default: true)", |l, v| {
        l.settings.logtime = Some(v);
    }),
    bool(&["logtime_utc"], "The same in UTC instead of local time", |l, v| {
        l.settings.logtime_utc = Some(v);
    }),
    bool(&["s", "syslog"], "Log to syslog", |l, v| l.missing("--syslog", v)),
    text(
        &["r", "remote_syslog"],
        "address",
        "Address of a syslog server (udp://localhost:514)",
        |l, v| l.missing("--remote_syslog", !v.is_empty()),
    ),
    bool(&["D", "debug"], "Log debugging lines", |l, v| l.settings.debug = Some(v)),
    bool(&["V", "trace"], "Log protocol lines", |l, v| l.settings.trace = Some(v)),
    bool(&["VV"], "Log protocol lines, the system account's too", |l, v| l.verbose = Some(v)),
    bool(&["DV"], "Both -D and -V", |l, v| l.debug_and_trace = Some(v)),
    bool(&["DVV"], "Both -D and -VV", |l, v| l.debug_and_verbose = Some(v)),
    integer(&["log_size_limit"], "limit", "Set the log file aside at this many bytes", |l, v| {
        l.settings.log_size_limit = Some(v);
    }),
    integer(
        &["max_traced_msg_len"],
        "len",
        "Show at most this many bytes of a message (default: all)",
        |l, v| l.settings.max_traced_msg_len = Some(v),
    ),
];

static JETSTREAM: &[Flag] = &[
    bool(&["js", "jetstream"], "Enable JetStream", |l, v| l.settings.jetstream = Some(v)),
    text(&["sd", "store_dir"], "dir", "Directory for its data", |l, v| {
        l.settings.store_dir = Some(v);
    }),
];

static AUTHORIZATION: &[Flag] = &[
    text(&["user"], "user", "User that clients must name", |l, v| {
        l.settings.username = Some(v);
    }),
    text(&["pass"], "password", "Password that goes with it", |l, v| {
        l.settings.password = Some(v);
    }),
    text(&["auth"], "token", "Token that clients must give", |l, v| l.settings.token = Some(v)),
];

static TLS: &[Flag] = &[
    bool(&["tls"], "Enable TLS without verifying clients", |l, v| l.tls.on = Some(v)),
    text(&["tlscert"], "file", "Certificate of this server", |l, v| {
        l.tls.details = true;
        l.tls.certificate = v;
    }),
    text(&["tlskey"], "file", "Its private key", |l, v| {
        l.tls.details = true;
        l.tls.key = v;
    }),
    bool(&["tlsverify"], "Enable TLS and verify clients", |l, v| {
        l.tls.details = true;
        l.tls.verify = v;
    }),
    text(&["tlscacert"], "file", "Certificate authority of the clients", |l, v| {
        l.tls.details = true;
        l.tls.authorities = v;
    }),
];

/// Still to come, but checked.
static CLUSTER: &[Flag] = &[
    text(&["routes"], "url, url", "Servers to connect to", |l, v| l.cluster.routes = v),
    text(&["cluster", "cluster_listen"], "url", "Where to listen for other servers", |l, v| {
        l.cluster.listen = Some(v);
    }),
    text(&["cluster_name"], "name", "Name of the cluster (default: made up)", |l, v| {
        l.missing("--cluster_name", !v.is_empty());
    }),
    bool(&["no_advertise"], "Do not tell clients about other servers", |l, v| {
        l.missing("--no_advertise", v);
    }),
    text(
        &["cluster_advertise"],
        "address",
        "Address that other servers are told to connect to",
        |l, v| l.missing("--cluster_advertise", !v.is_empty()),
    ),
    integer(
        &["connect_retries"],
        "number",
        "How often to retry a server that was learned about",
        |l, v| l.missing("--connect_retries", v != 0),
    ),
];

static COMMON: &[Flag] = &[
    bool(&["h", "help"], "Show this text", |l, v| l.help = v),
    bool(&["v", "version"], "Show the version", |l, v| l.version = v),
    bool(&["help_tls"], "Show help on TLS", |l, v| l.tls_help = v),
];

/// A word of ours, or the reference's port for profiles of its own.
fn set_profile(line: &mut CommandLine, value: &str) -> Result<(), String> {
    if let Ok(profile) = config::parse_profile(value) {
        line.settings.profile = Some(profile);
        return Ok(());
    }
    let port = parse_integer(value).map_err(|error| error.to_string())?;
    line.missing("--profile", port != 0);
    Ok(())
}

fn set_cores(line: &mut CommandLine, value: &str) -> Result<(), String> {
    let cores = parse_integer(value).map_err(|error| error.to_string())?;
    let cores = usize::try_from(cores).ok().and_then(NonZeroUsize::new);
    line.settings.cores = Some(cores.ok_or("at least one core is needed")?);
    Ok(())
}

fn set_spin(line: &mut CommandLine, value: &str) -> Result<(), String> {
    let nanoseconds = parse_duration(value).map_err(|error| error.to_string())?;
    let nanoseconds = u64::try_from(nanoseconds).map_err(|_| "cannot be negative")?;
    line.settings.spin = Some(Duration::from_nanos(nanoseconds));
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Every name under which nats-server 2.15.1 knows a flag.
    const REFERENCE: &str = "\
        D DV DVV P T V VV a addr auth c client_advertise cluster cluster_advertise \
        cluster_listen cluster_name config connect_retries debug h help help_tls http_port \
        https_port jetstream js l log log_size_limit logtime logtime_utc m max_traced_msg_len \
        ms n name net no_advertise p pass pid port ports_file_dir profile r remote_syslog \
        routes s sd server_name signal sl store_dir syslog t tls tlscacert tlscert tlskey \
        tlsverify trace user v version";

    #[test]
    fn every_flag_of_the_reference_is_there_and_two_of_our_own() {
        let all = SECTIONS.iter().flat_map(|section| section.flags).flat_map(|flag| flag.names);
        let mut ours: BTreeSet<&str> = BTreeSet::new();
        for name in all {
            assert!(ours.insert(name), "{name} stands for two flags");
        }
        let reference: BTreeSet<&str> = REFERENCE.split(' ').collect();
        assert_eq!(reference.difference(&ours).count(), 0, "{reference:?}");
        let own: Vec<&str> = ours.difference(&reference).copied().collect();
        assert_eq!(own, ["cores", "spin"], "and `profile`, which takes names, too");
    }
}
