//! A log file that sets itself aside when it has grown too long.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use jiff::Zoned;

use super::Level;
use crate::notation::{error_text, quote};

/// An open log file.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    written: u64,
    size_limit: Option<u64>,
    max_files: Option<usize>,
}

impl LogFile {
    /// Opens or creates `path`; what it holds already counts towards its limit.
    pub(super) fn open(
        path: &Path,
        size_limit: Option<usize>,
        max_files: Option<usize>,
    ) -> Result<Self, String> {
        let (file, written) = open_to_append(path)
            .map_err(|error| format!("open {}: {}", path.display(), error_text(&error)))?;
        let size_limit = size_limit.map(|limit| limit as u64);
        Ok(Self { path: path.to_owned(), file, written, size_limit, max_files })
    }

    /// Whether `pending` more bytes are too many.
    pub(super) fn is_full_with(&self, pending: usize) -> bool {
        self.size_limit.is_some_and(|limit| self.written + pending as u64 > limit)
    }

    /// Appends; a full disk loses lines and nothing else.
    pub(super) fn append(&mut self, lines: &[u8]) {
        if self.file.write_all(lines).is_ok() {
            self.written += lines.len() as u64;
        }
    }

    /// Renames the file to `<name>.YYYY.MM.DD.hh.mm.ss.nnnnnnnnn`, begins a new one, and removes
    /// the oldest of those set aside. Returns the lines that belong at its top.
    pub(super) fn rotate(&mut self, now: &Zoned) -> Vec<(Level, String)> {
        let mut backup = self.path.clone().into_os_string();
        backup.push(format!(
            ".{:04}.{:02}.{:02}.{:02}.{:02}.{:02}.{:09}",
            now.year(),
            now.month(),
            now.day(),
            now.hour(),
            now.minute(),
            now.second(),
            now.subsec_nanosecond()
        ));
        let moved = fs::rename(&self.path, &backup).and_then(|()| open_to_append(&self.path));
        match moved {
            Ok((file, written)) => {
                self.file = file;
                self.written = written;
            }
            Err(error) => {
                // The file at hand still takes lines; try again when it has doubled.
                self.size_limit = Some(self.written.saturating_mul(2));
                let path = quote(&self.path.to_string_lossy());
                let reason = error_text(&error);
                let text = format!("Unable to rotate logfile {path} ({reason})");
                return vec![(Level::Error, text)];
            }
        }
        let backup = quote(&Path::new(&backup).to_string_lossy());
        let mut lines = vec![(Level::Info, format!("Rotated log, backup saved as {backup}"))];
        if let Some(max_files) = self.max_files {
            self.purge(max_files, &mut lines);
        }
        lines
    }

    fn purge(&self, max_files: usize, lines: &mut Vec<(Level, String)>) {
        let directory = match self.path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let name = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) => {
                let directory = quote(&directory.to_string_lossy());
                let reason = error_text(&error);
                let text = format!(
                    "Unable to read directory {directory} for log purge ({reason}), \
                     will attempt next rotation"
                );
                return lines.push((Level::Error, text));
            }
        };
        let mut backups: Vec<String> = entries
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_dir()))
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|found| is_backup(&name, found))
            .collect();
        // The stamp sorts by age.
        backups.sort_unstable();
        let excess = (backups.len() + 1).saturating_sub(max_files);
        for backup in &backups[..excess.min(backups.len())] {
            let shown = quote(backup);
            match fs::remove_file(directory.join(backup)) {
                Ok(()) => lines.push((Level::Info, format!("Purged log file {shown}"))),
                Err(error) => {
                    let reason = error_text(&error);
                    let text = format!(
                        "Unable to remove backup log file {shown} ({reason}), \
                         will attempt next rotation"
                    );
                    return lines.push((Level::Error, text));
                }
            }
        }
    }
}

fn open_to_append(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().append(true).create(true).mode(0o640).open(path)?;
    let written = file.metadata()?.len();
    Ok((file, written))
}

/// Whether `found` is `name` with a stamp behind it; other files beside a log are left alone.
fn is_backup(name: &str, found: &str) -> bool {
    let Some(stamp) = found.strip_prefix(name).and_then(|rest| rest.strip_prefix('.')) else {
        return false;
    };
    let parts: Vec<&str> = stamp.split('.').collect();
    let widths = [4, 2, 2, 2, 2, 2];
    let digits = |part: &&str| part.bytes().all(|byte| byte.is_ascii_digit());
    parts.len() == 7
        && parts.iter().all(digits)
        && parts.iter().zip(widths).all(|(part, width)| part.len() == width)
        && (1..=9).contains(&parts[6].len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh_directory(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).expect("the temporary directory is writable");
        directory
    }

    fn at(second: u32) -> Zoned {
        let text = format!("2026-11-20T19:00:{second:02}.000000001Z[UTC]");
        text.parse().expect("a time")
    }

    #[test]
    fn a_full_file_is_set_aside_and_the_oldest_go() {
        let directory = fresh_directory("log-rotation");
        let path = directory.join("n.log");
        let mut file = LogFile::open(&path, Some(10), Some(2)).expect("opens");
        assert!(!file.is_full_with(10));
        file.append(b"0123456789");
        assert!(file.is_full_with(1));
        let lines = file.rotate(&at(1));
        let backup = directory.join("n.log.2026.11.20.19.00.01.000000001");
        assert_eq!(fs::read(&backup).expect("set aside"), b"0123456789");
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0].1, format!("Rotated log, backup saved as \"{}\"", backup.display()));
        let lines = file.rotate(&at(2));
        let purged = "Purged log file \"n.log.2026.11.20.19.00.01.000000001\"".to_owned();
        assert_eq!(lines[1], (Level::Info, purged));
        assert!(!backup.exists());
        fs::remove_dir_all(&directory).expect("ours");
    }

    #[test]
    fn only_stamped_names_are_backups() {
        assert!(is_backup("n.log", "n.log.2026.11.20.19.00.01.000000001"));
        for other in ["n.log", "n.log.1", "n.log.gz", "n.log.2026.11.20.19.00.01", "x.log.1.2"] {
            assert!(!is_backup("n.log", other), "{other}");
        }
    }
}
