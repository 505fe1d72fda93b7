//! Names of certificates as users write them (RFC 4514), compared part by part.

/// A distinguished name: parts, most often of one attribute each.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Name {
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part(Vec<Attribute>);

#[derive(Debug, Default, PartialEq, Eq)]
struct Attribute {
    /// In upper case.
    kind: String,
    value: String,
}

impl PartialEq for Part {
    /// Attributes of one part have no order.
    fn eq(&self, other: &Self) -> bool {
        self.0.len() == other.0.len() && self.0.iter().all(|one| other.0.contains(one))
    }
}

impl Eq for Part {}

impl Name {
    /// Reads a name. `None` if it is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut name = Self { parts: Vec::new() };
        let mut part = Vec::new();
        for (piece, ends_part) in split(text)? {
            part.push(attribute(piece)?);
            if ends_part {
                name.parts.push(Part(std::mem::take(&mut part)));
            }
        }
        (part.is_empty() && !name.parts.is_empty()).then_some(name)
    }

    /// Has it the same parts, in whatever order?
    pub(crate) fn has_same_parts(&self, other: &Self) -> bool {
        self.parts.len() == other.parts.len()
            && self.parts.iter().all(|part| other.parts.contains(part))
    }
}

/// The attributes of a name, and whether each is the last of its part.
fn split(text: &str) -> Option<Vec<(&str, bool)>> {
    let mut pieces = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' | '+' => {
                pieces.push((&text[start..at], letter == ','));
                start = at + 1;
            }
            _ => {}
        }
    }
    if !text[start..].is_empty() {
        pieces.push((&text[start..], true));
    }
    (!escaped && !pieces.is_empty()).then_some(pieces)
}

fn attribute(piece: &str) -> Option<Attribute> {
    let (kind, value) = piece.split_once('=')?;
    let kind = kind.trim_matches(' ');
    // A value behind `#` is in another encoding.
    if kind.is_empty() || value.starts_with('#') {
        return None;
    }
    Some(Attribute { kind: kind.to_uppercase(), value: unescape(value.trim_start_matches(' '))? })
}

/// The value without escapes and without blanks at its end, unless they are escaped.
fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut kept = 0;
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'\\' {
            bytes.push(*byte);
            kept = if *byte == b' ' { kept } else { bytes.len() };
            continue;
        }
        match rest {
            [
                special @ (b' ' | b'"' | b'#' | b'+' | b',' | b';' | b'<' | b'=' | b'>' | b'\\'),
                ..,
            ] => {
                bytes.push(*special);
                rest = &rest[1..];
            }
            [high, low, ..] => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                bytes.push((digit(*high)? * 16 + digit(*low)?) as u8);
                rest = &rest[2..];
            }
            _ => return None,
        }
        kept = bytes.len();
    }
    bytes.truncate(kept);
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_by_their_parts() {
        let name = |text| Name::parse(text).expect("a name");
        assert_eq!(name("CN=a,OU=b+O=c"), name("cn=a, O=c+OU=b"));
        assert_ne!(name("CN=a,OU=b"), name("OU=b,CN=a"));
        assert!(name("CN=a,OU=b").has_same_parts(&name("OU=b,CN=a")));
        assert!(!name("CN=a,OU=b").has_same_parts(&name("CN=a")));
        assert_ne!(name("CN=a"), name("CN=A"));
        assert_eq!(name(r"CN=a\, b\20 "), name(r"CN= a\2c b\ "));
    }

    #[test]
    fn what_is_no_name() {
        for text in ["", "a", "=a", "CN=a,b", r"CN=a\", r"CN=a\z", "CN=#04", "CN=a+"] {
            assert_eq!(Name::parse(text), None, "{text}");
        }
    }
}
