"""What nodes on several machines know of each other, with a server of a few lines between them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping

from support.fakes import virtual
from tidewire.errors import Unavailable
from tidewire.log.presence import Counts, Held
from tidewire.log.remote_presence import LEASE, RemotePresence, Report
from tidewire.topics import Selector


class Server:
    def __init__(self) -> None:
        self.texts: dict[str, bytes] = {}
        self.seen: dict[str, float] = {}
        self.up = True


class Store:
    def __init__(self, server: Server, name: str) -> None:
        self._server = server
        self._name = name
        self._now = asyncio.get_running_loop().time

    async def exchange(self, text: bytes | None) -> Mapping[str, Report]:
        await asyncio.sleep(0.001)
        server = self._server
        if not server.up:
            raise Unavailable("the server cannot be reached", code="engine_unavailable")
        server.seen[self._name] = self._now()
        server.texts[self._name] = text or server.texts.get(self._name, b"[false,false]\n")
        return {
            name: Report(server.seen[name] + LEASE > self._now(), text)
            for name, text in server.texts.items()
            if name != self._name
        }

    async def bury(self, name: str) -> bool:
        return self._server.texts.pop(name, None) is not None


class Node:
    """A node that wants to know when it has the first or the last stream of a topic, `t`."""

    inherits = True

    def __init__(self, server: Server, name: str, clock: float = 0.0) -> None:
        self.presence = RemotePresence(name)
        self.presence.open(Store(server, name), clock)
        self.presence.start(self)
        self.held: dict[Selector, Held] = {}
        self.heirlooms: list[Selector] = []
        self.decisions: list[float] = []
        self.accepts = True

    def open(self, topic: str, since: float) -> None:
        self.held[Selector([topic])] = Held(1, since)
        self.presence.changed()

    def begin(self) -> Callable[[], None]:
        return lambda: self.decisions.append(self.presence.since("t", named=False))

    def counts(self) -> Counts:
        return Counts(dict(self.held), {("192.0.2.1",): len(self.held)}, self.accepts, False)

    def inherit(self, selectors: Iterable[Selector]) -> None:
        self.heirlooms += selectors


@virtual
async def test_nodes_see_each_others_streams() -> None:
    server = Server()
    one, two = Node(server, "one"), Node(server, "two")
    one.open("t", 1.0)
    await one.presence.flush()
    await asyncio.sleep(1)
    assert (two.presence.streams("t"), two.presence.of_client(("192.0.2.1",))) == (1, 1)
    assert (one.presence.streams("t"), one.presence.has_peers) == (0, False)
    assert two.presence.has_peers
    for node in (one, two):
        await node.presence.close()
    assert two.presence.since("t", named=False) == math.inf


@virtual
async def test_a_node_decides_by_what_the_others_had_reported_before() -> None:
    server = Server()
    one, two = Node(server, "one"), Node(server, "two")
    one.open("t", 1.0)
    two.open("t", 2.0)
    await asyncio.gather(one.presence.flush(), two.presence.flush())
    assert 1.0 in two.decisions or 2.0 in one.decisions, "at least one sees the other"
    for node in (one, two):
        await node.presence.close()


@virtual
async def test_exactly_one_node_inherits_from_a_dead_one() -> None:
    server = Server()
    nodes = [Node(server, name) for name in ("one", "two", "three")]
    nodes[0].open("t", 1.0)
    await asyncio.sleep(2 * LEASE)
    assert nodes[1].presence.lives("one")
    nodes[0].presence._store = None  # it gives no sign of life any more
    await asyncio.sleep(2 * LEASE)
    assert not nodes[1].presence.lives("one")
    assert nodes[1].presence.streams("t") == 0
    assert [*nodes[1].heirlooms, *nodes[2].heirlooms] == [Selector(["t"])]
    for node in nodes:
        await node.presence.close()


@virtual
async def test_nobody_is_dead_because_the_server_was_away() -> None:
    server = Server()
    one, two = Node(server, "one"), Node(server, "two")
    one.open("t", 1.0)
    await asyncio.sleep(2 * LEASE)
    server.up = False
    await asyncio.sleep(2 * LEASE)
    assert two.presence.lives("one")
    server.seen["one"] = -100.0  # the server has forgotten the signs of life
    server.up = True
    await asyncio.sleep(LEASE / 2)
    assert two.presence.lives("one")
    await asyncio.sleep(LEASE)
    assert two.presence.lives("one")
    assert two.presence.streams("t") == 1
    for node in (one, two):
        await node.presence.close()
