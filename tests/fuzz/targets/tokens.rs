#![no_main]
//! See `bodies/tokens.rs`, which `cargo test` runs on the seeds as well.

#[path = "../bodies/tokens.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
