//! Trains: publishes to one subject that stand one behind the other in the input.
//!
//! Publishers repeat their subject, and a busy one has hundreds of messages in a read. A train is
//! recognised by comparing bytes with the last subject, its subscribers are looked up once, and it
//! is written to each of them in one go: the head of a MSG line is the same for all its messages,
//! and the rest stands in the input as it is to be written. Another core gets the train as one
//! frame.
//!
//! A train is only what cannot be told from single messages: no reply, nothing to acknowledge, to
//! check or to trace, and no connection that would get it twice, since that must see the messages
//! in the order they were published over all its subscriptions.

use base::text::Cursor;
use base::{AccountId, Slot};
use session::Remembered;
use subjects::{Route, Sid, SubId};
use wire::Message;

use crate::frame;
use crate::publish::Origin;
use crate::services::SERVICES;
use crate::shard::Shard;

/// Messages of which a train consists at least; fewer are not worth the look-up.
const MESSAGES_MIN: usize = 2;

/// Longest head: verb, subject, name and three blanks. Subjects that are remembered and names that
/// stand in place fit.
const HEAD_BYTES_MAX: usize = 64;
const _: () = assert!(Remembered::SUBJECT_BYTES_MAX + Sid::SHORT_BYTES_MAX + 6 <= HEAD_BYTES_MAX);

/// Bytes that a message takes at most beyond those of its publish: a name that stands in place and
/// a blank.
const NAME_BYTES_MAX: usize = Sid::SHORT_BYTES_MAX + 1;

/// The messages of a train: where sizes and payload of each stand in the input.
pub(crate) type Tails = Vec<(u32, u32)>;

/// One subscriber of a train.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    slot: Slot,
    id: SubId,
    sid: Sid,
}

/// Lists that live from train to train.
#[derive(Debug, Default)]
pub(crate) struct Lists {
    tails: Tails,
    targets: Vec<Target>,
    /// Counts trains, to find connections that would get one twice.
    number: u64,
}

/// A train as it stands in some input.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Train<'a> {
    pub(crate) account: AccountId,
    pub(crate) subject: &'a [u8],
    pub(crate) input: &'a [u8],
    pub(crate) tails: &'a [(u32, u32)],
    /// Bytes of all payloads.
    pub(crate) payload: usize,
}

impl<'a> Train<'a> {
    /// Sizes, payload and line ends of each message.
    #[inline]
    pub(crate) fn tails(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let input = self.input;
        self.tails.iter().map(move |(start, end)| &input[*start as usize..*end as usize])
    }

    /// Bytes of all tails.
    pub(crate) fn bytes(&self) -> usize {
        self.tails.iter().map(|(start, end)| (end - start) as usize).sum()
    }
}

impl Shard {
    /// Deals with a train at the start of `input`, if there is one. Returns its bytes.
    #[inline]
    pub(crate) fn ride(&mut self, slot: Slot, input: &[u8]) -> usize {
        let connection = self.wires.get(slot);
        let options = connection.options;
        if !input.starts_with(b"PUB ") || options.verbose || options.pedantic || connection.maps {
            return 0;
        }
        let account = connection.account;
        let version = self.spaces.at(account).version();
        let Some((subject, route)) = connection.remembered.recall(version) else {
            return 0;
        };
        if route.indirect || matches!(subject.first(), Some(b'_' | b'$')) || self.config.trace {
            return 0;
        }
        let mut prefix = [0; Remembered::SUBJECT_BYTES_MAX + 5];
        let mut cursor = Cursor::new(&mut prefix);
        cursor.put(b"PUB ");
        cursor.put(subject);
        cursor.byte(b' ');
        let length = cursor.at();
        let prefix = &prefix[..length];
        let starts =
            next_car(input, prefix).and_then(|(_, end, _)| next_car(&input[end..], prefix));
        if starts.is_none() {
            return 0;
        }
        let origin = Some(Origin { slot, echo: options.echo });
        let mut lists = std::mem::take(&mut self.lists);
        // Asked before the whole train is looked at: where the answer is no, it is asked again for
        // the next message.
        let subject = &prefix[4..prefix.len() - 1];
        let taken = if self.board((account, subject), route, origin, &mut lists) {
            self.depart(slot, route, input, prefix, &mut lists)
        } else {
            0
        };
        self.lists = lists;
        taken
    }

    /// Sends the train at the start of `input` to those who have boarded. Returns its bytes.
    fn depart(
        &mut self,
        slot: Slot,
        route: Route,
        input: &[u8],
        prefix: &[u8],
        lists: &mut Lists,
    ) -> usize {
        // Nobody is cut off for want of a flush in the middle of a train.
        let max_payload = self.wires.get(slot).max_payload;
        let limits = (max_payload, self.config.max_control_line, self.wires.pressure_at);
        let (taken, payload) = couple(input, prefix, limits, &mut lists.tails);
        if lists.tails.len() < MESSAGES_MIN {
            return 0;
        }
        let subject = &prefix[4..prefix.len() - 1];
        let account = self.wires.get(slot).account;
        let train = Train { account, subject, input, tails: &lists.tails, payload };
        self.write_train(&lists.targets, &train);
        for core in route.cores.iter() {
            self.outboxes.append(core, |out| frame::put_train(out, &train));
        }
        let connection = self.wires.get_mut(slot);
        connection.statistics.in_messages += train.tails.len() as u64;
        connection.statistics.in_bytes += payload as u64;
        taken
    }

    /// A train came from another core.
    pub(crate) fn accept_train(&mut self, train: &Train<'_>) {
        let account = train.account;
        let route = self.spaces.at(account).route(train.subject);
        let mut lists = std::mem::take(&mut self.lists);
        let boarded = self.board((account, train.subject), route, None, &mut lists);
        if boarded {
            self.write_train(&lists.targets, train);
        }
        self.lists = lists;
        if !boarded {
            for tail in train.tails() {
                // The last delivery to a subscription may change the routes.
                let route = self.spaces.at(account).route(train.subject);
                let message = message_of(train.subject, tail);
                self.deliver_plain(account, route, &message, None);
                if self.scratch.has_apart() {
                    self.deliver_apart(account, &message, None);
                }
                self.end_counted();
            }
        }
    }

    /// Lists the plain subscriptions that a train goes to. False if its messages have to be dealt
    /// with one by one.
    fn board(
        &mut self,
        (account, subject): (AccountId, &[u8]),
        route: Route,
        origin: Option<Origin>,
        lists: &mut Lists,
    ) -> bool {
        lists.number += 1;
        lists.targets.clear();
        let (all, subscriptions) = self.spaces.split(account);
        let plain = all.leaves(route).flat_map(|leaf| leaf.plain().iter().copied());
        for id in all.literal(route).chain(plain) {
            let subscription = subscriptions.get(id);
            let slot = subscription.connection();
            let connection = self.wires.get_mut(slot);
            if !connection.is_open()
                || !Origin::reaches(origin, slot)
                || !connection.admits(subject, b"")
            {
                continue;
            }
            let again = std::mem::replace(&mut connection.train, lists.number) == lists.number;
            if again || !subscription.is_plain() || !subscription.sid.is_short() {
                return false;
            }
            lists.targets.push(Target { slot, id, sid: subscription.sid });
        }
        lists.targets.is_empty() || !self.wires.may_drop()
    }

    /// Writes a train to those who have boarded.
    fn write_train(&mut self, targets: &[Target], train: &Train<'_>) {
        let subscriptions = &mut self.spaces.subscriptions;
        let count = train.tails.len() as u64;
        for target in targets {
            subscriptions.get_mut(target.id).count_plain(count);
            if target.slot == SERVICES {
                for tail in train.tails() {
                    let message = message_of(train.subject, tail);
                    self.wires.deliver(SERVICES, &message, target.sid, &subscriptions.sids);
                }
                continue;
            }
            let mut head = [0; HEAD_BYTES_MAX];
            let mut cursor = Cursor::new(&mut head);
            cursor.put(b"MSG ");
            cursor.put(train.subject);
            cursor.byte(b' ');
            subscriptions.sids.with(target.sid, |sid| cursor.put(sid));
            cursor.byte(b' ');
            let length = cursor.at();
            self.wires.write_train(target.slot, &head[..length], train);
        }
    }
}

/// A message of a train by itself.
pub(crate) fn message_of<'a>(subject: &'a [u8], tail: &'a [u8]) -> Message<'a> {
    let feed = tail.iter().position(|byte| *byte == b'\n');
    let sizes_bytes = feed.expect("sizes end in a line feed") + 1;
    Message { subject, reply: &[], header: 0, tail, sizes_bytes }
}

/// Finds the messages at the start of `input` that begin with `prefix` and are whole, up to a
/// number of bytes as written to a subscriber. Returns their bytes, and the bytes of their
/// payloads.
#[inline]
fn couple(
    input: &[u8],
    prefix: &[u8],
    (max_payload, max_control_line, max_bytes): (usize, usize, usize),
    tails: &mut Tails,
) -> (usize, usize) {
    tails.clear();
    let (mut at, mut payload) = (0, 0);
    while let Some((sizes, end, size)) = next_car(&input[at..], prefix) {
        if size > max_payload
            || end - size - 4 - 4 > max_control_line
            || at + end + (tails.len() + 1) * NAME_BYTES_MAX > max_bytes
        {
            break;
        }
        tails.push(((at + sizes) as u32, (at + end) as u32));
        at += end;
        payload += size;
    }
    (at, payload)
}

/// The next message, if it is one of the train: where its sizes start, where it ends, and the bytes
/// of its payload.
#[inline]
fn next_car(rest: &[u8], prefix: &[u8]) -> Option<(usize, usize, usize)> {
    let head = rest.get(..prefix.len())?;
    if !session::is_same(head, prefix) {
        return None;
    }
    let mut at = prefix.len();
    let mut size = 0;
    loop {
        let digit = rest.get(at)?.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        size = size * 10 + usize::from(digit);
        at += 1;
        // At most nine digits, as everywhere.
        if at - prefix.len() > 9 {
            return None;
        }
    }
    let body = at + 2;
    if at == prefix.len() || rest.get(at..body)? != b"\r\n" {
        return None;
    }
    let end = body + size + 2;
    (rest.get(end - 2..end)? == b"\r\n").then_some((prefix.len(), end, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cars(input: &[u8]) -> (Vec<String>, usize, usize) {
        let mut tails = Tails::new();
        let (taken, payload) = couple(input, b"PUB a.b ", (10, 64, 1000), &mut tails);
        let account = AccountId::GLOBAL;
        let train = Train { account, subject: b"a.b", input, tails: &tails, payload };
        let texts = train.tails().map(|tail| String::from_utf8_lossy(tail).into_owned());
        (texts.collect(), taken, payload)
    }

    #[test]
    fn a_train_ends_where_anything_else_begins() {
        let two = b"PUB a.b 2\r\nhi\r\nPUB a.b 0\r\n\r\n";
        let expected = vec![String::from("2\r\nhi\r\n"), String::from("0\r\n\r\n")];
        for follower in [
            &b""[..],
            b"PING\r\n",
            b"PUB a.c 1\r\nx\r\n",
            b"PUB a.bc 1\r\nx\r\n",
            b"PUB a.b r 1\r\nx\r\n",
            b"PUB a.b  1\r\nx\r\n",
            b"PUB a.b 1 \r\nx\r\n",
            b"PUB a.b 1\nx\r\n",
            b"PUB a.b 3\r\nhi\r\n",
            b"PUB a.b 1\r\nx\rx",
            b"PUB a.b 1\r\nx",
            b"PUB a.b 11\r\nhello world\r\n",
            b"PUB a.b 0000000001\r\nx\r\n",
            b"PUB a.b ",
            b"PUB a.b \r\n\r\n",
            b"pub a.b 1\r\nx\r\n",
        ] {
            let input = [two, follower].concat();
            let (texts, taken, payload) = cars(&input);
            assert_eq!(texts, expected, "{:?}", String::from_utf8_lossy(follower));
            assert_eq!((taken, payload), (two.len(), 2));
        }
    }
}
