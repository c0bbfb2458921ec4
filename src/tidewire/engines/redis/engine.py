"""
The engine on Redis or Valkey: what the tasks of a node have in common, and what the node asks.

    storing    publishes, one call at a time          -> sink
    following  what other nodes store                 -> sink
    watching   whether the log is still what it was, and what retention did

When something goes wrong in any of them, `on_trouble` says so, one task looks at the log again until that
works (`_mend`), and the others wait for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

from ...errors import StartRefused, TidewireError, Unavailable
from ...log.engine import Durability, LookBack, Sink
from ...log.entries import Draft, Head, Page, Receipt, Record, Since
from ...log.presence import Presence
from ...log.remote_presence import RemotePresence
from ...log.tasks import start
from ...log.trimming import Trim
from ...log.waiting_batch import WaitingBatch
from ...settings import Settings
from ...topics import Selector
from ..by_url import without_password
from .checks import check_server, durability_of
from .codec import Stored
from .following import follow
from .keeping import KEEP_EVERY, Keeping
from .keys import Keys
from .link import Link, Lost, Server
from .presence_store import RedisPresence
from .reading import Reading, Retention
from .settling import Settling
from .state import LogChanged, LogState, Point
from .storing import Storing
from .url import make_pool, place_of

logger = logging.getLogger("tidewire")

T = TypeVar("T")

# Seconds between two looks at the head and at what retention did.
WATCH_EVERY = 0.25
# Seconds between two attempts to find a server again that cannot be reached.
MEND_EVERY = 0.25
# Entries stored by this node after which it looks at retention at once.
TRIM_AFTER = 128


class RedisEngine:
    """The log that `url` names. `clock` replaces the server's clock as that of the log."""

    shared = True
    trusted = False

    def __init__(self, url: str, settings: Settings, clock: Callable[[], float] | None = None) -> None:
        place = place_of(url)
        self._settings = settings
        self._keys = Keys(place.prefix)
        self._server = Server(make_pool(place), without_password(url))
        self._clock = clock
        self._name = secrets.token_hex(8)
        self.durability: Durability = "disk"
        self.failure = ""
        self._presence = RemotePresence(self._name)
        self._state: LogState | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._links: list[Link] = []
        self._trouble = False
        self._up = True
        self._closed = False
        self._said = ""

    @property
    def presence(self) -> Presence:
        return self._presence

    @property
    def has_peers(self) -> bool:
        return self._presence.has_peers

    @property
    def state(self) -> LogState:
        assert self._state is not None
        return self._state

    def now(self) -> float:
        return self._clock() if self._clock else self._server.clock + time.monotonic()

    def _link(self) -> Link:
        link = Link(self._server, 0.75 * self._settings.engine_timeout)
        self._links.append(link)
        return link

    # -- opening and closing

    async def open(self, sink: Sink) -> Head:
        """Find the log, or begin it. Raises `StartRefused`."""
        self._sink = sink
        self._loop = asyncio.get_running_loop()
        self._mended = asyncio.Event()
        self._mended.set()
        self._wake = asyncio.Event()
        look, read, write, listen, tell = (self._link() for _ in range(5))
        self._settling = Settling(look, self._server, self._keys)
        self._reading = Reading(read, self._keys)
        self._look = look
        try:
            await look.ask(b"PING")
            check_server(self._server)
            self.durability = await durability_of(look, self._server)
            head = await self._adopt()
            for link in (read, write, listen, tell):
                await link.ask(b"PING")
        except Unavailable as error:
            await self._close_links()
            raise StartRefused(f"cannot open the log {self._server.place}: {error.detail}") from None
        except BaseException:
            await self._close_links()
            raise
        self._storing = Storing(write, self._keys, self._settings, self._name, self)
        self._keeping = Keeping(look, self._keys, self._settings, self)
        self._store = RedisPresence(tell, self._keys, self._name)
        # A server whose clock is not the log's has one anyway.
        self._presence.open(self._store, self._server.clock)
        self._tasks = [
            start(follow(listen, self._keys, self)),
            start(self._watch()),
            start(self._keep()),
            start(self._mend()),
        ]
        return head

    async def close(self) -> None:
        """Store what is waiting, and close the connections."""
        if self._closed:
            return
        self._closed = True
        if self._tasks:
            if self._up:
                await self._storing.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._storing.close()
            await self._presence.close()
            with contextlib.suppress(TidewireError):
                if self._up:
                    await self._store.leave()
        await self._close_links()

    async def _close_links(self) -> None:
        for link in self._links:
            await link.close()
        await self._server.close()

    def release(self) -> None:
        """Do nothing: its tasks ended with its loop, and so did its connections."""
        self._closed = True

    async def _adopt(self) -> Head:
        """Settle the log, read it whole, and return it. Raises `Unavailable`."""
        found, _ = await self._settling.settle(self._state)
        state = await self._settling.load(found)
        newest = await self._settling.newest(
            state, self._settings.window_entries, self._settings.window_bytes
        )
        self._apply(state, state.point, await self._reading.retention(state))
        newest = [entry for entry in newest if entry.offset >= state.floor]
        if self._state is not None:
            state.records.take_items(self._state.records)
        self._state = state
        return state.head_with(newest)

    # -- trouble

    def on_trouble(self, error: Exception) -> None:
        if self._trouble or self._closed:
            return
        self._trouble = True
        self._mended.clear()
        self._wake.set()
        if isinstance(error, TidewireError):
            self._go_down(error)

    def _go_down(self, error: TidewireError) -> None:
        if self._up:
            self._up = False
            logger.error("the log %s cannot be reached: %s", self._server.place, error.detail)
            self._sink.available(False)

    async def mended(self) -> None:
        await self._mended.wait()

    async def has_stored(self) -> None:
        await self._storing.idle.wait()

    async def _mend(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._trouble:
                try:
                    await self._look_again()
                except (TidewireError, LogChanged) as error:
                    if isinstance(error, TidewireError):
                        self._go_down(error)
                        if str(error.detail) != self._said:
                            self._said = error.detail
                            logger.info("the log %s: %s", self._server.place, error.detail)
                    await asyncio.sleep(MEND_EVERY)
                except Exception:
                    logger.exception("cannot look at the log %s", self._server.place)
                    await asyncio.sleep(1.0)

    async def _look_again(self) -> None:
        """Find the log again. What was reported before is continued, or replaced if it cannot be."""
        for link in self._links:
            await link.close()
        self._server.run_id = None
        await self._look.ask(b"PING")
        check_server(self._server)
        found, continues = await self._settling.settle(self.state)
        if not continues or found.meta is None or found.meta.epoch != self.state.epoch:
            self._sink.reset(await self._adopt())
        await self._refresh()
        self._trouble = False
        if not self._up:
            self._up, self._said = True, ""
            logger.warning("the log %s can be reached again", self._server.place)
            self._mended.set()
            self._sink.available(True)
        self._mended.set()

    # -- what is new

    def take(self, found: Sequence[Stored]) -> None:
        entries, all_taken = self.state.take(found)
        if entries:
            self._sink.entries(entries)
        if not all_taken:
            raise LogChanged

    def on_trimmed(self, trim: Trim, dropped: int) -> None:
        self._trimmed(trim.floor, trim.total, trim.marks, dropped)

    def _trimmed(self, floor: int, trimmed: int, marks: Sequence[tuple[str, int]], dropped: int) -> None:
        state = self.state
        if floor <= state.head + 1 and state.trim(floor, trimmed, marks, dropped):
            self._sink.trimmed(state.floor, state.marks)

    def on_forgotten(self, records: list[Record]) -> None:
        self.state.forget(records)
        self._sink.forgotten(records)

    def _apply(self, state: LogState, before: Point, found: Retention) -> bool:
        """Note what retention did. Raises `LogChanged` if the log is not what it was `before`."""
        if found.epoch != before.epoch or found.head < before.head:
            raise LogChanged
        if found.head == before.head and found.check != before.check:
            raise LogChanged
        found.check_length()
        if found.floor > state.head + 1:
            raise LogChanged  # what this node has not seen is trimmed
        return state.trim(found.floor, found.trimmed, found.marks, found.dropped)

    async def _refresh(self) -> None:
        """Look whether the log is what it was, and what retention did."""
        state, before = self.state, self.state.point
        found = await self._reading.retention(state)
        if state is self._state and self._apply(state, before, found):
            self._sink.trimmed(state.floor, state.marks)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_EVERY)
            await self._carefully(self._refresh)

    async def _keep(self) -> None:
        due = 0.0
        while True:
            await asyncio.sleep(0.02 if self._storing.untrimmed >= TRIM_AFTER else KEEP_EVERY / 5)
            now = self._loop.time()
            if self._storing.untrimmed >= TRIM_AFTER or now >= due:
                self._storing.untrimmed = 0
                await self._carefully(self._keeping.trim)
            if now >= due:
                due = now + KEEP_EVERY
                await self._carefully(self._keeping.forget)
                if self.state.keys_held:
                    await self._carefully(self._storing.forget_keys)

    async def _carefully(self, what: Callable[[], Awaitable[None]]) -> None:
        try:
            await self._mended.wait()
            await what()
        except (TidewireError, LogChanged) as error:
            if isinstance(error, Lost | LogChanged):
                self.on_trouble(error)
            else:
                logger.error("the log %s: %s", self._server.place, error.detail)

    # -- what the node asks

    def append(self, drafts: Sequence[Draft]) -> asyncio.Future[list[Receipt]]:
        """Store all drafts or none. If cancelled before its turn, it stores nothing."""
        answer: asyncio.Future[list[Receipt]] = self._loop.create_future()
        if self._closed:
            answer.set_exception(Unavailable("the log is closed", code="engine_unavailable"))
        else:
            self._storing.put(WaitingBatch(drafts, answer))
        return answer

    async def read(self, after: int, limit: int, selector: Selector | None) -> Page:
        """Return a page of at most `limit` entries and 256 KiB, or one larger entry."""
        while True:
            state = self.state
            head = state.head
            page = await self._asked(partial(self._reading.page, state, after, limit, selector, head))
            if state is not self._state:
                continue
            found = page.retention
            self._trimmed(found.floor, found.trimmed, found.marks, found.dropped)
            return Page(page.entries, max(after, page.through), state.floor, state.marks)

    async def locate(self, since: Since) -> int:
        """Return the offset after which `since` starts."""
        state = self.state
        if since.kind == "start":
            return state.floor - 1
        if since.kind not in ("ago", "at"):
            return await self._asked(self._reading.head)
        time = since.value if since.kind == "at" else self.now() - since.value
        return await self._asked(lambda: self._reading.before(state, time))

    async def look_back(self, last: int, selector: Selector) -> LookBack:
        """Return the newest events up to `last` that `selector` matches, as far as one step goes."""
        return await self._asked(lambda: self._reading.look_back(self.state, last, selector))

    async def _asked(self, question: Callable[[], Awaitable[T]]) -> T:
        """Ask the server; if the log is not what it was, look at it first."""
        while True:
            if self._closed:
                raise Unavailable("the log is closed", code="engine_unavailable")
            try:
                return await question()
            except LogChanged as error:
                self.on_trouble(error)
                await self.mended()
            except Lost as error:
                self.on_trouble(error)
                raise
