"""The program that is served to the clients of others, and the programs that read it with one."""

from __future__ import annotations

import json
import re
import signal
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlencode

import pytest

from support import browser_pages
from support.client_matrix import Client
from support.nodejs import CLIENTS, node, node_clients
from support.ports import free_port
from support.processes import Process
from support.ways import APPS, Answer, Listener, Served

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# Characters at which some decoders split lines though the standard does not, and one of four bytes.
TEXTS = ["The", " moon\u2028", " pulls\u2029", " the\x85", " sea \U0001f30a", "\nand lets go."]

# Seconds without an event: longer than the hub's heartbeat by default.
SILENCE = 20.0


class Server:
    """The program of clients_app.py in a process, with its log in `folder`."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self._log = f"sqlite:///{folder}/clients.db"
        self._options = options
        self._stack = ExitStack()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start(self) -> None:
        protocol = "tidewire.server.protocol:StreamProtocol"
        argv = [
            sys.executable,
            "-m",
            "uvicorn",
            "clients_app:app",
            "--port",
            str(self.port),
            "--ws",
            "none",
            "--http",
            protocol,
        ]
        path = [str(APPS), str(APPS.parent), *filter(None, sys.path)]
        env = {
            "CLIENTS_LOG": self._log,
            "HUB_OPTIONS": json.dumps(self._options),
            "PYTHONPATH": ":".join(path),
        }
        self.process = self._stack.enter_context(Process(argv, env=env))
        self.process.wait_port(self.port)

    def restart(self, number: signal.Signals) -> None:
        """End the program by a signal and start it again at the same address, with the same log."""
        self.process.send_signal(number)
        self.process.wait()
        self._start()

    def ask(self, method: str, path: str, body: str | None = None) -> Answer:
        answer = Served(self.port, self.process, "takeover").ask(method, path, body and body.encode())
        assert answer.status in (200, 204), answer
        return answer

    def publish(self, topic: str, data: str, event: str = "message") -> None:
        self.ask("POST", f"/hub/events/{topic}?event={event}", data)

    def feed(self, topic: str, data: str, event: str = "message") -> None:
        self.ask("POST", f"/feed/{topic}", json.dumps({"event": event, "data": data}))

    def end(self, topic: str) -> None:
        self.ask("DELETE", f"/hub/events/{topic}")

    def end_feed(self, topic: str) -> None:
        self.ask("POST", f"/feed/{topic}", "null")

    def stay_silent(self) -> None:
        """Return after 20 s, in which each stream that is open and silent gets heartbeats."""
        over = time.monotonic() + SILENCE
        with Listener(self.port, "/hub/events/silence") as listener:
            while time.monotonic() < over:
                listener.wait_comment()

    def answers(self, topic: str) -> list[int]:
        """Return the status of each answer to a request for the stream of a topic."""
        found = re.findall(rf'"GET [^"]*/{topic}[^"]* HTTP/1.1" (\d+)', self.process.output)
        return [int(status) for status in found]


class Lines:
    """What a client has read: `lines`, one object for each event, and a last one once it is over."""

    def lines(self) -> list[dict[str, Any]]:
        raise NotImplementedError

    def events(self) -> list[tuple[str, Any]]:
        """Return type and data of each event. Data that is not JSON fails: an empty message for instance."""
        lines = [line for line in self.lines() if "data" in line]
        return [(line["event"] or "message", json.loads(line["data"])) for line in lines]

    def types(self) -> list[str]:
        """Return the type of each event, whatever its data is."""
        return [line["event"] or "message" for line in self.lines() if "data" in line]

    def count_own(self) -> int:
        return sum(not kind.startswith("hub.") for kind in self.types())

    def own(self) -> list[Any]:
        """Return the data of the publisher's events."""
        return [data for event, data in self.events() if not event.startswith("hub.")]

    def hubs(self, event: str) -> list[Any]:
        """Return the data of the hub's events of one type."""
        return [data for kind, data in self.events() if kind == event]

    def texts(self) -> list[str]:
        """Return the pieces of a model's answer."""
        return [line["data"] for line in self.lines() if "data" in line]

    def is_over(self) -> bool:
        return any("over" in line for line in self.lines())

    def over(self) -> str:
        """Return `end` or `error`, when the client has stopped."""
        (over,) = [line["over"] for line in self.lines() if "over" in line]
        return str(over)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...


def wait_each(readers: Iterable[Lines], enough: Callable[[Lines], object]) -> None:
    """
    Return when each reader has read enough or is over.

    Or when patience is over: the test that then finds too little says which reader it was.
    """
    waiting = [*readers]
    with suppress(AssertionError):
        browser_pages.wait_until(lambda: all(enough(reader) or reader.is_over() for reader in waiting))


class Kept(Lines):
    """What a reader of a topic had read at one moment, and the status of each answer that it had got."""

    def __init__(self, reader: Lines, topic: str, answers: list[int]) -> None:
        self._lines = [*reader.lines()]
        self.topic = topic
        self.answers = answers

    def lines(self) -> list[dict[str, Any]]:
        return self._lines


class Program(Process):
    """A program that reads streams with one client, all at the same time, and prints what it gets."""

    def __init__(self, client: Client, program: str) -> None:
        if client.kind == "node":
            argv = [node(), CLIENTS / "programs" / f"{program}.mjs"]
        else:
            argv = [Path(sys.executable), CLIENTS / "programs" / f"{program}.py"]
        super().__init__([*argv, client.package], stdin=True)
        self._read_lines: list[list[dict[str, Any]]] = []
        self._taken = 0

    def open(self, url: str) -> Reader:
        self._read_lines.append([])
        self.send_line(url)
        return Reader(self, len(self._read_lines) - 1)

    def lines(self, number: int) -> list[dict[str, Any]]:
        """Return what has come from the URL of this number."""
        for line in self._lines[self._taken :]:
            self._taken += 1
            if line.startswith("{"):
                read = json.loads(line)
                self._read_lines[read.pop("number")].append(read)
        return self._read_lines[number]


class Reader(Lines):
    """One stream of a program."""

    def __init__(self, program: Program, number: int) -> None:
        self._program = program
        self._number = number

    def lines(self) -> list[dict[str, Any]]:
        return self._program.lines(self._number)

    def is_over(self) -> bool:
        return self._program.returncode is not None or super().is_over()


class Programs:
    """The programs of one name: each starts when its client opens a first stream."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._stack = ExitStack()
        self._started: dict[Client, Program] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def open(self, client: Client, url: str) -> Reader:
        if client not in self._started:
            self._started[client] = self._stack.enter_context(Program(client, self._name))
        return self._started[client].open(url)


def check_installed(client: Client) -> None:
    """Skip the calling test if its client is not installed."""
    if client.kind != "python":
        node_clients()
    if client.kind == "node":
        node()


def is_installed(client: Client) -> bool:
    try:
        check_installed(client)
    except pytest.skip.Exception:
        return False
    return True


class Results(dict[Any, Kept]):
    """What each case has read. One whose client is not installed skips the test that asks for it."""

    def __missing__(self, case: Any) -> Kept:
        check_installed(case.client)
        raise KeyError(case)


class OpenPage(Lines):
    """A page that reads with one client, if `set` as the docs advise."""

    def __init__(
        self, browser: Browser, server: Server, client: Client, url: str, *, set: bool = False
    ) -> None:
        self._page = browser.new_page()
        name = client.package.rpartition("/")[2]
        query = urlencode({"url": url, **({"set": "yes"} if set else {})})
        self._page.goto(f"{server.url}/pages/{name}.html?{query}")

    def __exit__(self, *_: object) -> None:
        self._page.close()

    def run(self, script: str) -> None:
        self._page.add_script_tag(content=script, type="module")

    def lines(self) -> list[dict[str, Any]]:
        lines: list[dict[str, Any]] = self._page.evaluate("lines")
        return lines
