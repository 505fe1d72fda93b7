use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::QueueGroup;

fn fresh() -> (Index, Subscriptions) {
    (Index::new(1, AccountId(3)), Subscriptions::new(1))
}

fn plain_of(index: &mut Index, subject: &[u8]) -> BTreeSet<u32> {
    let route = index.route(subject);
    let lists = index.lists();
    let leaves = lists.leaves(route).flat_map(|leaf| leaf.plain().iter().copied());
    lists.literal(route).chain(leaves).map(|id| id.0).collect()
}

#[test]
fn other_cores_learn_of_the_first_and_the_last() {
    let (mut index, mut all) = fresh();
    let (a, change) = index.subscribe(&mut all, Slot(0), b"1", b"foo", b"").expect("a pattern");
    let Change::Literal { hash, wanted: true } = change else { panic!("{change:?}") };
    let (b, change) = index.subscribe(&mut all, Slot(0), b"2", b"foo", b"").expect("a pattern");
    assert_eq!(change, Change::None);
    assert_eq!(index.unsubscribe(&mut all, a), Change::None);
    assert_eq!(index.unsubscribe(&mut all, b), Change::Literal { hash, wanted: false });

    let (c, change) = index.subscribe(&mut all, Slot(0), b"3", b"foo.*", b"q").expect("a pattern");
    let pattern =
        |weight| Change::Pattern { pattern: (*b"foo.*").into(), queue: (*b"q").into(), weight };
    assert_eq!(change, pattern(1));
    let (d, change) = index.subscribe(&mut all, Slot(1), b"4", b"foo.*", b"q").expect("a pattern");
    assert_eq!(change, pattern(2));
    assert_eq!(index.unsubscribe(&mut all, c), pattern(1));
    assert_eq!(index.unsubscribe(&mut all, d), pattern(0));
    assert!(index.lists.trie.is_empty());
    assert_eq!(index.lists.trie.node_count(), 1, "the root alone is left");
}

#[test]
fn what_other_cores_want_is_routed_until_they_take_it_back() {
    let (mut index, _) = fresh();
    let (mut other, mut all) = fresh();
    let (id, change) = other.subscribe(&mut all, Slot(0), b"1", b"foo", b"").expect("a pattern");
    let Change::Literal { hash, .. } = change else { panic!("{change:?}") };
    index.remote_literal(CoreId(3), hash, true);
    index.remote_pattern(CoreId(2), b"foo.>", b"", 1);
    index.remote_pattern(CoreId(4), b"*.a", b"q", 5);
    assert!(index.route(b"foo").cores.contains(CoreId(3)));
    let route = index.route(b"foo.a");
    assert!(route.cores.contains(CoreId(2)));
    assert!(!route.cores.contains(CoreId(4)), "queue interest is no plain interest");
    assert!(route.indirect);
    let lists = index.lists();
    let groups = lists.leaves(route).flat_map(|leaf| lists.groups(leaf));
    let groups: Vec<_> = groups.map(QueueGroup::remote).collect();
    assert_eq!(groups, [&[(CoreId(4), 5)]]);
    assert_eq!(index.remote_interest(), (1, 2));

    let Change::Literal { hash, wanted: false } = other.unsubscribe(&mut all, id) else { panic!() };
    index.remote_literal(CoreId(3), hash, false);
    index.remote_pattern(CoreId(2), b"foo.>", b"", 0);
    index.remote_pattern(CoreId(4), b"*.a", b"q", 0);
    assert_eq!(index.route(b"foo.a"), Route { cached: 0, ..Route::default() });
    assert_eq!(index.remote_interest(), (0, 0));
}

#[test]
fn many_queue_groups_on_one_pattern_come_and_go() {
    let (mut index, mut all) = fresh();
    let name = |number: usize| format!("q{number}").into_bytes();
    let join = |index: &mut Index, all: &mut Subscriptions, number| {
        index.subscribe(all, Slot(0), b"1", b"foo", &name(number)).expect("a pattern").0
    };
    let ids: Vec<SubId> = (0..100).map(|number| join(&mut index, &mut all, number)).collect();
    let again: Vec<SubId> = (0..100).map(|number| join(&mut index, &mut all, number)).collect();
    let route = index.route(b"foo");
    let leaf = index.lists().leaves(route).next().expect("one pattern");
    assert_eq!(index.lists().groups(leaf).count(), 100);
    for (number, id) in again.iter().enumerate() {
        let group = index.lists().group(leaf, &name(number)).expect("a group of the name");
        assert_eq!(group.members(), [ids[number], *id]);
        assert_eq!(index.lists().queue_of(all.get(*id)), name(number));
        assert_eq!(index.lists().pattern_of(all.get(*id)), b"foo");
    }
    for id in ids.into_iter().chain(again) {
        index.unsubscribe(&mut all, id);
    }
    assert!(index.lists.trie.is_empty());
    assert!(index.lists.trie.groups.is_empty());
}

#[test]
fn a_binding_is_found_with_the_routes_and_no_other_core_learns_of_it() {
    let (mut index, mut all) = fresh();
    index.bind(b"foo", 7).expect("a pattern");
    index.bind(b"foo.*", 8).expect("a pattern");
    let bound = |index: &mut Index, subject: &[u8]| {
        let route = index.route(subject);
        let leaves = index.lists().leaves(route);
        (route.indirect, leaves.flat_map(|leaf| leaf.bindings().to_vec()).collect::<Vec<_>>())
    };
    assert_eq!(bound(&mut index, b"foo"), (true, vec![7]));
    assert_eq!(bound(&mut index, b"foo.x"), (true, vec![8]));
    let (id, change) = index.subscribe(&mut all, Slot(0), b"1", b"foo.*", b"").expect("a pattern");
    assert!(matches!(change, Change::Pattern { weight: 1, .. }), "the first subscription is news");
    index.unbind(b"foo.*", 8);
    assert_eq!(bound(&mut index, b"foo.x"), (false, vec![]));
    index.unsubscribe(&mut all, id);
    index.unbind(b"foo", 7);
    assert!(index.lists.trie.is_empty());
}

#[test]
fn the_memory_of_matches_grows_with_its_use() {
    let (mut index, _) = fresh();
    index.remote_pattern(CoreId(1), b"a.*", b"", 1);
    for number in 0..20_000 {
        let route = index.route(format!("a.{number}").as_bytes());
        assert!(route.cores.contains(CoreId(1)));
    }
    assert!(index.lists.cache.len() > 1000);
    assert!(index.lists.cache.len() <= MATCH_CACHE_MAX);
}

#[test]
fn subjects_that_pass_by_leave_nothing_behind() {
    let (mut index, mut all) = fresh();
    let (id, _) = index.subscribe(&mut all, Slot(0), b"1", b"_INBOX.a.*", b"").expect("a pattern");
    index.remote_pattern(CoreId(1), b"$JS.ACK.S.C.>", b"", 1);
    let version = index.version();
    let plain = |index: &mut Index, subject: &str| -> Vec<SubId> {
        let route = index.route(subject.as_bytes());
        index.lists.leaves(route).flat_map(|leaf| leaf.plain().to_vec()).collect()
    };
    for number in 0..1000 {
        assert_eq!(plain(&mut index, &format!("_INBOX.a.{number}")), [id]);
        assert_eq!(plain(&mut index, &format!("_INBOX.b.{number}")), []);
        let route = index.route(format!("$JS.ACK.S.C.1.{number}").as_bytes());
        assert!(route.cores.contains(CoreId(1)));
        assert!(index.route(b"$JS.ACK.S.D.1").cores.is_empty());
    }
    assert!(index.lists.cache.is_empty());
    assert_eq!(index.version(), version);
    let (second, _) =
        index.subscribe(&mut all, Slot(0), b"2", b"_INBOX.>", b"").expect("a pattern");
    let mut both = plain(&mut index, "_INBOX.a.1");
    both.sort_unstable();
    assert_eq!(both, [id, second]);
    index.unsubscribe(&mut all, id);
    assert_eq!(plain(&mut index, "_INBOX.a.1"), [second]);
    assert_eq!(plain(&mut index, "_INBOX.a..1"), []);
}

#[test]
fn an_invalid_pattern_changes_nothing() {
    let (mut index, mut all) = fresh();
    let version = index.version();
    assert_eq!(index.subscribe(&mut all, Slot(0), b"1", b"a..b", b"").err(), Some(InvalidSubject));
    assert_eq!(index.version(), version);
    assert!(all.is_empty());
}

fn token() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "c", "*", "foo", "_INBOX"])
}

fn pattern() -> impl Strategy<Value = String> {
    (prop::collection::vec(token(), 1..4), any::<bool>()).prop_map(|(mut tokens, open)| {
        if open {
            tokens.push(">");
        }
        tokens.join(".")
    })
}

#[derive(Clone, Debug)]
enum Step {
    Subscribe(String, bool),
    Unsubscribe(prop::sample::Index),
    Route(String),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (pattern(), any::<bool>()).prop_map(|(text, queue)| Step::Subscribe(text, queue)),
        2 => any::<prop::sample::Index>().prop_map(Step::Unsubscribe),
        4 => prop::collection::vec(token(), 0..4).prop_map(|tokens| Step::Route(tokens.join("."))),
    ];
    prop::collection::vec(step, 1..80)
}

proptest! {
    /// The index against a linear scan, after each step.
    #[test]
    fn the_index_agrees_with_a_linear_scan(steps in steps()) {
        let (mut index, mut all) = fresh();
        let mut model: Vec<(SubId, String, bool)> = Vec::new();
        for step in steps {
            match step {
                Step::Subscribe(pattern, queued) => {
                    let queue: &[u8] = if queued { b"q" } else { b"" };
                    let (id, _) = index
                        .subscribe(&mut all, Slot(0), b"1", pattern.as_bytes(), queue)
                        .expect("the strategy makes patterns");
                    model.push((id, pattern, queued));
                }
                Step::Unsubscribe(which) if !model.is_empty() => {
                    let (id, ..) = model.swap_remove(which.index(model.len()));
                    index.unsubscribe(&mut all, id);
                }
                Step::Unsubscribe(_) => {}
                Step::Route(subject) => {
                    let subject = subject.as_bytes();
                    let matching = |queued| {
                        let hits = model.iter().filter(|(_, pattern, is_queued)| {
                            *is_queued == queued && grammar::matches(pattern.as_bytes(), subject)
                        });
                        hits.map(|(id, ..)| id.0).collect::<BTreeSet<_>>()
                    };
                    prop_assert_eq!(plain_of(&mut index, subject), matching(false));
                    let route = index.route(subject);
                    let lists = index.lists();
                    let members = lists.leaves(route).flat_map(|leaf| lists.groups(leaf));
                    let members: BTreeSet<_> =
                        members.flat_map(|group| group.members().iter().map(|id| id.0)).collect();
                    prop_assert_eq!(route.indirect, !members.is_empty());
                    prop_assert_eq!(members, matching(true));
                }
            }
        }
        for (id, ..) in model {
            index.unsubscribe(&mut all, id);
        }
        prop_assert!(all.is_empty());
        prop_assert_eq!(index.lists.trie.node_count(), 1);
        prop_assert_eq!(index.lists.literals.entries.len(), 0);
    }
}
