"""An engine under test, and its log: everything that is read is compared with what the sink has had."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from typing import Any, ClassVar, TypeVar

from ...errors import TidewireError
from ...log.engine import PAGE_BYTES, Engine, LookBack
from ...log.entries import Draft, Entry, Head, Page, Receipt, Since
from ...log.last_events import LastEvents
from ...position import parse_position
from ...settings import Settings
from ...topics import Selector
from ..clock import HandClock
from .sink import CheckingSink, EarlySink

E = TypeVar("E", bound=TidewireError)
S = TypeVar("S", bound="Base")
T = TypeVar("T", bound=Callable[..., None])

EVERYTHING = Selector(["**"])


# Seconds. The suite judges what an engine answers, not how soon: that differs on a busy machine.
PATIENCE = 60.0


def patient(settings: dict[str, Any]) -> Settings:
    """Return `settings`, with an engine that may take its time unless they say otherwise."""
    return Settings(**{"engine_timeout": PATIENCE, **settings})


class Base:
    """What a subclass of the suite defines, and how its tests are run."""

    lasting: ClassVar[bool] = True
    clocked: ClassVar[bool] = False
    reborn: ClassVar[bool] = True
    loop_factory: ClassVar[Callable[[], asyncio.AbstractEventLoop] | None] = None
    deadline: ClassVar[float] = PATIENCE

    async def new_engine(self, settings: Settings, **options: Any) -> Engine:
        """Return an engine, not yet open, on this test's log: the same log each time within one test."""
        raise NotImplementedError

    async def kill(self, engine: Engine) -> None:
        """End `engine` as a crash would, if that is possible; by default it is closed."""
        await engine.close()

    @contextlib.asynccontextmanager
    async def log(self, **settings: Any) -> AsyncIterator[OpenLog]:
        log = OpenLog(self, patient(settings))
        await log.open()
        try:
            yield log
            await log.check_everything()
        finally:
            await log.engine.close()


def engine_test(test: Callable[[S], Coroutine[Any, Any, None]]) -> Callable[[S], None]:
    """Run a test of the suite in its own event loop, and check that it leaves nothing running."""

    @functools.wraps(test)
    def run(self: S) -> None:
        threads = threads_running()
        with asyncio.Runner(loop_factory=type(self).loop_factory) as runner:
            runner.run(check_tasks(test(self)))
        assert threads_running() <= threads, "a closed engine left a thread running"

    return run


async def check_tasks(test: Coroutine[Any, Any, None]) -> None:
    await test
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == 1, f"a closed engine left a task running: {asyncio.all_tasks()}"


def threads_running() -> set[threading.Thread]:
    return set(threading.enumerate())


def requires(**abilities: bool) -> Callable[[T], T]:
    """Mark a test that is only for engines with these abilities; it is removed for others."""

    def mark(test: T) -> T:
        test.requires = abilities  # type: ignore[attr-defined]
        return test

    return mark


async def refusal(kind: type[E], call: Callable[[], Any]) -> E:
    """Return the error of this kind that `call` raises, at once or when its result is awaited."""
    try:
        await call()
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was not raised")


class OpenLog:
    """
    A log under test. `known`: every entry it ever had, by offset.

    Everything that is read is compared with what the sink has had.
    """

    engine: Engine
    sink: CheckingSink
    head: Head

    def __init__(self, suite: Base, settings: Settings) -> None:
        self._suite = suite
        self.settings = settings
        self.clock = HandClock()
        self.known: dict[int, Entry] = {}

    # -- opening

    async def open(self) -> None:
        options = {"clock": self.clock} if self._suite.clocked else {}
        self.engine = await self._suite.new_engine(self.settings, **options)
        early = EarlySink()
        self.head = await self.engine.open(early)
        self.sink = early.pass_to(CheckingSink(self.known, self.head))
        self.sink.check_marks(self.head.floor, self.head.marks)

    async def reopen(self, *, crash: bool = False, **settings: Any) -> None:
        """Close the engine or crash it, then open it again, with `settings` if they are given."""
        await (self._suite.kill(self.engine) if crash else self.engine.close())
        if settings:
            self.settings = patient(settings)
        await self.open()

    # -- publishing

    async def put(self, *drafts: Draft) -> list[tuple[int, bool]]:
        """Append, and return (offset, duplicate) of each draft. By then the sink must have had them."""
        receipts = await self.engine.append(drafts)
        assert len(receipts) == len(drafts)
        for draft, receipt in zip(drafts, receipts, strict=True):
            self.check_receipt(draft, receipt)
        return [(receipt.position.offset, receipt.duplicate) for receipt in receipts]

    def check_receipt(self, draft: Draft, receipt: Receipt) -> None:
        position = receipt.position
        assert position.offset <= self.sink.head, "a receipt came before the sink had the entry"
        assert parse_position(str(position)) == position
        entry = self.known[position.offset]
        assert position.life == entry.position.life
        assert entry.topic == draft.topic or draft.record is not None
        if not receipt.duplicate:
            assert position == entry.position
        if not receipt.duplicate and draft.record is None:
            stored = (entry.data, entry.event, entry.retry, entry.end)
            assert stored == (draft.data, draft.event, draft.retry, draft.end)

    async def fill(self, topics: Iterable[str]) -> None:
        for topic in topics:
            await self.put(Draft(topic))

    async def refused(self, kind: type[TidewireError], *drafts: Draft) -> dict[str, Any]:
        """Return the members of the refusal, and check that nothing was stored."""
        head = self.sink.head
        error = await refusal(kind, lambda: self.engine.append(drafts))
        assert error.stored is False
        assert self.sink.head == head
        return error.members

    # -- reading

    async def page(self, after: int, limit: int = 100, selector: Selector | None = None) -> Page:
        """Read one page and compare it with what is known."""
        head = self.sink.head
        page = await self.engine.read(after, limit, selector)
        offsets = [entry.offset for entry in page.entries]
        assert len(offsets) <= limit
        assert page.through <= self.sink.head, "more was read than the sink has had"
        assert page.through > after or max(after, page.floor - 1) >= head, "a page that does not advance"
        for entry in page.entries:
            assert same(entry, self.known[entry.offset])
        wanted = [o for o in range(max(after + 1, page.floor), page.through + 1) if self.matches(o, selector)]
        assert [offset for offset in offsets if offset >= page.floor] == wanted
        assert offsets == sorted(set(offsets))
        assert all(after < offset <= page.through and self.matches(offset, selector) for offset in offsets)
        if 1 < page.floor == self.sink.floor:
            self.sink.check_marks(page.floor, page.marks)
        assert len(offsets) <= 1 or sum(entry.size for entry in page.entries) <= PAGE_BYTES
        return page

    def matches(self, offset: int, selector: Selector | None) -> bool:
        return selector is None or selector.matches(self.known[offset].topic)

    async def offsets(self, after: int = 0, limit: int = 100, selector: Selector | None = None) -> list[int]:
        """
        Return the offsets of all kept entries after `after`, read page by page.

        Entries that were reported as trimmed may still be readable for a moment.
        """
        found: list[int] = []
        while after < self.sink.head:
            page = await self.page(after, limit, selector)
            found += [entry.offset for entry in page.entries]
            after = max(page.through, page.floor - 1)
        return [offset for offset in found if offset >= self.sink.floor]

    async def locate(self, kind: Any, value: float = 0, selector: Selector = EVERYTHING) -> int:
        """Return the offset after which a subscription starts."""
        if kind != "last":
            return await self.engine.locate(Since(kind, value))
        search = LastEvents(int(value), await self.engine.locate(Since("now")))
        while not search.done:
            search.look(*await self.look_back(search.last, selector))
        return max(search.last, self.sink.floor - 1)

    async def look_back(self, last: int, selector: Selector) -> LookBack:
        """Take one step back and compare it with what is known."""
        found = await self.engine.look_back(last, selector)
        assert 1 <= found.lowest <= max(last, 1)
        first = max(found.lowest, self.sink.floor)
        wanted = [o for o in range(first, last + 1) if self.matches(o, selector) and not self.known[o].end]
        assert list(found.offsets) == wanted
        return found

    async def check_everything(self) -> None:
        """Check that the log holds what the sink has had, from the floor to the head."""
        offsets = await self.offsets(self.sink.floor - 1, 1000)
        assert offsets == list(range(self.sink.floor, self.sink.head + 1))

    async def until(self, done: Callable[[], object], what: str) -> None:
        """Wait until `done()` is true: engines trim in steps, and with a delay."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._suite.deadline
        while not done():
            assert loop.time() < end, f"{what}: floor {self.sink.floor}, head {self.sink.head}"
            await asyncio.sleep(0.02)

    async def until_floor(self, floor: int) -> None:
        await self.until(lambda: self.sink.floor >= floor, f"the floor is not {floor} in the end")
        assert self.sink.floor == floor


def same(one: Entry, other: Entry) -> bool:
    return as_tuple(one) == as_tuple(other)


def as_tuple(entry: Entry) -> tuple[Any, ...]:
    return (entry.position, entry.topic, entry.data, entry.event, entry.retry, entry.end, entry.time)
