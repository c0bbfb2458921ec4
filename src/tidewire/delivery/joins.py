"""
The bytes of several entries, joined and framed once for all cohorts that are sent the same.

Five thousand streams that each ask for one common topic and one of their own are five
thousand cohorts. When only the common topic has news, they share one join.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple

from ..hub_events import HEARTBEAT
from ..log.window import Window
from .framing import Framing, framed

# A join holds at most this much, or one event: more pending means more rounds.
JOIN_BYTES = 64 * 1024
# Joins kept for other cohorts.
SHARED = 64


class Join(NamedTuple):
    """
    Framed bytes of `events` entries.

    `through`: the offset that they reach; `last`: that of the last id in them (0: none).
    """

    data: bytes
    through: int
    last: int
    events: int


class Joins:
    """Joins of the window's entries."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self._joins: OrderedDict[tuple[object, ...], Join] = OrderedDict()

    def of(
        self,
        topics: Iterable[str],
        after: int,
        through: int,
        with_topic: bool,
        framing: Framing,
        plain: bool = False,
    ) -> Join:
        """Return the join of the first entries of `topics` in (after, through]; plain: no `hub.*`."""
        key = (*topics, after, through, with_topic, framing, plain)
        join = self._joins.get(key)
        if join is None:
            join = self._joins[key] = self._join(topics, after, through, with_topic, framing, plain)
            if len(self._joins) > SHARED:
                self._joins.popitem(last=False)
        return join

    def _join(
        self,
        topics: Iterable[str],
        after: int,
        through: int,
        with_topic: bool,
        framing: Framing,
        plain: bool,
    ) -> Join:
        frames: list[bytes] = []
        size = last = 0
        for entry in self._window.of_topics(topics, after, through):
            if plain and entry.is_control:
                continue
            frame = entry.frames[with_topic] or entry.frame(with_topic)
            size += len(frame)
            if frames and size > JOIN_BYTES:
                return Join(framed(b"".join(frames), framing), last, last, len(frames))
            frames.append(frame)
            last = entry.offset
        return Join(framed(b"".join(frames), framing) if frames else b"", through, last, len(frames))

    def heartbeat(self, framing: Framing) -> Join:
        """Return a comment: one object for all, so that cohorts share its round."""
        return HEARTBEATS[framing]

    def clear(self) -> None:
        self._joins.clear()


FRAMINGS: tuple[Framing, ...] = ("chunked", "raw", "asgi")
HEARTBEATS = {framing: Join(framed(HEARTBEAT, framing), 0, 0, 0) for framing in FRAMINGS}
