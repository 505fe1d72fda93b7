//! What a core tells the monitor, and what becomes of it if that does not keep up.
//!
//! A core never waits. What finds no room stays with the core until there is some; past a bound
//! happenings and requests are dropped, the latest first: an event that nobody was told of, a
//! request that nobody answers. Answers are as many as the monitor has asked for.

use base::{CoreId, Duration, Time};
use shard::{Answer, Effects, Happening, Request, Ticket, TracePart};
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;

use super::Notice;

/// Of each kind, so many stay with a core. At a few hundred bytes each that is some megabytes, and
/// more than a storm of ten thousand connections brings.
const KEPT_MAX: usize = 16_384;
/// Time after which a core tries again.
const RETRY: Duration = Duration::from_millis(5);

/// What a core has to tell.
#[derive(Debug, Default)]
pub(crate) struct News {
    pub(super) requests: Vec<Request>,
    pub(super) answers: Vec<(Ticket, Answer)>,
    pub(super) happenings: Vec<Happening>,
    pub(super) traced: Vec<TracePart>,
}

impl News {
    fn is_empty(&self) -> bool {
        self.requests.is_empty()
            && self.answers.is_empty()
            && self.happenings.is_empty()
            && self.traced.is_empty()
    }

    /// Takes what came up in a turn.
    fn gather(&mut self, effects: &mut Effects) {
        keep(&mut self.requests, &mut effects.requests);
        keep(&mut self.happenings, &mut effects.happenings);
        keep(&mut self.traced, &mut effects.traced);
        self.answers.append(&mut effects.answers);
    }
}

fn keep<T>(kept: &mut Vec<T>, fresh: &mut Vec<T>) {
    if kept.is_empty() {
        *kept = std::mem::take(fresh);
    } else {
        let room = KEPT_MAX.saturating_sub(kept.len()).min(fresh.len());
        kept.extend(fresh.drain(..).take(room));
    }
}

/// A core's end of the way to the monitor.
pub(crate) struct Outlet {
    core: CoreId,
    sender: Sender<Notice>,
    waiting: News,
}

impl Outlet {
    pub(super) fn new(core: CoreId, sender: Sender<Notice>) -> Self {
        Self { core, sender, waiting: News::default() }
    }

    /// Passes on what came up in a turn, as far as there is room.
    pub(crate) fn pass(&mut self, effects: &mut Effects) {
        self.waiting.gather(effects);
        if self.waiting.is_empty() {
            return;
        }
        let news = Box::new(std::mem::take(&mut self.waiting));
        let sent = self.sender.try_send(Notice::Core { core: self.core, news });
        // Without a monitor nobody wants to know.
        if let Err(TrySendError::Full(Notice::Core { news, .. })) = sent {
            self.waiting = *news;
        }
    }

    /// When to try again, if something waits.
    pub(crate) fn next_due(&self, now: Time) -> Time {
        if self.waiting.is_empty() { Time::NEVER } else { now.after(RETRY) }
    }
}

#[cfg(test)]
mod tests {
    use shard::Reason;
    use tokio::sync::mpsc::channel;

    use super::*;

    fn effects(count: usize) -> Effects {
        let refused = Happening::Refused(Box::default(), Reason::AuthenticationFailure);
        Effects { happenings: vec![refused; count], ..Effects::default() }
    }

    #[test]
    fn what_finds_no_room_waits_and_is_bounded() {
        let (sender, mut receiver) = channel(1);
        let mut outlet = Outlet::new(CoreId(3), sender);
        outlet.pass(&mut Effects::default());
        assert!(receiver.try_recv().is_err(), "nothing is not told");
        for _ in 0..3 {
            outlet.pass(&mut effects(KEPT_MAX - 1));
        }
        assert!(outlet.next_due(Time(1)) < Time::NEVER);
        for expected in [KEPT_MAX - 1, KEPT_MAX] {
            let Ok(Notice::Core { core, news }) = receiver.try_recv() else { panic!("news") };
            assert_eq!((core, news.happenings.len()), (CoreId(3), expected));
            outlet.pass(&mut Effects::default());
        }
        assert_eq!(outlet.next_due(Time(1)), Time::NEVER);
    }
}
