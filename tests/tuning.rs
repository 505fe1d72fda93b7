//! `tuning/apply`, `check` and `undo`, and `pinion doctor`, on folders that look like a host.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A host of eight CPUs on which nearly nothing is as it should be.
const FILES: [(&str, &str); 15] = [
    ("proc/cmdline", "ro quiet isolcpus=domain,1-7 isolcpus=managed_irq,domain,2-7"),
    ("proc/cpuinfo", "flags : fpu hypervisor"),
    ("proc/irq/24/smp_affinity_list", "0-7"),
    ("proc/irq/25/smp_affinity_list", "1"),
    ("proc/irq/default_smp_affinity", "ff"),
    ("proc/sys/kernel/nmi_watchdog", "1"),
    ("proc/sys/kernel/osrelease", "6.1.0-9-amd64"),
    ("proc/sys/kernel/watchdog_cpumask", "0-7"),
    ("proc/sys/vm/swappiness", "60"),
    ("run/services/irqbalance.service", "active"),
    ("sys/block/nvme0n1/queue/nomerges", "0"),
    ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave"),
    ("sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "performance"),
    ("sys/devices/system/cpu/online", "0-7"),
    ("sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never"),
];

struct Host {
    root: PathBuf,
}

impl Host {
    fn new(name: &str) -> Self {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hosts").join(name);
        // Left by an earlier run, or not there.
        let _ = fs::remove_dir_all(&root);
        for (path, text) in FILES {
            let path = root.join(path);
            fs::create_dir_all(path.parent().expect("a file stands in a folder")).expect("made");
            fs::write(path, format!("{text}\n")).expect("a file can be written");
        }
        Self { root }
    }

    /// Runs one of the scripts: its exit status and what it said.
    fn run(&self, script: &str, more: &[&str]) -> (Option<i32>, String) {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning");
        let mut command = Command::new(scripts.join(script));
        command.arg("--root").arg(&self.root).arg("--state").arg(self.root.join("state"));
        let output = command.args(more).output().expect("a script runs");
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    }

    fn doctor(&self, more: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pinion"));
        command.arg("doctor").arg("--root").arg(&self.root).args(more);
        let output = command.output().expect("the doctor runs");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root.join(path)).expect("a file").trim_end().to_owned()
    }

    /// What is not as [`FILES`] has it.
    fn changed(&self) -> Vec<&'static str> {
        let differs = |(path, text): &&(&str, &str)| self.read(path) != *text;
        FILES.iter().filter(differs).map(|(path, _)| *path).collect()
    }
}

#[test]
fn a_dry_run_touches_nothing() {
    let host = Host::new("dry");
    let (code, text) = host.run("apply", &["--cpus", "2-7"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("/proc/sys/vm/swappiness: 60 -> 10"), "{text}");
    assert!(text.contains("nothing was touched"), "{text}");
    assert!(host.changed().is_empty());
    assert!(!host.root.join("state").exists());
    let (code, _) = host.run("check", &["--cpus", "2-7"]);
    assert_eq!(code, Some(1));
}

#[test]
fn what_is_applied_is_as_wanted_and_can_be_undone() {
    let host = Host::new("whole");
    let (code, text) = host.run("apply", &["--yes", "--cpus", "2-7"]);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(host.read("proc/irq/24/smp_affinity_list"), "0-1");
    assert_eq!(host.read("proc/irq/25/smp_affinity_list"), "1", "it was where it should be");
    assert_eq!(host.read("proc/irq/default_smp_affinity"), "3");
    assert_eq!(host.read("proc/sys/kernel/watchdog_cpumask"), "0-1");
    assert_eq!(host.read("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"), "performance");
    assert_eq!(host.read("run/services/irqbalance.service"), "inactive");
    assert!(host.root.join("etc/security/limits.d/90-pinion.conf").exists());
    assert!(text.contains("nohz_full=2-7 rcu_nocbs=2-7"), "shown, not written: {text}");
    assert!(!text.contains("isolcpus=managed_irq,domain,2-7 nohz"), "it is there: {text}");
    let (_, text) = host.run("check", &["--cpus", "2-7"]);
    let wrong: Vec<&str> = text.lines().filter(|line| line.starts_with('!')).collect();
    assert_eq!(wrong.len(), 2, "the words of the command line are left: {text}");

    let (code, text) = host.run("undo", &["--yes"]);
    assert_eq!(code, Some(0), "{text}");
    // Files of choices show the bare word here, where no kernel puts brackets around it.
    assert_eq!(host.changed(), ["sys/kernel/mm/transparent_hugepage/enabled"]);
    assert_eq!(host.read("sys/kernel/mm/transparent_hugepage/enabled"), "always");
    assert!(!host.root.join("etc/security/limits.d/90-pinion.conf").exists());
    let (code, text) = host.run("undo", &["--yes"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.starts_with("nothing to undo"), "{text}");
}

#[test]
fn applied_twice_the_first_value_comes_back() {
    let host = Host::new("twice");
    host.run("apply", &["--yes", "--only", "swappiness"]);
    fs::write(host.root.join("proc/sys/vm/swappiness"), "30\n").expect("written");
    host.run("apply", &["--yes", "--only", "swappiness"]);
    assert_eq!(host.read("proc/sys/vm/swappiness"), "10");
    host.run("undo", &["--yes"]);
    assert_eq!(host.read("proc/sys/vm/swappiness"), "60");
}

#[test]
fn what_somebody_else_changed_is_left_alone() {
    let host = Host::new("other");
    host.run("apply", &["--yes", "--only", "swappiness,nmi_watchdog"]);
    fs::write(host.root.join("proc/sys/vm/swappiness"), "33\n").expect("written");
    let (code, text) = host.run("undo", &["--yes"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("somebody else changed it"), "{text}");
    assert_eq!(host.read("proc/sys/vm/swappiness"), "33");
    assert_eq!(host.read("proc/sys/kernel/nmi_watchdog"), "1");
    let (code, _) = host.run("undo", &["--yes", "--force"]);
    assert_eq!(code, Some(0));
    assert_eq!(host.read("proc/sys/vm/swappiness"), "60");
}

#[test]
fn wrong_arguments_change_nothing() {
    let host = Host::new("wrong");
    for arguments in [
        &["--yes", "--cpus", "x"][..],
        &["--yes", "--cpus", "0-7"],
        &["--yes", "--cpus", "8"],
        &["--yes", "--only", "nothing"],
        &["--yes", "--profile", "fast"],
        &["--yes", "--now"],
        &["--yes", "--cpus"],
    ] {
        let (code, text) = host.run("apply", arguments);
        assert_eq!(code, Some(64), "{arguments:?}: {text}");
        assert!(host.changed().is_empty(), "{arguments:?}");
    }
}

#[test]
fn the_doctor_sees_what_the_scripts_see() {
    let host = Host::new("doctor");
    let (code, text) = host.doctor(&["--cpus", "2-7"]);
    assert_eq!(code, Some(1), "{text}");
    for line in [
        "kernel: 6.1.0-9-amd64",
        "DIFFERS swappiness: 60, wanted <= 10 (/proc/sys/vm/swappiness)",
        "do:  sysctl -w vm.swappiness=10",
        "DIFFERS irq_default: ff, wanted list 0-1",
        "DIFFERS nohz_full: not there",
        "ok      isolcpus",
        "absent  min_perf_pct: no such knob: this virtual machine leaves it to its host",
        "note    store directory: left out",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    host.run("apply", &["--yes", "--cpus", "2-7"]);
    let (_, text) = host.doctor(&["--cpus", "2-7", "--brief"]);
    for name in ["swappiness", "irq_default", "irq_affinity", "governor", "nomerges", "watchdog"] {
        assert!(!text.contains(name), "{name} is as wanted now:\n{text}");
    }
    fs::write(host.root.join("proc/sys/kernel/osrelease"), "5.15.0\n").expect("written");
    let (code, text) = host.doctor(&[]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("BROKEN  kernel: 5.15.0, wanted 6.1 or newer"), "{text}");
    let (code, _) = host.doctor(&["--cpus", "9"]);
    assert_eq!(code, Some(64));
}
