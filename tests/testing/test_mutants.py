"""
The suite can fail: small mutants of the hub, each caught by the checker or by the contract's own figures.

A mutant replaces one function with a wrong version. A scenario is a short run that returns what it found
wrong: nothing on the real hub, and the mutant's fault on the mutant.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from support.fakes import NOW, START, listen, numbers, open_node, quiet, until
from tidewire import hub_events
from tidewire.auth.grants import Grant
from tidewire.delivery.bearers import Bearer, Bearers
from tidewire.delivery.catch_up import CatchUp
from tidewire.delivery.joins import JOIN_BYTES
from tidewire.delivery.node import Node
from tidewire.delivery.subscriber import Subscriber
from tidewire.engines.sqlite import SQLiteEngine
from tidewire.engines.sqlite.log_file import LogFile
from tidewire.event_stream import Event, encode
from tidewire.log import entries
from tidewire.log.entries import Draft
from tidewire.log.judging import HeldKey, Judgement
from tidewire.log.node_log import NodeLog
from tidewire.log.window import Verdict, Window
from tidewire.position import Position
from tidewire.settings import Settings
from tidewire.testing.checker import check
from tidewire.testing.clock import VirtualLoop
from tidewire.testing.recorder import Recorder
from tidewire.testing.wire import RecordingWire
from tidewire.topics import Selector

Found = set[str]

# -- a run that is recorded


class Reader:
    """A subscriber of topic `a` on a node; every step is recorded."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._streams = 0
        self.wire: RecordingWire

    async def connect(self, node: Node, *, room: int | None = None) -> None:
        since = str(self.wire.last_id) if self._streams else None
        self._streams += 1
        self.wire = await listen(node, "a", since=since or NOW, room=room)
        self._recorder.opened(f"s{self._streams}", "reader", ["a"], since)

    def leave(self) -> None:
        """Close the connection and record what came."""
        stream = f"s{self._streams}"
        for event in self.wire.everything:
            id = event.id or ""
            if event.event == "hub.position":
                self._recorder.positioned(stream, id)
            elif event.event == "hub.gap":
                self._recorder.gap(stream, id, event.json())
            else:
                self._recorder.delivered(stream, id, event.topic, event.data)
        self.wire.leave()


async def publish(node: Node, recorder: Recorder, *texts: str, key: str | None = None) -> None:
    for text in texts:
        name = key or text
        recorder.invoked(name, "a", text)
        receipt = (await node.append([Draft("a", text, key=key)]))[0]
        recorder.ok(name, str(receipt.position), receipt.duplicate, node.engine.durability)


async def judge(recorder: Recorder, node: Node, **options: Any) -> Found:
    """Return the names of all counts that should be 0 and are not."""
    page = await node.history(Selector(["a"]), START, 1000)
    history = [(event["id"], event["topic"], event["data"]) for event in page["events"]]
    oldest = int(history[0][0].split(".")[1])
    return set(check(recorder.records, history, trimmed_through=oldest - 1, **options).broken)


# -- scenarios

LINES = ["one\ntwo", "one\r\ntwo\rthree", "page\x0cbreak", "next\x85line", "line\u2028separator", "end\n", ""]


async def resuming(folder: Path) -> Found:
    """A subscriber is away for a while, and reconnects while others publish."""
    recorder = Recorder()
    reader = Reader(recorder)
    async with open_node() as node:
        await reader.connect(node)
        await publish(node, recorder, *LINES)
        await quiet()
        reader.leave()
        await publish(node, recorder, *numbers(1, 20))
        await reader.connect(node)
        for number in range(21, 41):
            await publish(node, recorder, str(number))
            await asyncio.sleep(0)
        await quiet()
        reader.leave()
        return await judge(recorder, node)


async def overtaken(folder: Path) -> Found:
    """A subscriber is away for longer than the log reaches back."""
    recorder = Recorder()
    reader = Reader(recorder)
    async with open_node(retention_entries=10) as node:
        await reader.connect(node)
        await publish(node, recorder, "before")
        await quiet()
        reader.leave()
        await publish(node, recorder, *numbers(1, 30))
        await reader.connect(node)
        await quiet()
        reader.leave()
        return await judge(recorder, node)


async def overtaken_in_the_middle(folder: Path) -> Found:
    """A subscriber reads so slowly that its next entries are trimmed."""
    recorder = Recorder()
    reader = Reader(recorder)
    async with open_node(retention_entries=10, window_entries=5) as node:
        await reader.connect(node, room=1_000)
        for number in range(40):
            await publish(node, recorder, f"{number}" + "x" * 500)
            await quiet()
        reader.wire.take()
        await quiet()
        reader.leave()
        return await judge(recorder, node)


async def another_log(folder: Path) -> Found:
    """A memory hub restarts, and is already further than before when its reader reconnects."""
    recorder = Recorder()
    reader = Reader(recorder)
    async with open_node() as node:
        await reader.connect(node)
        await publish(node, recorder, *numbers(1, 10))
        await quiet()
        reader.leave()
    async with open_node() as node:
        await publish(node, recorder, *numbers(11, 25))
        await reader.connect(node)
        await quiet()
        reader.leave()
        return await judge(recorder, node, retention_or_loss=True)


async def restored(folder: Path) -> Found:
    """An old copy of the log replaces it, and is already further when its reader reconnects."""
    recorder = Recorder()
    reader = Reader(recorder)
    log, copy = folder / "log", folder / "copy"
    log.mkdir()
    async with open_node(SQLiteEngine(f"sqlite:///{log}/log.db", Settings())) as node:
        await reader.connect(node)
        await publish(node, recorder, *numbers(1, 10))
        shutil.copytree(log, copy, ignore=shutil.ignore_patterns("*.nodes"))
        await publish(node, recorder, *numbers(11, 15))
        await until(lambda: reader.wire.data[-1:] == ["15"], 0.01)
        reader.leave()
    recorder.fault("restored from a backup")
    async with open_node(SQLiteEngine(f"sqlite:///{copy}/log.db", Settings())) as node:
        await publish(node, recorder, *numbers(16, 30))
        await reader.connect(node)
        await until(lambda: reader.wire.data[-1:] == ["30"], 0.01)
        reader.leave()
        return await judge(recorder, node, retention_or_loss=True)


async def slow_reader(folder: Path) -> Found:
    """A subscriber stops reading while a megabyte is published, and continues later."""
    recorder = Recorder()
    reader = Reader(recorder)
    async with open_node() as node:
        await reader.connect(node, room=10_000)
        for number in range(100):
            await publish(node, recorder, f"{number}" + "x" * 10_000)
        await quiet()
        held = reader.wire.waiting
        reader.wire.take()
        await quiet()
        reader.leave()
        return await judge(recorder, node) | ({"buffered"} if held > 10_000 + JOIN_BYTES else set())


async def stopping(folder: Path) -> Found:
    """A hub with 200 streams stops; never do too many of them reconnect at once."""
    async with open_node(retry=2, drain=10) as node:
        wires = [await listen(node, "a") for _ in range(200)]
        await node.drain()
        for wire in wires:
            wire.read()
        seconds = Counter(round(wire.decoder.retry or 0) // 1000 for wire in wires)
        return {"herd"} if max(seconds.values()) > 3 * len(wires) / 10 else set()


async def power_cut(folder: Path) -> Found:
    """The disk holds what it held when the last publish was acknowledged."""
    recorder = Recorder()
    first, second = folder / "first", folder / "second"
    first.mkdir()
    async with open_node(SQLiteEngine(f"sqlite:///{first}/log.db", Settings())) as node:
        await publish(node, recorder, *numbers(1, 20))
        shutil.copytree(first, second, ignore=shutil.ignore_patterns("*.nodes"))
    recorder.fault("power cut")
    async with open_node(SQLiteEngine(f"sqlite:///{second}/log.db", Settings())) as node:
        return await judge(recorder, node)


async def retries(folder: Path) -> Found:
    """One publish is sent many times before it is answered."""
    recorder = Recorder()
    async with open_node(SQLiteEngine(f"sqlite:///{folder}/log.db", Settings())) as node:
        await asyncio.gather(*(publish(node, recorder, "paid", key="k") for _ in range(20)))
        return await judge(recorder, node)


async def expiring(folder: Path) -> Found:
    """Tokens end at different times while events are published: no stream outlives its token (G10)."""
    async with open_node() as node:
        seconds = range(1, 30)
        wires = [await listen(node, "a", grant=Grant(until=time.time() + after)) for after in seconds]
        began = asyncio.get_running_loop().time()
        for number in range(60):
            await publish_at(node, began + number / 2, str(number))
        late = (wire.times[-1] - began > after + 1 for wire, after in zip(wires, seconds, strict=True))
        return {"outlived"} if any(late) else set()


async def publish_at(node: Node, at: float, text: str) -> None:
    await asyncio.sleep(at - asyncio.get_running_loop().time())
    await node.append([Draft("a", text)])


# -- mutants

Patch = Callable[[pytest.MonkeyPatch], None]


def ack_before_commit(patch: pytest.MonkeyPatch) -> None:
    """Each transaction is committed when the next one starts; its receipts do not wait for that."""
    real = LogFile.commit

    def commit(self: LogFile, *args: Any) -> Any:
        if self._db.in_transaction:
            self._db.execute("COMMIT")
        self._db.execute("BEGIN IMMEDIATE")
        return real(self, *args)

    patch.setattr(LogFile, "commit", commit)
    patch.setattr(LogFile, "_transaction", lambda self: contextlib.nullcontext())


def key_check_outside_the_transaction(patch: pytest.MonkeyPatch) -> None:
    """Keys are looked up in the log as it was before the transaction."""

    def held(self: Judgement, name: bytes) -> HeldKey | None:
        return self._held_keys.get(name)

    patch.setattr(Judgement, "_held", held)


def join_before_the_read(patch: pytest.MonkeyPatch) -> None:
    """A subscriber that is behind becomes a member at once; what it missed is written once it is read."""
    real = CatchUp.advance

    def advance(self: CatchUp, subscriber: Subscriber) -> None:
        cohort = subscriber.cohort
        if subscriber.live or cohort is None or subscriber.claim or subscriber.offset >= cohort.sent:
            real(self, subscriber)
            return
        missed, _ = self._window.read(subscriber.offset, cohort.sent, cohort.selector, JOIN_BYTES)
        subscriber.offset = cohort.sent
        self._rounds.join(subscriber, cohort)
        self._loop.call_later(0.01, self.write, subscriber, b"".join(entry.frame(False) for entry in missed))

    patch.setattr(CatchUp, "advance", advance)


def at_or_after(patch: pytest.MonkeyPatch) -> None:
    """`>=` for `>`: what follows a position starts with the entry at that position."""
    real = Window.read
    patch.setattr(Window, "read", lambda self, after, *rest: real(self, max(after, self.start) - 1, *rest))


def no_life_check(patch: pytest.MonkeyPatch) -> None:
    """Every position is treated as one of this log, whatever life it names."""
    real = Window.judge

    def judge(self: Window, position: Position | None, selector: Selector, *search: Any) -> Verdict:
        if position is not None:
            position = position._replace(life=self.life_of(position.offset))
        return real(self, position, selector, *search)

    patch.setattr(Window, "judge", judge)


def gap_left_out(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(NodeLog, "gap", lambda self, verdict, claim: b"")


def unbounded_buffer(patch: pytest.MonkeyPatch) -> None:
    """A full socket is written to anyway, and what does not fit waits in memory."""
    patch.setattr(Subscriber, "pause_writing", lambda self: None)


def one_retry_for_all(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(hub_events, "spread_retry", lambda seconds, spread: hub_events.retry(seconds + spread / 2))


def splitlines(patch: pytest.MonkeyPatch) -> None:
    """`str.splitlines` knows eight more line ends than the format, and drops the last."""

    def wrong(event: Event) -> bytes:
        return encode(replace(event, data="\n".join(event.data.splitlines())))

    patch.setattr(entries, "encode", wrong)


def exp_ignored(patch: pytest.MonkeyPatch) -> None:
    """A token is judged when the stream opens, and its end is never looked at again."""
    real = Bearers.bearer

    def bearer(self: Bearers, grant: Grant) -> Bearer:
        return real(self, replace(grant, until=None))

    patch.setattr(Bearers, "bearer", bearer)


Scenario = Callable[[Path], Coroutine[Any, Any, Found]]


class Mutant(NamedTuple):
    patch: Patch
    scenario: Scenario
    found: Found
    """What the scenario finds, at least."""

    def __str__(self) -> str:
        return f"{self.patch.__name__}-{self.scenario.__name__}"


MUTANTS = [
    Mutant(ack_before_commit, power_cut, {"lost_postfix"}),
    Mutant(join_before_the_read, resuming, {"reordered", "unsound_gaps"}),
    Mutant(at_or_after, resuming, {"repeated_wrongly"}),
    Mutant(no_life_check, another_log, {"unsound_gaps"}),
    Mutant(no_life_check, restored, {"unsound_gaps"}),
    Mutant(unbounded_buffer, slow_reader, {"buffered"}),
    Mutant(key_check_outside_the_transaction, retries, {"doubled"}),
    Mutant(gap_left_out, overtaken, {"unsound_gaps"}),
    Mutant(gap_left_out, overtaken_in_the_middle, {"unsound_gaps"}),
    Mutant(one_retry_for_all, stopping, {"herd"}),
    Mutant(exp_ignored, expiring, {"outlived"}),
    Mutant(splitlines, resuming, {"reused_ids"}),
]

# The log file has threads, so time cannot jump.
IN_REAL_TIME = {power_cut, restored, retries}


def run(scenario: Scenario, folder: Path) -> Found:
    factory = None if scenario in IN_REAL_TIME else VirtualLoop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(scenario(folder))


@pytest.mark.parametrize("scenario", dict.fromkeys(m.scenario for m in MUTANTS), ids=lambda s: s.__name__)
def test_the_hub_passes(scenario: Scenario, tmp_path: Path) -> None:
    assert run(scenario, tmp_path) == set()


@pytest.mark.parametrize(
    "mutant", MUTANTS, ids=lambda mutant: f"{mutant.patch.__name__}-{mutant.scenario.__name__}"
)
def test_a_mutant_is_caught(mutant: Mutant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant.patch(monkeypatch)
    assert run(mutant.scenario, tmp_path) >= mutant.found
