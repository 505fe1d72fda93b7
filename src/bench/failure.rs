//! Why a run is void.

use std::fmt;
use std::io;

/// A run either verifies in full or ends in one of these; there are no partial results.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The machine refused: a socket, a file, a limit.
    Io(&'static str, io::Error),
    /// The server sent bytes that are not the protocol.
    Protocol(String),
    /// The server answered `-ERR`.
    Refused(String),
    /// Messages arrived that should not have, or not all that should.
    Mismatch(String),
    /// Nothing moved for too long.
    Stalled(String),
    /// The arguments contradict each other.
    Usage(String),
}

impl Failure {
    /// Names what was being done when the machine refused, for use in `map_err`.
    pub(crate) fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Io(doing, error)
    }

    /// The same for calls that answer with an error number.
    pub(crate) fn errno(doing: &'static str) -> impl FnOnce(nix::errno::Errno) -> Self {
        move |errno| Self::Io(doing, errno.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(doing, error) => write!(out, "{doing}: {error}"),
            Self::Protocol(what) => write!(out, "not the protocol: {what}"),
            Self::Refused(what) => write!(out, "the server refused: {what}"),
            Self::Mismatch(what) => write!(out, "wrong messages: {what}"),
            Self::Stalled(what) => write!(out, "stalled: {what}"),
            Self::Usage(what) => write!(out, "{what}"),
        }
    }
}
