//! What a client receives, counted.
//!
//! The scanner must cost a small part of what the server spends per message, so frames of a known
//! shape are counted in leaps: the first and the last of sixteen are compared, those between follow
//! from their length. Anything else takes the exact path, one line at a time, so that a leap that
//! does not fit is never counted.

use super::failure::Failure;

/// Frames passed over at once when the first and the last of them are as expected.
const LEAP: usize = 16;
/// The first bytes of a payload that are handed on: a stamp of two words.
pub(crate) const HEAD: usize = 16;
/// INFO is the longest line a server sends; it stays far below this.
const LINE_MAX: usize = 64 * 1024;

/// One thing that arrived.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event<'a> {
    /// A message on the exact path; those passed over in leaps are only counted.
    Message(Message<'a>),
    Info,
    Ping,
    Pong,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    pub(crate) subject: &'a [u8],
    pub(crate) sid: &'a [u8],
    pub(crate) reply: Option<&'a [u8]>,
    pub(crate) size: usize,
    /// The first bytes of the payload, at most [`HEAD`].
    pub(crate) head: &'a [u8],
}

/// The one shape of frame that a connection will receive.
#[derive(Debug, Clone)]
pub(crate) struct Expect {
    /// What every frame starts with, for instance `MSG bench.0 1 16\r\n`.
    pub(crate) prefix: Vec<u8>,
    /// What its control line ends with, when subject and sid vary in between.
    pub(crate) tail: Vec<u8>,
    /// Length of the control line with its line end.
    pub(crate) line_len: usize,
    pub(crate) size: usize,
    pub(crate) check: Check,
}

/// What tells that a frame is the right one, beyond its shape.
#[derive(Debug, Clone)]
pub(crate) enum Check {
    Shape,
    /// The payload starts with its index, modulo a power of two, as a little-endian word.
    Order {
        modulus: u64,
    },
    /// The subject ends with the digits of the sid.
    Twin {
        subject_at: usize,
        sid_at: usize,
        len: usize,
    },
}

impl Expect {
    fn frame_len(&self) -> usize {
        self.line_len + self.size + 2
    }

    /// Whole expected frames at the start of `chunk`, the first of which has number `index`.
    fn count(&self, chunk: &[u8], index: u64) -> usize {
        let len = self.frame_len();
        let mut frames = 0;
        while let Some(frame) = chunk.get(frames * len..(frames + 1) * len) {
            if !self.matches(frame, index + frames as u64) {
                break;
            }
            let last = frames + LEAP - 1;
            let leaps = chunk
                .get(last * len..(last + 1) * len)
                .is_some_and(|frame| self.matches(frame, index + last as u64));
            frames += if leaps { LEAP } else { 1 };
        }
        frames
    }

    fn matches(&self, frame: &[u8], index: u64) -> bool {
        let line = &frame[..self.line_len];
        frame.ends_with(b"\r\n")
            && line.starts_with(&self.prefix)
            && line.ends_with(&self.tail)
            && self.is_right(line, &frame[self.line_len..frame.len() - 2], index)
    }

    /// Whether this is the message with this number; `payload` may be its head only.
    fn is_right(&self, line: &[u8], payload: &[u8], index: u64) -> bool {
        match self.check {
            Check::Shape => true,
            Check::Order { modulus } => payload
                .first_chunk()
                .is_none_or(|word| u64::from_le_bytes(*word) == index % modulus),
            Check::Twin { subject_at, sid_at, len } => {
                line[subject_at..subject_at + len] == line[sid_at..sid_at + len]
            }
        }
    }
}

/// Reads one connection's bytes in pieces of any size.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    expect: Option<Expect>,
    /// The control line that is not complete, or whose payload is not.
    line: Vec<u8>,
    payload: Option<Payload>,
    messages: u64,
    payload_bytes: u64,
}

/// A payload that arrives in more than one piece.
#[derive(Debug)]
struct Payload {
    size: usize,
    /// Bytes seen of payload and line end.
    seen: usize,
    head: [u8; HEAD],
}

impl Scanner {
    /// From here on every message must have this shape.
    pub(crate) fn expect(&mut self, expect: Expect) {
        assert!(expect.line_len >= expect.prefix.len());
        assert!(expect.line_len >= expect.tail.len());
        self.expect = Some(expect);
    }

    pub(crate) fn messages(&self) -> u64 {
        self.messages
    }

    pub(crate) fn payload_bytes(&self) -> u64 {
        self.payload_bytes
    }

    /// Starts a new section: counts and order begin at zero again.
    pub(crate) fn restart(&mut self) {
        assert!(self.payload.is_none(), "sections meet between messages");
        self.messages = 0;
        self.payload_bytes = 0;
    }

    /// Takes the next bytes; `on` sees what is not counted in leaps.
    pub(crate) fn feed(
        &mut self,
        chunk: &[u8],
        mut on: impl FnMut(Event<'_>),
    ) -> Result<(), Failure> {
        let mut at = 0;
        while at < chunk.len() {
            let rest = &chunk[at..];
            if self.payload.is_some() {
                at += self.resume_payload(rest, &mut on)?;
                continue;
            }
            if self.line.is_empty()
                && let Some(expect) = &self.expect
            {
                let frames = expect.count(rest, self.messages);
                if frames > 0 {
                    self.messages += frames as u64;
                    self.payload_bytes += (frames * expect.size) as u64;
                    at += frames * expect.frame_len();
                    continue;
                }
            }
            at += self.take_line(rest, &mut on)?;
        }
        Ok(())
    }

    /// Takes one control line, and its payload if all of it is here; answers how many bytes.
    fn take_line(&mut self, rest: &[u8], on: &mut impl FnMut(Event<'_>)) -> Result<usize, Failure> {
        let Some(end) = memchr::memchr(b'\n', rest) else {
            if self.line.len() + rest.len() > LINE_MAX {
                return Err(Failure::Protocol("a line without end".into()));
            }
            self.line.extend_from_slice(rest);
            return Ok(rest.len());
        };
        let (line_part, body) = rest.split_at(end + 1);
        let mut carried = std::mem::take(&mut self.line);
        let line = if carried.is_empty() {
            line_part
        } else {
            carried.extend_from_slice(line_part);
            &carried[..]
        };
        let mut taken = line_part.len();
        if let Some(fields) = message_fields(line)? {
            if let Some(payload) = body.get(..fields.size + 2) {
                require_line_end(&payload[fields.size..])?;
                let head = &payload[..fields.size.min(HEAD)];
                self.admit(line, &Message { head, ..fields })?;
                on(Event::Message(Message { head, ..fields }));
                taken += payload.len();
            } else {
                let size = fields.size;
                self.payload = Some(Payload { size, seen: 0, head: [0; HEAD] });
                if carried.is_empty() {
                    carried.extend_from_slice(line_part);
                }
                self.line = carried;
                return Ok(taken);
            }
        } else {
            on(control(line)?);
        }
        carried.clear();
        self.line = carried;
        Ok(taken)
    }

    fn resume_payload(
        &mut self,
        rest: &[u8],
        on: &mut impl FnMut(Event<'_>),
    ) -> Result<usize, Failure> {
        let payload = self.payload.as_mut().expect("called only within a payload");
        let whole = payload.size + 2;
        let taken = rest.len().min(whole - payload.seen);
        let stamp = payload.size.min(HEAD);
        if payload.seen < stamp {
            let count = taken.min(stamp - payload.seen);
            payload.head[payload.seen..payload.seen + count].copy_from_slice(&rest[..count]);
        }
        for (place, wanted) in [(payload.size, b'\r'), (payload.size + 1, b'\n')] {
            let here = place.wrapping_sub(payload.seen);
            if place >= payload.seen && here < taken && rest[here] != wanted {
                return Err(Failure::Protocol("a payload does not end where it should".into()));
            }
        }
        payload.seen += taken;
        if payload.seen == whole {
            let head = payload.head;
            self.payload = None;
            let mut line = std::mem::take(&mut self.line);
            let fields = message_fields(&line)?.expect("the line was a message when it came");
            let message = Message { head: &head[..stamp], ..fields };
            self.admit(&line, &message)?;
            on(Event::Message(message));
            line.clear();
            self.line = line;
        }
        Ok(taken)
    }

    /// Counts a message of the exact path, if it is one that may come.
    fn admit(&mut self, line: &[u8], message: &Message<'_>) -> Result<(), Failure> {
        if let Some(expect) = &self.expect {
            let right = line.len() == expect.line_len
                && message.size == expect.size
                && line.starts_with(&expect.prefix)
                && line.ends_with(&expect.tail)
                && expect.is_right(line, message.head, self.messages);
            if !right {
                let shown = String::from_utf8_lossy(line);
                return Err(Failure::Mismatch(format!("number {}: {shown:?}", self.messages)));
            }
        }
        self.messages += 1;
        self.payload_bytes += message.size as u64;
        Ok(())
    }
}

fn require_line_end(end: &[u8]) -> Result<(), Failure> {
    if end == b"\r\n" {
        Ok(())
    } else {
        Err(Failure::Protocol("a payload does not end where it should".into()))
    }
}

/// The fields of a `MSG` or `HMSG` line, or nothing when it is another line.
fn message_fields(line: &[u8]) -> Result<Option<Message<'_>>, Failure> {
    let (arguments, headers) = if let Some(rest) = line.strip_prefix(b"MSG ") {
        (rest, 0)
    } else if let Some(rest) = line.strip_prefix(b"HMSG ") {
        (rest, 1)
    } else {
        return Ok(None);
    };
    let malformed = || Failure::Protocol(String::from_utf8_lossy(line).into_owned());
    let mut words: [&[u8]; 5] = [b""; 5];
    let mut count = 0;
    for word in arguments.trim_ascii_end().split(|byte| *byte == b' ') {
        *words.get_mut(count).ok_or_else(malformed)? = word;
        count += 1;
    }
    let reply = match count - headers {
        3 => None,
        4 => Some(words[2]),
        _ => return Err(malformed()),
    };
    let size = decimal(words[count - 1]).ok_or_else(malformed)?;
    Ok(Some(Message { subject: words[0], sid: words[1], reply, size, head: b"" }))
}

fn decimal(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() || digits.len() > 9 {
        return None;
    }
    digits.iter().try_fold(0, |value, digit| {
        digit.is_ascii_digit().then(|| value * 10 + usize::from(digit - b'0'))
    })
}

fn control(line: &[u8]) -> Result<Event<'static>, Failure> {
    let text = || String::from_utf8_lossy(line).trim_end().to_owned();
    if line.starts_with(b"PING") {
        Ok(Event::Ping)
    } else if line.starts_with(b"PONG") {
        Ok(Event::Pong)
    } else if line.starts_with(b"INFO ") {
        Ok(Event::Info)
    } else if line.starts_with(b"-ERR") {
        Err(Failure::Refused(text()))
    } else {
        Err(Failure::Protocol(text()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expect_order(size: usize) -> Expect {
        let prefix = format!("MSG bench.0 1 {size}\r\n").into_bytes();
        Expect {
            line_len: prefix.len(),
            prefix,
            tail: Vec::new(),
            size,
            check: Check::Order { modulus: 64 },
        }
    }

    fn frame(index: u64, size: usize) -> Vec<u8> {
        let mut bytes = format!("MSG bench.0 1 {size}\r\n").into_bytes();
        let mut payload = (index % 64).to_le_bytes().to_vec();
        payload.resize(size, b'x');
        bytes.extend_from_slice(&payload);
        bytes.extend_from_slice(b"\r\n");
        bytes
    }

    /// Forty messages with every control line that may come between them.
    fn transcript(size: usize) -> Vec<u8> {
        let mut bytes = b"INFO {\"server_id\":\"N\"} \r\n".to_vec();
        for index in 0..40 {
            bytes.extend_from_slice(&frame(index, size));
            match index {
                3 | 17 => bytes.extend_from_slice(b"PING\r\n"),
                30 => bytes.extend_from_slice(b"PONG\r\n"),
                _ => {}
            }
        }
        bytes
    }

    #[test]
    fn counts_are_the_same_at_any_boundary() {
        for size in [0, 1, 7, 8, 16, 33] {
            let bytes = transcript(size);
            for cut in 0..=bytes.len() {
                let mut scanner = Scanner::default();
                scanner.expect(expect_order(size));
                let mut counts = [0; 3];
                for piece in [&bytes[..cut], &bytes[cut..]] {
                    let seen = scanner.feed(piece, |event| match event {
                        Event::Ping => counts[0] += 1,
                        Event::Pong => counts[1] += 1,
                        Event::Info => counts[2] += 1,
                        Event::Message(message) => assert_eq!(message.size, size),
                    });
                    seen.expect("the transcript is well formed");
                }
                assert_eq!(counts, [2, 1, 1]);
                assert_eq!(scanner.messages(), 40);
                assert_eq!(scanner.payload_bytes(), 40 * size as u64);
            }
        }
    }

    #[test]
    fn one_byte_at_a_time_gives_the_exact_fields() {
        let bytes = b"MSG a.b 12 _INBOX.x 20\r\n0123456789abcdefghij\r\nMSG c 3 0\r\n\r\n";
        let mut scanner = Scanner::default();
        let mut seen = Vec::new();
        for byte in bytes {
            let fed = scanner.feed(std::slice::from_ref(byte), |event| {
                let Event::Message(message) = event else { panic!("only messages here") };
                let reply = message.reply.map(<[u8]>::to_vec);
                seen.push((message.subject.to_vec(), reply, message.size, message.head.to_vec()));
            });
            fed.expect("the transcript is well formed");
        }
        let first = (b"a.b".to_vec(), Some(b"_INBOX.x".to_vec()), 20, b"0123456789abcdef".to_vec());
        assert_eq!(seen, [first, (b"c".to_vec(), None, 0, Vec::new())]);
    }

    #[test]
    fn a_message_lost_or_doubled_or_swapped_is_found() {
        let frames: Vec<_> = (0..40).map(|index| frame(index, 16)).collect();
        let lost = [&frames[..9], &frames[10..]].concat();
        let doubled = [&frames[..9], &frames[8..]].concat();
        let swapped = [&frames[..8], &frames[9..10], &frames[8..9], &frames[10..]].concat();
        for frames in [lost, doubled] {
            let mut scanner = Scanner::default();
            scanner.expect(expect_order(16));
            let verdict = scanner.feed(&frames.concat(), |_| {});
            assert!(matches!(verdict, Err(Failure::Mismatch(_))), "{verdict:?}");
        }
        // Inside a leap a swap of neighbours is not seen; at its first message it is.
        let mut scanner = Scanner::default();
        scanner.expect(expect_order(16));
        let verdict = scanner.feed(&swapped.concat()[8 * frames[0].len()..], |_| {});
        assert!(matches!(verdict, Err(Failure::Mismatch(_))), "{verdict:?}");
    }

    #[test]
    fn twins_must_agree() {
        let expect = Expect {
            prefix: b"MSG s.".to_vec(),
            tail: b" 2\r\n".to_vec(),
            line_len: b"MSG s.1001 1001 2\r\n".len(),
            size: 2,
            check: Check::Twin { subject_at: 6, sid_at: 11, len: 4 },
        };
        let feed = |bytes: &[u8]| {
            let mut scanner = Scanner::default();
            scanner.expect(expect.clone());
            scanner.feed(bytes, |_| {}).map(|()| scanner.messages())
        };
        let right = b"MSG s.1001 1001 2\r\nab\r\nMSG s.1777 1777 2\r\nab\r\n";
        assert!(matches!(feed(right), Ok(2)));
        let wrong = b"MSG s.1001 1001 2\r\nab\r\nMSG s.1777 1778 2\r\nab\r\n";
        assert!(matches!(feed(wrong), Err(Failure::Mismatch(_))));
    }

    #[test]
    fn bad_lines_are_refused() {
        for bytes in [
            &b"MSG a 1\r\n"[..],
            b"MSG a 1 x\r\n",
            b"MSG a 1 b c 3\r\n",
            b"WHAT\r\n",
            b"MSG a 1 2\r\nab\n\n",
        ] {
            let verdict = Scanner::default().feed(bytes, |_| {});
            assert!(matches!(verdict, Err(Failure::Protocol(_))), "{verdict:?}");
        }
        let verdict = Scanner::default().feed(b"-ERR 'Unknown Protocol Operation'\r\n", |_| {});
        assert!(matches!(verdict, Err(Failure::Refused(_))));
    }
}
