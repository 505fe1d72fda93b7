//! Frames from and to other cores.

use base::CoreId;

use crate::frame::{self, Frame, Relayed, Way};
use crate::imports::Introduced;
use crate::shard::Shard;
use crate::train::Train;

impl Shard {
    /// Bytes came over the lane from another core, in order; frames may be cut anywhere. Returns
    /// how many were taken. If fewer than there are, the caller writes what [`Shard::take_pressed`]
    /// names and hands the others in again.
    pub fn accept_frames(&mut self, from: CoreId, bytes: &[u8]) -> usize {
        assert_ne!(from, self.core, "a core has no lane to itself");
        let mut taken = 0;
        let mut arriving = std::mem::take(&mut self.outboxes.get_mut(from).arriving);
        while !arriving.is_empty() && taken < bytes.len() {
            let wanted = frame::length(&arriving).unwrap_or(arriving.len() + 1);
            let count = (wanted - arriving.len()).min(bytes.len() - taken);
            arriving.extend_from_slice(&bytes[taken..taken + count]);
            taken += count;
            if frame::length(&arriving) == Some(arriving.len()) {
                self.accept_frame(from, &arriving);
                arriving.clear();
            }
        }
        while !self.wires.pressed {
            let rest = &bytes[taken..];
            match frame::length(rest) {
                Some(length) if length <= rest.len() => {
                    self.accept_frame(from, &rest[..length]);
                    taken += length;
                }
                _ => {
                    arriving.extend_from_slice(rest);
                    taken = bytes.len();
                    break;
                }
            }
        }
        arriving.shrink_to(base::limits::POOLED_BUFFER_BYTES_MAX);
        self.outboxes.get_mut(from).arriving = arriving;
        self.settle();
        taken
    }

    fn accept_frame(&mut self, from: CoreId, bytes: &[u8]) {
        match frame::read(bytes) {
            Frame::Message(relayed) => {
                self.accept_message(&relayed);
            }
            Frame::Literal { account, hash, wanted } => {
                self.spaces.remote_literal(account, from, hash, wanted);
            }
            Frame::Pattern { account, weight, pattern, queue } => {
                self.spaces.remote_pattern(account, from, pattern, queue, weight);
            }
            Frame::Adopt { socket, id, door, peer } => {
                self.open(socket, id, door, peer);
            }
            Frame::Gone => self.on_gone(from),
            Frame::Train { account, subject, payload, gap, lengths, input } => {
                let mut tails = std::mem::take(&mut self.scratch.tails);
                frame::tails_of(lengths, gap, &mut tails);
                let payload = payload as usize;
                self.accept_train(&Train { account, subject, input, tails: &tails, payload });
                self.scratch.tails = tails;
            }
            Frame::Evict { count } => self.evict(count),
            Frame::Pressed { pressed } => self.outboxes.set_pressed(from, pressed),
            Frame::SeatWish { account, slot, id } => self.on_seat_wish(from, account, slot, id),
            Frame::SeatAnswer { account, slot, id, granted } => {
                self.on_seat_answer(account, slot, id, granted);
            }
            Frame::Seats { account, held: true, count } => self.on_seats_held(account, count),
            Frame::Seats { account, held: false, count } => self.on_seats_free(account, count),
            Frame::Traced { part, only, message } => {
                self.continue_trace(part, only);
                self.accept_frame(from, message);
                self.end_trace();
            }
            Frame::Introduction { info, round_trip } => {
                let info = String::from_utf8_lossy(info).into_owned();
                self.scratch.introduced = Introduced { info, round_trip };
            }
        }
    }

    fn accept_message(&mut self, relayed: &Relayed<'_>) {
        let Relayed { way: Way { account, target, plain, imported, .. }, message, .. } = *relayed;
        let subject = if target.is_empty() { message.subject } else { target };
        let route = self.spaces.at(account).route(subject);
        self.scratch.imported = imported;
        if plain {
            // Subscriptions whose last delivery this was end below, when the route is not needed
            // any more.
            self.deliver_plain(account, route, &message, None);
        }
        self.deliver_named(route, relayed);
        if self.scratch.has_apart() {
            self.scratch.target.extend_from_slice(target);
            self.deliver_apart(account, &message, None);
            self.scratch.target.clear();
        }
        self.scratch.imported = false;
        self.scratch.introduced.info.clear();
        self.end_counted();
    }

    /// Bytes for another core that wait for room in the lane.
    pub fn outbox(&self, to: CoreId) -> &[u8] {
        self.outboxes.waiting(to)
    }

    /// So many of them were moved to the lane.
    pub fn moved(&mut self, to: CoreId, count: usize) {
        self.outboxes.advance(to, count);
    }

    /// Does so much wait that it should go to the lane before the turn ends, while it is in the
    /// cache and the other core may have nothing to do?
    pub fn has_much_outgoing(&self) -> bool {
        self.outboxes.bytes_waiting() >= base::limits::OUTBOX_LOW_BYTES
    }

    /// Does anything wait for a lane?
    pub fn has_outgoing_frames(&self) -> bool {
        !self.outboxes.are_empty()
    }
}
