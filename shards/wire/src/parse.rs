//! Client operations out of a byte stream.
//!
//! [`step`] looks at the start of the input and says what stands there. It keeps no state: input
//! that ends within a control line is scanned again when more has come, which `max_control_line`
//! bounds. A payload is never scanned.
//!
//! The reference reads byte by byte and reports an error at the first byte that no operation can
//! have; so does this parser, although it looks for whole lines first.

use memchr::memchr;

/// What stands at the start of the input.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// A whole operation and the bytes it takes.
    Operation(Operation<'a>, usize),
    /// The line of a PUB or HPUB; its payload follows.
    Publish(PublishLine<'a>),
    /// More bytes are needed. Only the first `keep` bytes matter when they come.
    Incomplete {
        /// Leading bytes to hand in again.
        keep: usize,
    },
    /// What stands here is no operation.
    Fault(Fault),
}

/// An operation other than a publish.
#[derive(Debug, PartialEq, Eq)]
pub enum Operation<'a> {
    /// CONNECT with its JSON.
    Connect(&'a [u8]),
    /// INFO, which a client may send and nobody reads.
    Info(&'a [u8]),
    /// SUB; `queue` is empty for a plain subscription.
    Subscribe {
        /// The pattern.
        subject: &'a [u8],
        /// The queue group, or nothing.
        queue: &'a [u8],
        /// The client's name for the subscription.
        sid: &'a [u8],
    },
    /// UNSUB; `max` is none without an argument and zero if the argument is no number.
    Unsubscribe {
        /// The client's name for the subscription.
        sid: &'a [u8],
        /// Deliveries, counted from SUB, after which it ends.
        max: Option<u64>,
        /// The arguments as they came, for the trace.
        line: &'a [u8],
    },
    /// PING.
    Ping,
    /// PONG.
    Pong,
    /// +OK, which means nothing here.
    Ok,
    /// -ERR with its text.
    Err(&'a [u8]),
}

/// The control line of a PUB or HPUB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PublishLine<'a> {
    /// The subject, not checked for anything but white space.
    pub subject: &'a [u8],
    /// The reply subject, or nothing.
    pub reply: &'a [u8],
    /// Bytes of the header block; zero without one.
    pub header: usize,
    /// Bytes of header and payload together.
    pub size: usize,
    /// Was it an HPUB?
    pub with_header: bool,
    /// Bytes of the line with its line feed.
    pub line_bytes: usize,
    /// Where the size digits start (for an HPUB with a header: the digits of the header size).
    pub sizes_at: usize,
    /// Do the sizes stand exactly as a MSG line would have them, up to CR LF?
    pub sizes_clean: bool,
}

/// Why the input cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No operation looks like this: `Unknown Protocol Operation`.
    UnknownOperation {
        /// Offset of the first byte that no operation can have.
        at: usize,
    },
    /// The argument is longer than allowed: `maximum control line exceeded`.
    ControlLine,
    /// The arguments are wrong in number or form; closed without a word.
    Arguments,
}

/// Reads the operation at the start of `input`. `max_control_line` bounds the argument in bytes.
#[inline]
pub fn step(input: &[u8], max_control_line: usize) -> Step<'_> {
    if let Some(line) = quick_publish(input, max_control_line) {
        return Step::Publish(line);
    }
    if let [b'P', b'U', b'B', b' ', rest @ ..] = input
        && rest.len() > 1
    {
        return publish(input, 4, false, max_control_line);
    }
    dispatch(input, max_control_line)
}

/// The line of a PUB in the form that clients write it: upper case, single blanks, CR LF, and far
/// enough from the end of the input that whole words can be looked at. Nothing of any other form.
#[inline]
pub fn quick_publish(input: &[u8], max_control_line: usize) -> Option<PublishLine<'_>> {
    if word(input, 0)? as u32 != u32::from_le_bytes(*b"PUB ") {
        return None;
    }
    let subject_end = blank_from(input, 4)?;
    if subject_end == 4 || input[subject_end] != b' ' {
        return None;
    }
    let mut reply: &[u8] = &[];
    let mut sizes_at = subject_end + 1;
    let mut end = blank_from(input, sizes_at)?;
    if input[end] == b' ' && end > sizes_at {
        reply = &input[sizes_at..end];
        sizes_at = end + 1;
        end = blank_from(input, sizes_at)?;
    }
    let digits = &input[sizes_at..end];
    if digits.is_empty() || digits.len() > 9 || end - 4 > max_control_line {
        return None;
    }
    let mut size = 0;
    for digit in digits {
        let value = digit.wrapping_sub(b'0');
        if value > 9 {
            return None;
        }
        size = size * 10 + usize::from(value);
    }
    if input[end] != b'\r' || input.get(end + 1) != Some(&b'\n') {
        return None;
    }
    Some(PublishLine {
        subject: &input[4..subject_end],
        reply,
        header: 0,
        size,
        with_header: false,
        line_bytes: end + 2,
        sizes_at,
        sizes_clean: true,
    })
}

/// Eight bytes from `at`.
#[inline]
fn word(input: &[u8], at: usize) -> Option<u64> {
    let bytes = input.get(at..at + 8)?;
    Some(u64::from_le_bytes(bytes.try_into().expect("a range of eight bytes has eight bytes")))
}

/// Where the first byte up to a blank (0x20) stands, at or behind `at`, if eight bytes can be read
/// from there. Looks at eight bytes at a time: in `(w - 0x21…) & !w` the lowest bit that is set
/// among the upper bits of all bytes is that of the first byte below 0x21.
#[inline]
fn blank_from(input: &[u8], mut at: usize) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    loop {
        let eight = word(input, at)?;
        let found = eight.wrapping_sub(ONES * 0x21) & !eight & (ONES * 0x80);
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
}

fn dispatch(input: &[u8], limit: usize) -> Step<'_> {
    let Some(first) = input.first() else {
        return Step::Incomplete { keep: 0 };
    };
    let second = input.get(1).map(u8::to_ascii_lowercase);
    let verb: &[u8] = match (first.to_ascii_lowercase(), second) {
        (b'p' | b'h' | b's' | b'u' | b'c' | b'i' | b'+' | b'-', None) => {
            return Step::Incomplete { keep: 1 };
        }
        (b'p', Some(b'u')) => b"pub",
        (b'p', Some(b'i')) => b"ping",
        (b'p', Some(b'o')) => b"pong",
        (b'p', _) => return unknown(1),
        (b'h', _) => b"hpub",
        (b's', _) => b"sub",
        (b'u', _) => b"unsub",
        (b'c', _) => b"connect",
        (b'i', _) => b"info",
        (b'+', _) => b"+ok",
        (b'-', _) => b"-err",
        _ => return unknown(0),
    };
    for (at, (byte, expected)) in input.iter().zip(verb).enumerate() {
        if byte.to_ascii_lowercase() != *expected {
            return unknown(at);
        }
    }
    if input.len() < verb.len() {
        return Step::Incomplete { keep: input.len() };
    }
    match verb {
        b"ping" => bare(input, 4, Operation::Ping),
        b"pong" => bare(input, 4, Operation::Pong),
        b"+ok" => bare(input, 3, Operation::Ok),
        b"pub" => arguments_from(input, 3, |at| publish(input, at, false, limit)),
        b"hpub" => arguments_from(input, 4, |at| publish(input, at, true, limit)),
        // The reference wants no blank between these two and their JSON.
        b"connect" | b"info" if !input.get(verb.len()).is_none_or(|byte| is_blank(*byte)) => {
            line(input, verb, verb.len(), limit)
        }
        _ => arguments_from(input, verb.len(), |at| line(input, verb, at, limit)),
    }
}

const fn unknown<'a>(at: usize) -> Step<'a> {
    Step::Fault(Fault::UnknownOperation { at })
}

/// A verb without arguments: every byte up to the line feed is skipped.
fn bare<'a>(input: &'a [u8], verb_bytes: usize, operation: Operation<'a>) -> Step<'a> {
    match memchr(b'\n', &input[verb_bytes..]) {
        Some(at) => Step::Operation(operation, verb_bytes + at + 1),
        None => Step::Incomplete { keep: verb_bytes },
    }
}

/// Finds the first argument byte behind a verb, which at least one blank must follow.
fn arguments_from<'a>(
    input: &'a [u8],
    verb_bytes: usize,
    read: impl FnOnce(usize) -> Step<'a>,
) -> Step<'a> {
    match input.get(verb_bytes) {
        None => return Step::Incomplete { keep: input.len() },
        Some(b' ' | b'\t') => {}
        Some(_) => return unknown(verb_bytes),
    }
    match input[verb_bytes..].iter().position(|byte| !is_blank(*byte)) {
        // Blanks alone need not be kept: one stands for any number.
        None => Step::Incomplete { keep: verb_bytes + 1 },
        Some(at) => read(verb_bytes + at),
    }
}

const fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// A control line other than a publish, whose argument starts at `at`.
fn line<'a>(input: &'a [u8], verb: &[u8], at: usize, limit: usize) -> Step<'a> {
    // The first argument byte is never read as the end of the line, as in the reference.
    let Some(feed) = input.get(at + 1..).and_then(|rest| memchr(b'\n', rest)) else {
        return incomplete_line(input, at, limit);
    };
    let feed = at + 1 + feed;
    let argument = &input[at..feed - usize::from(feed - at > 1 && input[feed - 1] == b'\r')];
    if argument.len() > limit {
        return Step::Fault(Fault::ControlLine);
    }
    let operation = match verb {
        b"sub" => subscribe(argument),
        b"unsub" => unsubscribe(argument),
        b"connect" => Some(Operation::Connect(argument)),
        b"info" => Some(Operation::Info(argument)),
        _ => Some(Operation::Err(argument)),
    };
    match operation {
        Some(operation) => Step::Operation(operation, feed + 1),
        None => Step::Fault(Fault::Arguments),
    }
}

fn incomplete_line(input: &[u8], at: usize, limit: usize) -> Step<'_> {
    let argument = input[at..].strip_suffix(b"\r").unwrap_or(&input[at..]);
    if argument.len() > limit {
        return Step::Fault(Fault::ControlLine);
    }
    Step::Incomplete { keep: input.len() }
}

/// Arguments of SUB and UNSUB, which CR and LF also separate.
fn split(argument: &[u8]) -> impl Iterator<Item = &[u8]> {
    argument
        .split(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'))
        .filter(|token| !token.is_empty())
}

fn subscribe(argument: &[u8]) -> Option<Operation<'_>> {
    let mut tokens = split(argument);
    let (subject, second, third) = (tokens.next()?, tokens.next()?, tokens.next());
    if tokens.next().is_some() {
        return None;
    }
    Some(match third {
        Some(sid) => Operation::Subscribe { subject, queue: second, sid },
        None => Operation::Subscribe { subject, queue: &[], sid: second },
    })
}

fn unsubscribe(argument: &[u8]) -> Option<Operation<'_>> {
    let mut tokens = split(argument);
    let (sid, max) = (tokens.next()?, tokens.next());
    if tokens.next().is_some() {
        return None;
    }
    let max = max.map(|digits| size(digits).unwrap_or(0) as u64);
    Some(Operation::Unsubscribe { sid, max, line: argument })
}

/// A size: one to nine decimal digits.
fn size(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() || digits.len() > 9 {
        return None;
    }
    digits.iter().try_fold(0_usize, |value, digit| {
        digit.is_ascii_digit().then(|| value * 10 + usize::from(digit - b'0'))
    })
}

/// The line of a PUB or HPUB whose argument starts at or, for the common form, just before its
/// first byte at `from`.
fn publish(input: &[u8], from: usize, with_header: bool, limit: usize) -> Step<'_> {
    let mut at = from;
    while at < input.len() && is_blank(input[at]) {
        at += 1;
    }
    if at == input.len() {
        return Step::Incomplete { keep: from.min(input.len()) };
    }
    // One pass finds the tokens and the end of the line: lines are short, and a publish is what
    // most input consists of.
    let argument = at;
    let mut spans = [(0_usize, 0_usize); 4];
    let mut count = 0;
    let mut start = at;
    at += 1;
    loop {
        let Some(&byte) = input.get(at) else {
            return incomplete_line(input, argument, limit);
        };
        if byte > b' ' {
            at += 1;
            continue;
        }
        let end = match byte {
            b'\n' if input[at - 1] == b'\r' && at - 1 > argument => at - 1,
            b' ' | b'\t' | b'\n' => at,
            _ => {
                at += 1;
                continue;
            }
        };
        if end > start {
            // One too many is a fault, but only once the line is known not to be too long.
            if let Some(span) = spans.get_mut(count) {
                *span = (start, end);
            }
            count += 1;
        }
        at += 1;
        start = at;
        if byte == b'\n' {
            if end - argument > limit {
                return Step::Fault(Fault::ControlLine);
            }
            return match spans.get(..count) {
                Some(spans) => publish_line(input, spans, at, with_header),
                None => Step::Fault(Fault::Arguments),
            };
        }
    }
}

fn publish_line<'a>(
    input: &'a [u8],
    spans: &[(usize, usize)],
    line_bytes: usize,
    with_header: bool,
) -> Step<'a> {
    let numbers = 1 + usize::from(with_header);
    if spans.len() < 1 + numbers || spans.len() > 2 + numbers {
        return Step::Fault(Fault::Arguments);
    }
    let text = |span: (usize, usize)| &input[span.0..span.1];
    let last = spans[spans.len() - 1];
    let first = spans[spans.len() - numbers];
    let (Some(total), Some(leading)) = (size(text(last)), size(text(first))) else {
        return Step::Fault(Fault::Arguments);
    };
    let header = if with_header { leading } else { 0 };
    if header > total {
        return Step::Fault(Fault::Arguments);
    }
    let sizes = if header > 0 { first } else { last };
    let adjoining = header == 0 || (first.1 + 1 == last.0 && input[first.1] == b' ');
    Step::Publish(PublishLine {
        subject: text(spans[0]),
        reply: if spans.len() == 2 + numbers { text(spans[1]) } else { &[] },
        header,
        size: total,
        with_header,
        line_bytes,
        sizes_at: sizes.0,
        sizes_clean: adjoining && last.1 + 2 == line_bytes && input[last.1] == b'\r',
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 64;

    fn operation(input: &[u8]) -> (Operation<'_>, usize) {
        match step(input, LIMIT) {
            Step::Operation(operation, bytes) => (operation, bytes),
            other => panic!("{other:?}"),
        }
    }

    fn published(input: &[u8]) -> PublishLine<'_> {
        match step(input, LIMIT) {
            Step::Publish(line) => line,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn verbs_in_any_case_and_blanks_of_either_kind() {
        assert_eq!(operation(b"ping\r\nrest"), (Operation::Ping, 6));
        assert_eq!(operation(b"PoNG what ever\n"), (Operation::Pong, 15));
        assert_eq!(operation(b"+ok\r\n"), (Operation::Ok, 5));
        assert_eq!(operation(b"cONNECT \t {}\r\n"), (Operation::Connect(b"{}"), 14));
        assert_eq!(operation(b"CONNECT{}\r\n"), (Operation::Connect(b"{}"), 11));
        assert_eq!(operation(b"CONNECT\r\n"), (Operation::Connect(b"\r"), 9));
        assert_eq!(operation(b"INFO {}\n"), (Operation::Info(b"{}"), 8));
        assert_eq!(operation(b"-ERR 'x'\r\n"), (Operation::Err(b"'x'"), 10));
        let (sub, _) = operation(b"sub foo.*  q\t 7\r\n");
        assert_eq!(sub, Operation::Subscribe { subject: b"foo.*", queue: b"q", sid: b"7" });
        let (unsub, _) = operation(b"UNSUB 7 12\r\n");
        assert_eq!(unsub, Operation::Unsubscribe { sid: b"7", max: Some(12), line: b"7 12" });
        let (unsub, _) = operation(b"UNSUB 7 x\r\n");
        assert_eq!(unsub, Operation::Unsubscribe { sid: b"7", max: Some(0), line: b"7 x" });
    }

    #[test]
    fn a_publish_line_says_where_everything_stands() {
        let line = published(b"PUB foo 16\r\n");
        assert_eq!((line.subject, line.reply, line.size), (&b"foo"[..], &b""[..], 16));
        assert!(line.sizes_clean);
        assert_eq!((line.sizes_at, line.line_bytes), (8, 12));
        let line = published(b"pub\tfoo bar  003\n");
        assert_eq!((line.subject, line.reply, line.size), (&b"foo"[..], &b"bar"[..], 3));
        assert!(!line.sizes_clean);
        let line = published(b"HPUB a r 12 15\r\n");
        assert_eq!((line.header, line.size, line.reply), (12, 15, &b"r"[..]));
        assert!(line.sizes_clean);
        assert_eq!(line.sizes_at, 9);
        assert!(!published(b"HPUB a 12  15\r\n").sizes_clean);
        assert!(!published(b"PUB a 1 \r\n").sizes_clean);
    }

    #[test]
    fn the_quick_form_says_what_the_thorough_one_says() {
        let filler = b"0123456789abcdef";
        for line in [
            "PUB foo 3",
            "PUB foo.bar.baz.a.long.subject 3",
            "PUB foo reply.to.me 16",
            "PUB foo _INBOX.abcdefghijklmnop.1 123456789",
            "PUB foo  3",
            "PUB foo 3 ",
            "PUB  foo 3",
            "PUB foo x3",
            "PUB foo 1234567890",
            "PUB foo a b 3",
            "PUB f 0",
            "pub foo 3",
            "PUB f\u{e9} 3",
        ] {
            let input = [line.as_bytes(), b"\r\n", filler].concat();
            let thorough = publish(&input, 4, false, LIMIT);
            match quick_publish(&input, LIMIT) {
                Some(line) => assert_eq!(Step::Publish(line), thorough, "{line:?}"),
                None => assert!(!line.starts_with("PUB foo") || line.len() > 9, "{line}"),
            }
        }
        assert!(quick_publish(b"PUB foo 3\r\nabc\r\n", LIMIT).is_some());
        assert!(quick_publish(b"PUB foo 3\r\nabc\r\n", 4).is_none());
        assert!(quick_publish(b"PUB foo 3\r\n", LIMIT).is_none());
    }

    #[test]
    fn wrong_arguments_are_a_fault() {
        for input in [
            &b"PUB foo\r\n"[..],
            b"PUB foo -1\r\n",
            b"PUB foo 1234567890\r\n",
            b"PUB a b c d e\r\n",
            b"PUB a b 3 4\r\n",
            b"HPUB a 3\r\n",
            b"HPUB a 4 3\r\n",
            b"HPUB a x 3\r\n",
            b"SUB foo\r\n",
            b"SUB a b c d\r\n",
            b"SUB \r\n",
            b"UNSUB a b c\r\n",
            b"PUB \r\n",
        ] {
            assert_eq!(step(input, LIMIT), Step::Fault(Fault::Arguments), "{input:?}");
        }
    }

    #[test]
    fn an_unknown_operation_is_found_at_its_first_byte() {
        for (input, at) in [
            (&b"X"[..], 0),
            (b"PX", 1),
            (b"PUBX", 3),
            (b"PUB\r\n", 3),
            (b"MSG foo", 0),
            (b"SUBS", 3),
            (b"+X", 1),
            (b"HMSG a", 1),
        ] {
            assert_eq!(step(input, LIMIT), unknown(at), "{input:?}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_a_fault_before_it_ends() {
        let long = [b"SUB ", &[b'a'; 70][..]].concat();
        assert_eq!(step(&long, LIMIT), Step::Fault(Fault::ControlLine));
        let long = [b"PUB ", &[b'a'; 70][..], b" 1\r\n"].concat();
        assert_eq!(step(&long, LIMIT), Step::Fault(Fault::ControlLine));
        let many = [b"PUB a b c d e ", &[b'a'; 70][..], b" 1\r\n"].concat();
        assert_eq!(step(&many, LIMIT), Step::Fault(Fault::ControlLine));
        let fits = [b"SUB ", &[b'a'; 62][..], b" 1\r\n"].concat();
        assert!(matches!(step(&fits, LIMIT), Step::Operation(..)));
    }

    #[test]
    fn every_prefix_of_an_operation_is_incomplete() {
        for whole in [
            &b"PUB foo bar 16\r\n"[..],
            b"HPUB foo 12 16\r\n",
            b"SUB a q 1\r\n",
            b"UNSUB 1 5\r\n",
            b"CONNECT {\"a\":1}\r\n",
            b"PING\r\n",
            b"+OK\r\n",
            b"-ERR 'x'\r\n",
        ] {
            for cut in 0..whole.len() {
                let step = step(&whole[..cut], LIMIT);
                assert!(matches!(step, Step::Incomplete { keep } if keep <= cut), "{step:?}");
            }
        }
    }
}
