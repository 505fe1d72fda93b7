//! `pinion top`: a running server in the terminal, core by core.
//!
//! Everything shown comes from the monitoring endpoint, so it works from anywhere that reaches it
//! and costs the server what a scrape costs.

mod fetch;
mod sample;
mod screen;
mod terminal;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use fetch::Source;
use sample::Sample;

/// A running server in the terminal, core by core
///
/// Keys: q quits, s sorts the connections by something else, space holds the picture.
#[derive(Debug, Parser)]
#[command(name = "pinion top", no_binary_name = true, disable_version_flag = true)]
struct Arguments {
    /// Where monitoring listens, with the base path if there is one
    #[arg(default_value = "http://127.0.0.1:8222")]
    url: String,
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    interval: Duration,
    /// What connections are sorted by
    #[arg(long, value_enum, default_value = "bytes-to")]
    sort: Sort,
    /// Connections that are listed at most
    #[arg(long, value_name = "NUMBER", default_value = "20")]
    rows: usize,
    /// Look twice, one interval apart, print one picture as plain text, and end
    #[arg(long)]
    once: bool,
    /// Authorities to trust, as PEM, where monitoring is over HTTPS
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

/// What connections may be sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Sort {
    BytesTo,
    BytesFrom,
    MsgsTo,
    MsgsFrom,
    Pending,
    Subs,
    Cid,
}

impl Sort {
    /// As the endpoint names it.
    const fn name(self) -> &'static str {
        match self {
            Self::BytesTo => "bytes_to",
            Self::BytesFrom => "bytes_from",
            Self::MsgsTo => "msgs_to",
            Self::MsgsFrom => "msgs_from",
            Self::Pending => "pending",
            Self::Subs => "subs",
            Self::Cid => "cid",
        }
    }

    fn next(self) -> Self {
        let all = Self::value_variants();
        let place = all.iter().position(|sort| *sort == self).unwrap_or(0);
        all[(place + 1) % all.len()]
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("{text} is no number"))?;
    if !(0.1..=3600.0).contains(&seconds) {
        return Err("between 0.1 and 3600 seconds".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// The command line.
pub(crate) fn command() -> clap::Command {
    <Arguments as clap::CommandFactory>::command()
}

/// Runs with the arguments that follow `top`.
pub fn run(args: &[OsString]) -> ExitCode {
    let arguments = match Arguments::try_parse_from(args) {
        Ok(arguments) => arguments,
        Err(error) => {
            // A closed stream leaves nobody to tell.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(64) } else { ExitCode::SUCCESS };
        }
    };
    let shown = Source::new(&arguments.url, arguments.ca.as_deref()).and_then(|source| {
        if arguments.once { once(&source, &arguments) } else { terminal::run(&source, &arguments) }
    });
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("pinion top: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn once(source: &Source, arguments: &Arguments) -> Result<(), String> {
    let before = Sample::take(source, arguments.sort, arguments.rows)?;
    std::thread::sleep(arguments.interval);
    let now = Sample::take(source, arguments.sort, arguments.rows)?;
    for line in screen::draw(&now, Some(&before), arguments.sort) {
        println!("{}", line.plain());
    }
    Ok(())
}
