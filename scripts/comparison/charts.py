"""Drawings for the report: plain SVG, coloured by the page's style."""

import html
import math

from .stats import CURVE_DECADES, show, show_ratio

# Widths in the page's pixels, so that text is as large as that around it.
WIDTH = 980
PLOT_WIDTH = 500
# Ratios from here on are not drawn as worse: rounds differ by more.
SAME = 0.97


def text(x, y, words, kind="label", anchor="start"):
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{html.escape(words)}</text>'


def rule(x1, y1, x2, y2, kind="grid"):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def bar(x, y, width, height, kind, hint):
    """A bar from the axis, rounded at its end only."""
    width = max(width, 1.5)
    radius = min(4, width, height / 2)
    path = (
        f"M{x:.1f} {y:.1f}h{width - radius:.1f}q{radius} 0 {radius} {radius}"
        f"v{height - 2 * radius:.1f}q0 {radius} {-radius} {radius}h{radius - width:.1f}z"
    )
    return f'<path d="{path}" class="{kind}"><title>{html.escape(hint)}</title></path>'


def svg(width, height, parts, words):
    return (
        f'<svg viewBox="0 0 {width} {height:.0f}" style="max-width:{width}px" role="img" aria-label="{html.escape(words)}">'
        + "".join(parts)
        + "</svg>"
    )


def ratios(rows):
    """How many times better A is, one bar for each row, with a mark at the goal."""
    lines = [(row, metric) for row in rows for metric in row["metrics"] if drawn(row, metric)]
    if not lines:
        return ""
    left, right, step, top = 350, 70, 38, 26
    values = [metric["ratio"] for _, metric in lines]
    goals = [metric["goal"] for _, metric in lines if metric["goal"]]
    low = min([0.5, *values])
    high = max([2, *values, *goals]) * 1.15
    scale = (WIDTH - left - right) / math.log(high / low)

    def at(value):
        return left + math.log(value / low) * scale

    height = top + step * len(lines) + 8
    parts = []
    for tick in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100):
        if low <= tick <= high:
            parts.append(rule(at(tick), top - 6, at(tick), height - 6, "axis" if tick == 1 else "grid"))
            parts.append(text(at(tick), top - 11, f"{tick:g}×", "tick", "middle"))
    for place, (row, metric) in enumerate(lines):
        y = top + step * place
        value = metric["ratio"]
        start, end = sorted((at(1), at(value)))
        hint = f"{row['title']}, {metric['label']}: {show_ratio(value)}"
        parts.append(text(left - 12, y + 12, row["title"], "label", "end"))
        parts.append(text(left - 12, y + 26, metric["label"], "small", "end"))
        kind = "a" if value >= SAME else "worse"
        parts.append(
            f'<rect x="{start:.1f}" y="{y + 5}" width="{max(end - start, 1.5):.1f}" height="16" '
            f'rx="3" class="{kind}"><title>{html.escape(hint)}</title></rect>'
        )
        label_at = max(end, at(1)) + 6
        if metric["goal"]:
            goal = at(metric["goal"])
            parts.append(rule(goal, y + 1, goal, y + 25, "goal"))
            if label_at - 8 < goal < label_at + 44:
                label_at = goal + 6
        parts.append(text(label_at, y + 17, show_ratio(value), "value"))
    return svg(WIDTH, height, parts, "How many times better A is, by row")


def drawn(row, metric):
    """The first metric of a row, and every metric that has a goal."""
    if metric["ratio"] is None or row["cores"]:
        return False
    if row["curves"] and not row["id"].startswith("request"):
        return metric["name"] in ("p50", "p999")
    return metric is row["metrics"][0] or metric["goal"]


def bars(rows, name_of):
    """Both sides of each row, on a scale of its own; a thin line spans the rounds."""
    left, right, step, top = 350, 110, 52, 4
    parts, y = [], top
    for row in rows:
        metric = name_of(row)
        if metric is None or not metric["medians"]:
            continue
        most = max(value for values in metric["values"].values() for value in values) or 1
        scale = (WIDTH - left - right) / max(most, 1e-9)
        parts.append(text(left - 12, y + 19, row["title"], "label", "end"))
        parts.append(text(left - 12, y + 33, caption(row, metric), "small", "end"))
        for place, side in enumerate(("a", "b")):
            here = y + 6 + place * 18
            middle = metric["medians"].get(side)
            if middle is None:
                parts.append(text(left + 4, here + 12, "not measured", "small"))
                continue
            hint = f"{row['labels'][side]}: {show(metric['unit'], middle)} {metric['label']}"
            parts.append(bar(left, here, max(middle, 0) * scale, 15, side, hint))
            ends = [max(value, 0) * scale + left for value in metric["values"][side]]
            if len(ends) > 1:
                parts.append(rule(min(ends), here + 7.5, max(ends), here + 7.5, "span"))
            parts.append(text(max(*ends, left) + 7, here + 12, show(metric["unit"], middle), "value"))
        y += step
    parts.insert(0, rule(left, top, left, y, "axis"))
    return svg(WIDTH, y + 2, parts, "Medians by row") if y > top else ""


def caption(row, metric):
    if metric["unit"] == "count":
        words = "messages" if row["unit"].startswith("messages") else row["unit"]
        return f"{words} {metric['label']}"
    return metric["label"]


def percentiles(row):
    """Latency over percentile, with as much room for the slowest tenth as for each nine after it."""
    curves = row["curves"]
    if not curves:
        return ""
    left, right, top, height = 58, 100, 14, 330
    bottom = height - 44
    ends = [curve["median"][-1][0] for curve in curves.values()]
    decades = min(CURVE_DECADES, -math.log10(1 - max(ends) / 100))
    values = [value for curve in curves.values() for _, value in curve["median"] if value > 0]
    values += [
        value
        for curve in curves.values()
        for points in curve["rounds"]
        for percent, value in points
        if value > 0 and percent <= max(ends)
    ]
    low = 10 ** math.floor(math.log10(min(values)))
    high = 10 ** math.ceil(math.log10(max(values) * 1.02))

    def at_x(percent):
        return left + -math.log10(max(1 - percent / 100, 1e-9)) / decades * (PLOT_WIDTH - left - right)

    def at_y(value):
        share = math.log(max(value, low) / low) / math.log(high / low)
        return bottom - share * (bottom - top)

    parts = []
    for nines, name in enumerate(("0 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %")):
        if nines <= decades + 1e-9:
            x = left + nines / decades * (PLOT_WIDTH - left - right)
            parts += [rule(x, top, x, bottom), text(x, bottom + 17, name, "tick", "middle")]
    value = low
    while value <= high * 1.001:
        y = at_y(value)
        parts.append(rule(left, y, PLOT_WIDTH - right, y, "axis" if value == low else "grid"))
        parts.append(text(left - 8, y + 4, show("us", value), "tick", "end"))
        value *= 10
    parts.append(text((left + PLOT_WIDTH - right) / 2, height - 8, "percentile", "small", "middle"))
    names = []
    for side in ("b", "a"):
        if side in curves:
            parts += lines_of(row, side, curves[side], max(ends), at_x, at_y)
            names.append([at_y(curves[side]["median"][-1][1]) + 4, side])
    # Names stand at the end of their lines, but not on each other.
    names.sort()
    if len(names) == 2 and names[1][0] - names[0][0] < 16:
        middle = (names[0][0] + names[1][0]) / 2
        names[0][0], names[1][0] = middle - 8, middle + 8
    for y, side in names:
        parts.append(text(PLOT_WIDTH - right + 8, y, row["labels"][side][:14], f"name name-{side}"))
    return svg(PLOT_WIDTH, height, parts, f"Latency by percentile, {row['title']}")


def lines_of(row, side, curve, end, at_x, at_y):
    """The rounds thin, their median thick, and points to point at."""

    def line(points, kind):
        steps = " ".join(f"{at_x(percent):.1f},{at_y(value):.1f}" for percent, value in points)
        return f'<polyline points="{steps}" class="{kind} line-{side}"/>'

    parts = [
        line([point for point in points if point[0] <= end], "round") for points in curve["rounds"]
    ]
    parts.append(line(curve["median"], "median"))
    for percent, value in curve["median"][:: 10 // 2]:
        hint = f"{row['labels'][side]}, {percent:.5g} %: {show('us', value)}"
        parts.append(
            f'<circle cx="{at_x(percent):.1f}" cy="{at_y(value):.1f}" r="3" class="dot dot-{side}">'
            f"<title>{html.escape(hint)}</title></circle>"
        )
    return parts
