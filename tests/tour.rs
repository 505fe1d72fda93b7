//! Every stop of `docs/TOUR.md` exists.

use std::fs;
use std::path::Path;

#[test]
fn every_stop_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tour = fs::read_to_string(root.join("docs/TOUR.md")).expect("the tour is there");
    let mut stops = 0;
    for (at, _) in tour.match_indices(" → `") {
        let before = tour[..at].trim_end_matches('`');
        let file = &before[before.rfind('`').expect("a file stands in backticks") + 1..];
        let after = &tour[at + " → `".len()..];
        let function = &after[..after.find('`').expect("a function stands in backticks")];
        let text = fs::read_to_string(root.join(file))
            .unwrap_or_else(|error| panic!("{file}, a stop of the tour: {error}"));
        let found =
            text.contains(&format!("fn {function}(")) || text.contains(&format!("fn {function}<"));
        assert!(found, "{file} has no function {function}");
        stops += 1;
    }
    assert!(stops >= 20, "the tour names its stops as `file` → `function`; {stops} were found");
}
