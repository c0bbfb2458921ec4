"""A log in an SQLite file, for the tests of its engine: what the sink gets, and what is in the file."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from support.waiting import PATIENCE
from tidewire.engines.sqlite import SQLiteEngine
from tidewire.engines.sqlite.log_file import LogFile
from tidewire.errors import StartRefused
from tidewire.log.entries import Draft, Entry, Head, Marks, Page, Record
from tidewire.log.records import Records, record_of
from tidewire.log.window import Verdict, Window
from tidewire.position import Position
from tidewire.settings import Settings
from tidewire.testing.clock import HandClock
from tidewire.topics import Selector


class RecordingSink:
    """Keeps what it gets, and checks that entries come once and in order and that floors only grow."""

    def __init__(self) -> None:
        self.batches: list[list[Entry]] = []
        self.floors: list[int] = []
        self.up: list[bool] = []

    def begin(self, head: Head) -> None:
        self.head, self.floor, self.marks = head.position.offset, head.floor, head.marks
        self.records = Records(head.records)

    def entries(self, batch: Sequence[Entry]) -> None:
        assert [entry.offset for entry in batch] == list(range(self.head + 1, self.head + 1 + len(batch)))
        self.head += len(batch)
        self.batches.append(list(batch))
        for record in filter(None, map(record_of, batch)):
            self.records.set(record)

    def forgotten(self, records: Sequence[Record]) -> None:
        for record in records:
            self.records.forget(record.kind, record.name)

    def trimmed(self, floor: int, marks: Marks) -> None:
        assert self.floor < floor <= self.head + 1
        self.floor, self.marks = floor, marks
        self.floors.append(floor)

    def reset(self, head: Head) -> None:
        raise AssertionError("one writer's log never goes back while it is open")

    def available(self, up: bool) -> None:
        self.up.append(up)


class Log:
    """`async with Log(path) as log`: the engine on a file, its sink, and a clock that stands still."""

    def __init__(self, path: Path, now: float = 1_000_000.0, **settings: Any) -> None:
        self.path = path
        self.clock = HandClock(now)
        self.sink = RecordingSink()
        self.engine = SQLiteEngine(f"sqlite:///{path}", Settings(**settings), lambda newest: self.clock)

    async def __aenter__(self) -> Self:
        self.first = await self.engine.open(self.sink)
        self.sink.begin(self.first)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.engine.close()

    async def put(self, *drafts: Draft) -> list[Position]:
        return [receipt.position for receipt in await self.engine.append(drafts)]

    async def fill(self, topics: str) -> list[Position]:
        """Publish one event after another, each of the topic that its letter names."""
        return [(await self.put(Draft(topic)))[0] for topic in topics]

    async def offsets(self, after: int = 0, selector: Selector | None = None) -> list[int]:
        """Return the offsets of all entries after `after`, read page by page."""
        found: list[int] = []
        while after < self.sink.head:
            page: Page = await self.engine.read(after, 256, selector)
            found += [entry.offset for entry in page.entries]
            after = page.through
        return found

    def judge(self, position: Position, *terms: str) -> Verdict:
        window = Window(1, 1024)
        window.reset(self.first)
        return window.judge(position, Selector(terms or ["**"]))


def refusal_of(path: Path) -> StartRefused:
    """Return why the log at `path` cannot be opened alone. Nothing stays open or locked."""
    with pytest.raises(StartRefused) as refusal:
        LogFile(os.fspath(path), alone=True).close()
    error = refusal.value
    assert str(path) in error.detail
    assert "\n" not in error.detail
    return error


def write_log(path: Path, topics: Sequence[str], data: str = "", batch: int = 1000) -> None:
    """Write a log of many entries quickly."""
    file = LogFile(os.fspath(path))
    file._db.execute("PRAGMA synchronous = OFF")
    for start in range(0, len(topics), batch):
        file.commit([[Draft(topic, data) for topic in topics[start : start + batch]]], None, Settings())
    file.close()


def rows(path: Path, query: str) -> list[Any]:
    with contextlib.closing(sqlite3.connect(path, timeout=PATIENCE)) as db:
        return db.execute(query).fetchall()


def size_of(path: Path, suffix: str = "") -> int:
    """Return the size of a log's file, or of its WAL (`suffix` is "-wal"); 0 if there is none."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.getsize(f"{path}{suffix}")
    return 0


def crashed(path: Path, to: Path) -> Path:
    """Copy the files of a log as they are now, which is what a crash leaves. Return the copy's path."""
    to.mkdir()
    for part in path.parent.glob(f"{path.name}*"):
        if part.is_file() and not part.name.endswith("-shm"):
            shutil.copy(part, to / part.name)
    return to / path.name


def descriptors(name: str = "") -> list[int]:
    """Return this process's open descriptors, or only those of the file `name`."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            if os.readlink(link) == name or not name:
                found.append(int(link.name))
    return found


@contextlib.contextmanager
def unwritable(file: str) -> Iterator[None]:
    """Make every write to a file that this process has open fail, as on a broken disk."""
    read_only = os.open(os.devnull, os.O_RDONLY)
    kept = [(number, os.dup(number)) for number in descriptors(file)]
    assert kept, f"{file} is not open"
    try:
        for number, _ in kept:
            os.dup2(read_only, number)
        yield
    finally:
        for number, copy in kept:
            os.dup2(copy, number)
            os.close(copy)
        os.close(read_only)
