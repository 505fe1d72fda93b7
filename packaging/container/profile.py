"""Checks seccomp.json: whatever it does not name is refused, and io_uring is allowed to everybody."""

import json
import pathlib
import sys

profile = json.loads((pathlib.Path(__file__).parent / "seccomp.json").read_text())
conditions = ("args", "includes", "excludes")
allowed = {
    name
    for rule in profile["syscalls"]
    if rule["action"] == "SCMP_ACT_ALLOW" and not any(rule.get(key) for key in conditions)
    for name in rule["names"]
}
needed = {"io_uring_setup", "io_uring_enter", "io_uring_register"}
if profile["defaultAction"] != "SCMP_ACT_ERRNO":
    sys.exit("what is not named has to be refused")
if not needed <= allowed:
    sys.exit(f"refused: {sorted(needed - allowed)}")
if allowed & {"mount", "bpf", "ptrace", "init_module", "setns"}:
    sys.exit("more is allowed than the default")
