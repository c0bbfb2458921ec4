"""Reading a log file: pages, what they do not read, every kind of text, and shared pages."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from support.fakes import NOW, listen, open_node
from support.locating import locate
from support.sqlite_log import Log, write_log
from support.waiting import wait_until_async
from tidewire.engines.memory import MemoryEngine
from tidewire.engines.sqlite import SQLiteEngine
from tidewire.engines.sqlite.reader import open_reader
from tidewire.errors import TidewireError
from tidewire.log.engine import PAGE_BYTES
from tidewire.log.entries import Draft, Marks, Page, Receipt, Since
from tidewire.position import Position
from tidewire.settings import Settings
from tidewire.testing.clock import HandClock
from tidewire.topics import MAX_TERMS, Selector


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


# -- pages


async def test_a_page_of_topics_far_apart_is_not_larger_than_others(path: Path) -> None:
    async with Log(path) as log:
        for number in range(6):
            await log.put(Draft("a", "x" * 100_000), *[Draft(f"other/{number}")] * 2500)
        for selector, each in ((Selector(["a"]), [2, 2, 2]), (Selector(["a", "other/*"]), None)):
            after, pages = 0, []
            while after < log.sink.head:
                page = await log.engine.read(after, 10_000, selector)
                pages.append(len(page.entries))
                assert sum(entry.size for entry in page.entries) <= PAGE_BYTES
                assert page.through > after
                after = page.through
            if each:
                assert [count for count in pages if count] == each
            else:
                assert sum(pages) == 6 * 2501


async def test_a_large_entry_gets_its_own_page(path: Path) -> None:
    async with Log(path) as log:
        for size in (10, PAGE_BYTES * 2, PAGE_BYTES * 3, 10):
            await log.put(Draft("a", "x" * size), Draft("b"))
        sizes = []
        after = 0
        while after < log.sink.head:
            page = await log.engine.read(after, 256, Selector(["a"]))
            sizes.append([len(entry.data) for entry in page.entries])
            after = page.through
        assert sizes == [[10], [PAGE_BYTES * 2], [PAGE_BYTES * 3], [10]]
        # Nothing comes from beyond the head, or with a limit of 0.
        assert (await log.engine.read(8, 256, None)).entries == []
        assert (await log.engine.read(10**12, 256, Selector(["a"]))).through == 10**12
        assert (await log.engine.read(0, 0, Selector(["a"])))[:2] == ([], 0)


class Steps:
    """Counts SQLite's steps for a reader: a reliable measure of work, which time is not."""

    def __init__(self, path: Path) -> None:
        self._reader = open_reader(os.fspath(path))
        self._reader._db.set_progress_handler(self._count, 100)
        self.taken = 0

    def _count(self) -> int:
        self.taken += 100
        return 0

    def page(self, after: int, head: int, selector: Selector) -> tuple[int, int]:
        """Return how many entries the page has, and the offset it reaches."""
        self.taken = 0
        entries, through = self._reader.entries(after, head, 256, selector, [("aaaaaa", 1)])
        return len(entries), through

    def close(self) -> None:
        self._reader.close()


def test_the_reader_of_a_quiet_topic_does_not_read_its_neighbours(path: Path) -> None:
    # Each entry has a different topic, as with one topic per user.
    topics = [f"user/{number}" for number in range(40_000)]
    write_log(path, [*topics, "user/7"])
    head = len(topics) + 1
    steps = Steps(path)
    for terms, found in (
        (["nobody"], (0, head)),
        (["user/7"], (2, head)),
        (["nobody/*"], (0, head)),
        ([f"nobody/{n}" for n in range(MAX_TERMS)], (0, head)),
        # Each pattern checks each block. They took seconds when each checked each topic.
        ([f"nobody/{n}/*" for n in range(MAX_TERMS)], (0, head)),
    ):
        assert steps.page(0, head, Selector(terms)) == found
        assert steps.taken < 40_000 + 2_000 * len(terms), terms
    # A selector that matches all of them gets 256 entries, and reads hardly more.
    assert steps.page(0, head, Selector(["user/*"])) == (256, 256)
    assert steps.taken < 60_000
    steps.close()


def test_the_newest_entries_are_found_from_the_end(path: Path) -> None:
    write_log(path, ["a"] * 30_000)
    steps = Steps(path)
    entries = steps._reader.newest(100, 10**9, 30_000, [("aaaaaa", 1)])
    assert [entry.offset for entry in entries] == list(range(29_901, 30_001))
    assert steps.taken < 10_000
    assert len(steps._reader.newest(100, 5 * entries[0].size, 30_000, [("aaaaaa", 1)])) == 5
    # The last one is included whatever its size.
    assert len(steps._reader.newest(100, 1, 30_000, [("aaaaaa", 1)])) == 1
    assert steps._reader.newest(100, 1, 0, [("aaaaaa", 1)]) == []
    steps.close()


# -- every kind of text

ODD = ["[", "]", "%", "_", "?", "'", '"', "\\", "a", "A", "ä", "Ä", "\u0301", "e", "0", ".", "-", "~", "🌊",
       "\U0010ffff", "\uffff", "\ue000", " ", "", "GLOB", "\ud7ff", "ß", "ẞ"]  # fmt: skip


async def test_topics_and_patterns_of_odd_characters(path: Path) -> None:
    chance = random.Random(7)
    topics = sorted({"/".join(chance.choices(ODD, k=chance.randint(1, 3))) for _ in range(500)} - {""})
    async with Log(path) as log:
        await log.put(*map(Draft, topics))
        terms = [*chance.sample(topics, 60), *(f"{odd}/{wild}" for odd in ODD for wild in ("*", "**", "*/a"))]
        for _ in range(150):
            selector = Selector(chance.sample(terms, chance.choice((1, 1, 2, 5))))
            wanted = [offset for offset, topic in enumerate(topics, 1) if selector.matches(topic)]
            assert await log.offsets(0, selector) == wanted, selector
            last = await locate(log.engine, Since("last", 2), selector)
            assert last == (wanted[-2] - 1 if len(wanted) > 1 else 0), selector


TEXTS = [
    "",
    "\0",
    "a\0b",
    "".join(map(chr, range(32))) + "\x7f\x80\x85",
    "\\u0000 \\ \" ' \\\\",
    "\ufeff \u2028\u2029 \ufffe\uffff \U0010ffff 🌊",
    "null",
    '{"a": [1, 2]}',
    "ä" * 70_000,
    "\x01" * 200_000,
]


async def test_every_text_is_read_as_it_was_written(path: Path) -> None:
    drafts = [Draft("t/ä '\"", text) for text in TEXTS]
    drafts += [Draft("a", "x", event=event) for event in ("message", "a\tb", "ä\"'\\", "0", "null")]
    drafts += [Draft("a", retry=500), Draft("a", retry=600_000), Draft("a", TEXTS[2], end=True)]

    def seen(entries: Iterable[Any]) -> list[Any]:
        return [(e.topic, e.data, e.event, e.retry, e.end) for e in entries]

    wanted = [(d.topic, d.data, d.event, d.retry, d.end) for d in drafts]
    async with Log(path) as log:
        for draft in drafts:
            await log.put(draft)
        reported = [entry for batch in log.sink.batches for entry in batch]
        read: list[Any] = []
        while len(read) < len(drafts):
            page = await log.engine.read(len(read), 256, None)
            read += page.entries
        assert seen(reported) == seen(read) == wanted
        of_read = [(e.position, e.time, e.size) for e in read]
        assert of_read == [(e.position, e.time, e.size) for e in reported]
    async with Log(path) as log:
        assert seen(log.first.newest) == wanted


# -- what a node reads


class Counted(SQLiteEngine):
    """Records the offsets after which pages were read."""

    def __init__(self, path: Path, **settings: Any) -> None:
        super().__init__(f"sqlite:///{path}", Settings(**settings))
        self.reads: list[int] = []

    async def read(self, after: int, limit: int, selector: Selector | None) -> Page:
        self.reads.append(after)
        return await super().read(after, limit, selector)


async def test_ten_thousand_readers_from_one_position_share_pages(path: Path) -> None:
    write_log(path, ["a"] * 400, "x")
    settings = {"window_entries": 10, "engine_timeout": 60}
    engine = Counted(path, **settings)
    async with open_node(engine, **settings) as node:
        start = Position(node.window.lives[0][0], 0)
        wires = [await listen(node, "a", since=start) for _ in range(10_000)]
        await node.append([Draft("a", "live")])
        await wait_until_async(lambda: all(wire.subscriber.offset == 401 for wire in wires), 40)
        # 400 entries are two pages.
        assert set(engine.reads) == {0, 256}
        assert len(engine.reads) <= 4
        for wire in wires[:: len(wires) // 20]:
            assert wire.data == ["x"] * 400 + ["live"]
            assert wire.gaps == []
        for wire in wires:
            wire.leave()


async def test_subscribers_that_reconnect_after_a_restart_find_the_newest_in_memory(path: Path) -> None:
    write_log(path, [f"{'ab'[n % 2]}" for n in range(500)])
    settings = {"window_entries": 100}
    engine = Counted(path, **settings)
    async with open_node(engine, **settings) as node:
        life = node.window.lives[0][0]
        near = await listen(node, "a", since=Position(life, 450))
        await wait_until_async(lambda: near.subscriber.live)
        assert len(near.events) == 25
        assert engine.reads == []
        far = await listen(node, "a", since=Position(life, 250))
        await wait_until_async(lambda: far.subscriber.live)
        assert len(far.events) == 125
        assert len(engine.reads) == 1
        fresh = await listen(node, "a", since=NOW)
        await node.append([Draft("a", "live")])
        await wait_until_async(lambda: all(wire.data[-1:] == ["live"] for wire in (near, far, fresh)))


# -- compared with another engine


class Silent:
    """A sink that ignores what it gets."""

    def entries(self, batch: Any) -> None: ...

    def trimmed(self, floor: int, marks: Marks) -> None: ...


@pytest.mark.parametrize("seed", range(4))
async def test_it_answers_as_the_memory_engine_does(path: Path, seed: int) -> None:
    chance = random.Random(seed)
    settings: dict[str, Any] = {"max_keys": 40, "key_age": 20}
    clock = HandClock()
    memory = MemoryEngine("memory", Settings(**settings), clock)
    await memory.open(Silent())  # type: ignore[arg-type]
    log = await Log(path, **settings).__aenter__()
    log.clock.now = clock.now
    for _ in range(200):
        step = chance.random()
        if step < 0.02:
            await log.engine.close()
            log = await Log(path, log.clock.now, **settings).__aenter__()
        elif step < 0.1:
            clock.now = log.clock.now = clock.now + chance.choice((0.5, 7, 25))
        elif step < 0.6:
            drafts = [a_draft(chance) for _ in range(chance.choice((1, 1, 2, 5, 80)))]
            assert await answer_of(log.engine, drafts) == await answer_of(memory, drafts)
        else:
            selector = chance.choice((None, *map(Selector, SELECTORS)))
            kind = chance.choice(("last", "ago", "at"))
            value = chance.randrange(80) + (clock.now - 70 if kind == "at" else 0)
            question = (log.sink.head, chance.randint(0, log.sink.head), selector, Since(kind, value))
            assert await look(log.engine, *question) == await look(memory, *question), question
    await log.engine.close()
    await memory.close()


SELECTORS = (["a"], ["a", "once/7"], ["a/*"], ["*"], ["*/b"], ["once/*", "c/**"], ["**"], ["nobody"])


def a_draft(chance: random.Random) -> Draft:
    topic = chance.choice(("a", "a", "b", "a/b", "c/d/e", f"once/{chance.randrange(1000)}"))
    if chance.random() < 0.02:
        return Draft(f"{topic}/ended", end=True)
    if chance.random() < 0.02:
        return Draft(f"{topic}/ended")
    key = str(chance.randrange(60)) if chance.random() < 0.2 else None
    return Draft(topic, "x" * chance.choice((0, 1, 1, 3000)), key=key)


async def answer_of(engine: Any, drafts: list[Draft]) -> Any:
    try:
        receipts: list[Receipt] = await engine.append(drafts)
    except TidewireError as error:
        return type(error), error.members
    return [(receipt.position.offset, receipt.duplicate) for receipt in receipts]


async def look(engine: Any, head: int, after: int, selector: Selector | None, since: Since) -> Any:
    """Read everything after `after`, page by page, and locate `since`."""
    seen = []
    at = after
    while at < head:
        page = await engine.read(at, 50, selector)
        seen += [(entry.offset, entry.topic, entry.data, entry.end, entry.time) for entry in page.entries]
        assert at < page.through <= head
        at = page.through
    return seen, await locate(engine, since, selector or Selector(["**"]))
