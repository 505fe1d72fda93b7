//! One or two whole cores: arbitrary bytes on up to three connections, cut anywhere. Nothing may
//! panic, what comes back must be the protocol, and nobody's leaving may leave anything behind.
//!
//! The first byte picks the configuration, the next seeds cuts and stages. Then the input is text
//! for the connections; [`MARK`] and a byte say what else happens.

use base::{Duration, Random, Time};
use shard::{Auth, Config};
use sim::world::World;

/// Not found in sensible text: the next byte is no text but an event.
const MARK: u8 = 0xfe;
/// Far more rounds than any input within the fuzzer's 4 KiB takes.
const ROUNDS_MAX: usize = 2_000_000;

struct Client {
    socket: usize,
    outgoing: Vec<u8>,
    incoming: Vec<u8>,
    reads: bool,
    gone: bool,
}

struct Run {
    world: World,
    clients: Vec<Client>,
    random: Random,
}

/// Runs one input.
pub(crate) fn run(data: &[u8]) {
    let [setting, seed, script @ ..] = data else { return };
    let mut random = Random::new(u64::from(*seed));
    let config = Config {
        max_control_line: if setting & 4 == 0 { 4096 } else { 64 },
        max_payload: if setting & 8 == 0 { 1 << 20 } else { 100 },
        max_pending: if setting & 16 == 0 { 1 << 16 } else { 4096 },
        max_subscriptions: if setting & 32 == 0 { 0 } else { 3 },
        no_fast_producer_stall: setting & 64 != 0,
        trace: setting & 128 != 0,
        auth: if setting & 2 == 0 { Auth::default() } else { Auth::with_token("t") },
        write_deadline: Duration::from_secs(2),
        ..Config::default()
    };
    let cores = 1 + usize::from(setting & 1);
    let world = World::new(cores, &config, true, &mut random);
    let mut run = Run { world, clients: Vec::new(), random };
    for _ in 0..3 {
        run.connect();
    }
    run.play(script);
    for client in &mut run.clients {
        client.reads = true;
    }
    run.rest();
    for client in 0..run.clients.len() {
        run.leave(client, false);
    }
    run.rest();
    for core in 0..cores {
        let census = run.world.shard(core).census();
        assert_eq!(census, (0, 0, (0, 0)), "who has left leaves nothing behind");
    }
}

impl Run {
    fn connect(&mut self) {
        let socket = self.world.connect();
        let (outgoing, incoming) = (Vec::new(), Vec::new());
        self.clients.push(Client { socket, outgoing, incoming, reads: true, gone: false });
    }

    fn play(&mut self, script: &[u8]) {
        let mut current = 0;
        let mut pieces = script.split(|byte| *byte == MARK);
        self.say(current, pieces.next().unwrap_or_default());
        for piece in pieces {
            let Some((event, text)) = piece.split_first() else { continue };
            match event % 8 {
                0..=2 => current = usize::from(event % 8),
                3 => self.clients[current].reads = !self.clients[current].reads,
                4 => self.leave(current, text.len() % 2 == 0),
                5 => self.world.advance(Duration::from_millis(u64::from(*event) * 16)),
                6 => {
                    // Whoever has left comes back as another.
                    if self.clients[current].gone && self.clients.len() < 12 {
                        self.connect();
                        let last = self.clients.len() - 1;
                        self.clients.swap(current, last);
                    }
                }
                _ => self.rest(),
            }
            self.say(current, text);
        }
    }

    /// A client says something, and some of it may arrive.
    fn say(&mut self, client: usize, text: &[u8]) {
        self.clients[client].outgoing.extend_from_slice(text);
        for _ in 0..self.random.below(24) {
            let core = self.random.below(self.world.cores() as u64) as usize;
            self.world.step(core, &mut self.random);
            self.exchange(client);
        }
    }

    fn leave(&mut self, client: usize, resets: bool) {
        let client = &mut self.clients[client];
        client.gone = true;
        let wire = &mut self.world.wires[client.socket];
        wire.client_closed = true;
        wire.resets |= resets;
    }

    fn exchange(&mut self, client: usize) {
        let client = &mut self.clients[client];
        if client.gone {
            return;
        }
        let wire = &mut self.world.wires[client.socket];
        let count = wire.up.put(&client.outgoing);
        client.outgoing.drain(..count);
        self.world.moved |= count > 0;
        if !client.reads {
            return;
        }
        let bytes = wire.down.take(1 + self.random.below(8192) as usize);
        self.world.moved |= !bytes.is_empty();
        client.incoming.extend_from_slice(&bytes);
        let heard = hear(&client.incoming);
        client.incoming.drain(..heard);
        if wire.server_closed && wire.down.is_empty() {
            assert!(client.incoming.is_empty(), "a server ends after whole operations");
            client.gone = true;
            wire.client_closed = true;
            self.world.moved = true;
        }
    }

    /// Lets everything come to rest.
    fn rest(&mut self) {
        let mut quiet_rounds = 0;
        for _ in 0..ROUNDS_MAX {
            self.world.moved = false;
            for core in 0..self.world.cores() {
                self.world.step(core, &mut self.random);
            }
            for client in 0..self.clients.len() {
                self.exchange(client);
            }
            quiet_rounds = if self.world.moved { 0 } else { quiet_rounds + 1 };
            if quiet_rounds < 12 {
                continue;
            }
            let soon = self.world.now.after(Duration::from_secs(5));
            let due = self.world.next_due();
            if due == Time::NEVER || due > soon {
                return;
            }
            self.world.now = due;
            quiet_rounds = 0;
        }
        panic!("the world does not come to rest: {}", self.world.describe());
    }
}

/// Reads what a server may say. Returns the bytes of the whole operations.
fn hear(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(feed) = bytes[at..].iter().position(|byte| *byte == b'\n') {
        let line = bytes[at..at + feed].strip_suffix(b"\r").expect("lines end in CR LF");
        let next = at + feed + 1;
        let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        let body = match words[0] {
            b"MSG" => message(&words, 0),
            b"HMSG" => message(&words, 1),
            b"INFO" => {
                assert_eq!(words[1].first(), Some(&b'{'), "INFO says something");
                0
            }
            b"-ERR" => {
                assert!(line.ends_with(b"'"), "an error is quoted");
                0
            }
            b"PING" | b"PONG" | b"+OK" => {
                assert_eq!(words.len(), 1);
                0
            }
            other => panic!("the server said {:?}", String::from_utf8_lossy(other)),
        };
        if bytes.len() < next + body {
            break;
        }
        if body > 0 {
            assert_eq!(&bytes[next + body - 2..next + body], b"\r\n", "a message is ended");
        }
        at = next + body;
    }
    at
}

/// The bytes that follow the line of a message.
fn message(words: &[&[u8]], header: usize) -> usize {
    assert!((4 + header..=5 + header).contains(&words.len()), "{words:?}");
    assert!(words.iter().all(|word| !word.is_empty()), "{words:?}");
    let size = |word: &[u8]| -> usize {
        let text = std::str::from_utf8(word).expect("a size is text");
        text.parse().expect("a size is a number")
    };
    let total = size(words[words.len() - 1]);
    if header > 0 {
        assert!(size(words[words.len() - 2]) <= total, "a header is part of its message");
    }
    total + 2
}
