//! Subject transforms: the mapping language of account mappings, imports and `JetStream` (spec 4).
//!
//! A [`Transform`] is made once, from a source pattern and a destination with place markers, and
//! then applied to subjects that match the source. Applying allocates nothing.

mod functions;

use std::fmt;

use base::Random;
use base::text::Decimal;

use crate::grammar;
use functions::{Function, function_of};

/// Why a transform cannot be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransformFault {
    /// Source or destination is no subject, the destination has a `*`, or only one ends in `>`.
    Subject,
    /// The destination of a mapping has an empty token, white space, or goes on behind `>`.
    Invalid(String),
    /// A strict transform does not use every wildcard of its source.
    UnusedWildcards(String),
    /// No function of this name.
    UnknownFunction(String),
    /// The source has no such wildcard.
    IndexOutOfRange(String),
    /// Too few arguments.
    NotEnoughArguments(String),
    /// An argument is no number, or no delimiter.
    InvalidArgument(String),
    /// Too many arguments.
    TooManyArguments(String),
    /// A strict transform uses another function than `wildcard`.
    NotReversible(String),
}

impl fmt::Display for TransformFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (why, token) = match self {
            Self::Subject => return formatter.write_str("invalid subject"),
            Self::Invalid(token) => ("invalid transform", token),
            Self::UnusedWildcards(token) => ("not using all of the token wildcard(s)", token),
            Self::UnknownFunction(token) => ("unknown function", token),
            Self::IndexOutOfRange(token) => ("wildcard index out of range", token),
            Self::NotEnoughArguments(token) => {
                ("not enough arguments passed to the function", token)
            }
            Self::InvalidArgument(token) => {
                ("function argument is invalid or in the wrong format", token)
            }
            Self::TooManyArguments(token) => ("too many arguments passed to the function", token),
            Self::NotReversible(token) => {
                ("the only mapping function allowed for import transforms is {{Wildcard()}}", token)
            }
        };
        write!(formatter, "invalid mapping destination: {why}")?;
        if token.is_empty() { Ok(()) } else { write!(formatter, " in {token}") }
    }
}

impl std::error::Error for TransformFault {}

/// What one token of the destination becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// Itself.
    Literal(Box<[u8]>),
    /// The source's token at a place, counted from zero.
    Token(usize),
    /// The hash of the tokens at these places, or of the whole subject, modulo a number.
    Partition(Box<[usize]>, i32),
    /// Part of a token, or a token in parts.
    Cut(Cut, usize, i32),
    /// A token in parts where a delimiter stands.
    Split(usize, Box<[u8]>),
    /// A random number below this.
    Random(i32),
    /// What of the source stands at its `>` and behind.
    Rest,
}

impl Part {
    /// The place of the token that it is, if it is one.
    const fn token(&self) -> Option<usize> {
        match self {
            Self::Token(place) => Some(*place),
            _ => None,
        }
    }
}

/// A way to cut a token, by a number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    SplitFromLeft,
    SplitFromRight,
    SliceFromLeft,
    SliceFromRight,
    Left,
    Right,
}

/// A transform from the subjects of one pattern to others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transform {
    source: Box<str>,
    destination: Box<str>,
    parts: Box<[Part]>,
    /// Place of the source's last token, counted from zero.
    last: usize,
    /// Do the subjects stay as they are?
    keeps: bool,
}

impl Transform {
    /// A transform. An empty source means `>`. A destination that leaves out some wildcards of its
    /// source is fine.
    ///
    /// # Errors
    /// The reference's words are in the fault's `Display`.
    pub fn new(source: &str, destination: &str) -> Result<Self, TransformFault> {
        Self::make(source, destination, false)
    }

    /// A transform for imports, which has an inverse: only `wildcard` (or `$1`), all of them.
    ///
    /// # Errors
    /// As [`Transform::new`], and if it has no inverse.
    pub fn strict(source: &str, destination: &str) -> Result<Self, TransformFault> {
        Self::make(source, destination, true)
    }

    fn make(source: &str, destination: &str, strict: bool) -> Result<Self, TransformFault> {
        let source = if source.is_empty() { ">" } else { source };
        let (from, to) = (Shape::of(source), Shape::of(destination));
        let (Some(from), Some(to)) = (from, to) else { return Err(TransformFault::Subject) };
        if !to.wildcards.is_empty() || from.open_ended != to.open_ended {
            return Err(TransformFault::Subject);
        }
        let mut parts = Vec::new();
        let mut used = 0;
        for token in destination.split('.') {
            let function = function_of(token)?;
            let closed = from.wildcards.is_empty() && !from.open_ended;
            if closed && function.as_ref().is_some_and(|function| !function.is_sourceless()) {
                return Err(TransformFault::IndexOutOfRange(token.into()));
            }
            if strict && !matches!(function, None | Some(Function::Wildcard(_))) {
                return Err(TransformFault::NotReversible(token.into()));
            }
            let part = match function {
                None if token == ">" => Part::Rest,
                None => Part::Literal(token.as_bytes().into()),
                Some(function) => {
                    used += function.indexes().len();
                    function.part(token, &from.wildcards)?
                }
            };
            parts.push(part);
        }
        if strict && used < from.wildcards.len() {
            return Err(TransformFault::UnusedWildcards(destination.into()));
        }
        Ok(Self {
            source: source.into(),
            destination: destination.into(),
            parts: parts.into(),
            last: from.tokens - 1,
            keeps: source == ">" && destination == ">",
        })
    }

    /// The pattern of the subjects that it is for.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The destination as it was written.
    pub fn destination(&self) -> &str {
        &self.destination
    }

    /// Is the transform for this subject, and may it be published to?
    pub fn is_for(&self, subject: &[u8]) -> bool {
        self.keeps
            || (grammar::is_literal(subject) && grammar::matches(self.source.as_bytes(), subject))
    }

    /// Appends what a subject of the source becomes.
    pub fn apply(&self, subject: &[u8], random: &mut Random, out: &mut Vec<u8>) {
        if self.keeps {
            out.extend_from_slice(subject);
            return;
        }
        for (place, part) in self.parts.iter().enumerate() {
            if place > 0 {
                out.push(b'.');
            }
            match part {
                Part::Literal(token) => out.extend_from_slice(token),
                Part::Token(index) => out.extend_from_slice(token_at(subject, *index)),
                Part::Partition(indexes, count) => {
                    let number = partition(subject, indexes, *count);
                    out.extend_from_slice(Decimal::new(number).as_bytes());
                }
                Part::Cut(cut, index, bytes) => cut.apply(token_at(subject, *index), *bytes, out),
                Part::Split(index, delimiter) => split(token_at(subject, *index), delimiter, out),
                Part::Random(bound) => {
                    let bound = u64::from(bound.unsigned_abs());
                    let number = if bound == 0 { 0 } else { random.below(bound) };
                    out.extend_from_slice(Decimal::new(number).as_bytes());
                }
                Part::Rest => out.extend_from_slice(from_token(subject, self.last)),
            }
        }
    }

    /// What a subject becomes, as a value of its own.
    pub fn applied(&self, subject: &[u8], random: &mut Random) -> Vec<u8> {
        let mut out = Vec::with_capacity(subject.len() + self.destination.len());
        self.apply(subject, random, &mut out);
        out
    }

    /// The transform from the destination back to the source, if there is one.
    pub fn reversed(&self) -> Option<Self> {
        let (pattern, markers) = untokenized(&self.destination);
        let places: Vec<usize> = self.parts.iter().filter_map(Part::token).collect();
        if places.len() != markers.len() {
            return None;
        }
        // A wildcard of the source is that wildcard of the inverse's source which stands where the
        // destination has its marker.
        let mut tokens = Vec::new();
        for (place, token) in self.source.split('.').enumerate() {
            if token == "*" {
                let marker = places.iter().position(|other| *other == place)?;
                tokens.push(format!("${}", marker + 1));
            } else {
                tokens.push(token.to_owned());
            }
        }
        Self::strict(&pattern, &tokens.join(".")).ok()
    }
}

/// Tokens of a pattern, and where its wildcards stand.
struct Shape {
    tokens: usize,
    wildcards: Vec<usize>,
    open_ended: bool,
}

impl Shape {
    fn of(pattern: &str) -> Option<Self> {
        if !grammar::is_pattern(pattern.as_bytes()) {
            return None;
        }
        let wildcards = pattern.split('.').enumerate().filter(|(_, token)| *token == "*");
        Some(Self {
            tokens: pattern.split('.').count(),
            wildcards: wildcards.map(|(place, _)| place).collect(),
            open_ended: pattern == ">" || pattern.ends_with(".>"),
        })
    }
}

/// Is this a destination that an account's mapping may have? `left` and `right` are not known
/// there, as in the reference.
///
/// # Errors
/// Why it is not.
pub fn check_mapping(source: &str, destination: &str) -> Result<(), TransformFault> {
    if destination.is_empty() {
        return Ok(());
    }
    let mut open_ended = false;
    for token in destination.split('.') {
        if token.is_empty() || open_ended {
            return Err(TransformFault::Invalid(token.into()));
        }
        if functions::is_marked(token) {
            if !functions::is_known_to_mappings(token) {
                return Err(TransformFault::UnknownFunction(token.into()));
            }
        } else if token == ">" {
            open_ended = true;
        } else if token.contains(['\t', '\n', '\x0c', '\r', ' ']) {
            return Err(TransformFault::Invalid(String::new()));
        }
    }
    Transform::new(source, destination).map(drop)
}

/// A pattern with a numbered marker for each `*`: `foo.*.*` becomes `foo.$1.$2`.
pub fn tokenized(pattern: &str) -> String {
    let mut count = 0;
    let tokens = pattern.split('.').map(|token| {
        if token != "*" {
            return token.to_owned();
        }
        count += 1;
        format!("${count}")
    });
    tokens.collect::<Vec<_>>().join(".")
}

/// A destination with a `*` for each marker of a wildcard, and those markers in their order:
/// `foo.$2.$1` becomes `foo.*.*`.
pub fn untokenized(destination: &str) -> (String, Vec<String>) {
    let mut markers = Vec::new();
    let tokens = destination.split('.').map(|token| {
        let old = token.as_bytes();
        let old = old.len() > 1 && old[0] == b'$' && (b'1'..=b'9').contains(&old[1]);
        if old || functions::is_wildcard(token) {
            markers.push(token.to_owned());
            return "*";
        }
        token
    });
    let pattern = tokens.collect::<Vec<_>>().join(".");
    (pattern, markers)
}

/// The token at a place; nothing if there are fewer.
fn token_at(subject: &[u8], place: usize) -> &[u8] {
    grammar::tokens(subject).nth(place).unwrap_or_default()
}

/// The token at a place and all that follows.
fn from_token(subject: &[u8], place: usize) -> &[u8] {
    if place == 0 {
        return subject;
    }
    let mut dots = subject.iter().enumerate().filter(|(_, byte)| **byte == b'.');
    dots.nth(place - 1).map_or(&[], |(dot, _)| &subject[dot + 1..])
}

/// FNV-1a of some tokens, or of the whole subject, modulo `count`.
fn partition(subject: &[u8], places: &[usize], count: i32) -> u64 {
    const BASIS: u32 = 0x811c_9dc5;
    let add = |hash: u32, bytes: &[u8]| {
        bytes.iter().fold(hash, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
    };
    let hash = if places.is_empty() {
        add(BASIS, subject)
    } else {
        places.iter().fold(BASIS, |hash, place| add(hash, token_at(subject, *place)))
    };
    // A negative count is a large one, as in the reference.
    let count = count.cast_unsigned();
    if count == 0 { 0 } else { u64::from(hash % count) }
}

impl Cut {
    fn apply(self, token: &[u8], bytes: i32, out: &mut Vec<u8>) {
        let size = usize::try_from(bytes).unwrap_or(0);
        if size == 0 || size >= token.len() {
            out.extend_from_slice(token);
            return;
        }
        let join = |out: &mut Vec<u8>, (a, b): (&[u8], &[u8])| {
            out.extend_from_slice(a);
            out.push(b'.');
            out.extend_from_slice(b);
        };
        match self {
            Self::SplitFromLeft => join(out, token.split_at(size)),
            Self::SplitFromRight => join(out, token.split_at(token.len() - size)),
            Self::Left => out.extend_from_slice(&token[..size]),
            Self::Right => out.extend_from_slice(&token[token.len() - size..]),
            Self::SliceFromLeft => out.extend(token.chunks(size).flat_map(dotted).skip(1)),
            Self::SliceFromRight => {
                let (first, rest) = token.split_at(token.len() % size);
                out.extend_from_slice(first);
                let chunks = rest.chunks(size).flat_map(dotted);
                out.extend(chunks.skip(usize::from(first.is_empty())));
            }
        }
    }
}

/// A chunk behind a dot.
fn dotted(chunk: &[u8]) -> impl Iterator<Item = u8> {
    std::iter::once(b'.').chain(chunk.iter().copied())
}

/// A token in parts where `delimiter` stands; empty parts are left out, and a dot stands in front
/// of each part but one that follows an empty first one.
fn split(token: &[u8], delimiter: &[u8], out: &mut Vec<u8>) {
    let mut rest = Some(token);
    let mut first = true;
    while let Some(text) = rest {
        let (part, behind) = cut_at(text, delimiter);
        out.extend_from_slice(part);
        let next = behind.map_or(&[][..], |behind| cut_at(behind, delimiter).0);
        let opens = first && part.is_empty();
        if !next.is_empty() && !opens {
            out.push(b'.');
        }
        first = false;
        rest = behind;
    }
}

/// What stands in front of a delimiter, and what behind it if it is there. An empty delimiter
/// stands between any two characters.
fn cut_at<'a>(text: &'a [u8], delimiter: &[u8]) -> (&'a [u8], Option<&'a [u8]>) {
    if delimiter.is_empty() {
        let next = text
            .utf8_chunks()
            .next()
            .map_or(0, |chunk| chunk.valid().chars().next().map_or(1, char::len_utf8));
        let (head, tail) = text.split_at(next);
        return (head, (!tail.is_empty()).then_some(tail));
    }
    match text.windows(delimiter.len()).position(|window| window == delimiter) {
        Some(at) => (&text[..at], Some(&text[at + delimiter.len()..])),
        None => (text, None),
    }
}

#[cfg(test)]
mod tests;
