"""Two nodes behind a proxy are restarted one after the other: no stream misses an event or is left dead."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from support.browser_pages import OpenPage, wait_until
from support.ports import free_port
from support.processes import Process
from support.proxies import program, proxy
from support.redis_server import redis_server
from tidewire.client.sync import publish

TIDEWIRE = Path(sys.executable).with_name("tidewire")

# A browser has six connections to a host: two are left for what else there is.
STREAMS = 4

LISTEN = """
(count) => {
  globalThis.streams = Array.from({ length: count }, () => {
    const stream = { opens: 0, got: [], source: new EventSource("/events/news") };
    stream.source.onopen = () => (stream.opens += 1);
    stream.source.onmessage = (event) => stream.got.push(event.data);
    stream.source.addEventListener("hub.gap", (event) => stream.got.push(`gap: ${event.data}`));
    stream.source.addEventListener("hub.position", () => (stream.started = true));
    return stream;
  });
}
"""

ALL_OR_DEAD = """
(count) => streams.every(({ got, source }) => got.length >= count || source.readyState === EventSource.CLOSED)
"""


class Node:
    """A hub on a port that stays the same."""

    def __init__(self, engine: str) -> None:
        self.port = free_port()
        self._argv = [TIDEWIRE, "serve", "--engine", engine, "--port", str(self.port), "--drain", "1"]
        self._running = ExitStack()

    def start(self) -> None:
        self._process = self._running.enter_context(Process(self._argv))
        self._process.wait_port(self.port)
        wait_until(self.ready)

    def ready(self) -> bool:
        try:
            with urlopen(f"http://127.0.0.1:{self.port}/health/ready"):
                return True
        except HTTPError:
            return False

    def stop(self) -> None:
        assert self._process.stop() == 0

    def close(self) -> None:
        self._running.close()


@contextmanager
def two_nodes(folder: Path) -> Iterator[list[Node]]:
    with ExitStack() as stack:
        server = stack.enter_context(redis_server(folder / "redis"))
        nodes = [Node(server.log_url("log")) for _ in range(2)]
        for node in nodes:
            stack.callback(node.close)
            node.start()
        yield nodes


class Publisher:
    """Publishes numbers through the proxy until it is stopped, as a program with our client does."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.published: list[str] = []
        self.error: Exception | None = None

    def _run(self) -> None:
        try:
            while not self._stopped.wait(0.05):
                publish(self._url, "news", str(len(self.published)))
                self.published.append(str(len(self.published)))
        except Exception as error:
            self.error = error

    def more(self) -> None:
        """Wait for a few more events."""
        wanted = len(self.published) + 3
        wait_until(lambda: self.error or len(self.published) >= wanted)
        assert self.error is None

    def __enter__(self) -> Publisher:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stopped.set()
        self._thread.join()


def come_and_go(url: str) -> None:
    """Open a few streams, which a proxy spreads over its nodes, and leave them."""
    for _ in range(4):
        with urlopen(f"{url}/events/news") as answer:
            assert answer.status == 200
            assert answer.headers["content-type"] == "text/event-stream"


@pytest.mark.parametrize("browser", ["chromium"], indirect=True)
@pytest.mark.parametrize("name", ["nginx", "haproxy", "caddy"])
def test_a_rolling_restart(name: str, open_page: OpenPage, tmp_path: Path) -> None:
    program(name)
    with two_nodes(tmp_path) as nodes, proxy(name, tmp_path, [node.port for node in nodes]) as url:
        page = open_page(f"{url}/events")
        page.evaluate(LISTEN, STREAMS)
        wait_until(lambda: page.evaluate("streams.every((stream) => stream.started)"))
        with Publisher(url) as publisher:
            for node in nodes:
                publisher.more()
                node.stop()
                come_and_go(url)
                publisher.more()
                node.start()
                come_and_go(url)
        assert publisher.error is None
        count = len(publisher.published)
        wait_until(lambda: page.evaluate(ALL_OR_DEAD, count))
        assert page.evaluate("streams.map((stream) => stream.source.readyState)") == [1] * STREAMS
        assert page.evaluate("streams.map((stream) => stream.got)") == [publisher.published] * STREAMS
        # Each was on a node that was restarted.
        assert min(page.evaluate("streams.map((stream) => stream.opens)")) >= 2
