"""The program that is served to the clients of others, and the programs that read it with one."""

from __future__ import annotations

import json
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlencode

from support.client_matrix import Client
from support.nodejs import CLIENTS, node, node_clients
from support.ports import free_port
from support.processes import Process
from support.waiting import wait_until
from support.ways import APPS, Answer, Listener, Served

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# Characters at which some decoders split lines though the standard does not, and one of four bytes.
TEXTS = ["The", " moon\u2028", " pulls\u2029", " the\x85", " sea \U0001f30a", "\nand lets go."]


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

    def stay_silent(self, heartbeats: int = 2) -> None:
        """Return when this many heartbeats have gone to each stream that was open and silent."""
        with Listener(self.port, "/hub/events/silence") as listener:
            for _ in range(heartbeats + 1):  # the greeting is a comment too
                listener.wait_comment()

    def requests(self, topic: str, status: int) -> int:
        """How many requests for the stream of a topic have been answered with this status."""
        lines = self.process.output.splitlines()
        return sum(f"/{topic}" in line and f'1.1" {status}' in line and "GET" in line for line in lines)


class Lines:
    """What a client has read: `lines`, one object for each event, and a last one once it is over."""

    def lines(self) -> list[dict[str, Any]]:
        raise NotImplementedError

    def events(self) -> list[tuple[str, Any]]:
        """Return type and data of each event. Data that is not JSON fails: an empty message for instance."""
        lines = [line for line in self.lines() if "data" in line]
        return [(line["event"] or "message", json.loads(line["data"])) for line in lines]

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

    def wait_own(self, count: int) -> None:
        """Return when there are this many events of the publisher, or there will be no more."""
        wait_until(lambda: len(self.own()) >= count or self.is_over())

    def over(self) -> str:
        """Return `end` or `error` when the client has stopped."""
        wait_until(self.is_over)
        (over,) = [line["over"] for line in self.lines() if "over" in line]
        return str(over)


class Reader(Process, Lines):
    """A program that reads with one client, and prints what it gets."""

    def __init__(self, client: Client, program: str, url: str) -> None:
        if client.kind == "node":
            node_clients()
            argv = [node(), CLIENTS / "programs" / f"{program}.mjs"]
        else:
            argv = [Path(sys.executable), CLIENTS / "programs" / f"{program}.py"]
        super().__init__([*argv, client.package, url])

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.output.split("\n") if line.startswith("{")]

    def is_over(self) -> bool:
        assert self.returncode in (None, 0), self.output
        return super().is_over()


class OpenPage(Lines):
    """A page that reads with one client, if `set` as the docs advise."""

    def __init__(
        self, browser: Browser, server: Server, client: Client, url: str, *, set: bool = False
    ) -> None:
        node_clients()
        self._page = browser.new_page()
        name = client.package.rpartition("/")[2]
        query = urlencode({"url": url, **({"set": "yes"} if set else {})})
        self._page.goto(f"{server.url}/pages/{name}.html?{query}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._page.close()

    def run(self, script: str) -> None:
        self._page.add_script_tag(content=script, type="module")

    def lines(self) -> list[dict[str, Any]]:
        lines: list[dict[str, Any]] = self._page.evaluate("lines")
        return lines
