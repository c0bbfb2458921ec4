"""A page of history: the log as the JSON page shows it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from support.fakes import (
    NOW,
    START,
    FakeEngine,
    FakeLog,
    end,
    numbers,
    open_node,
    publish,
    virtual,
)
from tidewire.delivery.node import Node
from tidewire.errors import Unavailable
from tidewire.log.entries import Since
from tidewire.position import Position, parse_position
from tidewire.topics import Selector


async def history(
    node: Node, *terms: str, since: Since | Position = START, limit: int = 1000
) -> dict[str, Any]:
    page = await node.history(Selector(terms), since, limit)
    json.dumps(page)
    return page


@virtual
async def test_retention_that_overtakes_a_page_of_history() -> None:
    """Entries trimmed between the engine's pages of one answer are reported, never left out silently."""
    log = FakeLog(checks=False)
    engine = FakeEngine(log)
    async with open_node(engine) as node:
        for number in range(1, 41):
            log.write("b" if number % 2 else "a", str(number))
        engine.page_entries = 10

        def trim_after(first: int, count: int) -> None:
            engine.before_read = lambda after: log.trim(count) if after == first else None

        trim_after(10, 20)
        page = await history(node, "a", since=START)
        assert [event["data"] for event in page["events"]] == ["2", "4", "6", "8", "10"]
        assert (page["more"], page["gap"]) == (True, None)
        page = await history(node, "a", since=parse_position(page["next"]))
        assert page["gap"]["reason"] == "trimmed"
        assert page["events"][0]["data"] == "22"
        # Overtaken at its first page: judged again.
        trim_after(22, 5)
        page = await history(node, "a", since=log.everything[21].position)
        assert page["gap"]["reason"] == "trimmed"
        assert page["events"][0]["data"] == "26"
        # Trimmed events of other topics are not a gap.
        page = await history(node, "nobody", since=log.everything[2].position)
        assert (page["gap"], page["events"]) == (None, [])


@virtual
async def test_a_page_of_history() -> None:
    async with open_node(window_entries=3) as node:
        made = [p for n in range(10) for p in await publish(node, "ab"[n % 2], str(n))]
        page = await history(node, "a", limit=3)
        assert page["events"] == [
            {"id": str(made[n]), "topic": "a", "event": "message", "data": str(n)} for n in (0, 2, 4)
        ]
        assert (page["head"], page["more"], page["ended"], page["gap"]) == (str(made[9]), True, False, None)
        seen = page["events"]
        while page["more"]:
            page = await history(node, "a", since=parse_position(page["next"]), limit=3)
            seen = seen + page["events"]
        assert [event["data"] for event in seen] == list("02468")
        assert page["next"] == page["head"]
        assert (await history(node, "a", since=NOW))["events"] == []
        assert [e["data"] for e in (await history(node, "b", since=Since("last", 2)))["events"]] == ["7", "9"]


@virtual
async def test_a_page_that_found_nothing_still_advances() -> None:
    engine = FakeEngine(shared=False)
    async with open_node(engine, engine_timeout=4) as node:
        await publish(node, "b", *numbers(1, 30))
        await publish(node, "a", "found")
        read = engine.read

        async def short(after: int, limit: int, selector: Selector | None) -> Any:
            await asyncio.sleep(0.1)
            page = await read(after, limit, selector)
            through = min(after + 1, page.through)
            return page._replace(entries=[e for e in page.entries if e.offset <= through], through=through)

        engine.read = short  # type: ignore[method-assign]
        page = await history(node, "a")
        assert (page["events"], page["more"]) == ([], True), "answered after half the engine's timeout"
        assert parse_position(page["next"]).offset == 19
        page = await history(node, "a", since=parse_position(page["next"]))
        assert [event["data"] for event in page["events"]] == ["found"]


@virtual
async def test_a_page_reports_a_gap_and_an_end() -> None:
    async with open_node(retention_entries=3) as node:
        made = await publish(node, "a", *numbers(1, 5))
        receipt = await end(node, "a", "over")
        page = await history(node, "a", since=made[0])
        assert page["gap"]["reason"] == "trimmed"
        assert page["ended"]
        assert page["events"][-1] == {
            "id": str(receipt.position),
            "topic": "a",
            "event": "hub.end",
            "data": '{"topic":"a","reason":"over"}',
        }
        assert (await history(node, "a", since=receipt.position))["ended"]


@virtual
async def test_a_page_while_the_engine_is_slow_or_down() -> None:
    engine = FakeEngine()
    async with open_node(engine, engine_timeout=4) as node:
        engine.slow()
        with pytest.raises(Unavailable) as refused:
            await history(node, "a")
        engine.down()
        with pytest.raises(Unavailable) as refused:
            await history(node, "a")
        assert refused.value.code == "engine_unavailable"
