//! The machine that the broker starts on: what it must have, and the CPUs that it may use.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;

use crate::config::Profile;
use crate::reactor::ring;

/// Locked memory that the executors' own rings need.
pub(crate) const MEMLOCK_LEAST: u64 = 512 * 1024;

/// Is this a machine that the broker runs on? The error says what to change.
pub(super) fn check_machine() -> Result<(), String> {
    check_ring()?;
    let (memlock, _) = getrlimit(Resource::RLIMIT_MEMLOCK).map_err(|error| error.to_string())?;
    if memlock < MEMLOCK_LEAST {
        return Err(format!(
            "the limit on locked memory is {memlock} bytes and at least {MEMLOCK_LEAST} are \
             needed: set LimitMEMLOCK=infinity, or ulimit -l 8192 or more"
        ));
    }
    Ok(())
}

/// Can a ring be made here? The error says what to change.
pub(crate) fn check_ring() -> Result<(), String> {
    ring::probe().map_err(|error| {
        let remedy = match error.raw_os_error() {
            Some(libc::ENOSYS) => "this kernel has no io_uring; Linux 6.1 or newer is needed",
            Some(libc::EPERM | libc::EACCES) => {
                "io_uring is forbidden: set sysctl kernel.io_uring_disabled=0, and allow the \
                 io_uring_* system calls in the container's seccomp profile"
            }
            Some(libc::EINVAL) => "this kernel's io_uring is too old; Linux 6.1 or newer is needed",
            Some(libc::ENOMEM) => {
                "the limit on locked memory is too low: set LimitMEMLOCK=infinity, or ulimit -l \
                 8192 or more"
            }
            _ => "check that io_uring is usable for this user",
        };
        format!("cannot use io_uring ({error}): {remedy}")
    })
}

/// As many descriptors as the process may have: each connection is one.
pub(super) fn raise_descriptor_limit() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // Without the right to do so the limit stays as it is, and accepting reports when it is
        // met.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

fn allowed_cpus() -> Result<Vec<usize>, String> {
    let set = sched_getaffinity(Pid::from_raw(0)).map_err(|error| error.to_string())?;
    Ok((0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).collect())
}

/// The CPUs of the shards: where a profile asks for more than a place to run, those that the kernel
/// has set aside (`isolcpus`) and this process may be put on; else all that it may run on. A
/// process is never started on the former, so its own set does not name them.
pub(super) fn chosen_cpus(profile: Option<Profile>) -> Result<Vec<usize>, String> {
    let allowed = allowed_cpus()?;
    if !matches!(profile, Some(Profile::Latency | Profile::Throughput)) {
        return Ok(allowed);
    }
    let isolated = std::fs::read_to_string("/sys/devices/system/cpu/isolated").unwrap_or_default();
    let isolated = crate::doctor::parse_cpus(isolated.trim()).unwrap_or_default();
    let usable: Vec<usize> = isolated.into_iter().filter(|cpu| may_run_on(*cpu)).collect();
    Ok(if usable.is_empty() { allowed } else { usable })
}

/// May a thread of this process be put on a CPU? Found out by a thread that tries.
fn may_run_on(cpu: usize) -> bool {
    let attempt = std::thread::spawn(move || {
        let mut set = CpuSet::new();
        set.set(cpu).and_then(|()| sched_setaffinity(Pid::from_raw(0), &set)).is_ok()
    });
    attempt.join().unwrap_or(false)
}
