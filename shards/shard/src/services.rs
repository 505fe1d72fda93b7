//! The broker's own subscribers: what serves requests inside the server.
//!
//! A service subscribes through a connection of this shard that has no socket. Routing treats it
//! like any other: queue groups, other cores and trains reach it. What it is to get stands in its
//! outbound buffer, each message in an envelope that is read faster than a MSG line.
//! [`Shard::serve`] reads them there and hands each to the one who listens.

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

/// What stands in front of each message for a service: who it is for, and how long its pieces are,
/// which follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Envelope {
    what: What,
    /// The service, or the connection that speaks.
    number: u32,
    subject: u32,
    reply: u32,
    header: u32,
    tail: u32,
    sizes_bytes: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// The messages that follow were sent by a connection.
    From,
    /// No more of them.
    Done,
    /// A message for a service.
    Message(Owner),
}

impl Envelope {
    const BYTES: usize = 24;

    const fn bare(what: What, number: u32) -> Self {
        Self { what, number, subject: 0, reply: 0, header: 0, tail: 0, sizes_bytes: 0 }
    }

    fn of(message: &Message<'_>, (owner, service): (Owner, ServiceId)) -> Self {
        Self {
            what: What::Message(owner),
            number: service.0,
            subject: message.subject.len() as u32,
            reply: message.reply.len() as u32,
            header: message.header as u32,
            tail: message.tail.len() as u32,
            sizes_bytes: u8::try_from(message.sizes_bytes).expect("sizes are a few digits"),
        }
    }

    fn bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        let words = [self.number, self.subject, self.reply, self.header, self.tail];
        for (place, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
            *place = word.to_le_bytes();
        }
        bytes[20] = self.sizes_bytes;
        bytes[21] = match self.what {
            What::From => b'F',
            What::Done => b'D',
            What::Message(owner) => owner.letter(),
        };
        bytes
    }

    /// Takes an envelope off the front. It was written by this shard, so it can be read.
    fn take(rest: &mut &[u8]) -> Self {
        let (bytes, after) = rest.split_first_chunk::<{ Self::BYTES }>().expect("it is whole");
        *rest = after;
        let word = |place: usize| u32::from_le_bytes(bytes.as_chunks().0[place]);
        let what = match bytes[21] {
            b'F' => What::From,
            b'D' => What::Done,
            letter => What::Message(Owner::of(letter)),
        };
        Self {
            what,
            number: word(0),
            subject: word(1),
            reply: word(2),
            header: word(3),
            tail: word(4),
            sizes_bytes: bytes[20],
        }
    }

    /// Takes the message that follows off the front.
    fn open<'a>(&self, rest: &mut &'a [u8]) -> Message<'a> {
        let mut piece = |bytes: u32| {
            let (piece, after) = rest.split_at(bytes as usize);
            *rest = after;
            piece
        };
        Message {
            subject: piece(self.subject),
            reply: piece(self.reply),
            header: self.header as usize,
            tail: piece(self.tail),
            sizes_bytes: usize::from(self.sizes_bytes),
        }
    }
}

/// Bytes that a message takes for a service.
pub(crate) fn enveloped_bytes(message: &Message<'_>) -> usize {
    Envelope::BYTES + message.subject.len() + message.reply.len() + message.tail.len()
}

/// Writes a message for the service of this name to the start of `room`.
pub(crate) fn put_enveloped(room: &mut [u8], message: &Message<'_>, name: &[u8]) {
    let mut cursor = Cursor::new(room);
    cursor.put(&Envelope::of(message, Name::read(name)).bytes());
    cursor.put(message.subject);
    cursor.put(message.reply);
    cursor.put(message.tail);
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
        let envelope = Envelope::bare(What::From, slot.0);
        outbound.extend(&envelope.bytes(), &mut self.pool);
        before
    }

    /// Ends what [`Wires::begin_speech`] began, which leaves nothing behind if no service heard it.
    pub(crate) fn end_speech(&mut self, before: usize) {
        let outbound = &mut self.connections.get_mut(SERVICES.0).outbound;
        if outbound.pending() == before + Envelope::BYTES {
            outbound.cut(before, &mut self.pool);
        } else {
            outbound.extend(&Envelope::bare(What::Done, 0).bytes(), &mut self.pool);
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
            self.serve_enveloped(&bytes[waits]);
            self.wires.pool.give_back(bytes);
            self.progress_jetstream();
        }
        self.settle();
    }

    /// Do services have something to read?
    pub(crate) fn has_services_input(&self) -> bool {
        self.wires.get(SERVICES).outbound.pending() > 0
    }

    fn serve_enveloped(&mut self, bytes: &[u8]) {
        let mut speaker = None;
        let mut rest = bytes;
        while !rest.is_empty() {
            let envelope = Envelope::take(&mut rest);
            match envelope.what {
                What::From => {
                    let slot = Slot(envelope.number);
                    speaker = Some((slot, self.wires.get(slot).id));
                }
                What::Done => speaker = None,
                What::Message(owner) => {
                    let message = envelope.open(&mut rest);
                    self.serve_message(owner, ServiceId(envelope.number), speaker, &message);
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
        self.wires.end_speech(before);
        delivered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_of_their_envelopes_as_they_went_in() {
        let pieces = [
            (&b"a.b"[..], &b""[..], 0, &b"5\r\nhe\nlo\r\n"[..], 3),
            (b"c", b"in", 0, b"0\r\n\r\n", 3),
        ];
        let mut bytes = Vec::new();
        for (subject, reply, header, tail, sizes_bytes) in pieces {
            let message = Message { subject, reply, header, tail, sizes_bytes };
            let start = bytes.len();
            bytes.resize(start + enveloped_bytes(&message), 0);
            put_enveloped(&mut bytes[start..], &message, b"J1234567");
        }
        bytes.extend_from_slice(&Envelope::bare(What::From, 12).bytes());
        let mut rest = &bytes[..];
        for (subject, reply, header, tail, sizes_bytes) in pieces {
            let envelope = Envelope::take(&mut rest);
            assert_eq!(envelope.what, What::Message(Owner::JetStream));
            assert_eq!(envelope.number, 1_234_567);
            let message = envelope.open(&mut rest);
            assert_eq!((message.subject, message.reply), (subject, reply));
            assert_eq!((message.header, message.tail), (header, tail));
            assert_eq!(message.sizes_bytes, sizes_bytes);
        }
        assert_eq!(Envelope::take(&mut rest), Envelope::bare(What::From, 12));
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
