//! `cargo run --release -p sim -- [--seed N | --from N] [--seeds N] [--minutes N]`
//!
//! Runs one seed, or many until the number or the time is used up. The seed of a failure is printed
//! first and repeats it.

use std::cell::Cell;
use std::process::ExitCode;
use std::time::{Duration, Instant};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|word| word == name)?;
        arguments.get(at + 1)?.parse::<u64>().ok()
    };
    name_seed_on_panic();
    if let Some(seed) = value("--seed") {
        RUNNING.set(Some(seed));
        return verdict(seed, sim::run(seed));
    }
    let first = value("--from").unwrap_or_else(seed_from_clock);
    let seeds = value("--seeds").unwrap_or(10_000);
    let limit = Duration::from_secs(60 * value("--minutes").unwrap_or(600));
    println!("first seed: {first}");
    let started = Instant::now();
    let mut total = sim::Outcome::default();
    let mut done = 0;
    while done < seeds && started.elapsed() < limit {
        let seed = first.wrapping_add(done);
        RUNNING.set(Some(seed));
        match sim::run(seed) {
            Ok(outcome) => {
                total.published += outcome.published;
                total.received += outcome.received;
                total.cut_off += outcome.cut_off;
            }
            failure => return verdict(seed, failure),
        }
        done += 1;
    }
    println!("{done} seeds in {:.1} s: {total:?}", started.elapsed().as_secs_f64());
    ExitCode::SUCCESS
}

thread_local! {
    /// The seed that runs, so that a panic can be repeated as well.
    static RUNNING: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Says which seed it was when a run panics. A hook, since a release build does not unwind.
fn name_seed_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        if let Some(seed) = RUNNING.get() {
            eprintln!("the seed was {seed}: cargo run -p sim -- --seed {seed}");
        }
    }));
}

fn verdict(seed: u64, result: Result<sim::Outcome, String>) -> ExitCode {
    match result {
        Ok(outcome) => {
            println!("seed {seed}: {outcome:?}");
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("seed {seed} failed: {problem}\nrepeat: cargo run -p sim -- --seed {seed}");
            ExitCode::FAILURE
        }
    }
}

fn seed_from_clock() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| since.as_micros() as u64)
}
