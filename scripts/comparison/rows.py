"""What is measured: the rows of the comparison, their metrics and what pinion aims at."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Metric:
    """A number of a report; `higher` says which direction is better."""

    label: str
    unit: str
    higher: bool
    path: tuple

    def of(self, report):
        value = report
        for key in self.path:
            value = (value or {}).get(key)
        return value


METRICS = {
    "per_cpu": Metric("per server CPU second", "count", True, ("work_per_cpu_second",)),
    "rate": Metric("per second", "count", True, ("work_per_second",)),
    "bytes_per_cpu": Metric(
        "payload per server CPU second", "bytes", True, ("payload_bytes_per_cpu_second",)
    ),
    "bytes_rate": Metric("payload per second", "bytes", True, ("payload_bytes_per_second",)),
    "rss": Metric("server memory at the end", "kib", False, ("server_use", "rss_kib")),
    "p50": Metric("p50", "us", False, ("latency", "p50")),
    "p90": Metric("p90", "us", False, ("latency", "p90")),
    "p99": Metric("p99", "us", False, ("latency", "p99")),
    "p999": Metric("p99.9", "us", False, ("latency", "p999")),
    "p9999": Metric("p99.99", "us", False, ("latency", "p9999")),
    "max": Metric("max", "us", False, ("latency", "max")),
    "cpu": Metric("server CPU share", "share", False, ("cpu_share",)),
    "each": Metric("memory of each", "each", False, ("memory", "bytes_each")),
    "lost": Metric("messages lost", "count", False, ("lost",)),
    "setup": Metric("time to set up", "seconds", False, ("setup_seconds",)),
}

THROUGHPUT = ("per_cpu", "rate", "rss")
PAYLOAD = ("bytes_per_cpu", "bytes_rate", "rss")
STORED = ("rate", "per_cpu", "p50", "p99", "rss")
LASTING = ("p50", "p99", "rate", "per_cpu", "rss")
FILTERED = ("rate", "p50", "p99", "per_cpu", "rss")
READ = ("rate", "per_cpu", "rss")
LATENCY = ("p50", "p90", "p99", "p999", "p9999", "max", "cpu", "rss")


@dataclass(frozen=True)
class Row:
    """One load. The first metric is the one that is drawn; `goals` are times better than B."""

    id: str
    section: str
    title: str
    args: tuple
    metrics: tuple
    goals: dict = field(default_factory=dict)
    seconds: float = 1.5
    quick_seconds: float = 0.7
    rounds_max: int = 99
    quick: bool = True
    # Pinion alone, with one core as B and this many as A.
    cores: int = 0
    # More arguments for the first server.
    a_args: tuple = ()
    # JetStream, and how often the second server syncs: "default" (every two minutes) or "always".
    # Pinion acknowledges what is on the disk, always.
    jetstream: str = ""
    # The load fills a store; then the server is started again, and that is measured.
    restart: bool = False

    def command(self, quick):
        """Arguments of `pinion bench`; memory rows hold instead of running for a time."""
        if "each" in self.metrics or self.restart:
            return list(self.args)
        seconds = self.quick_seconds if quick else self.seconds
        return [*self.args, "--duration", f"{seconds}s"]


def jetstream_rows():
    """The loads of JetStream, those that move payloads in two sizes."""
    default, always = {"jetstream": "default"}, {"jetstream": "always"}
    sized = (
        ("js-async", "Publish, 256 under way, file; its default does not sync",
         ("js-publish",), STORED, {"rate": 1.5, "per_cpu": 2}, default),
        ("js-async-always", "Publish, 256 under way, file; it syncs always",
         ("js-publish",), STORED, {"rate": 50}, always),
        ("js-sync1", "Publish one by one, 1 connection, file; it syncs always",
         ("js-publish", "--pending", "1"), LASTING, {"p50": 2}, always),
        ("js-sync50", "Publish one by one, 50 connections, file; it syncs always",
         ("js-publish", "--pending", "1", "--connections", "50"), STORED, {"rate": 15}, always),
        ("js-streams", "Publish to 1 000 streams in turn, file; its default",
         ("js-publish", "--streams", "1k"), STORED, {"rate": 2}, default),
        ("js-memory", "Publish, 256 under way, memory",
         ("js-publish", "--storage", "memory"), STORED, {"rate": 3}, default),
        ("js-fetch", "Fetch stored messages, none acknowledged",
         ("js-fetch",), READ, {"rate": 3}, default),
        ("js-fetch-ack", "Fetch stored messages, each acknowledged",
         ("js-fetch", "--ack"), READ, {"rate": 3}, default),
        ("js-ordered", "Ordered consumer", ("js-ordered",), READ, {"rate": 2}, default),
        ("kv-put", "Key-value put, 1 connection; its default",
         ("kv-put",), STORED, {"rate": 2}, default),
        ("kv-get", "Key-value get, 1 connection", ("kv-get",), STORED, {"rate": 2}, default),
    )
    for name, title, args, metrics, goals, how in sized:
        quick = name != "js-streams"
        yield Row(name, "JetStream", f"{title}, 16 B", args, metrics, goals, 1, rounds_max=3,
                  quick=quick, **how)
        yield Row(f"{name}-1k", "JetStream", f"{title}, 1 KiB", (*args, "--size", "1024"), metrics,
                  goals, 1, rounds_max=3, quick=False, **how)
    yield Row("js-filter1", "JetStream", "Consumers with a filter on 1 of 1 000 000 subjects",
              ("js-filter",), FILTERED, {"rate": 10}, 2, rounds_max=2, quick=False, **default)
    yield Row("js-filter100", "JetStream", "Consumers with 100 filters in 1 000 000 subjects",
              ("js-filter", "--filters", "100"), FILTERED, {"rate": 10}, 2, rounds_max=2,
              quick=False, **default)
    yield Row("js-flood", "JetStream", "Publishes that ask for no acknowledgement, file",
              ("js-flood",), ("lost", "rate", "per_cpu", "rss"), {}, 2, rounds_max=2, **default)
    yield Row("js-restart", "JetStream", "Start with 10 000 000 messages on 1 000 000 subjects",
              ("js-fill", "--count", "10M", "--subjects", "1M"), ("setup", "rss"),
              {"setup": 10, "rss": 3}, rounds_max=1, quick=False, restart=True, **default)


ROWS = (
    Row("pub", "Throughput", "Publish only, nobody listens, 16 B",
        ("pub",), THROUGHPUT, {"per_cpu": 5}),
    Row("pair", "Throughput", "1 publisher to 1 subscriber, 16 B",
        ("pair",), THROUGHPUT, {"per_cpu": 5}),
    Row("fanout", "Throughput", "1 publisher to 5 subscribers, 16 B",
        ("fanout", "--subscribers", "5"), THROUGHPUT, {"per_cpu": 4}),
    Row("pairs", "Throughput", "50 publishers to 50 subscribers, 16 B",
        ("pairs", "--count", "50"), THROUGHPUT, {"per_cpu": 4.5}),
    Row("request1", "Throughput", "Requests on 1 connection, with --spin 100us",
        ("request", "--connections", "1"), ("per_cpu", "rate", "p50", "p99", "rss"),
        {"per_cpu": 1, "p50": 1.67}, a_args=("--spin", "100us")),
    Row("request50", "Throughput", "Requests on 50 connections",
        ("request", "--connections", "50"), ("per_cpu", "rate", "p50", "p99", "rss"),
        {"per_cpu": 2}),
    Row("latency20k", "Latency", "Latency at 20 000 messages per second",
        ("latency", "--rate", "20k"), LATENCY, {"p999": 2}, 4, 1.5),
    Row("latency200k", "Latency", "Latency at 200 000 messages per second",
        ("latency", "--rate", "200k"), LATENCY, {"p999": 2}, 4, 1.5),
    Row("subjects200k", "Many subjects", "200 000 literal subscriptions, random publishes",
        ("subjects", "--count", "200k", "--warmup", "1s"), (*THROUGHPUT, "setup"), {"per_cpu": 8}),
    Row("subjects1m", "Many subjects", "1 000 000 literal subscriptions, random publishes",
        ("subjects", "--count", "1M", "--warmup", "3s"), (*THROUGHPUT, "setup"), {"per_cpu": 8},
        3, rounds_max=3, quick=False),
    Row("pair1k", "Payload", "1 publisher to 1 subscriber, 1 KiB",
        ("pair", "--size", "1024"), PAYLOAD, {"bytes_per_cpu": 1.5}),
    Row("pair64k", "Payload", "1 publisher to 1 subscriber, 64 KiB",
        ("pair", "--size", "65536"), PAYLOAD, {"bytes_per_cpu": 1.5}),
    Row("idle", "Memory", "Per idle connection, 10 000 of them",
        ("idle", "--connections", "10k", "--hold", "3s"), ("each", "setup"), {"each": 5},
        rounds_max=2),
    Row("subs", "Memory", "Per literal subscription, 1 000 000 of them",
        ("subs", "--count", "1M", "--hold", "3s"), ("each", "setup"), {"each": 3}, rounds_max=2,
        quick=False),
    *jetstream_rows(),
    Row("cores", "Cores", "8 pairs spread over 2 cores, against 1 core",
        ("pairs", "--count", "8"), ("per_cpu", "rate"), cores=2),
)


def ids():
    return [row.id for row in ROWS]


def choose(only, quick):
    """The rows asked for, or all that belong to this kind of run."""
    if only is None:
        return [row for row in ROWS if row.quick or not quick]
    wanted = only.split(",")
    unknown = sorted(set(wanted) - set(ids()))
    if unknown:
        raise SystemExit(f"compare: no row {', '.join(unknown)}; there are {', '.join(ids())}")
    return [row for row in ROWS if row.id in wanted]
