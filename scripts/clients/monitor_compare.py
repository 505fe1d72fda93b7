"""Shows two brokers to the same clients, looks at both through monitoring, and compares.

Over HTTP every endpoint with its arguments; in the system account every request; and the events that
come of what clients do. Field by field: names, their order, types, and values except where a value
is of the moment or of the machine (`OF_THE_MOMENT`). What differs on purpose stands in `KNOWN` with
the name of its row in docs/COMPATIBILITY.md.

    monitor_compare.py PINION NATS-SERVER [SCENE ...]

Pinion runs on $CORES cores, one if that is not set.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import jetstream_compare
import monitor_scenes

from broker import takes_cores

ANSWER_S = 5
# How long nothing must come before nothing is what comes.
SILENCE_S = 0.4

# Values that nobody could predict; their types are compared.
OF_THE_MOMENT = {
    "xkey",
    "http_port", "https_port",
    "server_id", "now", "start", "last_activity", "stop", "rtt", "uptime", "idle", "port", "cid", "id",
    "mem", "cpu", "config_load_time", "update_time", "time", "timestamp", "seq", "ts", "created",
    "num_inserts", "num_removes", "first_ts", "last_ts", "last_active", "http_req_stats", "expires",
    "store_dir", "max_memory", "max_storage", "config_digest", "reserved_storage", "reserved_memory",
    "active", "pending_bytes", "out_client_bytes",
}  # fmt: skip

# What lies in a map where it is listed from: fields that tell such elements apart.
UNORDERED = {"acc", "sid", "local_subject", "response_type", "subject"}

# Paths of fields that differ on purpose, with the row that says why.
KNOWN = [
    (r"\.(version|ver|go|git_commit)$", "version"),
    (r"\.(gomaxprocs|num_cache|num_matches|cache_hit_rate|max_fanout|avg_fanout)$", "monitoring-cores"),
    (r"num_subscriptions$|varz.*\.subscriptions$|VARZ.*data.subscriptions$|statsz.subscriptions$", "own-subscriptions"),
    (r"(imports|exports|subscriptions_list)( \(length\))?$|account_detail\.subscriptions$|INFO.data.subscriptions$", "own-subscriptions"),
    (r"ACCOUNT\.A\.SUBSZ\.data\.subscriptions_list\.", "own-subscriptions"),
    (r"^/subs.*\.total$|SUBSZ.*\.total$", "own-subscriptions"),
    (r" .*error\.description$", "request-errors"),
    (r"(account_statz|CONNS).*\.(sent|received)\.(msgs|bytes)$", "import-counts"),
    (r"^told\.(pinion|client_id)$", "version"),
    (r"\.sync_(interval|always)$", "durable-acks"),
]


class Client(jetstream_compare.Client):
    """A raw connection that introduces itself as it is told."""

    def __init__(self, port, hello, source=None):
        self.socket = source or socket.create_connection(("127.0.0.1", port))
        self.buffer = b""
        self.info = json.loads(self.line().split(b" ", 1)[1])
        self.inboxes = 0
        self.pending = []
        said = {"verbose": False, "headers": True, "no_responders": True} | hello
        self.send(b"CONNECT " + json.dumps(said).encode() + b"\r\n")

    def request(self, subject, body="", header=None):
        """The answer as (header, body), or nothing."""
        self.inboxes += 1
        inbox = b"_INBOX.m.%d" % self.inboxes
        self.send(b"SUB %s i%d\r\n" % (inbox, self.inboxes))
        self.publish(subject, body, header, inbox)
        deadline = time.monotonic() + ANSWER_S
        kept = []
        self.send(b"PING\r\n")
        while (event := self.event(deadline)) is not None:
            if event[0] == "PONG":
                # Who answers at all answers soon.
                deadline = min(deadline, time.monotonic() + 4 * SILENCE_S)
            elif event[0] == "MSG" and event[1] == inbox:
                break
            else:
                kept.append(event)
        self.send(b"UNSUB i%d\r\n" % self.inboxes)
        self.pending = kept
        return event and event[3:]

    def event(self, deadline):
        try:
            return super().event(deadline)
        except EOFError:
            return None

    def drain(self):
        """All that comes until it is silent."""
        events = []
        while (event := self.event(time.monotonic() + SILENCE_S)) is not None:
            events.append(event)
        return events


class Watched:
    """A broker that is looked at, and what was seen."""

    def __init__(self, binary, config, directory):
        self.directory = directory
        self.seen = []
        self.clients = {}
        self.ports = [free_port() for _ in range(2)]
        text = config.replace("DIRECTORY", directory).replace("CERTIFICATES", monitor_scenes.CERTIFICATES)
        text = f'server_name: same\nlisten: "127.0.0.1:{self.ports[0]}"\n' + text
        if "HTTP_PORT" not in config:
            text = f'http: "127.0.0.1:{self.ports[1]}"\n' + text
        text = text.replace("HTTP_PORT", str(self.ports[1]))
        self.path = f"{directory}/broker.conf"
        with open(self.path, "w", encoding="utf-8") as file:
            file.write(text)
        arguments = [binary, "-c", self.path]
        if takes_cores(binary):
            arguments += ["--cores", os.environ.get("CORES", "1")]
        self.log = open(f"{directory}/log", "wb")
        self.process = subprocess.Popen(arguments, stdout=self.log, stderr=self.log)
        self.wait()

    def wait(self):
        """Waits for the log to say it: a connection to find out would be seen later on."""
        deadline = time.monotonic() + 20
        while "Server is ready" not in (log := open(f"{self.directory}/log", encoding="utf-8").read()):
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise RuntimeError(log)
            time.sleep(0.05)

    def connect(self, name, password=None, **hello):
        if "name" not in hello:
            hello["name"] = name
        if password:
            hello["pass"] = password
        self.clients[name] = Client(self.ports[0], hello)
        return self.clients[name]

    def farewell(self, name):
        """Waits until the broker has closed a client's connection."""
        ended = self.clients.pop(name).socket
        ended.settimeout(ANSWER_S)
        try:
            while ended.recv(4096):
                pass
        except TimeoutError:
            self.note(f"{name} at its end", b"still open")
        ended.close()

    def flush(self):
        for client in self.clients.values():
            client.flush()

    def get(self, path, scheme="http", context=None):
        """Looks at a path."""
        url = f"{scheme}://127.0.0.1:{self.ports[1]}{path}"
        try:
            with urllib.request.urlopen(url, timeout=10, context=context) as answer:
                status, kind, body = answer.status, answer.headers["Content-Type"], answer.read()
        except urllib.error.HTTPError as error:
            status, kind, body = error.code, error.headers["Content-Type"], error.read()
        self.note(f"{path}", body, f"{status} {kind}")

    def look(self, path):
        """Looks without taking notes."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[1]}{path}", timeout=10) as answer:
            return json.load(answer)

    def request(self, client, subject, body="", header=None, shown=""):
        answer = self.clients[client].request(subject.replace("SERVER_ID", self.id()), body, header)
        label = shown or f"{subject} {body}".strip()
        if answer is None:
            self.note(label, b"(silence)")
        else:
            self.note(label, answer[1], self.plain(answer[0].decode(errors="replace")))

    def events(self, client):
        """Everything that a client was sent meanwhile, by subject."""
        found = [event for event in self.clients[client].drain() if event[0] == "MSG"]
        for event in sorted(found, key=lambda event: self.plain(event[1].decode())):
            self.note(f"event {self.plain(event[1].decode())}", event[4], event[3].decode())

    def traced(self, label, client):
        """What a client was sent, of a trace with its stops in a fixed order."""
        for event in self.clients[client].drain():
            if event[0] == "ERR":
                self.note(f"{label} at {client}", event[1])
            elif event[0] == "MSG" and event[1] in (b"t.here", b"t.ok", b"acc.dest"):
                trace = json.loads(event[4], object_pairs_hook=Fields)
                stops = dict(trace)["events"]
                stops.sort(key=lambda stop: [str(dict(stop).get(name)) for name in ("type", "acc", "name", "sub")])
                self.seen.append((f"{label} at {client}", event[3].decode(), trace))
            elif event[0] == "MSG":
                self.note(f"{label} at {client}", event[1])

    def id(self):
        return next(iter(self.clients.values())).info["server_id"]

    def plain(self, text):
        return text.replace(self.id(), "SERVER_ID") if self.clients else text

    def note(self, label, body, about=""):
        text = self.plain(body.decode(errors="replace"))
        try:
            value = json.loads(text, object_pairs_hook=Fields)
        except ValueError:
            value = text
        self.seen.append((label, about, value))

    def signal(self, number):
        self.process.send_signal(number)

    def end(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.log.close()


class Fields(list):
    """An object's fields in their order."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def kind(value):
    if isinstance(value, Fields):
        return "object"
    if isinstance(value, bool):
        return "boolean"
    # Whole values of a fraction are written without a point.
    return "number" if isinstance(value, (int, float)) else type(value).__name__


def is_own(value):
    """Is this a subscription, an import or an export of the server's own? (row `own-subscriptions`)"""
    fields = dict(value) if isinstance(value, Fields) else {}
    subject = str(fields.get("local_subject", fields.get("subject")))
    return "created" not in fields and (subject.startswith(("$", "_INBOX.")) or str(fields.get("sid"))[0] == "J")


def sorted_out(value):
    """The reference lists some things as they lie in its maps: those are put in order."""
    if isinstance(value, list) and not isinstance(value, Fields):
        value = [one for one in value if not is_own(one)]
        if all(isinstance(one, Fields) and UNORDERED & dict(one).keys() for one in value):
            names = sorted(UNORDERED, reverse=True)
            return sorted(value, key=lambda one: [str(dict(one).get(name)) for name in names])
        if all(isinstance(one, Fields) and "state" in dict(one) for one in value):
            return sorted(value, key=lambda one: dict(one)["name"])
        if all(isinstance(one, str) for one in value):
            return sorted(value)
    return value


def differences(path, one, other, loose=()):
    """Where two values differ, as (path, here, there)."""
    one, other = sorted_out(one), sorted_out(other)
    if kind(one) != kind(other):
        yield path, one, other
    elif isinstance(one, Fields):
        names, others = [name for name, _ in one], [name for name, _ in other]
        if names != others:
            missing = [name for name in others if name not in names]
            more = [name for name in names if name not in others]
            for name in missing:
                yield f"{path}.{name}", "(absent)", dict(other)[name]
            for name in more:
                yield f"{path}.{name}", dict(one)[name], "(absent)"
            if [n for n in names if n in others] != [n for n in others if n in names]:
                yield f"{path} (order)", names, others
        there = dict(other)
        for name, value in one:
            if name in there:
                hidden = name in OF_THE_MOMENT or name in loose
                if not hidden or kind(value) != kind(there[name]):
                    yield from differences(f"{path}.{name}", value, there[name], loose)
    elif isinstance(one, list):
        if len(one) != len(other):
            yield f"{path} (length)", len(one), len(other)
        for place, (left, right) in enumerate(zip(one, other)):
            yield from differences(f"{path}[{place}]", left, right, loose)
    elif one != other:
        yield path, one, other


def known(path):
    plain = re.sub(r"\[\d+\]", "", path)
    return next((row for pattern, row in KNOWN if re.search(pattern, plain)), None)


def run(binary, scene, config):
    with tempfile.TemporaryDirectory(prefix="watched-") as directory:
        watched = Watched(binary, config, directory)
        try:
            scene(watched)
            return watched.seen
        finally:
            watched.end()


def compare(first, second, loose):
    """Prints what differs, and says how much does."""
    count = 0
    if [label for label, *_ in first] != [label for label, *_ in second]:
        print(f"    other labels:\n      {[l for l, *_ in first]}\n      {[l for l, *_ in second]}")
        count += 1
    ours = {}
    for label, *seen in first:
        ours.setdefault(label, []).append(seen)
    for label, about, value in second:
        if not ours.get(label):
            continue
        own_about, own = ours[label].pop(0)
        found = [(path, a, b) for path, a, b in differences(label, own, value, loose) if not known(path)]
        if own_about != about:
            found.insert(0, (f"{label} (head)", own_about, about))
        for path, a, b in found:
            print(f"    {path}\n      pinion:      {short(a)}\n      nats-server: {short(b)}")
        count += len(found)
    return count


def short(value):
    text = json.dumps(value) if not isinstance(value, str) else value
    return text if len(text) < 400 else text[:400] + "…"


def main():
    one, other, *wanted = sys.argv[1:]
    failed = 0
    for name, (scene, config, loose) in monitor_scenes.SCENES.items():
        if wanted and name not in wanted:
            continue
        first, second = run(one, scene, config), run(other, scene, config)
        print(f"{name}: {len(second)} views", flush=True)
        count = compare(first, second, loose)
        print(f"{'DIFFERS' if count else 'same'}  {name}", flush=True)
        failed += bool(count)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    main()
