//! What the process uses of the machine.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// Ticks of a second in `/proc`, on every kernel that this runs on.
const TICKS_PER_SECOND: u64 = 100;
/// Places in `/proc/self/stat`, counted from the one behind the name.
const USER_TIME: usize = 11;
const SYSTEM_TIME: usize = 12;
/// Over less than this a share of CPU time says nothing: ten ticks make one tenth of a core.
const WINDOW_LEAST: Duration = Duration::from_secs(1);

/// Tells what the process uses now.
#[derive(Debug)]
pub(super) struct Usage {
    /// When CPU time was last looked at, how much it was then, and what share came out.
    last: Cell<(Instant, u64, f64)>,
}

impl Usage {
    pub(super) fn new(started: Instant) -> Self {
        Self { last: Cell::new((started, 0, 0.0)) }
    }

    /// The share of a core in percent, over the time since this was last asked, and resident
    /// memory in bytes.
    pub(super) fn now(&self) -> (f64, u64) {
        let Some((ticks, resident)) = read() else { return (0.0, 0) };
        let (then, before, share) = self.last.get();
        let passed = then.elapsed();
        if passed < WINDOW_LEAST {
            return (share, resident);
        }
        let busy = ticks.saturating_sub(before) as f64 / TICKS_PER_SECOND as f64;
        let share = (busy / passed.as_secs_f64() * 1000.0).round() / 10.0;
        self.last.set((Instant::now(), ticks, share));
        (share, resident)
    }
}

fn read() -> Option<(u64, u64)> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    Some((ticks(&stat)?, resident(&status)?))
}

/// CPU time in ticks.
fn ticks(stat: &str) -> Option<u64> {
    // The name stands in brackets and may hold anything.
    let (_, after) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = after.split_whitespace().collect();
    let number = |place: usize| fields.get(place)?.parse::<u64>().ok();
    Some(number(USER_TIME)? + number(SYSTEM_TIME)?)
}

/// Resident memory in bytes.
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_line_is_read_whatever_the_name() {
        let stat = "17 (a) b) c) S 1 17 17 0 -1 4194304 500 0 0 0 70 30 0 0 20 0 4 0 100 9 25 1";
        assert_eq!(ticks(stat), Some(100));
        assert_eq!(ticks("nonsense"), None);
        assert_eq!(resident("Name:\tx\nVmRSS:\t    25 kB\nRssAnon: 1 kB\n"), Some(25 * 1024));
        assert!(read().is_some_and(|(_, resident)| resident > 0));
    }
}
