//! Every seed of the fuzzers, without a fuzzer: what was once found stays found.

use std::fs;
use std::path::Path;

#[path = "fuzz/bodies/callout.rs"]
mod callout;
#[path = "fuzz/bodies/config.rs"]
mod config;
#[path = "fuzz/bodies/connect.rs"]
mod connect;
#[path = "fuzz/bodies/entrance.rs"]
mod entrance;
#[path = "fuzz/bodies/jetstream.rs"]
mod jetstream_requests;
#[path = "fuzz/bodies/query.rs"]
mod query;
#[path = "fuzz/bodies/shard.rs"]
mod shard_cores;
#[path = "fuzz/bodies/storage.rs"]
mod storage_files;
#[path = "fuzz/bodies/tokens.rs"]
mod tokens;
#[path = "fuzz/bodies/wire.rs"]
mod wire_bytes;

/// Runs a target's seeds, and each again with its end cut off.
fn run_seeds(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds").join(target);
    let mut count = 0;
    for entry in fs::read_dir(folder).expect("the seeds are there").flatten() {
        let seed = fs::read(entry.path()).expect("a seed can be read");
        eprintln!("{}", entry.path().display());
        run(&seed);
        run(&seed[..seed.len() / 2]);
        count += 1;
    }
    assert!(count > 3, "{target} has seeds: {count}");
}

#[test]
fn wire() {
    run_seeds("wire", wire_bytes::run);
}

#[test]
fn shard() {
    run_seeds("shard", shard_cores::run);
}

#[test]
fn config() {
    run_seeds("config", config::run);
}

#[test]
fn tokens() {
    run_seeds("tokens", tokens::run);
}

#[test]
fn connect() {
    run_seeds("connect", connect::run);
}

#[test]
fn callout() {
    run_seeds("callout", callout::run);
}

#[test]
fn entrance() {
    run_seeds("entrance", entrance::run);
}

#[test]
fn query() {
    run_seeds("query", query::run);
}

#[test]
fn storage() {
    run_seeds("storage", storage_files::run);
}

#[test]
fn jetstream() {
    run_seeds("jetstream", jetstream_requests::run);
}
