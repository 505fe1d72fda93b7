//! What the kernel may do to an operation, each brought about on real sockets.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd as _, IntoRawFd as _};
use std::os::unix::net::UnixStream;

use super::super::links::{Link, Written};
use super::*;

const SLOT: Slot = Slot(7);
/// Enough for anything that is bound to come.
const PATIENCE: Duration = Duration::from_secs(20);

fn small_ring() -> Ring {
    Ring::new(2, 16).expect("the machine allows io_uring")
}

/// The next completion of the kind, others being passed over.
fn next(ring: &mut Ring, queue: &mut VecDeque<Event>, kind: Kind) -> Event {
    let mut events = Vec::new();
    loop {
        while let Some(event) = queue.pop_front() {
            if event.kind == kind {
                return event;
            }
        }
        ring.enter(Some(PATIENCE)).expect("the ring works");
        ring.collect(&mut events);
        assert!(!events.is_empty(), "nothing completed");
        queue.extend(events.drain(..));
    }
}

/// Takes what an event brought, and gives its buffer back.
fn take(ring: &mut Ring, event: Event, into: &mut Vec<u8>) {
    let id = event.buffer.expect("input stands in a buffer");
    into.extend_from_slice(ring.buffer(id, event.result as usize));
    ring.recycle(id);
}

fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let near = TcpStream::connect(address).expect("it listens");
    (near, listener.accept().expect("somebody connects").0)
}

#[test]
fn a_receive_that_finds_no_buffer_ends_and_goes_on_where_it_was() {
    let mut ring = small_ring();
    let (near, mut far) = UnixStream::pair().expect("a pair of sockets");
    let sent: Vec<u8> = (0..200).collect();
    far.write_all(&sent).expect("there is room");
    ring.receive(near.as_fd(), SLOT);
    let (mut queue, mut received, mut held) = (VecDeque::new(), Vec::new(), Vec::new());
    let mut exhausted = 0;
    while received.len() + held.iter().map(|event: &Event| event.result as usize).sum::<usize>()
        < sent.len()
    {
        let event = next(&mut ring, &mut queue, Kind::Receive);
        assert_eq!(event.slot, SLOT);
        if event.result == -libc::ENOBUFS {
            assert!(!event.more);
            assert_eq!(held.len(), 2, "both buffers are in use");
            exhausted += 1;
            for event in held.drain(..) {
                take(&mut ring, event, &mut received);
            }
            ring.receive(near.as_fd(), SLOT);
        } else {
            assert!(event.result > 0);
            held.push(event);
            if !event.more && held.len() < 2 {
                ring.receive(near.as_fd(), SLOT);
            }
        }
    }
    for event in held {
        take(&mut ring, event, &mut received);
    }
    assert_eq!(received, sent);
    assert!(exhausted > 3, "{exhausted}");
}

#[test]
fn a_cancelled_receive_ends_once_and_loses_nothing() {
    let mut ring = small_ring();
    let (near, mut far) = UnixStream::pair().expect("a pair of sockets");
    let (mut queue, mut received) = (VecDeque::new(), Vec::new());
    for round in 0..50_u8 {
        ring.receive(near.as_fd(), SLOT);
        ring.enter(None).expect("the ring works");
        // Sometimes the input is there before the end, sometimes it is not.
        if round % 2 == 0 {
            far.write_all(&[round]).expect("there is room");
        }
        ring.cancel(Kind::Receive, SLOT);
        if round % 2 == 1 {
            far.write_all(&[round]).expect("there is room");
        }
        loop {
            let event = next(&mut ring, &mut queue, Kind::Receive);
            if event.result > 0 {
                take(&mut ring, event, &mut received);
            } else {
                assert_eq!(event.result, -libc::ECANCELED);
                assert!(!event.more);
            }
            if !event.more {
                break;
            }
        }
    }
    ring.receive(near.as_fd(), SLOT);
    while received.len() < 50 {
        let event = next(&mut ring, &mut queue, Kind::Receive);
        take(&mut ring, event, &mut received);
        if !event.more {
            ring.receive(near.as_fd(), SLOT);
        }
    }
    assert_eq!(received, (0..50).collect::<Vec<u8>>());
}

#[test]
fn a_peer_that_only_stops_sending_can_still_be_written_to() {
    let mut ring = small_ring();
    let (near, mut far) = tcp_pair();
    far.write_all(b"last").expect("there is room");
    far.shutdown(Shutdown::Write).expect("it is connected");
    ring.receive(near.as_fd(), SLOT);
    let (mut queue, mut received) = (VecDeque::new(), Vec::new());
    let event = next(&mut ring, &mut queue, Kind::Receive);
    take(&mut ring, event, &mut received);
    let end = next(&mut ring, &mut queue, Kind::Receive);
    assert_eq!((end.result, end.more), (0, false));
    assert_eq!(received, b"last");
    let link = Link::new(near.into(), None);
    assert_eq!(link.write(b"answer"), Written::Bytes(6));
    link.shut(Shutdown::Both);
    let mut answer = String::new();
    far.read_to_string(&mut answer).expect("it can be read");
    assert_eq!(answer, "answer");
}

#[test]
fn a_reset_is_an_error_to_reader_and_writer() {
    let mut ring = small_ring();
    let (near, far) = tcp_pair();
    ring.receive(near.as_fd(), SLOT);
    ring.enter(None).expect("the ring works");
    // Closing with unread input resets the connection.
    let link = Link::new(near.into(), None);
    assert_eq!(link.write(b"unread"), Written::Bytes(6));
    let mut one = [0];
    assert_eq!(far.peek(&mut one).expect("it has arrived"), 1);
    drop(far);
    let event = next(&mut ring, &mut VecDeque::new(), Kind::Receive);
    assert_eq!((event.result, event.more), (-libc::ECONNRESET, false));
    assert!(event.error().is_some());
    assert_eq!(link.write(b"more"), Written::Failed);
}

#[test]
fn a_socket_that_takes_a_part_is_waited_for() {
    let mut ring = small_ring();
    let (near, mut far) = tcp_pair();
    let link = Link::new(near.into(), None);
    let block = vec![b'x'; 1 << 20];
    let (mut written, mut parts) = (0, 0);
    loop {
        match link.write(&block) {
            Written::Bytes(count) => {
                written += count;
                parts += usize::from(count < block.len());
            }
            Written::WouldBlock => break,
            Written::Failed => panic!("the peer is there"),
        }
        assert!(written < 1 << 30, "a socket has a limit");
    }
    assert!(parts > 0, "at least the last was cut short");
    ring.poll_writable(link.socket(), SLOT);
    ring.enter(None).expect("the ring works");
    let mut events = Vec::new();
    ring.collect(&mut events);
    assert!(events.is_empty(), "it is full");
    let mut read = vec![0; written];
    far.read_exact(&mut read).expect("it was written");
    let event = next(&mut ring, &mut VecDeque::new(), Kind::Writable);
    assert!(event.result & i32::from(libc::POLLOUT) != 0);
    assert_eq!(link.write(b"again"), Written::Bytes(5));
}

#[test]
fn a_descriptor_that_was_handed_over_goes_on_in_another_ring() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let mut first = small_ring();
    let mut peers: Vec<TcpStream> = (0..3)
        .map(|number: u8| {
            let mut peer = TcpStream::connect(address).expect("it listens");
            // Input that comes before the hand-over waits in the socket.
            peer.write_all(&[number]).expect("it is connected");
            peer
        })
        .collect();
    let mut queue = VecDeque::new();
    let mut accept = |_| {
        first.poll_listener(listener.as_fd(), Slot(0));
        next(&mut first, &mut queue, Kind::Accept);
        listener.accept().expect("somebody is there").0.into_raw_fd()
    };
    let numbers: Vec<i32> = (0..3).map(&mut accept).collect();
    let received = std::thread::spawn(move || {
        let mut second = small_ring();
        let mut received = Vec::new();
        for (number, descriptor) in (0..).zip(numbers) {
            let link = Link::new(own(descriptor), None);
            second.receive(link.socket(), Slot(number));
            let event = next(&mut second, &mut VecDeque::new(), Kind::Receive);
            assert_eq!(event.slot, Slot(number));
            take(&mut second, event, &mut received);
            assert_eq!(link.write(b"ok"), Written::Bytes(2));
        }
        received
    });
    assert_eq!(received.join().expect("the other core ends well"), [0, 1, 2]);
    for peer in &mut peers {
        let mut answer = String::new();
        peer.read_to_string(&mut answer).expect("it can be read");
        assert_eq!(answer, "ok");
    }
}

#[test]
fn more_completions_than_fit_are_handed_over_in_time() {
    let mut ring = small_ring();
    let (near, _far) = UnixStream::pair().expect("a pair of sockets");
    let count = COMPLETIONS as usize * 2;
    for _ in 0..count {
        // Always writable, so that each completes at once.
        ring.poll_writable(near.as_fd(), SLOT);
    }
    let mut queue = VecDeque::new();
    for _ in 0..count {
        next(&mut ring, &mut queue, Kind::Writable);
    }
}

/// Does something with a file and answers what it came to.
fn work(ring: &mut Ring, queue: &mut VecDeque<Event>, work: FileWork) -> i32 {
    let slot = ring.begin(work);
    let event = next(ring, queue, Kind::File);
    assert_eq!(event.slot, slot);
    ring.end(slot);
    event.result
}

#[test]
fn a_write_that_lasts_completes_once_however_it_ends() {
    let mut ring = small_ring();
    let path = std::env::temp_dir().join(format!("pinion-ring-{}", std::process::id()));
    let mut options = std::fs::OpenOptions::new();
    let file = options.create(true).truncate(true).read(true).write(true).open(&path);
    let (file, closed) = (file.expect("it can be made"), std::fs::File::open(&path));
    let (file, closed) = (OwnedFd::from(file), OwnedFd::from(closed.expect("it is there")));
    let mut queue = VecDeque::new();
    for lasting in [Lasting::No, Lasting::Through, Lasting::Flushed] {
        let write = |file: &OwnedFd, number: u8| {
            let mut blocks = Blocks::new(2);
            blocks.bytes_mut().fill(number);
            FileWork::Write { file: file.as_raw_fd(), offset: 0, blocks, lasting }
        };
        assert_eq!(work(&mut ring, &mut queue, write(&file, 7)), 8192, "{lasting:?}");
        let refused = work(&mut ring, &mut queue, write(&closed, 8));
        assert_eq!(refused, -libc::EBADF, "{lasting:?}: it is open for reading");
        assert_eq!(work(&mut ring, &mut queue, write(&file, 9)), 8192, "{lasting:?}");
        assert!(queue.is_empty(), "one completion each: {queue:?}");
        assert_eq!(std::fs::read(&path).expect("it is there"), [9; 8192]);
    }
    // More at a time than the queue of submissions holds: none is torn from what follows it.
    let mut slots = Vec::new();
    for number in 0..u64::from(SUBMISSIONS) {
        let (blocks, lasting) = (Blocks::new(1), Lasting::Flushed);
        let offset = number * 4096;
        slots.push(ring.begin(FileWork::Write { file: file.as_raw_fd(), offset, blocks, lasting }));
    }
    for _ in &slots {
        let event = next(&mut ring, &mut queue, Kind::File);
        assert_eq!(event.result, 4096);
        ring.end(event.slot);
    }
    std::fs::remove_file(&path).expect("it is there");
}
