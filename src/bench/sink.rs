//! Servers that do almost nothing, to measure and to mistrust the load itself.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;

use clap::Parser as _;

use super::args::Arguments;
use super::failure::Failure;
use super::report::Report;

const PING: &[u8] = b"PING\r\n";
const READ: usize = 256 * 1024;

/// What a relay does to the messages that it passes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    Lose,
    Double,
}

fn greet(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().expect("the load connects");
    stream.set_nodelay(true).expect("a socket takes options");
    stream.write_all(b"INFO {} \r\n").expect("the load reads");
    stream
}

/// Reads until the load goes; after each PING, which is always the last it says, calls `answer`
/// with the bytes in front of it.
fn read_all(mut stream: TcpStream, mut on_bytes: impl FnMut(u64, bool)) {
    let mut buffer = vec![0; READ];
    let mut last = Vec::new();
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        let end = &buffer[count.saturating_sub(PING.len())..count];
        last.extend_from_slice(end);
        last.drain(..last.len().saturating_sub(PING.len()));
        let asked = last == PING;
        on_bytes(count as u64, asked);
        if asked {
            last.clear();
            stream.write_all(b"PONG\r\n").expect("the load reads");
        }
    }
}

/// Takes everything and answers PINGs.
fn sink() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || read_all(greet(&listener), |_, _| {}));
    address
}

/// Passes the publishes of its first connection to its second, by counting bytes.
fn relay(size: usize, fault: Fault) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let line = format!("PUB bench.0 {size}\r\n");
    let in_len = (line.len() + size + 2) as u64;
    let frames = super::block::Block::ordered("bench.0", size).frames();
    let mut block = Vec::new();
    for index in 0..frames {
        block.extend_from_slice(format!("MSG bench.0 1 {size}\r\n").as_bytes());
        super::block::push_payload(&mut block, index, size);
        block.extend_from_slice(b"\r\n");
    }
    let out_len = block.len() as u64 / frames;
    thread::spawn(move || {
        let publisher = greet(&listener);
        let (hand_over, arrives) = mpsc::channel();
        thread::spawn(move || {
            let subscriber = greet(&listener);
            let out = subscriber.try_clone().expect("a descriptor is free");
            hand_over.send(out).expect("the relay waits for it");
            read_all(subscriber, |_, _| {});
        });
        let mut out = None;
        // CONNECT comes first and ends with the first PING.
        let (mut received, mut passed, mut greeted) = (0, 0, false);
        read_all(publisher, |count, asked| {
            received += if greeted { count } else { 0 };
            greeted |= asked;
            let mut whole = received / in_len;
            if fault == Fault::Lose && passed == 0 && whole > 0 {
                passed = 1;
            }
            if fault == Fault::Double && asked && whole > 0 {
                whole += 1;
            }
            while passed < whole {
                let out = out.get_or_insert_with(|| arrives.recv().expect("it subscribes first"));
                let from = (passed % frames * out_len) as usize;
                let until = (from + ((whole - passed) * out_len) as usize).min(block.len());
                if out.write_all(&block[from..until]).is_err() {
                    return;
                }
                passed += (until - from) as u64 / out_len;
            }
            if asked {
                (received, passed) = (0, 0);
            }
        });
    });
    address
}

fn run(address: SocketAddr, arguments: &str) -> Result<Report, Failure> {
    let arguments = format!("{arguments} --server {address}");
    let arguments =
        Arguments::try_parse_from(arguments.split(' ')).expect("the tests know the options");
    super::load(&arguments)
}

#[test]
fn publishes_are_counted_exactly() {
    let report = run(sink(), "pub --messages 123457 --warmup 0").expect("the sink takes all");
    assert_eq!(report.published, 123_457);
    assert_eq!(report.delivered, 0);
    assert_eq!(report.payload_bytes, 123_457 * 16);
}

#[test]
fn a_pair_receives_what_was_published() {
    for size in [0, 16, 1000, 100_000] {
        let address = relay(size, Fault::None);
        let report = run(address, &format!("pair --messages 5001 --size {size} --warmup 10ms"))
            .expect("the relay passes all");
        assert_eq!((report.published, report.delivered), (5001, 5001));
        assert_eq!(report.payload_bytes, 2 * 5001 * size as u64);
    }
}

#[test]
fn a_lost_message_voids_the_run() {
    let verdict = run(relay(16, Fault::Lose), "pair --messages 10000 --warmup 0");
    assert!(matches!(verdict, Err(Failure::Mismatch(_))), "{verdict:?}");
}

#[test]
fn a_message_too_many_voids_the_run() {
    let verdict = run(relay(16, Fault::Double), "pair --messages 10000 --warmup 0");
    assert!(matches!(verdict, Err(Failure::Mismatch(_))), "{verdict:?}");
}

/// Needs two quiet cores and an optimised build:
/// `cargo test --release --lib -- --ignored --nocapture load_is_fast`.
#[test]
#[ignore = "measures the machine"]
fn load_is_fast_enough() {
    let publishing = run(sink(), "pub --duration 2s").expect("the sink takes all");
    println!("{}", publishing.summary());
    let pair = run(relay(16, Fault::None), "pair --duration 2s").expect("the relay passes all");
    println!("{}", pair.summary());
    assert!(publishing.work_per_second > 40e6);
    assert!(pair.work_per_second > 15e6);
}
