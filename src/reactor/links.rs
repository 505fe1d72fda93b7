//! The sockets of a core's connections.

use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use base::Slot;
use nix::sys::socket::{self, MsgFlags, SockaddrStorage, getpeername};
use shard::Peer;

use super::gate::Gate;

/// One socket and what is under way on it.
#[derive(Default)]
pub(crate) struct Link {
    pub(super) socket: Option<OwnedFd>,
    /// What stands between the socket and the shard, if anything does.
    pub(super) gate: Option<Box<Gate>>,
    /// Is a receive under way?
    pub(crate) receiving: bool,
    /// Is a poll for writing under way?
    pub(crate) polling: bool,
    /// Is it only waited for what is under way to end?
    pub(crate) closing: bool,
    /// Is it among those whose socket is to be closed?
    pub(crate) leaving: bool,
    /// Is writing to be shut once all is written?
    pub(crate) shut_when_written: bool,
    /// Input that came while reading was paused.
    pub(crate) backlog: Vec<u8>,
    /// The input's end, failed or not, that came while reading was paused.
    pub(crate) ended: Option<bool>,
}

/// What a write came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    Bytes(usize),
    WouldBlock,
    Failed,
}

impl Link {
    pub(crate) fn new(socket: OwnedFd, gate: Option<Box<Gate>>) -> Self {
        Self { socket: Some(socket), gate, ..Self::default() }
    }

    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_ref().expect("a link in use has a socket").as_fd()
    }

    pub(crate) const fn is_in_use(&self) -> bool {
        self.socket.is_some()
    }

    /// Is nothing under way any more?
    pub(crate) const fn is_quiet(&self) -> bool {
        !self.receiving && !self.polling && !self.leaving
    }

    /// Writes what the socket takes without waiting.
    pub(crate) fn write(&self, bytes: &[u8]) -> Written {
        write(self.socket(), bytes)
    }

    pub(crate) fn shut(&self, how: Shutdown) {
        let how = match how {
            Shutdown::Read => socket::Shutdown::Read,
            Shutdown::Write => socket::Shutdown::Write,
            Shutdown::Both => socket::Shutdown::Both,
        };
        // Fails only if the peer is gone already, which is what is wanted.
        let _ = socket::shutdown(self.socket().as_raw_fd(), how);
    }
}

/// Writes what a socket takes without waiting.
pub(super) fn write(socket: BorrowedFd<'_>, bytes: &[u8]) -> Written {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    loop {
        match socket::send(socket.as_raw_fd(), bytes, flags) {
            Ok(count) => return Written::Bytes(count),
            Err(nix::errno::Errno::EAGAIN) => return Written::WouldBlock,
            Err(nix::errno::Errno::EINTR) => {}
            Err(_) => return Written::Failed,
        }
    }
}

/// The links of a core by slot.
#[derive(Default)]
pub(crate) struct Links {
    links: Vec<Link>,
    used: usize,
}

impl Links {
    pub(crate) fn insert(&mut self, slot: Slot, link: Link) {
        if self.links.len() <= slot.index() {
            self.links.resize_with(slot.index() + 1, Link::default);
        }
        assert!(!self.links[slot.index()].is_in_use(), "a slot has one socket");
        self.links[slot.index()] = link;
        self.used += 1;
    }

    pub(crate) fn remove(&mut self, slot: Slot) {
        let link = std::mem::take(&mut self.links[slot.index()]);
        assert!(
            link.is_in_use() && link.is_quiet(),
            "a socket is closed once nothing is under way"
        );
        self.used -= 1;
    }

    pub(crate) fn get(&self, slot: Slot) -> &Link {
        &self.links[slot.index()]
    }

    pub(crate) fn get_mut(&mut self, slot: Slot) -> &mut Link {
        &mut self.links[slot.index()]
    }

    /// The gate of a link that has one.
    pub(super) fn gate(&mut self, slot: Slot) -> &mut Gate {
        self.links[slot.index()].gate.as_mut().expect("the link has a gate")
    }

    pub(crate) const fn are_empty(&self) -> bool {
        self.used == 0
    }
}

/// Who is at the other end; an IPv4 address that came in over IPv6 is shown as what it is.
pub(super) fn peer_of(descriptor: i32) -> Peer {
    let address = getpeername::<SockaddrStorage>(descriptor).ok();
    let v4 = address.as_ref().and_then(SockaddrStorage::as_sockaddr_in);
    let v6 = address.as_ref().and_then(SockaddrStorage::as_sockaddr_in6);
    match (v4, v6) {
        (Some(v4), _) => Peer { host: v4.ip().to_string(), port: v4.port() },
        (_, Some(v6)) => Peer { host: v6.ip().to_canonical().to_string(), port: v6.port() },
        // The peer is gone already.
        _ => Peer::default(),
    }
}
