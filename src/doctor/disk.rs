//! A store directory: direct and synchronous writes, the drive's cache, and how long a write takes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::statfs::{NFS_SUPER_MAGIC, OVERLAYFS_SUPER_MAGIC, TMPFS_MAGIC, statfs};

use super::finding::{Finding, State};
use super::host::Host;
use crate::drive::Drive;

/// A journal's block.
const BLOCK: usize = 4096;
/// Blocks that are written over and over.
const BLOCKS: usize = 1024;
/// Writes of the probe at most, and the time it may take.
const WRITES_MAX: usize = 2000;
const TIME_MAX: Duration = Duration::from_secs(2);

/// Looks at a store directory; writes a file of 4 MiB there for up to two seconds.
pub(super) fn look(directory: &Path, host: &Host) -> Vec<Finding> {
    let mut findings = vec![filesystem(directory), cache(directory, host)];
    let file = directory.join(format!(".pinion-doctor-{}", std::process::id()));
    let probed = probe(&file);
    // It may never have been made.
    let _ = fs::remove_file(&file);
    findings.push(writes(directory, probed));
    findings
}

fn filesystem(directory: &Path) -> Finding {
    let (state, now) = match statfs(directory).map(|about| about.filesystem_type()) {
        Ok(TMPFS_MAGIC) => (State::Broken, "memory (tmpfs)".to_owned()),
        Ok(NFS_SUPER_MAGIC) => (State::Differs, "network (NFS)".to_owned()),
        Ok(OVERLAYFS_SUPER_MAGIC) => (State::Differs, "a container's layer (overlay)".to_owned()),
        Ok(kind) => (State::Good, format!("{:#x}", kind.0)),
        Err(error) => (State::Broken, error.desc().to_owned()),
    };
    Finding {
        name: "file system",
        area: "disk",
        place: directory.display().to_string(),
        state,
        now,
        wanted: "XFS or ext4 on a drive of this host".into(),
        why: "what was acknowledged has to be there after a power cut",
        mend: "put store_dir on a local file system".into(),
    }
}

fn cache(directory: &Path, _host: &Host) -> Finding {
    let finding = |state, place: String, now: String| Finding {
        name: "write cache",
        area: "disk",
        place,
        state,
        now,
        wanted: "write through, or a drive with power-loss protection".into(),
        why: "with a volatile cache each synchronous write costs a flush: about 1 ms in place of \
              20 µs",
        mend: String::new(),
    };
    let Some(drive) = Drive::below(directory) else {
        return finding(State::Absent, directory.display().to_string(), "no drive to see".into());
    };
    let state = if drive.is_volatile() { State::Note } else { State::Good };
    let past = if drive.writes_through() { ", writes past it are possible" } else { "" };
    finding(state, drive.cache_path().display().to_string(), format!("{}{past}", drive.cache()))
}

fn writes(directory: &Path, probed: io::Result<Vec<Duration>>) -> Finding {
    let finding = |state, now: String, mend: String| Finding {
        name: "direct writes",
        area: "disk",
        place: directory.display().to_string(),
        state,
        now,
        wanted: "O_DIRECT and O_DSYNC".into(),
        why: "the journal writes around the page cache and is told when a block is on the drive",
        mend,
    };
    match probed {
        Ok(mut times) if !times.is_empty() => {
            times.sort_unstable();
            let at = |share: usize| times[(times.len() - 1) * share / 1000].as_secs_f64() * 1e6;
            let now = format!(
                "4 KiB: p50 {:.0} µs, p99 {:.0} µs, p99.9 {:.0} µs, max {:.0} µs over {} writes",
                at(500),
                at(990),
                at(999),
                at(1000),
                times.len(),
            );
            finding(State::Good, now, String::new())
        }
        Ok(_) => finding(State::Broken, "no write came back".into(), String::new()),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            let mend = "put store_dir on a file system with direct I/O (XFS, ext4)".to_owned();
            finding(State::Broken, "no direct I/O here".into(), mend)
        }
        Err(error) => {
            finding(State::Broken, error.to_string(), "let this user write there".to_owned())
        }
    }
}

/// Writes blocks of a file that is already there, as the journal does, and times each.
fn probe(path: &Path) -> io::Result<Vec<Duration>> {
    let mut plain = File::options().write(true).create_new(true).open(path)?;
    plain.write_all(&vec![0; BLOCK * BLOCKS])?;
    plain.sync_all()?;
    let flags = libc::O_DIRECT | libc::O_DSYNC;
    let direct = OpenOptions::new().write(true).custom_flags(flags).open(path)?;
    // Direct writes want memory that is aligned as the drive's blocks are.
    let memory = vec![0x5a; 2 * BLOCK];
    let start = memory.as_ptr().align_offset(BLOCK);
    let block = &memory[start..start + BLOCK];
    let begun = Instant::now();
    let mut times = Vec::with_capacity(WRITES_MAX);
    while times.len() < WRITES_MAX && begun.elapsed() < TIME_MAX {
        let at = times.len() % BLOCKS * BLOCK;
        let before = Instant::now();
        direct.write_all_at(block, at as u64)?;
        times.push(before.elapsed());
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_does_not_exist_is_broken() {
        let host = Host::new(Path::new("/"), None).expect("a host has CPUs");
        let findings = look(Path::new("/nonexistent"), &host);
        assert_eq!(findings.len(), 3);
        assert_eq!(findings[0].state, State::Broken);
        assert_eq!(findings[2].state, State::Broken);
    }

    #[test]
    fn times_are_summed_up() {
        let times = (1..=100).map(Duration::from_micros).collect();
        let finding = writes(Path::new("x"), Ok(times));
        assert!(finding.now.starts_with("4 KiB: p50 50 µs, p99 99 µs"), "{}", finding.now);
    }
}
