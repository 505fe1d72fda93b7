//! `pinion bench`: load and latency against any NATS server.
//!
//! One thread that never sleeps, so that the load's own scheduling is not measured. Publishes are
//! encoded beforehand and written by the hundred, deliveries are counted in leaps; see
//! `benches/README.md` for what it costs per message. Every run verifies that exactly the messages
//! that were published arrived, or fails.

mod args;
mod block;
mod conn;
mod failure;
mod flow;
mod hold;
mod jetstream;
mod latency;
mod poll;
mod progress;
mod report;
mod request;
mod scan;
#[cfg(test)]
mod sink;
mod throughput;
mod usage;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use args::{Arguments, Mode};
use conn::Login;
use failure::Failure;
use report::Report;
use throughput::Setting;
use usage::Server;

/// Runs one load with the arguments that follow `bench`.
pub fn run(args: &[OsString]) -> ExitCode {
    let arguments = match Arguments::try_parse_from(args) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    match load(&arguments).and_then(|report| publish(&arguments, &report)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("pinion bench: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// The command line.
pub(crate) fn command() -> clap::Command {
    Arguments::command()
}

fn load(arguments: &Arguments) -> Result<Report, Failure> {
    let common = &arguments.common;
    if let Some(cpu) = common.pin {
        pin(cpu)?;
    }
    let setting = Setting {
        address: conn::resolve(&common.server)?,
        login: Login {
            user: common.user.clone(),
            password: common.password.clone(),
            token: common.token.clone(),
        },
        server: common.server_pid.map(Server::new).transpose()?,
        common,
    };
    let mut report = match &arguments.mode {
        Mode::Idle { connections, hold } => hold::idle(*connections, *hold, &setting)?,
        Mode::Subs { count, connections, hold } => {
            hold::subs(*count, *connections, *hold, &setting)?
        }
        Mode::Request { connections } => request::run(*connections, &setting)?,
        Mode::Latency { rate, pairs, hgrm } => {
            latency::run(*rate, *pairs, hgrm.as_deref(), &setting)?
        }
        mode @ (Mode::JsPublish { .. }
        | Mode::JsFetch { .. }
        | Mode::JsOrdered { .. }
        | Mode::JsFill { .. }
        | Mode::JsFilter { .. }
        | Mode::JsFlood { .. }
        | Mode::KvPut { .. }
        | Mode::KvGet { .. }) => jetstream::run(mode, &setting)?,
        mode => throughput::run(mode, &setting)?,
    };
    report.server.clone_from(&common.server);
    report.parameters["size"] = common.size.into();
    Ok(report)
}

fn publish(arguments: &Arguments, report: &Report) -> Result<(), Failure> {
    let json = arguments.common.json.as_deref();
    if json == Some(Path::new("-")) {
        eprintln!("{}", report.summary());
    } else {
        println!("{}", report.summary());
    }
    json.map_or(Ok(()), |path| report.save(path))
}

fn pin(cpu: usize) -> Result<(), Failure> {
    let mut set = CpuSet::new();
    set.set(cpu).map_err(Failure::errno("--pin"))?;
    sched_setaffinity(Pid::from_raw(0), &set).map_err(Failure::errno("--pin"))
}
