"""
The protocols of an engine, which stores and orders the log, and of the sink that it reports to.

Every engine keeps these rules: a batch reaches `sink.entries` before its
receipts are returned; `read` returns nothing that the sink has not had; one
page, and one step back, examines a bounded number of entries.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from ..topics import Selector
from .entries import Draft, Entry, Head, Marks, Page, Receipt, Record, Since
from .presence import Presence
from .waiting_batch import WaitingBatch

# What an acknowledged append survives: nothing, kill -9 of the process, a power
# cut of the node, the loss of a minority of the engine's nodes.
Durability = Literal["memory", "process", "disk", "quorum"]

# Entries that one page examines at most, whether they match or not.
SCAN_LIMIT = 10_000
# Bytes that one page returns at most, or one larger entry: readers share pages, which stay in memory.
PAGE_BYTES = 256 * 1024


class LookBack(NamedTuple):
    """One step of a search for the newest events, down from an offset."""

    offsets: Sequence[int]
    """The matching events, in ascending order. The ends of topics are not events."""
    lowest: int
    """The offset down to which all entries were examined; 1 if no older entry is kept."""


class Sink(Protocol):
    """What the engine reports to the node, in order and never concurrently."""

    def entries(self, batch: Sequence[Entry]) -> None:
        """The log has `batch`: every entry after the head, once and in order."""

    def trimmed(self, floor: int, marks: Marks) -> None:
        """Retention moved: `floor` is the offset of the oldest entry kept."""

    def forgotten(self, records: Sequence[Record]) -> None:
        """The engine has forgotten `records`: their time was over."""

    def reset(self, head: Head) -> None:
        """The log went back or was replaced: a new life."""

    def available(self, up: bool) -> None:
        """The engine can be reached, or cannot be. It is up when opened."""


class Engine(Protocol):
    durability: Durability
    shared: bool
    """Whether several nodes may use one log."""
    trusted: bool
    """Whether only Tidewire writes the log, so that each field of an entry has been checked."""
    failure: str
    """Why nothing more can be stored until the process restarts; empty if nothing failed."""
    presence: Presence
    """The other nodes of the log. It works from `open` on."""

    @property
    def has_peers(self) -> bool:
        """Whether another node of the log accepts streams and does not drain: clients may reconnect to it."""

    async def open(self, sink: Sink) -> Head:
        """
        Start, and return the newest position, floor, lives, marks and records.

        Raises `StartRefused` if the log cannot be opened. An engine that later finds
        that the log went back calls `sink.reset` before it returns anything from the new log.
        """

    def append(self, drafts: Sequence[Draft]) -> Awaitable[list[Receipt]]:
        """
        Store all drafts or none; an engine may start before this is awaited.

        Raises `TopicEnded`, `KeyConflict` or `TooMany` if a draft is refused, and `StoreFull` or
        `Unavailable` if nothing can be stored now. The node cancels it when it no longer waits;
        the drafts may still be stored.
        """

    async def read(self, after: int, limit: int, selector: Selector | None) -> Page:
        """Return up to `limit` entries after offset `after` that `selector` matches (None: all), in order."""

    async def locate(self, since: Since) -> int:
        """Return the offset after which `since` starts: `start`, `now`, `ago` or `at`."""

    async def look_back(self, last: int, selector: Selector) -> LookBack:
        """Return which of the entries up to `last` are the newest events that `selector` matches."""

    async def close(self) -> None:
        """Stop. What was acknowledged stays as durable as promised."""

    def release(self) -> None:
        """
        As `close`, from any thread, for an engine whose event loop is closed; may block.

        Also called if it was never opened, or if `open` failed or was cancelled.
        """


@runtime_checkable
class Direct(Protocol):
    """An engine that can tell the node what became of a batch without a future and a step of the loop."""

    def put(self, waiting: WaitingBatch) -> None:
        """As `append`. It calls `waiting.tell` once, on the event loop."""


@runtime_checkable
class Transactional(Protocol):
    """An engine to which a program can publish within a transaction of its own, in the same database."""

    async def publish_in(self, connection: object, draft: Draft) -> None:
        """
        Publish an event that is stored if the transaction of `connection` commits, and never if it does not.

        Raises `InvalidInput` if it is not a connection to the log's database, and as its driver.
        """

    def publish_now(self, connection: object, draft: Draft) -> None:
        """As `publish_in`, from any thread, with a connection that is not awaited."""
