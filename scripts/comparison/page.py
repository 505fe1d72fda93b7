"""The report as one HTML file without any other."""

import html

from . import charts
from .stats import failures, show, show_ratio

STYLE = """
:root { color-scheme: light dark;
  --page: #f7f7f4; --card: #ffffff; --ink: #16181d; --soft: #5b606b; --line: #e3e3de;
  --grid: #ececE7; --axis: #a5a8ae; --a: #2a6fd6; --b: #d9722e; --worse: #b3261e; --goal: #16181d;
  --note: #fff4d6; --note-ink: #5c4300; }
@media (prefers-color-scheme: dark) { :root {
  --page: #121417; --card: #1a1d22; --ink: #eceef1; --soft: #9aa1ac; --line: #2b3037;
  --grid: #262a31; --axis: #5c636e; --a: #5b9bf5; --b: #e88a4a; --worse: #f2766d; --goal: #eceef1;
  --note: #3a2f12; --note-ink: #f4dfa4; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 40px 20px 64px; }
h1 { font-size: 28px; line-height: 1.2; margin: 0 0 4px; letter-spacing: -0.01em; }
h2 { font-size: 18px; margin: 0 0 4px; }
h3 { font-size: 15px; margin: 18px 0 2px; }
p { margin: 0 0 10px; max-width: 76ch; }
.soft, figcaption { color: var(--soft); font-size: 13.5px; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  padding: 22px 24px; margin-top: 20px; }
.note { background: var(--note); color: var(--note-ink); border-radius: 8px; padding: 10px 14px;
  margin-top: 16px; }
.note p:last-child { margin: 0; }
.legend { display: flex; flex-wrap: wrap; gap: 6px 22px; margin: 14px 0 0; font-size: 14px; }
.legend i { display: inline-block; width: 12px; height: 12px; border-radius: 3px;
  margin-right: 7px; vertical-align: -1px; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(400px, 100%), 1fr));
  gap: 8px 28px; }
figure { margin: 8px 0 0; }
svg { width: 100%; height: auto; display: block; overflow: visible; }
svg text { font-family: inherit; fill: var(--ink); }
.label { font-size: 13px; } .small { font-size: 11px; } .tick { font-size: 11.5px; }
.value { font-size: 12.5px; font-weight: 600; } .name { font-size: 13px; font-weight: 600; }
svg .small, svg .tick { fill: var(--soft); }
.grid { stroke: var(--grid); } .axis { stroke: var(--axis); }
.goal { stroke: var(--goal); stroke-width: 2; } .span { stroke: var(--ink); opacity: .55; }
.a { fill: var(--a); } .b { fill: var(--b); } .worse { fill: var(--worse); }
i.a { background: var(--a); } i.b { background: var(--b); }
svg .name-a { fill: var(--a); } svg .name-b { fill: var(--b); }
polyline { fill: none; stroke-linejoin: round; } .round { stroke-width: 1; opacity: .3; }
.median { stroke-width: 2.4; } .line-a { stroke: var(--a); } .line-b { stroke: var(--b); }
.dot { stroke: var(--card); stroke-width: 1.5; } .dot-a { fill: var(--a); } .dot-b { fill: var(--b); }
.scroll { overflow-x: auto; margin-top: 12px; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 10px; text-align: right; white-space: nowrap; vertical-align: top; }
th { color: var(--soft); font-weight: 600; border-bottom: 1px solid var(--axis); }
td[rowspan], tr.first td:nth-child(2), tr:not(.first) td:first-child,
th:nth-child(1), th:nth-child(2) { text-align: left; }
td[rowspan] { white-space: normal; min-width: 200px; }
tr.first td { border-top: 1px solid var(--line); }
td small { color: var(--soft); display: block; font-size: 11.5px; }
td.ratio { font-weight: 650; } td.bad { color: var(--worse); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 18px; margin: 12px 0 0;
  font-size: 13.5px; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
pre { font: 12.5px/1.6 ui-monospace, "SF Mono", Menlo, Consolas, monospace; margin: 10px 0 0;
  overflow-x: auto; padding: 12px 14px; background: var(--page); border-radius: 8px; }
@media (max-width: 640px) { section { padding: 16px; } dl { grid-template-columns: 1fr; }
  dt { margin-top: 6px; } }
"""

# A load that waits longer for its CPU than this shares it with something.
WAITED_MAX = 0.02

HOW = """Both servers run on this machine, one at a time, started anew for every round, with one core
each and the same load from one busy-polling thread on another core. Rounds alternate, so that whatever
else happens to the machine happens to both. Bars and numbers are medians of the rounds; thin lines and
small print span the rounds. Every run verifies that exactly the messages that were published arrived."""


def escape(words):
    return html.escape(str(words))


def render(report):
    rows = report["rows"]
    parts = [head(report), notes(report)]
    parts.append(glance(rows, label(report, "a")))
    parts.append(bar_section("Throughput", "Messages per second of CPU time that the server used. "
                             "Each row has its own scale.", of(rows, "Throughput", "Many subjects"), 0))
    parts.append(bar_section("Messages per second", "What one server core and one load core moved. "
                             "Where the load was busy all the time it was the limit.",
                             of(rows, "Throughput", "Many subjects"), 1))
    parts.append(bar_section("Large payloads", "Payload bytes, in and out, per second of server CPU "
                             "time.", of(rows, "Payload"), 0))
    parts.append(bar_section("JetStream", "Per second, every one acknowledged or read. What pinion "
                             "acknowledges is on the disk; nats-server syncs as each row says.",
                             of(rows, "JetStream"), 0))
    parts.append(latency([row for row in of(rows, "Latency") if row["curves"]]))
    parts.append(bar_section("Memory", "What the server's resident memory grew by, divided. Shorter is "
                             "better.", of(rows, "Memory"), 0))
    parts.append(bar_section("Cores", "The same load on more cores: at best the cost of a message stays "
                             "what it is on one. When the load shares a CPU with the server only CPU time "
                             "counts.", of(rows, "Cores"), 0, legend=False))
    parts += [table(report), machine(report), commands(report)]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title(report))}</title><style>{STYLE}</style></head>"
        f"<body><main>{''.join(part for part in parts if part)}</main></body></html>\n"
    )


def picture(report):
    """The ratios as a drawing of its own, for a README."""
    drawing = charts.ratios(report["rows"])
    style = STYLE.replace("@media (prefers-color-scheme: dark)", "@media not all")
    head = f'<svg xmlns="http://www.w3.org/2000/svg" font-family="system-ui, sans-serif" '
    sheet = f"<style>{style} svg {{ background: #ffffff }}</style>"
    return head + drawing.removeprefix("<svg ").replace(">", f">{sheet}", 1) + "\n"


def of(rows, *sections):
    return [row for row in rows if row["section"] in sections]


def label(report, side):
    server = report["sides"][side]
    return f"{server['label']}" if server else "missing"


def title(report):
    return f"{label(report, 'a')} and {label(report, 'b')}"


def head(report):
    names = []
    for side in ("a", "b"):
        server = report["sides"][side]
        version = f" {server['version']}" if server else ""
        names.append(f'<span><i class="{side}"></i>{escape(label(report, side) + version)}</span>')
    about = report["machine"]
    line = f"{about['date']} · {about['processor']} · Linux {about['kernel']}"
    return (
        f"<h1>{escape(title(report))}</h1><p class='soft'>{escape(line)}</p><p>{HOW}</p>"
        f'<div class="legend">{"".join(names)}</div>'
    )


def notes(report):
    found = [f"Not measured: {note}" for note in report["notes"]]
    found += [f"Failed: {error}" for error in failures(report)]
    waited = max((row["load"]["waited"] or 0 for row in report["rows"]), default=0)
    if waited > WAITED_MAX:
        found.append(
            f"The machine was not free: in the worst row the load waited for its CPU {waited:.0%} of the "
            "time. Throughput and latency are not to be trusted; CPU seconds are."
        )
    if report["options"].get("quick"):
        found.append("A quick run: few and short rounds, good for a look and not for a claim.")
    if not found:
        return ""
    return '<div class="note">' + "".join(f"<p>{escape(line)}</p>" for line in found) + "</div>"


def section(name, words, body):
    return f"<section><h2>{escape(name)}</h2><p class='soft'>{escape(words)}</p>{body}</section>"


def glance(rows, better):
    drawing = charts.ratios(rows)
    if not drawing:
        return ""
    words = f"How many times better {better} is, on a logarithmic scale. An upright mark is a goal."
    return section("At a glance", words, f"<figure>{drawing}</figure>")


def bar_section(name, words, rows, place, legend=True):
    drawing = charts.bars(rows, lambda row: row["metrics"][place])
    if not drawing:
        return ""
    if not legend:
        names = rows[0]["labels"]
        words += " " + ", ".join(f"{'above' if side == 'a' else 'below'}: {names[side]}"
                                 for side in ("a", "b") if side in names) + "."
    return section(name, words, f"<figure>{drawing}</figure>")


def latency(rows):
    if not rows:
        return ""
    figures = []
    for row in rows:
        gap = row["load"]["gap"]
        said = f"Longest gap of the load itself, median of the rounds: {show('us', gap)}." if gap else ""
        waited = row["load"]["waited"] or 0
        if waited > WAITED_MAX:
            said += f" It waited for its CPU {waited:.0%} of the time."
        figures.append(
            f"<figure><h3>{escape(row['title'])}</h3>{charts.percentiles(row)}"
            f"<figcaption>{said}</figcaption></figure>"
        )
    words = ("From the moment each message was to be sent to its arrival at the subscriber, so that a "
             "pause is charged to every message due in it. Both axes are logarithmic; thin lines are "
             "rounds.")
    return section("Latency", words, f'<div class="plots">{"".join(figures)}</div>')


def table(report):
    lines = []
    for row in report["rows"]:
        name = escape(row["title"])
        if row["cores"] and row["labels"]:
            name += f"<small>{escape(' / '.join(row['labels'].values()))}</small>"
        if row["load"]["busy"] is not None:
            name += f"<small>load busy {row['load']['busy'] * 100:.0f} %</small>"
        for metric in row["metrics"]:
            first = metric is row["metrics"][0]
            kind = ' class="first"' if first else ""
            title_cell = f'<td rowspan="{len(row["metrics"])}">{name}</td>' if first else ""
            value = metric["ratio"]
            bad = " bad" if value is not None and value < charts.SAME else ""
            goal = f"{metric['goal']}×" if metric["goal"] else ""
            lines.append(
                f"<tr{kind}>{title_cell}<td>{escape(metric['label'])}</td>"
                f"{cell(metric, 'a')}{cell(metric, 'b')}"
                f"<td class='ratio{bad}'>{show_ratio(value)}</td><td>{goal}</td></tr>"
            )
        for error in row["errors"][:3]:
            lines.append(f"<tr><td></td><td colspan='5' class='bad'>{escape(error)}</td></tr>")
    heads = ["Load", "Measure", label(report, "a"), label(report, "b"), f"{label(report, 'a')} better by", "Goal"]
    head_row = "".join(f"<th>{escape(word)}</th>" for word in heads)
    body = f'<div class="scroll"><table><thead><tr>{head_row}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'
    words = "Median, and the span of the rounds below it. There is no ratio without both sides."
    return section("All numbers", words, body)


def cell(metric, side):
    values = metric["values"].get(side) or []
    if not values:
        return "<td>–</td>"
    span = ""
    if len(values) > 1:
        ends = (show(metric["unit"], min(values)), show(metric["unit"], max(values)))
        span = f"<small>{escape(ends[0])} – {escape(ends[1])}</small>"
    return f"<td>{escape(show(metric['unit'], metric['medians'][side]))}{span}</td>"


def machine(report):
    about = dict(report["machine"], **{"load average after": report["load_average_after"]})
    items = "".join(f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in about.items())
    return section("Machine", "", f"<dl>{items}</dl>")


def commands(report):
    lines = []
    for side in ("a", "b"):
        server = report["sides"][side]
        if server:
            lines.append(f"# {server['label']} {server['version']}\n{server['command']}")
    lines.append("# load, one command for each row")
    lines += [row["command"] for row in report["rows"]]
    return section("Commands", "", f"<pre>{escape(chr(10).join(lines))}</pre>")
