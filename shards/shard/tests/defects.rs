//! Small situations that once went wrong, each on shards without a reactor.

use base::{CoreId, Duration, Moment, Slot, Time};
use shard::{Config, Effects, Peer, Shard, Socket};

const CONNECT: &[u8] = b"CONNECT {\"verbose\":false,\"pedantic\":false,\"echo\":true}\r\n";

/// A server of some cores whose lanes have room for everything.
struct Server {
    cores: Vec<Shard>,
    effects: Effects,
    now: Time,
    /// Bytes written in the middle of turns.
    written: usize,
}

impl Server {
    fn new(cores: usize, config: &Config) -> Self {
        let now = Time(1_000_000_000);
        let shard = |core| Shard::new(CoreId(core as u8), cores, 7, config.clone(), now);
        Self {
            cores: (0..cores).map(shard).collect(),
            effects: Effects::default(),
            now,
            written: 0,
        }
    }

    /// Moves everything between the cores.
    fn exchange(&mut self) {
        for from in 0..self.cores.len() {
            for to in 0..self.cores.len() {
                let (sender, receiver) = (CoreId(from as u8), CoreId(to as u8));
                let bytes = self.cores[from].outbox(receiver).to_vec();
                if !bytes.is_empty() {
                    self.cores[from].moved(receiver, bytes.len());
                    self.accept(to, sender, &bytes);
                }
            }
        }
    }

    fn accept(&mut self, core: usize, from: CoreId, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = &bytes[self.cores[core].accept_frames(from, bytes)..];
            self.write_pressed(core);
        }
    }

    /// Clients take what must be written in the middle of a turn.
    fn write_pressed(&mut self, core: usize) {
        let mut pressed = Vec::new();
        self.cores[core].take_pressed(&mut pressed);
        for slot in pressed {
            self.written += self.heard(core, slot).len();
        }
    }

    /// Ends a core's turn; [`Server::effects`] then holds what it asks for.
    fn turn(&mut self, core: usize) {
        self.exchange();
        self.cores[core].end_turn(&mut self.effects);
        self.cores[core].begin_turn(Moment::simulated(self.now));
    }

    /// A client connects. The core with the fewest connections takes it.
    fn connect(&mut self, socket: i32) -> (usize, Slot) {
        self.cores[0].accepted(Socket(socket), Peer::default());
        for core in 0..self.cores.len() {
            self.turn(core);
            if let Some((slot, _)) = self.effects.opened.first() {
                let slot = *slot;
                self.heard(core, slot);
                return (core, slot);
            }
        }
        panic!("no core took the connection");
    }

    fn say(&mut self, (core, slot): (usize, Slot), bytes: &[u8]) {
        let taken = self.cores[core].receive(slot, bytes);
        assert_eq!(taken, bytes.len());
        self.exchange();
    }

    /// Hands in input as the reactor does, which writes in between when much has come together.
    fn feed(&mut self, (core, slot): (usize, Slot), mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.cores[core].is_paused(slot) {
            bytes = &bytes[self.cores[core].receive(slot, bytes)..];
            self.exchange();
            self.write_pressed(core);
        }
        assert!(bytes.is_empty(), "reading was paused");
    }

    /// What waits for a client, which takes it.
    fn heard(&mut self, core: usize, slot: Slot) -> String {
        let text = String::from_utf8_lossy(self.cores[core].unsent(slot)).into_owned();
        self.cores[core].sent(slot, text.len());
        text
    }

    /// Lets time pass, with a turn of every core for each moment at which something is due.
    fn pass(&mut self, time: Duration) {
        let until = self.now.after(time);
        loop {
            let due = self.cores.iter().map(Shard::next_due).min().unwrap_or(Time::NEVER);
            self.now = due.clamp(self.now, until);
            for core in 0..self.cores.len() {
                self.cores[core].begin_turn(Moment::simulated(self.now));
                self.turn(core);
            }
            if due > until {
                return;
            }
        }
    }
}

#[test]
fn a_write_that_fails_while_closing_asks_for_no_second_close() {
    let mut server = Server::new(1, &Config::default());
    let client = server.connect(1);
    server.say(client, b"NONSENSE\r\n");
    server.cores[0].input_ended(client.1, true);
    server.turn(0);
    assert_eq!(server.effects.close, [client.1]);
    // The reactor finds the socket broken when it writes the error, and closes it as asked.
    server.cores[0].output_failed(client.1);
    server.cores[0].closed(client.1);
    // The next connection gets the same slot, and is none of this one's business.
    server.cores[0].accepted(Socket(2), Peer::default());
    server.turn(0);
    assert_eq!(server.effects.opened, [(client.1, Socket(2))]);
    assert_eq!(server.effects.close, []);
}

#[test]
fn the_last_delivery_on_a_subject_leaves_its_queue_groups_their_message() {
    let mut server = Server::new(2, &Config::default());
    let publisher = server.connect(1);
    let subscriber = server.connect(2);
    assert_ne!(publisher.0, subscriber.0);
    server.say(publisher, CONNECT);
    server.say(subscriber, CONNECT);
    server.say(subscriber, b"SUB a 1\r\nUNSUB 1 1\r\nSUB a q 2\r\n");
    server.say(publisher, b"PUB a 2\r\nhi\r\n");
    let heard = server.heard(subscriber.0, subscriber.1);
    assert_eq!(heard, "MSG a 1 2\r\nhi\r\nMSG a 2 2\r\nhi\r\n");
}

#[test]
fn a_train_is_no_longer_than_what_a_subscriber_may_be_behind() {
    train_for_a_reader(1);
}

#[test]
fn what_a_lane_holds_is_written_before_a_subscriber_is_too_far_behind() {
    train_for_a_reader(2);
}

fn train_for_a_reader(cores: usize) {
    let config = Config { max_pending: 32 * 1024, ..Config::default() };
    let mut server = Server::new(cores, &config);
    let (publisher, subscriber) = (server.connect(1), server.connect(2));
    server.say(publisher, CONNECT);
    server.say(subscriber, b"SUB a 1\r\n");
    server.heard(subscriber.0, subscriber.1);
    // Such an input comes together while a connection is paused.
    let input = b"PUB a 1\r\nx\r\n".repeat(20_000);
    server.feed(publisher, &input);
    let rest = server.heard(subscriber.0, subscriber.1).len();
    assert_eq!(server.written + rest, 20_000 * b"MSG a 1 1\r\nx\r\n".len());
    assert_eq!(
        server.cores[subscriber.0].troubles(),
        (0, 0),
        "who reads everything is no slow consumer"
    );
}

#[test]
fn who_publishes_nothing_is_not_slowed_for_the_sake_of_a_slow_subscriber() {
    let config = Config { max_pending: 32 * 1024, ..Config::default() };
    let mut server = Server::new(2, &config);
    let (publisher, subscriber) = (server.connect(1), server.connect(2));
    let (_, bystander) = (server.connect(3), server.connect(4));
    assert_eq!((publisher.0, subscriber.0, bystander.0), (0, 1, 1));
    server.say(publisher, CONNECT);
    server.say(subscriber, b"SUB a 1\r\n");
    server.cores[1].blocked(subscriber.1);
    server.say(publisher, &[&b"PUB a 25000\r\n"[..], &vec![b'x'; 25_000], b"\r\n"].concat());
    server.say(bystander, b"PING\r\n");
    assert!(!server.cores[1].is_paused(bystander.1));
}

#[test]
fn a_connection_has_one_deadline_however_often_it_is_slowed() {
    let config = Config { max_pending: 32 * 1024, ..Config::default() };
    let mut server = Server::new(1, &config);
    let (publisher, subscriber) = (server.connect(1), server.connect(2));
    server.say(publisher, CONNECT);
    server.say(subscriber, b"SUB a 1\r\n");
    server.cores[0].blocked(subscriber.1);
    server.say(publisher, &[&b"PUB a 25000\r\n"[..], &vec![b'x'; 25_000], b"\r\n"].concat());
    for _ in 0..50 {
        assert!(server.cores[0].is_paused(publisher.1));
        server.pass(Duration::from_millis(11));
        server.say(publisher, b"PUB a 0\r\n\r\n");
    }
    assert_eq!(server.cores[0].deadlines(), 2);
    server.cores[0].closed(publisher.1);
    server.turn(0);
    assert_eq!(server.cores[0].deadlines(), 1);
}

#[test]
fn a_connection_that_arrives_after_lame_duck_mode_began_goes_with_the_others() {
    let mut server = Server::new(2, &Config::default());
    server.connect(1);
    // The other core hears of the end first.
    server.cores[1].enter_lame_duck();
    let late = server.connect(2);
    assert_eq!(late.0, 1);
    server.cores[0].enter_lame_duck();
    server.pass(Duration::from_secs(15));
    assert!(!server.cores[1].is_open(late.1), "it is closed with the others");
}

#[test]
fn nobody_has_to_authenticate_any_more_once_that_is_not_asked_for() {
    let auth = shard::Auth::with_token("secret");
    let mut server = Server::new(1, &Config { auth, ..Config::default() });
    let client = server.connect(1);
    server.cores[0].reconfigure(Config::default());
    server.pass(Duration::from_secs(5));
    assert_eq!(server.heard(0, client.1), "PING\r\n");
    server.say(client, b"PING\r\n");
    assert_eq!(server.heard(0, client.1), "PONG\r\n");
}

#[test]
fn who_was_refused_takes_no_place() {
    let mut server = Server::new(1, &Config { max_connections: 2, ..Config::default() });
    let (first, _) = (server.connect(1), server.connect(2));
    for socket in 3..10 {
        let refused = server.connect(socket);
        assert!(!server.cores[0].is_open(refused.1));
    }
    server.cores[0].input_ended(first.1, false);
    server.turn(0);
    server.cores[0].closed(first.1);
    // Those that were refused still wait for their clients to read why.
    let next = server.connect(10);
    assert!(server.cores[0].is_open(next.1));
}

/// A large message that comes in pieces is handed to its first subscriber in the buffer it was
/// collected in; everyone must still get exactly what a copy would have been.
#[test]
fn a_large_message_in_pieces_is_the_same_for_all_its_subscribers() {
    let mut server = Server::new(2, &Config::default());
    let clients = [3, 4, 5].map(|socket| server.connect(socket));
    let hello =
        "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"protocol\":1}\r\n";
    let plain = std::str::from_utf8(CONNECT).expect("it is text");
    for (client, connect) in clients.iter().zip([hello, hello, plain]) {
        let subscribe = "SUB big a-name-of-some-length\r\nSUB big 12345678901234\r\nSUB *.> 7\r\n";
        server.say(*client, format!("{connect}{subscribe}").as_bytes());
        server.turn(client.0);
        server.say(*client, b"PING\r\n");
    }
    for client in clients {
        server.turn(client.0);
        server.heard(client.0, client.1);
    }
    let body = "x".repeat(40_000);
    let header = "NATS/1.0\r\nA: b\r\n\r\n";
    let with_header = format!("{} {}", header.len(), header.len() + body.len());
    let length = body.len();
    let cases = [
        (format!("PUB big {length}\r\n{body}\r\n"), format!("{length}\r\n"), false),
        (format!("PUB big r {length}\r\n{body}\r\n"), format!("r {length}\r\n"), false),
        (format!("PUB\tbig  {length} \r\n{body}\r\n"), format!("{length}\r\n"), false),
        (
            format!("HPUB big {with_header}\r\n{header}{body}\r\n"),
            format!("{with_header}\r\n"),
            true,
        ),
    ];
    for (publish, line, has_header) in cases {
        for cut in [1, 5, 40, 32_000, 40_000, publish.len() - 1] {
            let input = format!("{publish}PING\r\n");
            let mut heard = clients.map(|_| String::new());
            let (core, slot) = clients[0];
            for mut piece in [&input.as_bytes()[..cut], &input.as_bytes()[cut..]] {
                while !piece.is_empty() {
                    piece = &piece[server.cores[core].receive(slot, piece)..];
                    server.exchange();
                    for (heard, (core, slot)) in heard.iter_mut().zip(clients) {
                        heard.push_str(&server.heard(core, slot));
                    }
                    server.cores[core].take_pressed(&mut Vec::new());
                }
            }
            for (place, heard) in heard.iter().enumerate() {
                let (verb, line, block) = match (has_header, place) {
                    (true, 0 | 1) => ("HMSG", line.clone(), header),
                    (true, _) => ("MSG", format!("{length}\r\n"), ""),
                    _ => ("MSG", line.clone(), ""),
                };
                let names = ["a-name-of-some-length", "12345678901234"];
                let expected = names.map(|sid| format!("{verb} big {sid} {line}{block}{body}\r\n"));
                let pong = if place == 0 { "PONG\r\n" } else { "" };
                assert!(*heard == format!("{}{pong}", expected.concat()), "{cut} {place} {line}");
            }
        }
    }
}

#[test]
fn a_handshake_that_takes_long_hears_no_ping() {
    let tls = shard::way_in::Tls { timeout: Duration::from_secs(30), ..Default::default() };
    let config = Config { tls: Some(tls), ..Config::default() };
    let mut server = Server::new(1, &config);
    let (core, slot) = server.connect(1);
    server.pass(Duration::from_secs(20));
    assert_eq!(server.heard(core, slot), "");
    server.cores[core].secured(slot, shard::Secured::default());
    server.pass(Duration::from_secs(20));
    assert_eq!(server.heard(core, slot), "PING\r\n");
}
