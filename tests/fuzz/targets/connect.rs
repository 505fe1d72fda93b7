#![no_main]
//! See `bodies/connect.rs`, which `cargo test` runs on the seeds as well.

#[path = "../bodies/connect.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
