//! Spans of time as Go writes them: `1h2m3.5s`.

use std::fmt::Write as _;

const SECOND: i64 = 1_000_000_000;

/// Nanoseconds of a span such as `1m30s`, `-1.5h` or `0`. Nothing if it is none, or too long to
/// count.
pub(crate) fn parse(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| c != '.' && !c.is_ascii_digit())?;
        let (number, after) = rest.split_at(unit_at);
        let end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at(end);
        total = total.checked_add(part(number, unit)?)?;
        rest = next;
    }
    Some(if negative { -total } else { total })
}

/// Nanoseconds of one number with its unit.
fn part(number: &str, unit: &str) -> Option<i64> {
    let scale: i64 = match unit {
        "ns" => 1,
        "us" | "\u{b5}s" | "\u{3bc}s" => 1000,
        "ms" => 1_000_000,
        "s" => SECOND,
        "m" => 60 * SECOND,
        "h" => 3600 * SECOND,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut nanos = whole.checked_mul(scale)?;
    let mut share = scale;
    let mut rest: i64 = 0;
    for digit in fraction.bytes() {
        rest += i64::from(digit - b'0') * (share / 10);
        // What a further digit loses by the division is under a nanosecond.
        share /= 10;
    }
    nanos = nanos.checked_add(rest)?;
    Some(nanos)
}

/// A span as Go prints it.
pub(crate) fn text(nanos: i64) -> String {
    if nanos == 0 {
        return "0s".into();
    }
    let mut out = String::from(if nanos < 0 { "-" } else { "" });
    let nanos = nanos.unsigned_abs();
    if nanos < SECOND.unsigned_abs() {
        let (unit, name) = match nanos {
            0..1000 => (1, "ns"),
            1000..1_000_000 => (1000, "\u{b5}s"),
            _ => (1_000_000, "ms"),
        };
        put_decimal(&mut out, nanos, unit);
        out.push_str(name);
        return out;
    }
    let second = SECOND.unsigned_abs();
    let (hours, minutes) = (nanos / (3600 * second), nanos / (60 * second) % 60);
    if hours > 0 {
        let _ = write!(out, "{hours}h");
    }
    if hours > 0 || minutes > 0 {
        let _ = write!(out, "{minutes}m");
    }
    put_decimal(&mut out, nanos % (60 * second), second);
    out.push('s');
    out
}

/// Writes `nanos / unit` with the digits it needs.
fn put_decimal(out: &mut String, nanos: u64, unit: u64) {
    let _ = write!(out, "{}", nanos / unit);
    let rest = nanos % unit;
    if rest > 0 {
        let width = unit.ilog10() as usize;
        let digits = format!("{rest:0width$}");
        let _ = write!(out, ".{}", digits.trim_end_matches('0'));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_written_as_go_does() {
        for (written, nanos) in [
            ("0s", 0),
            ("1ns", 1),
            ("1.5\u{b5}s", 1500),
            ("100ms", 100_000_000),
            ("1.5s", 1_500_000_000),
            ("2m0s", 120 * SECOND),
            ("1h0m0.000000001s", 3600 * SECOND + 1),
            ("-1m30s", -90 * SECOND),
        ] {
            assert_eq!(text(nanos), written);
            assert_eq!(parse(written), Some(nanos));
        }
        for (written, nanos) in [("1h1m", Some(3660 * SECOND)), (".5s", Some(SECOND / 2))] {
            assert_eq!(parse(written), nanos);
        }
        for bad in ["", "5", "s", "1x", ".s", "1.2.3s", "-", "9999999999h"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
