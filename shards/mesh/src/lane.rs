//! A ring of bytes with one writer and one reader.
//!
//! Each side keeps its own position and a copy of the other's, which it refreshes only when the
//! copy says that the ring is full or empty. The two shared positions stand 128 bytes apart: Intel
//! prefetches lines in pairs.
#![allow(unsafe_code)]

#[cfg(loom)]
use loom::{
    cell::UnsafeCell,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering, fence},
    },
};
#[cfg(not(loom))]
use std::{
    cell::UnsafeCell,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering, fence},
    },
};

#[repr(align(128))]
struct Position(AtomicUsize);

struct Ring {
    /// Bytes written since the beginning; moved by the sender alone.
    written: Position,
    /// Bytes read since the beginning; moved by the receiver alone.
    read: Position,
    /// Does the sender sleep until there is room? Looked at by the receiver, written rarely.
    awaited: AtomicBool,
    bytes: Box<[UnsafeCell<u8>]>,
}

// SAFETY: the bytes between `read` and `written` are touched by the receiver alone and the others
// by the sender alone; each side hands bytes over by a release store of its position, which the
// other reads with acquire before it touches them.
unsafe impl Sync for Ring {}
// SAFETY: a ring holds plain bytes and two atomics, none of them tied to a thread.
unsafe impl Send for Ring {}

/// The writing end of a lane.
pub struct Sender {
    ring: Arc<Ring>,
    written: usize,
    /// The reader's position as last seen.
    read: usize,
}

/// The reading end of a lane.
pub struct Receiver {
    ring: Arc<Ring>,
    read: usize,
    /// The writer's position as last seen.
    written: usize,
}

/// A lane of `capacity` bytes.
///
/// # Panics
/// If the capacity is no power of two.
pub fn lane(capacity: usize) -> (Sender, Receiver) {
    assert!(capacity.is_power_of_two());
    let ring = Arc::new(Ring {
        written: Position(AtomicUsize::new(0)),
        read: Position(AtomicUsize::new(0)),
        awaited: AtomicBool::new(false),
        bytes: (0..capacity).map(|_| UnsafeCell::new(0)).collect(),
    });
    let sender = Sender { ring: ring.clone(), written: 0, read: 0 };
    (sender, Receiver { ring, read: 0, written: 0 })
}

impl Sender {
    /// Writes as much as there is room for and makes it visible to the reader. Returns how much.
    pub fn send(&mut self, bytes: &[u8]) -> usize {
        let capacity = self.ring.bytes.len();
        if capacity - (self.written - self.read) < bytes.len() {
            self.read = self.ring.read.0.load(Ordering::Acquire);
        }
        let room = capacity - (self.written - self.read);
        assert!(room <= capacity, "a reader cannot be ahead of its writer");
        let count = room.min(bytes.len());
        if count == 0 {
            return 0;
        }
        let start = self.written & (capacity - 1);
        let first = count.min(capacity - start);
        self.fill(start, &bytes[..first]);
        self.fill(0, &bytes[first..count]);
        self.written += count;
        self.ring.written.0.store(self.written, Ordering::Release);
        count
    }

    /// The lane is full and the sender is about to sleep: whoever reads is to wake it once half of
    /// the lane is free. True if that much is free already, and then nobody will.
    pub fn await_room(&mut self) -> bool {
        self.ring.awaited.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.read = self.ring.read.0.load(Ordering::Acquire);
        let is_free = self.written - self.read <= self.ring.bytes.len() / 2;
        if is_free {
            self.ring.awaited.store(false, Ordering::Relaxed);
        }
        is_free
    }

    #[cfg(not(loom))]
    fn fill(&self, start: usize, bytes: &[u8]) {
        let span = &self.ring.bytes[start..start + bytes.len()];
        // SAFETY: `span` lies between the writer's position and the reader's, so the reader does
        // not touch it until `written` moves; there is no other writer, as `send` borrows `self`
        // mutably. `UnsafeCell<u8>` has the layout of `u8`, and the source is no part of the ring.
        unsafe {
            let target = span.as_ptr().cast_mut().cast::<u8>();
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len());
        }
    }

    #[cfg(loom)]
    fn fill(&self, start: usize, bytes: &[u8]) {
        for (cell, byte) in self.ring.bytes[start..].iter().zip(bytes) {
            // SAFETY: as above; loom checks it.
            cell.with_mut(|place| unsafe { *place = *byte });
        }
    }
}

impl Receiver {
    /// Looks once at how far the writer has come. Bytes that were written before this call, and
    /// those alone, are readable until the next.
    pub fn refresh(&mut self) -> usize {
        self.written = self.ring.written.0.load(Ordering::Acquire);
        self.len()
    }

    /// Bytes that are readable.
    pub const fn len(&self) -> usize {
        self.written - self.read
    }

    /// Is nothing readable?
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The readable bytes up to the end of the ring; what went round is readable after
    /// [`Receiver::consume`].
    #[cfg(not(loom))]
    pub fn readable(&self) -> &[u8] {
        let capacity = self.ring.bytes.len();
        let start = self.read & (capacity - 1);
        let count = self.len().min(capacity - start);
        let span = &self.ring.bytes[start..start + count];
        // SAFETY: these bytes lie between the reader's position and the writer's, so the writer
        // does not touch them until `read` moves, which `consume` does and which borrows `self`
        // mutably.
        unsafe { std::slice::from_raw_parts(span.as_ptr().cast::<u8>(), count) }
    }

    /// As above, by copy, so that loom sees each access.
    #[cfg(loom)]
    pub fn readable(&self) -> Vec<u8> {
        let capacity = self.ring.bytes.len();
        let places = (self.read..self.written).map(|at| &self.ring.bytes[at & (capacity - 1)]);
        // SAFETY: as above; loom checks it.
        places.map(|cell| cell.with(|place| unsafe { *place })).collect()
    }

    /// Gives the first `count` readable bytes back to the writer.
    ///
    /// # Panics
    /// If fewer are readable.
    pub fn consume(&mut self, count: usize) {
        assert!(count <= self.len(), "only what is readable can be consumed");
        self.read += count;
        self.ring.read.0.store(self.read, Ordering::Release);
    }

    /// Must the sender be woken, after something was consumed, since it sleeps until there is room?
    /// True once for each time that it asks. Whoever has consumed all that it saw and is told no
    /// will be told yes for what it did not see: a sender that waits has left the lane half full.
    pub fn must_wake_sender(&self) -> bool {
        fence(Ordering::SeqCst);
        self.len() <= self.ring.bytes.len() / 2
            && self.ring.awaited.load(Ordering::Relaxed)
            && self.ring.awaited.swap(false, Ordering::Relaxed)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_full_lane_takes_what_fits_and_goes_round() {
        let (mut sender, mut receiver) = lane(8);
        assert_eq!(sender.send(b"abcdef"), 6);
        assert_eq!(receiver.refresh(), 6);
        assert_eq!(receiver.readable(), b"abcdef");
        receiver.consume(4);
        assert_eq!(sender.send(b"ghijklmn"), 6);
        assert_eq!(receiver.len(), 2, "what came after the last look is not readable yet");
        assert_eq!(receiver.refresh(), 8);
        assert_eq!(receiver.readable(), b"efgh");
        receiver.consume(4);
        assert_eq!(receiver.readable(), b"ijkl");
        receiver.consume(4);
        assert!(receiver.is_empty());
        assert_eq!(sender.send(b""), 0);
    }

    #[test]
    fn a_sender_is_woken_once_half_of_the_lane_is_free() {
        let (mut sender, mut receiver) = lane(8);
        assert_eq!(sender.send(b"abcdefghi"), 8);
        assert!(!sender.await_room());
        assert_eq!(receiver.refresh(), 8);
        receiver.consume(3);
        assert!(!receiver.must_wake_sender(), "three bytes are not worth it");
        receiver.consume(1);
        assert!(receiver.must_wake_sender());
        assert!(!receiver.must_wake_sender(), "it was told");
        assert!(sender.await_room(), "there is room, and nobody will ring");
        receiver.consume(4);
        assert!(!receiver.must_wake_sender());
    }

    #[test]
    fn bytes_cross_threads_in_order() {
        const BYTES: usize = 1 << 20;
        let (mut sender, mut receiver) = lane(4096);
        let writer = std::thread::spawn(move || {
            let mut next = 0_usize;
            while next < BYTES {
                let chunk: Vec<u8> = (next..BYTES.min(next + 1000)).map(|n| n as u8).collect();
                next += sender.send(&chunk);
                std::thread::yield_now();
            }
        });
        let mut expected = 0_usize;
        while expected < BYTES {
            receiver.refresh();
            let span = receiver.readable();
            for byte in span {
                assert_eq!(*byte, expected as u8);
                expected += 1;
            }
            let count = span.len();
            receiver.consume(count);
            std::thread::yield_now();
        }
        writer.join().expect("the writer does not fail");
    }
}

/// Every interleaving of a small lane and its bell, with
/// `RUSTFLAGS="--cfg loom" cargo test -p mesh --release`.
#[cfg(all(test, loom))]
mod loom_tests {
    use loom::thread;

    use super::*;

    #[test]
    fn bytes_arrive_in_order_and_no_wake_is_missed() {
        loom::model(|| {
            let (mut sender, mut receiver) = lane(2);
            let bell = crate::bell();
            let rung = Arc::new(AtomicUsize::new(0));
            let (their_bell, their_rung) = (bell.clone(), rung.clone());
            let writer = thread::spawn(move || {
                let sent = sender.send(&[7, 8]);
                assert_eq!(sent, 2);
                if their_bell.must_ring() {
                    their_rung.fetch_add(1, Ordering::SeqCst);
                }
            });
            bell.lie_down();
            let seen = receiver.refresh();
            if seen > 0 {
                assert_eq!(receiver.readable(), [7, 8]);
                receiver.consume(2);
            }
            writer.join().expect("the writer does not fail");
            if seen == 0 {
                assert_eq!(rung.load(Ordering::SeqCst), 1, "who saw nothing must be woken");
                receiver.refresh();
                assert_eq!(receiver.readable(), [7, 8]);
            }
        });
    }

    #[test]
    fn a_sender_that_found_no_room_is_woken() {
        loom::model(|| {
            let (mut sender, mut receiver) = lane(2);
            let woken = Arc::new(AtomicUsize::new(0));
            let their_woken = woken.clone();
            assert_eq!(sender.send(&[7, 8]), 2);
            let reader = thread::spawn(move || {
                receiver.refresh();
                receiver.consume(2);
                if receiver.must_wake_sender() {
                    their_woken.fetch_add(1, Ordering::SeqCst);
                }
            });
            let has_room = sender.await_room();
            reader.join().expect("the reader does not fail");
            let rung = woken.load(Ordering::SeqCst);
            assert!(has_room || rung == 1, "who found no room must be woken");
        });
    }
}
