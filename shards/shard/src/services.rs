//! The broker's own subscribers: what serves requests inside the server.
//!
//! A service subscribes through a connection of this shard that has no socket. Routing treats it
//! like any other: queue groups, other cores and trains reach it without a branch in the hot path,
//! and what it is to get stands as MSG and HMSG lines in its outbound buffer. [`Shard::serve`]
//! reads them there and hands each to the one who listens.

use base::text::{Cursor, Decimal};
use base::{AccountId, ConnectionId, ServiceId, Slot};
use session::Connection;
use subjects::InvalidSubject;
use wire::Message;

use crate::publish::Origin;
use crate::shard::Shard;
use crate::wires::Wires;

/// The place of the connection that services subscribe with: the first, on every core.
pub(crate) const SERVICES: Slot = Slot(0);

/// Rounds of messages that services may cause each other in one turn. What is left comes in the
/// next, so that a service that talks to itself cannot hold up a core.
const ROUNDS_MAX: usize = 16;

/// Who a service belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The server itself: its requests go to whoever looks after the process.
    System,
    /// What stores messages.
    JetStream,
    /// Whoever waits for answers about who may come in.
    Callout,
}

impl Owner {
    const fn letter(self) -> u8 {
        match self {
            Self::System => b'S',
            Self::JetStream => b'J',
            Self::Callout => b'C',
        }
    }

    fn of(letter: u8) -> Self {
        match letter {
            b'S' => Self::System,
            b'J' => Self::JetStream,
            b'C' => Self::Callout,
            other => panic!("nobody subscribes services under the letter {other}"),
        }
    }
}

/// A request to the server itself, to be answered by whoever looks after the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The service that it is for.
    pub service: ServiceId,
    /// The account that it was made in.
    pub account: AccountId,
    /// The connection that made it, if that is one of this core.
    pub speaker: Option<(Slot, ConnectionId)>,
    /// Its subject.
    pub subject: Vec<u8>,
    /// Where the answer goes, or nothing.
    pub reply: Vec<u8>,
    /// Its header block, or nothing.
    pub header: Vec<u8>,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// What a service's subscription is called: its owner's letter and its number.
struct Name {
    bytes: [u8; 11],
    length: usize,
}

impl Name {
    fn new(owner: Owner, service: ServiceId) -> Self {
        let mut bytes = [0; 11];
        let mut cursor = Cursor::new(&mut bytes);
        cursor.byte(owner.letter());
        cursor.put(Decimal::new(u64::from(service.0)).as_bytes());
        let length = cursor.at();
        Self { bytes, length }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn read(name: &[u8]) -> (Owner, ServiceId) {
        let digits = &name[1..];
        let number = digits.iter().fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
        (Owner::of(name[0]), ServiceId(number))
    }
}

/// The next of the lines that services were written.
#[derive(Debug, PartialEq, Eq)]
enum Line<'a> {
    /// The messages that follow were sent by this connection.
    From(Slot),
    /// No more of them.
    Done,
    /// A message for a subscription.
    Message { name: &'a [u8], subject: &'a [u8], reply: &'a [u8], header: usize, tail: &'a [u8] },
}

/// Whose service a subscription of the server's own is, by its name.
pub(crate) fn owner_of(name: &[u8]) -> Option<(Owner, ServiceId)> {
    // Responses have no number.
    (name.len() > 1).then(|| Name::read(name))
}

impl Wires {
    /// Makes the connection that services subscribe with.
    pub(crate) fn open_services(&mut self) {
        let mut connection = Connection::default();
        connection.options.headers = true;
        // It is never on the list of those to flush: its bytes go nowhere.
        connection.outbound.listed = true;
        let slot = self.connections.insert(connection);
        assert_eq!(Slot(slot), SERVICES, "services are there first");
    }

    /// Notes that what services get now was sent by a connection. Returns how much they had before.
    pub(crate) fn begin_speech(&mut self, slot: Slot) -> usize {
        let outbound = &mut self.connections.get_mut(SERVICES.0).outbound;
        let before = outbound.pending();
        outbound.extend(b"FROM ", &mut self.pool);
        outbound.extend(Decimal::new(u64::from(slot.0)).as_bytes(), &mut self.pool);
        outbound.extend(b"\r\n", &mut self.pool);
        before
    }

    /// Ends what [`Wires::begin_speech`] began, which leaves nothing behind if no service heard it.
    pub(crate) fn end_speech(&mut self, slot: Slot, before: usize) {
        let digits = Decimal::new(u64::from(slot.0)).as_bytes().len();
        let outbound = &mut self.connections.get_mut(SERVICES.0).outbound;
        if outbound.pending() == before + b"FROM \r\n".len() + digits {
            outbound.cut(before, &mut self.pool);
        } else {
            outbound.extend(b"DONE\r\n", &mut self.pool);
        }
    }
}

impl Shard {
    /// A service of this core subscribes. What it is sent comes out of [`Shard::serve`].
    ///
    /// # Errors
    /// If the pattern is no subject that can be subscribed to.
    pub fn listen(
        &mut self,
        account: AccountId,
        pattern: &[u8],
        queue: &[u8],
        owner: Owner,
        service: ServiceId,
    ) -> Result<(), InvalidSubject> {
        let accounts = &mut self.service_accounts[owner as usize];
        let place = service.0 as usize;
        accounts.resize(accounts.len().max(place + 1), AccountId::GLOBAL);
        accounts[place] = account;
        self.add(SERVICES, account, pattern, queue, Name::new(owner, service).as_bytes())
    }

    /// Ends a service's subscription, if it has one.
    pub fn unlisten(&mut self, owner: Owner, service: ServiceId) {
        let name = Name::new(owner, service);
        let connection = self.wires.get(SERVICES);
        if let Some(id) = connection.subscription(name.as_bytes(), &self.spaces.subscriptions) {
            self.remove(SERVICES, id);
        }
    }

    /// Publishes for a service. True if anyone gets it.
    pub fn speak(&mut self, account: AccountId, message: &Message<'_>) -> bool {
        let route = self.spaces.at(account).route(message.subject);
        let delivered = self.deliver(account, route, message, None);
        self.end_counted();
        delivered
    }

    /// Publishes for a service to those who listen to `target`; what they see is the message's own
    /// subject. True if anyone gets it.
    pub fn speak_to(&mut self, account: AccountId, target: &[u8], message: &Message<'_>) -> bool {
        let route = self.spaces.at(account).route(target);
        self.scratch.target.extend_from_slice(target);
        let delivered = self.deliver(account, route, message, None);
        self.scratch.target.clear();
        self.end_counted();
        delivered
    }

    /// Would a message on this subject reach anyone, here or on another core?
    pub fn is_wanted(&mut self, account: AccountId, subject: &[u8]) -> bool {
        let index = self.spaces.at(account);
        let route = index.route(subject);
        let lists = index.lists();
        route.indirect
            || !route.cores.is_empty()
            || lists.literal(route).next().is_some()
            || lists.leaves(route).any(|leaf| !leaf.plain().is_empty())
    }

    /// Lets the services of this core deal with what they were sent. Called before frames are moved
    /// to the lanes, so that what they answer goes out in the same turn.
    pub fn serve(&mut self) {
        self.progress_jetstream();
        for _ in 0..ROUNDS_MAX {
            if !self.has_services_input() {
                break;
            }
            let (bytes, waits) = self.wires.get_mut(SERVICES).outbound.take();
            self.serve_lines(&bytes[waits]);
            self.wires.pool.give_back(bytes);
            self.progress_jetstream();
        }
        self.settle();
    }

    /// Do services have something to read?
    pub(crate) fn has_services_input(&self) -> bool {
        self.wires.get(SERVICES).outbound.pending() > 0
    }

    fn serve_lines(&mut self, bytes: &[u8]) {
        let mut speaker = None;
        let mut rest = bytes;
        while !rest.is_empty() {
            match next_line(&mut rest) {
                Line::From(slot) => speaker = Some((slot, self.wires.get(slot).id)),
                Line::Done => speaker = None,
                Line::Message { name, subject, reply, header, tail } => {
                    let feed = tail.iter().position(|byte| *byte == b'\n');
                    let sizes_bytes = feed.expect("sizes end in a line feed") + 1;
                    let message = Message { subject, reply, header, tail, sizes_bytes };
                    let (owner, service) = Name::read(name);
                    self.serve_message(owner, service, speaker, &message);
                }
            }
        }
    }

    fn serve_message(
        &mut self,
        owner: Owner,
        service: ServiceId,
        speaker: Option<(Slot, ConnectionId)>,
        message: &Message<'_>,
    ) {
        let account = self.service_accounts[owner as usize][service.0 as usize];
        match owner {
            Owner::System => {
                let body = message.body();
                self.effects.requests.push(Request {
                    service,
                    account,
                    speaker,
                    subject: message.subject.to_vec(),
                    reply: message.reply.to_vec(),
                    header: body[..message.header].to_vec(),
                    payload: body[message.header..body.len() - 2].to_vec(),
                });
            }
            Owner::JetStream => {
                self.store_message(account, service, speaker.map(|(slot, _)| slot), message);
            }
            Owner::Callout => self.on_answer(message),
        }
    }

    /// Delivers a message whose subject may be a service's, which then knows who sent it.
    pub(crate) fn deliver_spoken(
        &mut self,
        account: AccountId,
        route: subjects::Route,
        message: &Message<'_>,
        origin: Option<Origin>,
        slot: Slot,
    ) -> bool {
        let before = self.wires.begin_speech(slot);
        let delivered = self.deliver(account, route, message, origin);
        self.wires.end_speech(slot, before);
        delivered
    }
}

/// Takes a line off the front. It was written by this shard, so it can be read.
fn next_line<'a>(rest: &mut &'a [u8]) -> Line<'a> {
    let all = *rest;
    let feed = all.iter().position(|byte| *byte == b'\n').expect("lines end");
    let (line, after) = (&all[..feed - 1], &all[feed + 1..]);
    if line == b"DONE" {
        *rest = after;
        return Line::Done;
    }
    let mut words = line.split(|byte| *byte == b' ');
    let mut word = || words.next();
    let verb = word().expect("a line has a verb");
    let subject = word().expect("a line has a second word");
    if verb == b"FROM" {
        *rest = after;
        return Line::From(Slot(number(subject) as u32));
    }
    let name = word().expect("a message has a subscription");
    let mut others: [&[u8]; 3] = [b""; 3];
    let mut count = 0;
    while let Some(word) = word() {
        others[count] = word;
        count += 1;
    }
    let sizes = if verb == b"HMSG" { 2 } else { 1 };
    let reply = if count > sizes { others[0] } else { b"" };
    let header = if sizes == 2 { number(others[count - 2]) } else { 0 };
    let size = number(others[count - 1]);
    let sizes_length = others[count - sizes..count].iter().map(|word| word.len()).sum::<usize>();
    let start = line.len() - sizes_length - (sizes - 1);
    let end = feed + 1 + size + 2;
    *rest = &all[end..];
    Line::Message { name, subject, reply, header, tail: &all[start..end] }
}

fn number(digits: &[u8]) -> usize {
    digits.iter().fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_they_were_written() {
        let text = b"FROM 12\r\nMSG a.b J7 5\r\nhe\nlo\r\nDONE\r\nMSG c S1 inbox 0\r\n\r\n\
            HMSG d J1234567 r 12 14\r\nNATS/1.0\r\n\r\nhi\r\nHMSG e J1 12 12\r\n\
            NATS/1.0\r\n\r\n\r\n";
        let mut rest = &text[..];
        assert_eq!(next_line(&mut rest), Line::From(Slot(12)));
        let message = |name, subject, reply, header, tail| Line::Message {
            name,
            subject,
            reply,
            header,
            tail,
        };
        let expected = message(b"J7", b"a.b", b"", 0, b"5\r\nhe\nlo\r\n");
        assert_eq!(next_line(&mut rest), expected);
        assert_eq!(next_line(&mut rest), Line::Done);
        assert_eq!(next_line(&mut rest), message(b"S1", b"c", b"inbox", 0, b"0\r\n\r\n"));
        let tail = b"12 14\r\nNATS/1.0\r\n\r\nhi\r\n";
        assert_eq!(next_line(&mut rest), message(b"J1234567", b"d", b"r", 12, tail));
        let tail = b"12 12\r\nNATS/1.0\r\n\r\n\r\n";
        assert_eq!(next_line(&mut rest), message(b"J1", b"e", b"", 12, tail));
        assert!(rest.is_empty());
    }

    #[test]
    fn names_hold_owner_and_number() {
        for number in [0, 7, 999_999, u32::MAX] {
            let name = Name::new(Owner::JetStream, ServiceId(number));
            assert_eq!(Name::read(name.as_bytes()), (Owner::JetStream, ServiceId(number)));
        }
    }

    fn shard() -> Shard {
        Shard::new(base::CoreId(0), 1, 7, crate::Config::default(), base::Time(1))
    }

    fn requests(shard: &mut Shard) -> Vec<Request> {
        shard.serve();
        let mut effects = crate::Effects::default();
        shard.end_turn(&mut effects);
        effects.requests
    }

    #[test]
    fn a_service_hears_what_is_said_and_not_after_it_left() {
        let mut shard = shard();
        let account = AccountId::GLOBAL;
        shard.listen(account, b"a.>", b"", Owner::System, ServiceId(4)).expect("a subject");
        let tail = b"12 14\r\nNATS/1.0\r\n\r\nhi\r\n";
        let message = Message { subject: b"a.b", reply: b"r", header: 12, tail, sizes_bytes: 7 };
        assert!(shard.speak(account, &message));
        let heard = requests(&mut shard);
        let expected = Request {
            service: ServiceId(4),
            account,
            speaker: None,
            subject: b"a.b".to_vec(),
            reply: b"r".to_vec(),
            header: b"NATS/1.0\r\n\r\n".to_vec(),
            payload: b"hi".to_vec(),
        };
        assert_eq!(heard, [expected]);
        shard.unlisten(Owner::System, ServiceId(4));
        assert!(!shard.speak(account, &message));
        assert!(!shard.is_wanted(account, b"a.b"));
        assert_eq!(requests(&mut shard), []);
    }

    #[test]
    fn a_client_that_asks_is_known_to_the_service() {
        let mut shard = shard();
        let account = AccountId::GLOBAL;
        shard.listen(account, b"$SYS.REQ.*", b"", Owner::System, ServiceId(1)).expect("a subject");
        shard.accepted(crate::Socket(3), crate::Peer { host: "::1".into(), port: 1 });
        let slot = Slot(1);
        shard.receive(slot, b"CONNECT {\"verbose\":false}\r\nPUB $SYS.REQ.X in 2\r\nhi\r\n");
        shard.receive(slot, b"PUB $SYS.OTHER in 2\r\nhi\r\n");
        let heard = requests(&mut shard);
        assert_eq!(heard.len(), 1);
        assert_eq!(heard[0].speaker, Some((slot, ConnectionId(1))));
        assert_eq!((&heard[0].reply[..], &heard[0].payload[..]), (&b"in"[..], &b"hi"[..]));
        assert!(!shard.has_services_input());
    }
}
