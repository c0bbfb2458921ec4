"""The texts of `tidewire log`: sizes, the summary of a log, and progress."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import click

from . import printable

# Seconds between two updates of the progress.
EVERY = 0.2


class Progress:
    """
    A line on stderr that is rewritten, if stderr is a terminal, such as "5 of 9 entries exported".

    `verb` is its last word. With `output` the command writes to stdout; then nothing is shown if that is a
    terminal too.
    """

    def __init__(self, verb: str, *, output: bool = False) -> None:
        self._verb = verb
        self._next_update = 0.0
        self._shown = False
        self._visible = sys.stderr.isatty() and not (output and sys.stdout.isatty())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.clear()

    def __call__(self, done: int, of: int) -> None:
        """Show that `done` entries are done, out of `of` if that is not 0."""
        now = time.monotonic()
        if now >= self._next_update:
            self._next_update = now + EVERY
            self.show(f"{done:,} of {entries(of)} {self._verb}" if of else f"{entries(done)} {self._verb}")

    def show(self, text: str) -> None:
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


def summary(found: Mapping[str, Any]) -> str:
    """Return the result of `info` as text for people."""
    return "\n".join([*(f"{name:<8} {text}" for name, text in rows(found)), *topics(found["topics"])])


def rows(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "log", found["path"]
    yield "file", f"{size(found['file_bytes'])}, plus {size(found['wal_bytes'])} in its WAL"
    yield "state", state(found)
    yield "head", found["head"]
    yield "kept", f"{entries(found['entries'])} from {found['floor']} on, {size(found['bytes'])}"
    if found["entries"]:
        yield "oldest", moment(found["oldest"])
        yield "newest", moment(found["newest"])
    last = ", ".join(f"{life['life']} from {life['first']}" for life in found["last_lives"])
    yield "lives", f"{found['lives']:,}: {'… ' * (found['lives'] > len(found['last_lives']))}{last}"
    yield "keys", f"{found['keys']:,} remembered"
    yield "marks", f"{found['marks']:,} (topics with trimmed entries)"
    yield "ended", "1 topic" if found["ended"] == 1 else f"{found['ended']:,} topics"


def state(found: Mapping[str, Any]) -> str:
    if found["in_use"]:
        return f"in use by {found['in_use']}"
    return "closed" if found["clean"] else "not closed cleanly: the next hub checks it before use"


def moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def topics(found: list[dict[str, Any]]) -> Iterator[str]:
    if found:
        yield f"\n{'events':>12} {'bytes':>12}  topic"
    for row in found:
        yield f"{row['events']:>12,} {size(row['bytes']):>12}  {printable(row['topic'])}"
