//! `pinion`: a drop-in `nats-server`, one shard per core.

mod bench;

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    match arguments.split_first() {
        Some((first, rest)) if first == "bench" => bench::run(rest),
        _ => {
            eprintln!("usage: pinion bench …");
            ExitCode::FAILURE
        }
    }
}
