"""
A server under test: its process, and what the kernel reports about it.

CPU is the on-core time of every thread from /proc/<pid>/task/*/schedstat. It is the same time as utime
plus stime, in nanoseconds instead of ticks of 10 ms, and includes the kernel's work in system calls, so
the full cost of a socket write counts.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).parents[1]
TICK = os.sysconf("SC_CLK_TCK")
CORES = sorted(os.sched_getaffinity(0))
START_TIMEOUT = 20.0


class Server:
    """
    One server program on a free port of 127.0.0.1; a context manager that ends it.

    `pinned`: kept to the server's core. A server that is measured in events per second, and not
    in CPU, may use all cores.
    """

    def __init__(self, command: str, pinned: bool = True) -> None:
        self.port = free_port()
        self.output = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the server runs
        self.folder = tempfile.TemporaryDirectory()
        places = {
            "port": self.port,
            "python": sys.executable,
            "scripts": Path(sys.executable).parent,
            "folder": self.folder.name,
        }
        self.command = [part.format(**places) for part in command.split()]
        self.process = subprocess.Popen(
            self.command,
            cwd=ROOT,
            env={**os.environ, "TMPDIR": self.folder.name},
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=self.output,
            start_new_session=True,
            preexec_fn=take_server_core if pinned else take_all_cores,
        )

    def __enter__(self) -> Server:
        deadline = time.monotonic() + START_TIMEOUT
        while not self.listens():
            if self.process.poll() is not None or time.monotonic() > deadline:
                error = RuntimeError(f"{' '.join(self.command)} did not start:\n{self.read_output()}")
                self.__exit__()
                raise error
            time.sleep(0.05)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        # Not SIGTERM: some of the servers measured here wait for their open streams forever.
        for pid in self.pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()
        self.folder.cleanup()
        self.output.close()

    def listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def read_output(self) -> str:
        self.output.seek(0)
        return self.output.read().decode(errors="replace")

    def pids(self) -> list[int]:
        """Return the process and its children: nginx serves in a child."""
        pid = self.process.pid
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        except OSError:
            children = ""
        return [pid, *map(int, children.split())]

    def cpu(self) -> float:
        """Return the CPU seconds used so far, user and system."""
        return sum(cpu_seconds(pid) for pid in self.pids())

    def memory(self) -> int:
        """Return the proportional set size in bytes, without the kernel's memory for sockets."""
        return sum(field(f"/proc/{pid}/smaps_rollup", "Pss:") for pid in self.pids())

    def peak(self) -> int:
        """Return the most memory (RSS) in use since the start or the last `reset_peak`, in bytes."""
        return sum(field(f"/proc/{pid}/status", "VmHWM:") for pid in self.pids())

    def reset_peak(self) -> None:
        for pid in self.pids():
            Path(f"/proc/{pid}/clear_refs").write_text("5")


def cpu_seconds(pid: int) -> float:
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    nanoseconds = sum(int(task.read_text().split()[0]) for task in tasks)
    return nanoseconds / 1e9 if nanoseconds else cpu_ticks(pid)


def cpu_ticks(pid: int) -> float:
    """Return utime + stime, for a kernel that has no schedstat."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / TICK


def field(path: str, name: str) -> int:
    """Return in bytes a field that /proc reports in kB."""
    line = next(line for line in Path(path).read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def take_server_core() -> None:
    """
    Keep this process, a server, to the last core, where the load does not run.

    Otherwise the scheduler now and then puts both on one core, where a write does not have to wake
    another core: the same server then costs 3 or 6 us per delivery, by chance.
    """
    if len(CORES) > 1:
        os.sched_setaffinity(0, CORES[-1:])


def take_all_cores() -> None:
    os.sched_setaffinity(0, CORES)


def leave_server_core() -> None:
    if len(CORES) > 1:
        os.sched_setaffinity(0, CORES[:-1])


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
