#![no_main]
//! See `bodies/callout.rs`, which `cargo test` runs on the seeds as well.

#[path = "../bodies/callout.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
