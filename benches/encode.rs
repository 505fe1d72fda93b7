//! `wire::encode::message`: a MSG or HMSG for one subscription.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use wire::{Message, encode};

fn message(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    group.throughput(Throughput::Elements(1));
    let block = "NATS/1.0\r\n\r\n";
    for size in [16, 128, 1024, 64 * 1024] {
        let payload = "x".repeat(size);
        let tail = format!("{size}\r\n{payload}\r\n");
        let plain = Message {
            subject: b"foo.bar",
            reply: b"",
            header: 0,
            tail: tail.as_bytes(),
            sizes_bytes: tail.len() - size - 2,
        };
        let total = block.len() + size;
        let tail = format!("{} {total}\r\n{block}{payload}\r\n", block.len());
        let with_header = Message {
            reply: b"_INBOX.abcdef.12",
            header: block.len(),
            tail: tail.as_bytes(),
            sizes_bytes: tail.len() - total - 2,
            ..plain
        };
        let loads = [
            ("MSG", plain, true),
            ("HMSG with reply", with_header, true),
            ("MSG without its header", with_header, false),
        ];
        for (name, value, headers) in loads {
            let mut room = vec![0; encode::bytes_max(&value, b"12")];
            group.bench_function(format!("{name}, {size} bytes"), |bencher| {
                bencher.iter(|| {
                    encode::message(black_box(&mut room), black_box(&value), b"12", headers)
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, message);
criterion_main!(benches);
