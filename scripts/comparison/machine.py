"""What the numbers were measured on."""

import os
import pathlib
import platform
import time


def describe(server_cpu, load_cpu):
    """Pairs of a name and what is known, for the report."""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M %Z"),
        "kernel": platform.release(),
        "system": release_name(),
        "processor": processor(),
        "CPUs": f"{os.cpu_count()}, server on {server_cpu}, load on {load_cpu}",
        "hypervisor": hypervisor(),
        "governor": read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "not exposed"),
        "idle states": read("/sys/devices/system/cpu/cpuidle/current_driver", "not exposed"),
        "clock": read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "huge pages": read("/sys/kernel/mm/transparent_hugepage/enabled"),
        "kernel command line": read("/proc/cmdline"),
        "mitigations": mitigations(),
        "memory": memory(),
        "drives": drives(),
        "load average before": load_average(),
    }


def load_average():
    return " ".join(f"{value:.2f}" for value in os.getloadavg())


def read(path, otherwise="unknown"):
    try:
        return pathlib.Path(path).read_text().strip() or otherwise
    except OSError:
        return otherwise


def release_name():
    for line in read("/etc/os-release", "").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.split("=", 1)[1].strip('"')
    return platform.system()


def cpuinfo(key):
    for line in read("/proc/cpuinfo", "").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""


def processor():
    model = cpuinfo("model name") or platform.machine()
    numbers = [cpuinfo(key) for key in ("cpu family", "model", "stepping")]
    return f"{model} (family {numbers[0]}, model {numbers[1]}, stepping {numbers[2]})"


def hypervisor():
    return "yes" if "hypervisor" in cpuinfo("flags").split() else "none seen"


def mitigations():
    """Weaknesses that something is done about, or should be."""
    found = []
    for path in sorted(pathlib.Path("/sys/devices/system/cpu/vulnerabilities").glob("*")):
        text = read(str(path))
        if text != "Not affected":
            found.append(f"{path.name}: {text}")
    return "; ".join(found) or "none"


def memory():
    for line in read("/proc/meminfo", "").splitlines():
        if line.startswith("MemTotal:"):
            return f"{int(line.split()[1]) / 1048576:.1f} GiB"
    return "unknown"


def drives():
    found = []
    for path in sorted(pathlib.Path("/sys/block").glob("*")):
        if not (path / "device").exists():
            continue
        model = read(str(path / "device" / "model"), "no model")
        cache = read(str(path / "queue" / "write_cache"))
        scheduler = read(str(path / "queue" / "scheduler"))
        found.append(f"{path.name}: {model}, {cache} cache, scheduler {scheduler}")
    return "; ".join(found) or "none"
