//! JSON as the reference reads and writes it.
//!
//! Requests are read leniently in the way of Go's decoder (names in any case, `null` leaves a field
//! alone, the first complaint counts) and refused with its words, which clients print. Answers are
//! written field by field, since order, omission and escapes are part of what clients compare.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Depth of nesting that is read at most: what a request may need, many times over.
const DEPTH_MAX: usize = 64;

/// A value with the text it was read from.
#[derive(Debug)]
pub(crate) struct Node<'a> {
    pub(crate) raw: &'a [u8],
    pub(crate) value: Value<'a>,
}

#[derive(Debug)]
pub(crate) enum Value<'a> {
    Null,
    Bool(bool),
    Number(&'a str),
    Text(Cow<'a, str>),
    List(Vec<Node<'a>>),
    Object(Vec<(Cow<'a, str>, Node<'a>)>),
}

impl Node<'_> {
    /// What the reference calls this kind of value in a complaint.
    fn kind(&self) -> Cow<'static, str> {
        match &self.value {
            Value::Null => "null".into(),
            Value::Bool(_) => "bool".into(),
            Value::Number(_) => "number".into(),
            Value::Text(_) => "string".into(),
            Value::List(_) => "array".into(),
            Value::Object(_) => "object".into(),
        }
    }
}

/// Why a text is no JSON, in the reference's words.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Syntax {
    pub(crate) text: String,
    /// Bytes read, the offending one included; none if the text ended too early.
    pub(crate) offset: Option<usize>,
}

/// Reads the value at the start of `input`; says how many bytes it takes. Nothing if there is only
/// white space.
pub(crate) fn read(input: &[u8]) -> Result<Option<(Node<'_>, usize)>, Syntax> {
    let mut reader = Reader { input, at: 0 };
    reader.skip_blanks();
    if reader.at == input.len() {
        return Ok(None);
    }
    let node = reader.value(0)?;
    Ok(Some((node, reader.at)))
}

/// Reads one value that fills the input.
pub(crate) fn read_whole(input: &[u8]) -> Result<Node<'_>, String> {
    let ended = || String::from("unexpected end of JSON input");
    match read(input) {
        Ok(None) => Err(ended()),
        Ok(Some((node, taken))) => {
            let rest = input[taken..].iter().find(|byte| !is_blank(**byte));
            match rest {
                None => Ok(node),
                Some(byte) => {
                    Err(format!("invalid character {} after top-level value", quoted(*byte)))
                }
            }
        }
        Err(syntax) if syntax.offset.is_none() => Err(ended()),
        Err(syntax) => Err(syntax.text),
    }
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn quoted(byte: u8) -> String {
    match byte {
        b'\'' => "'\\''".into(),
        b'"' => "'\"'".into(),
        b'\\' => "'\\\\'".into(),
        b'\n' => "'\\n'".into(),
        b'\r' => "'\\r'".into(),
        b'\t' => "'\\t'".into(),
        0x20..=0x7e | 0x80..=0xff => format!("'{}'", char::from(byte)),
        _ => format!("'\\x{byte:02x}'"),
    }
}

struct Reader<'a> {
    input: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn skip_blanks(&mut self) {
        while self.input.get(self.at).copied().is_some_and(is_blank) {
            self.at += 1;
        }
    }

    fn bad<T>(&self, context: &str) -> Result<T, Syntax> {
        match self.input.get(self.at) {
            None => Err(Syntax { text: "unexpected EOF".into(), offset: None }),
            Some(byte) => Err(Syntax {
                text: format!("invalid character {} {context}", quoted(*byte)),
                offset: Some(self.at + 1),
            }),
        }
    }

    fn value(&mut self, depth: usize) -> Result<Node<'a>, Syntax> {
        self.skip_blanks();
        let start = self.at;
        if depth > DEPTH_MAX {
            return Err(Syntax { text: "exceeded max depth".into(), offset: Some(self.at + 1) });
        }
        let value = match self.input.get(self.at) {
            Some(b'{') => self.object(depth)?,
            Some(b'[') => self.list(depth)?,
            Some(b'"') => Value::Text(self.text()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => self.literal("true", Value::Bool(true))?,
            Some(b'f') => self.literal("false", Value::Bool(false))?,
            Some(b'n') => self.literal("null", Value::Null)?,
            _ => return self.bad("looking for beginning of value"),
        };
        Ok(Node { raw: &self.input[start..self.at], value })
    }

    fn literal(&mut self, word: &str, value: Value<'a>) -> Result<Value<'a>, Syntax> {
        for wanted in word.bytes() {
            if self.input.get(self.at) != Some(&wanted) {
                let expecting = char::from(wanted);
                return self.bad(&format!("in literal {word} (expecting '{expecting}')"));
            }
            self.at += 1;
        }
        Ok(value)
    }

    fn number(&mut self) -> Result<Value<'a>, Syntax> {
        let start = self.at;
        if self.input[self.at] == b'-' {
            self.at += 1;
        }
        match self.input.get(self.at) {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return self.bad("in numeric literal"),
        }
        if self.input.get(self.at) == Some(&b'.') {
            self.at += 1;
            if !self.input.get(self.at).is_some_and(u8::is_ascii_digit) {
                return self.bad("after decimal point in numeric literal");
            }
            self.digits();
        }
        if matches!(self.input.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.input.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            if !self.input.get(self.at).is_some_and(u8::is_ascii_digit) {
                return self.bad("in exponent of numeric literal");
            }
            self.digits();
        }
        let text = std::str::from_utf8(&self.input[start..self.at]);
        Ok(Value::Number(text.expect("digits, signs and points are text")))
    }

    fn digits(&mut self) {
        while self.input.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
    }

    fn text(&mut self) -> Result<Cow<'a, str>, Syntax> {
        self.at += 1;
        let start = self.at;
        let mut escaped = false;
        loop {
            match self.input.get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.at += 1;
                    self.skip_escape()?;
                }
                Some(0..=0x1f) | None => return self.bad("in string literal"),
                Some(_) => self.at += 1,
            }
        }
        let inside = &self.input[start..self.at];
        self.at += 1;
        if escaped { Ok(unescaped(inside).into()) } else { Ok(String::from_utf8_lossy(inside)) }
    }

    fn skip_escape(&mut self) -> Result<(), Syntax> {
        match self.input.get(self.at) {
            Some(b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"') => self.at += 1,
            Some(b'u') => {
                self.at += 1;
                for _ in 0..4 {
                    if !self.input.get(self.at).is_some_and(u8::is_ascii_hexdigit) {
                        return self.bad("in \\u hexadecimal character escape");
                    }
                    self.at += 1;
                }
            }
            _ => return self.bad("in string escape code"),
        }
        Ok(())
    }

    fn list(&mut self, depth: usize) -> Result<Value<'a>, Syntax> {
        self.at += 1;
        let mut items = Vec::new();
        self.skip_blanks();
        if self.input.get(self.at) == Some(&b']') {
            self.at += 1;
            return Ok(Value::List(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.skip_blanks();
            match self.input.get(self.at) {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Value::List(items));
                }
                _ => return self.bad("after array element"),
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value<'a>, Syntax> {
        self.at += 1;
        let mut fields = Vec::new();
        self.skip_blanks();
        if self.input.get(self.at) == Some(&b'}') {
            self.at += 1;
            return Ok(Value::Object(fields));
        }
        loop {
            self.skip_blanks();
            if self.input.get(self.at) != Some(&b'"') {
                return self.bad("looking for beginning of object key string");
            }
            let name = self.text()?;
            self.skip_blanks();
            if self.input.get(self.at) != Some(&b':') {
                return self.bad("after object key");
            }
            self.at += 1;
            fields.push((name, self.value(depth + 1)?));
            self.skip_blanks();
            match self.input.get(self.at) {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Value::Object(fields));
                }
                _ => return self.bad("after object key:value pair"),
            }
        }
    }
}

/// The text that checked escapes stand for. Half a surrogate pair becomes a replacement character.
fn unescaped(inside: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(inside.len());
    let mut at = 0;
    while at < inside.len() {
        if inside[at] != b'\\' {
            bytes.push(inside[at]);
            at += 1;
            continue;
        }
        let plain = match inside[at + 1] {
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let (character, taken) = code_point(&inside[at..]);
                let mut room = [0; 4];
                bytes.extend_from_slice(character.encode_utf8(&mut room).as_bytes());
                at += taken;
                continue;
            }
            other => other,
        };
        bytes.push(plain);
        at += 2;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn code_point(escape: &[u8]) -> (char, usize) {
    let unit = |at: usize| {
        let digits = escape.get(at..at + 6)?.strip_prefix(b"\\u")?;
        u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    let first = unit(0).unwrap_or(0xfffd);
    if (0xd800..0xdc00).contains(&first)
        && let Some(second) = unit(6)
        && (0xdc00..0xe000).contains(&second)
    {
        let joined = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        return (char::from_u32(joined).unwrap_or('\u{fffd}'), 12);
    }
    (char::from_u32(first).unwrap_or('\u{fffd}'), 6)
}

/// Fills fields and keeps the first complaint.
pub(crate) struct Decoder {
    /// The type that is read, as the reference names it.
    root: &'static str,
    /// Names of the fields down to the present one.
    path: Vec<String>,
    first: Option<String>,
    /// Are fields that nobody knows a fault?
    strict: bool,
}

impl Decoder {
    pub(crate) const fn new(root: &'static str, strict: bool) -> Self {
        Self { root, path: Vec::new(), first: None, strict }
    }

    /// The first complaint, if there was one.
    pub(crate) fn finish(self) -> Result<(), String> {
        self.first.map_or(Ok(()), Err)
    }

    pub(crate) fn complain(&mut self, text: String) {
        self.first.get_or_insert(text);
    }

    fn mismatch(&mut self, node: &Node<'_>, number: bool, wanted: &str) {
        let mut kind = node.kind();
        if number && let Value::Number(text) = node.value {
            kind = format!("number {text}").into();
        }
        let mut text = format!("json: cannot unmarshal {kind} into Go ");
        let in_list = self.path.last().is_some_and(|name| name.as_bytes()[0].is_ascii_digit());
        let path = self.path.join(".");
        let root = self.root;
        if self.path.is_empty() {
            let _ = write!(text, "value of type server.{root}");
        } else if in_list {
            text.truncate(text.len() - "Go ".len());
            let _ = write!(text, "{root}.{path} of type {wanted}");
        } else {
            let _ = write!(text, "struct field {root}.{path} of type {wanted}");
        }
        self.complain(text);
    }

    /// Hands each field of an object to `take`, which says whether it knows the name (in lower
    /// case, as names match in any).
    pub(crate) fn object<'n>(
        &mut self,
        node: &'n Node<'n>,
        kind: &str,
        mut take: impl FnMut(&mut Self, &str, &'n Node<'n>) -> bool,
    ) {
        let fields = match &node.value {
            Value::Null => return,
            Value::Object(fields) => fields,
            _ => return self.mismatch(node, false, kind),
        };
        for (name, field) in fields {
            let known = name.to_ascii_lowercase();
            self.path.push(known.clone());
            let taken = take(self, &known, field);
            self.path.pop();
            if !taken && self.strict {
                self.complain(format!("json: unknown field {}", go_quoted(name.as_bytes())));
            }
        }
    }

    pub(crate) fn text(&mut self, node: &Node<'_>, into: &mut String) {
        match &node.value {
            Value::Null => {}
            Value::Text(text) => text.as_ref().clone_into(into),
            _ => self.mismatch(node, false, "string"),
        }
    }

    /// Complains about a value that is no text and belongs to no field.
    pub(crate) fn text_alone(&mut self, node: &Node<'_>) {
        if !matches!(node.value, Value::Null | Value::Text(_)) {
            let kind = node.kind();
            self.complain(format!("json: cannot unmarshal {kind} into Go value of type string"));
        }
    }

    pub(crate) fn bool(&mut self, node: &Node<'_>, into: &mut bool) {
        match node.value {
            Value::Null => {}
            Value::Bool(value) => *into = value,
            _ => self.mismatch(node, false, "bool"),
        }
    }

    /// An integer of the Go type `kind`.
    pub(crate) fn integer<T: std::str::FromStr>(
        &mut self,
        node: &Node<'_>,
        kind: &str,
        into: &mut T,
    ) {
        match node.value {
            Value::Null => {}
            Value::Number(text) => match text.parse() {
                Ok(value) => *into = value,
                Err(_) => self.mismatch(node, true, kind),
            },
            _ => self.mismatch(node, false, kind),
        }
    }

    /// Nanoseconds.
    pub(crate) fn duration(&mut self, node: &Node<'_>, into: &mut i64) {
        self.integer(node, "time.Duration", into);
    }

    pub(crate) fn list<T: Default>(
        &mut self,
        node: &Node<'_>,
        kind: &str,
        into: &mut Vec<T>,
        mut take: impl FnMut(&mut Self, &Node<'_>, &mut T),
    ) {
        match &node.value {
            Value::Null => into.clear(),
            Value::List(items) => {
                into.clear();
                for (place, item) in items.iter().enumerate() {
                    self.path.push(place.to_string());
                    let mut value = T::default();
                    take(self, item, &mut value);
                    into.push(value);
                    self.path.pop();
                }
            }
            _ => self.mismatch(node, false, kind),
        }
    }

    pub(crate) fn texts(&mut self, node: &Node<'_>, into: &mut Vec<String>) {
        self.list(node, "[]string", into, Self::text);
    }

    pub(crate) fn map(
        &mut self,
        node: &Node<'_>,
        into: &mut std::collections::BTreeMap<String, String>,
    ) {
        match &node.value {
            Value::Null => {}
            Value::Object(fields) => {
                for (name, field) in fields {
                    self.path.push(name.to_string());
                    let mut value = String::new();
                    self.text(field, &mut value);
                    into.insert(name.to_string(), value);
                    self.path.pop();
                }
            }
            _ => self.mismatch(node, false, "map[string]string"),
        }
    }

    pub(crate) fn time(&mut self, node: &Node<'_>, into: &mut Option<crate::stamp::Stamp>) {
        match &node.value {
            Value::Null => *into = None,
            Value::Text(text) => match crate::stamp::Stamp::parse(text) {
                Ok(stamp) => *into = Some(stamp),
                Err(complaint) => self.complain(complaint),
            },
            _ => self.mismatch(node, false, "time.Time"),
        }
    }
}

/// Text in double quotes, escaped as Go does it for printing.
pub(crate) fn go_quoted(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in String::from_utf8_lossy(text).chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if (control as u32) < 0x20 || control as u32 == 0x7f => {
                let _ = write!(out, "\\x{:02x}", control as u32);
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// Writes an object, field by field.
pub(crate) struct Writer<'a> {
    out: &'a mut Vec<u8>,
    started: bool,
}

impl<'a> Writer<'a> {
    /// Opens an object at the end of `out`.
    pub(crate) fn open(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, started: false }
    }

    pub(crate) fn close(self) {
        self.out.push(b'}');
    }

    /// Everything that was written, to write something else instead.
    pub(crate) fn whole(&mut self) -> &mut Vec<u8> {
        self.out
    }

    /// Starts a field; its value is written to what comes back.
    pub(crate) fn field(&mut self, name: &str) -> &mut Vec<u8> {
        if self.started {
            self.out.push(b',');
        }
        self.started = true;
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    pub(crate) fn text(&mut self, name: &str, value: &str) {
        put_text(self.field(name), value);
    }

    pub(crate) fn text_unless_empty(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.text(name, value);
        }
    }

    pub(crate) fn integer(&mut self, name: &str, value: i64) {
        put_integer(self.field(name), value);
    }

    pub(crate) fn integer_unless_zero(&mut self, name: &str, value: i64) {
        if value != 0 {
            self.integer(name, value);
        }
    }

    pub(crate) fn natural(&mut self, name: &str, value: u64) {
        let digits = base::text::Decimal::new(value);
        self.field(name).extend_from_slice(digits.as_bytes());
    }

    pub(crate) fn natural_unless_zero(&mut self, name: &str, value: u64) {
        if value != 0 {
            self.natural(name, value);
        }
    }

    pub(crate) fn flag(&mut self, name: &str, value: bool) {
        self.field(name).extend_from_slice(if value { b"true" } else { b"false" });
    }

    pub(crate) fn flag_if_set(&mut self, name: &str, value: bool) {
        if value {
            self.flag(name, value);
        }
    }

    pub(crate) fn texts_unless_empty(&mut self, name: &str, values: &[String]) {
        if values.is_empty() {
            return;
        }
        put_list(self.field(name), values, |out, value| put_text(out, value));
    }
}

/// Writes a list.
pub(crate) fn put_list<T>(out: &mut Vec<u8>, values: &[T], mut put: impl FnMut(&mut Vec<u8>, &T)) {
    out.push(b'[');
    for (place, value) in values.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        put(out, value);
    }
    out.push(b']');
}

pub(crate) fn put_integer(out: &mut Vec<u8>, value: i64) {
    if value < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(base::text::Decimal::new(value.unsigned_abs()).as_bytes());
}

/// Writes text with the escapes that the reference uses, those for HTML included.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for character in text.chars() {
        match character {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            '\u{8}' => out.extend_from_slice(b"\\b"),
            '\u{c}' => out.extend_from_slice(b"\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                out.extend_from_slice(format!("\\u{:04x}", character as u32).as_bytes());
            }
            other => {
                let mut room = [0; 4];
                out.extend_from_slice(other.encode_utf8(&mut room).as_bytes());
            }
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_about_syntax_are_those_of_the_reference() {
        for (input, expected) in [
            ("{", "unexpected EOF"),
            ("foo", "invalid character 'o' in literal false (expecting 'a')"),
            ("x", "invalid character 'x' looking for beginning of value"),
            ("{\"a\"}", "invalid character '}' after object key"),
            ("{\"a\":1 x", "invalid character 'x' after object key:value pair"),
            ("[1 2]", "invalid character '2' after array element"),
            ("{a", "invalid character 'a' looking for beginning of object key string"),
            ("1.x", "invalid character 'x' after decimal point in numeric literal"),
            ("\"\\x\"", "invalid character 'x' in string escape code"),
        ] {
            let found = read(input.as_bytes()).expect_err("this is no JSON");
            assert_eq!(found.text, expected, "{input}");
        }
        assert_eq!(read_whole(b"").expect_err("nothing"), "unexpected end of JSON input");
        assert_eq!(
            read_whole(b"{} x").expect_err("too much"),
            "invalid character 'x' after top-level value"
        );
    }

    #[test]
    fn text_survives_a_round_trip() {
        let text = "a<b>&\"\\\n\u{1}\u{2028}é𝄞";
        let mut out = Vec::new();
        put_text(&mut out, text);
        assert!(out.starts_with(b"\"a\\u003cb\\u003e\\u0026\\\""));
        let node = read_whole(&out).expect("what is written can be read");
        assert!(matches!(node.value, Value::Text(found) if found == text));
        let node = read_whole(b"\"\\ud834\\udd1e\\ud834\"").expect("half a pair is replaced");
        assert!(matches!(node.value, Value::Text(found) if found == "𝄞\u{fffd}"));
    }
}
