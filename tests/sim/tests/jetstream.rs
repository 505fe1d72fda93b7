//! Seeds of streams and consumers that are run with every `cargo test`; each that ever failed is
//! kept here.

use sim::jetstream::{Outcome, run};

/// 0: what `AckAll` said about a message behind one that was delivered again. 3: a journal that
/// found no rest. 59: consumers that were gone and still due. 626: a purge that had nothing left to
/// do said so before what had done it was durable.
const ONCE_FAILED: [u64; 4] = [0, 3, 59, 626];

#[test]
fn seeds_of_streams_that_once_failed_hold() {
    for seed in ONCE_FAILED {
        if let Err(problem) = run(seed) {
            panic!("seed {seed}: {problem}");
        }
    }
}

#[test]
fn the_first_hundred_seeds_of_streams_hold() {
    let mut total = Outcome::default();
    for seed in 0..100 {
        match run(seed) {
            Ok(outcome) => total.add(&outcome),
            Err(problem) => panic!("seed {seed}: {problem}"),
        }
    }
    let Outcome { acknowledged, delivered, settled, crashes, .. } = total;
    let enough = acknowledged > 1_000 && delivered > 1_000 && settled > 300 && crashes > 60;
    assert!(enough, "there was something to see: {total:?}");
}
