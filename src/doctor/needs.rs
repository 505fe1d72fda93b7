//! What the broker cannot do without: kernel, `io_uring`, limits.

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};

use super::finding::{Finding, State};
use super::host::Host;
use crate::boot;

/// The oldest kernel with deferred task work and what rests on it.
const KERNEL_LEAST: (u32, u32) = (6, 1);

/// Descriptors below which a server runs into its limit in ordinary use: nats-server's default of
/// 65536 connections.
const NOFILE_ADVISED: u64 = 65_536;

/// What has to be there before anything else matters.
pub(super) fn look(host: &Host) -> Vec<Finding> {
    vec![kernel(host), ring(), memlock(), nofile()]
}

fn kernel(host: &Host) -> Finding {
    let release = host.read("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map(|word| word.parse().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    Finding {
        name: "kernel",
        area: "needed",
        place: "/proc/sys/kernel/osrelease".into(),
        state: match release.as_str() {
            "" => State::Unseen,
            _ if version >= KERNEL_LEAST => State::Good,
            _ => State::Broken,
        },
        now: release,
        wanted: format!("{}.{} or newer", KERNEL_LEAST.0, KERNEL_LEAST.1),
        why: "multishot receive and deferred task work of io_uring",
        mend: "install a newer kernel".into(),
    }
}

fn ring() -> Finding {
    let problem = boot::check_ring().err();
    Finding {
        name: "io_uring",
        area: "needed",
        place: "io_uring_setup".into(),
        state: if problem.is_none() { State::Good } else { State::Broken },
        mend: problem.clone().unwrap_or_default(),
        now: if problem.is_none() { "works" } else { "does not work" }.into(),
        wanted: "works".into(),
        why: "sockets and files go through it",
    }
}

fn memlock() -> Finding {
    let limit = getrlimit(Resource::RLIMIT_MEMLOCK).map_or(0, |(soft, _)| soft);
    Finding {
        name: "locked memory",
        area: "needed",
        place: "RLIMIT_MEMLOCK".into(),
        state: if limit < boot::MEMLOCK_LEAST { State::Broken } else { State::Good },
        now: shown(limit),
        wanted: format!("{} or more", boot::MEMLOCK_LEAST),
        why: "rings are locked memory",
        mend: "ulimit -l 65536, or LimitMEMLOCK=infinity in the unit".into(),
    }
}

fn nofile() -> Finding {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(_, hard)| hard);
    Finding {
        name: "descriptors",
        area: "needed",
        place: "RLIMIT_NOFILE".into(),
        state: if limit < NOFILE_ADVISED { State::Differs } else { State::Good },
        now: shown(limit),
        wanted: format!("{NOFILE_ADVISED} or more"),
        why: "each connection is one; the broker raises its limit to the hard one, this one",
        mend: "ulimit -H -n 1048576 as root, or LimitNOFILE=1048576 in the unit".into(),
    }
}

fn shown(limit: u64) -> String {
    if limit == RLIM_INFINITY { "unlimited".into() } else { limit.to_string() }
}
