"""Medians, ratios, and how numbers are written."""

import math
import statistics

from .rows import METRICS

# Where the curves of several rounds are compared: tenths of each decade of 1 / (1 - percentile).
CURVE_STEPS = 10
CURVE_DECADES = 5


def conclude(row, result, quick):
    """A row of the report: medians by metric and side, and ratios where both sides are there."""
    runs, labels = result["runs"], result["labels"]
    good = {side: [run for run in list_ if "error" not in run] for side, list_ in runs.items()}
    errors = [
        f"{labels[side]}: {run['error']}" for side in runs for run in runs[side] if "error" in run
    ]
    commands = [run["command"] for side in good for run in good[side][:1]]
    return {
        "id": row.id,
        "section": row.section,
        "title": row.title,
        "unit": next((run["unit"] for side in good for run in good[side] if run["unit"]), ""),
        "command": commands[0] if commands else shown_command(row, quick),
        "labels": labels,
        "cores": row.cores,
        "errors": errors,
        "metrics": [line(name, row, good, bool(errors)) for name in row.metrics],
        "curves": curves(good),
        "load": load_of(good),
        "runs": runs,
    }


def shown_command(row, quick):
    return " ".join(["pinion", "bench", *row.command(quick)])


def line(name, row, good, failed):
    """One metric: its values, medians and the ratio, which says how many times better A is."""
    metric = METRICS[name]
    values = {
        side: [value for value in (metric.of(run) for run in runs) if value is not None]
        for side, runs in good.items()
    }
    medians = {side: statistics.median(list_) for side, list_ in values.items() if list_}
    return {
        "name": name,
        "label": metric.label,
        "unit": metric.unit,
        "higher": metric.higher,
        "values": values,
        "medians": medians,
        "ratio": None if failed else ratio(medians, metric.higher),
        "goal": row.goals.get(name),
    }


def ratio(medians, higher):
    """How many times better A is than B; nothing unless both are there."""
    a, b = medians.get("a"), medians.get("b")
    if not a or not b or a < 0 or b < 0:
        return None
    return a / b if higher else b / a


def curves(good):
    """The median of the rounds' latency curves, by side, and the rounds themselves."""
    drawn = {}
    for side, runs in good.items():
        latencies = [run["latency"] for run in runs if run.get("latency")]
        if latencies:
            rounds = [latency["curve"] for latency in latencies]
            grid = percents(min(latency["count"] for latency in latencies))
            middle = [
                (percent, statistics.median(value_at(curve, percent) for curve in rounds))
                for percent in grid
            ]
            drawn[side] = {"median": middle, "rounds": rounds}
    return drawn


def percents(count):
    """Percentiles evenly spaced on the logarithmic axis, as far as so many samples reach."""
    decades = min(math.log10(max(count, 1)), CURVE_DECADES)
    steps = range(int(decades * CURVE_STEPS) + 1)
    return [100 * (1 - 10 ** (-step / CURVE_STEPS)) for step in steps]


def value_at(curve, percent):
    """The value at a percentile: that of the first point that reaches it."""
    for at, value in curve:
        if at >= percent:
            return value
    return curve[-1][1]


def load_of(good):
    """How busy the load was, its wait for a CPU and its longest gap: medians over the row's rounds."""
    runs = [run for side in good for run in good[side]]
    busy = [run["load"]["busy_share"] for run in runs if run["load"]["busy_share"]]
    gaps = [run["latency"]["load_gap_max"] for run in runs if run.get("latency")]
    waited = [run["load"]["waited_seconds"] / run["seconds"] for run in runs if run["seconds"]]
    return {
        "waited": statistics.median(waited) if waited else None,
        "busy": statistics.median(busy) if busy else None,
        "gap": statistics.median(gaps) if gaps else None,
    }


def show(unit, value):
    """A number as people read it, three digits and a unit."""
    if value is None:
        return "–"
    if unit == "us":
        return scaled(value, 1000, ("µs", "ms", "s"))
    if unit == "count":
        return scaled(value, 1000, ("", "k", "M", "G"))
    if unit == "bytes":
        return scaled(value, 1000, ("B", "kB", "MB", "GB"))
    if unit == "each":
        return scaled(value, 1024, ("B", "KiB", "MiB"))
    if unit == "kib":
        return scaled(value, 1024, ("KiB", "MiB", "GiB"))
    if unit == "share":
        return f"{value * 100:.0f} %"
    return f"{value:.2f} s"


def scaled(value, step, units):
    place = 0
    while abs(value) >= step and place < len(units) - 1:
        value /= step
        place += 1
    digits = max(0, 3 - len(str(int(abs(value)))))
    return f"{value:.{digits}f} {units[place]}".rstrip()


def show_ratio(value):
    if value is None:
        return "–"
    return f"{value:.1f}×" if value >= 10 else f"{value:.2f}×"


def failures(report):
    return [error for row in report["rows"] for error in row["errors"]]


def text_table(report):
    """The medians as plain text."""
    sides = report["sides"]
    names = [(sides[side] or {"label": "missing"})["label"] for side in ("a", "b")]
    lines = [f"{'':52}{'':32}{names[0]:>16}{names[1]:>16}{'A is better':>13}{'goal':>7}"]
    for row in report["rows"]:
        title = row["title"]
        if row["cores"] and row["labels"]:
            title = f"{row['labels']['a']}, {row['labels']['b']}: 8 pairs of pinion"
        for metric in row["metrics"]:
            a, b = (show(metric["unit"], metric["medians"].get(side)) for side in ("a", "b"))
            goal = f"{metric['goal']}×" if metric["goal"] else ""
            lines.append(
                f"{title:52}{metric['label']:32}{a:>16}{b:>16}"
                f"{show_ratio(metric['ratio']):>13}{goal:>7}"
            )
            title = ""
        lines += [f"    failed: {error}" for error in row["errors"]]
    return "\n".join(lines)
