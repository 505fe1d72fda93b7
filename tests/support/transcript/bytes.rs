//! Bytes as a transcript writes them: escapes, cuts, repeats, and the patterns expected back.

/// One part of an escaped text.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Bytes(Vec<u8>),
    /// `\|`: the input is handed over up to here before the rest follows.
    Cut,
    /// `<int>`, `<line>` and the like.
    Wild(Wild),
}

/// The variable part of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wild {
    /// One or more decimal digits.
    Int,
    /// Anything up to a carriage return.
    Line,
    /// One or more bytes up to a space or a carriage return.
    Word,
}

/// What a connection sends: the bytes, in the pieces in which they are handed over.
pub(crate) fn decode_input(text: &str) -> Result<Vec<Vec<u8>>, String> {
    let mut pieces = vec![Vec::new()];
    for part in parse(text, false)? {
        match part {
            Part::Bytes(bytes) => last(&mut pieces).extend(bytes),
            Part::Cut => pieces.push(Vec::new()),
            Part::Wild(wild) => return Err(format!("{wild:?} has no meaning in an input")),
        }
    }
    Ok(pieces)
}

fn last(pieces: &mut [Vec<u8>]) -> &mut Vec<u8> {
    pieces.last_mut().expect("a list of pieces starts with one")
}

/// How much of a buffer a pattern takes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    /// It matches, up to this length.
    Whole(usize),
    /// It may match when more bytes arrive.
    More,
    /// It can no longer match.
    Never,
}

/// Bytes expected from the broker.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    parts: Vec<Part>,
    text: String,
}

impl Pattern {
    /// Reads a pattern as a transcript writes it.
    pub(crate) fn decode(text: &str) -> Result<Self, String> {
        let parts = parse(text, true)?;
        if parts.contains(&Part::Cut) {
            return Err(String::from("a cut has no meaning in an expectation"));
        }
        Ok(Self { parts, text: text.to_owned() })
    }

    /// As it was written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Tries the pattern at the start of `buffer`.
    pub(crate) fn fit(&self, buffer: &[u8]) -> Fit {
        let mut at = 0;
        for part in &self.parts {
            let rest = &buffer[at..];
            let fit = match part {
                Part::Bytes(bytes) => fit_bytes(bytes, rest),
                Part::Wild(wild) => fit_wild(*wild, rest),
                Part::Cut => Fit::Never,
            };
            match fit {
                Fit::Whole(length) => at += length,
                unfit => return unfit,
            }
        }
        Fit::Whole(at)
    }
}

fn fit_bytes(bytes: &[u8], rest: &[u8]) -> Fit {
    if rest.starts_with(bytes) {
        Fit::Whole(bytes.len())
    } else if bytes.starts_with(rest) {
        Fit::More
    } else {
        Fit::Never
    }
}

fn fit_wild(wild: Wild, rest: &[u8]) -> Fit {
    let stops = |byte: &u8| match wild {
        Wild::Int => !byte.is_ascii_digit(),
        Wild::Line => *byte == b'\r',
        Wild::Word => matches!(byte, b' ' | b'\r'),
    };
    match rest.iter().position(stops) {
        Some(0) if wild != Wild::Line => Fit::Never,
        Some(length) => Fit::Whole(length),
        None => Fit::More,
    }
}

/// Prints bytes in the transcripts' own escapes, shortened in the middle when long.
pub(crate) fn show(bytes: &[u8]) -> String {
    const ENDS_BYTES: usize = 400;
    if bytes.len() <= 2 * ENDS_BYTES {
        return escape(bytes);
    }
    let (head, tail) = (&bytes[..ENDS_BYTES], &bytes[bytes.len() - ENDS_BYTES..]);
    format!("{} … {} bytes in all … {}", escape(head), bytes.len(), escape(tail))
}

fn escape(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| byte.escape_ascii().to_string()).collect()
}

fn parse(text: &str, wild: bool) -> Result<Vec<Part>, String> {
    let mut parts = vec![Part::Bytes(Vec::new())];
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let after = &rest[next.len_utf8()..];
        rest = match next {
            '\\' => parse_escape(after, &mut parts)?,
            '<' if wild => parse_wild(after, &mut parts)?,
            _ => {
                push(&mut parts, &rest.as_bytes()[..next.len_utf8()]);
                after
            }
        };
    }
    parts.retain(|part| *part != Part::Bytes(Vec::new()));
    Ok(parts)
}

fn push(parts: &mut Vec<Part>, bytes: &[u8]) {
    if let Some(Part::Bytes(last)) = parts.last_mut() {
        last.extend_from_slice(bytes);
    } else {
        parts.push(Part::Bytes(bytes.to_vec()));
    }
}

fn parse_wild<'a>(text: &'a str, parts: &mut Vec<Part>) -> Result<&'a str, String> {
    let (name, after) = text.split_once('>').ok_or("a '<' without its '>'; write \\<")?;
    let wild = match name {
        "int" => Wild::Int,
        "line" => Wild::Line,
        "word" => Wild::Word,
        _ => return Err(format!("<{name}> is not a matcher")),
    };
    parts.push(Part::Wild(wild));
    Ok(after)
}

/// Reads what follows a backslash and returns what is left of the text.
fn parse_escape<'a>(text: &'a str, parts: &mut Vec<Part>) -> Result<&'a str, String> {
    let kind = text.chars().next().ok_or("a backslash at the end")?;
    let after = &text[kind.len_utf8()..];
    let byte = match kind {
        'r' => b'\r',
        'n' => b'\n',
        't' => b'\t',
        's' => b' ',
        '0' => 0,
        '\\' => b'\\',
        '<' => b'<',
        '|' => {
            parts.push(Part::Cut);
            return Ok(after);
        }
        'x' => {
            let digits = after.get(..2).ok_or("\\x needs two digits")?;
            let byte = u8::from_str_radix(digits, 16).map_err(|e| format!("\\x{digits}: {e}"))?;
            push(parts, &[byte]);
            return Ok(&after[2..]);
        }
        '*' => return parse_repeat(after, parts),
        _ => return Err(format!("\\{kind} is not an escape")),
    };
    push(parts, &[byte]);
    Ok(after)
}

/// `\*1000{text}` stands for a thousand times the text; braces within it must be balanced.
fn parse_repeat<'a>(text: &'a str, parts: &mut Vec<Part>) -> Result<&'a str, String> {
    let (count, after) = text.split_once('{').ok_or("\\* needs a count and braces")?;
    let count: usize = count.parse().map_err(|e| format!("\\*{count}: {e}"))?;
    let end = closing_brace(after).ok_or("\\* without its closing brace")?;
    let (inner, after) = (&after[..end], &after[end + 1..]);
    let mut once = Vec::new();
    for part in parse(inner, false)? {
        match part {
            Part::Bytes(bytes) => once.extend(bytes),
            other => return Err(format!("{other:?} cannot be repeated")),
        }
    }
    push(parts, &once.repeat(count));
    Ok(after)
}

fn closing_brace(text: &str) -> Option<usize> {
    let mut depth = 1;
    text.bytes().position(|byte| {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        depth == 0
    })
}

#[cfg(test)]
mod tests {
    use super::{Fit, Pattern, decode_input, show};

    fn pattern(text: &str) -> Pattern {
        Pattern::decode(text).expect("the pattern is well formed")
    }

    #[test]
    fn input_knows_escapes_cuts_and_repeats() {
        let pieces = decode_input(r"PUB\x20a\| \*3{x\r}\\").expect("well formed");
        assert_eq!(pieces, [b"PUB a".to_vec(), b" x\rx\rx\r\\".to_vec()]);
        let nested = decode_input(r"\*2{a\*2{b}}c").expect("well formed");
        assert_eq!(nested, [b"abbabbc".to_vec()]);
        assert!(decode_input(r"\*2{a").is_err());
        assert!(decode_input(r"\q").is_err());
        assert!(decode_input(r"\x2").is_err());
    }

    #[test]
    fn pattern_fits_waits_and_refuses() {
        assert_eq!(pattern(r"PONG\r\n").fit(b"PONG\r\nrest"), Fit::Whole(6));
        assert_eq!(pattern(r"PONG\r\n").fit(b"PON"), Fit::More);
        assert_eq!(pattern(r"PONG\r\n").fit(b"PING"), Fit::Never);
        assert_eq!(pattern(r"MSG a <int> 2\r\n").fit(b"MSG a 17 2\r\n"), Fit::Whole(12));
        assert_eq!(pattern(r"MSG a <int>").fit(b"MSG a 17"), Fit::More);
        assert_eq!(pattern(r"MSG a <int> ").fit(b"MSG a b "), Fit::Never);
        assert_eq!(pattern(r"-ERR <line>\r\n").fit(b"-ERR 'x y'\r\n"), Fit::Whole(12));
        assert!(Pattern::decode("<nothing>").is_err());
    }

    #[test]
    fn show_uses_the_same_escapes() {
        assert_eq!(show(b"a\r\n\x01"), r"a\r\n\x01");
    }
}
