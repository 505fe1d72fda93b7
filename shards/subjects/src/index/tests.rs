use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::QueueGroup;

fn plain_of(index: &mut Index, subject: &[u8]) -> BTreeSet<u32> {
    let route = index.route(subject);
    let (lists, _) = index.split();
    let leaves = lists.leaves(route).flat_map(|leaf| leaf.plain().iter().copied());
    lists.literal(route).chain(leaves).map(|id| id.0).collect()
}

#[test]
fn other_cores_learn_of_the_first_and_the_last() {
    let mut index = Index::new(1);
    let (a, change) = index.subscribe(Slot(0), b"1", b"foo", b"").expect("a pattern");
    let Change::Literal { hash, wanted: true } = change else { panic!("{change:?}") };
    let (b, change) = index.subscribe(Slot(0), b"2", b"foo", b"").expect("a pattern");
    assert_eq!(change, Change::None);
    assert_eq!(index.unsubscribe(a), Change::None);
    assert_eq!(index.unsubscribe(b), Change::Literal { hash, wanted: false });

    let (c, change) = index.subscribe(Slot(0), b"3", b"foo.*", b"q").expect("a pattern");
    let pattern =
        |weight| Change::Pattern { pattern: (*b"foo.*").into(), queue: (*b"q").into(), weight };
    assert_eq!(change, pattern(1));
    let (d, change) = index.subscribe(Slot(1), b"4", b"foo.*", b"q").expect("a pattern");
    assert_eq!(change, pattern(2));
    assert_eq!(index.unsubscribe(c), pattern(1));
    assert_eq!(index.unsubscribe(d), pattern(0));
    assert!(index.lists.trie.is_empty());
    assert_eq!(index.lists.trie.node_count(), 1, "the root alone is left");
}

#[test]
fn what_other_cores_want_is_routed_until_they_take_it_back() {
    let mut index = Index::new(1);
    let mut other = Index::new(1);
    let (id, change) = other.subscribe(Slot(0), b"1", b"foo", b"").expect("a pattern");
    let Change::Literal { hash, .. } = change else { panic!("{change:?}") };
    index.remote_literal(CoreId(3), hash, true);
    index.remote_pattern(CoreId(2), b"foo.>", b"", 1);
    index.remote_pattern(CoreId(4), b"*.a", b"q", 5);
    assert!(index.route(b"foo").cores.contains(CoreId(3)));
    let route = index.route(b"foo.a");
    assert!(route.cores.contains(CoreId(2)));
    assert!(!route.cores.contains(CoreId(4)), "queue interest is no plain interest");
    assert!(route.queued);
    let groups: Vec<_> =
        index.lists.leaves(route).flat_map(Leaf::queues).map(QueueGroup::remote).collect();
    assert_eq!(groups, [&[(CoreId(4), 5)]]);
    assert_eq!(index.remote_interest(), (1, 2));

    let Change::Literal { hash, wanted: false } = other.unsubscribe(id) else { panic!() };
    index.remote_literal(CoreId(3), hash, false);
    index.remote_pattern(CoreId(2), b"foo.>", b"", 0);
    index.remote_pattern(CoreId(4), b"*.a", b"q", 0);
    assert_eq!(index.route(b"foo.a"), Route { cached: 0, ..Route::default() });
    assert_eq!(index.remote_interest(), (0, 0));
}

#[test]
fn an_invalid_pattern_changes_nothing() {
    let mut index = Index::new(1);
    let version = index.version();
    assert_eq!(index.subscribe(Slot(0), b"1", b"a..b", b"").err(), Some(InvalidSubject));
    assert_eq!(index.version(), version);
    assert!(index.subscriptions().is_empty());
}

fn token() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "c", "*", "foo"])
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
        let mut index = Index::new(7);
        let mut model: Vec<(SubId, String, bool)> = Vec::new();
        for step in steps {
            match step {
                Step::Subscribe(pattern, queued) => {
                    let queue: &[u8] = if queued { b"q" } else { b"" };
                    let (id, _) = index
                        .subscribe(Slot(0), b"1", pattern.as_bytes(), queue)
                        .expect("the strategy makes patterns");
                    model.push((id, pattern, queued));
                }
                Step::Unsubscribe(which) if !model.is_empty() => {
                    let (id, ..) = model.swap_remove(which.index(model.len()));
                    index.unsubscribe(id);
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
                    let members = index.lists.leaves(route).flat_map(Leaf::queues);
                    let members: BTreeSet<_> =
                        members.flat_map(|group| group.members().iter().map(|id| id.0)).collect();
                    prop_assert_eq!(route.queued, !members.is_empty());
                    prop_assert_eq!(members, matching(true));
                }
            }
        }
        for (id, ..) in model {
            index.unsubscribe(id);
        }
        prop_assert!(index.subscriptions().is_empty());
        prop_assert_eq!(index.lists.trie.node_count(), 1);
        prop_assert_eq!(index.lists.literals.entries.len(), 0);
    }
}
