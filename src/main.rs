//! `pinion`: a drop-in `nats-server`, one shard per core.
fn main() {}
