"""The suite can fail: small mutants of what makes and streams runs, each caught by the checker."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import pytest

from support.fakes import START, open_node, quiet
from tidewire import Hub
from tidewire.delivery.node import Node
from tidewire.errors import TidewireError
from tidewire.event_stream import Event
from tidewire.log.entries import Draft, Receipt, RunItem, RunStart, RunStop
from tidewire.log.judging import Judgement
from tidewire.log.runs import CANCELLED, LOST, Run, record_name
from tidewire.runs import attaching
from tidewire.runs.dialects import Events, events
from tidewire.runs.making import Making
from tidewire.testing.checker import check
from tidewire.testing.recorder import Recorder, end_of
from tidewire.testing.wire import RecordingWire
from tidewire.topics import Selector

from .test_mutants import Found, Mutant, run

ITEMS = [f"token {number}" for number in range(10)]


class Viewer:
    """Views the run `r` of topic `a`; every step is recorded."""

    def __init__(self, recorder: Recorder, name: str) -> None:
        self._recorder = recorder
        self._name = name
        self._streams = 0
        self.wire: RecordingWire

    async def connect(self, node: Node, run: Run) -> None:
        brings = self.wire.last_id if self._streams else START
        self._streams += 1
        at = node.window.position(attaching.stream_at(run, brings, node.window))
        name = record_name(run.topic, run.key)
        opening = await node.subscribe(Selector([run.topic]), at, plain=True, run=name)
        assert opening is not None
        subscriber, first = opening
        self.wire = RecordingWire()
        self.wire.subscriber = subscriber
        self.wire.begin(first)
        subscriber.attach(self.wire, "raw")
        position = str(brings) if self._streams > 1 else None
        self._recorder.opened(f"{self._name}-{self._streams}", self._name, ["a"], position, "r")

    def leave(self) -> None:
        """Close the connection and record what came."""
        stream = f"{self._name}-{self._streams}"
        for event in self.wire.everything:
            self._recorder.delivered(
                stream, str(self.wire.last_id if event.id is None else event.id), "a", text(event)
            )
        self._recorder.closed(stream, properly=self.wire.ended and not self.wire.cut_off)
        self.wire.leave()


def text(event: Event) -> str:
    kind, _, state = event.event.partition(".")
    return end_of("r", state) if kind == "run" else event.data


async def judge(recorder: Recorder, node: Node) -> Found:
    page = await node.history(Selector(["a"]), START, 1000)
    history = [
        (event["id"], event["topic"], text(Event(event["data"], event["event"])))
        for event in page["events"]
        if event["event"] != "hub.run"
    ]
    return set(check(recorder.records, history).broken)


# -- scenarios


async def viewed(folder: Path) -> Found:
    """One viewer sees all of a run, and another one is cut off in the middle and comes back."""

    async def tokens() -> AsyncIterator[str]:
        for item in ITEMS:
            yield item
            await asyncio.sleep(1)

    recorder, hub = Recorder(), Hub()
    steady, other = Viewer(recorder, "steady"), Viewer(recorder, "other")
    recorder.planned("r", "a", ITEMS)
    async with hub.lifespan():
        made = await hub.run("a", tokens, key="k")
        for viewer in (steady, other):
            await viewer.connect(hub.node, made)
        await asyncio.sleep(4.5)
        hub.node.finish(other.wire.subscriber, "kicked")
        other.leave()
        await asyncio.sleep(2)
        await other.connect(hub.node, made)
        await asyncio.sleep(10)
        for viewer in (steady, other):
            viewer.leave()
        return await judge(recorder, hub.node)


async def fought_over(folder: Path) -> Found:
    """An answer to a process that makes a run is lost; another one ends the run, and then both go on."""
    recorder = Recorder()
    recorder.planned("r", "a", ITEMS)

    async def append(node: Node, *drafts: Draft) -> None:
        with contextlib.suppress(TidewireError):
            await node.log.append(drafts)

    def item(number: int) -> Draft:
        return Draft("a", ITEMS[number], record=RunItem("k", "id", number))

    async with open_node() as node:
        await append(node, Draft("a", record=RunStart("k", "id", "node", "")))
        made = node.window.records.run("a", "k")
        assert made is not None
        for batch in ([item(0), item(1)], [item(0), item(1)], [item(2)]):
            await append(node, *batch)
        for state in (LOST, CANCELLED):
            closing = tuple(events.closing(made, state, ""))
            await append(node, Draft("a", record=RunStop("k", "id", state, "", closing)))
            await append(node, item(3))
        await quiet()
        return await judge(recorder, node)


# -- mutants


def an_item_is_dropped(patch: pytest.MonkeyPatch) -> None:
    real = Making._put

    def put(self: Making, item: Any) -> Awaitable[None] | None:
        return real(self, item) if item != ITEMS[3] else None

    patch.setattr(Making, "_put", put)


def no_terminal_entry(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Events, "closing", lambda self, run, state, reason: iter(()))


def one_item_too_far(patch: pytest.MonkeyPatch) -> None:
    """A viewer that comes back goes on one entry later."""
    real = attaching.is_inside

    def is_inside(*args: Any) -> int | None:
        found = real(*args)
        return None if found is None else found + 1

    patch.setattr(attaching, "is_inside", is_inside)


def every_end_is_proper(patch: pytest.MonkeyPatch) -> None:
    real = Node.finish
    patch.setattr(
        Node, "finish", lambda self, subscriber, reason, last=b"": real(self, subscriber, "run", last)
    )


def every_stop_is_stored(patch: pytest.MonkeyPatch) -> None:
    def stop(self: Judgement, topic: str, stop: RunStop, index: int, time: float) -> Receipt:
        for event, data in stop.closing:
            receipt = self._append(Draft(topic, data, event), time)
        return receipt

    patch.setattr(Judgement, "_stop_run", stop)


def no_fence(patch: pytest.MonkeyPatch) -> None:
    """An item is stored whatever has become of its run."""
    patch.setattr(Judgement, "_add_item", lambda self, draft, item, index, time: self._append(draft, time))


MUTANTS = [
    Mutant(an_item_is_dropped, viewed, {"broken_runs"}),
    Mutant(no_terminal_entry, viewed, {"unended_runs", "false_ends"}),
    Mutant(one_item_too_far, viewed, {"short_views"}),
    Mutant(every_end_is_proper, viewed, {"false_ends"}),
    Mutant(every_stop_is_stored, fought_over, {"second_ends"}),
    Mutant(no_fence, fought_over, {"items_after_end", "broken_runs", "doubled"}),
]


@pytest.mark.parametrize("scenario", [viewed, fought_over])
def test_the_hub_passes(scenario: Any, tmp_path: Path) -> None:
    assert run(scenario, tmp_path) == set()


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_a_mutant_is_caught(mutant: Mutant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant.patch(monkeypatch)
    assert run(mutant.scenario, tmp_path) >= mutant.found
