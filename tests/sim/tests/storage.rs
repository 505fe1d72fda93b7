//! Seeds of the store that are run with every `cargo test`; each that ever failed is kept here.

#[test]
fn the_first_seeds_hold() {
    let n = |k: &str, d: u64| std::env::var(k).ok().and_then(|v| v.parse().ok()).unwrap_or(d);
    let (from, until) = (n("FROM", 0), n("UNTIL", 300));
    let mut total = sim::storage::Outcome::default();
    for seed in from..until {
        match sim::storage::run(seed) {
            Ok(outcome) => {
                total.deeds += outcome.deeds;
                total.openings += outcome.openings;
                total.fetched += outcome.fetched;
                total.segments = total.segments.max(outcome.segments);
            }
            Err(problem) => panic!("seed {seed}: {problem}"),
        }
    }
    assert!(total.fetched > 10_000 && total.segments > 3, "there was something to see: {total:?}");
}
