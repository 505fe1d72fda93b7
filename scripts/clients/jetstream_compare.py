"""Asks two brokers the same things about streams and compares their answers, byte by byte.

Raw protocol on purpose: a client library would hide the order of fields, what is left out, and the
text of errors. What depends on the moment (time stamps, unique names) is replaced first; nothing
else is. `jetstream_scenes.py` says what is asked.

    jetstream_compare.py PINION NATS-SERVER [SCENE ...]

Pinion runs on $CORES cores, one if that is not set: who asked is known to events only on its core.
"""

import difflib
import os
import re
import socket
import subprocess
import sys
import tempfile
import time

import jetstream_scenes
from broker import takes_cores

ANSWER_S = 5
# Nothing is what some requests are answered with. Time is not compared: a late answer would show up
# as one of the next step.
SILENCE_S = 0.25
BUSY = "error creating store for stream"

STAMP = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
HIDDEN = [
    (re.compile(rb'"id":"[0-9A-Za-z]{22}"'), b'"id":"ID"'),
    (re.compile(rb'"client":{"start":"TIME","host":"127.0.0.1","id":\d+'), b'"client":{"id":N'),
    (re.compile(rb'"rtt":\d+,'), b""),
]


class Client:
    """One connection that keeps what it was sent."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.buffer = b""
        self.line()
        self.socket.sendall(b'CONNECT {"headers":true,"no_responders":true,"verbose":false}\r\n')
        self.inboxes = 0
        self.subscribed = {}
        self.pending = []
        self.send(b"SUB _INBOX.c.> 1\r\n")
        self.flush()

    def send(self, data):
        self.socket.sendall(data)

    def fill(self):
        data = self.socket.recv(1 << 16)
        if not data:
            raise EOFError
        self.buffer += data

    def line(self):
        while b"\r\n" not in self.buffer:
            self.fill()
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line

    def take(self, count):
        while len(self.buffer) < count:
            self.fill()
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def event(self, deadline):
        """The next message or PONG, or nothing until then."""
        if self.pending:
            return self.pending.pop(0)
        while True:
            try:
                self.socket.settimeout(max(deadline - time.monotonic(), 0.001))
                line = self.line()
            except TimeoutError:
                return None
            finally:
                self.socket.settimeout(None)
            words = line.split(b" ")
            if words[0] == b"PING":
                self.send(b"PONG\r\n")
            elif words[0] == b"PONG":
                return ("PONG",)
            elif words[0] == b"MSG":
                size = int(words[-1])
                body = self.take(size + 2)[:-2]
                return ("MSG", words[1], words[3] if len(words) == 5 else b"", b"", body)
            elif words[0] == b"HMSG":
                header, size = int(words[-2]), int(words[-1])
                body = self.take(size + 2)[:-2]
                reply = words[3] if len(words) == 6 else b""
                return ("MSG", words[1], reply, body[:header], body[header:])
            elif words[0] == b"-ERR":
                return ("ERR", line)

    def flush(self):
        self.send(b"PING\r\n")
        kept = []
        while True:
            event = self.event(time.monotonic() + ANSWER_S)
            if event is None:
                raise TimeoutError("no PONG")
            if event[0] == "PONG":
                break
            kept.append(event)
        self.pending = kept + self.pending

    def publish(self, subject, body=b"", header=None, reply=b""):
        subject, body = to_bytes(subject), to_bytes(body)
        if header:
            block = header if isinstance(header, bytes) else header_block(header)
            sizes = b"%d %d" % (len(block), len(block) + len(body))
            self.send(b"HPUB %s %s %s\r\n%s%s\r\n" % (subject, reply, sizes, block, body))
        else:
            self.send(b"PUB %s %s %d\r\n%s\r\n" % (subject, reply, len(body), body))


def to_bytes(text):
    return text if isinstance(text, bytes) else text.encode()


def header_block(header):
    lines = b"".join(b"%s: %s\r\n" % (to_bytes(k), to_bytes(v)) for k, v in header)
    return b"NATS/1.0\r\n" + lines + b"\r\n"


class Session:
    """What a scene does with one broker, and what it was answered."""

    def __init__(self, port):
        self.client = Client(port)
        self.said = []
        self.replies = 0

    def note(self, what, *parts):
        shown = b" | ".join(tidy(to_bytes(part)) for part in parts)
        self.said.append(f"{what}: {shown.decode(errors='backslashreplace')}")

    def request(self, subject, body="", header=None, answers=1, shown=None):
        """Publishes with a reply subject and notes so many answers; 0 expects silence."""
        self.replies += 1
        reply = b"_INBOX.c.%d" % self.replies
        self.client.publish(subject, body, header, reply)
        before = len(self.said)
        label = shown or f"{subject} {body if isinstance(body, str) else len(body)}"[:160]
        self.take(label, reply, answers)
        if any(BUSY in said for said in self.said[before:]):
            # nats-server may still be removing what was deleted just before.
            del self.said[before:]
            self.wait(SILENCE_S)
            self.request(subject, body, header, answers, shown)

    def take(self, label, subject, answers):
        found = 0
        while True:
            wait = ANSWER_S if found < answers else SILENCE_S if answers == 0 else 0
            if found == answers and answers > 0:
                return
            event = self.client.event(time.monotonic() + wait)
            if event is None:
                if found < answers:
                    self.note(label, f"(nothing, after {found} of {answers})")
                return
            if event[0] == "MSG" and event[1] == subject:
                found += 1
                self.note(label, event[3], event[4])
            elif event[0] == "MSG":
                self.note("other", event[1], event[3], event[4])
            else:
                self.note("error", event[1])

    def publish(self, subject, body="", header=None):
        self.client.publish(subject, body, header)

    def subscribe(self, subject, queue=""):
        sid = len(self.client.subscribed) + 2
        self.client.subscribed[subject] = sid
        self.client.send(to_bytes(f"SUB {subject} {queue} {sid}\r\n"))
        self.client.flush()

    def unsubscribe(self, subject):
        sid = self.client.subscribed.pop(subject)
        self.client.send(to_bytes(f"UNSUB {sid}\r\n"))
        self.client.flush()

    def messages(self, count):
        """Notes so many messages of subscriptions, with their subjects."""
        for _ in range(count):
            event = self.client.event(time.monotonic() + ANSWER_S)
            if event is None:
                self.note("message", "(nothing)")
                return
            self.note("message", *event[1:])

    def quiet(self):
        """Notes what comes although nothing should."""
        while True:
            event = self.client.event(time.monotonic() + SILENCE_S)
            if event is None:
                return
            self.note("unexpected", *event[1:])

    def wait(self, seconds):
        time.sleep(seconds)


def tidy(text):
    text = STAMP.sub(lambda m: m[0] if m[0].startswith(b"0001") else b"TIME", text)
    for pattern, replacement in HIDDEN:
        text = pattern.sub(replacement, text)
    return text


class Broker:
    def __init__(self, binary, config=""):
        self.directory = tempfile.TemporaryDirectory(prefix="compare-")
        probe = socket.socket()
        probe.bind(("127.0.0.1", 0))
        self.port = probe.getsockname()[1]
        probe.close()
        path = f"{self.directory.name}/broker.conf"
        with open(path, "w") as file:
            file.write(f'server_name: same\nlisten: "127.0.0.1:{self.port}"\n')
            config = config or "jetstream { store_dir: DIRECTORY }\n"
            file.write(config.replace("DIRECTORY", f'"{self.directory.name}/js"'))
        arguments = [binary, "-c", path]
        if takes_cores(binary):
            arguments += ["--cores", os.environ.get("CORES", "1")]
        self.process = subprocess.Popen(
            arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise RuntimeError(f"{binary} does not start with this configuration") from None
                time.sleep(0.05)

    def end(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.directory.cleanup()


def run(binary, scene, config):
    try:
        broker = Broker(binary, config)
    except RuntimeError as error:
        return [str(error)]
    try:
        session = Session(broker.port)
        scene(session)
        return session.said
    finally:
        broker.end()


def main():
    one, other, *wanted = sys.argv[1:]
    differing = 0
    for name, scene, config in jetstream_scenes.SCENES:
        if wanted and name not in wanted:
            continue
        first, second = run(one, scene, config), run(other, scene, config)
        same = first == second
        print(f"{'same' if same else 'DIFFERS'}  {name} ({len(second)} answers)", flush=True)
        if not same:
            differing += 1
            for a, b in differences(first, second):
                print(f"    pinion:      {a}\n    nats-server: {b}")
    sys.exit(1 if differing else 0)


def differences(first, second):
    matcher = difflib.SequenceMatcher(None, first, second, autojunk=False)
    for tag, a, b, c, d in matcher.get_opcodes():
        if tag != "equal":
            for place in range(max(b - a, d - c)):
                left = first[a + place] if a + place < b else "-"
                right = second[c + place] if c + place < d else "-"
                yield left, right


if __name__ == "__main__":
    main()
