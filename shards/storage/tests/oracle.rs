//! A log against a plain list of messages, compared after each step.

use base::{Random, Wall};
use storage::{
    Entry, Fetched, KeySet, Kind, LogId, LogOptions, Store, StoreOptions, counted_bytes,
};

/// Is a key one that is looked for?
type Matches = fn(&[u8]) -> bool;

#[derive(Clone, Debug)]
struct Kept {
    sequence: u64,
    wall: i64,
    subject: Vec<u8>,
    header: usize,
    tail: Vec<u8>,
    sizes_bytes: usize,
}

impl Kept {
    fn entry(&self) -> Entry<'_> {
        Entry {
            sequence: self.sequence,
            wall: Wall(self.wall),
            subject: &self.subject,
            header: self.header,
            tail: &self.tail,
            sizes_bytes: self.sizes_bytes,
        }
    }
}

struct Pair {
    random: Random,
    kind: Kind,
    store: Store,
    id: LogId,
    kept: Vec<Kept>,
    first: u64,
    last: u64,
    wall: i64,
    filter: KeySet,
    /// The same, followed by the names of its keys.
    named: KeySet,
    names: Vec<Box<[u8]>>,
}

const KEYS: u64 = 30;

fn matches_filter(subject: &[u8]) -> bool {
    subject.last().is_some_and(|digit| digit % 3 == 0)
}

impl Pair {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let kind = if random.below(2) == 0 { Kind::Memory } else { Kind::File };
        let mut store = Store::new(StoreOptions { seed, ..StoreOptions::default() });
        let id = store.create(b"log", kind, LogOptions::default()).expect("the store is empty");
        let names = (0..KEYS).map(|number| format!("key.{number}").into_bytes());
        let names = names.filter(|name| matches_filter(name)).map(Into::into).collect();
        Self {
            random,
            kind,
            store,
            id,
            kept: Vec::new(),
            first: 0,
            last: 0,
            wall: 1 << 60,
            filter: KeySet::new(),
            named: KeySet::new(),
            names,
        }
    }

    fn pick(&mut self) -> u64 {
        let span = self.last + 2 - self.first.min(self.last);
        self.first + self.random.below(span)
    }

    fn append(&mut self) {
        let gap = if self.random.below(20) == 0 { self.random.below(5) } else { 0 };
        let header = if self.random.below(3) == 0 { self.random.below(40) as usize } else { 0 };
        let payload = self.random.below(2000) as usize;
        let sizes = if header > 0 {
            format!("{header} {}\r\n", header + payload)
        } else {
            format!("{payload}\r\n")
        };
        let mut tail = sizes.clone().into_bytes();
        tail.resize(tail.len() + header + payload, b'x');
        tail.extend_from_slice(b"\r\n");
        let longest = if self.random.below(50) == 0 { 1 << 45 } else { 1 << 20 };
        let step = self.random.below(longest);
        self.wall += step as i64;
        let kept = Kept {
            sequence: self.last + 1 + gap,
            wall: self.wall,
            subject: format!("key.{}", self.random.below(KEYS)).into_bytes(),
            header,
            tail,
            sizes_bytes: sizes.len(),
        };
        self.store.append(self.id, &kept.entry()).expect("nothing is against it");
        self.last = kept.sequence;
        self.kept.push(kept);
    }

    fn step(&mut self) {
        let before = self.kept.len();
        match self.random.below(200) {
            0 => {
                let beyond = self.random.below(3);
                let sequence = self.pick() + beyond;
                self.store.truncate_before(self.id, sequence);
                self.kept.retain(|kept| kept.sequence >= sequence);
                self.last = self.last.max(sequence.saturating_sub(1));
                if self.kept.is_empty() && sequence > self.first {
                    self.first = self.last + 1;
                }
            }
            1 if self.random.below(4) == 0 => {
                let last = self.random.below(100);
                self.store.reset_to(self.id, last + 1, last);
                self.kept.clear();
                (self.first, self.last) = (last + 1, last);
            }
            2..90 => {
                let sequence = if self.random.below(3) == 0 { self.first } else { self.pick() };
                let removed = self.store.remove(self.id, sequence, false).is_some();
                self.kept.retain(|kept| kept.sequence != sequence);
                assert_eq!(removed, self.kept.len() < before);
                if removed && self.kept.is_empty() {
                    self.first = self.last + 1;
                }
            }
            _ => self.append(),
        }
        if let Some(kept) = self.kept.first() {
            self.first = kept.sequence;
        }
    }

    fn compare(&mut self) {
        let log = self.store.log(self.id);
        assert_eq!((log.first(), log.last()), (self.first, self.last));
        assert_eq!(log.messages(), self.kept.len() as u64);
        let bytes: u64 = self.kept.iter().map(|kept| counted_bytes(self.kind, &kept.entry())).sum();
        assert_eq!(log.bytes(), bytes);
        let live: Vec<u64> = self.kept.iter().map(|kept| kept.sequence).collect();
        assert!(log.live().eq(live.iter().copied()));
        let gone = (self.first..=self.last).filter(|sequence| !live.contains(sequence));
        let gone = if live.is_empty() { Vec::new() } else { gone.collect() };
        assert_eq!(log.deleted_count(), gone.len() as u64);
        assert!(log.deleted().flatten().eq(gone));
        self.compare_keys();
        self.compare_scans();
        let probe = self.pick();
        let expected = self.kept.iter().find(|kept| kept.sequence == probe);
        match (self.store.fetch(self.id, probe), expected) {
            (Fetched::Here(entry), Some(kept)) => assert_eq!(entry, kept.entry()),
            (Fetched::Missing, None) => {}
            (fetched, expected) => panic!("{fetched:?} instead of {expected:?}"),
        }
    }

    fn compare_keys(&mut self) {
        let subject = format!("key.{}", self.random.below(KEYS)).into_bytes();
        let of_key: Vec<&Kept> = self.kept.iter().filter(|kept| kept.subject == subject).collect();
        let id = self.store.log(self.id).keys().find(&subject);
        assert_eq!(id.is_some(), !of_key.is_empty());
        let Some(id) = id else { return };
        let settled = self.random.below(2) == 0;
        let seen = self.store.log(self.id).key_state(id).expect("the key has messages");
        let state = if settled { self.store.key_state(self.id, id) } else { None };
        assert_eq!(state.unwrap_or(seen), seen);
        let expected = (of_key[0].sequence, of_key[of_key.len() - 1].sequence, of_key.len() as u64);
        assert_eq!((seen.first, seen.last, seen.count), expected);
        assert_eq!(self.store.log(self.id).keys().text(id), subject);
    }

    fn compare_scans(&mut self) {
        let from = self.pick();
        let log = self.store.log(self.id);
        self.filter.follow(log.keys(), matches_filter);
        self.named.follow_names(log.keys(), &self.names, matches_filter);
        let one = log.keys().find(b"key.7").map(|id| KeySet::one(log.keys(), id));
        let sets: [(Option<&KeySet>, Matches); 4] = [
            (Some(&KeySet::ALL), |_| true),
            (Some(&self.filter), matches_filter),
            (Some(&self.named), matches_filter),
            (one.as_ref(), |subject| subject == b"key.7"),
        ];
        for (set, wanted) in sets {
            let Some(set) = set else { continue };
            let mut after =
                self.kept.iter().filter(|kept| kept.sequence >= from && wanted(&kept.subject));
            assert_eq!(log.count(from, set), after.clone().count() as u64);
            assert_eq!(log.next(from, set), after.next().map(|kept| kept.sequence));
            let mut before = self.kept.iter().rev();
            let found = before.find(|kept| kept.sequence <= from && wanted(&kept.subject));
            assert_eq!(log.previous(from, set), found.map(|kept| kept.sequence));
        }
        if let Some(kept) = self.kept.iter().find(|kept| kept.sequence >= from) {
            let sequence = log.sequence_at(Wall(kept.wall)).expect("there is one at that time");
            let early = self.kept.iter().find(|kept| kept.sequence == sequence).expect("live");
            assert!(sequence <= kept.sequence && kept.wall - early.wall < 1_000_000_000);
            let time = log.time_of(kept.sequence).expect("the message is there");
            assert!((0..1_000_000_000).contains(&(kept.wall - time.0)));
        }
    }
}

#[test]
fn a_log_is_what_a_plain_list_is() {
    for seed in 0..60 {
        let mut pair = Pair::new(seed);
        for step in 0..3000 {
            pair.step();
            if step % 17 == 0 {
                pair.compare();
            }
        }
    }
}
