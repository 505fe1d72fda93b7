//! The command line: every flag of nats-server, and a few of our own.
//!
//! [`launch`] goes from the arguments to [`Options`] or to an exit; whatever nats-server decides
//! before it listens is decided here, in its order: flags, version and help, a signal to another
//! process, the file, the check of both together.

use std::fmt::Write as _;

use crate::config::{self, Options, Pair, Tls};
use crate::notation::{quote, split_host_port};
use crate::{process, tls};

mod completions;
mod flags;
mod manual;
mod usage;
mod words;

use flags::CommandLine;

/// The name by which the program speaks of itself.
pub const EXECUTABLE: &str = "pinion";
/// The other name that it may be started under: then scripts that look at what it prints find what
/// they know.
pub const STAND_IN: &str = "nats-server";
/// Our version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What to do with a command line.
#[derive(Debug)]
pub enum Launch {
    /// Start the broker.
    Start {
        /// With these options.
        options: Box<Options>,
        /// After printing this to standard error; often empty.
        stderr: String,
    },
    /// Print and exit.
    Exit {
        /// The exit code.
        code: u8,
        /// For standard output.
        stdout: String,
        /// For standard error.
        stderr: String,
    },
}

/// Decides what `arguments`, without the program's name, ask for. `called` is that name, perhaps
/// with a path.
pub fn launch(called: &str, arguments: &[String]) -> Launch {
    let name = if called.rsplit('/').next() == Some(STAND_IN) { STAND_IN } else { EXECUTABLE };
    // The reference's usage function exits with zero before its flag library can exit with two.
    let line = match flags::parse(arguments) {
        Ok(line) => line,
        Err(problem) => return exit(0, usage::text(name), format!("{problem}\n")),
    };
    let failure = |problem: &str| exit(1, String::new(), format!("{name}: {problem}\n"));
    if line.version {
        return print(version(name));
    }
    if line.help {
        return print(usage::text(name));
    }
    if line.tls_help {
        return print(usage::TLS.to_owned());
    }
    if let Some(word) = line.words.first() {
        return match (word.to_lowercase().as_str(), line.words.get(1).map(String::as_str)) {
            ("version", _) => print(version(name)),
            ("help", _) => print(usage::text(name)),
            ("man", _) => print(manual::page()),
            ("completions", Some(shell)) if words::SHELLS.contains(&shell) => {
                print(completions::script(shell))
            }
            ("completions", _) => {
                failure(&format!("which shell? completions {}", words::SHELLS.join("|")))
            }
            _ => failure(&format!("unrecognized command: {}", quote(word))),
        };
    }
    if !line.signal.is_empty() {
        return match process::signal(&line.signal) {
            Ok(()) => print(String::new()),
            Err(problem) => failure(&problem),
        };
    }
    configure(name, line).unwrap_or_else(|problem| failure(&problem))
}

/// Under the reference's name the version is that of the release whose protocol is spoken: scripts
/// gate features on it, as clients do on INFO's.
fn version(name: &str) -> String {
    if name == STAND_IN {
        return format!("{name}: v{}\n", shard::Config::default().version);
    }
    format!("{name}: v{VERSION}\n")
}

/// The file, then the command line over it.
fn configure(name: &str, line: CommandLine) -> Result<Launch, String> {
    if line.config.is_empty() {
        if line.check {
            let needed = "must specify [-c, --config] option to check configuration file syntax";
            return Err(needed.to_owned());
        }
        return start(line, None, String::new());
    }
    let file = config::read_file(&line.config).map_err(|problem| problem.to_string())?;
    file.check_named_files()?;
    let mut warnings = String::new();
    for warning in &file.warnings {
        let _ = writeln!(warnings, "{warning}");
    }
    if !line.check {
        return start(line, Some(file), warnings);
    }
    // A check is stricter than a start: a warning fails it.
    if !warnings.is_empty() {
        return Err(warnings);
    }
    let verdict =
        format!("{name}: configuration file {} is valid ({})\n", line.config, file.digest);
    Ok(exit(0, String::new(), verdict))
}

fn start(
    mut line: CommandLine,
    file: Option<config::File>,
    stderr: String,
) -> Result<Launch, String> {
    want_cluster(&mut line)?;
    want_tls(&mut line)?;
    let has_cluster = line.cluster.listen.as_ref().is_some_and(|listen| !listen.is_empty())
        || file.as_ref().is_some_and(config::File::has_cluster);
    if !line.cluster.routes.is_empty() {
        if !has_cluster {
            let needed = "solicited routes require cluster capabilities, e.g. --cluster";
            return Err(needed.to_owned());
        }
        line.settings.missing_features.push("--routes".to_owned());
    }
    let file = file.map(|file| (line.config.as_str(), file));
    let options = Box::new(config::load(line.settings, file)?);
    tls::Files::read(&options)?;
    Ok(Launch::Start { options, stderr })
}

/// `--tls=false` takes back every other TLS flag; without it each of them needs the first two.
fn want_tls(line: &mut CommandLine) -> Result<(), String> {
    let wanted = line.tls.on.unwrap_or(line.tls.details);
    if !wanted {
        return Ok(());
    }
    if line.tls.certificate.is_empty() {
        return Err("TLS Server certificate must be present and valid".to_owned());
    }
    if line.tls.key.is_empty() {
        return Err("TLS Server private key must be present and valid".to_owned());
    }
    let pair = Pair { certificate: line.tls.certificate.clone(), key: line.tls.key.clone() };
    line.settings.tls_files = Some(Tls {
        pairs: vec![pair],
        authorities: Some(line.tls.authorities.clone()).filter(|file| !file.is_empty()),
        verify: line.tls.verify,
        ..Tls::default()
    });
    Ok(())
}

/// Checks `--cluster nats://user:password@host:port`.
fn want_cluster(line: &mut CommandLine) -> Result<(), String> {
    let Some(listen) = line.cluster.listen.as_deref().filter(|listen| !listen.is_empty()) else {
        return Ok(());
    };
    let authority = match listen.split_once("://") {
        Some((_, rest)) => rest.split(['/', '?', '#']).next().unwrap_or_default(),
        None => "",
    };
    let (user, address) = match authority.rsplit_once('@') {
        Some((user, address)) => (Some(user), address),
        None => (None, authority),
    };
    // The reference takes `-1`, its sign for a free port, out before it parses.
    if let Some((_, port)) = address.rsplit_once(':')
        && port != "-1"
        && !port.bytes().all(|byte| byte.is_ascii_digit())
    {
        let (url, port) = (quote(listen), quote(&format!(":{port}")));
        return Err(format!("parse {url}: invalid port {port} after host"));
    }
    split_host_port(address)?;
    if user.is_some_and(|user| !user.contains(':')) {
        return Err("expected cluster password to be set".to_owned());
    }
    line.settings.missing_features.push("--cluster".to_owned());
    Ok(())
}

fn print(stdout: String) -> Launch {
    exit(0, stdout, String::new())
}

fn exit(code: u8, stdout: String, stderr: String) -> Launch {
    Launch::Exit { code, stdout, stderr }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use accounts::Secret;

    use super::*;

    use crate::config::{Authorization, LogTime, Port};

    const FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/config/files");

    fn options(line: &str) -> Options {
        let words: Vec<String> =
            line.split_whitespace().map(|word| word.replace("FILES", FILES)).collect();
        match launch(EXECUTABLE, &words) {
            Launch::Start { options, .. } => *options,
            exit @ Launch::Exit { .. } => panic!("{line}: {exit:?}"),
        }
    }

    fn single_user(name: &str, password: &str) -> Authorization {
        let user = Some((name.to_owned(), Secret::new(password.to_owned())));
        Authorization { user, ..Authorization::default() }
    }

    #[test]
    fn nothing_given_is_the_default() {
        let options = options("");
        assert_eq!(options.host, "0.0.0.0");
        assert_eq!(options.port, Port::Fixed(4222));
        assert_eq!(options.authorization, Authorization::default());
        assert_eq!(options.log_time, LogTime::Local);
        assert_eq!(options.max_payload, 1024 * 1024);
        assert_eq!(options.max_pending, 64 * 1024 * 1024);
        assert_eq!(options.max_connections, 65536);
        assert_eq!(options.ping_interval, Duration::from_mins(2));
        assert_eq!(options.cores, None);
    }

    #[test]
    fn flags_set_options() {
        let line = "-a ::1 -p -1 --name n -DV -T=false --user u --pass p --cores 3 --spin 50us";
        let options = options(line);
        assert_eq!(options.host, "::1");
        assert_eq!(options.port, Port::Random);
        assert_eq!(options.server_name.as_deref(), Some("n"));
        assert!(options.debug);
        assert!(options.trace);
        assert!(!options.trace_verbose);
        assert_eq!(options.log_time, LogTime::None);
        let user = single_user("u", "p");
        assert_eq!(options.authorization, user);
        assert_eq!(options.cores.map(usize::from), Some(3));
        assert_eq!(options.spin, Some(Duration::from_micros(50)));
    }

    #[test]
    fn a_token_wins_over_a_user_and_a_password_alone_is_nothing() {
        let token =
            Authorization { token: Some(Secret::new("t".to_owned())), ..Authorization::default() };
        assert_eq!(options("--user u --auth t").authorization, token);
        assert_eq!(options("--pass p").authorization, Authorization::default());
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        let options = options("-c FILES/full.conf -p 4444 -D --max_traced_msg_len 5 -sd /tmp");
        assert_eq!(options.port, Port::Fixed(4444));
        assert!(options.debug);
        assert_eq!(options.max_traced_msg_len.map(usize::from), Some(5));
        assert_eq!(options.server_name.as_deref(), Some("full"));
        assert_eq!(options.max_payload, 64 * 1024);
        assert_eq!(options.log_time, LogTime::Utc);
        assert_eq!(options.lame_duck_duration, Duration::from_mins(4));
        assert_eq!(options.tags, ["a", "b"]);
    }

    #[test]
    fn what_is_switched_off_is_not_missed() {
        let options =
            options("-c FILES/ours/nothing-wanted.conf --tls=false --tlscert x -js=false");
        let user = single_user("a", "b c");
        assert_eq!(options.authorization, user);
    }

    #[test]
    fn warnings_do_not_keep_from_starting() {
        let file = format!("{FILES}/duration-integer.conf");
        let words = ["-c".to_owned(), file.clone()];
        let Launch::Start { options, stderr } = launch(EXECUTABLE, &words) else {
            panic!("it must start");
        };
        let reason = "write_deadline should be converted to a duration";
        let warning = format!("{file}:1:0: invalid use of field \"write_deadline\": {reason}\n");
        assert_eq!(stderr, warning);
        assert_eq!(options.write_deadline, Duration::from_secs(5));
    }

    #[test]
    fn the_name_it_is_called_by_is_the_name_it_uses() {
        let outcome = |called: &str, words: &[&str]| {
            let words: Vec<String> = words.iter().copied().map(str::to_owned).collect();
            match launch(called, &words) {
                Launch::Exit { code, stdout, stderr } => (code, stdout + &stderr),
                Launch::Start { .. } => panic!("nothing is to be started"),
            }
        };
        let own = format!("pinion: v{VERSION}\n");
        assert_eq!(outcome("target/debug/pinion", &["-v"]), (0, own.clone()));
        assert_eq!(outcome("broker", &["version"]), (0, own));
        let reference = (0, "nats-server: v2.15.1\n".to_owned());
        assert_eq!(outcome("/usr/bin/nats-server", &["--version"]), reference);
        let problem = "nats-server: unrecognized command: \"x\"\n".to_owned();
        assert_eq!(outcome("nats-server", &["x"]), (1, problem));
        let (_, help) = outcome("nats-server", &["--help"]);
        assert!(help.starts_with("\nUsage: nats-server [options]"), "{help}");
    }

    #[test]
    fn completions_are_for_shells_that_are_known() {
        for words in [&["completions"][..], &["completions", "sh"]] {
            let words: Vec<String> = words.iter().copied().map(str::to_owned).collect();
            assert!(matches!(launch(EXECUTABLE, &words), Launch::Exit { code: 1, .. }));
        }
    }
}
