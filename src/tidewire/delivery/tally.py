"""
How many streams there are, by what they want and where they come from: this node's and the others'.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from ..log.presence import Client, Counts, Held, Presence
from ..topics import Selector
from .subscriber import Subscriber
from .topic_hooks import TopicHook, TopicHooks


class Tally:
    """Counts a node's streams, reports them to the other nodes of the log, and has its hooks called."""

    def __init__(self, presence: Presence, hooks: TopicHooks) -> None:
        self._presence = presence
        self._hooks = hooks
        self.streams = 0
        self._selectors: dict[Selector, Held] = {}
        self._clients: Counter[Client] = Counter()
        self._accepts = self._drains = False

    def start(self) -> None:
        """Begin to report. The engine is open."""
        self._presence.start(self)

    async def flush(self) -> None:
        """Report at once, and have the functions called that are due."""
        await self._presence.flush()

    # -- what changes

    def add(self, subscriber: Subscriber) -> None:
        self._count(subscriber, +1)

    def remove(self, subscriber: Subscriber) -> None:
        self._count(subscriber, -1)

    def _count(self, subscriber: Subscriber, change: int) -> None:
        selector, now = subscriber.selector, time.monotonic()
        self.streams += change
        before = self._selectors.get(selector)
        if before is None:
            self._selectors[selector] = Held(change, now)
        elif before.streams + change:
            self._selectors[selector] = Held(before.streams + change, before.since)
        else:
            del self._selectors[selector]
        for client in clients_of(subscriber):
            self._clients[client] += change
            if not self._clients[client]:
                del self._clients[client]
        self._hooks.count(selector, change, now)
        self._presence.changed()

    def add_hook(self, hook: TopicHook) -> None:
        """Add a hook. It starts with the streams that are open."""
        self._hooks.add(hook, self._selectors)
        if self._selectors:
            self._presence.changed()

    def accept(self) -> None:
        """Clients may find this node from now on."""
        if not self._accepts:
            self._accepts = True
            self._presence.changed()

    def drain(self) -> None:
        """This node drains."""
        self._drains = True
        self._presence.changed()

    # -- how many there are

    def of_topic(self, topic: str, here: int) -> int:
        """Return how many streams of all nodes match `topic`, of which `here` are this node's."""
        return here + self._presence.streams(topic)

    def of_client(self, client: Client | None) -> int:
        """Return how many streams of all nodes count for an address or a subject; 0 if it is not counted."""
        return 0 if client is None else self._clients[client] + self._presence.of_client(client)

    # -- what the presence asks (Reporter)

    @property
    def inherits(self) -> bool:
        return bool(self._hooks)

    def begin(self) -> Callable[[], None]:
        return self._hooks.take()

    def counts(self) -> Counts:
        return Counts(dict(self._selectors), dict(self._clients), self._accepts, self._drains)

    def inherit(self, selectors: Iterable[Selector]) -> None:
        self._hooks.inherit(selectors)


def clients_of(subscriber: Subscriber) -> Iterator[Client]:
    """Yield whom a stream counts for."""
    if subscriber.address is not None:
        yield (subscriber.address,)
    if subscriber.bearer is not None and (subject := subscriber.bearer.grant.subject):
        yield subject
