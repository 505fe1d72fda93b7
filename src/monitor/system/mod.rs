//! The system account: what may be asked of the server through messages, and what it tells of
//! itself (spec 7).
//!
//! One core hears for all, except where a request is about the connection that makes it: that is
//! heard on every core, and answered by the one which the connection is on.

mod claims;
mod describe;
mod encoding;
mod events;
mod filter;
mod requests;
mod services;
mod traces;

pub(super) use claims::{Looks, look_up};
pub(super) use events::{Teller, say_goodbye, say_lame_duck, tell};
pub(super) use requests::answer;
pub(super) use services::Services;
pub(super) use traces::{Traces, collect as collect_trace};

use base::{AccountId, CoreId};

use super::state::State;
use crate::reactor::Speech;

/// Publishes in the system account.
fn publish(state: &State, subject: String, payload: Vec<u8>) {
    speak(state, CoreId(0), AccountId::SYSTEM, subject.into_bytes(), (Vec::new(), payload));
}

/// Publishes a header block, which may be empty, and a payload.
fn speak(
    state: &State,
    core: CoreId,
    account: AccountId,
    subject: Vec<u8>,
    (header, payload): (Vec<u8>, Vec<u8>),
) {
    let reply = Vec::new();
    state.cores.speak(core, Speech { account, subject, reply, header, payload });
}
