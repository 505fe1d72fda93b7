//! Which connections to look at next, without ever sleeping.

use std::os::fd::AsFd;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::failure::Failure;

/// Up to this many connections it is cheaper to try each than to ask which are ready, and trying
/// leaves no wait-queue entry whose wake-up the server would pay for.
const SWEEP_MAX: usize = 16;
const EVENTS_MAX: usize = 512;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ready {
    pub(crate) index: usize,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
}

/// Answers at once with the connections worth a call.
#[derive(Debug)]
pub(crate) enum Poller {
    Sweep(Vec<Ready>),
    Epoll { epoll: Epoll, events: Vec<EpollEvent>, ready: Vec<Ready> },
}

impl Poller {
    /// Watches `sources` by their index; `writes` says which have bulk to write.
    pub(crate) fn new<S: AsFd>(
        sources: &[S],
        writes: impl Fn(usize) -> bool,
    ) -> Result<Self, Failure> {
        if sources.len() <= SWEEP_MAX {
            let all = |index| Ready { index, readable: true, writable: true };
            return Ok(Self::Sweep((0..sources.len()).map(all).collect()));
        }
        let epoll =
            Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(Failure::errno("epoll_create"))?;
        for (index, source) in sources.iter().enumerate() {
            let mut flags = EpollFlags::EPOLLIN;
            flags.set(EpollFlags::EPOLLOUT, writes(index));
            let event = EpollEvent::new(flags, index as u64);
            epoll.add(source, event).map_err(Failure::errno("epoll_ctl"))?;
        }
        let events = vec![EpollEvent::empty(); EVENTS_MAX];
        Ok(Self::Epoll { epoll, events, ready: Vec::with_capacity(EVENTS_MAX) })
    }

    pub(crate) fn ready(&mut self) -> Result<&[Ready], Failure> {
        match self {
            Self::Sweep(all) => Ok(all),
            Self::Epoll { epoll, events, ready } => {
                let count =
                    epoll.wait(events, EpollTimeout::ZERO).map_err(Failure::errno("epoll_wait"))?;
                ready.clear();
                ready.extend(events[..count].iter().map(|event| Ready {
                    index: event.data() as usize,
                    readable: event.events().intersects(!EpollFlags::EPOLLOUT),
                    writable: event.events().contains(EpollFlags::EPOLLOUT),
                }));
                Ok(ready)
            }
        }
    }
}
