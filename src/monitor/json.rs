//! JSON as the reference writes it: numbers, escapes and indentation byte by byte, for tools
//! compare texts and checksums.

use std::io::{self, Write};

use base::{Duration, Wall};
use serde::{Serialize, Serializer};
use serde_json::ser::Formatter;

/// A value in lines, indented by two blanks for each level.
pub(super) fn indented(value: &impl Serialize) -> Vec<u8> {
    write(value, Style { step: Some(b"  "), depth: 0, filled: false })
}

/// A value without any blank.
pub(super) fn compact(value: &impl Serialize) -> Vec<u8> {
    write(value, Style { step: None, depth: 0, filled: false })
}

fn write(value: &impl Serialize, style: Style) -> Vec<u8> {
    let mut out = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, style);
    value.serialize(&mut serializer).expect("what is shown has texts as keys");
    out
}

struct Style {
    step: Option<&'static [u8]>,
    depth: usize,
    filled: bool,
}

impl Style {
    fn line(&self, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
        let Some(step) = self.step else { return Ok(()) };
        out.write_all(b"\n")?;
        (0..self.depth).try_for_each(|_| out.write_all(step))
    }

    fn open(&mut self, out: &mut (impl Write + ?Sized), bracket: u8) -> io::Result<()> {
        self.depth += 1;
        self.filled = false;
        out.write_all(&[bracket])
    }

    fn close(&mut self, out: &mut (impl Write + ?Sized), bracket: u8) -> io::Result<()> {
        self.depth -= 1;
        if self.filled {
            self.line(out)?;
        }
        self.filled = true;
        out.write_all(&[bracket])
    }

    fn next(&mut self, out: &mut (impl Write + ?Sized), first: bool) -> io::Result<()> {
        if !first {
            out.write_all(b",")?;
        }
        self.line(out)
    }
}

impl Formatter for Style {
    fn begin_array<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.open(out, b'[')
    }

    fn end_array<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.close(out, b']')
    }

    fn begin_array_value<W: Write + ?Sized>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.next(out, first)
    }

    fn end_array_value<W: Write + ?Sized>(&mut self, _: &mut W) -> io::Result<()> {
        self.filled = true;
        Ok(())
    }

    fn begin_object<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.open(out, b'{')
    }

    fn end_object<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.close(out, b'}')
    }

    fn begin_object_key<W: Write + ?Sized>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.next(out, first)
    }

    fn begin_object_value<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(if self.step.is_some() { b": " } else { b":" })
    }

    fn end_object_value<W: Write + ?Sized>(&mut self, _: &mut W) -> io::Result<()> {
        self.filled = true;
        Ok(())
    }

    /// Whole numbers have no point, and very large and small ones an exponent.
    fn write_f64<W: Write + ?Sized>(&mut self, out: &mut W, value: f64) -> io::Result<()> {
        let size = value.abs();
        if size == 0.0 || (1e-6..1e21).contains(&size) {
            write!(out, "{value}")
        } else {
            let text = format!("{value:e}");
            let plus = size >= 1.0;
            out.write_all(if plus { text.replace('e', "e+") } else { text }.as_bytes())
        }
    }

    /// What would mean something within HTML is escaped.
    fn write_string_fragment<W: Write + ?Sized>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        let special = |c: char| matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}');
        while let Some(at) = rest.find(special) {
            out.write_all(&rest.as_bytes()[..at])?;
            let found = rest[at..].chars().next().expect("a place that was found holds one");
            write!(out, "\\u{:04x}", found as u32)?;
            rest = &rest[at + found.len_utf8()..];
        }
        out.write_all(rest.as_bytes())
    }
}

/// A moment as RFC 3339 in UTC, with as many digits of a second as say something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stamp(pub(super) Wall);

impl std::fmt::Display for Stamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let nanoseconds = i128::from(self.0.0);
        let stamp = jiff::Timestamp::from_nanosecond(nanoseconds).unwrap_or_default();
        stamp.fmt(f)
    }
}

impl Serialize for Stamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Time passed, in units down to seconds: `1d2h3m4s`.
pub(super) fn uptime(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    let years = days / 365;
    let clock = format!("{}h{}m{}s", hours % 24, minutes % 60, seconds % 60);
    if years > 0 {
        format!("{years}y{}d{clock}", days % 365)
    } else if days > 0 {
        format!("{days}d{clock}")
    } else if hours > 0 {
        clock
    } else if minutes > 0 {
        format!("{minutes}m{}s", seconds % 60)
    } else {
        format!("{seconds}s")
    }
}

/// Is this what its type has by default, and so left out?
pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).expect("JSON is text")
    }

    #[test]
    fn values_look_as_the_reference_writes_them() {
        let value =
            json!({ "a": [], "b": {}, "c": [1, { "d": "x<y>&\u{2028}\n\u{1}" }], "e": 2.0 });
        let lines = "{\n  \"a\": [],\n  \"b\": {},\n  \"c\": [\n    1,\n    {\n      \
            \"d\": \"x\\u003cy\\u003e\\u0026\\u2028\\n\\u0001\"\n    }\n  ],\n  \"e\": 2\n}";
        assert_eq!(text(indented(&value)), lines);
        assert_eq!(text(compact(&json!({ "s": ["ok", null] }))), r#"{"s":["ok",null]}"#);
        for (number, expected) in [
            (0.0, "0"),
            (2.0, "2"),
            (0.285_714_285_714_285_7, "0.2857142857142857"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (0.000_001, "0.000001"),
            (1.5e-7, "1.5e-7"),
        ] {
            assert_eq!(text(compact(&number)), expected);
        }
    }

    #[test]
    fn moments_and_times_are_written_short() {
        for (nanoseconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_795_612_921_646_473_898, "2026-11-25T13:22:01.646473898Z"),
            (1_795_612_921_640_000_000, "2026-11-25T13:22:01.64Z"),
        ] {
            assert_eq!(Stamp(Wall(nanoseconds)).to_string(), expected);
        }
        for (seconds, expected) in [
            (0, "0s"),
            (61, "1m1s"),
            (3600, "1h0m0s"),
            (93_784, "1d2h3m4s"),
            (31_536_000 + 86_400, "1y1d0h0m0s"),
        ] {
            assert_eq!(uptime(Duration::from_secs(seconds)), expected);
        }
    }
}
