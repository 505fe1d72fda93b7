//! What the server's process and the load itself used, from the kernel's books.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::time::{ClockId, clock_getcpuclockid};
use nix::unistd::{Pid, SysconfVar, sysconf};
use serde::Serialize;

use super::failure::Failure;

/// The process under test.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Server {
    pid: i32,
    clock: ClockId,
    ticks_per_second: f64,
}

/// Its books at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Books {
    cpu: Duration,
    user_ticks: u64,
    system_ticks: u64,
    rss_kib: u64,
    voluntary: u64,
    involuntary: u64,
    /// Name and time on a CPU, by thread.
    threads: BTreeMap<i32, (String, Duration)>,
}

/// The difference between two moments.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ServerUse {
    pub(crate) cpu_seconds: f64,
    pub(crate) user_seconds: f64,
    pub(crate) system_seconds: f64,
    pub(crate) rss_before_kib: u64,
    pub(crate) rss_kib: u64,
    pub(crate) voluntary_switches: u64,
    pub(crate) involuntary_switches: u64,
    pub(crate) threads: Vec<ThreadUse>,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct ThreadUse {
    pub(crate) tid: i32,
    pub(crate) name: String,
    pub(crate) cpu_seconds: f64,
}

impl Server {
    pub(crate) fn new(pid: i32) -> Result<Self, Failure> {
        let clock =
            clock_getcpuclockid(Pid::from_raw(pid)).map_err(Failure::errno("--server-pid"))?;
        let ticks = sysconf(SysconfVar::CLK_TCK).map_err(Failure::errno("sysconf"))?;
        let ticks_per_second = ticks.expect("Linux has a tick") as f64;
        Ok(Self { pid, clock, ticks_per_second })
    }

    /// Reads the books. The process clock is exact; user and system time are in ticks.
    pub(crate) fn books(&self) -> Result<Books, Failure> {
        let cpu = self.clock.now().map_err(Failure::errno("reading the server's clock"))?;
        let mut books = Books { cpu: cpu.into(), ..Books::default() };
        let stat = self.read("stat")?;
        (books.user_ticks, books.system_ticks) =
            stat_ticks(&stat).ok_or_else(|| Failure::Protocol(format!("stat: {stat}")))?;
        books.rss_kib = status_field(&self.read("status")?, "VmRSS:");
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid));
        for entry in tasks.map_err(Failure::io("listing the server's threads"))?.flatten() {
            // A thread may end between the listing and the look.
            let text = |file| fs::read_to_string(entry.path().join(file)).unwrap_or_default();
            let status = text("status");
            books.voluntary += status_field(&status, "voluntary_ctxt_switches:");
            books.involuntary += status_field(&status, "nonvoluntary_ctxt_switches:");
            let Ok(tid) = entry.file_name().to_string_lossy().parse() else {
                continue;
            };
            let (on_cpu, _) = schedstat(&text("schedstat"));
            let name = text("comm").trim_end().to_owned();
            books.threads.insert(tid, (name, Duration::from_nanos(on_cpu)));
        }
        Ok(books)
    }

    pub(crate) fn rss_kib(&self) -> Result<u64, Failure> {
        Ok(status_field(&self.read("status")?, "VmRSS:"))
    }

    pub(crate) fn between(&self, before: &Books, after: &Books) -> ServerUse {
        let seconds = |ticks: u64| ticks as f64 / self.ticks_per_second;
        let mut threads: Vec<_> = after
            .threads
            .iter()
            .map(|(tid, (name, on_cpu))| {
                let then = before.threads.get(tid).map_or(Duration::ZERO, |(_, then)| *then);
                let cpu_seconds = on_cpu.saturating_sub(then).as_secs_f64();
                ThreadUse { tid: *tid, name: name.clone(), cpu_seconds }
            })
            .filter(|thread| thread.cpu_seconds > 0.0)
            .collect();
        threads.sort_by(|a, b| b.cpu_seconds.total_cmp(&a.cpu_seconds));
        ServerUse {
            cpu_seconds: after.cpu.saturating_sub(before.cpu).as_secs_f64(),
            user_seconds: seconds(after.user_ticks - before.user_ticks),
            system_seconds: seconds(after.system_ticks - before.system_ticks),
            rss_before_kib: before.rss_kib,
            rss_kib: after.rss_kib,
            voluntary_switches: after.voluntary.saturating_sub(before.voluntary),
            involuntary_switches: after.involuntary.saturating_sub(before.involuntary),
            threads,
        }
    }

    fn read(&self, file: &str) -> Result<String, Failure> {
        let path = format!("/proc/{}/{file}", self.pid);
        fs::read_to_string(path).map_err(Failure::io("reading the server's books"))
    }
}

/// This process, which is one thread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Own {
    /// CPU time used, user and system together.
    pub(crate) cpu: Duration,
    /// Time spent runnable while something else had the CPU; zero where the kernel does not say.
    pub(crate) waited: Duration,
}

pub(crate) fn own() -> Result<Own, Failure> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).map_err(Failure::errno("getrusage"))?;
    let total = usage.user_time() + usage.system_time();
    let cpu = Duration::from_micros(total.tv_sec() as u64 * 1_000_000 + total.tv_usec() as u64);
    let books = fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let waited = Duration::from_nanos(schedstat(&books).1);
    Ok(Own { cpu, waited })
}

/// Nanoseconds on a CPU, and waiting for one.
fn schedstat(text: &str) -> (u64, u64) {
    let mut words = text.split_ascii_whitespace().map(|word| word.parse().unwrap_or(0));
    (words.next().unwrap_or(0), words.next().unwrap_or(0))
}

/// User and system ticks of a stat line; the name in brackets may contain anything.
fn stat_ticks(stat: &str) -> Option<(u64, u64)> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

fn status_field(status: &str, key: &str) -> u64 {
    let value = status.lines().find_map(|line| line.strip_prefix(key));
    value
        .and_then(|value| value.split_ascii_whitespace().next())
        .and_then(|word| word.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let stat = "7 (a) (b c) S 1 7 7 0 -1 4194560 100 0 0 0 123 45 0 0 20 0 9 0 1 2 3";
        assert_eq!(stat_ticks(stat), Some((123, 45)));
        assert_eq!(stat_ticks("7 (a"), None);
    }

    #[test]
    fn voluntary_and_involuntary_are_told_apart() {
        let status = "VmRSS:\t  1234 kB\nvoluntary_ctxt_switches:\t5\n\
            nonvoluntary_ctxt_switches:\t6\n";
        assert_eq!(status_field(status, "VmRSS:"), 1234);
        assert_eq!(status_field(status, "voluntary_ctxt_switches:"), 5);
        assert_eq!(status_field(status, "nonvoluntary_ctxt_switches:"), 6);
        assert_eq!(status_field(status, "VmSwap:"), 0);
    }

    #[test]
    fn running_and_waiting_are_told_apart() {
        assert_eq!(schedstat("12 34 5\n"), (12, 34));
        assert_eq!(schedstat(""), (0, 0));
    }

    #[test]
    fn the_own_process_can_be_read() {
        let server = Server::new(i32::try_from(std::process::id()).expect("a pid fits"))
            .expect("this process exists");
        let before = server.books().expect("and may be read");
        let used = server.between(&before, &server.books().expect("twice"));
        assert!(used.rss_kib > 0);
        assert!(used.cpu_seconds >= 0.0);
    }
}
