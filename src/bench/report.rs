//! A run's result: for people on the terminal, for programs as JSON.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::conn::Calls;
use super::failure::Failure;
use super::flow::Section;
use super::usage::{self, Books, Own, Server, ServerUse};

/// Longest latency that is told apart; a minute is an outage, not a latency.
const LATENCY_NS_MAX: u64 = 60_000_000_000;
/// Points per halving of the distance to 100 % in curves and `.hgrm` files.
const CURVE_TICKS: u32 = 5;

/// One run of one mode.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) mode: &'static str,
    pub(crate) server: String,
    pub(crate) parameters: serde_json::Value,
    /// What `work` counts.
    pub(crate) unit: &'static str,
    pub(crate) work: u64,
    pub(crate) seconds: f64,
    pub(crate) work_per_second: f64,
    pub(crate) published: u64,
    pub(crate) delivered: u64,
    /// Messages that were published and are nowhere, in a load that allows for it.
    pub(crate) lost: Option<u64>,
    pub(crate) payload_bytes: u64,
    pub(crate) payload_bytes_per_second: f64,
    /// The rest needs `--server-pid`.
    pub(crate) work_per_cpu_second: Option<f64>,
    pub(crate) payload_bytes_per_cpu_second: Option<f64>,
    pub(crate) server_use: Option<ServerUse>,
    pub(crate) load: LoadUse,
    pub(crate) latency: Option<Latency>,
    pub(crate) memory: Option<Memory>,
    pub(crate) setup_seconds: Option<f64>,
}

/// What the load itself cost, to show that it was not the limit.
#[derive(Debug, Default, Serialize)]
pub(crate) struct LoadUse {
    pub(crate) cpu_seconds: f64,
    /// Time in which it could have run but something else had its CPU: the machine was not free.
    pub(crate) waited_seconds: f64,
    /// Share of the time in which it moved bytes; at 1 the load is the limit, not the server.
    /// Only for the modes that go as fast as the server does.
    pub(crate) busy_share: f64,
    pub(crate) busy_ns_per_message: f64,
    pub(crate) reads: u64,
    pub(crate) bytes_per_read: f64,
    pub(crate) writes: u64,
    pub(crate) bytes_per_write: f64,
}

/// Percentiles in microseconds.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Latency {
    pub(crate) count: u64,
    pub(crate) min: f64,
    pub(crate) mean: f64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) p9999: f64,
    pub(crate) max: f64,
    /// Longest time in which the load itself did not turn, and how many were over 100 us: above
    /// these the percentiles speak of the machine, not of the server.
    pub(crate) load_gap_max: f64,
    pub(crate) load_gaps_over_100us: u64,
    /// Pairs of percentile and value.
    pub(crate) curve: Vec<(f64, f64)>,
}

/// What one connection or one subscription occupies.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Memory {
    pub(crate) count: u64,
    pub(crate) rss_before_kib: u64,
    pub(crate) rss_after_kib: u64,
    pub(crate) bytes_each: f64,
}

impl Memory {
    pub(crate) fn new(count: u64, rss_before_kib: u64, rss_after_kib: u64) -> Self {
        let grown = rss_after_kib as f64 - rss_before_kib as f64;
        let bytes_each = ratio(grown * 1024.0, count as f64).unwrap_or(0.0);
        Self { count, rss_before_kib, rss_after_kib, bytes_each }
    }
}

/// `part / whole`, when there is a whole.
pub(crate) fn ratio(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part / whole)
}

/// The books of server and load from the start of a section on.
#[derive(Debug)]
pub(crate) struct Ledger {
    server: Option<(Server, Books)>,
    own: Own,
}

impl Ledger {
    pub(crate) fn open(server: Option<Server>) -> Result<Self, Failure> {
        let books = server.map(|server| server.books().map(|books| (server, books)));
        Ok(Self { server: books.transpose()?, own: usage::own()? })
    }

    /// Puts what was used since into the report; its work and time must be there.
    pub(crate) fn close(&self, report: &mut Report) -> Result<(), Failure> {
        let own = usage::own()?;
        report.load.cpu_seconds = own.cpu.saturating_sub(self.own.cpu).as_secs_f64();
        report.load.waited_seconds = own.waited.saturating_sub(self.own.waited).as_secs_f64();
        let used = match &self.server {
            Some((server, before)) => Some(server.between(before, &server.books()?)),
            None => None,
        };
        report.conclude(used);
        Ok(())
    }
}

impl Report {
    /// The counts of a verified section; `size` is that of a payload.
    pub(crate) fn count(&mut self, section: &Section, size: usize) {
        self.unit = "messages in + out";
        self.published = section.published;
        self.delivered = section.delivered;
        self.work = section.published + section.delivered;
        self.payload_bytes = section.published * size as u64 + section.delivered_bytes;
        self.seconds = section.elapsed.as_secs_f64();
        let busy = section.busy.as_secs_f64();
        self.load.busy_share = ratio(busy, self.seconds).unwrap_or(0.0);
        self.load.busy_ns_per_message = ratio(busy * 1e9, self.work as f64).unwrap_or(0.0);
        self.count_calls(section.reads, section.writes);
    }

    pub(crate) fn count_calls(&mut self, reads: Calls, writes: Calls) {
        let mean = |of: Calls| ratio(of.bytes as f64, of.calls as f64).unwrap_or(0.0);
        (self.load.reads, self.load.bytes_per_read) = (reads.calls, mean(reads));
        (self.load.writes, self.load.bytes_per_write) = (writes.calls, mean(writes));
    }

    fn conclude(&mut self, used: Option<ServerUse>) {
        let (work, bytes) = (self.work as f64, self.payload_bytes as f64);
        self.work_per_second = ratio(work, self.seconds).unwrap_or(0.0);
        self.payload_bytes_per_second = ratio(bytes, self.seconds).unwrap_or(0.0);
        if let Some(used) = &used {
            self.work_per_cpu_second = ratio(work, used.cpu_seconds);
            self.payload_bytes_per_cpu_second = ratio(bytes, used.cpu_seconds);
        }
        self.server_use = used;
    }

    /// Writes JSON to `path`, or to standard output for `-`.
    pub(crate) fn save(&self, path: &Path) -> Result<(), Failure> {
        let mut text = serde_json::to_string(self).expect("a report has no maps with odd keys");
        text.push('\n');
        if path == Path::new("-") {
            print!("{text}");
            return Ok(());
        }
        fs::write(path, text).map_err(Failure::io("writing the JSON report"))
    }

    /// A few lines for people.
    pub(crate) fn summary(&self) -> String {
        let mut text = self.mode.to_owned();
        if self.work > 0 {
            let _ = write!(
                text,
                ": {} {} in {:.3} s, {}/s, {}B/s",
                self.work,
                self.unit,
                self.seconds,
                short(self.work_per_second),
                short(self.payload_bytes_per_second),
            );
        }
        if let (Some(used), Some(rate)) = (&self.server_use, self.work_per_cpu_second) {
            let _ = write!(
                text,
                "\n  server: {:.3} CPU s (user {:.2}, system {:.2}), {} per CPU second, RSS {} KiB",
                used.cpu_seconds,
                used.user_seconds,
                used.system_seconds,
                short(rate),
                used.rss_kib,
            );
        }
        if self.work > 0 {
            let _ = write!(
                text,
                "\n  load: {:.3} CPU s, {:.3} s waiting for its CPU, busy {:.0} % at {:.1} ns per \
                 message, {:.0} B per read, {:.0} B per write",
                self.load.cpu_seconds,
                self.load.waited_seconds,
                self.load.busy_share * 100.0,
                self.load.busy_ns_per_message,
                self.load.bytes_per_read,
                self.load.bytes_per_write,
            );
        }
        if let Some(lost) = self.lost {
            let _ = write!(text, "\n  lost: {lost} of {}", self.published);
        }
        if let Some(seconds) = self.setup_seconds {
            let _ = write!(text, "\n  set up in {seconds:.3} s");
        }
        if let Some(latency) = &self.latency {
            let _ = write!(text, "\n{}", latency.summary());
        }
        if let Some(memory) = &self.memory {
            let _ = write!(
                text,
                "\n  memory: {} KiB before, {} KiB after, {:.0} bytes each for {}",
                memory.rss_before_kib, memory.rss_after_kib, memory.bytes_each, memory.count,
            );
        }
        text
    }
}

impl Latency {
    /// Percentiles of a histogram of nanoseconds.
    pub(crate) fn new(histogram: &Histogram<u64>, gaps: &Gaps) -> Self {
        let at = |quantile| micros(histogram.value_at_quantile(quantile));
        let mut curve = Vec::new();
        for step in histogram.iter_quantiles(CURVE_TICKS) {
            curve.push((step.quantile_iterated_to() * 100.0, micros(step.value_iterated_to())));
        }
        Self {
            count: histogram.len(),
            min: micros(histogram.min()),
            mean: histogram.mean() / 1e3,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            p9999: at(0.9999),
            max: micros(histogram.max()),
            load_gap_max: micros(gaps.max_ns),
            load_gaps_over_100us: gaps.over_100us,
            curve,
        }
    }

    fn summary(&self) -> String {
        format!(
            "  latency us: p50 {:.1}, p90 {:.1}, p99 {:.1}, p99.9 {:.1}, p99.99 {:.1}, max {:.1} \
             ({} samples)\n  load's own gaps: longest {:.1} us, {} over 100 us",
            self.p50,
            self.p90,
            self.p99,
            self.p999,
            self.p9999,
            self.max,
            self.count,
            self.load_gap_max,
            self.load_gaps_over_100us,
        )
    }
}

/// Times in which the load did not turn.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Gaps {
    max_ns: u64,
    over_100us: u64,
}

impl Gaps {
    pub(crate) fn record(&mut self, gap: Duration) {
        let gap_ns = gap.as_nanos() as u64;
        self.max_ns = self.max_ns.max(gap_ns);
        self.over_100us += u64::from(gap_ns > 100_000);
    }
}

/// A histogram of nanoseconds up to a minute, three digits exact.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).expect("the bounds are in order")
}

/// Records a latency; one beyond the range counts as the longest.
pub(crate) fn record(histogram: &mut Histogram<u64>, nanos: u64) {
    histogram.saturating_record(nanos.max(1));
}

/// The percentile distribution in the text form that `HdrHistogram` plotters read, in microseconds.
pub(crate) fn hgrm(histogram: &Histogram<u64>) -> String {
    let mut text = String::from("       Value     Percentile TotalCount 1/(1-Percentile)\n\n");
    let mut total = 0;
    for step in histogram.iter_quantiles(CURVE_TICKS) {
        total += step.count_since_last_iteration();
        let (value, quantile) = (micros(step.value_iterated_to()), step.quantile_iterated_to());
        let _ = write!(text, "{value:12.3} {quantile:2.12} {total:10}");
        let _ = match ratio(1.0, 1.0 - quantile) {
            Some(inverse) => writeln!(text, " {inverse:14.2}"),
            None => writeln!(text),
        };
    }
    let (mean, deviation) = (histogram.mean() / 1e3, histogram.stdev() / 1e3);
    let _ = writeln!(text, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]");
    let (max, count) = (micros(histogram.max()), histogram.len());
    let _ = writeln!(text, "#[Max     = {max:12.3}, Total count    = {count:12}]");
    let _ = writeln!(text, "#[Buckets = {:12}, SubBuckets     = {:12}]", 26, 2048);
    text
}

fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1e3
}

/// Three significant digits with a unit prefix.
fn short(value: f64) -> String {
    for (limit, unit) in [(1e9, "G"), (1e6, "M"), (1e3, "k")] {
        if value >= limit {
            return format!("{:.2} {unit}", value / limit);
        }
    }
    format!("{value:.1} ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(cpu_seconds: f64) -> ServerUse {
        ServerUse {
            cpu_seconds,
            user_seconds: 0.0,
            system_seconds: 0.0,
            rss_before_kib: 0,
            rss_kib: 0,
            voluntary_switches: 0,
            involuntary_switches: 0,
            threads: Vec::new(),
        }
    }

    fn near(value: f64, wanted: f64) {
        assert!((value - wanted).abs() <= wanted.abs() * 1e-12, "{value} is not {wanted}");
    }

    #[test]
    fn rates_are_work_by_time() {
        let section = Section {
            published: 1_000_000,
            delivered: 5_000_000,
            delivered_bytes: 80_000_000,
            elapsed: Duration::from_millis(500),
            busy: Duration::from_millis(120),
            reads: Calls { calls: 10, bytes: 1000 },
            writes: Calls::default(),
        };
        let mut report = Report::default();
        report.count(&section, 16);
        report.conclude(Some(used(0.25)));
        assert_eq!(report.work, 6_000_000);
        near(report.work_per_second, 12e6);
        assert_eq!(report.work_per_cpu_second, Some(24e6));
        assert_eq!(report.payload_bytes_per_cpu_second, Some(24e6 * 16.0));
        near(report.load.busy_ns_per_message, 20.0);
        near(report.load.busy_share, 0.24);
        near(report.load.bytes_per_read, 100.0);
        near(report.load.bytes_per_write, 0.0);
    }

    #[test]
    fn nothing_is_divided_by_nothing() {
        let mut report = Report::default();
        report.conclude(Some(used(0.0)));
        assert_eq!(report.work_per_cpu_second, None);
        assert_eq!(ratio(1.0, 0.0), None);
        near(Memory::new(0, 5, 9).bytes_each, 0.0);
        near(Memory::new(1024, 1000, 3000).bytes_each, 2000.0);
    }

    #[test]
    fn percentiles_are_microseconds() {
        let mut histogram = histogram();
        for micros in 1..=1000 {
            record(&mut histogram, micros * 1000);
        }
        let latency = Latency::new(&histogram, &Gaps::default());
        assert_eq!(latency.count, 1000);
        assert!((latency.p50 - 500.0).abs() < 1.0, "{}", latency.p50);
        assert!((latency.p99 - 990.0).abs() < 2.0, "{}", latency.p99);
        assert_eq!(latency.curve.last().map(|point| point.0), Some(100.0));
        let text = hgrm(&histogram);
        assert!(text.starts_with("       Value     Percentile"));
        assert!(text.contains("Total count    =         1000]"));
        record(&mut histogram, u64::MAX);
        assert_eq!(histogram.len(), 1001, "an outage is counted, not lost");
    }
}
