"""A process that is behind the log catches up before it says which run of a topic is the newest."""

from __future__ import annotations

import asyncio

import pytest

from support.fakes import FakeEngine, FakeLog, open_node, quiet, virtual
from tidewire.errors import Unavailable
from tidewire.log.entries import Record
from tidewire.log.records import RECORDS, RUN, data_of
from tidewire.log.runs import OPEN_LIFETIME, Run, record_name, value_of
from tidewire.runs.node_runs import NodeRuns


def start_elsewhere(log: FakeLog, key: str) -> None:
    """Store what another process does that starts a run."""
    run = Run("a", key, f"id of {key}", "another process", "", log.head + 2, 0.0)
    record = Record(RUN, record_name("a", key), value_of(run), OPEN_LIFETIME, log.head + 1)
    log.write(RECORDS, data_of(record), RUN)


@virtual
async def test_a_run_that_another_process_has_just_started() -> None:
    log = FakeLog()
    engine = FakeEngine(log)
    async with open_node(engine) as node:
        runs = NodeRuns(node)
        start_elsewhere(log, "first")
        await quiet()
        engine.hold()
        start_elsewhere(log, "second")
        asyncio.get_running_loop().call_later(0.2, engine.release)
        newest = await runs.newest("a")
        assert newest is not None
        assert newest.key == "second"

        engine.hold()
        start_elsewhere(log, "third")
        asyncio.get_running_loop().call_later(0.2, engine.release)
        cancelled = await runs.cancel("a")
        assert cancelled is not None
        assert cancelled.key == "third"


@virtual
async def test_a_log_that_does_not_answer() -> None:
    engine = FakeEngine(FakeLog())
    async with open_node(engine) as node:
        runs = NodeRuns(node)
        engine.down()
        with pytest.raises(Unavailable):
            await runs.newest("a")
