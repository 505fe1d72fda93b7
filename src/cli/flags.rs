//! Flags in Go's manner: `-x v`, `-x=v`, `--x v`, long names behind one dash, `-b` or `-b=false`.
//!
//! A table and sixty lines; `docs/decisions/command-line.md` says why no library does this.

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

struct Flag {
    names: &'static [&'static str],
    take: Take,
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
        let flag = FLAGS
            .iter()
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

const fn bool(names: &'static [&'static str], set: fn(&mut CommandLine, bool)) -> Flag {
    Flag { names, take: Take::Bool(set) }
}

const fn integer(names: &'static [&'static str], set: fn(&mut CommandLine, i64)) -> Flag {
    Flag { names, take: Take::Integer(set) }
}

const fn text(names: &'static [&'static str], set: fn(&mut CommandLine, String)) -> Flag {
    Flag { names, take: Take::Text(set) }
}

const fn parsed(
    names: &'static [&'static str],
    set: fn(&mut CommandLine, &str) -> Result<(), String>,
) -> Flag {
    Flag { names, take: Take::Parsed(set) }
}

static FLAGS: &[Flag] = &[
    bool(&["h", "help"], |l, v| l.help = v),
    bool(&["v", "version"], |l, v| l.version = v),
    bool(&["help_tls"], |l, v| l.tls_help = v),
    bool(&["t"], |l, v| l.check = v),
    text(&["c", "config"], |l, v| l.config = v),
    text(&["sl", "signal"], |l, v| l.signal = v),
    text(&["a", "addr", "net"], |l, v| l.settings.host = Some(v)),
    integer(&["p", "port"], |l, v| l.settings.port = Some(v)),
    text(&["n", "name", "server_name"], |l, v| {
        l.settings.server_name = Some(v);
    }),
    text(&["client_advertise"], |l, v| {
        l.settings.client_advertise = Some(v);
    }),
    text(&["P", "pid"], |l, v| l.settings.pid_file = Some(v)),
    text(&["ports_file_dir"], |l, v| {
        l.settings.ports_file_dir = Some(v);
    }),
    // Monitoring.
    integer(&["m", "http_port"], |l, v| l.settings.http_port = (v != 0).then_some(v)),
    integer(&["ms", "https_port"], |l, v| {
        l.settings.https_port = (v != 0).then_some(v);
    }),
    // Log.
    text(&["l", "log"], |l, v| l.settings.log_file = Some(v)),
    integer(&["log_size_limit"], |l, v| {
        l.settings.log_size_limit = Some(v);
    }),
    integer(&["max_traced_msg_len"], |l, v| {
        l.settings.max_traced_msg_len = Some(v);
    }),
    bool(&["T", "logtime"], |l, v| l.settings.logtime = Some(v)),
    bool(&["logtime_utc"], |l, v| l.settings.logtime_utc = Some(v)),
    bool(&["D", "debug"], |l, v| l.settings.debug = Some(v)),
    bool(&["V", "trace"], |l, v| l.settings.trace = Some(v)),
    bool(&["VV"], |l, v| l.verbose = Some(v)),
    bool(&["DV"], |l, v| l.debug_and_trace = Some(v)),
    bool(&["DVV"], |l, v| l.debug_and_verbose = Some(v)),
    bool(&["s", "syslog"], |l, v| l.missing("--syslog", v)),
    text(&["r", "remote_syslog"], |l, v| {
        l.missing("--remote_syslog", !v.is_empty());
    }),
    // Who may connect.
    text(&["user"], |l, v| l.settings.username = Some(v)),
    text(&["pass"], |l, v| l.settings.password = Some(v)),
    text(&["auth"], |l, v| l.settings.token = Some(v)),
    // What is stored.
    text(&["sd", "store_dir"], |l, v| l.settings.store_dir = Some(v)),
    bool(&["js", "jetstream"], |l, v| l.settings.jetstream = Some(v)),
    // Cores, our own.
    parsed(&["cores"], set_cores),
    parsed(&["spin"], set_spin),
    parsed(&["profile"], set_profile),
    // Features still to come.
    bool(&["tls"], |l, v| l.tls.on = Some(v)),
    bool(&["tlsverify"], |l, v| {
        l.tls.details = true;
        l.tls.verify = v;
    }),
    text(&["tlscert"], |l, v| {
        l.tls.details = true;
        l.tls.certificate = v;
    }),
    text(&["tlskey"], |l, v| {
        l.tls.details = true;
        l.tls.key = v;
    }),
    text(&["tlscacert"], |l, v| {
        l.tls.details = true;
        l.tls.authorities = v;
    }),
    text(&["cluster", "cluster_listen"], |l, v| {
        l.cluster.listen = Some(v);
    }),
    text(&["routes"], |l, v| l.cluster.routes = v),
    text(&["cluster_name"], |l, v| {
        l.missing("--cluster_name", !v.is_empty());
    }),
    text(&["cluster_advertise"], |l, v| {
        l.missing("--cluster_advertise", !v.is_empty());
    }),
    bool(&["no_advertise"], |l, v| l.missing("--no_advertise", v)),
    integer(&["connect_retries"], |l, v| {
        l.missing("--connect_retries", v != 0);
    }),
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
