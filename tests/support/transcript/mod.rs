//! Transcripts: their language, their replay, and the back ends they are replayed against.

pub(crate) mod backend;
mod bytes;
mod info;
pub(crate) mod memory;
mod puppet;
mod queue;
pub(crate) mod replay;
pub(crate) mod script;
pub(crate) mod socket;
