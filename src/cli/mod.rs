//! The command line: every flag of nats-server, and two of our own.
//!
//! [`launch`] goes from the arguments to [`Options`] or to an exit; whatever nats-server decides
//! before it listens is decided here, in its order: flags, version and help, a signal to another
//! process, the file, the check of both together.

use std::fmt::Write as _;

use crate::config::{self, Options};
use crate::notation::{quote, split_host_port};
use crate::process;

mod flags;
mod usage;

use flags::CommandLine;

/// The name by which the program speaks of itself.
pub const EXECUTABLE: &str = "pinion";
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

/// Decides what `arguments`, without the program's name, ask for.
pub fn launch(arguments: &[String]) -> Launch {
    // The reference's usage function exits with zero before its flag library can exit with two.
    let line = match flags::parse(arguments) {
        Ok(line) => line,
        Err(problem) => return exit(0, usage::text(), format!("{problem}\n")),
    };
    let word = line.words.first().map(|word| word.to_lowercase());
    if line.version {
        return exit(0, format!("{EXECUTABLE}: v{VERSION}\n"), String::new());
    }
    if line.help {
        return exit(0, usage::text(), String::new());
    }
    if line.tls_help {
        return exit(0, usage::TLS.to_owned(), String::new());
    }
    match word.as_deref() {
        Some("version") => return exit(0, format!("{EXECUTABLE}: v{VERSION}\n"), String::new()),
        Some("help") => return exit(0, usage::text(), String::new()),
        Some(_) => {
            let word = quote(&line.words[0]);
            return failure(&format!("unrecognized command: {word}"));
        }
        None => {}
    }
    if !line.signal.is_empty() {
        return match process::signal(&line.signal) {
            Ok(()) => exit(0, String::new(), String::new()),
            Err(problem) => failure(&problem),
        };
    }
    configure(line).unwrap_or_else(|problem| failure(&problem))
}

/// The file, then the command line over it.
fn configure(line: CommandLine) -> Result<Launch, String> {
    if line.config.is_empty() {
        if line.check {
            let needed = "must specify [-c, --config] option to check configuration file syntax";
            return Err(needed.to_owned());
        }
        return start(line, None, String::new());
    }
    let file = config::read_file(&line.config).map_err(|problem| problem.to_string())?;
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
    let verdict = format!(
        "{EXECUTABLE}: configuration file {} is valid ({})\n",
        line.config, file.digest
    );
    Ok(exit(0, String::new(), verdict))
}

fn start(
    mut line: CommandLine,
    file: Option<config::File>,
    stderr: String,
) -> Result<Launch, String> {
    want_cluster(&mut line)?;
    want_tls(&mut line)?;
    let has_cluster = line
        .cluster
        .listen
        .as_ref()
        .is_some_and(|listen| !listen.is_empty())
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
    line.settings.missing_features.push("--tls".to_owned());
    Ok(())
}

/// Checks `--cluster nats://user:password@host:port`.
fn want_cluster(line: &mut CommandLine) -> Result<(), String> {
    let Some(listen) = line
        .cluster
        .listen
        .as_deref()
        .filter(|listen| !listen.is_empty())
    else {
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

fn failure(problem: &str) -> Launch {
    exit(1, String::new(), format!("{EXECUTABLE}: {problem}\n"))
}

fn exit(code: u8, stdout: String, stderr: String) -> Launch {
    Launch::Exit {
        code,
        stdout,
        stderr,
    }
}
