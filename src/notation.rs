//! The small notations of nats-server that users see and type: durations, integers, quoting, error
//! texts.
//!
//! Configuration files and command lines are written for Go's rules (`1h30m`, `0x1092`), and
//! scripts compare what is printed back, so both directions follow them exactly.

use std::fmt::{self, Write as _};
use std::io;
use std::time::Duration;

/// Why a text is no duration; prints in the reference's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DurationError {
    /// Not of the form `[-+](number unit)+`, or out of range.
    Invalid(String),
    /// A number without a unit behind it.
    MissingUnit(String),
    /// A unit that does not exist: the unit, then the whole text.
    UnknownUnit(String, String),
}

impl fmt::Display for DurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(text) => write!(f, "time: invalid duration {}", quote(text)),
            Self::MissingUnit(text) => {
                write!(f, "time: missing unit in duration {}", quote(text))
            }
            Self::UnknownUnit(unit, text) => {
                write!(f, "time: unknown unit {} in duration {}", quote(unit), quote(text))
            }
        }
    }
}

/// Parses `1h30m`, `-1.5s`, `0`: signed nanoseconds.
pub fn parse_duration(text: &str) -> Result<i64, DurationError> {
    let invalid = || DurationError::Invalid(text.to_owned());
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (whole, after_whole) = split_digits(rest);
        let (fraction, after_number) = match after_whole.strip_prefix('.') {
            Some(after_point) => split_digits(after_point),
            None => ("", after_whole),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let unit_length = after_number
            .find(|c: char| c == '.' || c.is_ascii_digit())
            .unwrap_or(after_number.len());
        let (unit, after_unit) = after_number.split_at(unit_length);
        if unit.is_empty() {
            return Err(DurationError::MissingUnit(text.to_owned()));
        }
        let scale = unit_nanoseconds(unit)
            .ok_or_else(|| DurationError::UnknownUnit(unit.to_owned(), text.to_owned()))?;
        let nanoseconds = scaled(whole, fraction, scale).ok_or_else(invalid)?;
        total = total.checked_add(nanoseconds).filter(|sum| *sum <= 1 << 63).ok_or_else(invalid)?;
        rest = after_unit;
    }
    if negative {
        return Ok(0i64.wrapping_sub_unsigned(total));
    }
    i64::try_from(total).map_err(|_| invalid())
}

/// Prints nanoseconds as the reference does: `2m0s`, `1.5s`, `150ms`, `0s`.
pub fn format_duration(nanoseconds: i64) -> String {
    let magnitude = nanoseconds.unsigned_abs();
    let sign = if nanoseconds < 0 { "-" } else { "" };
    if magnitude == 0 {
        return "0s".to_owned();
    }
    if magnitude < 1_000_000_000 {
        let (digits, unit) = match magnitude {
            0..1_000 => (0, "ns"),
            1_000..1_000_000 => (3, "µs"),
            _ => (6, "ms"),
        };
        return format!("{sign}{}{unit}", with_fraction(magnitude, digits));
    }
    let minutes = magnitude / 60_000_000_000;
    let seconds = with_fraction(magnitude % 60_000_000_000, 9);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, minutes) => format!("{sign}{minutes}m{seconds}s"),
        (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}s"),
    }
}

/// [`format_duration`] for the unsigned type that options hold.
pub fn duration_text(duration: Duration) -> String {
    format_duration(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
}

/// Why a text is no integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntegerError {
    /// Not an integer literal.
    Syntax,
    /// More than 64 bits.
    Range,
}

impl fmt::Display for IntegerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Syntax => "parse error",
            Self::Range => "value out of range",
        })
    }
}

/// Parses an integer as flags accept it: decimal, `0x`, `0b`, `0o`, leading-zero octal, with `_`
/// between digits.
pub fn parse_integer(text: &str) -> Result<i64, IntegerError> {
    let (negative, unsigned) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = unsigned.to_ascii_lowercase();
    let (radix, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    // An underscore stands between digits, or between a prefix and a digit.
    let after_prefix = digits.len() < lower.len();
    let misplaced = (digits.starts_with('_') && !after_prefix)
        || digits.ends_with('_')
        || digits.contains("__");
    if misplaced {
        return Err(IntegerError::Syntax);
    }
    let digits: String = digits.chars().filter(|c| *c != '_').collect();
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return Err(IntegerError::Syntax);
    }
    let magnitude = u64::from_str_radix(&digits, radix).map_err(|_| IntegerError::Range)?;
    if negative {
        0i64.checked_sub_unsigned(magnitude).ok_or(IntegerError::Range)
    } else {
        i64::try_from(magnitude).map_err(|_| IntegerError::Range)
    }
}

/// Parses a boolean as flags accept it.
pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Puts a text in double quotes and escapes what does not print.
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\x07' => quoted.push_str("\\a"),
            '\x08' => quoted.push_str("\\b"),
            '\x0c' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\x0b' => quoted.push_str("\\v"),
            '\0'..' ' | '\x7f' => {
                let _ = write!(quoted, "\\x{:02x}", c as u32);
            }
            c if c.is_control() || (c.is_whitespace() && c != ' ') => {
                let _ = write!(quoted, "\\u{:04x}", c as u32);
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// The system's text for an error, in lower case and without its number: `permission denied`.
pub fn error_text(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error ").next().unwrap_or_default();
    let mut characters = text.chars();
    match characters.next() {
        Some(first) => first.to_lowercase().chain(characters).collect(),
        None => String::new(),
    }
}

/// Splits `host:port`, `[v6]:port`; the error is the reference's text.
pub fn split_host_port(address: &str) -> Result<(&str, &str), String> {
    let problem = |what: &str| {
        if address.is_empty() { what.to_owned() } else { format!("address {address}: {what}") }
    };
    let colon = address.rfind(':').ok_or_else(|| problem("missing port in address"))?;
    if let Some(inner) = address.strip_prefix('[') {
        let end = inner.find(']').ok_or_else(|| problem("missing ']' in address"))? + 1;
        if end + 1 != colon {
            let rest = &address[end + 1..];
            let too_many = rest.starts_with(':');
            let what =
                if too_many { "too many colons in address" } else { "missing port in address" };
            return Err(problem(what));
        }
        let host = &address[1..end];
        if host.contains('[') {
            return Err(problem("unexpected '[' in address"));
        }
        if address[end + 1..].contains(']') {
            return Err(problem("unexpected ']' in address"));
        }
        return Ok((host, &address[colon + 1..]));
    }
    let host = &address[..colon];
    if host.contains(':') {
        return Err(problem("too many colons in address"));
    }
    if address.contains('[') {
        return Err(problem("unexpected '[' in address"));
    }
    if address.contains(']') {
        return Err(problem("unexpected ']' in address"));
    }
    Ok((host, &address[colon + 1..]))
}

/// Puts a host and a port together, with brackets where the host has colons.
pub fn join_host_port(host: &str, port: impl fmt::Display) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// A size as start-up and monitoring print it: `8.00 MB`.
pub fn friendly_bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let exponent = bytes.ilog2() / 10;
    let unit = UNITS[exponent as usize - 1];
    format!("{:.2} {unit}", bytes as f64 / (1u64 << (10 * exponent)) as f64)
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

fn unit_nanoseconds(unit: &str) -> Option<u64> {
    match unit {
        "ns" => Some(1),
        // The micro sign and the Greek letter are both in use.
        "us" | "\u{b5}s" | "\u{3bc}s" => Some(1_000),
        "ms" => Some(1_000_000),
        "s" => Some(1_000_000_000),
        "m" => Some(60_000_000_000),
        "h" => Some(3_600_000_000_000),
        _ => None,
    }
}

/// `whole.fraction` times `scale`, cut to whole nanoseconds.
fn scaled(whole: &str, fraction: &str, scale: u64) -> Option<u64> {
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let whole = whole.checked_mul(scale)?;
    // Nineteen digits are all that can matter to a scale below 2^42.
    let digits = &fraction[..fraction.len().min(18)];
    let part = if digits.is_empty() { 0 } else { digits.parse::<u64>().ok()? };
    let part = u128::from(part) * u128::from(scale) / 10u128.pow(digits.len() as u32);
    whole.checked_add(part as u64)
}

/// `value / 10^digits` in decimal without trailing zeros.
fn with_fraction(value: u64, digits: u32) -> String {
    let unit = 10u64.pow(digits);
    let fraction = value % unit;
    if fraction == 0 {
        return (value / unit).to_string();
    }
    let padded = format!("{fraction:0width$}", width = digits as usize);
    format!("{}.{}", value / unit, padded.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_print() {
        let rows: [(&str, i64, &str); 9] = [
            ("0", 0, "0s"),
            ("1s", 1_000_000_000, "1s"),
            ("2m", 120_000_000_000, "2m0s"),
            ("1h1m1s", 3_661_000_000_000, "1h1m1s"),
            ("-1.5s", -1_500_000_000, "-1.5s"),
            ("150ms", 150_000_000, "150ms"),
            ("1500us", 1_500_000, "1.5ms"),
            (".5m", 30_000_000_000, "30s"),
            ("100ns", 100, "100ns"),
        ];
        for (text, nanoseconds, printed) in rows {
            assert_eq!(parse_duration(text), Ok(nanoseconds), "{text}");
            assert_eq!(format_duration(nanoseconds), printed);
        }
    }

    #[test]
    fn bad_durations_say_why() {
        let rows = [
            ("", "time: invalid duration \"\""),
            ("abc", "time: invalid duration \"abc\""),
            ("10", "time: missing unit in duration \"10\""),
            ("10x", "time: unknown unit \"x\" in duration \"10x\""),
            ("9999999999999h", "time: invalid duration \"9999999999999h\""),
        ];
        for (text, problem) in rows {
            let error = parse_duration(text).expect_err("must not be a duration");
            assert_eq!(error.to_string(), problem);
        }
    }

    #[test]
    fn integers_follow_literal_rules() {
        let good = [("0x10", 16), ("-5", -5), ("010", 8), ("0b11", 3), ("0x1_0", 16), ("+7", 7)];
        for (text, value) in good {
            assert_eq!(parse_integer(text), Ok(value), "{text}");
        }
        for text in ["", "abc", "1__0", "_1", "0x", "-", "1.5", "08"] {
            assert_eq!(parse_integer(text), Err(IntegerError::Syntax), "{text}");
        }
        assert_eq!(parse_integer("99999999999999999999"), Err(IntegerError::Range));
    }

    #[test]
    fn addresses_split() {
        assert_eq!(split_host_port("[::1]:4222"), Ok(("::1", "4222")));
        assert_eq!(split_host_port(":4222"), Ok(("", "4222")));
        let problem = split_host_port("a:b:c").expect_err("two colons");
        assert_eq!(problem, "address a:b:c: too many colons in address");
        assert_eq!(split_host_port("").expect_err("empty"), "missing port in address");
        assert_eq!(join_host_port("::1", 1), "[::1]:1");
    }

    #[test]
    fn sizes_are_friendly() {
        assert_eq!(friendly_bytes(8 * 1024 * 1024), "8.00 MB");
        assert_eq!(friendly_bytes(12), "12 B");
    }
}
