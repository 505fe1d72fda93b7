//! Seeds of the store that are run with every `cargo test`; each that ever failed is kept here.

use sim::storage::{Outcome, run};

/// 19: a journal that begins with the end of an operation.
const ONCE_FAILED: [u64; 1] = [19];

#[test]
fn seeds_of_the_store_that_once_failed_hold() {
    for seed in ONCE_FAILED {
        if let Err(problem) = run(seed) {
            panic!("seed {seed}: {problem}");
        }
    }
}

#[test]
fn the_first_two_hundred_seeds_of_the_store_hold() {
    let mut total = Outcome::default();
    for seed in 0..200 {
        match run(seed) {
            Ok(outcome) => total.add(&outcome),
            Err(problem) => panic!("seed {seed}: {problem}"),
        }
    }
    assert!(total.fetched > 10_000 && total.damage > 20, "there was something to see: {total:?}");
}
