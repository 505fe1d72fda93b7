#![no_main]
//! See `bodies/jetstream.rs`, which `cargo test` runs on the seeds as well.

#[path = "../bodies/jetstream.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
