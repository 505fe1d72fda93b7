//! The client protocol: input that is cut anywhere must say what it says in one piece.
//!
//! The first byte picks the limit on control lines, the next two seed the cuts.

use base::Random;
use wire::{Fault, Operation, Step, step};

const LIMITS: [usize; 4] = [8, 64, 512, 4096];

/// What was read, without what depends on where the input was cut: places in the input, and blanks
/// that a reader may leave out.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Publish {
        subject: Vec<u8>,
        reply: Vec<u8>,
        header: usize,
        size: usize,
        with_header: bool,
        clean: bool,
        body: Vec<u8>,
    },
    Operation(String),
    Fault(&'static str),
    /// A payload that does not end where its size says.
    Unterminated,
}

/// Reads as a connection does: what is incomplete is kept, as far as it matters.
struct Reader {
    limit: usize,
    carry: Vec<u8>,
    seen: Vec<Seen>,
    ended: bool,
}

impl Reader {
    const fn new(limit: usize) -> Self {
        Self { limit, carry: Vec::new(), seen: Vec::new(), ended: false }
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.carry.extend_from_slice(bytes);
        let input = std::mem::take(&mut self.carry);
        let mut at = 0;
        while !self.ended {
            let rest = &input[at..];
            match step(rest, self.limit) {
                Step::Incomplete { keep } => {
                    assert!(keep <= rest.len(), "what is kept is there");
                    self.carry.extend_from_slice(&rest[..keep]);
                    return;
                }
                Step::Publish(line) => {
                    let end = line.line_bytes + line.size;
                    assert!(line.header <= line.size);
                    assert!(line.line_bytes <= rest.len());
                    let Some(body) = rest.get(line.line_bytes..end + 2) else {
                        self.carry.extend_from_slice(rest);
                        return;
                    };
                    self.seen.push(Seen::Publish {
                        subject: line.subject.to_vec(),
                        reply: line.reply.to_vec(),
                        header: line.header,
                        size: line.size,
                        with_header: line.with_header,
                        clean: line.sizes_clean,
                        body: body.to_vec(),
                    });
                    if !body.ends_with(b"\r\n") {
                        self.end(Seen::Unterminated);
                    }
                    at += end + 2;
                }
                Step::Operation(operation, bytes) => {
                    assert!(bytes > 0, "an operation takes bytes");
                    assert!(bytes <= rest.len());
                    if let Operation::Subscribe { subject, sid, .. } = &operation {
                        assert!(!subject.is_empty() && !sid.is_empty());
                    }
                    self.seen.push(Seen::Operation(format!("{operation:?}")));
                    at += bytes;
                }
                Step::Fault(fault) => self.end(Seen::Fault(match fault {
                    Fault::UnknownOperation { .. } => "unknown operation",
                    Fault::ControlLine => "control line",
                    Fault::Arguments => "arguments",
                })),
            }
        }
    }

    fn end(&mut self, last: Seen) {
        self.seen.push(last);
        self.ended = true;
    }
}

/// Runs one input.
pub(crate) fn run(data: &[u8]) {
    let [limit, high, low, input @ ..] = data else { return };
    let limit = LIMITS[usize::from(*limit) % LIMITS.len()];
    let mut random = Random::new(u64::from(u16::from_be_bytes([*high, *low])));
    let mut whole = Reader::new(limit);
    whole.feed(input);
    let mut cut = Reader::new(limit);
    let mut rest = input;
    // From byte by byte to pieces that hold several operations.
    let longest = 1 << random.below(8);
    while !rest.is_empty() {
        let count = (1 + random.below(longest) as usize).min(rest.len());
        cut.feed(&rest[..count]);
        rest = &rest[count..];
    }
    assert_eq!(whole.seen, cut.seen, "input says the same however it is cut");
}
