//! When a schedule's pattern falls due next (spec 6.5): six fields, of seconds, minutes, hours,
//! days of the month, months and days of the week, in the grammar that the reference accepts.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

/// Years that are looked through for a time that matches.
const YEARS_MAX: i16 = 5;

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// The values that a field allows, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Field {
    bits: u64,
    /// Was it written as every value?
    is_any: bool,
}

/// What a field may hold: the least and the largest value, and names for the values from the least
/// on.
type Bounds = (u32, u32, &'static [&'static str]);

impl Field {
    fn read(text: &str, bounds: Bounds) -> Option<Self> {
        let mut field = Self::default();
        for range in text.split(',').filter(|range| !range.is_empty()) {
            let (bits, is_any) = read_range(range, bounds)?;
            field.bits |= bits;
            field.is_any |= is_any;
        }
        Some(field)
    }

    const fn has(self, value: i8) -> bool {
        self.bits & (1 << value) != 0
    }
}

/// `*`, `?`, a value or a range, with a step behind a slash if need be.
fn read_range(text: &str, (least, most, names): Bounds) -> Option<(u64, bool)> {
    let (values, step) = match text.split_once('/') {
        Some((values, step)) => (values, Some(step.parse::<u32>().ok()?)),
        None => (text, None),
    };
    let value = |text: &str| -> Option<u32> {
        let name = names.iter().position(|name| name.eq_ignore_ascii_case(text));
        name.map_or_else(|| text.parse().ok(), |place| Some(place as u32 + least))
    };
    let (is_star, start, end) = match values.split_once('-') {
        _ if values == "*" || values == "?" => (true, least, most),
        Some((start, end)) => (false, value(start)?, value(end)?),
        None => {
            let start = value(values)?;
            (false, start, if step.is_some() { most } else { start })
        }
    };
    let step = step.unwrap_or(1);
    if start < least || end > most || start > end || step == 0 {
        return None;
    }
    let bits = (start..=end).step_by(step as usize).fold(0, |bits, value| bits | 1 << value);
    Some((bits, is_star && step == 1))
}

/// A pattern that was understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cron {
    seconds: Field,
    minutes: Field,
    hours: Field,
    days: Field,
    months: Field,
    weekdays: Field,
}

impl Cron {
    pub(super) fn read(pattern: &str) -> Option<Self> {
        let fields: Vec<&str> = pattern.split_whitespace().collect();
        let [seconds, minutes, hours, days, months, weekdays] = fields[..] else { return None };
        Some(Self {
            seconds: Field::read(seconds, (0, 59, &[]))?,
            minutes: Field::read(minutes, (0, 59, &[]))?,
            hours: Field::read(hours, (0, 23, &[]))?,
            days: Field::read(days, (1, 31, &[]))?,
            months: Field::read(months, (1, 12, &MONTHS))?,
            weekdays: Field::read(weekdays, (0, 6, &DAYS))?,
        })
    }

    /// The first time after `after` that matches, both in nanoseconds since 1970. Nothing if there
    /// is none within five years.
    pub(super) fn next(&self, after: i64, zone: &TimeZone) -> Option<i64> {
        let start = Timestamp::from_second(after.div_euclid(1_000_000_000) + 1).ok()?;
        let start = zone.to_datetime(start);
        let mut date = start.date();
        while date.year() <= start.year() + YEARS_MAX {
            if !self.months.has(date.month()) {
                date = date.first_of_month().checked_add(Span::new().months(1)).ok()?;
                continue;
            }
            let from = if date == start.date() { start } else { date.at(0, 0, 0, 0) };
            if self.matches_day(date)
                && let Some(time) = self.time_from(from)
            {
                let found = zone.to_timestamp(time).ok()?.as_nanosecond() as i64;
                // Where clocks are put back a local time comes twice.
                if found > after {
                    return Some(found);
                }
            }
            date = date.tomorrow().ok()?;
        }
        None
    }

    /// Of days of the month and of the week one has to match, unless either is every day.
    fn matches_day(&self, date: Date) -> bool {
        let day = self.days.has(date.day());
        let weekday = self.weekdays.has(date.weekday().to_sunday_zero_offset());
        if self.days.is_any || self.weekdays.is_any { day && weekday } else { day || weekday }
    }

    /// The first time of the day at or after `from` that matches.
    fn time_from(&self, from: DateTime) -> Option<DateTime> {
        for hour in (from.hour()..24).filter(|hour| self.hours.has(*hour)) {
            let minute = if hour == from.hour() { from.minute() } else { 0 };
            for minute in (minute..60).filter(|minute| self.minutes.has(*minute)) {
                let is_first = hour == from.hour() && minute == from.minute();
                let second = if is_first { from.second() } else { 0 };
                let second = (second..60).find(|second| self.seconds.has(*second));
                if let Some(second) = second {
                    return Some(from.date().at(hour, minute, second, 0));
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(pattern: &str, after: &str) -> Option<String> {
        let after: Timestamp = after.parse().expect("a time");
        let found = Cron::read(pattern)?.next(after.as_nanosecond() as i64, &TimeZone::UTC)?;
        Some(Timestamp::from_nanosecond(i128::from(found)).expect("a time").to_string())
    }

    #[test]
    fn the_next_time_matches_every_field() {
        for (pattern, after, expected) in [
            ("* * * * * *", "2026-01-01T00:00:00.5Z", "2026-01-01T00:00:01Z"),
            ("0 * * * * *", "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"),
            ("0 0 0 1 1 *", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            ("*/20 5-10/2 3 * * *", "2026-01-01T03:05:40Z", "2026-01-01T03:07:00Z"),
            ("0 0 12 * * MON", "2026-01-01T00:00:00Z", "2026-01-05T12:00:00Z"),
            ("0 0 12 15 * mon", "2026-01-06T00:00:00Z", "2026-01-12T12:00:00Z"),
            ("0 0 12 15 * ?", "2026-01-06T00:00:00Z", "2026-01-15T12:00:00Z"),
            ("0 0 0 29 feb *", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
            ("30 59 23 31 12 *", "2026-12-31T23:59:30Z", "2027-12-31T23:59:30Z"),
        ] {
            assert_eq!(next(pattern, after).as_deref(), Some(expected), "{pattern}");
        }
        assert_eq!(next("0 0 0 30 2 *", "2026-01-01T00:00:00Z"), None);
    }

    #[test]
    fn what_the_reference_refuses_is_refused() {
        for pattern in [
            "",
            "* * * * *",
            "60 * * * * *",
            "* * 24 * * *",
            "* * * 0 * *",
            "* * * * 13 *",
            "* * * * * 7",
            "5-1 * * * * *",
            "*/0 * * * * *",
            "a * * * * *",
            "1-2-3 * * * * *",
            "-1 * * * * *",
            "1/2/3 * * * * *",
            "* * * L * *",
        ] {
            assert_eq!(Cron::read(pattern), None, "{pattern}");
        }
    }
}
