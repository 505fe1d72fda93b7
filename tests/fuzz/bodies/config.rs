//! The configuration language: anything is accepted or complained about, and the same each time.

use std::path::Path;

use pinion::config::{self, Surroundings};

/// A machine with no file to include and few variables.
struct Bare;

impl Surroundings for Bare {
    fn read(&mut self, path: &Path) -> Result<Vec<u8>, String> {
        Err(format!("open {}: no such file", path.display()))
    }

    fn variable(&mut self, name: &str) -> Option<String> {
        match name {
            "PORT" => Some("4223".into()),
            "LIST" => Some("[ a, $PORT ]".into()),
            "LOOP" => Some("$LOOP".into()),
            _ => None,
        }
    }
}

/// Runs one input.
pub(crate) fn run(data: &[u8]) {
    let first = config::parse_bytes("fuzz.conf", data, &mut Bare);
    let second = config::parse_bytes("fuzz.conf", data, &mut Bare);
    match (first, second) {
        (Ok(first), Ok(second)) => {
            assert_eq!(first.digest, second.digest);
            assert_eq!(first.warnings, second.warnings);
            // Settings that cannot be had together are complained about, in words.
            if let Err(problem) =
                config::load(config::Settings::default(), Some(("fuzz.conf", first)))
            {
                assert!(!problem.is_empty());
            }
        }
        (Err(first), Err(second)) => {
            assert_eq!(first, second);
            assert!(!first.to_string().is_empty());
        }
        (first, second) => panic!("twice read, two verdicts: {first:?}, {second:?}"),
    }
}
