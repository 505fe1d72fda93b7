//! `pinion`: a drop-in `nats-server`, one shard per core.

use std::process::ExitCode;

use pinion::cli::{self, Launch};
use pinion::{bench, boot, doctor, memory, top};

#[global_allocator]
static MEMORY: memory::HugePages = memory::HugePages;

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let called = words.next().unwrap_or_default();
    let mut words = words.peekable();
    match words.peek().and_then(|word| word.to_str()) {
        Some("bench") => return bench::run(&words.skip(1).collect::<Vec<_>>()),
        Some("doctor") => return doctor::run(&words.skip(1).collect::<Vec<_>>()),
        Some("top") => return top::run(&words.skip(1).collect::<Vec<_>>()),
        _ => {}
    }
    let arguments: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    match cli::launch(&called.to_string_lossy(), &arguments) {
        Launch::Start { options, stderr } => {
            print(&mut std::io::stderr(), &stderr);
            boot::run(*options)
        }
        Launch::Exit { code, stdout, stderr } => {
            print(&mut std::io::stdout(), &stdout);
            print(&mut std::io::stderr(), &stderr);
            ExitCode::from(code)
        }
    }
}

/// Writes to a standard stream. If it is closed there is nobody left to tell.
fn print(stream: &mut impl std::io::Write, text: &str) {
    let _ = stream.write_all(text.as_bytes()).and_then(|()| stream.flush());
}
