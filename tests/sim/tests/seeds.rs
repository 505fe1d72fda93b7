//! Seeds that are run with every `cargo test`; each that ever failed is kept here.

#[test]
fn the_first_five_hundred_seeds_hold() {
    let mut received = 0;
    for seed in 0..500 {
        match sim::run(seed) {
            Ok(outcome) => received += outcome.received,
            Err(problem) => panic!("seed {seed}: {problem}"),
        }
    }
    assert!(received > 10_000, "the clients were given something to compare: {received}");
}
