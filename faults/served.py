"""`tidewire serve` as a child process on a fixed port: started, killed, restarted and measured."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

START_TIMEOUT = 60.0
STOP_TIMEOUT = 20.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def wait_until(state: Callable[[], object], timeout: float, what: str) -> float:
    """Return after how many seconds `state` was true. Raises `TimeoutError` if it took too long."""
    begun = time.monotonic()
    while not state():
        if time.monotonic() - begun > timeout:
            raise TimeoutError(f"{what}: not within {timeout:g} s")
        time.sleep(0.02)
    return time.monotonic() - begun


class Served:
    """
    A hub that can be killed and restarted at the same address.

        with Served(context.folder, context.engine_url(), "--retry", "0.5") as hub:
            hub.kill()
            hub.start()

    `before` are the words before the command (`prlimit`, `faketime`, `ip netns exec`). `high_water` is the
    most memory that one of its processes has used, in bytes.
    """

    def __init__(
        self,
        folder: Path,
        engine: str,
        *options: str,
        before: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self.host = host
        self.port = free_port()
        self.url = f"http://{host}:{self.port}"
        self.before = list(before)
        self.env = dict(env or {})
        self.engine = engine
        self.command = [sys.executable, "-m", "tidewire", "serve", "--host", host, "--port", str(self.port)]
        self.command += ["--engine", engine, *options]
        self.log = folder / f"hub-{self.port}.log"
        self.high_water = 0
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    # -- start and stop

    def launch(self) -> None:
        """Start the process without waiting for it."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.before, *self.command],
                env={**os.environ, "PYTHONUNBUFFERED": "1", **self.env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def start(self) -> float:
        """Start it, and return after how many seconds it was ready."""
        self.launch()
        return self.wait_ready()

    def wait_ready(self, timeout: float = START_TIMEOUT) -> float:
        def state() -> bool:
            if self.exit_code is not None:
                raise RuntimeError(f"the hub exited with {self.exit_code}:\n{self.output()[-2000:]}")
            return self.status("/health/ready") == 200

        return wait_until(state, timeout, "the hub is ready")

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self.note_high_water()
        self.signal(signal.SIGKILL)
        assert self.process is not None
        self.process.wait(STOP_TIMEOUT)

    def stop(self) -> int:
        """Stop it cleanly and return its exit code."""
        self.note_high_water()
        self.signal(signal.SIGTERM)
        return self.wait(STOP_TIMEOUT)

    def wait(self, timeout: float) -> int:
        assert self.process is not None
        return self.process.wait(timeout)

    def end(self) -> None:
        """Make sure that none of its processes is left running."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            # The whole process group: with words before the command, the hub may be a grandchild.
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(STOP_TIMEOUT)

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    # -- what it reports

    @property
    def exit_code(self) -> int | None:
        return None if self.process is None else self.process.poll()

    @property
    def pid(self) -> int:
        """The process of the hub itself, not of the words before it."""
        assert self.process is not None
        return youngest(self.process.pid) if self.before else self.process.pid

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def get(
        self, path: str, timeout: float = 2.0, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Return status and body of a GET. Raises `OSError` or `HTTPException` if there is no answer."""
        return self._request("GET", path, None, timeout, headers or {})

    def post(
        self, path: str, body: bytes, timeout: float = 10.0, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Return status and body of a POST. Raises as `get` does."""
        return self._request("POST", path, body, timeout, headers or {})

    def _request(
        self, method: str, path: str, body: bytes | None, timeout: float, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        try:
            connection.request(method, path, body, dict(headers))
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def status(self, path: str, timeout: float = 2.0) -> int | None:
        """Return the status of a GET, None if there is no answer."""
        try:
            return self.get(path, timeout)[0]
        except (OSError, http.client.HTTPException):
            return None

    def metric(self, name: str, timeout: float = 2.0) -> float:
        """Return the value of a metric without labels, 0 if there is none."""
        lines = self.get("/metrics", timeout)[1].decode().splitlines()
        return next((float(line.split()[1]) for line in lines if line.startswith(f"{name} ")), 0.0)

    # -- what the kernel reports

    def memory(self) -> int:
        """Return its current memory in bytes (proportional set size)."""
        return kib_field(f"/proc/{self.pid}/smaps_rollup", "Pss:")

    def note_high_water(self) -> int:
        """Return the most memory (RSS) that one of its processes has used so far, in bytes."""
        with contextlib.suppress(OSError, StopIteration):
            self.high_water = max(self.high_water, kib_field(f"/proc/{self.pid}/status", "VmHWM:"))
        return self.high_water

    def descriptors(self) -> int:
        try:
            return len(os.listdir(f"/proc/{self.pid}/fd"))
        except OSError:
            return 0


@contextlib.contextmanager
def several(
    folder: Path, engine: str, count: int, *options: str, module: str = "tidewire"
) -> Iterator[list[Served]]:
    """Run `count` processes on one log, each on a port of its own. `module` runs the hub."""
    hubs = [Served(folder, engine, *options) for _ in range(count)]
    try:
        for hub in hubs:
            hub.command[2] = module
            hub.launch()
        for hub in hubs:
            hub.wait_ready()
        yield hubs
    finally:
        for hub in hubs:
            hub.end()


def kib_field(path: str, name: str) -> int:
    line = next(line for line in Path(path).read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def youngest(pid: int) -> int:
    """Return the last of a chain of only children."""
    while children := children_of(pid):
        pid = children[0]
    return pid


def children_of(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
