//! This core's ends of the lanes to and from every other core, and the bells at both.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;

use base::CoreId;
use mesh::{Bell, Receiver, Sender};
use nix::sys::eventfd::EventFd;
use shard::Shard;

/// What is needed to wake a core.
#[derive(Clone)]
pub(crate) struct Waker {
    pub(crate) bell: Bell,
    /// Shared by number with every core that may ring; closed with the last.
    pub(crate) descriptor: Arc<EventFd>,
}

impl Waker {
    pub(crate) fn ring(&self) {
        // The counter cannot overflow in this universe, and a bell has no other way to fail.
        let _ = self.descriptor.write(1);
    }
}

/// One core's ends.
pub(crate) struct Lanes {
    pub(crate) own: Waker,
    ends: Vec<End>,
}

/// The two lanes between this core and another.
pub(crate) struct End {
    pub(crate) core: CoreId,
    pub(crate) to: Sender,
    pub(crate) from: Receiver,
    pub(crate) waker: Waker,
}

impl Lanes {
    pub(crate) const fn new(own: Waker, ends: Vec<End>) -> Self {
        Self { own, ends }
    }

    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.own.descriptor.as_fd()
    }

    /// Looks at what the lanes hold; what comes after this call counts for the next turn.
    pub(crate) fn refresh(&mut self) {
        for end in &mut self.ends {
            end.from.refresh();
        }
    }

    /// Hands to the shard what the lanes held at the last look. False if output has to be written
    /// before there is more.
    pub(crate) fn accept(&mut self, shard: &mut Shard) -> bool {
        for end in &mut self.ends {
            while !end.from.is_empty() {
                let taken = shard.accept_frames(end.core, end.from.readable());
                end.from.consume(taken);
                if end.from.must_wake_sender() {
                    end.waker.ring();
                }
                if shard.is_pressed() {
                    return false;
                }
            }
        }
        true
    }

    /// Moves what waits in the shard's outboxes as far as there is room, and wakes who sleeps.
    pub(crate) fn send(&mut self, shard: &mut Shard) {
        for end in &mut self.ends {
            let bytes = shard.outbox(end.core);
            if bytes.is_empty() {
                continue;
            }
            let count = end.to.send(bytes);
            if count > 0 {
                shard.moved(end.core, count);
            }
            if end.waker.bell.must_ring() {
                end.waker.ring();
            }
        }
    }

    /// Asks for a ring of the own bell where something waits for room. True if there is room by
    /// now.
    pub(crate) fn await_room(&mut self, shard: &Shard) -> bool {
        let mut waiting = self.ends.iter_mut().filter(|end| !shard.outbox(end.core).is_empty());
        waiting.any(|end| end.to.await_room())
    }

    /// Does any lane hold something?
    pub(crate) fn hold_something(&mut self) -> bool {
        self.ends.iter_mut().any(|end| end.from.refresh() > 0)
    }
}
