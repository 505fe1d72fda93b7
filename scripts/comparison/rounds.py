"""Runs the rounds: A, B, A, B; one server alive at a time, each freshly started."""

import json
import os
import resource
import shlex
import subprocess
import sys

from . import servers
from .rows import METRICS
from .stats import show

RUN_SECONDS_MAX = 180


def run_all(chosen, plan, options):
    """Answers pairs of a row and its runs by side."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    results = []
    for place, row in enumerate(chosen, 1):
        print(f"[{place}/{len(chosen)}] {row.title}", file=sys.stderr)
        sides = sides_of(row, plan, options)
        count = min(options.rounds or (2 if options.quick else 5), row.rounds_max)
        runs = {side: [] for side in sides}
        named = labels(row, sides)
        for number in range(count):
            for side, (server, cpus) in sides.items():
                run = run_once(row, server, cpus, plan.load, options)
                runs[side].append(run)
                progress(row, number, count, named[side], run)
        results.append((row, {"runs": runs, "labels": named}))
    return results


def sides_of(row, plan, options):
    """Who runs this row, and on which CPUs."""
    one = [options.server_cpu]
    if not row.cores:
        both = {"a": plan.a, "b": plan.b}
        return {side: (server, one) for side, server in both.items() if server}
    if plan.a is None or plan.a.reference:
        return {}
    others = [cpu for cpu in sorted(os.sched_getaffinity(0)) if cpu != options.server_cpu]
    # The load's CPU is taken last: with two CPUs there is no other, and only CPU time per message
    # means something then.
    others.sort(key=lambda cpu: cpu == options.load_cpu)
    many = [options.server_cpu, *others][: row.cores]
    if len(many) < row.cores:
        return {}
    return {"a": (plan.a, many), "b": (plan.a, one)}


def labels(row, sides):
    if not row.cores:
        return {side: server.label for side, (server, _) in sides.items()}
    return {side: f"{len(cpus)} core{'s' * (len(cpus) > 1)}" for side, (_, cpus) in sides.items()}


def run_once(row, server, cpus, load, options):
    """One run against a server of its own: its report, or why there is none."""
    try:
        more = row.a_args if not server.reference else ()
        with server.start(cpus, more, row.jetstream) as running:
            command = [load, "bench", *row.command(options.quick), "--json", "-"]
            command += ["--pin", str(options.load_cpu), "--server", f"127.0.0.1:{running.port}"]
            command += ["--server-pid", str(running.pid)]
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=RUN_SECONDS_MAX, check=False
            )
            if row.restart and done.returncode == 0:
                again = running.start_again(json.loads(done.stdout)["parameters"])
    except servers.Missing as why:
        return {"error": str(why)}
    except subprocess.TimeoutExpired:
        return {"error": f"no end within {RUN_SECONDS_MAX} s"}
    if done.returncode != 0:
        words = done.stderr.strip().splitlines() or ["no word"]
        return {"error": words[-1]}
    report = json.loads(done.stdout)
    if row.restart:
        report.update(again)
    if (report.get("server_use") or {}).get("cpu_seconds") and report["seconds"]:
        report["cpu_share"] = report["server_use"]["cpu_seconds"] / report["seconds"]
    report["command"] = shlex.join(["pinion", *command[1:-4]])
    return report


def progress(row, number, count, label, run):
    if "error" in run:
        said = run["error"]
    else:
        metric = METRICS[row.metrics[0]]
        said = f"{show(metric.unit, metric.of(run))} {metric.label}"
    print(f"    {number + 1}/{count} {label}: {said}", file=sys.stderr)
