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
    "setup": Metric("time to set up", "seconds", False, ("setup_seconds",)),
}

THROUGHPUT = ("per_cpu", "rate", "rss")
PAYLOAD = ("bytes_per_cpu", "bytes_rate", "rss")
STORED = ("rate", "per_cpu", "p50", "p99", "rss")
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

    def command(self, quick):
        """Arguments of `pinion bench`; memory rows hold instead of running for a time."""
        if "each" in self.metrics:
            return list(self.args)
        seconds = self.quick_seconds if quick else self.seconds
        return [*self.args, "--duration", f"{seconds}s"]


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
    Row("js-async", "JetStream", "Publish, 256 under way, file; its default does not sync",
        ("js-publish",), STORED, {"per_cpu": 2, "rate": 1.5}, 1, rounds_max=3,
        jetstream="default"),
    Row("js-async-always", "JetStream", "Publish, 256 under way, file; it syncs always",
        ("js-publish",), STORED, {"rate": 50}, 1, rounds_max=3, jetstream="always"),
    Row("js-sync1", "JetStream", "Publish one by one, 1 connection, file; it syncs always",
        ("js-publish", "--pending", "1"), STORED, {"p50": 2}, 1, rounds_max=3,
        jetstream="always"),
    Row("js-sync50", "JetStream", "Publish one by one, 50 connections, file; it syncs always",
        ("js-publish", "--pending", "1", "--connections", "50"), STORED, {"rate": 15}, 1,
        rounds_max=3, jetstream="always"),
    Row("js-async1k", "JetStream", "Publish 1 KiB, 256 under way, file; its default",
        ("js-publish", "--size", "1024"), STORED, {"per_cpu": 2, "rate": 1.5}, 1, rounds_max=3,
        jetstream="default"),
    Row("js-streams", "JetStream", "Publish to 1 000 streams in turn, file; its default",
        ("js-publish", "--streams", "1k"), STORED, {"rate": 2}, 1, rounds_max=2, quick=False,
        jetstream="default"),
    Row("js-memory", "JetStream", "Publish, 256 under way, memory",
        ("js-publish", "--storage", "memory"), STORED, {"rate": 3}, 1, rounds_max=3,
        jetstream="default"),
    Row("js-fetch", "JetStream", "Fetch stored messages, none acknowledged",
        ("js-fetch",), READ, {"rate": 3}, 1, rounds_max=3, jetstream="default"),
    Row("js-fetch-ack", "JetStream", "Fetch stored messages, each acknowledged",
        ("js-fetch", "--ack"), READ, {"rate": 3}, 1, rounds_max=3, jetstream="default"),
    Row("js-ordered", "JetStream", "Ordered consumer",
        ("js-ordered",), READ, {"rate": 2}, 1, rounds_max=3, jetstream="default"),
    Row("kv-put", "JetStream", "Key-value put, 1 connection; its default",
        ("kv-put",), STORED, {"rate": 2}, 1, rounds_max=3, jetstream="default"),
    Row("kv-get", "JetStream", "Key-value get, 1 connection",
        ("kv-get",), STORED, {"rate": 2}, 1, rounds_max=3, jetstream="default"),
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
