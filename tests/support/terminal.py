"""A terminal that types the commands of a page (after `$ `), and compares the output with what it shows."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from support.ports import free_port
from support.processes import Process
from support.waiting import wait_until

# The life in the ids of every page, and the one in the page's false id.
LIFE, FALSE_LIFE = "q7Zp2K", "AAAAAA"
ID = re.compile(r"\b([A-Za-z0-9]{6})\.[0-9]")
CLOCK = re.compile(r"\b[0-9]{2}:[0-9]{2}:[0-9]{2}\b")

SERVERS = ("tidewire serve", "uvicorn ", "redis-server ", "nginx ")
STREAMS = ("curl -N ",)

# The port of a page's server, if its command does not say another one.
PORT = 8000


class Terminal:
    """
    Runs commands in order, with the page's ports replaced by free ones and ids by those of the running hub.

    `&` puts a command into the background, `kill %1` ends it. A server in the foreground keeps running,
    as in another terminal. A stream in the foreground is ended by Ctrl-C once it has printed what the page
    shows. `pip` must find its packages in this environment; it must not ask an index.
    """

    def __init__(self, folder: Path, cwd: Path | None = None, ports: Sequence[int] = (PORT,)) -> None:
        self._ports = {port: free_port() for port in ports}
        self._cwd = cwd or folder
        # curl draws a progress meter if it does not write to a terminal.
        (folder / ".curlrc").write_text("silent\nshow-error\n")
        self._env = {
            "CURL_HOME": str(folder),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_NO_INDEX": "1",
            "TIDEWIRE_PORT": str(self._ports[PORT]),
            "TIDEWIRE_URL": f"http://127.0.0.1:{self._ports[PORT]}",
            "UVICORN_PORT": str(self._ports[PORT]),
            # One directory for the whole page: a hub that is restarted has its log.
            "TIDEWIRE_ENGINE": f"sqlite:///{folder}/tidewire.db",
        }
        self._life = LIFE
        self._jobs: list[Process] = []
        self._servers: dict[int, Process] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, traceback)

    def read_out(self, block: str) -> None:
        """Type the commands of a console block; each must print what is shown below it, if anything."""
        for command, shown in commands(block):
            self._type(command, shown)

    def paste(self, block: str) -> None:
        """Paste a block of commands without `$` as a whole: the shell waits only for what they wait for."""
        # A shell that is closed ends its jobs.
        self._jobs.append(self._start(f"trap 'kill $(jobs -p)' EXIT\n{block}\nwait"))

    def expect_printed(self, shown: str) -> None:
        """Wait until the last command in the background has printed this."""
        self._wait(self._jobs[-1], f"[^…]*{pattern(shown)}[^…]*")

    def stop_server(self, port: int = PORT) -> None:
        """Press Ctrl-C in the terminal of the server at this port of the page."""
        server = self._servers[port]
        assert server.stop(signal.SIGINT) == 0, server.output

    def as_run(self, text: str) -> str:
        """Return a file or a command of the page with the ports that are used here."""
        for port, used in self._ports.items():
            text = re.sub(rf"(localhost:|127\.0\.0\.1:|--port ){port}\b", rf"\g<1>{used}", text)
        return text

    def _type(self, command: str, shown: str) -> None:
        if killed := re.fullmatch(r"kill %([0-9]+)", command):
            self._jobs[int(killed[1]) - 1].stop()
            return
        program = command.removesuffix(" &")
        process = self._start(program)
        if program.startswith(SERVERS):
            port = int(named[1]) if (named := re.search(r"--port ([0-9]+)", program)) else PORT
            self._servers[port] = process
            process.wait_port(self._ports[port])
        elif program != command:
            self._jobs.append(process)
            wait_until(lambda: process.output or process.returncode is not None)
        if shown:
            self._wait(process, pattern(shown))
        if program == command and not program.startswith(SERVERS):
            self._finish(process, program)

    def _start(self, program: str) -> Process:
        typed = self.as_run(program).replace(LIFE, self._life)
        return self._stack.enter_context(Process(["bash", "-c", typed], env=self._env, cwd=self._cwd))

    def _finish(self, process: Process, program: str) -> None:
        before = process.output
        if program.startswith(STREAMS):
            assert process.returncode is None, before
            process.stop(signal.SIGINT)
        else:
            assert process.wait() == 0, process.output

    def _wait(self, process: Process, wanted: str) -> None:
        """Wait until the whole output of a process matches `wanted`."""
        try:
            wait_until(lambda: re.fullmatch(wanted, self._as_shown(process.output)))
        except AssertionError:
            raise AssertionError(f"wanted:\n{wanted}\nprinted:\n{self._as_shown(process.output)}") from None

    def _as_shown(self, output: str) -> str:
        for life in set(ID.findall(output)) - {FALSE_LIFE}:
            self._life = life
            output = output.replace(life, LIFE)
        for port, used in self._ports.items():
            output = output.replace(f":{used}", f":{port}")
        return plain(output)


def commands(block: str) -> Iterator[tuple[str, str]]:
    """Yield each command of a console block, with the output shown below it."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, shown = part.partition("\n")
        yield command, shown


def pattern(shown: str) -> str:
    """Return a regular expression for the output that a page shows; `…` stands for anything."""
    return re.escape(plain(shown)).replace("…", r"[\s\S]*")


def plain(text: str) -> str:
    """Return text without invisible blanks, and with the same time everywhere."""
    lines = (line.rstrip() for line in CLOCK.sub("12:00:00", text).strip().split("\n"))
    return "\n".join(lines)
