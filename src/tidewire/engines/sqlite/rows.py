"""
Turning new entries into rows of the tables `entries` and `topic_blocks`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...log.entries import Entry
from .database import BLOCK_BITS

COLUMNS = 10
BLOCK_MASK = (1 << BLOCK_BITS) - 1


class Rows:
    """
    The rows of new `entries`, which follow each other in the log.

    `total` is the bytes of the log through the last entry; `block` is the block that is not full
    yet, and `block_topics` are the topics in it. They start with the values before `entries`.
    """

    def __init__(
        self, entries: Sequence[Entry], total: int, block: int, block_topics: frozenset[str]
    ) -> None:
        self.total = total
        self.block = block
        self._known_topics = block_topics
        self._new_topics: set[str] = set()
        self.new_blocks: list[tuple[int, str]] = []
        self.values = self._values(entries)
        """The columns of all entries, one after the other, as an INSERT of many rows needs them."""

    def _values(self, entries: Sequence[Entry]) -> list[Any]:
        values: list[Any] = []
        total, noted, last = self.total, "", 0
        for entry in entries:
            offset, topic, event, size = entry.position[1], entry.topic, entry.event, entry.size
            total += size
            if topic != noted or offset > last:  # entries in a row often have the same topic
                self._note_topic(offset >> BLOCK_BITS, topic)
                noted, last = topic, offset | BLOCK_MASK
            kind = None if event == "message" else event
            retry, end, time, data, trace = entry.retry, entry.end, entry.time, entry.data, entry.traceparent
            values += (offset, topic, kind, retry, end, time, size, total, data, trace)
        self.total = total
        return values

    def _note_topic(self, block: int, topic: str) -> None:
        if block != self.block:
            self.block, self._known_topics, self._new_topics = block, frozenset(), set()
        if topic not in self._known_topics and topic not in self._new_topics:
            self._new_topics.add(topic)
            self.new_blocks.append((block, topic))

    @property
    def block_topics(self) -> frozenset[str]:
        return self._known_topics | self._new_topics if self._new_topics else self._known_topics
