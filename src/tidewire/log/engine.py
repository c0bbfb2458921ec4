"""
The protocols of an engine, which stores and orders the log, and of the sink that it reports to.

Everything rests on this order: a batch reaches `sink.entries` before its
receipts are returned; `read` returns nothing beyond what the sink has had; one
page looks at a bounded number of entries.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Literal, Protocol

from ..topics import Selector
from .entries import Draft, Entry, Head, Marks, Page, Receipt, Since

# What an acknowledged append survives: nothing, kill -9 of the process, a power
# cut of the node, the loss of a minority of the engine's nodes.
Durability = Literal["memory", "process", "disk", "quorum"]

# How many entries one page looks at, whether they match or not.
SCAN_LIMIT = 10_000
# How much one page returns, or one entry: pages are held in memory while readers share them.
PAGE_BYTES = 256 * 1024


class Sink(Protocol):
    """What the engine tells the node, in this order and never concurrently."""

    def entries(self, batch: Sequence[Entry]) -> None:
        """Take every entry after the head, once, in order."""

    def trimmed(self, floor: int, marks: Marks) -> None:
        """Retention moved: `floor` is the offset of the oldest entry kept."""

    def reset(self, head: Head) -> None:
        """The log went back or is another one: a new life."""

    def available(self, up: bool) -> None:
        """The engine can be reached, or cannot. It is up when opened."""


class Engine(Protocol):
    durability: Durability
    shared: bool
    """Whether several nodes may use one log."""
    failure: str
    """Why nothing can be stored any more until the process starts again; empty while all is well."""

    async def open(self, sink: Sink) -> Head:
        """
        Begin; return the newest position, floor, lives, marks, and the ended topics still kept.

        Raises `StartRefused`. An engine that later finds that the log went back
        tells `sink.reset` before it answers anything from the new one.
        """

    def append(self, drafts: Sequence[Draft]) -> Awaitable[list[Receipt]]:
        """
        Store all drafts or none; an engine may begin before this is awaited.

        Raise `TopicEnded`, `KeyConflict`, `TooMany`, `StoreFull`, `Unavailable`. Cancelled
        when the node waits no longer: what was begun may be stored all the same.
        """

    async def read(self, after: int, limit: int, selector: Selector | None) -> Page:
        """Return up to `limit` entries after offset `after` that `selector` matches (None: all), in order."""

    async def locate(self, since: Since, selector: Selector) -> int:
        """Return the offset after which `since` begins."""

    async def close(self) -> None:
        """Stop; what was acknowledged stays as durable as it was promised."""
