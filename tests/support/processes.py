"""Child processes."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from support.ports import port_open
from support.waiting import PATIENCE, POLL, wait_until

T = TypeVar("T")

# Has the `sitecustomize` by which the tests' children start their tasks eagerly, as the tests do.
EAGER = Path(__file__).parent / "eager"

OUTPUT = "--- its output ---"

# Seconds for the rest of its output once a process has exited: what it started may hold the pipe open.
LAST_WORDS = 5.0

# Seconds for what it started to end after it.
AFTERMATH = 10.0


class Process:
    """A child process: started, read from, stopped, and checked to have left nothing behind.

        with Process([sys.executable, "-m", "tidewire", "serve", "--port", "0"]) as server:
            url = server.wait_line(r"http://[^ /]+").group()
            ...
            assert server.stop() == 0

    stdout and stderr are one stream, kept in `output`. `env` is added to this process's environment (without
    its TIDEWIRE_* variables); the value None removes a name. `stdin=True` is for `send_line`. At the end of
    the `with` block the process is stopped if it still runs, and the block fails if a process that it started
    outlives it.
    """

    def __init__(
        self,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str | None] | None = None,
        cwd: str | Path | None = None,
        stdin: bool = False,
    ) -> None:
        self.argv = [str(word) for word in argv]
        self._lines: list[str] = []
        self._gone = False
        # Where a hub keeps its log by default: not among the files of the person who runs the tests.
        self._data = tempfile.mkdtemp(prefix="tidewire-test-")
        # In a new session: processes that the child starts are in its process group,
        # unless they leave it on purpose, so they can be counted and ended.
        self._popen = subprocess.Popen(
            self.argv,
            cwd=cwd,
            env=_environment({"TIDEWIRE_ENGINE": f"sqlite:///{self._data}/tidewire.db", **(env or {})}),
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, name=f"output of {self.pid}", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._popen.stdout is not None
        with self._popen.stdout as stdout:
            self._lines.extend(stdout)

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, `-signal` if a signal ended it, None while it runs."""
        return self._popen.poll()

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return "".join(self._lines)

    def wait_line(self, pattern: str) -> re.Match[str]:
        """Return the first match of `pattern` in the output, or fail when it exits or patience is over."""
        return self._wait(lambda: re.search(pattern, self.output, re.MULTILINE), f"{pattern!r}")

    def wait_port(self, port: int) -> None:
        """Return when `port` accepts connections, or fail when the process exits or patience is over."""
        self._wait(lambda: port_open(port), f"port {port}")

    def _wait(self, predicate: Callable[[], T | None], what: str) -> T:
        deadline = time.monotonic() + PATIENCE
        while True:
            exited = self.returncode is not None
            if exited:
                self._reader.join(LAST_WORDS)  # its last words may hold what we wait for
            if result := predicate():
                return result
            if exited or time.monotonic() > deadline:
                state = f"exited with {self.returncode}" if exited else f"waited {PATIENCE} s"
                raise AssertionError(f"no {what} ({state}): {self._describe()}")
            time.sleep(POLL)

    def send_line(self, line: str) -> None:
        assert self._popen.stdin is not None
        self._popen.stdin.write(f"{line}\n")
        self._popen.stdin.flush()

    def send_signal(self, number: int) -> None:
        """Send a signal to the process, but not to those it started."""
        self._popen.send_signal(number)

    def wait(self, timeout: float = PATIENCE) -> int:
        """Wait until it exits by itself and return the exit code."""
        try:
            code = self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout} s: {self._describe()}") from None
        self._reader.join(LAST_WORDS)
        self._left()
        return code

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, wait until it exits, and return the exit code."""
        self.send_signal(number)
        return self.wait()

    def kill(self) -> None:
        """End it and the processes it started, at once."""
        if self._left():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait(PATIENCE)
        self._reader.join(LAST_WORDS)
        if self._popen.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._popen.stdin.close()

    def _left(self) -> list[int]:
        """Return its processes that still run. Once there are none, the group's number may be reused."""
        members = [] if self._gone else group_members(self.pid)
        self._gone = not members and self.returncode is not None
        return members

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if self.returncode is None:
                self.stop()
            wait_until(lambda: not self._left(), timeout=AFTERMATH)
        except AssertionError as failure:
            left = self._left()
            if error is None:
                raise AssertionError(f"left behind: processes {left}: {self._describe()}") from failure
            error.add_note(f"and left behind: processes {left}")
        finally:
            self.kill()
            shutil.rmtree(self._data, ignore_errors=True)
            if error is not None and OUTPUT not in str(error):
                error.add_note(self._describe())

    def _describe(self) -> str:
        return f"{' '.join(self.argv)}\n{OUTPUT}\n{self.output[-8000:]}"


def _environment(changes: Mapping[str, str | None]) -> dict[str, str]:
    env: dict[str, str | None] = {k: v for k, v in os.environ.items() if not k.startswith("TIDEWIRE_")}
    # What a test adds comes before what the whole run was given.
    paths = [changes.get("PYTHONPATH"), os.environ.get("PYTHONPATH")]
    if os.environ.get("EAGER_TASKS"):
        paths.insert(0, str(EAGER))
    env |= {"PYTHONUNBUFFERED": "1", **changes, "PYTHONPATH": os.pathsep.join(filter(None, paths)) or None}
    return {k: v for k, v in env.items() if v is not None}


def group_members(group: int) -> list[int]:
    """Return the processes of a process group that still run (Linux; zombies do not count)."""
    members = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # "pid (name) state ppid pgrp …": the name may hold spaces and parentheses.
            state, _, pgrp = stat.read_text().rpartition(")")[2].split()[:3]
        except (OSError, ValueError):  # it has exited
            continue
        if int(pgrp) == group and state not in "ZX":
            members.append(int(stat.parent.name))
    return members


@contextlib.contextmanager
def paused(*pids: int) -> Iterator[None]:
    """Stop processes for a moment: what comes to a socket that they share goes to others."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
