//! A client of the jetstream world: writes operations, and takes apart what comes.

use std::collections::VecDeque;
use std::fmt;

/// A message that came.
#[derive(Clone)]
pub(super) struct Told {
    /// The number of the subscription that it came by.
    pub(super) sid: u32,
    pub(super) subject: String,
    /// Where an answer goes; empty for nowhere.
    pub(super) reply: String,
    pub(super) header: String,
    pub(super) payload: Vec<u8>,
}

impl fmt::Debug for Told {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let payload = String::from_utf8_lossy(&self.payload);
        let (subject, reply) = (&self.subject, &self.reply);
        write!(out, "{subject} {reply} {:?} {:.400}", self.header, payload)
    }
}

impl Told {
    /// The status of a message that has only one: its number and what is said about it.
    pub(super) fn status(&self) -> Option<&str> {
        let line = self.header.lines().next()?.strip_prefix("NATS/1.0")?.trim();
        (!line.is_empty()).then_some(line)
    }

    /// A field of the header.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.header.lines().filter_map(|line| line.split_once(": "));
        fields.find(|(own, _)| *own == name).map(|(_, value)| value)
    }

    /// A field of the header that is a number.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.field(name)?.parse().ok()
    }

    pub(super) fn json(&self) -> Result<serde_json::Value, String> {
        let text = String::from_utf8_lossy(&self.payload);
        serde_json::from_str(&text).map_err(|error| format!("no JSON ({error}): {self:?}"))
    }
}

/// A client. It hears answers under `in.<number>.` as subscription 1.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) socket: usize,
    pub(super) number: usize,
    /// Bytes that the socket has not taken yet.
    pub(super) outgoing: VecDeque<u8>,
    incoming: Vec<u8>,
    pub(super) gone: bool,
    next_sid: u32,
}

impl Peer {
    pub(super) fn new(socket: usize, number: usize) -> Self {
        let (outgoing, incoming) = (VecDeque::new(), Vec::new());
        let mut peer = Self { socket, number, outgoing, incoming, gone: false, next_sid: 1 };
        peer.say(b"CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\n");
        peer.subscribe(&format!("in.{number}.>"));
        peer
    }

    pub(super) fn say(&mut self, bytes: &[u8]) {
        self.outgoing.extend(bytes);
    }

    /// Subscribes; returns the subscription's number.
    pub(super) fn subscribe(&mut self, pattern: &str) -> u32 {
        let sid = self.next_sid;
        self.next_sid += 1;
        self.say(format!("SUB {pattern} {sid}\r\n").as_bytes());
        sid
    }

    pub(super) fn publish(
        &mut self,
        subject: &str,
        reply: &str,
        header: &[(&str, String)],
        payload: &[u8],
    ) {
        let space = if reply.is_empty() { "" } else { " " };
        if header.is_empty() {
            self.say(format!("PUB {subject} {reply}{space}{}\r\n", payload.len()).as_bytes());
        } else {
            let fields = header.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
            let block = format!("NATS/1.0\r\n{}\r\n", fields.collect::<String>());
            let (size, all) = (block.len(), block.len() + payload.len());
            self.say(format!("HPUB {subject} {reply}{space}{size} {all}\r\n{block}").as_bytes());
        }
        self.say(payload);
        self.say(b"\r\n");
    }

    /// Takes bytes in; returns the messages that are whole now.
    pub(super) fn hear(&mut self, bytes: &[u8]) -> Result<Vec<Told>, String> {
        self.incoming.extend_from_slice(bytes);
        let mut told = Vec::new();
        let mut at = 0;
        while let Some(feed) = self.incoming[at..].iter().position(|byte| *byte == b'\n') {
            let line = String::from_utf8_lossy(&self.incoming[at..at + feed]).into_owned();
            let words: Vec<&str> = line.trim_end().split(' ').collect();
            let next = at + feed + 1;
            match words[0] {
                "MSG" | "HMSG" => {
                    let size: usize = words[words.len() - 1].parse().map_err(|_| line.clone())?;
                    if self.incoming.len() < next + size + 2 {
                        break;
                    }
                    told.push(message(&words, &self.incoming[next..next + size])?);
                    at = next + size + 2;
                }
                "PING" => {
                    self.outgoing.extend(b"PONG\r\n");
                    at = next;
                }
                "INFO" | "PONG" => at = next,
                _ => return Err(format!("client {} heard {line:?}", self.number)),
            }
        }
        self.incoming.drain(..at);
        Ok(told)
    }
}

fn message(words: &[&str], body: &[u8]) -> Result<Told, String> {
    let has_header = words[0] == "HMSG";
    let sizes = if has_header { 2 } else { 1 };
    let header = if has_header { words[words.len() - 2] } else { "0" };
    let number = |word: &str| word.parse::<usize>().map_err(|_| words.join(" "));
    let (header, payload) = body.split_at(number(header)?);
    let reply = if words.len() == 4 + sizes { words[3] } else { "" };
    Ok(Told {
        sid: number(words[2])? as u32,
        subject: words[1].to_owned(),
        reply: reply.to_owned(),
        header: String::from_utf8_lossy(header).into_owned(),
        payload: payload.to_vec(),
    })
}
