"""
What a node reports of its streams to the other nodes of its log, as text.

The first line says whether the node accepts streams and drains. Each further line is a number of streams with
an address, with an issuer and a subject, or with a time and the terms of a selector. Lines are made and read
one at a time, so that a thread that does it for thousands of them lets the event loop run in between. A
reader parses only lines that it has not seen.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from ..topics import Selector, TopicIndex
from .presence import Client, Counts, Held

# Bytes that the text of one node has at most: every other node reads it again whenever it changes.
MAX_BYTES = 1024 * 1024

# Lines after which the thread offers the interpreter to the event loop: a fraction of a millisecond.
STEP = 50

T = TypeVar("T")

ENCODE = json.JSONEncoder(separators=(",", ":")).encode


def encode(counts: Counts, clock: float = 0.0) -> tuple[bytes, bool]:
    """
    Return the text for `counts`, and whether it is complete.

    What is longer than `MAX_BYTES` is left out: the topics, or all but the first line. `clock` is what a
    clock that all nodes have shows more than the monotonic clock of this machine; 0 on one machine.
    """
    head = [line([counts.accepts, counts.drains])]
    for rows in (
        ([count, *client] for client, count in counts.clients.items()),
        ([held.streams, held.since + clock, *selector.terms] for selector, held in counts.selectors.items()),
    ):
        lines, size = list(head), sum(map(len, head))
        for row in in_steps(rows):
            lines.append(line(row))
            size += len(lines[-1])
            if size > MAX_BYTES:
                return b"".join(head), False
        head = lines
    return b"".join(head), True


def in_steps(items: Iterable[T]) -> Iterator[T]:
    for number, item in enumerate(items):
        if number % STEP == 0:
            time.sleep(0)
        yield item


def line(row: Sequence[object]) -> bytes:
    return ENCODE(row).encode() + b"\n"


class Neighbour:
    """
    What another node has reported. One thread updates it while the event loop reads it.

    `clock` is what the clock of `encode` shows more than the monotonic clock of this machine.
    """

    def __init__(self, clock: float = 0.0) -> None:
        self._clock = clock
        self.accepts = self.drains = False
        self.dead = False
        self.clients: dict[Client, int] = {}
        self._held: dict[Selector, Held] = {}
        self._index: TopicIndex[Selector] = TopicIndex()
        self._lock = threading.Lock()  # held for one selector or one topic at a time
        self._lines: dict[bytes, tuple[Client, int] | Selector] = {}

    def update(self, text: bytes) -> None:
        """Replace what is known. Raises `ValueError`, `TypeError` or `InvalidInput` for other text."""
        head, *lines = text.splitlines()
        self.accepts, self.drains = map(bool, json.loads(head))
        seen: dict[bytes, tuple[Client, int] | Selector] = {}
        for raw in in_steps(lines):
            seen[raw] = self._lines.get(raw) or self._read(raw)
        self._lines = seen
        self.clients = dict(known for known in seen.values() if not isinstance(known, Selector))
        for selector in self._held.keys() - {known for known in seen.values() if isinstance(known, Selector)}:
            with self._lock:
                del self._held[selector]
                self._index.discard(selector, selector)

    def _read(self, raw: bytes) -> tuple[Client, int] | Selector:
        count, *rest = json.loads(raw)
        if isinstance(rest[0], str):
            return tuple(rest), count
        since, *terms = rest
        selector = Selector(terms, limit=len(terms))
        with self._lock:
            self._held[selector] = Held(count, since - self._clock)
            self._index.add(selector, selector)
        return selector

    @property
    def selectors(self) -> list[Selector]:
        return list(self._held)

    def streams(self, topic: str) -> int:
        """Return how many streams match `topic`."""
        with self._lock:
            return sum(self._held[selector].streams for selector in self._index.match(topic))

    def since(self, topic: str, *, named: bool) -> float:
        """Return since when there are streams that match `topic` (or name it), or infinity."""
        with self._lock:
            matching = self._index.match(topic)
            return min(
                (self._held[found].since for found in matching if not named or topic in found.topics),
                default=math.inf,
            )
