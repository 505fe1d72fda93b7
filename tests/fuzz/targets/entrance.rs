#![no_main]
//! See `bodies/entrance.rs`, which `cargo test` runs on the seeds as well.

#[path = "../bodies/entrance.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
