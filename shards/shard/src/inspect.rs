//! What can be seen of a shard from outside.
//!
//! A question is answered a page at a time, one page at the end of each turn, so that ten thousand
//! connections or a million subscriptions never lengthen a turn by more than some tens of
//! microseconds. What is counted on the data path is what was counted anyway.

use std::collections::VecDeque;

use accounts::Permissions;
use base::{AccountId, ConnectionId, Duration, Slot, Time};
use session::{Connection, Peer, Reason, Secured, Statistics};
use subjects::SubId;

use crate::census::Census;
use crate::services::SERVICES;
use crate::shard::Shard;
use crate::stored::StoredCensus;

/// Connections that are counted or compared per turn: about 50 ns each when not in a cache.
const SIGHTED_PER_TURN: usize = 512;
/// Connections that are described per turn: about 300 ns each, for the texts are copied.
const DESCRIBED_PER_TURN: usize = 64;
/// Places of subscriptions that are looked at per turn: about 5 ns each.
const PLACES_PER_TURN: usize = 4096;
/// Subscriptions that are described per turn, at about 150 ns each; a page of places ends once
/// there are as many.
const LISTED_PER_TURN: usize = 256;
/// Subscriptions of a connection that are remembered beyond its end.
const REMEMBERED_PER_CONNECTION: usize = 128;

/// What whoever asked knows a question by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What may be asked.
#[derive(Clone, Debug)]
pub enum Question {
    /// How many of everything?
    Census,
    /// Which connections are there? With what they are to be sorted by.
    Connections(ConnectionFilter, SortKey),
    /// What about these? Those that are gone are left out.
    Describe(Vec<(Slot, ConnectionId)>),
    /// Which subscriptions are there?
    Subscriptions(SubscriptionFilter),
    /// How much is stored?
    Stored,
    /// Which streams are there, and which consumers?
    Streams(jetstream::Wanted),
    /// Would messages on these subjects of an account reach anyone?
    Wanted(AccountId, Vec<Vec<u8>>),
    /// End this connection, if it is still there.
    Kick(Slot, ConnectionId),
    /// Tell this connection to go elsewhere, if it is still there.
    SendAway(Slot, ConnectionId),
}

/// What comes of a [`Question`].
#[derive(Clone, Debug)]
pub enum Answer {
    /// Of [`Question::Census`].
    Census(Box<Census>),
    /// Of [`Question::Connections`].
    Connections(Vec<Sighting>),
    /// Of [`Question::Describe`].
    Described(Vec<ConnectionView>),
    /// Of [`Question::Subscriptions`]: how many there are in all, and those asked for.
    Subscriptions(usize, Vec<SubscriptionView>),
    /// Of [`Question::Stored`]; nothing where nothing is ever stored.
    Stored(Option<Box<StoredCensus>>),
    /// Of [`Question::Streams`].
    Streams(Vec<jetstream::Description>),
    /// Of [`Question::Wanted`], one for each.
    Wanted(Vec<bool>),
    /// Of the others: was the connection there?
    Done(bool),
}

/// Which connections are meant: those that meet every condition.
#[derive(Clone, Debug, Default)]
pub struct ConnectionFilter {
    /// This one.
    pub id: Option<ConnectionId>,
    /// Those of an account.
    pub account: Option<AccountId>,
    /// Those of a user.
    pub user: Option<String>,
}

/// What connections are compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortKey {
    /// Their number.
    Id,
    /// How many subscriptions they have.
    Subscriptions,
    /// How many bytes wait for them.
    Pending,
    /// Messages to them.
    OutMessages,
    /// Messages from them.
    InMessages,
    /// Bytes to them.
    OutBytes,
    /// Bytes from them.
    InBytes,
    /// Their last activity.
    Last,
    /// When they were accepted.
    Opened,
    /// The time to them and back.
    RoundTrip,
}

/// A connection as seen from afar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Its place.
    pub slot: Slot,
    /// Its number.
    pub id: ConnectionId,
    /// What it is compared by: counts, or nanoseconds.
    pub key: u64,
}

/// A connection as seen from near.
#[derive(Clone, Debug, Default)]
pub struct ConnectionView {
    /// Its number.
    pub id: ConnectionId,
    /// Its account.
    pub account: AccountId,
    /// Who is at the other end.
    pub peer: Peer,
    /// When it was accepted.
    pub opened: Time,
    /// When a message last came from it or went to it.
    pub last_activity: Time,
    /// The time to it and back; zero if not known.
    pub round_trip: Duration,
    /// Bytes that wait for it.
    pub pending: usize,
    /// Its counts.
    pub statistics: Statistics,
    /// Its subscriptions.
    pub subscriptions: usize,
    /// What it calls itself.
    pub name: String,
    /// Its library's language.
    pub lang: String,
    /// Its library's version.
    pub version: String,
    /// Its user.
    pub user: String,
    /// Did it come in by WebSocket?
    pub websocket: bool,
    /// What its TLS handshake came to, if there was one, and whether that came before INFO.
    pub secured: Option<(Secured, bool)>,
    /// The JWT that it showed, or nothing.
    pub jwt: String,
    /// What its user may do, if not everything.
    pub permissions: Option<Permissions>,
}

/// A set of places.
#[derive(Clone, Debug, Default)]
pub struct SlotSet(Vec<u64>);

impl SlotSet {
    /// Adds a place.
    pub fn insert(&mut self, slot: Slot) {
        let word = slot.index() / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (slot.index() % 64);
    }

    fn contains(&self, slot: Slot) -> bool {
        let word = self.0.get(slot.index() / 64).copied().unwrap_or_default();
        word & 1 << (slot.index() % 64) != 0
    }
}

impl FromIterator<Slot> for SlotSet {
    fn from_iter<I: IntoIterator<Item = Slot>>(slots: I) -> Self {
        let mut set = Self::default();
        slots.into_iter().for_each(|slot| set.insert(slot));
        set
    }
}

/// Which subscriptions are meant: those that meet every condition.
#[derive(Clone, Debug, Default)]
pub struct SubscriptionFilter {
    /// Those of these connections.
    pub connections: Option<SlotSet>,
    /// Those of an account.
    pub account: Option<AccountId>,
    /// Those that get messages on this subject.
    pub test: Option<Vec<u8>>,
    /// Those whose pattern has a subject in common with this one.
    pub meets: Option<Vec<u8>>,
    /// So many of those are skipped,
    pub offset: usize,
    /// and so many of the next described.
    pub limit: usize,
}

/// A subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubscriptionView {
    /// The connection that made it; of a service of the server's own, number zero.
    pub connection: ConnectionId,
    /// The account that it listens in.
    pub account: AccountId,
    /// Its pattern.
    pub subject: Vec<u8>,
    /// Its queue group, or nothing.
    pub queue: Vec<u8>,
    /// The client's name for it.
    pub sid: Vec<u8>,
    /// Messages delivered.
    pub delivered: u64,
    /// Messages after which it ends; zero for no end.
    pub max: u64,
}

/// What happened to a connection.
#[derive(Clone, Debug)]
pub enum Happening {
    /// It was let in.
    Connected(Box<ConnectionView>),
    /// It was not let in.
    Refused(Box<ConnectionView>, Reason),
    /// It ended.
    Ended(Box<ConnectionView>, Reason, Vec<SubscriptionView>),
}

/// Questions that are not answered yet, the first of them in part.
#[derive(Debug, Default)]
pub(crate) struct Inquiries {
    waiting: VecDeque<(Ticket, Question)>,
    /// The place at which the answer to the first goes on.
    cursor: u32,
    so_far: Option<Answer>,
}

impl Inquiries {
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

impl Shard {
    /// Asks a question. The answer comes among the effects of this turn or one of the next.
    pub fn ask(&mut self, ticket: Ticket, question: Question) {
        self.inquiries.waiting.push_back((ticket, question));
    }

    /// Gets a page further with the first question.
    pub(crate) fn answer_a_page(&mut self) {
        let Some((ticket, question)) = self.inquiries.waiting.pop_front() else { return };
        if self.inquiries.so_far.is_none() {
            self.inquiries.so_far = Some(self.begin_answer(&question));
        }
        let so_far = self.inquiries.so_far.take();
        let mut answer = so_far.expect("an answer was begun");
        let from = self.inquiries.cursor;
        if let Some(next) = self.turn_page(&question, &mut answer, from) {
            assert!(next > from, "a page gets further");
            self.inquiries.cursor = next;
            self.inquiries.so_far = Some(answer);
            self.inquiries.waiting.push_front((ticket, question));
        } else {
            self.inquiries.cursor = 0;
            self.effects.answers.push((ticket, answer));
        }
    }

    fn begin_answer(&self, question: &Question) -> Answer {
        match question {
            Question::Census => Answer::Census(Box::new(self.begin_census())),
            Question::Connections(..) => Answer::Connections(Vec::new()),
            Question::Describe(_) => Answer::Described(Vec::new()),
            Question::Subscriptions(_) => Answer::Subscriptions(0, Vec::new()),
            Question::Stored => Answer::Stored(None),
            Question::Streams(_) => Answer::Streams(Vec::new()),
            Question::Wanted(..) => Answer::Wanted(Vec::new()),
            Question::Kick(..) | Question::SendAway(..) => Answer::Done(false),
        }
    }

    /// Adds a page, and says where the next begins if there is one.
    fn turn_page(&mut self, question: &Question, answer: &mut Answer, from: u32) -> Option<u32> {
        match (question, answer) {
            (Question::Census, Answer::Census(census)) => {
                let (page, next) = self.page_of_connections(from);
                page.for_each(|(_, connection)| census.add(connection));
                next
            }
            (Question::Connections(filter, key), Answer::Connections(found)) => {
                let (page, next) = self.page_of_connections(from);
                let open = page.filter(|(_, connection)| filter.admits(connection));
                found.extend(open.map(|(slot, connection)| Sighting {
                    slot,
                    id: connection.id,
                    key: key.of(connection),
                }));
                next
            }
            (Question::Describe(wanted), Answer::Described(found)) => {
                let page = wanted.iter().skip(from as usize).take(DESCRIBED_PER_TURN);
                found.extend(page.filter_map(|(slot, id)| self.describe(*slot, *id)));
                let next = from as usize + DESCRIBED_PER_TURN;
                (next < wanted.len()).then_some(next as u32)
            }
            (Question::Subscriptions(filter), Answer::Subscriptions(total, found)) => {
                self.page_of_subscriptions(filter, total, found, from)
            }
            (Question::Stored, Answer::Stored(census)) => {
                let jetstream = self.jetstream.as_deref_mut();
                *census = jetstream.map(|jetstream| Box::new(StoredCensus::new(jetstream)));
                None
            }
            (Question::Streams(wanted), Answer::Streams(found)) => {
                self.page_of_streams(*wanted, found, from)
            }
            (Question::Wanted(account, subjects), Answer::Wanted(wanted)) => {
                wanted.extend(subjects.iter().map(|subject| self.is_wanted(*account, subject)));
                None
            }
            (Question::Kick(slot, id), Answer::Done(done)) => {
                *done = self.is_there(*slot, *id);
                if *done {
                    self.wires.end(*slot, Reason::Kicked);
                    self.settle();
                }
                None
            }
            (Question::SendAway(slot, id), Answer::Done(done)) => {
                *done = self.is_there(*slot, *id);
                if *done {
                    self.send_lame_duck_info(*slot);
                }
                None
            }
            _ => unreachable!("an answer is begun for its question"),
        }
    }

    /// Connections of clients from one place on.
    fn page_of_connections(
        &self,
        from: u32,
    ) -> (impl Iterator<Item = (Slot, &Connection)>, Option<u32>) {
        let connections = &self.wires.connections;
        let next = from as usize + SIGHTED_PER_TURN;
        let next = (next < connections.place_count()).then_some(next as u32);
        let page = connections.places_from(from).take(SIGHTED_PER_TURN);
        let page = page.filter(|(_, connection)| connection.id.0 != 0);
        (page.map(|(slot, connection)| (Slot(slot), connection)), next)
    }

    fn page_of_subscriptions(
        &self,
        filter: &SubscriptionFilter,
        total: &mut usize,
        found: &mut Vec<SubscriptionView>,
        from: u32,
    ) -> Option<u32> {
        let (page, next) = self.spaces.subscriptions.page(from, PLACES_PER_TURN);
        let end = filter.offset.saturating_add(filter.limit);
        let before = found.len();
        for (id, subscription) in page {
            let slots = filter.connections.as_ref();
            if slots.is_some_and(|slots| !slots.contains(subscription.connection())) {
                continue;
            }
            if filter.account.is_some_and(|account| account != subscription.account()) {
                continue;
            }
            // A shadow stands for a subscription of its connection that is counted already.
            if slots.is_some() && subscription.is_special() {
                continue;
            }
            let (pattern, queue) = self.spaces.describe(id);
            if !filter.admits_pattern(pattern) {
                continue;
            }
            if (filter.offset..end).contains(total) {
                found.push(self.view_subscription(id, pattern, queue));
            }
            *total += 1;
            if found.len() - before >= LISTED_PER_TURN {
                // Should that have been the last place, the next page is an empty one.
                return Some(id.0 + 1);
            }
        }
        next
    }

    fn view_subscription(&self, id: SubId, pattern: &[u8], queue: &[u8]) -> SubscriptionView {
        let subscriptions = &self.spaces.subscriptions;
        let subscription = subscriptions.get(id);
        let connection = self.wires.get(subscription.connection());
        let is_shadow = subscription.is_special() && connection.id.0 != 0;
        SubscriptionView {
            connection: connection.id,
            // A shadow is its connection's, wherever it falls.
            account: if is_shadow { connection.account } else { subscription.account() },
            subject: pattern.to_vec(),
            queue: queue.to_vec(),
            sid: subscriptions.sids.with(subscription.sid, <[u8]>::to_vec),
            delivered: subscription.delivered(),
            max: subscriptions.max(id),
        }
    }

    fn is_there(&self, slot: Slot, id: ConnectionId) -> bool {
        let found = self.wires.connections.places_from(slot.0).next();
        slot != SERVICES && found.is_some_and(|(_, found)| found.id == id && found.is_open())
    }

    fn describe(&self, slot: Slot, id: ConnectionId) -> Option<ConnectionView> {
        self.is_there(slot, id).then(|| self.view(slot))
    }

    fn view(&self, slot: Slot) -> ConnectionView {
        let connection = self.wires.get(slot);
        let identity = connection.identity.as_deref();
        let text = |text: Option<&String>| text.cloned().unwrap_or_default();
        ConnectionView {
            id: connection.id,
            account: connection.account,
            peer: connection.peer.clone(),
            opened: connection.opened,
            last_activity: connection.last_activity(),
            round_trip: connection.liveness.round_trip,
            pending: connection.outbound.pending(),
            statistics: connection.statistics,
            subscriptions: connection.subscriptions.len(),
            name: text(identity.map(|identity| &identity.name)),
            lang: text(identity.map(|identity| &identity.lang)),
            version: text(identity.map(|identity| &identity.version)),
            user: connection.user().to_owned(),
            jwt: identity.map_or_else(String::new, |identity| identity.jwt().to_owned()),
            permissions: connection.rights.as_ref().map(|it| it.rules().source().clone()),
            websocket: connection.is_websocket(),
            secured: connection.entrance.as_ref().and_then(|entrance| {
                let secured = entrance.secured.clone()?;
                Some((secured, entrance.tls_first))
            }),
        }
    }

    /// Notes that a connection was let in.
    pub(crate) fn note_connected(&mut self, slot: Slot) {
        let view = Box::new(self.view(slot));
        self.effects.happenings.push(Happening::Connected(view));
    }

    /// Notes that a connection came to its end.
    pub(crate) fn note_end(&mut self, slot: Slot, reason: Reason) {
        let view = Box::new(self.view(slot));
        if reason == Reason::AuthenticationFailure {
            self.effects.happenings.push(Happening::Refused(view.clone(), reason));
        }
        let connection = self.wires.get(slot);
        let ids = connection.subscriptions.iter().take(REMEMBERED_PER_CONNECTION);
        let subscriptions = ids.map(|id| {
            let id = SubId(*id);
            let (pattern, queue) = self.spaces.describe(id);
            self.view_subscription(id, pattern, queue)
        });
        let subscriptions = subscriptions.collect();
        self.effects.happenings.push(Happening::Ended(view, reason, subscriptions));
    }

    /// A connection is about to be released, and its counts to be added to those of the past. A
    /// census under way that began before, and has not come to it yet, counts it now: each
    /// connection counts once, and no sum ever falls.
    pub(crate) fn count_released(&mut self, slot: Slot) {
        let cursor = self.inquiries.cursor;
        if let Some(Answer::Census(census)) = &mut self.inquiries.so_far
            && slot.0 >= cursor
        {
            census.count(self.wires.get(slot));
        }
    }
}

impl ConnectionFilter {
    fn admits(&self, connection: &Connection) -> bool {
        let user = connection.user();
        connection.is_open()
            && self.id.is_none_or(|id| id == connection.id)
            && self.account.is_none_or(|account| account == connection.account)
            && self.user.as_ref().is_none_or(|wanted| wanted == user)
    }
}

impl SubscriptionFilter {
    fn admits_pattern(&self, pattern: &[u8]) -> bool {
        self.test.as_ref().is_none_or(|subject| subjects::grammar::matches(pattern, subject))
            && self.meets.as_ref().is_none_or(|other| subjects::grammar::collide(pattern, other))
    }
}

impl SortKey {
    fn of(self, connection: &Connection) -> u64 {
        let statistics = &connection.statistics;
        match self {
            Self::Id => connection.id.0,
            Self::Subscriptions => connection.subscriptions.len() as u64,
            Self::Pending => connection.outbound.pending() as u64,
            Self::OutMessages => statistics.out_messages,
            Self::InMessages => statistics.in_messages,
            Self::OutBytes => statistics.out_bytes,
            Self::InBytes => statistics.in_bytes,
            Self::Last => connection.last_activity().0,
            Self::Opened => connection.opened.0,
            Self::RoundTrip => connection.liveness.round_trip.as_nanos() as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use base::CoreId;

    use super::*;
    use crate::{Config, Effects, Socket};

    fn shard(clients: u16) -> Shard {
        let mut shard = Shard::new(CoreId(0), 1, 7, Config::default(), Time(1));
        for port in 1..=clients {
            shard.accepted(Socket(i32::from(port)), Peer { host: "::1".into(), port });
        }
        shard.end_turn(&mut Effects::default());
        shard
    }

    /// The answer, and the turns that it took.
    fn answer(shard: &mut Shard, question: Question) -> (Answer, usize) {
        shard.ask(Ticket(5), question);
        let mut effects = Effects::default();
        for turn in 1..100 {
            shard.end_turn(&mut effects);
            if let Some((ticket, answer)) = effects.answers.pop() {
                assert_eq!(ticket, Ticket(5));
                return (answer, turn);
            }
            assert!(effects.more, "an unfinished answer keeps the core awake");
        }
        panic!("an answer takes a bounded number of turns");
    }

    #[test]
    fn a_census_takes_a_turn_per_page_and_counts_each_connection_once() {
        let mut shard = shard(1000);
        for slot in 1..=1000 {
            shard.receive(Slot(slot), b"CONNECT {}\r\nPUB a 3\r\nabc\r\n");
        }
        let (Answer::Census(census), turns) = answer(&mut shard, Question::Census) else {
            panic!("a census was asked for");
        };
        assert_eq!(turns, 2);
        assert_eq!((census.accepted, census.accounts[0].connections), (1000, 1000));
        assert_eq!((census.statistics.in_messages, census.statistics.in_bytes), (1000, 3000));
        // One that was counted and one that was not yet go while the next is under way.
        shard.ask(Ticket(6), Question::Census);
        let mut effects = Effects::default();
        shard.end_turn(&mut effects);
        for slot in [7, 900] {
            shard.closed(Slot(slot));
        }
        shard.end_turn(&mut effects);
        let Some((_, Answer::Census(census))) = effects.answers.pop() else {
            panic!("a census was asked for");
        };
        assert_eq!(census.statistics.in_messages, 1000);
        let (Answer::Census(census), _) = answer(&mut shard, Question::Census) else {
            panic!("a census was asked for");
        };
        assert_eq!((census.statistics.in_messages, census.accounts[0].connections), (1000, 998));
    }

    #[test]
    fn connections_are_sighted_and_described() {
        let mut shard = shard(3);
        let connect =
            b"CONNECT {\"name\":\"n\",\"lang\":\"rust\",\"version\":\"1\",\"user\":\"u\"}\r\n";
        shard.receive(Slot(2), connect);
        shard.receive(Slot(2), b"SUB x.* q 7\r\nPUB x.y 2\r\nhi\r\n");
        let filter = ConnectionFilter { user: Some("u".into()), ..ConnectionFilter::default() };
        let (answered, _) = answer(&mut shard, Question::Connections(filter, SortKey::OutMessages));
        let Answer::Connections(found) = answered else { panic!("connections were asked for") };
        let expected = Sighting { slot: Slot(2), id: ConnectionId(2), key: 1 };
        assert_eq!(found, [expected]);
        let wanted = vec![(Slot(2), ConnectionId(2)), (Slot(1), ConnectionId(9))];
        let (Answer::Described(found), _) = answer(&mut shard, Question::Describe(wanted)) else {
            panic!("descriptions were asked for");
        };
        assert_eq!(found.len(), 1);
        assert_eq!(
            (&found[0].name[..], &found[0].lang[..], found[0].subscriptions),
            ("n", "rust", 1)
        );
    }

    #[test]
    fn what_someone_listens_to_is_wanted() {
        let mut shard = shard(1);
        shard.receive(Slot(1), b"CONNECT {\"verbose\":false}\r\nSUB a.* 1\r\n");
        let question = Question::Wanted(AccountId::GLOBAL, vec![b"a.b".to_vec(), b"b".to_vec()]);
        let (Answer::Wanted(wanted), _) = answer(&mut shard, question) else {
            panic!("it was asked what is wanted");
        };
        assert_eq!(wanted, [true, false]);
    }

    #[test]
    fn subscriptions_are_paged_by_offset_and_limit() {
        let mut shard = shard(2);
        shard.receive(Slot(1), b"CONNECT {\"verbose\":false}\r\n");
        for number in 0..10_000 {
            let line = format!("SUB s.{number} {number}\r\n");
            shard.receive(Slot(1), line.as_bytes());
        }
        shard.receive(Slot(2), b"CONNECT {\"verbose\":false}\r\nSUB s.* q long-name-of-it\r\n");
        let mut ask = |filter| match answer(&mut shard, Question::Subscriptions(filter)).0 {
            Answer::Subscriptions(total, found) => (total, found),
            _ => panic!("subscriptions were asked for"),
        };
        let all = SubscriptionFilter { limit: usize::MAX, ..SubscriptionFilter::default() };
        let (total, found) = ask(all.clone());
        assert_eq!((total, found.len()), (10_001, 10_001));
        let (total, window) = ask(SubscriptionFilter { offset: 5000, limit: 3, ..all.clone() });
        assert_eq!((total, &window[..]), (10_001, &found[5000..5003]));
        let test = Some(b"s.77".to_vec());
        let (total, found) = ask(SubscriptionFilter { test, ..all.clone() });
        assert_eq!(total, 2);
        assert_eq!((&found[1].queue[..], &found[1].sid[..]), (&b"q"[..], &b"long-name-of-it"[..]));
        let connections = Some([Slot(2)].into_iter().collect());
        assert_eq!(ask(SubscriptionFilter { connections, ..all.clone() }).0, 1);
        let meets = Some(b"*.77".to_vec());
        assert_eq!(ask(SubscriptionFilter { meets, ..all }).0, 2);
    }

    #[test]
    fn a_kicked_connection_ends_and_says_so() {
        let mut shard = shard(1);
        shard.receive(Slot(1), b"CONNECT {\"verbose\":false}\r\nSUB a 1\r\n");
        shard.end_turn(&mut Effects::default());
        for (id, expected) in [(9, false), (1, true), (1, false)] {
            shard.ask(Ticket(1), Question::Kick(Slot(1), ConnectionId(id)));
            let mut effects = Effects::default();
            shard.end_turn(&mut effects);
            let Some((_, Answer::Done(done))) = effects.answers.pop() else {
                panic!("a kick is answered");
            };
            assert_eq!(done, expected);
            let ended = effects.happenings.iter().any(|happening| {
                matches!(happening, Happening::Ended(view, Reason::Kicked, subscriptions)
                    if view.id == ConnectionId(1) && subscriptions.len() == 1)
            });
            assert_eq!(ended, expected);
        }
    }
}
