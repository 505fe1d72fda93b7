//! What the boot thread and a core tell each other.

use base::{AccountId, CoreId, ServiceId};
use nix::sys::signal::Signal;
use shard::{Amendment, Config, Question, Ticket};
use tokio::sync::oneshot;

use super::gate::Secrets;
use super::meter::Meter;
use super::speech::Speech;
use crate::auth::Answered;
use crate::log;
use crate::resolver::Learned;
use crate::staple::Renewal;

/// What the boot thread tells a core.
#[derive(Debug)]
pub(crate) enum Command {
    /// Close everything and end.
    Stop,
    /// Go into lame duck mode.
    LameDuck,
    /// Put another configuration in force.
    Reconfigure(Box<Config>),
    /// Put in force what became known about accounts.
    Amend(Box<Amendment>),
    /// What is to be known of these accounts is in force on all cores.
    Answer(Vec<String>),
    /// Something that a connection claimed was looked at.
    Proven(Box<Answered>),
    /// Let later handshakes be made by these.
    Secure(Secrets),
    /// Log at other levels.
    SetLevels(log::Levels),
    /// Answer a question.
    Ask(Ticket, Question),
    /// Say what the turns came to.
    Measure(oneshot::Sender<Meter>),
    /// Tell of the requests that come on these subjects.
    Listen { account: AccountId, pattern: Vec<u8>, queue: Vec<u8>, service: ServiceId },
    /// Publish a message of the server's own.
    Speak(Box<Speech>),
}

/// What a core, the signal thread, or the one that keeps staples fresh, tells the boot thread.
#[derive(Debug)]
pub(crate) enum Report {
    /// The core runs.
    Ready,
    /// So many configurations are in force on the core for everyone.
    Reconfigured(u32),
    /// The core could not start.
    Failed(CoreId, String),
    /// The last connection of a lame duck is gone.
    Drained,
    /// The core has ended.
    Stopped,
    /// A signal came.
    Signal(Signal),
    /// A certificate's staple was renewed.
    Renewed(Renewal),
    /// The configuration is to be read again.
    Reload(oneshot::Sender<Result<(), String>>),
    /// Something was found out about accounts.
    Learned(Box<Learned>),
}
