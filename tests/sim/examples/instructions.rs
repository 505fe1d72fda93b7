//! A fixed load through one shard in memory, to be counted by `scripts/instructions`:
//! `instructions publish|pair|subjects MESSAGES`.

use base::{CoreId, Moment, Slot, Time};
use shard::{Config, Effects, Peer, Shard, Socket};

const CONNECT: &[u8] = b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\n";
/// Subjects of the load that repeats none.
const SUBJECTS: usize = 1000;
/// Messages that one receive brings in: about 35 KiB.
const BLOCK: usize = 1000;

struct Driver {
    shard: Shard,
    effects: Effects,
    pressed: Vec<Slot>,
    written: usize,
}

impl Driver {
    fn new() -> Self {
        let shard = Shard::new(CoreId(0), 1, 7, Config::default(), Time(1));
        Self { shard, effects: Effects::default(), pressed: Vec::new(), written: 0 }
    }

    fn connect(&mut self, socket: i32) -> Slot {
        self.shard.accepted(Socket(socket), Peer::default());
        self.shard.end_turn(&mut self.effects);
        let (slot, _) = self.effects.opened[0];
        self.flush(slot);
        self.receive(slot, CONNECT);
        slot
    }

    /// A turn with this input, as the reactor drives it; sockets take everything.
    fn receive(&mut self, slot: Slot, mut input: &[u8]) {
        self.shard.begin_turn(Moment::simulated(Time(1)));
        while !input.is_empty() {
            let taken = self.shard.receive(slot, input);
            input = &input[taken..];
            if self.shard.is_pressed() {
                let mut pressed = std::mem::take(&mut self.pressed);
                self.shard.take_pressed(&mut pressed);
                for slot in pressed.drain(..) {
                    self.flush(slot);
                }
                self.pressed = pressed;
            }
        }
        self.shard.end_turn(&mut self.effects);
        for slot in std::mem::take(&mut self.effects.flush) {
            self.flush(slot);
        }
    }

    fn flush(&mut self, slot: Slot) {
        let count = self.shard.unsent(slot).len();
        self.written += count;
        self.shard.sent(slot, count);
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let load = arguments.next().expect("a load is named");
    let count = arguments.next().and_then(|word| word.parse::<usize>().ok());
    let count = count.expect("a number of messages is given");
    assert_eq!(count % BLOCK, 0, "messages come in blocks of {BLOCK}");
    let mut driver = Driver::new();
    let publisher = driver.connect(3);
    let subjects = if load == "subjects" { SUBJECTS } else { 1 };
    if load != "publish" {
        let subscriber = driver.connect(4);
        for number in 0..subjects {
            driver.receive(subscriber, format!("SUB foo.{number} {number}\r\n").as_bytes());
        }
    }
    let message = |number: usize| {
        // A stride without a common factor visits every subject.
        let subject = number * 379 % subjects;
        format!("PUB foo.{subject} 16\r\n0123456789abcdef\r\n")
    };
    let block: String = (0..BLOCK).map(message).collect();
    for _ in 0..count / BLOCK {
        driver.receive(publisher, block.as_bytes());
    }
    let statistics = driver.shard.statistics();
    assert_eq!(statistics.in_messages, count as u64);
    let expected = if load == "publish" { 0 } else { count as u64 };
    assert_eq!(statistics.out_messages, expected);
    println!("{count} messages, {} bytes written", driver.written);
}
