//! What a transcript is replayed against.

use std::time::Duration;

/// A connection, as the back end numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConnectionKey(pub(crate) u64);

/// A broker seen from its clients: a process behind sockets, or a shard in this very test.
///
/// In memory, `feed` and `advance` run the shard to completion, so that what has not been said by
/// then will never be; behind sockets the answer may take as long as `patience`.
pub(crate) trait Backend {
    /// A new client connection.
    fn connect(&mut self) -> Result<ConnectionKey, String>;

    /// Hands over input and returns once the broker has taken it, so that what is fed next is a
    /// later read. Input to a closed connection vanishes.
    fn feed(&mut self, connection: ConnectionKey, bytes: &[u8]);

    /// The client closes its end.
    fn disconnect(&mut self, connection: ConnectionKey);

    /// Lets time pass, where time is an input; elsewhere it passes by itself.
    fn advance(&mut self, by: Duration);

    /// What has arrived for the client since the last call; behind sockets it may wait a little.
    fn take_output(&mut self, connection: ConnectionKey) -> Vec<u8>;

    /// Whether the broker has closed the connection and all its output has been taken.
    fn is_closed(&mut self, connection: ConnectionKey) -> bool;

    /// How long output may take to arrive.
    fn patience(&self) -> Duration;

    /// Sends a signal to the process.
    fn signal(&mut self, name: &str) -> Result<(), String>;

    /// Waits until the log says so.
    fn wait_for_log(&mut self, text: &str) -> Result<(), String>;
}
