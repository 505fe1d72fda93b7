//! A store whose files were changed: it opens, holds nothing that was not given, and works on.

/// Runs one input: changes to the files of a store that was in use.
pub(crate) fn run(data: &[u8]) {
    if let Err(problem) = sim::storage::spoil(data) {
        panic!("{problem}");
    }
}
