//! The ports that connections come in by, and how many come in or go in one turn.
//!
//! A storm of connections must not hold up those who are in: what a turn accepts and closes is
//! bounded, and the kernel keeps the rest in its queue. So the ring only says that somebody is at
//! the door, since it would accept all of them at once.

use std::net::TcpListener;
use std::os::fd::{AsFd as _, AsRawFd as _};

use base::{Duration, Slot, Time};
use nix::errno::Errno;
use nix::sys::socket::{SockFlag, accept4};
use shard::{Door, Socket};

use super::links::peer_of;
use super::ring::{Event, Kind, Ring};
use super::{Desk, Reactor};
use crate::log::Logger;

/// Connections that a turn accepts: some 15 us each, with INFO.
const ACCEPTED_PER_TURN: usize = 16;
/// Connections that a turn closes: some 10 us each in the kernel.
pub(super) const CLOSED_PER_TURN: usize = 32;
/// How long to wait before accepting again after that failed, for want of descriptors say.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// The listeners by their places.
const DOORS: [Door; 2] = [Door::Client, Door::WebSocket];

/// What is known of one listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The ring tells when somebody comes.
    Watched,
    /// Somebody is there.
    Knocked,
    /// Accepting failed, and is tried again then.
    Failed(Time),
}

/// The ports for clients and for WebSocket, on the core that accepts.
pub(super) struct Doors {
    listeners: [Option<TcpListener>; 2],
    states: [State; 2],
}

impl Doors {
    /// Waits for connections.
    pub(super) fn open(
        listeners: [Option<TcpListener>; 2],
        ring: &mut Ring,
    ) -> std::io::Result<Self> {
        for (listener, number) in listeners.iter().zip(0..) {
            if let Some(listener) = listener {
                listener.set_nonblocking(true)?;
                ring.poll_listener(listener.as_fd(), Slot(number));
            }
        }
        Ok(Self { listeners, states: [State::Watched; 2] })
    }

    /// Is somebody at a door who was not let in yet?
    pub(super) fn are_knocked(&self) -> bool {
        self.states.contains(&State::Knocked)
    }

    /// When accepting is tried again.
    pub(super) fn next_due(&self) -> Time {
        let due = |state: &State| match state {
            State::Failed(at) => *at,
            State::Watched | State::Knocked => Time::NEVER,
        };
        self.states.iter().map(due).min().unwrap_or(Time::NEVER)
    }

    /// The ring has something to say of a listener.
    pub(super) fn note(&mut self, event: &Event) {
        self.states[event.slot.index()] = State::Knocked;
    }

    /// Lets in as many as one turn may.
    pub(super) fn admit(&mut self, desk: &mut Desk, ring: &mut Ring, now: Time, logger: &Logger) {
        for number in 0..DOORS.len() {
            match self.states[number] {
                State::Watched => {}
                State::Failed(at) if now < at => {}
                State::Knocked | State::Failed(_) => {
                    self.states[number] = self.admit_by(number, desk, ring, now, logger);
                }
            }
        }
    }

    fn admit_by(
        &self,
        number: usize,
        desk: &mut Desk,
        ring: &mut Ring,
        now: Time,
        logger: &Logger,
    ) -> State {
        let Some(listener) = &self.listeners[number] else { return State::Watched };
        for _ in 0..ACCEPTED_PER_TURN {
            // The sockets stay blocking: the ring would otherwise not wait for input.
            match accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC) {
                Ok(socket) => {
                    desk.shard.accepted_by(DOORS[number], Socket(socket), peer_of(socket));
                }
                Err(Errno::EAGAIN) => {
                    ring.poll_listener(listener.as_fd(), Slot(number as u32));
                    return State::Watched;
                }
                Err(Errno::EINTR | Errno::ECONNABORTED) => {}
                Err(error) => {
                    let error = std::io::Error::from(error);
                    logger.error(format_args!("Temporary Client Accept Error ({error})"));
                    return State::Failed(now.after(ACCEPT_RETRY));
                }
            }
        }
        State::Knocked
    }

    /// Lets nobody in any more.
    pub(super) fn close(&mut self, ring: &mut Ring) {
        for (listener, number) in self.listeners.iter_mut().zip(0..) {
            if listener.take().is_some() {
                ring.cancel(Kind::Accept, Slot(number));
            }
        }
        self.states = [State::Watched; 2];
    }
}

impl Reactor {
    /// Closes as many of those that are to be closed as one turn may.
    pub(super) fn see_off(&mut self) {
        for _ in 0..CLOSED_PER_TURN {
            let Some(slot) = self.leaving.pop_front() else { return };
            self.desk.links.get_mut(slot).leaving = false;
            self.desk.say_farewell(slot);
            // Ends whatever is under way on the socket.
            self.desk.links.get(slot).shut(std::net::Shutdown::Both);
            self.finish_close(slot);
        }
    }
}
