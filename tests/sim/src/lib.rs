//! The broker on a seed: many shards, lanes, sockets and clients, all in one thread, every event
//! drawn from one random number generator.
//!
//! A core's turn is cut into its stages ([`world::Stage`]), and the stages of all cores are
//! interleaved at random, so that what holds here holds for cores that run at the same time. Lanes
//! and sockets have little room, input is cut anywhere, clients stop reading, leave and come back.
//!
//! After the last event the world runs until nothing moves any more, and [`checker`] compares what
//! every client received with what it had to.

pub mod accounts;
pub mod checker;
pub mod client;
pub mod jetstream;
pub mod run;
pub mod storage;
pub mod world;

pub use run::{Outcome, run};
