//! `pinion doctor`: how this host stands to what the broker needs and wants.
//!
//! What is wanted comes from `tuning/settings`, the table that `tuning/apply` works from. Nothing
//! is changed, except for a file of 4 MiB in the directory of `--disk` while it is measured.

mod disk;
mod finding;
mod host;
mod needs;
mod table;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use finding::{Finding, State};
use host::{Host, Standing};
use table::{Kind, Setting};

/// Places of one setting that are listed one by one; of more only the number is told.
const PLACES_LISTED_MAX: usize = 3;

/// How this host stands to what the broker needs and wants
///
/// Exit status: 0 all is as wanted, 1 something could be better, 2 the broker cannot start or keep
/// its promises, 64 a wrong argument. What this machine does not have, and what this user cannot
/// see, is named and does not count.
#[derive(Debug, Parser)]
#[command(name = "pinion doctor", no_binary_name = true, disable_version_flag = true)]
pub(crate) struct Arguments {
    /// What the host is for
    #[arg(long, value_enum, default_value = "latency")]
    profile: Wanted,
    /// CPUs of the shards, like 2-7; the rest of the machine keeps to the others
    #[arg(long, value_name = "LIST")]
    cpus: Option<String>,
    /// A store directory: look at its file system and drive, and time writes there for two seconds
    #[arg(long, value_name = "DIR")]
    disk: Vec<PathBuf>,
    /// Settings that are a matter of taste as well
    #[arg(long)]
    all: bool,
    /// Only what is not as wanted
    #[arg(long)]
    brief: bool,
    /// Write JSON
    #[arg(long)]
    json: bool,
    /// Print the table for the documentation
    #[arg(long, hide = true)]
    table: bool,
    /// Where the host's files are
    #[arg(long, hide = true, default_value = "/")]
    root: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Wanted {
    Latency,
    Throughput,
}

/// Runs with the arguments that follow `doctor`.
pub fn run(args: &[OsString]) -> ExitCode {
    let arguments = match Arguments::try_parse_from(args) {
        Ok(arguments) => arguments,
        Err(error) => {
            // A closed stream leaves nobody to tell.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(64) } else { ExitCode::SUCCESS };
        }
    };
    if arguments.table {
        print!("{}", table::markdown());
        return ExitCode::SUCCESS;
    }
    match examine(&arguments) {
        Ok((head, findings)) => {
            if arguments.json {
                let text = serde_json::to_string(&findings).expect("findings are plain");
                println!("{text}");
            } else {
                print!("{head}{}", report(&findings, arguments.brief));
            }
            ExitCode::from(status(&findings))
        }
        Err(problem) => {
            eprintln!("pinion doctor: {problem}");
            ExitCode::from(64)
        }
    }
}

/// `0-2,5` as numbers, as the kernel writes sets of CPUs.
pub(crate) fn parse_cpus(text: &str) -> Option<std::collections::BTreeSet<usize>> {
    host::parse_list(text)
}

/// The command line.
pub(crate) fn command() -> clap::Command {
    <Arguments as clap::CommandFactory>::command()
}

fn examine(arguments: &Arguments) -> Result<(String, Vec<Finding>), String> {
    let host = Host::new(&arguments.root, arguments.cpus.as_deref())?;
    let profile = match arguments.profile {
        Wanted::Latency => "latency",
        Wanted::Throughput => "throughput",
    };
    let set = |cpus: &host::Cpus| match host::list_text(cpus) {
        list if list.is_empty() => "any".to_owned(),
        list => list,
    };
    let head = format!(
        "profile {profile}, shards on CPUs {}, everything else on {}{}\n",
        set(&host.shards),
        set(&host.house),
        if host.is_virtual() { ", a virtual machine" } else { "" },
    );
    let mut findings = needs::look(&host);
    for directory in &arguments.disk {
        findings.extend(disk::look(directory, &host));
    }
    let wanted = |setting: &Setting| {
        setting.is_for(profile) || (arguments.all && setting.wanted_for == "opt-in")
    };
    for setting in table::settings().into_iter().filter(wanted) {
        findings.extend(settle(&setting, &host));
    }
    if arguments.disk.is_empty() {
        findings.push(Finding {
            name: "store directory",
            area: "disk",
            place: String::new(),
            state: State::Note,
            now: "left out".into(),
            wanted: String::new(),
            why: "direct writes, the drive's cache and its speed",
            mend: "pinion doctor --disk DIR".into(),
        });
    }
    Ok((head, findings))
}

/// How a setting stands at each of its places; what is as wanted in one line.
fn settle(setting: &Setting, host: &Host) -> Vec<Finding> {
    let finding = |place: &str, state, now: String, mend: String| Finding {
        name: setting.name,
        area: setting.area,
        place: place.to_owned(),
        state,
        now,
        wanted: host.wanted(setting),
        why: setting.why,
        mend,
    };
    if !host.can_place(setting) {
        let now = "too few CPUs to set some aside (--cpus says which)".to_owned();
        return vec![finding(setting.at, State::Absent, now, String::new())];
    }
    let places = host.places(setting);
    if places.is_empty() {
        let now = if host.is_virtual() {
            "no such knob: this virtual machine leaves it to its host"
        } else {
            "no such knob: not with this hardware or kernel"
        };
        return vec![finding(setting.at, State::Absent, now.into(), String::new())];
    }
    let mut good = 0;
    let mut findings = Vec::new();
    for place in &places {
        match host.standing(setting, place) {
            Standing::Good => good += 1,
            Standing::Differs(now) => {
                findings.push(finding(place, State::Differs, now, mend(setting, place, host)));
            }
            Standing::Unseen => {
                let mend = "look again as root".to_owned();
                findings.push(finding(place, State::Unseen, String::new(), mend));
            }
        }
    }
    if findings.len() > PLACES_LISTED_MAX {
        let more = findings.len() - 1;
        findings.truncate(1);
        let _ = write!(findings[0].place, " and {more} more");
        findings[0].mend = by_script(setting, host);
    }
    if good > 0 && findings.is_empty() {
        findings.push(finding(setting.at, State::Good, host.wanted(setting), String::new()));
    }
    findings
}

/// The command that mends a setting at a place.
fn mend(setting: &Setting, place: &str, host: &Host) -> String {
    let wanted = host.wanted(setting);
    let (verb, value) = wanted.split_once(' ').unwrap_or_default();
    let value = if verb == "any" { value.split(' ').next().unwrap_or_default() } else { value };
    match setting.kind {
        Kind::Boot => format!("add {place} to the kernel command line and restart"),
        Kind::Service => format!("systemctl stop {place}"),
        Kind::Sysctl => format!("sysctl -w {}={value}", setting.at),
        Kind::File if verb == "list" => by_script(setting, host),
        Kind::File => format!("echo {value} > {place}"),
        Kind::Limit => by_script(setting, host),
    }
}

fn by_script(setting: &Setting, host: &Host) -> String {
    let cpus = match host::list_text(&host.shards) {
        list if setting.at.contains('{') || setting.want.contains('{') => format!(" --cpus {list}"),
        _ => String::new(),
    };
    let packaged = "/usr/share/pinion/tuning/apply";
    let script = if Path::new(packaged).exists() { packaged } else { "tuning/apply" };
    format!("{script} --yes --only {}{cpus}", setting.name)
}

fn status(findings: &[Finding]) -> u8 {
    let any = |state| findings.iter().any(|finding| finding.state == state);
    if any(State::Broken) { 2 } else { u8::from(any(State::Differs)) }
}

fn report(findings: &[Finding], brief: bool) -> String {
    let mut text = String::new();
    let mut area = "";
    for finding in findings {
        if brief && !matches!(finding.state, State::Differs | State::Broken) {
            continue;
        }
        if finding.area != area {
            area = finding.area;
            let _ = writeln!(text, "\n{area}");
        }
        let Finding { name, place, state, now, wanted, why, mend, .. } = finding;
        let _ = match state {
            State::Good | State::Absent => writeln!(text, "  {} {name}: {now}", state.mark()),
            State::Note => writeln!(text, "  {} {name}: {now} ({why})", state.mark()),
            State::Unseen => writeln!(text, "  {} {name}: {place}", state.mark()),
            State::Differs | State::Broken => {
                let now = if now.is_empty() { "not there" } else { now };
                writeln!(
                    text,
                    "  {} {name}: {now}, wanted {wanted} ({place})\n          why: {why}",
                    state.mark()
                )
            }
        };
        if !mend.is_empty() && !matches!(state, State::Good | State::Absent) {
            let _ = writeln!(text, "          do:  {mend}");
        }
    }
    let count = |state| findings.iter().filter(|finding| finding.state == state).count();
    let _ = writeln!(
        text,
        "\n{} as wanted, {} differ, {} broken, {} not on this machine, {} not to be seen",
        count(State::Good),
        count(State::Differs),
        count(State::Broken),
        count(State::Absent),
        count(State::Unseen),
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(state: State) -> Finding {
        Finding {
            name: "n",
            area: "kernel",
            place: "p".into(),
            state,
            now: "1".into(),
            wanted: "= 0".into(),
            why: "w",
            mend: "m".into(),
        }
    }

    #[test]
    fn the_command_is_well_formed() {
        command().debug_assert();
    }

    #[test]
    fn the_status_is_that_of_the_worst() {
        use State::{Absent, Broken, Differs, Good, Note, Unseen};
        let status =
            |states: &[State]| status(&states.iter().map(|s| finding(*s)).collect::<Vec<_>>());
        assert_eq!(status(&[Good, Absent, Unseen, Note]), 0);
        assert_eq!(status(&[Good, Differs]), 1);
        assert_eq!(status(&[Differs, Broken, Good]), 2);
    }

    #[test]
    fn what_differs_comes_with_its_remedy() {
        let text = report(&[finding(State::Differs), finding(State::Good)], true);
        assert!(text.contains("DIFFERS n: 1, wanted = 0 (p)"), "{text}");
        assert!(text.contains("do:  m"), "{text}");
        assert!(!text.contains("ok "), "{text}");
    }
}
