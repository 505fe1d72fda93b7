//! What a changed file may change while the broker runs.
//!
//! [`read`] makes the new options as a start would, with the same command line over the file.
//! [`diff`] compares: either a list of [`Change`]s to apply and to log, or the one change that
//! needs a restart, and then nothing is applied.

use std::time::Duration;

use shard::way_in::First;

use super::options::{LogTime, Options, Port};
use super::{Authorization, Problem, User, load, read_file};
use crate::notation::duration_text;

/// One option that changed, with what the log says once it is applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What to do about it.
    pub kind: Kind,
    /// The line for the log; for a removed pid file there is none.
    pub line: Option<String>,
}

/// Who has to act on a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The log: configure it anew, and give every core its levels.
    Log,
    /// Credentials: drop the clients that would not get in any more.
    Authorization,
    /// `INFO` says something else now.
    Info,
    /// Close connections above the new number.
    MaxConnections,
    /// Write the pid file.
    PidFile,
    /// Write the ports file there, and remove the old one.
    PortsFile,
    /// Nothing but using the new value from now on.
    Value,
}

/// Reads the file again that `current` was made from.
///
/// The error is what the log says behind `Failed to reload server configuration: `.
pub fn read(current: &Options) -> Result<Options, String> {
    let Some(path) = &current.config_file else {
        let needed = "can only reload config when a file is provided using -c or --config";
        return Err(needed.to_owned());
    };
    let file = read_file(path).map_err(|problem: Problem| problem.to_string())?;
    load(current.command_line.clone(), Some((path, file)))
}

/// What changes from `old` to `new`, in the reference's order.
///
/// The error is what the log says behind `Failed to reload server configuration: `.
pub fn diff(old: &Options, new: &Options) -> Result<Vec<Change>, String> {
    refuse(old, new)?;
    refuse_no_auth_user(old, new)?;
    let mut changes = Changes::default();
    log(old, new, &mut changes);
    clients(old, new, &mut changes);
    tls(old, new, &mut changes);
    files(old, new, &mut changes);
    rest(old, new, &mut changes);
    Ok(changes.0)
}

#[derive(Default)]
struct Changes(Vec<Change>);

impl Changes {
    fn note(&mut self, changed: bool, kind: Kind, line: impl FnOnce() -> String) {
        if changed {
            self.0.push(Change { kind, line: Some(line()) });
        }
    }
}

/// Options that are fixed at start. The names are the reference's own for its fields, as its
/// message shows them.
fn refuse(old: &Options, new: &Options) -> Result<(), String> {
    let text = |name: &Option<String>| name.clone().unwrap_or_default();
    let number = |limit: Option<std::num::NonZeroUsize>| limit.map_or(0, usize::from).to_string();
    let tokens = |options: &Options| {
        options.max_subscription_tokens.map_or(0, std::num::NonZeroU8::get).to_string()
    };
    let profile = |options: &Options| options.profile.map_or(String::new(), |p| p.to_string());
    // Any port will do, so the one at hand does.
    let port = if new.port == Port::Random { old.port } else { new.port };
    let fixed = [
        ("ServerName", text(&old.server_name), text(&new.server_name)),
        ("Host", old.host.clone(), new.host.clone()),
        ("Port", port_text(old.port), port_text(port)),
        ("HTTPHost", old.monitor.host.clone(), new.monitor.host.clone()),
        ("HTTPPort", old.monitor.http_port.to_string(), new.monitor.http_port.to_string()),
        ("HTTPSPort", old.monitor.https_port.to_string(), new.monitor.https_port.to_string()),
        ("HTTPBasePath", old.monitor.base_path.clone(), new.monitor.base_path.clone()),
        ("ProxyProtocol", old.proxy_protocol.to_string(), new.proxy_protocol.to_string()),
        ("NoHeaderSupport", old.no_header_support.to_string(), new.no_header_support.to_string()),
        ("MaxSubs", number(old.max_subscriptions), number(new.max_subscriptions)),
        ("MaxSubTokens", tokens(old), tokens(new)),
        ("MaxPending", old.max_pending.to_string(), new.max_pending.to_string()),
        ("LogSizeLimit", number(old.log_size_limit), number(new.log_size_limit)),
        ("LogMaxFiles", number(old.log_max_files), number(new.log_max_files)),
        (
            "LameDuckDuration",
            duration_text(old.lame_duck_duration),
            duration_text(new.lame_duck_duration),
        ),
        (
            "LameDuckGracePeriod",
            duration_text(old.lame_duck_grace_period),
            duration_text(new.lame_duck_grace_period),
        ),
        ("Profile", profile(old), profile(new)),
        ("Cores", number(old.cores), number(new.cores)),
        (
            "Spin",
            duration_text(old.spin.unwrap_or_default()),
            duration_text(new.spin.unwrap_or_default()),
        ),
    ];
    let door = |options: &Options| {
        options.websocket.clone().map(|mut door| {
            door.tls = None;
            door
        })
    };
    if door(old) != door(new) {
        let (old, new) = (door(old), door(new));
        return Err(format!("config reload not supported for Websocket: old={old:?}, new={new:?}"));
    }
    match fixed.iter().find(|(_, old, new)| old != new) {
        Some((name, old, new)) => {
            Err(format!("config reload not supported for {name}: old={old}, new={new}"))
        }
        None => Ok(()),
    }
}

/// Who the anonymous are stays, but a user that is taken away may be so here as well.
fn refuse_no_auth_user(old: &Options, new: &Options) -> Result<(), String> {
    let (old_name, name) = (&old.authorization.no_auth_user, &new.authorization.no_auth_user);
    let gone = |user: &String| !new.authorization.users.iter().any(|one| one.name == *user);
    if old_name == name || (name.is_none() && old_name.as_ref().is_some_and(gone)) {
        return Ok(());
    }
    let shown = |name: &Option<String>| name.clone().unwrap_or_default();
    let (old, new) = (shown(old_name), shown(name));
    Err(format!("config reload not supported for NoAuthUser: old={old}, new={new}"))
}

fn port_text(port: Port) -> String {
    match port {
        Port::Fixed(port) => port.to_string(),
        Port::Random => "-1".to_owned(),
    }
}

fn log(old: &Options, new: &Options, changes: &mut Changes) {
    // Advertising comes first because the reference goes through its fields in order.
    let advertise = new.client_advertise.clone().unwrap_or_default();
    changes.note(old.client_advertise != new.client_advertise, Kind::Info, || {
        // Without the `ed`, as in the reference.
        format!("Reload: client_advertise = {advertise}")
    });
    let stamp = |options: &Options| options.log_time != LogTime::None;
    let utc = |options: &Options| options.log_time == LogTime::Utc;
    let switches = [
        ("trace", old.trace, new.trace),
        ("debug", old.debug, new.debug),
        ("trace_verbose", old.trace_verbose, new.trace_verbose),
        ("trace_headers", old.trace_headers, new.trace_headers),
        ("logtime", stamp(old), stamp(new)),
        ("logtime_utc", utc(old), utc(new)),
    ];
    for (name, old, new) in switches {
        changes.note(old != new, Kind::Log, || format!("Reloaded: {name} = {new}"));
    }
}

fn clients(old: &Options, new: &Options, changes: &mut Changes) {
    changes.note(old.max_connections != new.max_connections, Kind::MaxConnections, || {
        // Zero is the reference's sign for the default, so it keeps "none" as -1.
        match new.max_connections {
            0 => "Reloaded: max_connections = -1".to_owned(),
            limit => format!("Reloaded: max_connections = {limit}"),
        }
    });
    credentials(&old.authorization, &new.authorization, changes);
    changes.note(old.accounts != new.accounts, Kind::Authorization, || {
        "Reloaded: accounts".to_owned()
    });
    changes.note(old.ping_interval != new.ping_interval, Kind::Value, || {
        format!("Reloaded: ping_interval = {}", duration_text(new.ping_interval))
    });
    changes.note(old.ping_max != new.ping_max, Kind::Value, || {
        format!("Reloaded: ping_max = {}", new.ping_max)
    });
    changes.note(old.auth_timeout != new.auth_timeout, Kind::Value, || {
        format!("Reloaded: authorization timeout = {}", new.auth_timeout.as_secs_f64())
    });
    changes.note(old.max_control_line != new.max_control_line, Kind::Value, || {
        format!("Reloaded: max_control_line = {}", new.max_control_line)
    });
    changes.note(old.max_payload != new.max_payload, Kind::Info, || {
        format!("Reloaded: max_payload = {}", new.max_payload)
    });
    changes.note(old.no_fast_producer_stall != new.no_fast_producer_stall, Kind::Value, || {
        let not = if new.no_fast_producer_stall { "not " } else { "" };
        format!("Reloaded: fast producers will {not}be stalled")
    });
}

fn tls(old: &Options, new: &Options, changes: &mut Changes) {
    let timeout =
        |options: &Options| options.tls.as_ref().map_or(Duration::ZERO, |tls| tls.timeout);
    changes.note(timeout(old) != timeout(new), Kind::Value, || {
        format!("Reloaded: tls timeout = {}", timeout(new).as_secs_f64())
    });
    let first = |options: &Options| {
        let first = options.tls.as_ref().map_or(First::Never, |tls| tls.first);
        match first {
            First::Never => (false, Duration::ZERO),
            First::Always => (true, Duration::ZERO),
            First::Fallback(wait) => (true, wait),
        }
    };
    changes.note(first(old).0 != first(new).0, Kind::Value, || {
        format!("Reloaded: Client TLS handshake first: {}", first(new).0)
    });
    changes.note(first(old).1 != first(new).1, Kind::Value, || {
        let wait = duration_text(first(new).1);
        format!("Reloaded: Client TLS handshake first fallback delay: {wait}")
    });
    let pinned = |options: &Options| {
        let mut pinned = options.tls.as_ref().map_or_else(Vec::new, |tls| tls.pinned.clone());
        pinned.sort_unstable();
        pinned
    };
    let pins = pinned(new);
    changes.note(pinned(old) != pins, Kind::Value, || {
        format!("Reloaded: {} pinned_certs", pins.len())
    });
}

fn files(old: &Options, new: &Options, changes: &mut Changes) {
    let shown = |path: &Option<std::path::PathBuf>| {
        path.as_ref().map(|path| path.display().to_string()).unwrap_or_default()
    };
    if old.pid_file != new.pid_file {
        let line =
            new.pid_file.as_ref().map(|path| format!("Reloaded: pid_file = {}", path.display()));
        changes.0.push(Change { kind: Kind::PidFile, line });
    }
    changes.note(old.ports_file_dir != new.ports_file_dir, Kind::PortsFile, || {
        format!("Reloaded: ports_file_dir = {}", shown(&new.ports_file_dir))
    });
    changes.note(old.log_file != new.log_file, Kind::Log, || {
        format!("Reloaded: log_file = {}", shown(&new.log_file))
    });
}

fn rest(old: &Options, new: &Options, changes: &mut Changes) {
    changes.note(old.write_deadline != new.write_deadline, Kind::Value, || {
        format!("Reloaded: write_deadline = {}", duration_text(new.write_deadline))
    });
    changes.note(old.max_traced_msg_len != new.max_traced_msg_len, Kind::Value, || {
        let length = new.max_traced_msg_len.map_or(0, usize::from);
        format!("Reloaded: max_traced_msg_len = {length}")
    });
    changes.note(old.connect_error_reports != new.connect_error_reports, Kind::Value, || {
        format!("Reloaded: connect_error_reports = {}", new.connect_error_reports)
    });
    changes.note(old.reconnect_error_reports != new.reconnect_error_reports, Kind::Value, || {
        format!("Reloaded: reconnect_error_reports = {}", new.reconnect_error_reports)
    });
    let sorted = |tags: &[String]| {
        let mut tags = tags.to_vec();
        tags.sort_unstable();
        tags
    };
    let tags = sorted(&old.tags) != sorted(&new.tags);
    changes.note(tags, Kind::Info, || "Reloaded: tags".to_owned());
    changes.note(old.metadata != new.metadata, Kind::Info, || "Reloaded: metadata".to_owned());
}

fn credentials(old: &Authorization, new: &Authorization, changes: &mut Changes) {
    let name = |one: &Authorization| one.user.as_ref().map(|(name, _)| name.clone());
    let secret = |one: &Authorization| one.user.as_ref().map(|(_, secret)| secret.clone());
    let listed = |authorization: &Authorization, has_key: bool| {
        let users = authorization.users.iter().filter(|user| user.has_key == has_key);
        users.cloned().collect::<Vec<User>>()
    };
    for (what, changed) in [
        ("username", name(old) != name(new)),
        ("password", secret(old) != secret(new)),
        ("token", old.token != new.token),
        ("users", listed(old, false) != listed(new, false)),
        ("nkey users", listed(old, true) != listed(new, true)),
        ("callout", old.callout != new.callout),
    ] {
        changes.note(changed, Kind::Authorization, || format!("Reloaded: authorization {what}"));
    }
    changes.note(old.proxies != new.proxies, Kind::Authorization, || {
        let keys = |authorization: &Authorization| authorization.proxies.join(" ");
        format!("Reloaded: proxies trusted keys [{}] -> [{}]", keys(old), keys(new))
    });
}

/// What the log says when all changes are applied.
pub fn summary(new: &Options) -> String {
    let digest = new.config_digest.as_ref().map(|digest| format!("({digest})"));
    format!("Reloaded server configuration {}", digest.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::super::parser::Nothing;
    use super::super::{Settings, parse_bytes};
    use super::*;

    fn options(text: &str) -> Options {
        let file = parse_bytes("n.conf", text.as_bytes(), &mut Nothing).expect("a good file");
        load(Settings::default(), Some(("n.conf", file))).expect("good options")
    }

    #[test]
    fn changes_are_listed_in_the_words_of_the_reference() {
        let rows = [
            ("", "", vec![]),
            ("", "debug: true", vec!["Reloaded: debug = true"]),
            ("", "max_connections: 0", vec!["Reloaded: max_connections = -1"]),
            ("", "ping_interval: \"90s\"", vec!["Reloaded: ping_interval = 1m30s"]),
            ("", "client_advertise: \"a:1\"", vec!["Reload: client_advertise = a:1"]),
            (
                "authorization { user: a, password: b }",
                "authorization { user: a, password: c, timeout: 1.5 }",
                vec!["Reloaded: authorization password", "Reloaded: authorization timeout = 1.5"],
            ),
            (
                "",
                "no_fast_producer_stall: true\nlogtime_utc: true",
                vec![
                    "Reloaded: logtime_utc = true",
                    "Reloaded: fast producers will not be stalled",
                ],
            ),
        ];
        for (old, new, expected) in rows {
            let changes = diff(&options(old), &options(new)).expect("reloadable");
            let lines: Vec<String> = changes.into_iter().filter_map(|change| change.line).collect();
            assert_eq!(lines, expected, "{new}");
        }
    }

    #[test]
    fn some_options_need_a_restart() {
        let problem = diff(&options("port: 4222"), &options("port: 4333\ndebug: true"));
        let expected = "config reload not supported for Port: old=4222, new=4333";
        assert_eq!(problem, Err(expected.to_owned()));
        let problem = diff(&options(""), &options("max_pending: 1MB"));
        let expected = "config reload not supported for MaxPending: old=67108864, new=1048576";
        assert_eq!(problem, Err(expected.to_owned()));
    }

    #[test]
    fn without_a_file_there_is_nothing_to_read() {
        let options = load(Settings::default(), None).expect("defaults are good");
        assert!(read(&options).is_err());
    }
}
