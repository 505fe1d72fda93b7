//! Queries of monitoring requests: anything is taken apart, and each argument is read or refused.

use pinion::monitor::query::Query;

/// Runs one input.
pub(crate) fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let query = Query::parse(&text);
    let names = text.split(['&', '=']);
    for name in names.take(64).chain(["subs", ""]) {
        let value = query.text(name);
        assert!(value.len() <= text.len() * 3, "a value is no longer than what it stands in");
        if let Ok(number) = query.unsigned(name) {
            assert!(value.is_empty() || value.parse() == Ok(number));
        }
        if let Ok(number) = query.integer(name) {
            assert!(value.is_empty() || value.parse() == Ok(number));
        }
        for problem in [query.boolean(name).err(), query.integer(name).err()].into_iter().flatten()
        {
            assert!(problem.starts_with("Error decoding "));
        }
    }
    let _ = query.subscriptions();
}
