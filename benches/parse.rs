//! `wire::step` over input as clients write it.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use wire::{Step, step};

const OPERATIONS: usize = 1000;

/// Reads all of the input, payloads skipped. Returns the operations in it.
fn read(input: &[u8]) -> usize {
    let (mut at, mut count) = (0, 0);
    while at < input.len() {
        at += match step(&input[at..], 4096) {
            Step::Publish(line) => black_box(line).line_bytes + line.size + 2,
            Step::Operation(operation, bytes) => {
                black_box(operation);
                bytes
            }
            other => panic!("the input is whole: {other:?}"),
        };
        count += 1;
    }
    count
}

fn parse(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse");
    group.throughput(Throughput::Elements(OPERATIONS as u64));
    let loads = [
        ("pub, 16 bytes", "PUB foo.bar 16\r\n0123456789abcdef\r\n"),
        ("pub with reply", "PUB foo.bar _INBOX.abcdef.12 16\r\n0123456789abcdef\r\n"),
        ("hpub", "HPUB foo.bar 12 28\r\nNATS/1.0\r\n\r\n0123456789abcdef\r\n"),
        ("sub", "SUB foo.* workers 12\r\n"),
        ("ping", "PING\r\n"),
    ];
    for (name, operation) in loads {
        let input = operation.repeat(OPERATIONS);
        assert_eq!(read(input.as_bytes()), OPERATIONS);
        group.bench_function(name, |bencher| bencher.iter(|| read(black_box(input.as_bytes()))));
    }
    group.finish();
}

criterion_group!(benches, parse);
criterion_main!(benches);
