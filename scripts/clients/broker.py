"""A broker as a process, for the Python suites: started on a free port, waited for, ended by its pid."""

import asyncio
import os
import shutil
import signal
import tempfile

START_PATIENCE_S = 20


def takes_cores(binary):
    """Only pinion has --cores."""
    import subprocess

    done = subprocess.run([binary, "--help"], capture_output=True, check=False)
    return b"--cores" in done.stdout + done.stderr


class Broker:
    """One broker; `async with` starts and ends it."""

    def __init__(self, config="", flags=()):
        self.binary = os.environ["BROKER"]
        self.cores = os.environ.get("CORES", "")
        self.config = config
        self.flags = list(flags)
        self.port = -1
        self.websocket_port = None
        self.process = None
        self.directory = tempfile.mkdtemp(prefix="broker-")

    @property
    def url(self):
        return f"nats://127.0.0.1:{self.port}"

    async def __aenter__(self):
        await self.start()
        return self

    async def __aexit__(self, *_):
        await self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    async def start(self):
        """Starts on a free port, or again on the port it had before."""
        arguments = ["-a", "127.0.0.1", "-p", str(self.port)]
        if self.cores:
            arguments += ["--cores", self.cores]
        if self.config:
            path = os.path.join(self.directory, "broker.conf")
            with open(path, "w", encoding="utf-8") as file:
                file.write(self.config)
            arguments += ["-c", path]
        self.process = await asyncio.create_subprocess_exec(
            self.binary, *arguments, *self.flags, stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL
        )
        await asyncio.wait_for(self._wait_until_ready(), START_PATIENCE_S)
        # Reads on, so that the broker never blocks on its log.
        self.reader = asyncio.create_task(self._drain())

    async def _wait_until_ready(self):
        seen = []
        while line := await self.process.stderr.readline():
            text = line.decode(errors="replace").strip()
            seen.append(text)
            if "Listening for client connections on " in text:
                self.port = int(text.rsplit(":", 1)[1])
            if "Listening for websocket clients on " in text:
                self.websocket_port = int(text.rsplit(":", 1)[1])
            if "Server is ready" in text:
                return
        raise RuntimeError("the broker ended while starting:\n" + "\n".join(seen))

    async def _drain(self):
        while await self.process.stderr.readline():
            pass

    def send_signal(self, number):
        self.process.send_signal(number)

    async def stop(self):
        """Ends the broker as power loss would, and returns once it is gone."""
        if self.process and self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)
            await self.process.wait()
            await self.reader
