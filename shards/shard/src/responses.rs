//! Requests across accounts that wait for a response (spec 3.3).
//!
//! Whoever serves a request of another account sees a reply subject of the broker's own, under
//! which this table finds where the response is to go. It lives on the requestor's core, since its
//! subjects begin with a prefix that only this core listens to.

use ahash::RandomState;
use base::limits::RESPONSES_MAX;
use base::{AccountId, ConnectionId, Duration, Random, Slab, Slot, Time};
use hashbrown::{HashMap, HashTable};

use accounts::ResponseType;

use crate::latency::Sampled;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// What the reply subjects of requests across accounts begin with.
pub(crate) const PREFIX: &[u8] = b"_R_.";

/// The last token of a reply subject whose response is measured.
pub(crate) const MEASURED: &[u8] = b".T";

/// Random characters of a token.
const TOKEN_BYTES: usize = 6;

/// An exported service: its account, and its place among what that exports.
pub(crate) type ExportId = (AccountId, u32);

/// Subject of a reply: `_R_.` and a token that names core and account.
pub(crate) type Prefix = [u8; PREFIX.len() + TOKEN_BYTES];

/// A request that waits.
#[derive(Debug, Default)]
pub(crate) struct Response {
    /// The account of whoever serves it, and the reply subject seen there.
    pub(crate) here: (AccountId, Box<[u8]>),
    /// The account of whoever asks, and the reply subject given there.
    pub(crate) there: (AccountId, Box<[u8]>),
    /// The service.
    pub(crate) export: Option<ExportId>,
    /// How many responses there are.
    pub(crate) kind: ResponseType,
    /// When it was asked for, or last answered.
    pub(crate) since: Time,
    /// How long it waits.
    pub(crate) threshold: Duration,
    /// Is all told of who asks, along a chain of imports?
    pub(crate) share: bool,
    /// Who asks, and what of the time that it takes is to be said.
    pub(crate) sampled: Option<Box<Sampled>>,
    /// Its place among those with the same threshold.
    pub(crate) neighbours: Neighbours,
}

/// The one that has waited for a little longer, and the one that has for a little less.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Neighbours {
    older: Option<u32>,
    newer: Option<u32>,
}

/// Those with the same threshold, in the order in which they come to their end.
#[derive(Debug, Default)]
struct Queue {
    oldest: Option<u32>,
    newest: Option<u32>,
}

/// All requests of this core that wait.
#[derive(Debug)]
pub(crate) struct Responses {
    all: Slab<Response>,
    by_name: HashTable<u32>,
    by_target: HashTable<u32>,
    /// Few services have a threshold of their own.
    queues: HashMap<Duration, Queue, RandomState>,
    hasher: RandomState,
}

impl Responses {
    /// None; the seed is secret.
    pub(crate) fn new(seed: u64) -> Self {
        let hasher = RandomState::with_seeds(seed, !seed, seed.rotate_left(31), 0x5851_f42d);
        Self {
            all: Slab::default(),
            by_name: HashTable::new(),
            by_target: HashTable::new(),
            queues: HashMap::with_hasher(hasher.clone()),
            hasher,
        }
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Is there room for one more?
    pub(crate) fn is_full(&self) -> bool {
        self.all.len() >= RESPONSES_MAX
    }

    /// Adds one that begins to wait now, and that has a name of its own.
    pub(crate) fn add(&mut self, response: Response) -> u32 {
        let (name, target) = (self.hash(&response.here), self.hash(&response.there));
        let id = self.all.insert(response);
        let Self { all, by_name, by_target, hasher, .. } = self;
        by_name.insert_unique(name, id, |id| hash_of(hasher, &all.get(*id).here));
        by_target.insert_unique(target, id, |id| hash_of(hasher, &all.get(*id).there));
        self.enqueue(id);
        id
    }

    /// The one that waits for a message on this subject.
    pub(crate) fn find(&self, account: AccountId, subject: &[u8]) -> Option<u32> {
        let is_it = |id: &u32| {
            let (there, name) = &self.all.get(*id).here;
            *there == account && **name == *subject
        };
        self.by_name.find(self.hasher.hash_one((account, subject)), is_it).copied()
    }

    /// One whose response goes to this subject.
    pub(crate) fn find_target(&self, account: AccountId, subject: &[u8]) -> Option<u32> {
        let is_it = |id: &u32| {
            let (there, target) = &self.all.get(*id).there;
            *there == account && **target == *subject
        };
        self.by_target.find(self.hasher.hash_one((account, subject)), is_it).copied()
    }

    /// Subjects under a pattern that responses go to.
    pub(crate) fn targets(&self, account: AccountId, pattern: &[u8]) -> Vec<Box<[u8]>> {
        let waiting = self.all.places().map(|(_, response)| &response.there);
        // A vacated place has no subject, which no pattern matches.
        let meant = waiting.filter(|(there, target)| {
            *there == account && subjects::grammar::matches(pattern, target)
        });
        meant.map(|(_, target)| target.clone()).collect()
    }

    /// One that waits.
    pub(crate) fn get(&self, id: u32) -> &Response {
        self.all.get(id)
    }

    /// One that waits, to note what has become of its measurement.
    pub(crate) fn get_mut(&mut self, id: u32) -> &mut Response {
        self.all.get_mut(id)
    }

    /// Lets one wait for as long again.
    pub(crate) fn renew(&mut self, id: u32, now: Time) {
        self.dequeue(id);
        self.all.get_mut(id).since = now;
        self.enqueue(id);
    }

    /// Takes one out.
    pub(crate) fn remove(&mut self, id: u32) -> Response {
        self.dequeue(id);
        let response = self.all.remove(id);
        for (table, key) in
            [(&mut self.by_name, &response.here), (&mut self.by_target, &response.there)]
        {
            let found = table.find_entry(hash_of(&self.hasher, key), |other| *other == id);
            found.expect("what waits stands under both its names").remove();
        }
        response
    }

    /// The one that has waited for the longest of those with the shortest time left.
    pub(crate) fn first(&self) -> Option<u32> {
        let oldest = self.queues.values().filter_map(|queue| queue.oldest);
        oldest.min_by_key(|id| (self.due(*id), *id))
    }

    /// The next moment at which one has waited for long enough.
    pub(crate) fn next_due(&self) -> Time {
        self.first().map_or(Time::NEVER, |id| self.due(id))
    }

    fn due(&self, id: u32) -> Time {
        let response = self.all.get(id);
        response.since.after(response.threshold)
    }

    fn hash(&self, key: &(AccountId, Box<[u8]>)) -> u64 {
        hash_of(&self.hasher, key)
    }

    fn enqueue(&mut self, id: u32) {
        let threshold = self.all.get(id).threshold;
        let queue = self.queues.entry(threshold).or_default();
        let before = queue.newest.replace(id);
        match before {
            Some(before) => self.all.get_mut(before).neighbours.newer = Some(id),
            None => queue.oldest = Some(id),
        }
        self.all.get_mut(id).neighbours = Neighbours { older: before, newer: None };
    }

    fn dequeue(&mut self, id: u32) {
        let Response { neighbours: Neighbours { older, newer }, threshold, .. } = *self.all.get(id);
        let queue = self.queues.get_mut(&threshold).expect("what waits is in a queue");
        match older {
            Some(older) => self.all.get_mut(older).neighbours.newer = newer,
            None => queue.oldest = newer,
        }
        match newer {
            Some(newer) => self.all.get_mut(newer).neighbours.older = older,
            None => queue.newest = older,
        }
        if queue.oldest.is_none() {
            self.queues.remove(&threshold);
        }
    }
}

fn hash_of(hasher: &RandomState, (account, subject): &(AccountId, Box<[u8]>)) -> u64 {
    hasher.hash_one((account, &**subject))
}

/// A prefix for the replies of one account on one core.
pub(crate) fn new_prefix(core: base::CoreId, random: &mut Random) -> Prefix {
    let mut prefix = [0; PREFIX.len() + TOKEN_BYTES];
    prefix[..PREFIX.len()].copy_from_slice(PREFIX);
    put_token(&mut prefix[PREFIX.len()..], random);
    // No two cores may have the same.
    prefix[PREFIX.len()] = DIGITS[core.index() % DIGITS.len()];
    prefix
}

/// A reply subject under a prefix; `server` ends one that is measured.
pub(crate) fn new_name(prefix: &Prefix, server: Option<&str>, random: &mut Random) -> Box<[u8]> {
    let mut name = Vec::with_capacity(prefix.len() + 1 + TOKEN_BYTES + 11);
    name.extend_from_slice(prefix);
    name.push(b'.');
    let at = name.len();
    name.resize(at + TOKEN_BYTES, 0);
    put_token(&mut name[at..], random);
    if let Some(server) = server {
        name.push(b'.');
        name.extend_from_slice(server.as_bytes());
        name.extend_from_slice(MEASURED);
    }
    name.into()
}

fn put_token(token: &mut [u8], random: &mut Random) {
    let mut number = random.next_u64();
    for place in token {
        *place = DIGITS[(number % DIGITS.len() as u64) as usize];
        number /= DIGITS.len() as u64;
    }
}

/// A connection, and its number to tell whether it is still the one that is meant.
pub(crate) type Requestor = (Slot, ConnectionId);

#[cfg(test)]
mod tests {
    use super::*;

    const A: AccountId = AccountId(2);
    const B: AccountId = AccountId(3);

    fn response(name: &str, target: &str, since: u64, threshold: u64) -> Response {
        Response {
            here: (B, name.as_bytes().into()),
            there: (A, target.as_bytes().into()),
            since: Time(since),
            threshold: Duration::from_nanos(threshold),
            ..Response::default()
        }
    }

    #[test]
    fn what_waits_is_found_by_either_name() {
        let mut responses = Responses::new(1);
        let first = responses.add(response("_R_.a.1", "in.1", 1, 100));
        let second = responses.add(response("_R_.a.2", "in.1", 2, 100));
        assert_eq!(responses.find(B, b"_R_.a.1"), Some(first));
        assert_eq!(responses.find(A, b"_R_.a.1"), None);
        assert!(responses.find_target(A, b"in.1").is_some());
        assert_eq!(responses.targets(A, b"in.*").len(), 2);
        assert_eq!(responses.targets(B, b">").len(), 0);
        responses.remove(first);
        assert_eq!(responses.find(B, b"_R_.a.1"), None);
        assert_eq!(responses.find_target(A, b"in.1"), Some(second));
        responses.remove(second);
        assert_eq!(responses.find_target(A, b"in.1"), None);
        assert_eq!((responses.len(), responses.next_due()), (0, Time::NEVER));
    }

    #[test]
    fn the_first_to_end_is_the_first_whatever_its_threshold() {
        let mut responses = Responses::new(1);
        let ids: Vec<u32> = [(1, 100), (2, 100), (3, 10), (50, 10)]
            .iter()
            .map(|(since, threshold)| {
                responses.add(response(&format!("_R_.a.{since}"), "in", *since, *threshold))
            })
            .collect();
        assert_eq!((responses.first(), responses.next_due()), (Some(ids[2]), Time(13)));
        responses.renew(ids[2], Time(70));
        assert_eq!(responses.first(), Some(ids[3]));
        responses.remove(ids[3]);
        assert_eq!((responses.first(), responses.next_due()), (Some(ids[2]), Time(80)));
        responses.renew(ids[2], Time(200));
        responses.remove(ids[0]);
        assert_eq!((responses.first(), responses.next_due()), (Some(ids[1]), Time(102)));
    }

    #[test]
    fn names_are_those_of_the_reference() {
        let mut random = Random::new(3);
        let prefix = new_prefix(base::CoreId(5), &mut random);
        assert_eq!(&prefix[..5], b"_R_.5");
        let name = new_name(&prefix, None, &mut random);
        assert_eq!((name.len(), &name[..10]), (17, &prefix[..]));
        let measured = new_name(&prefix, Some("serverid"), &mut random);
        assert!(measured.ends_with(b".serverid.T"));
        assert_ne!(measured[..17], name[..]);
    }
}
