"""What `tidewire log` says: sizes, the state of a log, how far it is."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import click

from . import printable

# Seconds between two states of the progress.
EVERY = 0.2


class Progress:
    """
    A line on stderr that is written again and again, if that is a terminal: so many entries are `done`.

    With `output` on stdout it stays away from a terminal that shows that too.
    """

    def __init__(self, done: str, *, output: bool = False) -> None:
        self._done = done
        self._due = 0.0
        self._shown = False
        self._visible = sys.stderr.isatty() and not (output and sys.stdout.isatty())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.clear()

    def __call__(self, done: int, of: int) -> None:
        """Say how far it is; `of` is 0 where nobody knows."""
        now = time.monotonic()
        if now >= self._due:
            self._due = now + EVERY
            self.say(f"{done:,} of {entries(of)} {self._done}" if of else f"{entries(done)} {self._done}")

    def say(self, text: str) -> None:
        if self._visible:
            self._shown = True
            click.echo(f"\r\x1b[K{text}", err=True, nl=False)

    def clear(self) -> None:
        if self._shown:
            self._shown = False
            click.echo("\r\x1b[K", err=True, nl=False)


def entries(count: int) -> str:
    return "1 entry" if count == 1 else f"{count:,} entries"


def size(count: int) -> str:
    for unit, name in ((1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB")):
        if abs(count) >= unit:
            return f"{count / unit:,.1f} {name}"
    return "1 byte" if count == 1 else f"{count} bytes"


def in_lines(found: Mapping[str, Any]) -> str:
    """Return what `info` found, for people."""
    return "\n".join([*(f"{name:<8} {text}" for name, text in rows(found)), *topics(found["topics"])])


def rows(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "log", found["path"]
    yield "file", f"{size(found['file_bytes'])}, and {size(found['wal_bytes'])} in its WAL"
    yield "state", state(found)
    yield "head", found["head"]
    yield "kept", f"{entries(found['entries'])} from {found['floor']} on, {size(found['bytes'])}"
    if found["entries"]:
        yield "oldest", moment(found["oldest"])
        yield "newest", moment(found["newest"])
    last = ", ".join(f"{life['life']} from {life['first']}" for life in found["last_lives"])
    yield "lives", f"{found['lives']:,}: {'… ' * (found['lives'] > len(found['last_lives']))}{last}"
    yield "keys", f"{found['keys']:,} held"
    yield "marks", f"{found['marks']:,}, of topics with trimmed entries"
    yield "ended", "1 topic" if found["ended"] == 1 else f"{found['ended']:,} topics"


def state(found: Mapping[str, Any]) -> str:
    if found["in_use"]:
        return f"in use by {found['in_use']}"
    return "closed" if found["clean"] else "not closed in good order: the next hub looks through it first"


def moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def topics(found: list[dict[str, Any]]) -> Iterator[str]:
    if found:
        yield f"\n{'events':>12} {'bytes':>12}  topic"
    for row in found:
        yield f"{row['events']:>12,} {size(row['bytes']):>12}  {printable(row['topic'])}"
