"""
Turning new entries into rows of the tables `entries` and `topic_blocks`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...log.entries import Entry
from .database import BLOCK_BITS

# The columns of `entries` that all entries have, and those of all kinds of entries. A NULL takes `sqlite3`
# 0.3 us to bind, and there would be four of them in most rows.
PLAIN = ("offset", "topic", "time", "size", "bytes", "data")
FULL = (*PLAIN, "event", "retry", "is_end", "traceparent")
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
        self.columns = PLAIN if all_plain(entries) else FULL
        self.values = self._values(entries)
        """The columns of all entries, one after the other, as an INSERT of many rows needs them."""

    def _values(self, entries: Sequence[Entry]) -> list[Any]:
        values: list[Any] = []
        total, noted, last, full = self.total, "", 0, self.columns is FULL
        for entry in entries:
            offset, topic, size = entry.position[1], entry.topic, entry.size
            total += size
            if topic != noted or offset > last:  # entries in a row often have the same topic
                self._note_topic(offset >> BLOCK_BITS, topic)
                noted, last = topic, offset | BLOCK_MASK
            values += (offset, topic, entry.time, size, total, entry.data)
            if full:
                kind = None if entry.event == "message" else entry.event
                values += (kind, entry.retry, int(entry.end), entry.traceparent)
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


def all_plain(entries: Sequence[Entry]) -> bool:
    """Whether none of the entries has more than the columns PLAIN."""
    for entry in entries:
        if entry.event != "message" or entry.retry is not None or entry.end or entry.traceparent is not None:
            return False
    return True
