#![no_main]
//! See `bodies/storage.rs`, which `cargo test` runs on the seeds as well.

#[path = "../bodies/storage.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
