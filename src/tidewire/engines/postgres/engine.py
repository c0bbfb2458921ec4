"""
The engine on a PostgreSQL database: what its parts do, in which order, and what the node is told of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from ...errors import StartRefused, TidewireError, Unavailable
from ...log.engine import Durability, LookBack, Sink
from ...log.entries import Draft, Entry, Head, Page, Receipt, Record, Since
from ...log.judging import Judgement
from ...log.remote_presence import RemotePresence
from ...log.tasks import start
from ...log.trimming import Trim
from ...log.waiting_batch import WaitingBatch
from ...position import new_life
from ...settings import Settings
from ...topics import Selector
from . import reader, transactions
from .bell import Bell
from .following import News, news_after
from .link import Connection, Link, Lost, NoLog
from .nodes import Glance, Nodes, new_lock
from .retention import Housekeeping
from .rows import Stored
from .schema import prepare
from .settling import load, row, settle
from .state import LogChanged, LogState
from .storing import Storing
from .url import conninfo_of, place_of

logger = logging.getLogger("tidewire")

T = TypeVar("T")

# Connections that read pages and trim, made when they are needed.
READERS = 2
# The part of the engine's timeout after which the server is not asked any longer.
PATIENCE = 0.6
# Seconds that loading a whole log may take.
LOADING = 60.0
# Seconds between two looks of a node that hears no notifications.
POLL_EVERY = 0.05
# Seconds between two attempts to reach a server that is away.
RETRY_EVERY = 0.25
# Seconds between looks at the outbox after this node has put something there. Later, each exchange of what
# the nodes have is a look.
OUTBOX_PAUSES = (0.003, 0.005, 0.01, 0.02, *(0.04,) * 25)
# Seconds for which a node that leaves tries to say so.
LEAVING = 1.0

DURABILITY = """
SELECT current_setting('fsync'), current_setting('synchronous_commit'),
  current_setting('synchronous_standby_names'), extract(epoch FROM clock_timestamp())::double precision
"""


class PostgresEngine:
    """
    The log in the database that `url` names: `postgresql://user:password@host:5432/database`.

    `clock` replaces the server's, for tests.
    """

    durability: Durability = "disk"
    shared = True
    trusted = False
    failure = ""

    def __init__(self, url: str, settings: Settings, clock: Callable[[], float] | None = None) -> None:
        self._settings = settings
        self._clock = clock
        self._place = place_of(url)
        timeout = PATIENCE * settings.engine_timeout
        conninfo = conninfo_of(url)
        self._links = [Link(conninfo, timeout) for _ in range(4 + READERS)]
        self._writer, self._follower, self._control, self._listener, *readers = self._links
        self._free: list[Link] = readers
        self.presence = RemotePresence(secrets.token_hex(8))
        self._up = self._direct = self._closed = False
        self._opened = False

    @property
    def has_peers(self) -> bool:
        return self.presence.has_peers

    # -- opening and closing

    async def open(self, sink: Sink) -> Head:
        """Open the log, and make it if it is not there. Raises `StartRefused` if that is not possible."""
        self._sink = sink
        self._loop = asyncio.get_running_loop()
        self._outbox_written = asyncio.Event()
        self._reading = asyncio.Semaphore(READERS)
        self._catching = asyncio.Lock()
        self._look = asyncio.Event()
        try:
            head = await self._open()
        except TidewireError as error:
            await self._close_links()
            if isinstance(error, StartRefused):
                raise
            raise StartRefused(f"cannot open the log {self._place}: {error.detail}") from None
        except BaseException:
            for link in self._links:
                link.abandon()
            raise
        self._begin()
        return head

    async def _open(self) -> Head:
        await self._follower.run(self._prepare, timeout=LOADING)
        loaded = await self._load(None)
        assert loaded is not None
        self._state, newest = loaded
        return self._state.head_with(newest)

    async def _prepare(self, connection: Connection) -> None:
        await prepare(connection, new_life(), self._place)
        found = await row(connection, DURABILITY)
        assert found
        fsync, commit, standbys, now = found
        self._base = float(now) - time.monotonic()
        self.durability = durability_of(fsync, commit, standbys)
        if self.durability == "process":
            setting = "fsync" if fsync == "off" else "synchronous_commit"
            logger.warning(
                "the log %s is not safe from a crash of its server: %s is off", self._place, setting
            )

    def _begin(self) -> None:
        self._up = self._opened = True
        self._storing = Storing(
            self._writer,
            self._settings,
            self._now,
            lambda: self._state,
            self._catch_up,
            self._stored,
            self._failed,
        )
        lock = new_lock()
        self._nodes = Nodes(self.presence.name, self._control, self._glanced, self._look.set)
        self._bell = Bell(self._listener, self._control, lock, self._look.set, self._hears(lock))
        self._housekeeping = Housekeeping(
            self._settings,
            self._now,
            self._with_reader,
            lambda: self._state,
            self._trimmed,
            self._forgotten,
            self._look.set,
        )
        self._tasks = [start(self._follow()), start(self._watch_outbox())]
        self.presence.open(self._nodes, self._base)

    def _hears(self, lock: int) -> Callable[[bool], None]:
        def hears(direct: bool) -> None:
            self._direct = direct
            self._nodes.lock = lock if direct else None
            for link in self._links:
                link.prepares = direct

        return hears

    async def close(self) -> None:
        self._closed = True
        if self._opened:
            self._opened = False
            await self._storing.stop()
            await self._bell.stop()
            await self._housekeeping.stop()
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)
            await self.presence.close()
            with contextlib.suppress(TidewireError, TimeoutError):
                async with asyncio.timeout(LEAVING):
                    await self._nodes.leave()
        await self._close_links()

    async def _close_links(self) -> None:
        for link in self._links:
            await link.close()

    def release(self) -> None:
        self._closed = True
        for link in self._links:
            link.release()

    def _now(self) -> float:
        return self._clock() if self._clock else self._base + time.monotonic()

    # -- appending

    def append(self, drafts: Sequence[Draft]) -> asyncio.Future[list[Receipt]]:
        """Store all drafts or none. If cancelled before its turn, it stores nothing."""
        answer: asyncio.Future[list[Receipt]] = asyncio.get_running_loop().create_future()
        if self._closed or not self._up:
            answer.set_exception(self._unavailable())
        else:
            self._storing.put(WaitingBatch(drafts, answer))
        return answer

    # -- publishing within a transaction of the program

    async def publish_in(self, connection: object, draft: Draft) -> None:
        """Publish within the transaction of `connection`. Raises `InvalidInput`, and as its driver."""
        await transactions.write(connection, draft)
        self._outbox_written.set()

    def publish_now(self, connection: object, draft: Draft) -> None:
        """As `publish_in`, from any thread, with a connection that is not awaited."""
        transactions.write_now(connection, draft)
        with contextlib.suppress(RuntimeError):  # the event loop is closed: another node moves it
            self._loop.call_soon_threadsafe(self._outbox_written.set)

    async def _watch_outbox(self) -> None:
        """Look for what this node has put there, often at first: it does not know when it is committed."""
        while True:
            await self._outbox_written.wait()
            self._outbox_written.clear()
            for pause in OUTBOX_PAUSES:
                await asyncio.sleep(pause)
                self._storing.move_outbox()

    def _unavailable(self) -> Unavailable:
        why = "it is closed" if self._closed else "its server cannot be reached"
        return Unavailable(
            f"nothing can be stored in the log: {why}", code="engine_unavailable", retry_after=1
        )

    def _stored(self, rows: Sequence[Stored], judgement: Judgement) -> None:
        """This node has stored entries right after those that it knew."""
        state = self._state
        state.records.count_items(judgement.items)
        state.keys_held += len(judgement.keys) - len(judgement.stale_keys)
        self._take(rows, list(judgement.records.values()))
        if self._nodes.others:
            self._bell.ring()

    def _take(self, rows: Sequence[Stored], records: Sequence[Record]) -> None:
        entries: list[Entry] = self._state.take(rows, records)
        if entries:
            self._sink.entries(entries)
            self._housekeeping.added(len(entries))

    # -- following

    def _glanced(self, glance: Glance) -> None:
        if glance.outbox:
            self._storing.move_outbox()
        state = self._state
        if glance.head != state.head or glance.life != state.life or not glance.same_server:
            self._look.set()

    async def _follow(self) -> None:
        """Learn what other nodes have stored, and whether the server can be reached."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause()):
                    await self._look.wait()
            if not self._up:
                await asyncio.sleep(RETRY_EVERY)
            self._look.clear()
            try:
                await self._catch_up()
            except TidewireError as error:
                self._set_up(False, error.detail)
            except Exception as error:
                logger.exception("cannot follow the log %s", self._place)
                self._set_up(False, repr(error))
            else:
                self._set_up(True)

    def _pause(self) -> float | None:
        if not self._up:
            return 0.0
        return None if self._direct else POLL_EVERY

    def _set_up(self, up: bool, why: str = "") -> None:
        if up == self._up:
            return
        self._up = up
        if up:
            logger.warning("the log %s can be reached again", self._place)
        else:
            logger.error("the log %s cannot be used: %s", self._place, why)
            self._storing.refuse_waiting(self._unavailable())
        self._sink.available(up)

    def _failed(self, error: Lost) -> None:
        """A connection broke. Whether the server can be reached is found out by a look."""
        logger.debug("a connection to the log %s broke: %s", self._place, error.detail)
        self._look.set()

    async def _catch_up(self) -> None:
        """Report what has been stored by now. Raises `Unavailable`."""
        async with self._catching:
            while await self._catch_up_once():
                pass

    async def _catch_up_once(self) -> bool:
        """Take one look. Return whether there is more."""
        state = self._state
        try:
            news = await self._follower.run(lambda connection: news_after(connection, state))
        except (LogChanged, NoLog):
            await self._settle()
            return True
        self._apply(news)
        return self._state.head < news.meta.head

    def _apply(self, news: News) -> None:
        before = self._state.head
        self._take(news.entries, news.records)
        if self._state.head > before:
            self._state.keys_held += news.keys
        meta = news.meta
        if self._state.trim(meta.floor, meta.trimmed, news.marks, meta.dropped):
            self._sink.trimmed(self._state.floor, self._state.marks)

    async def _settle(self) -> None:
        state = self._state
        await self._follower.run(self._prepare, timeout=LOADING)
        loaded = await self._load(state)
        if loaded is None:
            return
        self._state, newest = loaded
        self._state.records.take_items(state.records)
        self._sink.reset(self._state.head_with(newest))

    async def _load(self, known: LogState | None) -> tuple[LogState, list[Entry]] | None:
        """Return the log, and the entries of a window; None if it continues the one that is known."""
        settings, place = self._settings, self._place

        async def work(connection: Connection) -> tuple[LogState, list[Entry]] | None:
            if await settle(connection, known, place):
                return None
            return await load(connection, settings.window_entries, settings.window_bytes)

        try:
            return await self._follower.run(work, timeout=LOADING)
        except LogChanged:
            raise Unavailable("the tables of the log are damaged", code="engine_unavailable") from None

    # -- retention

    def _trimmed(self, trim: Trim) -> None:
        if self._state.trim(trim.floor, trim.total, trim.marks, 0):
            self._sink.trimmed(self._state.floor, self._state.marks)

    def _forgotten(self, records: Sequence[Record]) -> None:
        for record in records:
            self._state.forget(record)
        self._sink.forgotten(records)

    # -- reading

    async def read(self, after: int, limit: int, selector: Selector | None) -> Page:
        """Return a page of at most `limit` entries and 256 KiB, or one larger entry."""
        state = self._state
        head, floor, lives = state.head, state.floor, state.lives

        def read(connection: Connection) -> Awaitable[reader.FoundPage]:
            return reader.page(connection, after, head, limit, selector, lives, floor)

        found = await self._with_reader(read)
        meta = found.meta
        if state is self._state and state.trim(meta.floor, meta.trimmed, found.marks, meta.dropped):
            self._sink.trimmed(state.floor, state.marks)
        return Page(found.entries, max(after, found.through), state.floor, state.marks)

    async def locate(self, since: Since) -> int:
        """Return the offset after which `since` starts."""
        state = self._state
        if since.kind == "start":
            return state.floor - 1
        if since.kind not in ("ago", "at"):
            found = await self._with_reader(
                lambda connection: row(connection, "SELECT head FROM tidewire.meta")
            )
            newest = int(found[0]) if found else 0
            if newest > state.head:
                self._look.set()
            return newest
        then = since.value if since.kind == "at" else self._now() - since.value
        floor, head = state.floor, state.head
        return await self._with_reader(lambda connection: reader.before(connection, then, floor, head))

    async def look_back(self, last: int, selector: Selector) -> LookBack:
        """Return the newest events up to `last` that `selector` matches, as far as one step goes."""
        floor = self._state.floor
        return await self._with_reader(lambda connection: reader.look_back(connection, last, selector, floor))

    async def _with_reader(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        if self._closed:
            raise self._unavailable()
        async with self._reading:
            link = self._free.pop()
            try:
                return await link.run(work)
            except (LogChanged, NoLog):
                self._look.set()
                raise Unavailable("the log was replaced", code="engine_unavailable", retry_after=1) from None
            except Lost:
                self._look.set()
                raise
            finally:
                self._free.append(link)


def durability_of(fsync: str, commit: str, standbys: str) -> Durability:
    """Return what an acknowledged commit survives with these settings of the server."""
    if fsync == "off" or commit == "off":
        return "process"
    return "quorum" if standbys.strip() and commit in ("on", "remote_apply") else "disk"
