//! The drive below a folder, as the kernel describes it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::sys::stat::{major, minor};

pub(crate) struct Drive {
    /// The folder in `/sys` that describes its queue.
    queue: PathBuf,
}

impl Drive {
    /// The drive that a folder's files are on, if it is one that the kernel shows.
    pub(crate) fn below(directory: &Path) -> Option<Self> {
        let device = fs::metadata(directory).ok()?.dev();
        let link = format!("/sys/dev/block/{}:{}", major(device), minor(device));
        let own = fs::canonicalize(link).ok()?;
        // A partition stands below its drive.
        let parent = own.parent().map(Path::to_owned);
        let places = [Some(own), parent].into_iter().flatten();
        let queue = places.map(|path| path.join("queue")).find(|queue| queue.is_dir())?;
        Some(Self { queue })
    }

    /// Where the kernel says how the drive caches writes.
    pub(crate) fn cache_path(&self) -> PathBuf {
        self.queue.join("write_cache")
    }

    /// What the kernel says of the cache: `write back` or `write through`.
    pub(crate) fn cache(&self) -> String {
        let text = fs::read_to_string(self.cache_path()).unwrap_or_default();
        text.trim().to_owned()
    }

    /// May what the drive has taken be lost with the power, as far as the kernel knows?
    pub(crate) fn is_volatile(&self) -> bool {
        self.cache() != "write through"
    }

    /// Can single writes go past the cache?
    pub(crate) fn writes_through(&self) -> bool {
        fs::read_to_string(self.queue.join("fua")).is_ok_and(|text| text.trim() == "1")
    }
}
