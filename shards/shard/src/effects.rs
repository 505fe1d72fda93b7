//! What a turn asks the machine to do: lists per batch, never a call per message.

use base::Slot;

use crate::admit::Claim;
use crate::callout::Dispatch;
use crate::inspect::{Answer, Happening, Ticket};
use crate::itinerary::TracePart;
use crate::services::Request;

/// A connected socket, as the reactor numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Socket(pub i32);

/// How important a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// `[INF]`
    Info,
    /// `[WRN]`
    Warning,
    /// `[ERR]`
    Error,
    /// `[DBG]`
    Debug,
    /// `[TRC]`
    Trace,
}

/// One line for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// How important it is.
    pub level: Level,
    /// What it says.
    pub text: String,
}

/// What is to be done after a turn, in this order.
#[derive(Debug, Default)]
pub struct Effects {
    /// Connections that now exist on these sockets: start to read.
    pub opened: Vec<(Slot, Socket)>,
    /// Sockets that belong to no connection: close them.
    pub dropped: Vec<Socket>,
    /// Connections with bytes to write.
    pub flush: Vec<Slot>,
    /// Connections whose reading was paused or goes on; ask [`crate::Shard::is_paused`].
    pub flow: Vec<Slot>,
    /// Connections to write out as far as possible and then shut for writing; the peer may still be
    /// sending, which is to be read and dropped.
    pub shut: Vec<Slot>,
    /// Connections to close now, whatever still waits.
    pub close: Vec<Slot>,
    /// Lines for the log.
    pub log: Vec<LogLine>,
    /// Requests to the server itself.
    pub requests: Vec<Request>,
    /// Answers to what [`crate::Shard::ask`] asked.
    pub answers: Vec<(Ticket, Answer)>,
    /// What happened to connections.
    pub happenings: Vec<Happening>,
    /// What there is to tell of messages that are traced.
    pub traced: Vec<TracePart>,
    /// What has to be proven before somebody is let in; see [`crate::Shard::proven`].
    pub proofs: Vec<Claim>,
    /// Keys of accounts to look for; [`crate::Shard::answer`] is the answer.
    pub sought: Vec<String>,
    /// What has to be done for somebody else to say who may come in.
    pub dispatches: Vec<Dispatch>,
    /// So many configurations that were put in force now hold for every connection.
    pub reconfigured: u32,
    /// Stop to accept.
    pub stop_accepting: bool,
    /// The last connection of a server that is going away is gone.
    pub drained: bool,
    /// There is more to do without any further input: do not sleep.
    pub more: bool,
}

impl Effects {
    /// Empties all lists and keeps their memory.
    pub fn clear(&mut self) {
        self.opened.clear();
        self.dropped.clear();
        self.flush.clear();
        self.flow.clear();
        self.shut.clear();
        self.close.clear();
        self.log.clear();
        self.requests.clear();
        self.answers.clear();
        self.happenings.clear();
        self.traced.clear();
        self.proofs.clear();
        self.sought.clear();
        self.dispatches.clear();
        self.reconfigured = 0;
        self.stop_accepting = false;
        self.drained = false;
        self.more = false;
    }
}
