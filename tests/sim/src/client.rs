//! A client: writes operations, reads what comes, and notes what it saw.

use std::collections::VecDeque;

/// What came from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A message, on a subscription, from a publisher with its count.
    Message {
        /// The subscription's name.
        sid: u32,
        /// The subject.
        subject: String,
        /// Where a response goes; empty for nowhere.
        reply: String,
        /// Who published it.
        publisher: usize,
        /// Which of its messages it is.
        number: u64,
    },
    /// An answer to a PING.
    Pong,
    /// A PING of the server.
    Ping,
    /// An error.
    Error(String),
}

/// One client.
#[derive(Debug)]
pub struct Client {
    /// Its socket.
    pub socket: usize,
    /// Bytes that the socket has not taken yet.
    pub outgoing: VecDeque<u8>,
    incoming: Vec<u8>,
    /// Does it read?
    pub reads: bool,
    /// Has it closed, or been closed?
    pub gone: bool,
    /// Does it want its own messages?
    pub echo: bool,
    /// Messages published.
    pub published: u64,
    /// Bytes said, of which `outgoing` is the rest that the socket has not taken.
    pub said: usize,
    /// How many bytes had been said at the end of each message published.
    pub ends: Vec<usize>,
    /// The next subscription's name.
    pub next_sid: u32,
    /// What each PING on its way vouches for: subscriptions established and ended by its PONG.
    pub pings: VecDeque<(Vec<usize>, Vec<usize>)>,
    /// Subscriptions since the last PING.
    pub fresh: Vec<usize>,
    /// Subscriptions ended since the last PING.
    pub ending: Vec<usize>,
}

impl Client {
    /// A client that has just connected.
    pub fn new(socket: usize, echo: bool) -> Self {
        Self::of_user(socket, echo, "")
    }

    /// One of a user with an empty password.
    pub fn of_user(socket: usize, echo: bool, user: &str) -> Self {
        let mut client = Self {
            socket,
            outgoing: VecDeque::new(),
            incoming: Vec::new(),
            reads: true,
            gone: false,
            echo,
            published: 0,
            said: 0,
            ends: Vec::new(),
            next_sid: 1,
            pings: VecDeque::new(),
            fresh: Vec::new(),
            ending: Vec::new(),
        };
        let connect = format!(
            "CONNECT {{\"verbose\":false,\"pedantic\":false,\"headers\":true,\"echo\":{echo},\
             \"user\":\"{user}\"}}\r\n"
        );
        client.say(connect.as_bytes());
        client
    }

    /// Puts bytes on their way.
    pub fn say(&mut self, bytes: &[u8]) {
        self.said += bytes.len();
        self.outgoing.extend(bytes);
    }

    /// The first message that the socket has not taken whole.
    pub fn first_unsent(&self) -> u64 {
        let taken = self.said - self.outgoing.len();
        self.ends.iter().filter(|end| **end <= taken).count() as u64 + 1
    }

    /// Takes bytes in and returns what they say.
    ///
    /// # Panics
    /// If they are not what a server sends.
    pub fn hear(&mut self, bytes: &[u8]) -> Vec<Heard> {
        self.incoming.extend_from_slice(bytes);
        let mut heard = Vec::new();
        let mut at = 0;
        while let Some(feed) = self.incoming[at..].iter().position(|byte| *byte == b'\n') {
            let line = std::str::from_utf8(&self.incoming[at..at + feed]).expect("lines are text");
            let line = line.strip_suffix('\r').expect("lines end in CR LF");
            let mut next = at + feed + 1;
            let words: Vec<&str> = line.split(' ').collect();
            match words[0] {
                "MSG" | "HMSG" => {
                    let size: usize = words[words.len() - 1].parse().expect("a size");
                    if self.incoming.len() < next + size + 2 {
                        break;
                    }
                    let body = &self.incoming[next..next + size];
                    assert_eq!(&self.incoming[next + size..next + size + 2], b"\r\n");
                    next += size + 2;
                    let with_reply = words.len() == if words[0] == "MSG" { 5 } else { 6 };
                    let reply = if with_reply { words[3] } else { "" };
                    heard.push(message(words[1], words[2], reply, body));
                }
                "PONG" => heard.push(Heard::Pong),
                "PING" => heard.push(Heard::Ping),
                "-ERR" => heard.push(Heard::Error(line.to_owned())),
                "INFO" => {}
                other => panic!("the server said {other:?}"),
            }
            at = next;
        }
        self.incoming.drain(..at);
        heard
    }
}

fn message(subject: &str, sid: &str, reply: &str, body: &[u8]) -> Heard {
    let text = String::from_utf8_lossy(body);
    let header = text.strip_prefix("NATS/1.0\r\n");
    let text = header.and_then(|rest| Some(rest.split_once("\r\n\r\n")?.1)).unwrap_or_else(|| {
        // A header without a field ends with its first line.
        header.map_or(&text, |rest| rest.strip_prefix("\r\n").unwrap_or(rest))
    });
    let mut words = text.split(' ');
    let mut number = || words.next().and_then(|word| word.parse().ok()).expect("a number");
    Heard::Message {
        sid: sid.parse().expect("a name that is a number"),
        subject: subject.to_owned(),
        reply: reply.to_owned(),
        publisher: number() as usize,
        number: number(),
    }
}
