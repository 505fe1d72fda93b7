//! WebSocket frames (RFC 6455): bytes from a client to parts of messages, and messages to bytes.
//!
//! Incremental at any byte boundary. Payload is unmasked where it stands and handed on as it comes,
//! whatever the frames that it is cut into; only control frames wait until they are whole.

/// A frame with a part of a message that began before.
const CONTINUATION: u8 = 0;
/// A frame with text.
const TEXT: u8 = 1;
/// A frame with bytes.
pub const BINARY: u8 = 2;
/// A frame that says goodbye.
pub const CLOSE: u8 = 8;
/// A frame that wants an answer.
pub const PING: u8 = 9;
/// The answer.
pub const PONG: u8 = 10;

const FINAL: u8 = 0x80;
const COMPRESSED: u8 = 0x40;
const RESERVED: u8 = 0x30;
const MASKED: u8 = 0x80;

/// Payload of a control frame.
pub const CONTROL_BYTES_MAX: usize = 125;
/// Header of a frame: two bytes, eight of a length, four of a key.
const HEAD_BYTES_MAX: usize = 14;
/// Header of a frame to a client.
pub const PLAIN_HEAD_BYTES_MAX: usize = 10;

/// Normal closure, the status of one who just leaves.
pub const NORMAL: u16 = 1000;
/// The status for a peer that broke the rules.
pub const PROTOCOL_ERROR: u16 = 1002;

/// What stands at the front of the input.
#[derive(Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// There is more to come.
    Incomplete,
    /// Payload of a message, unmasked.
    Data {
        /// The bytes.
        bytes: &'a mut [u8],
        /// Are they of a compressed message?
        compressed: bool,
        /// Do they end the message?
        last: bool,
    },
    /// A PING, with what its answer has to carry.
    Ping(&'a [u8]),
    /// A PONG.
    Pong,
    /// A goodbye, with what its answer has to carry.
    Close(Vec<u8>),
    /// A breach of the rules, in the reference's words.
    Wrong(String),
}

/// How far the input of one connection has been read.
#[derive(Clone, Debug)]
pub struct Decoder {
    is_masked: bool,
    may_compress: bool,
    head: [u8; HEAD_BYTES_MAX],
    head_bytes: usize,
    /// Is the head of a frame done with and its payload not?
    in_frame: bool,
    opcode: u8,
    is_final: bool,
    /// Payload of the frame that is still to come.
    left: u64,
    key: [u8; 4],
    /// Did a message begin that has not ended?
    in_message: bool,
    is_compressed: bool,
    control: [u8; CONTROL_BYTES_MAX],
    control_bytes: usize,
}

impl Decoder {
    /// Of a client that masks what it sends, or was allowed not to; and that may compress, or not.
    pub const fn new(is_masked: bool, may_compress: bool) -> Self {
        Self {
            is_masked,
            may_compress,
            head: [0; HEAD_BYTES_MAX],
            head_bytes: 0,
            in_frame: false,
            opcode: 0,
            is_final: true,
            left: 0,
            key: [0; 4],
            in_message: false,
            is_compressed: false,
            control: [0; CONTROL_BYTES_MAX],
            control_bytes: 0,
        }
    }

    /// Takes what stands at the front of `input`. Returns it, and how many bytes it took.
    pub fn step<'a>(&'a mut self, input: &'a mut [u8]) -> (Part<'a>, usize) {
        let mut used = 0;
        while !self.in_frame {
            if let Err(problem) = self.check_head() {
                return (Part::Wrong(problem), used);
            }
            let wanted = self.head_wanted();
            if self.head_bytes == wanted {
                self.begin_frame();
                break;
            }
            let Some(byte) = input.get(used) else { return (Part::Incomplete, used) };
            self.head[self.head_bytes] = *byte;
            self.head_bytes += 1;
            used += 1;
        }
        let available = (input.len() - used) as u64;
        let count = self.left.min(available) as usize;
        if self.opcode >= CLOSE {
            return self.take_control(&input[used..used + count], used + count);
        }
        if count == 0 && self.left > 0 {
            return (Part::Incomplete, used);
        }
        let bytes = &mut input[used..used + count];
        if self.is_masked {
            unmask(bytes, self.key);
            self.key.rotate_left(count % 4);
        }
        self.left -= count as u64;
        self.in_frame = self.left > 0;
        let last = self.is_final && self.left == 0;
        (Part::Data { bytes, compressed: self.is_compressed, last }, used + count)
    }

    /// Bytes of the head as far as what came of it tells.
    const fn head_wanted(&self) -> usize {
        if self.head_bytes < 2 {
            return 2;
        }
        let length = match self.head[1] & !MASKED {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + length + if self.is_masked { 4 } else { 0 }
    }

    /// Checks the first two bytes of a head once they are there, and the length once it is.
    fn check_head(&self) -> Result<(), String> {
        let first = self.head[0];
        if self.head_bytes == 1 {
            if first & RESERVED != 0 {
                return Err("RSV2 and RSV3 must be clear".to_owned());
            }
            if first & COMPRESSED != 0 && !self.may_compress {
                let text = "compressed frame received without negotiated permessage-deflate";
                return Err(text.to_owned());
            }
        }
        if self.head_bytes == 2 {
            return self.check_second();
        }
        if self.head_bytes == 10 && self.head[1] & !MASKED == 127 && self.head[2] & 0x80 != 0 {
            return Err("invalid 64-bit payload length".to_owned());
        }
        Ok(())
    }

    fn check_second(&self) -> Result<(), String> {
        let [first, second, ..] = self.head;
        let (is_final, is_compressed) = (first & FINAL != 0, first & COMPRESSED != 0);
        if self.is_masked && second & MASKED == 0 {
            return Err("mask bit missing".to_owned());
        }
        match first & 0x0f {
            CLOSE | PING | PONG => {
                if usize::from(second & !MASKED) > CONTROL_BYTES_MAX {
                    return Err(format!(
                        "control frame length bigger than maximum allowed of {CONTROL_BYTES_MAX} \
                         bytes"
                    ));
                }
                if !is_final {
                    return Err("control frame does not have final bit set".to_owned());
                }
                if is_compressed {
                    return Err("control frame must not be compressed".to_owned());
                }
            }
            TEXT | BINARY if self.in_message => {
                let text = "new message started before final frame for previous message was \
                            received";
                return Err(text.to_owned());
            }
            CONTINUATION if !self.in_message || is_compressed => {
                return Err("invalid continuation frame".to_owned());
            }
            TEXT | BINARY | CONTINUATION => {}
            other => return Err(format!("unknown opcode {other}")),
        }
        Ok(())
    }

    fn begin_frame(&mut self) {
        let head = self.head;
        self.opcode = head[0] & 0x0f;
        self.is_final = head[0] & FINAL != 0;
        let length_bytes;
        (self.left, length_bytes) = match head[1] & !MASKED {
            126 => (u64::from(u16::from_be_bytes([head[2], head[3]])), 2),
            127 => {
                let digits = head[2..10].try_into().expect("eight bytes are eight");
                (u64::from_be_bytes(digits), 8)
            }
            length => (u64::from(length), 0),
        };
        if self.is_masked {
            let key = &head[2 + length_bytes..6 + length_bytes];
            self.key = key.try_into().expect("four bytes are four");
        }
        if self.opcode < CLOSE {
            self.in_message = !self.is_final;
            if self.opcode != CONTINUATION {
                self.is_compressed = head[0] & COMPRESSED != 0;
            }
        }
        self.head_bytes = 0;
        self.control_bytes = 0;
        self.in_frame = true;
    }

    fn take_control(&mut self, bytes: &[u8], used: usize) -> (Part<'_>, usize) {
        let before = self.control_bytes;
        self.control[before..before + bytes.len()].copy_from_slice(bytes);
        self.control_bytes += bytes.len();
        self.left -= bytes.len() as u64;
        if self.left > 0 {
            return (Part::Incomplete, used);
        }
        self.in_frame = false;
        let payload = &mut self.control[..self.control_bytes];
        if self.is_masked {
            unmask(payload, self.key);
        }
        let part = match self.opcode {
            PING => Part::Ping(payload),
            PONG => Part::Pong,
            _ => closing(payload),
        };
        (part, used)
    }
}

/// What a goodbye is answered with.
fn closing(payload: &[u8]) -> Part<'static> {
    let [high, low, text @ ..] = payload else {
        return match payload.len() {
            0 => Part::Close(Vec::new()),
            _ => Part::Wrong("close frame payload cannot be 1 byte".to_owned()),
        };
    };
    let status = u16::from_be_bytes([*high, *low]);
    let is_valid = matches!(status, 1000..=1003 | 1007..=1014 | 3000..=4999);
    if !is_valid {
        return Part::Wrong(format!("invalid close status code {status}"));
    }
    match std::str::from_utf8(text) {
        Ok(text) => Part::Close(farewell(status, text)),
        Err(_) => Part::Close(farewell(1007, "invalid utf8 body in close frame")),
    }
}

/// The payload of a goodbye, with a text that is cut if it is too long.
pub fn farewell(status: u16, text: &str) -> Vec<u8> {
    let mut payload = status.to_be_bytes().to_vec();
    if text.len() <= CONTROL_BYTES_MAX - 2 {
        payload.extend_from_slice(text.as_bytes());
    } else {
        let mut end = CONTROL_BYTES_MAX - 5;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        payload.extend_from_slice(&text.as_bytes()[..end]);
        payload.extend_from_slice(b"...");
    }
    payload
}

/// Takes a mask off, eight bytes at a time.
pub fn unmask(bytes: &mut [u8], key: [u8; 4]) {
    let [a, b, c, d] = key;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key.into_iter().cycle()) {
        *byte ^= key;
    }
}

/// One of the frames of a message, as its head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// What kind; zero for one that goes on with a message.
    pub opcode: u8,
    /// Is it the last of its message?
    pub is_final: bool,
    /// Is the message compressed?
    pub is_compressed: bool,
    /// Bytes of its payload.
    pub length: usize,
}

impl Head {
    /// Writes it, without a mask. Returns its length.
    pub fn write(self, out: &mut [u8]) -> usize {
        out[0] = self.opcode
            | if self.is_final { FINAL } else { 0 }
            | if self.is_compressed { COMPRESSED } else { 0 };
        match self.length {
            length @ 0..=125 => {
                out[1] = length as u8;
                2
            }
            length @ 126..=0xffff => {
                out[1] = 126;
                out[2..4].copy_from_slice(&(length as u16).to_be_bytes());
                4
            }
            length => {
                out[1] = 127;
                out[2..10].copy_from_slice(&(length as u64).to_be_bytes());
                10
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

    /// A masked frame with these first bits and opcode.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut head = [0; PLAIN_HEAD_BYTES_MAX];
        let length = payload.len();
        let plain = Head { opcode: 0, is_final: false, is_compressed: false, length };
        let bytes = plain.write(&mut head);
        head[0] = first;
        head[1] |= MASKED;
        let mut frame = head[..bytes].to_vec();
        frame.extend(KEY);
        frame.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
        frame
    }

    /// What a decoder makes of input in pieces of this size: payload, with `|` at the end of a
    /// message, and what else there was.
    fn read(decoder: &mut Decoder, input: &[u8], piece: usize) -> Result<Vec<u8>, String> {
        let mut found = Vec::new();
        for part in input.to_vec().chunks_mut(piece) {
            let mut at = 0;
            loop {
                let (part, used) = decoder.step(&mut part[at..]);
                at += used;
                match part {
                    Part::Incomplete => break,
                    Part::Data { bytes, last, compressed } => {
                        found.extend_from_slice(bytes);
                        if last {
                            found.push(if compressed { b'#' } else { b'|' });
                        }
                    }
                    Part::Ping(payload) => found.extend([b"<", payload, b">"].concat()),
                    Part::Pong => found.push(b'^'),
                    Part::Close(payload) => {
                        found.extend([b"close ", &payload[..]].concat());
                        return Ok(found);
                    }
                    Part::Wrong(problem) => return Err(problem),
                }
            }
        }
        Ok(found)
    }

    #[test]
    fn frames_read_the_same_however_they_are_cut() {
        let long = vec![b'x'; 70_000];
        let mut input = frame(0x82, b"PING\r\n");
        let mut expected = b"PING\r\n|".to_vec();
        input.extend(frame(0x01, b"ab"));
        input.extend(frame(0x89, b"hi"));
        input.extend(frame(0x00, b""));
        input.extend(frame(0x8a, b""));
        input.extend(frame(0x80, b"cde"));
        expected.extend(b"ab<hi>^cde|");
        input.extend(frame(0x42, &long[..300]));
        input.extend(frame(0x80, &long));
        expected.extend([&long[..300], &long, b"#"].concat());
        input.extend(frame(0x88, b"\x03\xe8bye"));
        expected.extend(b"close \x03\xe8bye");
        for piece in [1, 2, 3, 5, 7, 11, 100, 1000, 100_000] {
            let mut decoder = Decoder::new(true, true);
            assert!(read(&mut decoder, &input, piece) == Ok(expected.clone()), "{piece}");
        }
    }

    #[test]
    fn breaches_are_told_in_the_words_of_the_reference() {
        let rows: [(Vec<u8>, &str); 14] = [
            (b"\x82\x06PING\r\n".to_vec(), "mask bit missing"),
            (frame(0xc2, b"ab"), "compressed frame received without negotiated permessage-deflate"),
            (frame(0xa2, b"ab"), "RSV2 and RSV3 must be clear"),
            (frame(0x83, b"ab"), "unknown opcode 3"),
            (frame(0x80, b"ab"), "invalid continuation frame"),
            (
                [frame(0x02, b"a"), frame(0x82, b"b")].concat(),
                "new message started before final frame for previous message was received",
            ),
            (frame(0x09, b""), "control frame does not have final bit set"),
            (
                frame(0x89, &[0; 126]),
                "control frame length bigger than maximum allowed of 125 bytes",
            ),
            (frame(0x88, b"\x03"), "close frame payload cannot be 1 byte"),
            (frame(0x88, b"\x03\xed"), "invalid close status code 1005"),
            (frame(0x88, b"\x13\x88"), "invalid close status code 5000"),
            (frame(0x88, b"\x04\x00"), "invalid close status code 1024"),
            (frame(0x88, b"\x03\xe7"), "invalid close status code 999"),
            (b"\x82\xff\x80\0\0\0\0\0\0\0\0\0\0\0".to_vec(), "invalid 64-bit payload length"),
        ];
        for (input, problem) in rows {
            for piece in [1, 1000] {
                let found = read(&mut Decoder::new(true, false), &input, piece);
                assert_eq!(found, Err(problem.to_owned()));
            }
        }
        let compressed_control = frame(0xc9, b"");
        let found = read(&mut Decoder::new(true, true), &compressed_control, 1000);
        assert_eq!(found, Err("control frame must not be compressed".to_owned()));
    }

    #[test]
    fn goodbyes_are_answered_in_kind() {
        for (payload, answer) in [
            (&b""[..], b"close ".to_vec()),
            (b"\x03\xe8", b"close \x03\xe8".to_vec()),
            (b"\x03\xe8\xff", b"close \x03\xefinvalid utf8 body in close frame".to_vec()),
        ] {
            let found = read(&mut Decoder::new(true, false), &frame(0x88, payload), 1000);
            assert_eq!(found, Ok(answer));
        }
        let long = farewell(PROTOCOL_ERROR, &"é".repeat(100));
        assert!(long.len() <= CONTROL_BYTES_MAX && long.ends_with(b"..."));
        assert!(std::str::from_utf8(&long[2..]).is_ok());
    }

    #[test]
    fn masks_come_off_at_any_length() {
        for length in 0..40 {
            let plain: Vec<u8> = (0..length).collect();
            let mut masked: Vec<u8> =
                plain.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
            unmask(&mut masked, KEY);
            assert_eq!(masked, plain);
        }
    }

    #[test]
    fn heads_have_the_shortest_length() {
        for (length, bytes) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            let mut out = [0; PLAIN_HEAD_BYTES_MAX];
            let head = Head { opcode: BINARY, is_final: true, is_compressed: false, length };
            assert_eq!(head.write(&mut out), bytes);
            let mut decoder = Decoder::new(false, false);
            let (part, used) = decoder.step(&mut out[..bytes]);
            let empty = matches!(part, Part::Data { last: true, .. });
            assert_eq!((empty, used), (length == 0, bytes));
        }
    }
}
