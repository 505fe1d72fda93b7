//! What cores say to each other. Frames stand one after the other in the byte stream of a lane.
//!
//! Both ends are this server, so a frame that cannot be read is a defect and stops it.

use base::{AccountId, ConnectionId, Duration, Slot};
use session::{Door, Peer};
use wire::Message;

use crate::Socket;
use crate::train::Train;

/// Bytes in front of a frame that give its length, themselves included.
const LENGTH_BYTES: usize = 4;

/// Fields of fixed size in front of a message: length, kind, flags, hops, five sizes, origin,
/// account, and the size of the target.
const MESSAGE_HEAD_BYTES: usize = 43;

/// Flags of a message.
const PLAIN: u8 = 1;
const IMPORTED: u8 = 2;

const MESSAGE: u8 = 1;
const LITERAL: u8 = 2;
const PATTERN: u8 = 3;
const ADOPT: u8 = 4;
const GONE: u8 = 5;
const EVICT: u8 = 6;
const TRAIN: u8 = 7;
const INTRODUCTION: u8 = 8;
const SEAT_WISH: u8 = 9;
const SEAT_ANSWER: u8 = 10;
const SEATS: u8 = 11;
const PRESSED: u8 = 12;
const TRACED: u8 = 13;

/// A frame as read from a lane.
#[derive(Debug)]
pub(crate) enum Frame<'a> {
    Message(Relayed<'a>),
    /// A literal subject is wanted, or no longer, by the core that says so.
    Literal {
        account: AccountId,
        hash: u64,
        wanted: bool,
    },
    /// A pattern or queue group has so many members on the core that says so.
    Pattern {
        account: AccountId,
        weight: u32,
        pattern: &'a [u8],
        queue: &'a [u8],
    },
    /// A fresh connection is handed over.
    Adopt {
        socket: Socket,
        id: ConnectionId,
        door: Door,
        peer: Peer,
    },
    /// A connection that was handed over is gone.
    Gone,
    /// Messages on one subject for all plain subscriptions.
    Train {
        account: AccountId,
        subject: &'a [u8],
        /// Bytes of all payloads.
        payload: u32,
        /// Bytes between two tails.
        gap: u32,
        /// The length of each tail, as four bytes.
        lengths: &'a [u8],
        /// The tails and what stood between them.
        input: &'a [u8],
    },
    /// So many connections are to be closed because the server has too many.
    Evict {
        count: u32,
    },
    /// The core that says so has more to store than its disk takes, or no longer.
    Pressed {
        pressed: bool,
    },
    /// A connection of the core that says so asks for a seat in an account.
    SeatWish {
        account: AccountId,
        slot: Slot,
        id: ConnectionId,
    },
    /// It has one, or there is none.
    SeatAnswer {
        account: AccountId,
        slot: Slot,
        id: ConnectionId,
        granted: bool,
    },
    /// So many seats of an account are held by the core that says so, or were and are free again.
    Seats {
        account: AccountId,
        held: bool,
        count: u32,
    },
    /// A message that is traced, as a frame.
    Traced {
        /// The number of this part of its trace.
        part: u64,
        /// Is it not to arrive?
        only: bool,
        message: &'a [u8],
    },
    /// Who sent the message that follows, as JSON, and the time to it and back.
    Introduction {
        info: &'a [u8],
        round_trip: Duration,
    },
}

/// The way of a message to another core.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way<'a> {
    pub(crate) account: AccountId,
    /// Where it goes, if that is not its subject.
    pub(crate) target: &'a [u8],
    /// Is it for all plain subscriptions?
    pub(crate) plain: bool,
    /// Did it come from another account, by way of a service?
    pub(crate) imported: bool,
    /// How often it was handed on for want of a queue member.
    pub(crate) hops: u8,
    /// The connection that must not get it, if its publisher wants none of its own.
    pub(crate) silent: Option<ConnectionId>,
}

/// A message from another core.
#[derive(Debug)]
pub(crate) struct Relayed<'a> {
    pub(crate) way: Way<'a>,
    pub(crate) message: Message<'a>,
    queues: &'a [u8],
}

impl<'a> Relayed<'a> {
    /// The queue groups of which one member each is to get it.
    pub(crate) fn queues(&self) -> impl Iterator<Item = &'a [u8]> + Clone {
        let mut rest = self.queues;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let name = take_text(&mut rest);
            Some(name)
        })
    }
}

fn open(out: &mut Vec<u8>, kind: u8) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    out.push(kind);
    start
}

fn close(out: &mut [u8], start: usize) {
    let length = u32::try_from(out.len() - start).expect("limits keep frames below 4 GiB");
    out[start..start + LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
}

/// Appends a message for the plain subscriptions, if `plain`, and one member of each queue group,
/// of `target`, or of its subject if that is empty.
pub(crate) fn put_message<'q>(
    out: &mut Vec<u8>,
    way: &Way<'_>,
    message: &Message<'_>,
    queues: impl Iterator<Item = &'q [u8]>,
) {
    let Way { account, target, hops, silent, .. } = *way;
    let start = out.len();
    let number = |value: usize| u32::try_from(value).expect("limits keep sizes below 4 GiB");
    let mut head = [0_u8; MESSAGE_HEAD_BYTES];
    head[4] = MESSAGE;
    head[5] = if way.plain { PLAIN } else { 0 } | if way.imported { IMPORTED } else { 0 };
    head[6] = hops;
    head[7..11].copy_from_slice(&number(message.subject.len()).to_le_bytes());
    head[11..15].copy_from_slice(&number(message.reply.len()).to_le_bytes());
    head[15..19].copy_from_slice(&number(message.header).to_le_bytes());
    head[19..23].copy_from_slice(&number(message.sizes_bytes).to_le_bytes());
    // No connection has the number zero.
    head[27..35].copy_from_slice(&silent.map_or(0, |id| id.0).to_le_bytes());
    head[35..39].copy_from_slice(&account.0.to_le_bytes());
    head[39..43].copy_from_slice(&number(target.len()).to_le_bytes());
    out.reserve(head.len() + message.subject.len() + message.reply.len() + message.tail.len());
    out.extend_from_slice(&head);
    for queue in queues {
        put_text(out, queue);
    }
    let queue_bytes = number(out.len() - start - head.len());
    out[start + 23..start + 27].copy_from_slice(&queue_bytes.to_le_bytes());
    out.extend_from_slice(target);
    out.extend_from_slice(message.subject);
    out.extend_from_slice(message.reply);
    out.extend_from_slice(message.tail);
    close(out, start);
}

/// Appends a message as a part of a trace, if it is one.
pub(crate) fn put_traced(
    out: &mut Vec<u8>,
    part: Option<(u64, bool)>,
    message: impl FnOnce(&mut Vec<u8>),
) {
    let Some((part, only)) = part else { return message(out) };
    let start = open(out, TRACED);
    out.extend_from_slice(&part.to_le_bytes());
    out.push(u8::from(only));
    message(out);
    close(out, start);
}

/// Appends news of a literal subject.
pub(crate) fn put_literal(out: &mut Vec<u8>, account: AccountId, hash: u64, wanted: bool) {
    let start = open(out, LITERAL);
    out.extend_from_slice(&account.0.to_le_bytes());
    out.push(u8::from(wanted));
    out.extend_from_slice(&hash.to_le_bytes());
    close(out, start);
}

/// Appends news of a pattern or queue group.
pub(crate) fn put_pattern(
    out: &mut Vec<u8>,
    account: AccountId,
    pattern: &[u8],
    queue: &[u8],
    weight: u32,
) {
    let start = open(out, PATTERN);
    out.extend_from_slice(&account.0.to_le_bytes());
    out.extend_from_slice(&weight.to_le_bytes());
    put_text(out, pattern);
    put_text(out, queue);
    close(out, start);
}

/// Appends the hand-over of a connection.
pub(crate) fn put_adopt(
    out: &mut Vec<u8>,
    socket: Socket,
    id: ConnectionId,
    door: Door,
    peer: &Peer,
) {
    let start = open(out, ADOPT);
    out.extend_from_slice(&socket.0.to_le_bytes());
    out.extend_from_slice(&id.0.to_le_bytes());
    out.push(u8::from(door == Door::WebSocket));
    out.extend_from_slice(&peer.port.to_le_bytes());
    put_text(out, peer.host.as_bytes());
    close(out, start);
}

/// Appends that a connection is gone.
pub(crate) fn put_gone(out: &mut Vec<u8>) {
    let start = open(out, GONE);
    close(out, start);
}

/// Appends that connections are to be closed.
pub(crate) fn put_evict(out: &mut Vec<u8>, count: u32) {
    let start = open(out, EVICT);
    out.extend_from_slice(&count.to_le_bytes());
    close(out, start);
}

/// Appends that there is more to store than the disk takes, or no longer.
pub(crate) fn put_pressed(out: &mut Vec<u8>, pressed: bool) {
    let start = open(out, PRESSED);
    out.push(u8::from(pressed));
    close(out, start);
}

/// Appends a connection's wish for a seat in an account.
pub(crate) fn put_seat_wish(out: &mut Vec<u8>, account: AccountId, slot: Slot, id: ConnectionId) {
    let start = open(out, SEAT_WISH);
    put_member(out, account, slot, id);
    close(out, start);
}

/// Appends the answer to that.
pub(crate) fn put_seat_answer(
    out: &mut Vec<u8>,
    account: AccountId,
    slot: Slot,
    id: ConnectionId,
    granted: bool,
) {
    let start = open(out, SEAT_ANSWER);
    out.push(u8::from(granted));
    put_member(out, account, slot, id);
    close(out, start);
}

fn put_member(out: &mut Vec<u8>, account: AccountId, slot: Slot, id: ConnectionId) {
    out.extend_from_slice(&account.0.to_le_bytes());
    out.extend_from_slice(&slot.0.to_le_bytes());
    out.extend_from_slice(&id.0.to_le_bytes());
}

/// Appends that seats in an account are held, or free again.
pub(crate) fn put_seats(out: &mut Vec<u8>, account: AccountId, held: bool, count: u32) {
    let start = open(out, SEATS);
    out.extend_from_slice(&account.0.to_le_bytes());
    out.push(u8::from(held));
    out.extend_from_slice(&count.to_le_bytes());
    close(out, start);
}

/// Appends who sent the message that follows.
pub(crate) fn put_introduction(out: &mut Vec<u8>, info: &str, round_trip: Duration) {
    let start = open(out, INTRODUCTION);
    out.extend_from_slice(&(round_trip.as_nanos() as u64).to_le_bytes());
    put_text(out, info.as_bytes());
    close(out, start);
}

/// Appends a train for all plain subscriptions.
pub(crate) fn put_train(out: &mut Vec<u8>, train: &Train<'_>) {
    let (Some((first, end)), Some((_, last))) = (train.tails.first(), train.tails.last()) else {
        unreachable!("a train has messages");
    };
    let gap = train.tails.get(1).map_or(0, |(start, _)| start - end);
    let lengths = train.tails.len() * 4;
    let cars = &train.input[*first as usize..*last as usize];
    out.reserve(40 + train.subject.len() + lengths + cars.len());
    let frame = open(out, TRAIN);
    out.extend_from_slice(&train.account.0.to_le_bytes());
    put_text(out, train.subject);
    let payload = u32::try_from(train.payload).expect("a train is short");
    out.extend_from_slice(&payload.to_le_bytes());
    out.extend_from_slice(&gap.to_le_bytes());
    out.extend_from_slice(&u32::try_from(lengths).expect("a train is short").to_le_bytes());
    let mut expected = *first;
    for (from, to) in train.tails {
        assert_eq!(*from, expected, "the cars of a train begin alike");
        out.extend_from_slice(&(to - from).to_le_bytes());
        expected = to + gap;
    }
    // One copy of it all takes less than one a message, although the subjects go along.
    out.extend_from_slice(cars);
    close(out, frame);
}

/// Where each tail of a train stands, so many bytes behind the one before it.
pub(crate) fn tails_of(lengths: &[u8], gap: u32, into: &mut Vec<(u32, u32)>) {
    into.clear();
    let mut at = 0;
    let (lengths, rest) = lengths.as_chunks();
    assert!(rest.is_empty(), "a length has four bytes");
    for length in lengths {
        let end = at + u32::from_le_bytes(*length);
        into.push((at, end));
        at = end + gap;
    }
}

fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    let length = u32::try_from(text.len()).expect("limits keep texts below 4 GiB");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(text);
}

/// The bytes of the frame at the start of `input`, if its length stands there already.
pub(crate) fn length(input: &[u8]) -> Option<usize> {
    let bytes = input.first_chunk::<LENGTH_BYTES>()?;
    Some(u32::from_le_bytes(*bytes) as usize)
}

/// Reads one whole frame.
///
/// # Panics
/// If it was not written by the functions above.
pub(crate) fn read(frame: &[u8]) -> Frame<'_> {
    assert_eq!(length(frame), Some(frame.len()), "a frame is as long as it says");
    let mut rest = &frame[LENGTH_BYTES..];
    let [kind] = take_array(&mut rest);
    match kind {
        MESSAGE => read_message(rest),
        LITERAL => {
            let account = take_account(&mut rest);
            let [wanted] = take_array(&mut rest);
            let hash = u64::from_le_bytes(take_array(&mut rest));
            Frame::Literal { account, wanted: wanted == 1, hash }
        }
        PATTERN => Frame::Pattern {
            account: take_account(&mut rest),
            weight: take_number(&mut rest),
            pattern: take_text(&mut rest),
            queue: take_text(&mut rest),
        },
        ADOPT => {
            let socket = Socket(i32::from_le_bytes(take_array(&mut rest)));
            let id = ConnectionId(u64::from_le_bytes(take_array(&mut rest)));
            let [websocket] = take_array(&mut rest);
            let door = if websocket == 1 { Door::WebSocket } else { Door::Client };
            let port = u16::from_le_bytes(take_array(&mut rest));
            let host = String::from_utf8_lossy(take_text(&mut rest)).into_owned();
            Frame::Adopt { socket, id, door, peer: Peer { host, port } }
        }
        GONE => Frame::Gone,
        TRAIN => Frame::Train {
            account: take_account(&mut rest),
            subject: take_text(&mut rest),
            payload: take_number(&mut rest),
            gap: take_number(&mut rest),
            lengths: take_text(&mut rest),
            input: rest,
        },
        EVICT => Frame::Evict { count: take_number(&mut rest) },
        PRESSED => Frame::Pressed { pressed: rest == [1] },
        SEAT_WISH => {
            let (account, slot, id) = take_member(&mut rest);
            Frame::SeatWish { account, slot, id }
        }
        SEAT_ANSWER => {
            let [granted] = take_array(&mut rest);
            let (account, slot, id) = take_member(&mut rest);
            Frame::SeatAnswer { account, slot, id, granted: granted == 1 }
        }
        SEATS => {
            let account = take_account(&mut rest);
            let [held] = take_array(&mut rest);
            Frame::Seats { account, held: held == 1, count: take_number(&mut rest) }
        }
        TRACED => {
            let part = u64::from_le_bytes(take_array(&mut rest));
            let [only] = take_array(&mut rest);
            Frame::Traced { part, only: only == 1, message: rest }
        }
        INTRODUCTION => {
            let round_trip = Duration::from_nanos(u64::from_le_bytes(take_array(&mut rest)));
            Frame::Introduction { round_trip, info: take_text(&mut rest) }
        }
        other => panic!("a frame of kind {other} came over a lane"),
    }
}

fn read_message(mut rest: &[u8]) -> Frame<'_> {
    let [flags, hops] = take_array(&mut rest);
    let mut number = || take_number(&mut rest) as usize;
    let [subject, reply, header, sizes, queues] = std::array::from_fn(|_| number());
    let silent = u64::from_le_bytes(take_array(&mut rest));
    let silent = (silent != 0).then_some(ConnectionId(silent));
    let account = take_account(&mut rest);
    let target = take_number(&mut rest) as usize;
    let mut text = |length| {
        let (text, after) = rest.split_at(length);
        rest = after;
        text
    };
    let (queues, target) = (text(queues), text(target));
    let (subject, reply) = (text(subject), text(reply));
    let message = Message { subject, reply, header, tail: rest, sizes_bytes: sizes };
    let (plain, imported) = (flags & PLAIN != 0, flags & IMPORTED != 0);
    let way = Way { account, target, plain, imported, hops, silent };
    Frame::Message(Relayed { way, message, queues })
}

fn take_array<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    let (array, after) = rest.split_first_chunk().expect("a frame has all its fields");
    *rest = after;
    *array
}

fn take_number(rest: &mut &[u8]) -> u32 {
    u32::from_le_bytes(take_array(rest))
}

fn take_account(rest: &mut &[u8]) -> AccountId {
    AccountId(take_number(rest))
}

fn take_member(rest: &mut &[u8]) -> (AccountId, Slot, ConnectionId) {
    let (account, slot) = (take_account(rest), Slot(take_number(rest)));
    (account, slot, ConnectionId(u64::from_le_bytes(take_array(rest))))
}

fn take_text<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let length = take_number(rest) as usize;
    let (text, after) = rest.split_at(length);
    *rest = after;
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_out_as_it_went_in() {
        let message = Message {
            subject: b"foo.bar",
            reply: b"inbox",
            header: 12,
            tail: b"12 14\r\nNATS/1.0\r\n\r\nhi\r\n",
            sizes_bytes: 7,
        };
        let mut out = b"earlier".to_vec();
        let queues = [&b"q"[..], b"workers"];
        let way = Way {
            account: AccountId(5),
            target: b"target",
            plain: true,
            imported: true,
            hops: 3,
            silent: Some(ConnectionId(9)),
        };
        put_message(&mut out, &way, &message, queues.into_iter());
        let frame = &out[7..];
        assert_eq!(length(frame), Some(frame.len()));
        let Frame::Message(relayed) = read(frame) else { panic!() };
        assert_eq!(relayed.way.target, b"target");
        assert_eq!(relayed.message.subject, message.subject);
        assert_eq!(relayed.message.reply, message.reply);
        assert_eq!(relayed.message.tail, message.tail);
        assert_eq!((relayed.message.header, relayed.message.sizes_bytes), (12, 7));
        let found = relayed.way;
        assert_eq!((found.plain, found.imported, found.hops), (true, true, 3));
        assert_eq!((found.account, found.silent), (AccountId(5), Some(ConnectionId(9))));
        assert_eq!(relayed.queues().collect::<Vec<_>>(), [&b"q"[..], b"workers"]);
    }

    #[test]
    fn the_other_frames() {
        let mut out = Vec::new();
        put_literal(&mut out, AccountId(1), 77, true);
        let Frame::Literal { account: AccountId(1), hash: 77, wanted: true } = read(&out) else {
            panic!()
        };
        out.clear();
        put_pattern(&mut out, AccountId(9), b"a.*", b"q", 9);
        let Frame::Pattern { account, weight: 9, pattern: b"a.*", queue: b"q" } = read(&out) else {
            panic!()
        };
        assert_eq!(account, AccountId(9));
        out.clear();
        let peer = Peer { host: "::1".into(), port: 5 };
        put_adopt(&mut out, Socket(3), ConnectionId(8), Door::WebSocket, &peer);
        let Frame::Adopt {
            socket: Socket(3),
            id: ConnectionId(8),
            door: Door::WebSocket,
            peer: found,
        } = read(&out)
        else {
            panic!()
        };
        assert_eq!(found, peer);
        out.clear();
        put_gone(&mut out);
        assert!(matches!(read(&out), Frame::Gone));
        out.clear();
        put_evict(&mut out, 4);
        assert!(matches!(read(&out), Frame::Evict { count: 4 }));
        out.clear();
        put_pressed(&mut out, true);
        assert!(matches!(read(&out), Frame::Pressed { pressed: true }));
        out.clear();
        let (account, slot, connection) = (AccountId(3), Slot(9), ConnectionId(77));
        put_seat_wish(&mut out, account, slot, connection);
        let Frame::SeatWish { account: AccountId(3), slot: Slot(9), id } = read(&out) else {
            panic!()
        };
        assert_eq!(id, connection);
        out.clear();
        put_seat_answer(&mut out, account, slot, connection, true);
        let Frame::SeatAnswer { account: AccountId(3), slot: Slot(9), id, granted: true } =
            read(&out)
        else {
            panic!()
        };
        assert_eq!(id, connection);
        out.clear();
        put_seats(&mut out, account, false, 2);
        assert!(matches!(read(&out), Frame::Seats { held: false, count: 2, .. }));
        out.clear();
        put_introduction(&mut out, "{}", Duration::from_nanos(7));
        let Frame::Introduction { info: b"{}", round_trip } = read(&out) else { panic!() };
        assert_eq!(round_trip, Duration::from_nanos(7));
        assert_eq!(length(&out[..3]), None);
        out.clear();
        let input = b"PUB foo 1\r\nx\r\nPUB foo 2\r\nyz\r\nPING\r\n";
        let (account, tails) = (AccountId(2), [(8, 14), (22, 29)]);
        put_train(&mut out, &Train { account, subject: b"foo", input, tails: &tails, payload: 3 });
        let Frame::Train { account, subject: b"foo", input, payload: 3, gap, lengths } = read(&out)
        else {
            panic!()
        };
        let mut tails = Vec::new();
        tails_of(lengths, gap, &mut tails);
        let train = Train { account, subject: b"foo", input, tails: &tails, payload: 3 };
        assert_eq!(train.tails().collect::<Vec<_>>(), [&b"1\r\nx\r\n"[..], b"2\r\nyz\r\n"]);
    }
}
