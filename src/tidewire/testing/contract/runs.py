"""Runs: one start, one end, items in order and each once, whatever is tried and repeated."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from ... import hub_events
from ...errors import RunConflict, TidewireError, TopicEnded
from ...log.entries import Draft, RunItem, RunStart, RunStop
from ...log.records import RECORDS
from ...log.runs import CANCELLED, DONE, FAILED, LOST, Run
from ...topics import Selector
from .log import Base, OpenLog, engine_test, requires

DAY = 86_400.0
CLOSING = (("message", "bye"), ("run.done", "{}"))


def started(topic: str, key: str, run: str = "r") -> Draft:
    return Draft(topic, record=RunStart(key, run, "node", "dialect"))


def item(topic: str, key: str, number: int, run: str = "r", data: str = "") -> Draft:
    return Draft(topic, data or str(number), record=RunItem(key, run, number))


def stopped(
    topic: str, key: str, run: str = "r", state: str = DONE, closing: tuple[tuple[str, str], ...] = ()
) -> Draft:
    return Draft(topic, record=RunStop(key, run, state, "because", closing))


def seen(log: OpenLog, topic: str) -> list[tuple[str, str]]:
    """Return the events of a topic."""
    return [(entry.event, entry.data) for entry in log.known.values() if entry.topic == topic]


def told(state: str, key: str, run: str = "r") -> tuple[str, str]:
    return hub_events.RUN, hub_events.run_data(run, key, state)


def run_of(log: OpenLog, topic: str, key: str) -> Run:
    run = log.sink.records.run(topic, key)
    assert run is not None
    return run


class RunSteps(Base):
    @engine_test
    async def test_a_run_from_its_start_to_its_end(self) -> None:
        async with self.log() as log:
            assert await log.put(started("a", "k")) == [(2, False)]
            run = run_of(log, "a", "k")
            assert (run.id, run.node, run.dialect, run.first, run.open) == ("r", "node", "dialect", 2, True)
            items = [item("a", "k", number) for number in range(3)]
            assert await log.put(*items) == [(3, False), (4, False), (5, False)]
            assert await log.put(item("a", "k", 3)) == [(6, False)]
            assert await log.put(stopped("a", "k", closing=CLOSING)) == [(10, False)]
            run = run_of(log, "a", "k")
            assert (run.first, run.last, run.state, run.reason) == (2, 10, DONE, "because")
            texts = [("message", str(number)) for number in range(4)]
            assert seen(log, "a") == [told("running", "k"), *texts, *CLOSING, told(DONE, "k")]
            assert await log.offsets(0, 100, Selector(["**"])) == [2, 3, 4, 5, 6, 7, 8, 10]

    @engine_test
    async def test_a_key_starts_one_run(self) -> None:
        async with self.log() as log:
            assert await log.put(started("a", "k")) == [(2, False)]
            assert await log.put(started("a", "k", "other")) == [(2, True)]
            await log.put(stopped("a", "k"))
            assert await log.put(started("a", "k", "other")) == [(4, True)]
            assert run_of(log, "a", "k").id == "r"

    @engine_test
    async def test_one_run_of_a_topic_at_a_time(self) -> None:
        async with self.log() as log:
            await log.put(started("a", "k"))
            members = await log.refused(RunConflict, Draft("b"), started("a", "other"))
            assert members == {"key": "k", "index": 1}
            await log.put(started("b", "other"))
            # Stopping one and starting the next is one step.
            await log.put(stopped("a", "k", state=CANCELLED), started("a", "next", "n"))
            newest = log.sink.records.newest_run("a")
            assert newest is not None
            assert (newest.key, newest.open) == ("next", True)
            await log.refused(RunConflict, started("a", "third"))

    @engine_test
    async def test_a_hundred_starts_at_once(self) -> None:
        async with self.log() as log:
            found = await asyncio.gather(*(log.put(started("a", "k", f"r{n}")) for n in range(100)))
            assert sorted(receipt for (receipt,) in found) == [(2, False)] + [(2, True)] * 99

    @engine_test
    async def test_a_run_has_one_end(self) -> None:
        async with self.log() as log:
            await log.put(started("a", "k"))
            states = (DONE, FAILED, CANCELLED, LOST) * 5
            asked = [log.put(stopped("a", "k", state=state, closing=CLOSING)) for state in states]
            found = [receipt for (receipt,) in await asyncio.gather(*asked)]
            assert sorted(found) == [(6, False)] + [(6, True)] * 19
            assert run_of(log, "a", "k").state == states[found.index((6, False))]

    @engine_test
    async def test_no_item_after_the_end(self) -> None:
        async with self.log() as log:
            await log.refused(RunConflict, item("a", "k", 0))
            await log.refused(RunConflict, stopped("a", "k"))
            await log.put(started("a", "k"), item("a", "k", 0))
            await log.refused(RunConflict, item("a", "k", 0, "another"))
            await log.put(stopped("a", "k"))
            await log.refused(RunConflict, item("a", "k", 0))
            await log.refused(RunConflict, item("a", "k", 1))
            await log.refused(RunConflict, Draft("b"), item("a", "k", 1))

    @engine_test
    async def test_a_repeated_batch_of_items_is_stored_once(self) -> None:
        async with self.log() as log:
            await log.put(started("a", "k"))
            batch = [item("a", "k", number) for number in range(3)]
            found = await asyncio.gather(log.put(*batch), log.put(*batch), log.put(*batch))
            assert sorted(found) == [[(3, False), (4, False), (5, False)]] + [[(5, True)] * 3] * 2
            assert await log.put(*batch[1:], item("a", "k", 3)) == [(5, True), (5, True), (6, False)]
            # What comes after something that is missing is not stored.
            await log.refused(RunConflict, item("a", "k", 5))

    @engine_test
    async def test_a_refused_batch_counts_no_items(self) -> None:
        async with self.log() as log:
            await log.put(started("a", "k"), Draft("b", end=True), item("a", "k", 0))
            await log.refused(TopicEnded, item("a", "k", 1), item("a", "k", 2), Draft("b"))
            await log.refused(TopicEnded, item("a", "k", 1), stopped("a", "k"), Draft("b"))
            assert await log.put(item("a", "k", 1)) == [(5, False)]

    @engine_test
    async def test_a_run_ends_without_events_in_a_topic_that_has_ended(self) -> None:
        async with self.log() as log:
            await log.put(started("a", "k"), item("a", "k", 0))
            await log.put(Draft("a", "over", end=True))
            await log.refused(TopicEnded, item("a", "k", 1))
            await log.put(stopped("a", "k", state=FAILED, closing=CLOSING))
            assert run_of(log, "a", "k").state == FAILED
            assert seen(log, "a") == [told("running", "k"), ("message", "0"), ("message", "over")]
            await log.refused(TopicEnded, started("a", "next"))

    @engine_test
    async def test_topics_and_keys_of_runs_are_never_confused(self) -> None:
        async with self.log() as log:
            pairs = [("a", "b/c"), ("a/b", "c"), ("a/", "bc"), ("ab", "c"), ("A", "bc")]
            await log.put(*(started(topic, key, f"{topic} {key}") for topic, key in pairs))
            for topic, key in pairs:
                assert run_of(log, topic, key).id == f"{topic} {key}"

    @requires(lasting=True)
    @engine_test
    async def test_runs_last(self) -> None:
        async with self.log() as log:
            await log.put(started("a", "k"), item("a", "k", 0))
            await log.put(started("b", "k", "s"), stopped("b", "k", "s"), started("b", "next", "n"))
            for crash in (False, True):
                await log.reopen(crash=crash)
                assert run_of(log, "a", "k").open
                assert {*log.sink.records.open_runs} == {"r", "n"}
                await log.refused(RunConflict, started("a", "other"))
                await log.refused(RunConflict, started("b", "other"))
            await log.put(stopped("a", "k", state=LOST), started("a", "other", "o"))

    @requires(clocked=True)
    @engine_test
    async def test_a_run_is_known_while_it_is_open_and_for_a_day_after(self) -> None:
        async with self.log(retention_entries=1) as log:
            await log.put(started("a", "k"))
            log.clock.now += 30 * DAY
            await log.fill("b")
            assert run_of(log, "a", "k").open
            await log.put(stopped("a", "k"))
            log.clock.now += DAY - 1
            await log.fill("bbb")
            assert await log.put(started("a", "k")) == [(5, True)]
            log.clock.now += 2
            await log.fill("bbb")
            gone = lambda: log.sink.records.run("a", "k") is None  # noqa: E731
            await log.until(gone, "a run is not forgotten")
            assert log.sink.records.newest_run("a") is None
            await log.put(started("a", "k", "again"))
            assert run_of(log, "a", "k").id == "again"

    @requires(clocked=True)
    @engine_test
    async def test_retention_spares_a_run_while_the_log_is_under_twice_its_limits(self) -> None:
        async with self.log(retention_entries=10) as log:
            await log.fill("bb")
            await log.put(started("a", "k"), *(item("a", "k", number) for number in range(8)))
            await log.fill("bbbb")
            # The run's output comes after the entry 4, which tells of its start.
            await log.until_floor(4)
            await log.put(stopped("a", "k"))
            log.clock.now += 599
            await log.fill("b")
            await asyncio.sleep(0.2)
            assert log.sink.floor == 4
            log.clock.now += 2
            await log.fill("b")
            await log.until_floor(11)

    @engine_test
    async def test_retention_passes_a_run_at_twice_the_limits(self) -> None:
        async with self.log(retention_entries=10) as log:
            await log.put(started("a", "k"), item("a", "k", 0))
            await log.fill("b" * 15)
            await log.until_floor(2)
            await log.fill("b" * 6)
            await log.until_floor(5)

    @requires(clocked=True)
    @engine_test
    async def test_retention_by_age_spares_a_run_for_twice_as_long(self) -> None:
        async with self.log(retention_age=60) as log:
            await log.put(Draft("b"), started("a", "k"), item("a", "k", 0))
            log.clock.now += 61
            await log.until_floor(3)
            log.clock.now += 60
            await log.until_floor(5)

    @engine_test
    async def test_any_history_is_that_of_a_simple_model(self) -> None:
        async with self.log() as log:
            for seed in range(8):
                await check_history(log, random.Random(seed), f"{seed}/a", f"{seed}/b")


class Model:
    """Runs as a few dictionaries: by topic and key, the id, the number of items, and the state."""

    def __init__(self) -> None:
        self.runs: dict[tuple[str, str], list[Any]] = {}
        self.events: dict[str, list[tuple[str, str]]] = {}

    def apply(self, draft: Draft) -> bool:
        """Take a step. Return whether it was a duplicate. Raises `RunConflict`."""
        step, events = draft.record, self.events.setdefault(draft.topic, [])
        assert isinstance(step, RunStart | RunItem | RunStop)
        run = self.runs.get((draft.topic, step.key))
        if isinstance(step, RunStart):
            if run is not None:
                return True
            if any(topic == draft.topic and other[2] == "running" for (topic, _), other in self.runs.items()):
                raise RunConflict("another is active")
            self.runs[draft.topic, step.key] = [step.run, 0, "running"]
            events.append(told("running", step.key, step.run))
            return False
        if run is None or run[0] != step.run:
            raise RunConflict("no such run")
        if isinstance(step, RunStop):
            if run[2] != "running":
                return True
            run[2] = step.state
            events += [*step.closing, told(step.state, step.key, step.run)]
            return False
        if run[2] != "running" or step.number > run[1]:
            raise RunConflict("over")
        if step.number < run[1]:
            return True
        run[1] += 1
        events.append((draft.event, draft.data))
        return False


async def check_history(log: OpenLog, dice: random.Random, *topics: str) -> None:
    model = Model()
    names = [(topic, key, f"{topic}{key}{again}") for topic in topics for key in "xy" for again in "12"]
    for _ in range(60):
        if dice.random() < 0.2:
            # The publishes of others are not items.
            await log.put(Draft(dice.choice(topics), "other"))
            newest = [*log.known.values()][-1]
            model.events.setdefault(newest.topic, []).append(("message", "other"))
        topic, key, run = dice.choice(names)
        held = model.runs.get((topic, key))
        run = held[0] if held is not None and dice.random() < 0.8 else run
        number = max((0 if held is None else held[1]) + dice.choice([-1, 0, 0, 0, 1]), 0)
        draft = dice.choice(
            [
                started(topic, key, run),
                item(topic, key, number, run),
                item(topic, key, number, run),
                stopped(topic, key, run, dice.choice([DONE, LOST]), dice.choice([(), CLOSING])),
            ]
        )
        try:
            wanted: bool | type[TidewireError] = model.apply(draft)
        except RunConflict:
            wanted = RunConflict
        if isinstance(wanted, bool):
            assert [duplicate for _, duplicate in await log.put(draft)] == [wanted]
        else:
            await log.refused(wanted, draft)
    for topic in topics:
        assert seen(log, topic) == model.events.get(topic, [])
    states = {(run.topic, run.key): [run.id, run.state] for run in log.sink.records.runs()}
    states = {name: state for name, state in states.items() if name[0] in topics}
    assert states == {name: [run[0], run[2]] for name, run in model.runs.items()}
    assert all(entry.event == "run" for entry in log.known.values() if entry.topic == RECORDS)
