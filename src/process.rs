//! What a server process shows to the machine around it: the pid file, the ports file, the lines it
//! logs at start, and the signals by which `--signal` reaches another server.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cli::{EXECUTABLE, VERSION};
use crate::config::Options;
use crate::log::Level;
use crate::notation::{error_text, friendly_bytes, join_host_port, quote};

/// Above this the reference warns about `max_payload`.
const PAYLOAD_TO_WARN_OF: usize = 8 * 1024 * 1024;

/// Writes this process's number, digits only, to `path`. The file is left behind at exit, as in the
/// reference. The error is the reason, such as `open /x: permission denied`.
pub fn write_pid_file(path: &Path) -> Result<(), String> {
    write_file(path, std::process::id().to_string().as_bytes(), 0o600)
}

/// The addresses under which a server can be reached, written for tests and supervisors that start
/// one on a free port. It disappears with the value.
#[derive(Debug)]
pub struct PortsFile {
    path: PathBuf,
}

impl PortsFile {
    /// Writes `<name of argv[0]>_<pid>.ports` in `directory`, for clients listening on `nats` and
    /// monitoring on `monitor`. The error is a line for the log.
    pub fn write(
        directory: &Path,
        nats: SocketAddr,
        monitor: Option<(&str, SocketAddr)>,
        websocket: Option<(&str, SocketAddr)>,
    ) -> Result<Self, String> {
        let program = std::env::args().next().unwrap_or_default();
        let program = Path::new(&program).file_name().unwrap_or(EXECUTABLE.as_ref());
        let name = format!("{}_{}.ports", program.to_string_lossy(), std::process::id());
        let path = directory.join(name);
        let urls = |scheme: &str, address: SocketAddr| -> Vec<String> {
            addresses_of(address).iter().map(|found| format!("{scheme}://{found}")).collect()
        };
        let mut json = serde_json::Map::new();
        json.insert("nats".into(), urls("nats", nats).into());
        if let Some((scheme, address)) = monitor {
            json.insert("monitoring".into(), urls(scheme, address).into());
        }
        if let Some((scheme, address)) = websocket {
            json.insert("websocket".into(), urls(scheme, address).into());
        }
        let json = serde_json::Value::Object(json).to_string();
        write_file(&path, json.as_bytes(), 0o666)
            .map_err(|reason| format!("Error writing ports file ({}): {reason}", path.display()))?;
        Ok(Self { path })
    }

    /// Removes the file; the error is a line for the log.
    pub fn remove(mut self) -> Result<(), String> {
        let path = std::mem::take(&mut self.path);
        fs::remove_file(&path).map_err(|error| {
            let path = path.display();
            let reason = error_text(&error);
            format!("Error cleaning up ports file {path}: remove {path}: {reason}")
        })
    }
}

impl Drop for PortsFile {
    fn drop(&mut self) {
        if !self.path.as_os_str().is_empty() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// `address`, or every address of this machine when it stands for all of them.
fn addresses_of(address: SocketAddr) -> Vec<String> {
    let port = address.port();
    if !address.ip().is_unspecified() {
        return vec![join_host_port(&address.ip().to_string(), port)];
    }
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else {
        return Vec::new();
    };
    let mut names: Vec<String> = Vec::new();
    let mut found: Vec<(usize, IpAddr)> = Vec::new();
    for interface in interfaces {
        let place = names.iter().position(|name| *name == interface.interface_name);
        let place = place.unwrap_or_else(|| {
            names.push(interface.interface_name.clone());
            names.len() - 1
        });
        let Some(address) = interface.address else {
            continue;
        };
        if let Some(v4) = address.as_sockaddr_in() {
            found.push((place, v4.ip().into()));
        } else if let Some(v6) = address.as_sockaddr_in6() {
            found.push((place, v6.ip().into()));
        }
    }
    found.sort_by_key(|(place, _)| *place);
    found.into_iter().map(|(_, ip)| join_host_port(&ip.to_string(), port)).collect()
}

fn write_file(path: &Path, contents: &[u8], mode: u32) -> Result<(), String> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;

    let problem =
        |verb: &str, error: &io::Error| format!("{verb} {}: {}", path.display(), error_text(error));
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)
        .map_err(|error| problem("open", &error))?;
    file.write_all(contents).map_err(|error| problem("write", &error))
}

/// The lines logged before the listener opens, in the reference's order.
///
/// `identity` is the server's id, which also names it when `server_name` does not. `git` is the
/// short commit of the build, if known.
pub fn banner(options: &Options, identity: &str, git: Option<&str>) -> Vec<(Level, String)> {
    let name = options.server_name.as_deref().unwrap_or(identity);
    let mut lines = vec![
        (Level::Info, format!("Starting {EXECUTABLE}")),
        (Level::Info, format!("  Version:  {VERSION}")),
        (Level::Info, format!("  Git:      [{}]", git.unwrap_or("not set"))),
        (Level::Info, format!("  Name:     {name}")),
        (Level::Info, format!("  ID:       {identity}")),
    ];
    if let Some(file) = &options.config_file {
        let digest = options.config_digest.as_deref().unwrap_or_default();
        lines.push((Level::Info, format!("Using configuration file: {file} ({digest})")));
    }
    if options.max_payload > PAYLOAD_TO_WARN_OF {
        let limit = friendly_bytes(PAYLOAD_TO_WARN_OF as u64);
        let advice = "are generally discouraged and could lead to poor performance";
        lines.push((Level::Warn, format!("Maximum payloads over {limit} {advice}")));
    }
    lines
}

/// Does what `--signal <command>[=<pid>|<pid file>|<start of a pid>*]` says. The error is what to
/// print behind `<exe>: `.
pub fn signal(argument: &str) -> Result<(), String> {
    let mut parts = argument.split('=');
    let command = parts.next().unwrap_or_default();
    let target = parts.next().unwrap_or_default();
    let rest: Vec<&str> = parts.collect();
    if !rest.is_empty() {
        return Err(format!("invalid signal parameters: [{}]", rest.join(" ")));
    }
    // A file of that name holds the number; otherwise the text is the number.
    let target = match fs::read(target) {
        Ok(contents) if !target.is_empty() => String::from_utf8_lossy(&contents).into_owned(),
        _ => target.to_owned(),
    };
    let (signal, processes) = choose(command, &target, &own_name(), &mut running_servers)?;
    let mut problems = String::new();
    for process in processes {
        if let Err(errno) = kill(process.0, signal) {
            let (command, reason) = (quote(command), errno_text(errno));
            let _ = write!(problems, "\nsignal {command} {}: {reason}", process.0);
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// One process, never a group of them: to the kernel zero and below stand for many, and -1 for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Process(Pid);

impl Process {
    fn new(number: i32) -> Option<Self> {
        (number > 0).then(|| Self(Pid::from_raw(number)))
    }
}

/// Picks the signal and those to receive it. `running` lists the processes with our name.
fn choose(
    command: &str,
    target: &str,
    name: &str,
    running: &mut dyn FnMut() -> Result<Vec<Process>, String>,
) -> Result<(Signal, Vec<Process>), String> {
    let (digits, is_prefix) = match target.strip_suffix('*') {
        Some(prefix) => (prefix, true),
        None => (target, false),
    };
    let invalid = || format!("invalid pid: {digits}");
    let given = if digits.is_empty() {
        None
    } else {
        Some(digits.parse().ok().and_then(Process::new).ok_or_else(invalid)?)
    };
    let mut processes = match given {
        Some(process) if !is_prefix => vec![process],
        _ => running()?,
    };
    if processes.len() > 1 && !is_prefix {
        let mut problem = format!("multiple {name} processes running:");
        for process in processes {
            let _ = write!(problem, "\n{}", process.0);
        }
        return Err(problem);
    }
    if processes.is_empty() {
        return Err(format!("no {name} processes running"));
    }
    processes.retain(|process| !is_prefix || process.0.to_string().starts_with(digits));
    let signal = match command {
        "stop" => Signal::SIGKILL,
        "quit" => Signal::SIGINT,
        "term" => Signal::SIGTERM,
        "reopen" => Signal::SIGUSR1,
        "reload" => Signal::SIGHUP,
        "ldm" => Signal::SIGUSR2,
        _ => return Err(format!("unknown signal {}", quote(command))),
    };
    Ok((signal, processes))
}

/// What the log calls a signal that arrived: `Trapped "hangup" signal`.
pub fn signal_name(signal: Signal) -> &'static str {
    match signal {
        Signal::SIGHUP => "hangup",
        Signal::SIGINT => "interrupt",
        Signal::SIGTERM => "terminated",
        Signal::SIGUSR1 => "user defined signal 1",
        Signal::SIGUSR2 => "user defined signal 2",
        other => other.as_str(),
    }
}

fn errno_text(errno: Errno) -> String {
    error_text(&io::Error::from_raw_os_error(errno as i32))
}

/// The name that the kernel shows for this process, and thus for every server started from a file
/// of the same name, whatever a distribution calls it.
fn own_name() -> String {
    fs::read_to_string("/proc/self/comm")
        .map_or_else(|_| EXECUTABLE.to_owned(), |name| name.trim_end().to_owned())
}

/// The other processes which run under our name.
fn running_servers() -> Result<Vec<Process>, String> {
    let unresolved = |_| "unable to resolve pid, try providing one".to_owned();
    let name = own_name();
    let own = Process(Pid::this());
    let mut processes = Vec::new();
    for entry in fs::read_dir("/proc").map_err(unresolved)?.flatten() {
        let number = entry.file_name().to_string_lossy().parse().ok();
        let Some(process) = number.and_then(Process::new) else {
            continue;
        };
        // A process may be gone by the time it is looked at.
        let Ok(found) = fs::read_to_string(entry.path().join("comm")) else {
            continue;
        };
        if found.trim_end() == name && process != own {
            processes.push(process);
        }
    }
    processes.sort_unstable();
    Ok(processes)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Nothing here sends a signal: a test that is wrong must not take the machine down with it.

    fn chosen(command: &str, target: &str, running: &[i32]) -> Result<(Signal, Vec<i32>), String> {
        let mut list = || Ok(running.iter().filter_map(|number| Process::new(*number)).collect());
        let (signal, processes) = choose(command, target, "pinion", &mut list)?;
        Ok((signal, processes.into_iter().map(|process| process.0.as_raw()).collect()))
    }

    #[test]
    fn targets_are_checked_before_commands() {
        let rows: [(&str, &str, &[i32], &str); 9] = [
            ("quit", "", &[], "no pinion processes running"),
            ("quit", "7*", &[], "no pinion processes running"),
            ("bogus", "", &[], "no pinion processes running"),
            ("bogus", "1", &[], "unknown signal \"bogus\""),
            ("quit", "abc", &[], "invalid pid: abc"),
            ("quit", "7\n", &[], "invalid pid: 7\n"),
            ("quit", "", &[7, 8], "multiple pinion processes running:\n7\n8"),
            ("stop", "0", &[7], "invalid pid: 0"),
            ("stop", "-1", &[7], "invalid pid: -1"),
        ];
        for (command, target, running, problem) in rows {
            assert_eq!(chosen(command, target, running), Err(problem.to_owned()), "{target}");
        }
    }

    #[test]
    fn commands_pick_signals_and_targets_pick_processes() {
        let rows = [
            ("stop", "7", Signal::SIGKILL, vec![7]),
            ("term", "9", Signal::SIGTERM, vec![9]),
            ("reopen", "*", Signal::SIGUSR1, vec![7, 71, 8]),
            ("reload", "7*", Signal::SIGHUP, vec![7, 71]),
            ("ldm", "9*", Signal::SIGUSR2, vec![]),
            ("quit", "007", Signal::SIGINT, vec![7]),
        ];
        for (command, target, signal, processes) in rows {
            let expected = Ok((signal, processes));
            assert_eq!(chosen(command, target, &[7, 71, 8]), expected, "{command} {target}");
        }
        assert_eq!(chosen("quit", "", &[7]), Ok((Signal::SIGINT, vec![7])));
    }

    #[test]
    fn every_address_of_the_machine_is_listed() {
        let any: SocketAddr = "0.0.0.0:4222".parse().expect("an address");
        assert!(addresses_of(any).contains(&"127.0.0.1:4222".to_owned()));
        let one: SocketAddr = "[::1]:4222".parse().expect("an address");
        assert_eq!(addresses_of(one), ["[::1]:4222"]);
    }

    #[test]
    fn a_ports_file_names_the_address_and_goes_away() {
        let directory = std::env::temp_dir();
        let address: SocketAddr = "127.0.0.1:4222".parse().expect("an address");
        let monitor: SocketAddr = "[::1]:8222".parse().expect("an address");
        let file = PortsFile::write(&directory, address, Some(("http", monitor)), None);
        let file = file.expect("the directory is writable");
        let path = file.path.clone();
        let json = fs::read_to_string(&path).expect("the file is there");
        let nats = r#""nats":["nats://127.0.0.1:4222"]"#;
        assert_eq!(json, format!(r#"{{{nats},"monitoring":["http://[::1]:8222"]}}"#));
        file.remove().expect("it is still there");
        assert!(!path.exists());
    }
}
