//! A line a second for a person who waits; nothing for a file or a pipe.

use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Progress {
    /// When the next line is due; never, unless a person watches.
    due: Option<Instant>,
}

impl Progress {
    pub(crate) fn start() -> Self {
        Self { due: io::stderr().is_terminal().then(|| Instant::now() + EVERY) }
    }

    pub(crate) fn tick(&mut self, now: Instant, text: impl FnOnce() -> String) {
        if let Some(due) = self.due.filter(|due| now >= *due) {
            eprint!("\r\x1b[K{}", text());
            self.due = Some(due + EVERY);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.due.is_some() {
            eprint!("\r\x1b[K");
        }
    }
}
