//! The `io_uring` of one core: its sockets, and its files.
//!
//! Single issuer, deferred task work, multishot receive into provided buffers. Writing
//! is a direct non-blocking `send` outside the ring, since at the end of a turn it almost always
//! takes everything at once; what would block waits for a poll on the ring. So the kernel never
//! holds a buffer of a connection, and closing one needs no bookkeeping of them
//! (docs/decisions/network-ring.md).
//!
//! What is to be done with files goes through the same ring (docs/decisions/disk-ring.md). Memory
//! and paths that the kernel works with belong to the ring until it has told the outcome.
//!
//! All `unsafe` of the reactor stands in this file.
#![allow(unsafe_code)]

use std::alloc::{self, Layout};
use std::collections::VecDeque;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use base::{Slab, Slot};
use io_uring::types::{BufRingEntry, Fd, FsyncFlags, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use storage::Blocks;

/// Submissions that fit in the ring; more are submitted as they come up.
const SUBMISSIONS: u32 = 1024;
/// Completions that fit in the ring; more wait in the kernel.
const COMPLETIONS: u32 = 8192;
/// The group of the provided buffers.
const BUFFER_GROUP: u16 = 0;

/// What an operation was for, in the upper byte of its user data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Accept = 1,
    Receive,
    Writable,
    Bell,
    Cancel,
    File,
    /// The sync behind a write; seen as the end of the write.
    FileSync,
}

/// How a write is made to survive a loss of power (docs/decisions/disk-ring.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lasting {
    /// It is not.
    No,
    /// The write goes past the drive's cache, or the drive has none that is lost.
    Through,
    /// The drive's cache is flushed behind it.
    Flushed,
}

/// Something to do with a file. Descriptors are the caller's, who keeps them open meanwhile.
#[derive(Debug)]
pub(crate) enum FileWork {
    /// Opens; the result is a descriptor.
    Open { path: CString, flags: i32 },
    /// Gives a file room, ahead of time.
    Allocate { file: RawFd, bytes: u64 },
    /// Writes; is done once that lasts.
    Write { file: RawFd, offset: u64, blocks: Blocks, lasting: Lasting },
    /// Reads.
    Read { file: RawFd, offset: u64, blocks: Blocks },
    /// Syncs a file; the names in a folder only if it is done `whole`.
    Sync { file: RawFd, whole: bool },
    /// Gives a file another name.
    Rename { from: CString, to: CString },
    /// Deletes a name.
    Remove { path: CString },
}

impl FileWork {
    /// What the result of a write is that was not cut short.
    fn bytes(&self) -> i32 {
        match self {
            Self::Write { blocks, .. } => blocks.bytes().len() as i32,
            _ => 0,
        }
    }
}

/// A completion.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    pub(crate) kind: Kind,
    pub(crate) slot: Slot,
    /// The result: a count or descriptor, or a negative error number.
    pub(crate) result: i32,
    /// Will the operation complete again?
    pub(crate) more: bool,
    /// The provided buffer that was used.
    pub(crate) buffer: Option<u16>,
}

impl Event {
    /// The error, if the operation failed.
    pub(crate) fn error(&self) -> Option<io::Error> {
        (self.result < 0).then(|| io::Error::from_raw_os_error(-self.result))
    }
}

pub(crate) struct Ring {
    uring: IoUring,
    buffers: ProvidedBuffers,
    /// What the kernel is at work on, with the memory that it uses.
    file_work: Slab<Option<FileWork>>,
    /// What did not fit in the queue while the kernel took none of it.
    waiting: VecDeque<Submission>,
    /// Calls into the kernel so far.
    enters: u64,
}

/// An operation, and one that follows if it succeeds.
struct Submission {
    first: squeue::Entry,
    second: Option<squeue::Entry>,
}

const fn user_data(kind: Kind, slot: Slot) -> u64 {
    (kind as u64) << 56 | slot.0 as u64
}

fn builder() -> io_uring::Builder {
    let mut builder = IoUring::builder();
    builder
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_coop_taskrun()
        .setup_taskrun_flag()
        .setup_cqsize(COMPLETIONS);
    builder
}

/// Can a ring as this broker needs it be made here?
pub(crate) fn probe() -> io::Result<()> {
    let ring: IoUring = builder().build(SUBMISSIONS)?;
    let buffers = ProvidedBuffers::register(&ring, 1, 4096)?;
    drop((ring, buffers));
    Ok(())
}

impl Ring {
    /// A ring with `count` buffers of `bytes` each for what is received.
    pub(crate) fn new(count: u16, bytes: usize) -> io::Result<Self> {
        let ring = builder().build(SUBMISSIONS)?;
        let buffers = ProvidedBuffers::register(&ring, count, bytes)?;
        let (file_work, waiting) = (Slab::default(), VecDeque::new());
        Ok(Self { uring: ring, buffers, file_work, waiting, enters: 0 })
    }

    /// Waits once until somebody wants to connect.
    pub(crate) fn poll_listener(&mut self, listener: BorrowedFd<'_>, number: Slot) {
        let entry = opcode::PollAdd::new(Fd(listener.as_raw_fd()), libc::POLLIN as u32)
            .build()
            .user_data(user_data(Kind::Accept, number));
        self.push(entry);
    }

    /// Receives from a socket until it ends, fails, finds no buffer or is cancelled.
    pub(crate) fn receive(&mut self, socket: BorrowedFd<'_>, slot: Slot) {
        let entry = opcode::RecvMulti::new(Fd(socket.as_raw_fd()), BUFFER_GROUP)
            .build()
            .user_data(user_data(Kind::Receive, slot));
        self.push(entry);
    }

    /// Waits once until a socket can be written to.
    pub(crate) fn poll_writable(&mut self, socket: BorrowedFd<'_>, slot: Slot) {
        let entry = opcode::PollAdd::new(Fd(socket.as_raw_fd()), libc::POLLOUT as u32)
            .build()
            .user_data(user_data(Kind::Writable, slot));
        self.push(entry);
    }

    /// Completes whenever the doorbell is rung.
    pub(crate) fn listen_for_bell(&mut self, bell: BorrowedFd<'_>) {
        let entry = opcode::PollAdd::new(Fd(bell.as_raw_fd()), libc::POLLIN as u32)
            .multi(true)
            .build()
            .user_data(user_data(Kind::Bell, Slot(0)));
        self.push(entry);
    }

    /// Ends the operation of this kind and slot.
    pub(crate) fn cancel(&mut self, kind: Kind, slot: Slot) {
        let entry = opcode::AsyncCancel::new(user_data(kind, slot))
            .build()
            .user_data(user_data(Kind::Cancel, slot));
        self.push(entry);
    }

    /// Begins something with a file. The number comes back as the event's slot.
    pub(crate) fn begin(&mut self, work: FileWork) -> Slot {
        let slot = Slot(self.file_work.insert(Some(work)));
        let work = self.file_work.get_mut(slot.0).as_mut().expect("it was just put in");
        let here = Fd(libc::AT_FDCWD);
        let mut second = None;
        let entry = match work {
            FileWork::Open { path, flags } => {
                opcode::OpenAt::new(here, path.as_ptr()).flags(*flags).mode(0o640).build()
            }
            FileWork::Allocate { file, bytes } => opcode::Fallocate::new(Fd(*file), *bytes).build(),
            FileWork::Write { file, offset, blocks, lasting } => {
                let bytes = blocks.bytes();
                let flags = if *lasting == Lasting::Through { libc::RWF_DSYNC } else { 0 };
                if *lasting == Lasting::Flushed {
                    let sync = opcode::Fsync::new(Fd(*file)).flags(FsyncFlags::DATASYNC).build();
                    second = Some(sync.user_data(user_data(Kind::FileSync, slot)));
                }
                opcode::Write::new(Fd(*file), bytes.as_ptr(), bytes.len() as u32)
                    .offset(*offset)
                    .rw_flags(flags)
                    .build()
            }
            FileWork::Read { file, offset, blocks } => {
                let bytes = blocks.bytes_mut();
                opcode::Read::new(Fd(*file), bytes.as_mut_ptr(), bytes.len() as u32)
                    .offset(*offset)
                    .build()
            }
            FileWork::Sync { file, whole } => {
                let flags = if *whole { FsyncFlags::empty() } else { FsyncFlags::DATASYNC };
                opcode::Fsync::new(Fd(*file)).flags(flags).build()
            }
            FileWork::Rename { from, to } => {
                opcode::RenameAt::new(here, from.as_ptr(), here, to.as_ptr()).build()
            }
            FileWork::Remove { path } => opcode::UnlinkAt::new(here, path.as_ptr()).build(),
        };
        let first = entry.user_data(user_data(Kind::File, slot));
        // One completion comes of two that are linked: the second's, or the first's if that failed
        // or was cut short.
        let linked = squeue::Flags::IO_LINK | squeue::Flags::SKIP_SUCCESS;
        let first = if second.is_some() { first.flags(linked) } else { first };
        self.waiting.push_back(Submission { first, second });
        self.fill_queue();
        slot
    }

    /// Takes back what is done, with its memory. To be called for each event of this kind, once.
    pub(crate) fn end(&mut self, slot: Slot) -> FileWork {
        self.file_work.remove(slot.0).expect("work ends once")
    }

    fn push(&mut self, first: squeue::Entry) {
        self.waiting.push_back(Submission { first, second: None });
        self.fill_queue();
    }

    /// Moves what waits to the queue. One that is full the kernel takes at once, unless completions
    /// have to be collected first; then the rest waits. What is linked is submitted at once, or the
    /// kernel takes the first for the last of its chain.
    fn fill_queue(&mut self) {
        while let Some(Submission { first, second }) = self.waiting.front() {
            let both;
            let chain = match second {
                None => std::slice::from_ref(first),
                Some(second) => {
                    both = [first.clone(), second.clone()];
                    &both
                }
            };
            // SAFETY: the entries above refer to descriptors by number, and to no memory of ours
            // except the provided buffers, which live as long as the ring, and blocks and paths
            // that lie on the heap and stand in `file_work`, untouched, until their completion was
            // seen; where the ring ends earlier they are never freed.
            let pushed = unsafe { self.uring.submission().push_multiple(chain) };
            if pushed.is_ok() {
                self.waiting.pop_front();
                continue;
            }
            match self.uring.submit() {
                Ok(0) => return,
                Err(error) if is_passing(&error) => return,
                submitted => {
                    submitted.expect("a ring of valid entries can be submitted");
                }
            }
        }
    }

    /// Submits what was asked for and lets completions come in; if `wait`, until there is one or
    /// the time is over.
    pub(crate) fn enter(&mut self, wait: Option<Duration>) -> io::Result<()> {
        self.fill_queue();
        self.enters += u64::from(wait.is_some() && self.waiting.is_empty());
        let result = match wait {
            _ if !self.waiting.is_empty() => self.poll(),
            None => self.poll(),
            Some(Duration::MAX) => self.uring.submit_and_wait(1).map(drop),
            Some(limit) => {
                let limit = Timespec::from(limit);
                let arguments = SubmitArgs::new().timespec(&limit);
                self.uring.submitter().submit_with_args(1, &arguments).map(drop)
            }
        };
        match result {
            Err(error) if is_passing(&error) => Ok(()),
            result => result,
        }
    }

    /// Calls into the kernel so far.
    pub(crate) const fn enters(&self) -> u64 {
        self.enters
    }

    /// Submits and collects without waiting; a system call only if there is something to do.
    fn poll(&mut self) -> io::Result<()> {
        let mut submission = self.uring.submission();
        submission.sync();
        // Completions that found no room are handed over only when they are asked for.
        let work = submission.taskrun() || submission.cq_overflow();
        let queued = submission.len() as u32;
        drop(submission);
        if queued == 0 && !work {
            return Ok(());
        }
        self.enters += 1;
        let flags = 1; // IORING_ENTER_GETEVENTS
        // SAFETY: no signal mask is passed, and the queued entries are those of `push`.
        unsafe { self.uring.submitter().enter::<libc::sigset_t>(queued, 0, flags, None) }.map(drop)
    }

    /// Are there completions to collect?
    pub(crate) fn has_completions(&mut self) -> bool {
        !self.uring.completion().is_empty()
    }

    /// Appends the completions that are there.
    pub(crate) fn collect(&mut self, events: &mut Vec<Event>) {
        for entry in self.uring.completion() {
            let data = entry.user_data();
            let kind = match data >> 56 {
                1 => Kind::Accept,
                2 => Kind::Receive,
                3 => Kind::Writable,
                4 => Kind::Bell,
                6 | 7 => Kind::File,
                _ => Kind::Cancel,
            };
            let slot = Slot(data as u32);
            let mut result = entry.result();
            if data >> 56 == Kind::FileSync as u64 && result == 0 {
                result = self.file_work.get(slot.0).as_ref().map_or(0, FileWork::bytes);
            }
            events.push(Event {
                kind,
                slot,
                result,
                more: cqueue::more(entry.flags()),
                buffer: cqueue::buffer_select(entry.flags()),
            });
        }
    }

    /// What was received into a buffer.
    pub(crate) fn buffer(&mut self, id: u16, bytes: usize) -> &mut [u8] {
        self.buffers.read(id, bytes)
    }

    /// Gives a buffer back to the kernel.
    pub(crate) fn recycle(&mut self, id: u16) {
        self.buffers.provide(id);
        self.buffers.publish();
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // The kernel may still be at work on it.
        for place in 0..self.file_work.place_count() as u32 {
            std::mem::forget(self.file_work.get_mut(place).take());
        }
    }
}

/// Errors of `io_uring_enter` that say only that there is nothing yet.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN))
}

/// A descriptor that travelled as a number, from the accepting core or the kernel.
pub(crate) fn own(descriptor: RawFd) -> OwnedFd {
    assert!(descriptor >= 0);
    // SAFETY: the number comes from an accept completion and is taken up exactly once: by the core
    // that the connection was placed on.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

/// Buffers that the kernel picks from when something is received.
struct ProvidedBuffers {
    ring: *mut BufRingEntry,
    layout: Layout,
    memory: Vec<u8>,
    count: u16,
    bytes: usize,
    tail: u16,
}

impl ProvidedBuffers {
    fn register(ring: &IoUring, count: u16, bytes: usize) -> io::Result<Self> {
        assert!(count.is_power_of_two());
        let size = usize::from(count) * size_of::<BufRingEntry>();
        let layout = Layout::from_size_align(size, 4096).expect("a page aligns anything");
        // SAFETY: the layout is not empty.
        #[expect(clippy::cast_ptr_alignment, reason = "the layout asks for a whole page")]
        let entries = unsafe { alloc::alloc_zeroed(layout) }.cast::<BufRingEntry>();
        assert!(!entries.is_null(), "out of memory at start");
        let memory = vec![0; usize::from(count) * bytes];
        let mut buffers = Self { ring: entries, layout, memory, count, bytes, tail: 0 };
        // SAFETY: the entries are page-aligned, zeroed, and live until the ring is closed: `Ring`
        // drops its `IoUring` before its buffers.
        unsafe {
            ring.submitter().register_buf_ring_with_flags(entries as u64, count, BUFFER_GROUP, 0)
        }?;
        for id in 0..count {
            buffers.provide(id);
        }
        buffers.publish();
        Ok(buffers)
    }

    fn provide(&mut self, id: u16) {
        let address = &raw const self.memory[usize::from(id) * self.bytes];
        let place = usize::from(self.tail & (self.count - 1));
        // SAFETY: `place` is below the count of entries; the kernel does not read beyond the tail.
        let entry = unsafe { &mut *self.ring.add(place) };
        entry.set_addr(address as u64);
        entry.set_len(self.bytes as u32);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }

    fn publish(&self) {
        // SAFETY: the tail stands in the first entry's unused field, which `provide` leaves alone,
        // and is aligned; kernel and broker share it as an atomic.
        let tail = unsafe { &*BufRingEntry::tail(self.ring).cast::<AtomicU16>() };
        tail.store(self.tail, Ordering::Release);
    }

    fn read(&mut self, id: u16, bytes: usize) -> &mut [u8] {
        let start = usize::from(id) * self.bytes;
        &mut self.memory[start..start + bytes]
    }
}

impl Drop for ProvidedBuffers {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout; the ring that knew the address is closed.
        unsafe { alloc::dealloc(self.ring.cast(), self.layout) };
    }
}

#[cfg(test)]
mod tests;
