"""
What the nodes of one log tell each other about their streams.

Rule 1: a node reports first and decides afterwards, by what the others have reported until then. So of two
        nodes that decide at the same time, at least one sees the other: the first or the last stream
        of a topic may be found twice, but never not at all.
Rule 2: what a dead node has reported counts no more. Exactly one of the others inherits its topics.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Protocol

from ..topics import Selector

# Who streams are counted for: (address,), or (issuer, subject) of a grant.
Client = tuple[str, ...]


class Held(NamedTuple):
    """The streams of one node that want the same."""

    streams: int
    since: float
    """When the first of them opened, in seconds of the machine's monotonic clock."""


class Counts(NamedTuple):
    """What a node reports. Never changed after that: threads read it."""

    selectors: Mapping[Selector, Held]
    clients: Mapping[Client, int]
    """How many streams count for each address and each subject."""
    accepts: bool
    """Whether clients may find the node: it has a lifespan, or has answered a stream."""
    drains: bool


class Reporter(Protocol):
    """A node, as `Presence` sees it. It is called on the event loop."""

    @property
    def inherits(self) -> bool:
        """Whether the node wants to know what dead nodes had."""

    def begin(self) -> Callable[[], None]:
        """Note what has changed since the last call. Call the result once the others can see it."""

    def counts(self) -> Counts:
        """Return what to report now."""

    def inherit(self, selectors: Iterable[Selector]) -> None:
        """A node died while it had streams with `selectors`. Only this node is told."""


class Presence(Protocol):
    """The other nodes of a log, as one node sees them. What it knows of them may be half a second old."""

    @property
    def name(self) -> str:
        """The name of this node, which no other node ever had."""

    def lives(self, name: str) -> bool:
        """Whether the node of that name lives. One that is stopped for a while does."""

    def start(self, reporter: Reporter) -> None:
        """Begin to report for `reporter`. The engine has been opened."""

    def changed(self) -> None:
        """Report soon: what `Reporter.counts` returns has changed."""

    async def flush(self) -> None:
        """Report at once what has changed, and wait until that is done."""

    def streams(self, topic: str) -> int:
        """Return how many streams of other nodes match `topic`."""

    def of_client(self, client: Client) -> int:
        """Return how many streams of other nodes count for `client`."""

    def since(self, topic: str, *, named: bool) -> float:
        """
        Return since when another node has streams that match `topic`, or infinity if none has.

        With `named`, only streams count that name the topic. A dead node counts until one inherits from it.
        """


class Alone:
    """The presence of a node without others."""

    name = "alone"

    def lives(self, name: str) -> bool:
        return name == self.name

    def start(self, reporter: Reporter) -> None:
        self._reporter = reporter

    def changed(self) -> None:
        self._reporter.begin()()

    async def flush(self) -> None:
        """Do nothing: nothing is waiting."""

    def streams(self, topic: str) -> int:
        return 0

    def of_client(self, client: Client) -> int:
        return 0

    def since(self, topic: str, *, named: bool) -> float:
        return math.inf
