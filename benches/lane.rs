//! A lane: bytes in and out on one core, and between two threads.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use base::limits::LANE_BYTES;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn one_thread(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("lane");
    for bytes in [64, 4096, 64 * 1024] {
        let (mut sender, mut receiver) = mesh::lane(LANE_BYTES);
        let frame = vec![7_u8; bytes];
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(format!("{bytes} bytes, one core"), |bencher| {
            bencher.iter(|| {
                assert_eq!(sender.send(black_box(&frame)), bytes);
                let mut left = receiver.refresh();
                while left > 0 {
                    let count = black_box(receiver.readable()).len();
                    receiver.consume(count);
                    left -= count;
                }
            });
        });
    }
    group.finish();
}

/// There and back again: what one line that moves each way costs. Says something only on two CPUs
/// that have nothing else to do.
fn two_threads(criterion: &mut Criterion) {
    let (mut sender, mut far_receiver) = mesh::lane(LANE_BYTES);
    let (mut far_sender, mut receiver) = mesh::lane(LANE_BYTES);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let count = far_receiver.refresh();
                if count == 0 {
                    std::hint::spin_loop();
                    continue;
                }
                let bytes = far_receiver.readable().len();
                assert_eq!(far_sender.send(far_receiver.readable()), bytes);
                far_receiver.consume(bytes);
            }
        });
        let mut group = criterion.benchmark_group("lane");
        group.bench_function("8 bytes there and back, two cores", |bencher| {
            bencher.iter(|| {
                assert_eq!(sender.send(&[1; 8]), 8);
                while receiver.refresh() < 8 {
                    std::hint::spin_loop();
                }
                let count = receiver.readable().len();
                receiver.consume(count);
                let rest = receiver.len();
                receiver.consume(rest);
            });
        });
        group.finish();
        stop.store(true, Ordering::Relaxed);
    });
}

criterion_group!(benches, one_thread, two_threads);
criterion_main!(benches);
