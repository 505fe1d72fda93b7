//! Publishers and subscribers at full speed, and the proof that everything arrived.

use std::time::{Duration, Instant};

use super::block::Source;
use super::conn::{Calls, Conn, READ_MAX};
use super::failure::Failure;
use super::poll::{Poller, Ready};
use super::progress::Progress;

/// A run in which no byte moves for so long has failed.
const STALL_MAX: Duration = Duration::from_secs(30);
/// Turns between looks at connections that are not expected to say anything.
const LISTEN_TURNS: u64 = 64;
/// Least bytes a group may have in flight, so that many groups still write in batches.
const GROUP_WINDOW_MIN: u64 = 64 * 1024;

/// What subscribers of a group must have received in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// Every subscriber receives every message.
    Each,
    /// Every message goes to one of the subscribers.
    Shared,
    /// Nobody listens.
    Nobody,
}

/// Publishers and the subscribers that hear them, as indices of connections.
#[derive(Debug, Clone, Default)]
pub(crate) struct Group {
    pub(crate) publishers: Vec<usize>,
    pub(crate) subscribers: Vec<usize>,
}

/// How long a section is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Amount {
    /// So many messages by all publishers together.
    Messages(u64),
    Time(Duration),
}

/// What a section moved, all of it verified.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Section {
    pub(crate) published: u64,
    pub(crate) delivered: u64,
    /// Payload bytes that arrived.
    pub(crate) delivered_bytes: u64,
    pub(crate) elapsed: Duration,
    /// Time in turns that moved bytes; the rest was waiting for the server.
    pub(crate) busy: Duration,
    pub(crate) reads: Calls,
    pub(crate) writes: Calls,
}

/// A connection's part.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) conn: Conn,
    pub(crate) source: Option<Source>,
    pub(crate) group: usize,
}

#[derive(Debug)]
pub(crate) struct Flow {
    conns: Vec<Conn>,
    sources: Vec<Option<Source>>,
    group_of: Vec<usize>,
    groups: Vec<Group>,
    delivery: Delivery,
    /// Bytes of publishes that a group's slowest subscriber may lag behind.
    window: u64,
    poller: Poller,
    buffer: Vec<u8>,
    /// PONGs that complete the barrier under way, by connection.
    awaited: Vec<u64>,
    turns: u64,
}

impl Flow {
    pub(crate) fn new(
        members: Vec<Member>,
        delivery: Delivery,
        window: u64,
    ) -> Result<Self, Failure> {
        let count = members.iter().map(|member| member.group + 1).max().unwrap_or(0);
        let mut groups = vec![Group::default(); count];
        let (mut conns, mut sources, mut group_of) = (Vec::new(), Vec::new(), Vec::new());
        for (index, Member { conn, source, group }) in members.into_iter().enumerate() {
            let list = &mut groups[group];
            let role = if source.is_some() { &mut list.publishers } else { &mut list.subscribers };
            role.push(index);
            conns.push(conn);
            sources.push(source);
            group_of.push(group);
        }
        let largest = sources.iter().flatten().map(Source::frame_len).max().unwrap_or(0);
        let window = (window / count.max(1) as u64).max(GROUP_WINDOW_MIN).max(4 * largest);
        let poller = Poller::new(&conns, |index| sources[index].is_some())?;
        let awaited = vec![0; conns.len()];
        let buffer = vec![0; READ_MAX];
        Ok(Self {
            conns,
            sources,
            group_of,
            groups,
            delivery,
            window,
            poller,
            buffer,
            awaited,
            turns: 0,
        })
    }

    pub(crate) fn conns(&mut self) -> &mut [Conn] {
        &mut self.conns
    }

    pub(crate) fn into_conns(self) -> Vec<Conn> {
        self.conns
    }

    fn publishers(&self) -> usize {
        self.sources.iter().flatten().count()
    }

    /// Waits until the server has worked through everything sent on these connections so far.
    pub(crate) fn barrier(&mut self, of: impl Fn(usize) -> bool) -> Result<(), Failure> {
        for (index, conn) in self.conns.iter_mut().enumerate().filter(|(index, _)| of(*index)) {
            self.awaited[index] = conn.pongs + 1;
            conn.queue().extend_from_slice(b"PING\r\n");
        }
        let mut moved_at = Instant::now();
        while !self.is_answered() {
            if self.turn(true)? > 0 {
                moved_at = Instant::now();
            }
            self.check_stall(moved_at)?;
        }
        Ok(())
    }

    /// Runs one section to its end: every publish answered by PONG and every message received.
    pub(crate) fn section(&mut self, amount: Amount) -> Result<Section, Failure> {
        let before = Calls::of(&self.conns);
        let deadline = self.begin(amount);
        let started = Instant::now();
        let (mut moved_at, mut last, mut busy) = (started, started, Duration::ZERO);
        let (mut stopping, mut progress) = (false, Progress::start());
        loop {
            let finishing = stopping && self.sources.iter().flatten().all(Source::is_done);
            let moved = self.turn(finishing)?;
            let now = Instant::now();
            if moved > 0 {
                moved_at = now;
                busy += now - last;
            }
            last = now;
            progress.tick(now, || {
                let sent: u64 = self.sources.iter().flatten().map(Source::messages).sum();
                format!("{:.0} s, {sent} published", (now - started).as_secs_f64())
            });
            if deadline.is_some_and(|length| now - started >= length) {
                self.sources.iter_mut().flatten().for_each(Source::stop);
            }
            if self.sources.iter().flatten().all(Source::is_done) && !stopping {
                stopping = true;
                self.ask_publishers();
            }
            if finishing && self.is_answered() && self.is_delivered()? {
                break;
            }
            self.check_stall(moved_at)?;
        }
        let elapsed = started.elapsed();
        let section = self.total(before, elapsed, busy);
        // Whatever was sent too often is in front of these PONGs.
        self.barrier(|_| true)?;
        assert!(self.is_delivered()?, "a count that was reached is not lost again");
        Ok(section)
    }

    fn begin(&mut self, amount: Amount) -> Option<Duration> {
        let publishers = self.publishers() as u64;
        let mut first = true;
        for source in self.sources.iter_mut().flatten() {
            source.restart(match amount {
                Amount::Time(_) => u64::MAX,
                Amount::Messages(total) if first => total / publishers + total % publishers,
                Amount::Messages(total) => total / publishers,
            });
            first = false;
        }
        self.conns.iter_mut().for_each(|conn| conn.scanner.restart());
        match amount {
            Amount::Time(length) => Some(length),
            Amount::Messages(_) => None,
        }
    }

    fn ask_publishers(&mut self) {
        for (index, conn) in self.conns.iter_mut().enumerate() {
            if self.sources[index].is_some() {
                self.awaited[index] = conn.pongs + 1;
                conn.queue().extend_from_slice(b"PING\r\n");
            }
        }
    }

    /// One pass over the connections that may move; answers the bytes moved.
    fn turn(&mut self, listen: bool) -> Result<usize, Failure> {
        self.turns += 1;
        let listen = listen || self.turns.is_multiple_of(LISTEN_TURNS);
        let Self { conns, sources, groups, group_of, poller, buffer, .. } = self;
        let mut moved = 0;
        for &Ready { index, readable, writable } in poller.ready()? {
            if readable && (listen || sources[index].is_none()) {
                moved += conns[index].receive(buffer, |_| {})?;
            }
            if writable && sources[index].as_ref().is_some_and(|source| !source.is_done()) {
                let group = &groups[group_of[index]];
                let room = room(self.delivery, self.window, group, conns, sources);
                let source = sources[index].as_mut().expect("looked at above");
                moved += publish(&mut conns[index], source, room)?;
            }
        }
        if listen {
            for (conn, source) in conns.iter_mut().zip(sources) {
                if conn.has_queued() && source.as_ref().is_none_or(|source| source.cut() == 0) {
                    conn.flush()?;
                }
            }
        }
        Ok(moved)
    }

    fn is_answered(&self) -> bool {
        self.conns.iter().zip(&self.awaited).all(|(conn, awaited)| conn.pongs >= *awaited)
    }

    /// Whether every group has received what it published; more than that is an error.
    fn is_delivered(&self) -> Result<bool, Failure> {
        for group in &self.groups {
            let published = published(group, &self.sources);
            let received = |index: &usize| self.conns[*index].scanner.messages();
            let (least, most) = match self.delivery {
                Delivery::Nobody => continue,
                Delivery::Shared => {
                    let sum = group.subscribers.iter().map(received).sum::<u64>();
                    (sum, sum)
                }
                Delivery::Each => {
                    let least = group.subscribers.iter().map(received).min().unwrap_or(0);
                    (least, group.subscribers.iter().map(received).max().unwrap_or(0))
                }
            };
            if most > published {
                let what = format!("{published} published, {most} received");
                return Err(Failure::Mismatch(what));
            }
            if least < published {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn check_stall(&self, moved_at: Instant) -> Result<(), Failure> {
        if moved_at.elapsed() < STALL_MAX {
            return Ok(());
        }
        let published: u64 = self.groups.iter().map(|group| published(group, &self.sources)).sum();
        let received: u64 = self.conns.iter().map(|conn| conn.scanner.messages()).sum();
        Err(Failure::Stalled(format!("{published} published, {received} received")))
    }

    fn total(&self, before: (Calls, Calls), elapsed: Duration, busy: Duration) -> Section {
        let (reads, writes) = Calls::of(&self.conns);
        Section {
            published: self.sources.iter().flatten().map(Source::messages).sum(),
            delivered: self.conns.iter().map(|conn| conn.scanner.messages()).sum(),
            delivered_bytes: self.conns.iter().map(|conn| conn.scanner.payload_bytes()).sum(),
            elapsed,
            busy,
            reads: reads.since(before.0),
            writes: writes.since(before.1),
        }
    }
}

fn published(group: &Group, sources: &[Option<Source>]) -> u64 {
    let of = |index: &usize| sources[*index].as_ref().map_or(0, Source::messages);
    group.publishers.iter().map(of).sum()
}

/// Bytes the group's publishers may send now. Room that is not worth a write is withheld, so that
/// batches stay large.
fn room(
    delivery: Delivery,
    window: u64,
    group: &Group,
    conns: &[Conn],
    sources: &[Option<Source>],
) -> u64 {
    let received = group.subscribers.iter().map(|index| conns[*index].scanner.messages());
    let received = match delivery {
        Delivery::Nobody => return u64::MAX,
        Delivery::Each => received.min().unwrap_or(0),
        Delivery::Shared => received.sum(),
    };
    let first = sources[group.publishers[0]].as_ref().expect("publishers have sources");
    let behind = (published(group, sources).saturating_sub(received)) * first.frame_len();
    let room = window.saturating_sub(behind);
    if room < window / 8 { 0 } else { room }
}

/// Writes once; control lines go first, but never inside a frame.
fn publish(conn: &mut Conn, source: &mut Source, room: u64) -> Result<usize, Failure> {
    let mut room = room.max(source.cut());
    if conn.has_queued() {
        room = source.cut();
        if room == 0 && !conn.flush()? {
            return Ok(0);
        }
    }
    let bytes = source.next(room);
    if bytes.is_empty() {
        return Ok(0);
    }
    let count = conn.send(bytes)?;
    source.advance(count);
    Ok(count)
}
