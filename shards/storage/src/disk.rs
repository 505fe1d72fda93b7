//! What the disk is to do, and what came of it.
//!
//! The store asks; `src/reactor/disk.rs` or a simulated disk performs, in any order and any number
//! at a time, and hands each request's outcome back.

/// Something the disk is to do.
#[derive(Debug)]
pub enum DiskRequest {}

/// What came of a request.
#[derive(Clone, Copy, Debug)]
pub enum DiskCompletion {}
