//! The picture: lines of text, some of which stand out.

use std::fmt::Write as _;

use serde_json::Value;

use super::Sort;
use super::sample::{Core, Sample};

/// Cells of the bar that shows a load.
const BAR_CELLS: usize = 10;
/// Above this load a core stands out: there is little left for a burst.
const LOAD_HIGH: f64 = 0.9;

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    Plain,
    Title,
    /// Names of columns.
    Heading,
    /// Something to look at.
    Warning,
}

/// A line.
pub(super) struct Line {
    pub(super) look: Look,
    text: String,
}

impl Line {
    fn new(look: Look, text: impl Into<String>) -> Self {
        Self { look, text: text.into() }
    }

    /// A line about what went wrong.
    pub(super) fn warning(text: String) -> Self {
        Self::new(Look::Warning, text)
    }

    /// Without any looks.
    pub(super) fn plain(&self) -> &str {
        self.text.trim_end()
    }
}

/// Draws what was seen now; rates are over the time since the sample before.
pub(super) fn draw(now: &Sample, before: Option<&Sample>, sort: Sort) -> Vec<Line> {
    let mut lines = Vec::new();
    put_server(&mut lines, now, before);
    lines.push(Line::new(Look::Plain, ""));
    put_cores(&mut lines, now, before);
    if now.cores.values().any(|core| core.get("journal_commit_seconds_count") > 0.0) {
        lines.push(Line::new(Look::Plain, ""));
        put_journals(&mut lines, now, before);
    }
    lines.push(Line::new(Look::Plain, ""));
    put_connections(&mut lines, now, before, sort);
    lines
}

/// Seconds between two samples.
fn seconds(now: &Sample, before: Option<&Sample>) -> f64 {
    before.map_or(0.0, |before| now.at.duration_since(before.at).as_secs_f64())
}

fn rate(now: f64, before: Option<f64>, seconds: f64) -> f64 {
    before.map_or(0.0, |before| if seconds > 0.0 { (now - before).max(0.0) / seconds } else { 0.0 })
}

fn put_server(lines: &mut Vec<Line>, now: &Sample, before: Option<&Sample>) {
    let passed = seconds(now, before);
    let per = |name: &str| rate(now.number(name), before.map(|it| it.number(name)), passed);
    let title = format!(
        "{} · {} · protocol of {} · up {}",
        now.text("server_name"),
        now.text("go"),
        now.text("version"),
        now.text("uptime")
    );
    lines.push(Line::new(Look::Title, title));
    lines.push(Line::new(
        Look::Plain,
        format!(
            "in {}/s {}/s   out {}/s {}/s",
            short(per("in_msgs")),
            size(per("in_bytes")),
            short(per("out_msgs")),
            size(per("out_bytes")),
        ),
    ));
    let slow = now.number("slow_consumers");
    let look = if slow > 0.0 { Look::Warning } else { Look::Plain };
    lines.push(Line::new(
        look,
        format!(
            "connections {}   subscriptions {}   slow consumers {}   cpu {}%   memory {}",
            short(now.number("connections")),
            short(now.number("subscriptions")),
            short(slow),
            now.number("cpu"),
            size(now.number("mem")),
        ),
    ));
}

fn put_cores(lines: &mut Vec<Line>, now: &Sample, before: Option<&Sample>) {
    lines.push(Line::new(
        Look::Heading,
        format!(
            "{:<5}{:<20}{:>9}{:>9}{:>8}{:>9}{:>9}{:>10}{:>9}{:>9}{:>9}",
            "Core",
            "Load",
            "In/s",
            "Out/s",
            "Conns",
            "Subs",
            "Lanes",
            "Calls/s",
            "p50",
            "p99",
            "Max"
        ),
    ));
    let passed = seconds(now, before);
    for (number, core) in &now.cores {
        let then = before.and_then(|before| before.cores.get(number));
        let per = |name: &str| rate(core.get(name), then.map(|then| then.get(name)), passed);
        let load = per("busy_seconds_total").min(1.0);
        let text = format!(
            "{number:<5}{} {:>5.1}%  {:>9}{:>9}{:>8}{:>9}{:>9}{:>10}{:>9}{:>9}{:>9}",
            bar(load),
            load * 100.0,
            short(per("in_msgs_total")),
            short(per("out_msgs_total")),
            short(core.get("connections")),
            short(core.get("subscriptions")),
            size(core.get("lane_bytes")),
            short(per("ring_enters_total") + per("writes_total")),
            bound(core.percentile("turn_seconds", then, 0.5)),
            bound(core.percentile("turn_seconds", then, 0.99)),
            span(core.get("turn_longest_seconds")),
        );
        lines.push(Line::new(if load > LOAD_HIGH { Look::Warning } else { Look::Plain }, text));
    }
}

fn put_journals(lines: &mut Vec<Line>, now: &Sample, before: Option<&Sample>) {
    lines.push(Line::new(
        Look::Heading,
        format!(
            "{:<9}{:>11}{:>11}{:>11}{:>10}{:>10}",
            "Journal", "Commits/s", "Bytes/s", "Batch p50", "p50", "p99"
        ),
    ));
    let passed = seconds(now, before);
    for (number, core) in &now.cores {
        let then = before.and_then(|before| before.cores.get(number));
        let per = |name: &str| rate(core.get(name), then.map(|then: &Core| then.get(name)), passed);
        let text = format!(
            "{number:<9}{:>11}{:>11}{:>11}{:>10}{:>10}",
            short(per("journal_commit_seconds_count")),
            size(per("journal_batch_bytes_sum")),
            core.percentile("journal_batch_bytes", then, 0.5).map_or("-".to_owned(), size),
            bound(core.percentile("journal_commit_seconds", then, 0.5)),
            bound(core.percentile("journal_commit_seconds", then, 0.99)),
        );
        lines.push(Line::new(Look::Plain, text));
    }
}

fn put_connections(lines: &mut Vec<Line>, now: &Sample, before: Option<&Sample>, sort: Sort) {
    lines.push(Line::new(
        Look::Heading,
        format!(
            "{:<30}{:>9}{:>10}{:>10}{:>9}{:>9}{:>8}{:>11}{:>8}",
            format!("Connections by {}", sort.name()),
            "Pending",
            "In",
            "Out",
            "In/s",
            "Out/s",
            "Subs",
            "Trip",
            "Idle"
        ),
    ));
    let passed = seconds(now, before);
    for one in &now.connections {
        let then = before.and_then(|it| it.connections.iter().find(|it| it["cid"] == one["cid"]));
        let count = |from: &Value, name: &str| from[name].as_f64().unwrap_or_default();
        let per = |name: &str| rate(count(one, name), then.map(|then| count(then, name)), passed);
        let text = |name: &str| one[name].as_str().unwrap_or_default();
        let who = match text("name") {
            "" => format!("{} {}:{}", one["cid"], text("ip"), one["port"]),
            name => format!("{} {name}", one["cid"]),
        };
        lines.push(Line::new(
            Look::Plain,
            format!(
                "{:<30}{:>9}{:>10}{:>10}{:>9}{:>9}{:>8}{:>11}{:>8}",
                cut(&who, 29),
                size(count(one, "pending_bytes")),
                size(count(one, "in_bytes")),
                size(count(one, "out_bytes")),
                short(per("in_msgs")),
                short(per("out_msgs")),
                short(count(one, "subscriptions")),
                text("rtt"),
                text("idle"),
            ),
        ));
    }
}

/// At most so many characters of a text that a stranger chose, without what steers a terminal.
fn cut(text: &str, most: usize) -> String {
    let clean = |letter: char| if letter.is_control() { '?' } else { letter };
    let mut cut: String = text.chars().take(most).map(clean).collect();
    if text.chars().count() > most {
        cut.pop();
        cut.push('…');
    }
    cut
}

fn bar(share: f64) -> String {
    let full = (share * BAR_CELLS as f64).round() as usize;
    let mut bar = String::new();
    (0..BAR_CELLS).for_each(|cell| bar.push(if cell < full { '█' } else { '·' }));
    bar
}

fn scaled(mut value: f64, step: f64, units: &[&str]) -> String {
    let mut place = 0;
    while value >= step && place + 1 < units.len() {
        value /= step;
        place += 1;
    }
    let mut text = String::new();
    let digits = if place == 0 { 0 } else { usize::from(value < 100.0) };
    let _ = write!(text, "{value:.digits$}{}", units[place]);
    text
}

fn short(value: f64) -> String {
    scaled(value, 1000.0, &["", "k", "M", "G", "T"])
}

fn size(bytes: f64) -> String {
    scaled(bytes, 1024.0, &["B", "K", "M", "G", "T"])
}

fn span(seconds: f64) -> String {
    if seconds >= 1.0 {
        format!("{seconds:.2}s")
    } else if seconds >= 1e-3 {
        format!("{:.1}ms", seconds * 1e3)
    } else {
        format!("{:.0}us", seconds * 1e6)
    }
}

/// The bound of a histogram, if there was anything to count.
fn bound(seconds: Option<f64>) -> String {
    match seconds {
        None => "-".to_owned(),
        Some(seconds) if seconds.is_infinite() => "long".to_owned(),
        Some(seconds) => format!("<{}", span(seconds)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_short() {
        for (value, expected) in [(0.0, "0"), (999.0, "999"), (1500.0, "1.5k"), (2.5e8, "250M")] {
            assert_eq!(short(value), expected);
        }
        for (bytes, expected) in [(0.0, "0B"), (2048.0, "2.0K"), (5e9, "4.7G")] {
            assert_eq!(size(bytes), expected);
        }
        for (seconds, expected) in [(2e-6, "2us"), (0.0042, "4.2ms"), (3.0, "3.00s")] {
            assert_eq!(span(seconds), expected);
        }
        assert_eq!(bar(0.5), "█████·····");
        assert_eq!(cut("a\u{1b}[2Jb", 29), "a?[2Jb");
        assert_eq!(cut("abcdef", 4), "abc…");
    }
}
