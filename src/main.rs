//! `pinion`: a drop-in `nats-server`, one shard per core.

use std::io::Write as _;
use std::process::ExitCode;

use pinion::cli::{self, Launch};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    match cli::launch(&arguments) {
        Launch::Start { options, stderr } => {
            let _ = std::io::stderr().write_all(stderr.as_bytes());
            let _ = writeln!(std::io::stderr(), "{options:#?}");
            ExitCode::SUCCESS
        }
        Launch::Exit {
            code,
            stdout,
            stderr,
        } => {
            let _ = std::io::stdout().write_all(stdout.as_bytes());
            let _ = std::io::stderr().write_all(stderr.as_bytes());
            ExitCode::from(code)
        }
    }
}
