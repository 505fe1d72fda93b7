//! Replays one transcript against one back end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::backend::{Backend, ConnectionKey};
use super::bytes::{Fit, Pattern, show};
use super::info::{Fields, check_info, take_info};
use super::script::{Action, Step, Transcript};

/// A broker looks after its connections from the second second on; until then a PING is a mistake.
const FIRST_PING_AFTER: Duration = Duration::from_millis(1500);
/// Bytes at either end of a long input that are handed over one by one when input is cut.
const CUT_ENDS_BYTES: usize = 200;

/// Whether input is handed over as written or byte by byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    Whole,
    Cut,
}

/// Replays the transcript; the error says which step failed and what arrived instead.
pub(crate) fn replay(
    transcript: &Transcript,
    backend: &mut dyn Backend,
    input: Input,
) -> Result<(), String> {
    let timers = transcript.marks.timers;
    let mut replay = Replay {
        backend,
        input,
        timers,
        clients: BTreeMap::new(),
        advanced: Duration::ZERO,
        sentinels: 0,
    };
    for Step { line, action } in &transcript.steps {
        replay.act(action).map_err(|e| format!("line {line}: {e}"))?;
    }
    replay.finish().map_err(|e| format!("at the end: {e}"))
}

struct Replay<'a> {
    backend: &'a mut dyn Backend,
    input: Input,
    timers: bool,
    clients: BTreeMap<String, Client>,
    /// What `advance` has asked for since the last answer: real time may need as long.
    advanced: Duration,
    sentinels: u32,
}

struct Client {
    key: ConnectionKey,
    /// Arrived and not yet expected.
    buffer: Vec<u8>,
    opened: Instant,
    /// Not to be proven quiet at the end.
    done: bool,
    /// The last reply subject of the broker's own that was expected and came.
    reply: Vec<u8>,
}

impl Client {
    /// Takes what was expected out of what has arrived.
    fn take(&mut self, length: usize) {
        let taken: Vec<u8> = self.buffer.drain(..length).collect();
        let mut words = taken.split(u8::is_ascii_whitespace);
        if let Some(reply) = words.rfind(|word| word.starts_with(b"_R_.")) {
            self.reply = reply.to_vec();
        }
    }

    /// What is to be sent, with the last reply subject where it says so.
    fn fill_in(&self, piece: &[u8]) -> Vec<u8> {
        const PLACE: &[u8] = b"<reply>";
        let mut filled = Vec::with_capacity(piece.len());
        let mut rest = piece;
        while let Some(at) = rest.windows(PLACE.len()).position(|window| window == PLACE) {
            filled.extend_from_slice(&rest[..at]);
            filled.extend_from_slice(&self.reply);
            rest = &rest[at + PLACE.len()..];
        }
        filled.extend_from_slice(rest);
        filled
    }
}

impl Replay<'_> {
    fn act(&mut self, action: &Action) -> Result<(), String> {
        match action {
            Action::Dial(name) => self.dial(name),
            Action::Open(name, fields) => self.open(name, fields),
            Action::Ready(name, fields) => self.ready(name, fields),
            Action::Send(name, pieces) => self.send(name, pieces),
            Action::Expect(name, pattern) => self.expect(name, pattern),
            Action::Info(name, fields) => self.info(name, fields),
            Action::Unordered(name, items) => self.spread(std::slice::from_ref(name), items),
            Action::Spread(names, items) => self.spread(names, items),
            Action::Quiet(name) => self.quiet(name),
            Action::QuietAfter(name, publisher) => self.quiet_after(name, publisher),
            Action::Closed(name, anything) => self.closed(name, *anything),
            Action::Close(name) => self.close(name),
            Action::Leave(name) => {
                self.client(name)?.done = true;
                Ok(())
            }
            Action::Advance(by) => {
                self.backend.advance(*by);
                self.advanced += *by;
                Ok(())
            }
            Action::Signal(name) => self.backend.signal(name),
            Action::Log(text) => self.backend.wait_for_log(text),
        }
    }

    /// Every connection that is still open must have nothing more to say.
    fn finish(&mut self) -> Result<(), String> {
        let names: Vec<String> = self.clients.keys().cloned().collect();
        for name in names {
            if !self.client(&name)?.done {
                self.quiet(&name).map_err(|e| format!("{name}: {e}"))?;
            }
        }
        Ok(())
    }

    fn dial(&mut self, name: &str) -> Result<(), String> {
        let key = self.backend.connect()?;
        let (buffer, reply) = (Vec::new(), Vec::new());
        let client = Client { key, buffer, opened: Instant::now(), done: false, reply };
        match self.clients.insert(name.to_owned(), client) {
            Some(_) => Err(format!("{name} is already connected")),
            None => Ok(()),
        }
    }

    fn open(&mut self, name: &str, fields: &Fields) -> Result<(), String> {
        self.dial(name)?;
        self.info(name, fields)
    }

    fn ready(&mut self, name: &str, fields: &Fields) -> Result<(), String> {
        self.open(name, &Fields::new())?;
        let mut connect = Fields::new();
        connect.insert(String::from("verbose"), false.into());
        connect.insert(String::from("pedantic"), false.into());
        connect.extend(fields.clone());
        let verbose = connect["verbose"] == true;
        let informed = connect.get("protocol").is_some_and(|protocol| protocol == 1);
        let json = serde_json::Value::Object(connect);
        self.send(name, &[format!("CONNECT {json}\r\nPING\r\n").into_bytes()])?;
        if verbose {
            self.expect_bytes(name, r"+OK\r\n")?;
        }
        self.expect_bytes(name, r"PONG\r\n")?;
        if informed { self.info(name, &Fields::new()) } else { Ok(()) }
    }

    fn send(&mut self, name: &str, pieces: &[Vec<u8>]) -> Result<(), String> {
        let key = self.client(name)?.key;
        for piece in pieces {
            let piece = self.client(name)?.fill_in(piece);
            let cuts = match self.input {
                Input::Cut => cuts(&piece),
                Input::Whole => vec![piece.as_slice()],
            };
            for part in cuts {
                self.backend.feed(key, part);
            }
        }
        Ok(())
    }

    fn expect(&mut self, name: &str, pattern: &Pattern) -> Result<(), String> {
        let deadline = self.deadline();
        loop {
            let client = self.client(name)?;
            match pattern.fit(&client.buffer) {
                Fit::Whole(length) => {
                    client.take(length);
                    return Ok(());
                }
                Fit::Never if self.drop_liveness_ping(name, Some(pattern))? => {}
                Fit::Never => return Err(self.mismatch(name, pattern.text())),
                Fit::More => self.receive(name, deadline, pattern.text())?,
            }
        }
    }

    fn expect_bytes(&mut self, name: &str, text: &str) -> Result<(), String> {
        self.expect(name, &Pattern::decode(text)?)
    }

    fn info(&mut self, name: &str, fields: &Fields) -> Result<(), String> {
        let deadline = self.deadline();
        loop {
            let client = self.client(name)?;
            if let Some((info, length)) = take_info(&client.buffer)? {
                client.buffer.drain(..length);
                return check_info(&info, fields);
            }
            self.receive(name, deadline, "INFO")?;
        }
    }

    /// Takes all items, each from whichever of the connections has it first in its buffer.
    fn spread(&mut self, names: &[String], items: &[Pattern]) -> Result<(), String> {
        let deadline = self.deadline();
        let mut missing: Vec<&Pattern> = items.iter().collect();
        while !missing.is_empty() {
            let mut moved = false;
            for name in names {
                moved |= self.take_one(name, &mut missing)?;
            }
            if moved || missing.is_empty() {
                continue;
            }
            let text = missing.iter().map(|item| item.text()).collect::<Vec<_>>().join(" | ");
            self.receive_any(names, deadline, &text)?;
        }
        Ok(())
    }

    fn take_one(&mut self, name: &str, missing: &mut Vec<&Pattern>) -> Result<bool, String> {
        let client = self.client(name)?;
        let mut possible = client.buffer.is_empty();
        for (index, pattern) in missing.iter().enumerate() {
            match pattern.fit(&client.buffer) {
                Fit::Whole(length) => {
                    client.buffer.drain(..length);
                    missing.remove(index);
                    return Ok(true);
                }
                Fit::More => possible = true,
                Fit::Never => {}
            }
        }
        if possible || missing.is_empty() {
            return Ok(false);
        }
        if self.drop_liveness_ping(name, None)? {
            return Ok(true);
        }
        Err(self.mismatch(name, "one of the items"))
    }

    fn quiet(&mut self, name: &str) -> Result<(), String> {
        self.send(name, &[b"PING\r\n".to_vec()])?;
        self.expect_bytes(name, r"PONG\r\n")
    }

    /// What one publisher says reaches a subscriber in order: once a last word of its has arrived,
    /// nothing said before is on its way.
    fn quiet_after(&mut self, name: &str, publisher: &str) -> Result<(), String> {
        let number = self.sentinels;
        self.sentinels += 1;
        self.send(name, &[format!("SUB _quiet.{number} quiet{number}\r\nPING\r\n").into_bytes()])?;
        self.expect_bytes(name, r"PONG\r\n")?;
        self.send(publisher, &[format!("PUB _quiet.{number} 0\r\n\r\n").into_bytes()])?;
        self.expect_bytes(name, &format!(r"MSG _quiet.{number} quiet{number} 0\r\n\r\n"))?;
        self.send(name, &[format!("UNSUB quiet{number}\r\n").into_bytes()])?;
        self.quiet(name)
    }

    fn closed(&mut self, name: &str, anything: bool) -> Result<(), String> {
        let deadline = self.deadline();
        let key = self.client(name)?.key;
        while !self.backend.is_closed(key) {
            if anything {
                self.client(name)?.buffer.clear();
            }
            self.drop_liveness_ping(name, None)?;
            if !self.client(name)?.buffer.is_empty() {
                return Err(self.mismatch(name, "the end of the connection"));
            }
            if self.look(name)? {
                continue;
            }
            if !self.backend.is_closed(key) && Instant::now() >= deadline {
                return Err(String::from("the connection stays open"));
            }
        }
        let client = self.client(name)?;
        client.done = true;
        if anything || client.buffer.is_empty() {
            Ok(())
        } else {
            Err(self.mismatch(name, "the end of the connection"))
        }
    }

    fn close(&mut self, name: &str) -> Result<(), String> {
        let client = self.client(name)?;
        client.done = true;
        let key = client.key;
        self.backend.disconnect(key);
        Ok(())
    }

    fn client(&mut self, name: &str) -> Result<&mut Client, String> {
        self.clients.get_mut(name).ok_or_else(|| format!("{name} is not connected"))
    }

    fn deadline(&mut self) -> Instant {
        let advanced = std::mem::take(&mut self.advanced);
        let patience = self.backend.patience();
        Instant::now() + if patience.is_zero() { patience } else { patience + advanced }
    }

    /// Moves arrived bytes into the buffer; whether there were any.
    fn look(&mut self, name: &str) -> Result<bool, String> {
        let key = self.client(name)?.key;
        let output = self.backend.take_output(key);
        self.client(name)?.buffer.extend_from_slice(&output);
        Ok(!output.is_empty())
    }

    fn receive(&mut self, name: &str, deadline: Instant, wanted: &str) -> Result<(), String> {
        self.receive_any(std::slice::from_ref(&name.to_owned()), deadline, wanted)
    }

    /// Waits until one of the connections has more bytes.
    fn receive_any(
        &mut self,
        names: &[String],
        deadline: Instant,
        wanted: &str,
    ) -> Result<(), String> {
        loop {
            let late = Instant::now() >= deadline;
            let mut open = false;
            for name in names {
                if self.look(name)? {
                    return Ok(());
                }
                let key = self.client(name)?.key;
                open |= !self.backend.is_closed(key);
            }
            if late || !open {
                let why = if open { "nothing more arrived" } else { "the broker closed" };
                let parts: Vec<String> =
                    names.iter().map(|name| self.mismatch(name, wanted)).collect();
                return Err(format!("{why}; {}", parts.join("; ")));
            }
        }
    }

    /// The broker looks after a connection when it pleases; only timer transcripts care. A PING
    /// may stand ahead of what is wanted, or in the middle of it but for which it would fit.
    fn drop_liveness_ping(&mut self, name: &str, wanted: Option<&Pattern>) -> Result<bool, String> {
        const PING: &[u8] = b"PING\r\n";
        let timers = self.timers;
        let client = self.client(name)?;
        if timers || client.opened.elapsed() < FIRST_PING_AFTER {
            return Ok(false);
        }
        if client.buffer.starts_with(PING) {
            client.buffer.drain(..PING.len());
            return Ok(true);
        }
        let Some(wanted) = wanted else {
            return Ok(false);
        };
        for at in 2..client.buffer.len().saturating_sub(PING.len() - 1) {
            if client.buffer[at..].starts_with(PING) && client.buffer[..at].ends_with(b"\r\n") {
                let mut without = client.buffer.clone();
                without.drain(at..at + PING.len());
                if wanted.fit(&without) != Fit::Never {
                    client.buffer = without;
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn mismatch(&self, name: &str, wanted: &str) -> String {
        let have = self.clients.get(name).map(|client| show(&client.buffer)).unwrap_or_default();
        format!("{name} expected `{wanted}`, has `{have}`")
    }
}

/// Every byte by itself, but for the middle of a long input.
fn cuts(input: &[u8]) -> Vec<&[u8]> {
    if input.len() <= 2 * CUT_ENDS_BYTES {
        return input.chunks(1).collect();
    }
    let (head, rest) = input.split_at(CUT_ENDS_BYTES);
    let (middle, tail) = rest.split_at(rest.len() - CUT_ENDS_BYTES);
    head.chunks(1).chain([middle]).chain(tail.chunks(1)).collect()
}
