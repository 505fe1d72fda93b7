//! `subjects::Index::route`: literal subjects among a million, patterns, and what is not
//! remembered.

use std::hint::black_box;

use base::{AccountId, CoreId, Random, Slot};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use subjects::{Index, Route, Subscriptions};

const LITERALS: usize = 1_000_000;
/// Routes that one round asks for.
const ROUND: usize = 4096;
/// Subjects that are asked for in turn, drawn at random: together far larger than the cache.
const ASKED: usize = 64 * ROUND;
/// As many as the broker looks up together.
const BATCH: usize = 16;

fn subject(number: usize) -> Vec<u8> {
    format!("orders.{}.{number}", number % 97).into_bytes()
}

fn empty() -> (Index, Subscriptions) {
    (Index::new(7, AccountId::GLOBAL), Subscriptions::new(7))
}

fn filled() -> (Index, Subscriptions) {
    let (mut index, mut all) = empty();
    for number in 0..LITERALS {
        let sid = number.to_string();
        let added = index.subscribe(&mut all, Slot(1), sid.as_bytes(), &subject(number), b"");
        added.expect("the subject is valid");
    }
    (index, all)
}

/// Each subject's route and its first subscription.
fn one_by_one(index: &mut Index, all: &Subscriptions, subjects: &[Vec<u8>]) {
    for subject in subjects {
        let route = black_box(index.route(subject));
        black_box(index.lists().literal(route).next().map(|id| all.get(id).slot));
    }
}

/// The same, with the misses of a batch under way together.
fn in_batches(index: &mut Index, all: &Subscriptions, subjects: &[Vec<u8>]) {
    for batch in subjects.chunks_exact(BATCH) {
        let mut routes = [Route::default(); BATCH];
        let subjects: [&[u8]; BATCH] = std::array::from_fn(|place| &batch[place][..]);
        black_box(index.route_all(all, &subjects, &mut routes, BATCH));
        black_box(&routes);
    }
}

fn route(criterion: &mut Criterion) {
    let (mut index, all) = filled();
    let mut random = Random::new(1);
    let drawn = (0..ASKED).map(|_| random.below(LITERALS as u64) as usize);
    let asked: Vec<Vec<u8>> = drawn.map(subject).collect();
    let mut group = criterion.benchmark_group("route");
    group.throughput(Throughput::Elements(ROUND as u64));
    let mut rounds = asked.chunks_exact(ROUND).cycle();
    group.bench_function("literal of a million", |bencher| {
        bencher.iter(|| one_by_one(&mut index, &all, rounds.next().expect("rounds repeat")));
    });
    group.bench_function("literal of a million, in batches", |bencher| {
        bencher.iter(|| in_batches(&mut index, &all, rounds.next().expect("rounds repeat")));
    });
    index.remote_pattern(CoreId(1), b"orders.*.1", b"", 1);
    group.bench_function("literal of a million, with patterns", |bencher| {
        bencher.iter(|| one_by_one(&mut index, &all, rounds.next().expect("rounds repeat")));
    });
    group.finish();
}

fn patterns(criterion: &mut Criterion) {
    let (mut index, mut all) = empty();
    for number in 0..1000 {
        let pattern = format!("orders.*.{number}.>");
        let added = index.subscribe(&mut all, Slot(1), b"1", pattern.as_bytes(), b"");
        added.expect("the pattern is valid");
    }
    let ask = |number: usize| format!("orders.eu.{}.{number}", number % 1000).into_bytes();
    let mut group = criterion.benchmark_group("pattern");
    group.throughput(Throughput::Elements(1));
    let known = ask(1);
    group.bench_function("remembered", |bencher| {
        bencher.iter(|| index.route(black_box(&known)));
    });
    // Far more subjects than a core remembers, so that each is looked up anew.
    let asked: Vec<Vec<u8>> = (0..16 * base::limits::MATCH_CACHE_MAX).map(ask).collect();
    let mut next = 0;
    group.bench_function("not remembered", |bencher| {
        bencher.iter(|| {
            next = (next + 1) % asked.len();
            index.route(black_box(&asked[next]))
        });
    });
    group.bench_function("nobody's", |bencher| {
        bencher.iter(|| {
            next = (next + 1) % asked.len();
            index.route(black_box(&asked[next][7..]))
        });
    });
    group.finish();
}

criterion_group!(benches, route, patterns);
criterion_main!(benches);
