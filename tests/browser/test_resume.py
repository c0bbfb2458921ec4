"""A native EventSource misses nothing, even if its connection broke before its first event."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest

from support.browser_pages import OpenPage, get_json, wait_until

LISTEN = """
(topic) => {
  globalThis.got = [];
  globalThis.opens = 0;
  const source = new EventSource(`/events/${topic}`);
  source.onopen = () => (opens += 1);
  source.onmessage = (event) => got.push(event.data);
  source.addEventListener("hub.position", (event) => (globalThis.start = event.lastEventId));
  source.addEventListener("hub.gap", (event) => got.push(`gap: ${event.data}`));
}
"""


class Relay:
    """A relay between browser and hub that can cut the connections."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def cut(self) -> None:
        """Reset every connection through the relay."""
        for one in self._sockets:
            with contextlib.suppress(OSError):  # the other end has closed it already
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                one.shutdown(socket.SHUT_RDWR)
        self._sockets = []

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                here, _ = self._listener.accept()
            except OSError:
                return
            there = socket.create_connection(("127.0.0.1", self._to))
            self._sockets += [here, there]
            for source, target in ((here, there), (there, here)):
                thread = threading.Thread(target=self._pass, args=(source, target), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        source.close()
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def relay(quick_demo: str) -> Iterator[Relay]:
    relay = Relay(urlsplit(quick_demo).port or 80)
    yield relay
    relay.close()


def publish(hub: str, topic: str, data: str) -> Any:
    with urlopen(Request(f"{hub}/events/{topic}", data.encode(), method="POST")) as answer:
        assert answer.status == 200


def test_dropped_before_its_first_event_it_misses_nothing(
    open_page: OpenPage, quick_demo: str, relay: Relay, browser: Any
) -> None:
    topic = f"quiet/{browser.browser_type.name}"
    page = open_page(f"http://127.0.0.1:{relay.port}/health/live")
    page.evaluate(LISTEN, topic)
    wait_until(lambda: page.evaluate("globalThis.start"))
    assert page.evaluate("got") == []

    relay.cut()
    status = f"{quick_demo}/demo/status?topic={topic}"
    wait_until(lambda: get_json(status)["listening"] == 0)
    for number in range(3):
        publish(quick_demo, topic, f"while away {number}")
    wait_until(lambda: page.evaluate("opens") == 2)
    publish(quick_demo, topic, "live again")
    wait_until(lambda: len(page.evaluate("got")) == 4)
    assert page.evaluate("got") == ["while away 0", "while away 1", "while away 2", "live again"]
