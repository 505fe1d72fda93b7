//! `cargo run --release -p sim -- [--world core|accounts|storage|jetstream] [--seed N | --from N]
//! [--seeds N] [--minutes N]`
//!
//! Runs one seed, or many until the number or the time is used up. The seed of a failure is printed
//! first and repeats it.

use std::cell::Cell;
use std::process::ExitCode;
use std::time::{Duration, Instant};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let text = |name: &str| {
        let at = arguments.iter().position(|word| word == name)?;
        arguments.get(at + 1).map(String::as_str)
    };
    let value = |name: &str| text(name)?.parse::<u64>().ok();
    let world = match text("--world") {
        Some("storage") => World::Storage,
        Some("jetstream") => World::JetStream,
        Some("accounts") => World::Accounts,
        None | Some("core") => World::Core,
        Some(other) => {
            eprintln!("there is no world {other}: core, accounts, storage or jetstream");
            return ExitCode::FAILURE;
        }
    };
    name_seed_on_panic();
    if let Some(seed) = value("--seed") {
        RUNNING.set(Some((world, seed)));
        return match world.run(seed) {
            Ok(outcome) => {
                println!("seed {seed}: {outcome}");
                ExitCode::SUCCESS
            }
            Err(problem) => world.complain(seed, &problem),
        };
    }
    let first = value("--from").unwrap_or_else(seed_from_clock);
    let seeds = value("--seeds").unwrap_or(10_000);
    let limit = Duration::from_secs(60 * value("--minutes").unwrap_or(600));
    println!("first seed: {first}");
    let started = Instant::now();
    let mut total = Total::default();
    let mut done = 0;
    while done < seeds && started.elapsed() < limit {
        let seed = first.wrapping_add(done);
        RUNNING.set(Some((world, seed)));
        if let Err(problem) = world.run_into(seed, &mut total) {
            return world.complain(seed, &problem);
        }
        done += 1;
    }
    println!("{done} seeds in {:.1} s: {}", started.elapsed().as_secs_f64(), total.show(world));
    ExitCode::SUCCESS
}

/// What is simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum World {
    /// Shards, lanes and clients.
    Core,
    /// Accounts that share with each other, while the configuration changes.
    Accounts,
    /// The store of one core.
    Storage,
    /// Streams and consumers over that store, and their clients.
    JetStream,
}

/// What all runs amounted to.
#[derive(Default)]
struct Total {
    core: sim::Outcome,
    storage: sim::storage::Outcome,
    jetstream: sim::jetstream::Outcome,
}

impl Total {
    fn show(&self, world: World) -> String {
        match world {
            World::Core | World::Accounts => format!("{:?}", self.core),
            World::Storage => format!("{:?}", self.storage),
            World::JetStream => format!("{:?}", self.jetstream),
        }
    }
}

impl World {
    const fn name(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Accounts => "accounts",
            Self::Storage => "storage",
            Self::JetStream => "jetstream",
        }
    }

    fn run(self, seed: u64) -> Result<String, String> {
        let mut total = Total::default();
        self.run_into(seed, &mut total)?;
        Ok(total.show(self))
    }

    fn run_into(self, seed: u64, total: &mut Total) -> Result<(), String> {
        match self {
            Self::Core | Self::Accounts => {
                let run = if self == Self::Core { sim::run } else { sim::accounts::run };
                let outcome = run(seed)?;
                total.core.published += outcome.published;
                total.core.received += outcome.received;
                total.core.cut_off += outcome.cut_off;
            }
            Self::Storage => total.storage.add(&sim::storage::run(seed)?),
            Self::JetStream => total.jetstream.add(&sim::jetstream::run(seed)?),
        }
        Ok(())
    }

    fn complain(self, seed: u64, problem: &str) -> ExitCode {
        eprintln!("seed {seed} failed: {problem}\nrepeat: {}", self.command(seed));
        ExitCode::FAILURE
    }

    fn command(self, seed: u64) -> String {
        format!("cargo run -p sim -- --world {} --seed {seed}", self.name())
    }
}

thread_local! {
    /// The seed that runs, so that a panic can be repeated as well.
    static RUNNING: Cell<Option<(World, u64)>> = const { Cell::new(None) };
}

/// Says which seed it was when a run panics. A hook, since a release build does not unwind.
fn name_seed_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        if let Some((world, seed)) = RUNNING.get() {
            eprintln!("the seed was {seed}: {}", world.command(seed));
        }
    }));
}

fn seed_from_clock() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| since.as_micros() as u64)
}
