"""The end of a topic, as its streams see it."""

from __future__ import annotations

from support.fakes import (
    INVALID,
    NOW,
    START,
    ask,
    drift,
    end,
    listen,
    numbers,
    open_node,
    publish,
    quiet,
    sample,
    until,
    virtual,
)
from tidewire.delivery.rounds import BATCH
from tidewire.log.entries import Draft


@virtual
async def test_the_end_is_sent_and_the_stream_closed() -> None:
    async with open_node() as node:
        plain, two = await listen(node, "a"), await listen(node, "a", "b")
        pattern = await listen(node, "a", "x/*")
        await publish(node, "a", "1")
        receipt = await end(node, "a", "sold out")
        await quiet()
        (sent,) = plain.of_type("hub.end")
        assert (sent.id, sent.json()) == (str(receipt.position), {"topic": "a", "reason": "sold out"})
        assert plain.ended
        assert plain.everything[-1] == sent
        assert not two.ended
        await end(node, "b")
        await quiet()
        assert two.ended
        assert [event.json()["topic"] for event in two.of_type("hub.end")] == ["a", "b"]
        assert len(pattern.of_type("hub.end")) == 1
        assert not pattern.ended
        assert sample(node, "ended_streams_total", reason="topic") == 2


@virtual
async def test_a_client_that_has_everything_of_an_ended_topic_gets_204() -> None:
    async with open_node() as node:
        made = await publish(node, "a", "1", "2")
        receipt = await end(node, "a")
        await publish(node, "b", "3")
        for since in (NOW, receipt.position, node.window.position(4)):
            assert await ask(node, "a", since=since) is None
        for wire in [await listen(node, "a", since=since) for since in (START, *made)]:
            await quiet()
            assert [event.event for event in wire.everything if event.event != "hub.position"][
                -1
            ] == "hub.end"
            assert len(wire.of_type("hub.end")) == 1
            assert wire.ended
        # A gap is owed, or something may come.
        for terms, since in [(("a",), INVALID), (("a", "b"), NOW), (("a", "a/*"), NOW)]:
            assert await ask(node, *terms, since=since) is not None


@virtual
async def test_a_gap_at_an_ended_topic_comes_before_its_end() -> None:
    async with open_node() as node:
        await publish(node, "a", "1")
        await end(node, "a")
        await publish(node, "b", "1")
        wire = await listen(node, "a", since=INVALID)
        await quiet()
        assert [event.event for event in wire.everything] == ["hub.gap", "hub.end"]
        assert wire.everything[1].id == str(node.window.position(3)), "its own position"
        assert wire.ended


@virtual
async def test_an_ended_topic_stays_ended_beyond_retention() -> None:
    async with open_node(retention_entries=3) as node:
        made = await publish(node, "a", "1")
        await end(node, "a", "sold")
        await publish(node, "b", *numbers(1, 10))
        assert await ask(node, "a") is None
        wire = await listen(node, "a", since=made[0])
        await quiet()
        assert [event.event for event in wire.everything] == ["hub.gap", "hub.end"]
        assert wire.ended


@virtual
async def test_an_end_that_is_pending_is_not_sent_early() -> None:
    async with open_node() as node:
        await listen(node, "a")
        await node.append([Draft("a", "1"), Draft("a", "2"), Draft("a", "sold", end=True)])
        # Before the round: this stream has what the cohort has sent, and the topic has ended.
        wire = await listen(node, "a", since=node.window.position(0))
        await quiet()
        assert wire.data == ["1", "2"]
        assert [event.json()["reason"] for event in wire.of_type("hub.end")] == ["sold"]
        assert wire.ended


@virtual
async def test_an_end_while_a_reader_is_slow() -> None:
    async with open_node() as node:
        wire = await listen(node, "a", room=0)
        await publish(node, "a", "1", "2")
        await quiet()
        await end(node, "a")
        await quiet()
        assert not wire.ended
        wire.take()
        await quiet()
        assert wire.ended
        assert [event.event for event in wire.everything][-3:] == ["message", "message", "hub.end"]
        assert len(wire.of_type("hub.end")) == 1


@virtual
async def test_streams_end_although_an_entry_of_another_topic_came_during_the_round() -> None:
    """Nothing else will come for them: they must not wait for the newest entry of the log."""
    async with open_node() as node:
        wires = [await listen(node, "a") for _ in range(10 * BATCH)]
        await quiet()
        drift(0.003)  # a step lasts for two readings of the clock
        await end(node, "a")
        await until(lambda: any(wire.of_type("hub.end") for wire in wires))
        assert not all(wire.of_type("hub.end") for wire in wires)
        await publish(node, "b", "1")
        drift(0)
        await quiet()
        assert all(wire.ended for wire in wires)
