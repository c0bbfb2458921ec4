"""Each of our engines passes the suite that admits an engine."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support.redis_server import RedisServer, programs, redis_server
from tidewire.engines.memory import MemoryEngine
from tidewire.engines.redis import RedisEngine, engine, keeping
from tidewire.engines.sqlite import SQLiteEngine, writer
from tidewire.log import judging
from tidewire.log.engine import Engine
from tidewire.log.entries import Draft, Entry, Marks, Page, Receipt
from tidewire.log.judging import Judgement
from tidewire.settings import Settings
from tidewire.testing.clock import VirtualLoop
from tidewire.testing.contract import EngineContract
from tidewire.topics import Selector


class TestMemory(EngineContract):
    lasting = False
    clocked = True
    loop_factory = VirtualLoop

    async def new_engine(self, settings: Settings, **options: Any) -> Engine:
        return MemoryEngine("memory", settings, options["clock"])


class TestSQLite(EngineContract):
    clocked = True

    @pytest.fixture(autouse=True)
    def _file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = tmp_path / "log"
        self.folder.mkdir()
        # A dozen of these tests wait this long.
        monkeypatch.setattr(writer, "TRIM_EVERY", 0.05)

    async def new_engine(self, settings: Settings, **options: Any) -> Engine:
        return SQLiteEngine(f"sqlite:///{self.folder}/log.db", settings, lambda newest: options["clock"])

    async def kill(self, engine: Engine) -> None:
        """Continue with the files as they are now, which is what a crash leaves."""
        left = self.folder.with_name(f"{self.folder.name}-left")
        shutil.copytree(self.folder, left, ignore=shutil.ignore_patterns("*.nodes"))
        await engine.close()
        self.folder = left


@pytest.fixture(scope="module", params=["valkey", "redis"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    program = programs().get(request.param)
    if program is None:
        pytest.skip(f"there is no {request.param}-server")
    # How long its disk takes is no matter here.
    with redis_server(tmp_path_factory.mktemp("server"), program, appendfsync="no") as server:
        yield server


class TestRedis(EngineContract):
    clocked = True
    reborn = False

    @pytest.fixture(autouse=True)
    def _log(
        self, server: RedisServer, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.url = server.log_url(request.node.name.partition("[")[0])
        monkeypatch.setattr(keeping, "KEEP_EVERY", 0.05)
        monkeypatch.setattr(engine, "KEEP_EVERY", 0.05)

    async def new_engine(self, settings: Settings, **options: Any) -> Engine:
        return RedisEngine(self.url, settings, options["clock"])


# -- the suite can fail


class Late(MemoryEngine):
    """Its receipts come before the sink has the entries."""

    def _store(self, *args: Any) -> None:
        self._loop.call_soon(super()._store, *args)


class OneScope(MemoryEngine):
    """A key is looked up without its topic."""

    def _append(self, drafts: Sequence[Draft]) -> list[Receipt]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(judging, "name_of", lambda topic, key: key.encode())
            patch.setattr(Draft, "digest", lambda draft: draft.data.encode())
            return super()._append(drafts)


class Forgetful(MemoryEngine):
    """Keys are forgotten by how many there are."""

    def _forget_keys(self, now: float) -> None:
        while len(self._keys) > 2:
            self._keys.popitem(last=False)


class Open(MemoryEngine):
    """An ended topic may be published to."""

    def _store(self, judgement: Judgement) -> None:
        super()._store(judgement)
        for kind, name in judgement.records:
            self.records.forget(kind, name)


class Ahead(MemoryEngine):
    """A page reports that it is complete through the head, however few entries it returns."""

    async def read(self, after: int, limit: int, selector: Selector | None) -> Page:
        return (await super().read(after, limit, selector))._replace(through=self.head)


class AtOrAfter(MemoryEngine):
    """A page starts with the entry at the position."""

    async def read(self, after: int, limit: int, selector: Selector | None) -> Page:
        return await super().read(after - 1, limit, selector)


class Stuck(MemoryEngine):
    """A page in which nothing matches does not advance its reader."""

    async def read(self, after: int, limit: int, selector: Selector | None) -> Page:
        page = await super().read(after, limit, selector)
        return page if page.entries else page._replace(through=after)


class Unmarked(MemoryEngine):
    """Trimmed entries leave no mark."""

    def _forget(self, entry: Entry) -> None:
        super()._forget(entry)
        self._marks = Marks()


class Idle(MemoryEngine):
    """Nothing is trimmed while nothing is published."""

    def _trim_regularly(self) -> None:
        pass


class Greedy(MemoryEngine):
    """It keeps one entry fewer than the setting says."""

    def __init__(self, url: str, settings: Settings, *args: Any) -> None:
        fewer = max(settings.retention_entries - 1, 1)
        super().__init__(url, replace(settings, retention_entries=fewer), *args)


class Partial(MemoryEngine):
    """A refused batch leaves the drafts before the refused one."""

    def append(self, drafts: Sequence[Draft]) -> asyncio.Future[list[Receipt]]:
        receipts = [super(Partial, self).append([draft]).result()[0] for draft in drafts]
        answer: asyncio.Future[list[Receipt]] = self._loop.create_future()
        answer.set_result(receipts)
        return answer


class Unclosed(MemoryEngine):
    """It leaves a task when it is closed."""

    async def close(self) -> None:
        self._task = self._loop.create_task(asyncio.sleep(60))


BROKEN = {
    Late: "test_concurrent_appends_get_one_order",
    OneScope: "test_a_key_repeats_its_first_id",
    Forgetful: "test_no_more_keys_than_the_limit",
    Open: "test_nothing_is_published_to_an_ended_topic",
    Ahead: "test_pages",
    AtOrAfter: "test_pages",
    Stuck: "test_the_reader_of_a_quiet_topic_advances",
    Unmarked: "test_retention_by_entries",
    Idle: "test_retention_by_age",
    Greedy: "test_a_full_log_stays_correct_over_many_publishes",
    Partial: "test_a_refused_batch_leaves_nothing",
    Unclosed: "test_an_empty_log",
}


@pytest.mark.parametrize("kind", BROKEN, ids=lambda kind: kind.__name__)
def test_a_broken_engine_is_not_admitted(kind: type[MemoryEngine]) -> None:
    class Suite(TestMemory):
        async def new_engine(self, settings: Settings, **options: Any) -> Engine:
            return kind("memory", settings, options["clock"])

    with pytest.raises((AssertionError, KeyError)):
        getattr(Suite(), BROKEN[kind])()
