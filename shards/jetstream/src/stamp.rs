//! Moments in requests and answers: RFC 3339 with nanoseconds, in the offset they came with.

use std::fmt::Write as _;

use base::Wall;

const NANOS_PER_SECOND: i64 = 1_000_000_000;
/// Days from 0000-03-01 to 1970-01-01 in the proleptic calendar (Hinnant, "chrono-compatible
/// low-level date algorithms").
const EPOCH_DAYS: i64 = 719_468;

/// A moment of the world's clock as a request names it. Years 0 to 9999.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// Seconds since 1970 in UTC.
    seconds: i64,
    nanos: u32,
    /// Minutes east of UTC of the notation.
    offset: i16,
}

impl PartialEq for Stamp {
    /// Do they name the same moment, in whatever notation?
    fn eq(&self, other: &Self) -> bool {
        (self.seconds, self.nanos) == (other.seconds, other.nanos)
    }
}

impl Eq for Stamp {}

impl From<Wall> for Stamp {
    fn from(wall: Wall) -> Self {
        let seconds = wall.0.div_euclid(NANOS_PER_SECOND);
        let nanos = wall.0.rem_euclid(NANOS_PER_SECOND) as u32;
        Self { seconds, nanos, offset: 0 }
    }
}

impl Stamp {
    /// The moment that stands for none: the first of the year one.
    pub const ZERO: Self = Self { seconds: -62_135_596_800, nanos: 0, offset: 0 };

    /// Does it stand for none?
    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }

    /// The same moment written in UTC.
    #[must_use]
    pub const fn utc(self) -> Self {
        Self { offset: 0, ..self }
    }

    /// The moment on the server's clock; the nearest that it can show.
    pub fn wall(self) -> Wall {
        let whole = self.seconds.saturating_mul(NANOS_PER_SECOND);
        Wall(whole.saturating_add(i64::from(self.nanos)))
    }

    /// Reads RFC 3339. The complaint is the reference's.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bytes = text.as_bytes();
        let complain = |at: usize, part: &str| {
            let rest = String::from_utf8_lossy(bytes.get(at..).unwrap_or_default());
            let rest = crate::json::go_quoted(rest.as_bytes());
            let whole = crate::json::go_quoted(bytes);
            format!(
                "parsing time {whole} as \"2006-01-02T15:04:05Z07:00\": cannot parse {rest} as \
                 \"{part}\""
            )
        };
        let number = |at: usize, width: usize, part: &str| -> Result<i64, String> {
            let digits = bytes.get(at..at + width).filter(|d| d.iter().all(u8::is_ascii_digit));
            let digits = digits.ok_or_else(|| complain(at, part))?;
            Ok(digits.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0')))
        };
        let mark = |at: usize, mark: u8| match bytes.get(at) {
            Some(found) if *found == mark => Ok(()),
            _ => Err(complain(at, &char::from(mark).to_string())),
        };
        let year = number(0, 4, "2006")?;
        mark(4, b'-')?;
        let month = number(5, 2, "01")?;
        mark(7, b'-')?;
        let day = number(8, 2, "02")?;
        mark(10, b'T')?;
        let hour = number(11, 2, "15")?;
        mark(13, b':')?;
        let minute = number(14, 2, "04")?;
        mark(16, b':')?;
        let second = number(17, 2, "05")?;
        let (nanos, at) = fraction(bytes);
        let offset = offset(&bytes[at..]).ok_or_else(|| complain(at, "Z07:00"))?;
        let out = |what: &str| {
            format!("parsing time {}: {what} out of range", crate::json::go_quoted(bytes))
        };
        if !(1..=12).contains(&month) {
            return Err(out("month"));
        }
        if day < 1 || day > days_of(year, month) {
            return Err(out("day"));
        }
        if hour > 23 {
            return Err(out("hour"));
        }
        if minute > 59 {
            return Err(out("minute"));
        }
        if second > 59 {
            return Err(out("second"));
        }
        let local = ((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
        Ok(Self { seconds: local - i64::from(offset) * 60, nanos, offset })
    }

    /// Appends it in double quotes.
    pub fn put(self, out: &mut Vec<u8>) {
        out.push(b'"');
        out.extend_from_slice(self.bare().as_bytes());
        out.push(b'"');
    }

    /// Its text.
    pub fn bare(self) -> String {
        let local = self.seconds + i64::from(self.offset) * 60;
        let (year, month, day) = date(local.div_euclid(86_400));
        let clock = local.rem_euclid(86_400);
        let (hour, minute, second) = (clock / 3600, clock / 60 % 60, clock % 60);
        let mut text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
        if self.nanos > 0 {
            let digits = format!("{:09}", self.nanos);
            let _ = write!(text, ".{}", digits.trim_end_matches('0'));
        }
        if self.offset == 0 {
            text.push('Z');
        } else {
            let sign = if self.offset < 0 { '-' } else { '+' };
            let minutes = self.offset.unsigned_abs();
            let _ = write!(text, "{sign}{:02}:{:02}", minutes / 60, minutes % 60);
        }
        text
    }
}

/// Nanoseconds after the decimal point at byte 19, if there is one, and where they end. Digits past
/// the ninth are cut off.
fn fraction(bytes: &[u8]) -> (u32, usize) {
    if !matches!(bytes.get(19), Some(b'.' | b',')) {
        return (0, 19);
    }
    let digits = bytes[20..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return (0, 19);
    }
    let mut nanos = 0;
    for place in 0..9 {
        let digit = if place < digits { bytes[20 + place] - b'0' } else { 0 };
        nanos = nanos * 10 + u32::from(digit);
    }
    (nanos, 20 + digits)
}

/// Minutes east of UTC.
fn offset(zone: &[u8]) -> Option<i16> {
    if zone == b"Z" {
        return Some(0);
    }
    let [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] = zone else {
        return None;
    };
    if ![h1, h2, m1, m2].iter().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let digit = |byte: &u8| i16::from(byte - b'0');
    let (hours, minutes) = (digit(h1) * 10 + digit(h2), digit(m1) * 10 + digit(m2));
    if hours > 24 || minutes > 60 {
        return None;
    }
    let total = hours * 60 + minutes;
    Some(if *sign == b'-' { -total } else { total })
}

const fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970.
const fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - EPOCH_DAYS
}

/// Year, month and day of a day since 1970.
const fn date(days: i64) -> (i64, i64, i64) {
    let days = days + EPOCH_DAYS;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let years = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * years + years / 4 - years / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = years + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(stamp: Stamp) -> String {
        let mut out = Vec::new();
        stamp.put(&mut out);
        String::from_utf8(out).expect("digits and marks are text")
    }

    #[test]
    fn moments_survive_a_round_trip_in_their_own_offset() {
        for text in [
            "1970-01-01T00:00:00Z",
            "2024-02-29T23:59:59.999999999Z",
            "2024-01-02T03:04:05.12+02:00",
            "0001-01-01T00:00:00Z",
            "9999-12-31T23:59:59-11:30",
        ] {
            let stamp = Stamp::parse(text).expect(text);
            assert_eq!(written(stamp), format!("\"{text}\""));
        }
        assert!(Stamp::parse("0001-01-01T00:00:00Z").expect("the zero moment").is_zero());
        assert_eq!(Stamp::parse("2024-01-02T03:04:05+02:00"), Stamp::parse("2024-01-02T01:04:05Z"));
        assert_eq!(Stamp::from(Wall(1_500_000_000)).wall(), Wall(1_500_000_000));
        assert_eq!(written(Stamp::from(Wall(-1))), "\"1969-12-31T23:59:59.999999999Z\"");
    }

    #[test]
    fn complaints_are_those_of_the_reference() {
        let layout = "as \"2006-01-02T15:04:05Z07:00\": cannot parse";
        for (text, expected) in [
            ("zz", format!("parsing time \"zz\" {layout} \"zz\" as \"2006\"")),
            (
                "2024-13-01T00:00:00Z",
                "parsing time \"2024-13-01T00:00:00Z\": month out of range".into(),
            ),
            (
                "2023-02-29T00:00:00Z",
                "parsing time \"2023-02-29T00:00:00Z\": day out of range".into(),
            ),
            ("2024-01-01", format!("parsing time \"2024-01-01\" {layout} \"\" as \"T\"")),
        ] {
            assert_eq!(Stamp::parse(text), Err(expected), "{text}");
        }
    }
}
