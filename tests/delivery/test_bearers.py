"""Streams with a grant: they end with it, by a kick, or by a revocation, and no other stream does."""

from __future__ import annotations

import asyncio
import gc
import time
from itertools import pairwise
from typing import Any

import pytest

from support.fakes import drift, open_node, publish, quiet, sample, virtual
from tidewire.auth.grants import Grant
from tidewire.auth.revocations import kick_draft, subject_draft, token_draft
from tidewire.delivery.bearers import CHECK_EVERY
from tidewire.delivery.deadlines import STEP
from tidewire.delivery.node import Node
from tidewire.errors import Unauthorized
from tidewire.log.entries import Head
from tidewire.testing.wire import RecordingWire, ask, listen

DAY = 86_400.0


def soon(seconds: float, **whose: Any) -> Grant:
    """Return a grant that ends in `seconds`."""
    return Grant(until=time.time() + seconds, **whose)


def auths(wire: RecordingWire) -> list[str]:
    """Return the reasons of the `hub.auth` events of a stream."""
    return [event.json()["reason"] for event in wire.of_type("hub.auth")]


async def kick(node: Node, sub: str, reason: str = "kicked") -> None:
    await node.append([kick_draft(sub, None, reason)])
    await quiet()


async def revoke(node: Node, sub: str = "", *, jti: str = "") -> None:
    draft = token_draft(jti, DAY) if jti else subject_draft(sub, None, time.time(), DAY)
    await node.append([draft])
    await quiet()


# -- expiry


@virtual
async def test_a_stream_ends_within_half_a_second_of_its_grant_and_not_before() -> None:
    async with open_node() as node:
        wire, other = await listen(node, "a", grant=soon(30)), await listen(node, "a")
        await asyncio.sleep(29.9)
        assert not wire.ended
        await publish(node, "a", "1")
        await asyncio.sleep(0.65)
        assert (wire.data, auths(wire), wire.ended, wire.cut_off) == (["1"], ["expired"], True, False)
        assert wire.everything[-1].event == "hub.auth"
        assert not other.ended
        assert sample(node, "ended_streams_total", reason="expired") == 1


@virtual
async def test_the_wall_clock_changes_nothing_in_mid_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_node() as node:
        wire = await listen(node, "a", grant=soon(30))
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + DAY)
        await asyncio.sleep(29)
        assert not wire.ended
        monkeypatch.setattr(time, "time", lambda: now - DAY)
        await asyncio.sleep(2)
        assert wire.ended


@virtual
@pytest.mark.parametrize("plain", [False, True])
async def test_streams_in_every_state_end_with_their_grant(plain: bool) -> None:
    async with open_node() as node:
        grant = soon(30)
        live = await listen(node, "a", plain=plain, grant=grant)
        stuck = await listen(node, "a", plain=plain, room=0, grant=grant)
        late = await ask(node, "a", plain=plain, attach=False, grant=grant)
        assert late is not None
        assert late.subscriber is not None
        await publish(node, "a", "1")
        await asyncio.sleep(31)
        late.subscriber.attach(late, "raw")
        await asyncio.sleep(1)
        for wire in (live, stuck, late):
            assert (wire.ended, wire.cut_off) == (True, plain)
        assert auths(live) == auths(late) == ([] if plain else ["expired"])


@virtual
async def test_a_grant_that_is_over_opens_no_stream() -> None:
    async with open_node() as node:
        with pytest.raises(Unauthorized, match="expired"):
            await listen(node, "a", grant=soon(0))
        assert node.streams_open == 0


@virtual
async def test_the_age_of_a_stream_is_not_the_end_of_its_grant() -> None:
    async with open_node(max_age=10) as node:
        wire = await listen(node, "a", grant=soon(60))
        await asyncio.sleep(12)
        assert (wire.ended, auths(wire)) == (True, [])


# -- kicks


@virtual
async def test_a_kick_ends_the_streams_of_a_subject_and_forbids_nothing() -> None:
    async with open_node() as node:
        ann = [await listen(node, topic, grant=Grant(sub="ann", jti=topic)) for topic in "abc"]
        bob = await listen(node, "a", grant=Grant(sub="bob"))
        nobody = await listen(node, "a")
        await kick(node, "ann", "logged out")
        for wire in ann:
            assert (auths(wire), wire.ended, wire.cut_off) == (["logged out"], True, False)
        assert (bob.ended, nobody.ended) == (False, False)
        assert sample(node, "ended_streams_total", reason="kicked") == 3
        again = await listen(node, "a", grant=Grant(sub="ann"))
        await publish(node, "a", "1")
        await quiet()
        assert (again.data, again.ended) == (["1"], False)
        await kick(node, "nobody")
        assert not again.ended


@virtual
async def test_streams_end_for_what_came_first() -> None:
    """As when a session ends on a busy machine: its token is revoked, and its subject kicked right after."""
    async with open_node() as node:
        wires = [await listen(node, "a", grant=Grant(sub="ann", jti="one")) for _ in range(20)]
        drift(0.002)  # so that a few streams end in each step
        await node.append([token_draft("one", DAY), kick_draft("ann", None, "logged out")])
        for _ in range(100):
            await asyncio.sleep(0)
        drift(0)
        assert [auths(wire) for wire in wires] == [["revoked"]] * 20


@virtual
async def test_a_plain_stream_is_cut_off_by_a_kick() -> None:
    async with open_node() as node:
        wire = await listen(node, "a", plain=True, grant=Grant(sub="ann"))
        await kick(node, "ann")
        assert (wire.everything, wire.cut_off) == ([], True)


@virtual
async def test_a_kick_counts_for_streams_that_were_about_to_begin() -> None:
    async with open_node() as node:
        wire = await ask(node, "a", attach=False, grant=Grant(sub="ann"))
        await kick(node, "ann")
        after = await ask(node, "a", attach=False, grant=Grant(sub="ann"))
        for one in (wire, after):
            assert one is not None
            assert one.subscriber is not None
            one.subscriber.attach(one, "raw")
        assert wire is not None
        assert after is not None
        assert (auths(wire), wire.ended, after.ended) == (["kicked"], True, False)


# -- revocations


@virtual
async def test_a_revoked_token_ends_and_is_refused() -> None:
    async with open_node() as node:
        first, second = Grant(sub="ann", jti="t1"), Grant(sub="ann", jti="t2")
        wire, other = await listen(node, "a", grant=first), await listen(node, "a", grant=second)
        await revoke(node, jti="t1")
        assert (auths(wire), wire.ended, other.ended) == (["revoked"], True, False)
        with pytest.raises(Unauthorized, match="revoked"):
            await listen(node, "a", grant=first)
        await listen(node, "a", grant=second)
        assert sample(node, "ended_streams_total", reason="revoked") == 1


@virtual
async def test_a_revoked_subject_may_log_in_again() -> None:
    async with open_node() as node:
        before = Grant(sub="ann", iat=time.time() - 60)
        wire, plain = await listen(node, "a", grant=before), await listen(node, "a", plain=True, grant=before)
        newer = await listen(node, "a", grant=Grant(sub="ann", iat=time.time() + 60))
        await revoke(node, "ann")
        assert (auths(wire), wire.ended, plain.cut_off, newer.ended) == (["revoked"], True, True, False)
        with pytest.raises(Unauthorized):
            await listen(node, "a", grant=before)


@virtual
async def test_a_revocation_counts_for_streams_that_were_about_to_begin() -> None:
    async with open_node() as node:
        wire = await ask(node, "a", attach=False, grant=Grant(jti="t1"))
        await revoke(node, jti="t1")
        assert wire is not None
        assert wire.subscriber is not None
        wire.subscriber.attach(wire, "raw")
        assert (auths(wire), wire.ended) == (["revoked"], True)


@virtual
async def test_a_log_that_is_replaced_brings_its_revocations() -> None:
    async with open_node() as node, open_node() as other:
        await revoke(other, jti="t1")
        await kick(other, "bob")
        ann = await listen(node, "a", grant=Grant(sub="ann", jti="t1"))
        bob = await listen(node, "a", grant=Grant(sub="bob"))
        cid = await listen(node, "a", grant=Grant(sub="cid", jti="t3"))
        window = node.window
        at, records = window.position(window.head), list(other.window.records)
        node.log.reset(Head(at, window.floor, tuple(window.lives), window.marks, records))
        await quiet()
        assert (auths(ann), auths(bob), cid.ended) == (["revoked"], ["kicked"], False)


# -- many


@virtual
async def test_a_stream_that_cannot_be_ended_keeps_no_other_one_open(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise OSError("no such socket")

    async with open_node() as node:
        wires = [await listen(node, "a", grant=Grant(sub="ann")) for _ in range(5)]
        monkeypatch.setattr(wires[2], "end", fail)
        await kick(node, "ann")
        assert [wire.ended for wire in wires] == [True, True, False, True, True]
        assert node.streams_open == 0
    assert caplog.text.count("cannot end a stream") == 1


@virtual
async def test_many_streams_of_a_subject_end_in_short_steps() -> None:
    async with open_node() as node:
        wires = [await listen(node, "a", grant=Grant(sub="ann", jti=str(n))) for n in range(500)]
        other = await listen(node, "a", grant=Grant(sub="bob"))
        await publish(node, "a", "1")
        await quiet()
        drift(0.0005)
        await node.append([kick_draft("ann", None, "kicked")])
        steps = [0]
        while not all(wire.ended for wire in wires):
            await asyncio.sleep(0)
            steps.append(sum(wire.ended for wire in wires))
        drift(0)
        assert max(after - before for before, after in pairwise(steps)) <= STEP / 0.0005 + 1
        assert not other.ended


@pytest.mark.parametrize("kind", ["kick", "revoke"])
async def test_ten_thousand_streams_hold_up_nobody(kind: str) -> None:
    """No step of the event loop that ends them is long; the machine itself may be late now and then."""
    async with open_node() as node:
        for number in range(10_000):
            await listen(node, "a", grant=Grant(sub="ann", jti=str(number)))
        kicked, revoked = kick_draft("ann", None, "x"), subject_draft("ann", None, time.time(), DAY)
        # A collection looks at all that the tests before have left: half a second.
        gc.freeze()
        try:
            cpu = time.thread_time()
            longest = 0.0
            await node.append([kicked if kind == "kick" else revoked])
            while node.streams_open:
                await asyncio.sleep(0)
                longest, cpu = max(longest, time.thread_time() - cpu), time.thread_time()
        finally:
            gc.unfreeze()
        assert longest < 0.02


@virtual
async def test_nothing_is_left_of_streams_that_are_gone() -> None:
    async with open_node() as node:
        for number in range(10):
            wire = await listen(node, "a", grant=Grant(sub=f"user{number}", jti=str(number)))
            wire.leave()
        assert not node.bearers
        await kick(node, "user1")


# -- checks


@virtual
async def test_streams_end_when_the_check_of_their_grant_says_so() -> None:
    good = {"k1", "k2"}
    one, two = (lambda key=key: key in good for key in ("k1", "k2"))
    async with open_node() as node:
        ended = [await listen(node, "a", grant=Grant(sub=sub, check=one)) for sub in ("ann", "bob")]
        other = await listen(node, "a", grant=Grant(sub="ann", check=two))
        await asyncio.sleep(60)
        assert node.streams_open == 3
        good.remove("k1")
        await asyncio.sleep(CHECK_EVERY + 1)
        assert [(auths(wire), wire.ended) for wire in ended] == [(["revoked"], True)] * 2
        assert not other.ended
        other.leave()
        assert not node.bearers


@virtual
async def test_a_check_that_fails_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def check() -> bool:
        raise OSError("no database")

    async with open_node() as node:
        wire = await listen(node, "a", grant=Grant(check=check))
        await asyncio.sleep(CHECK_EVERY + 1)
        assert not wire.ended
        assert "cannot check a grant" in caplog.text


# -- what is open


@virtual
async def test_the_open_streams() -> None:
    async with open_node() as node:
        await publish(node, "a", "1", "2")
        await listen(node, "a", "b/*", grant=Grant(sub="ann", iss="idp"))
        await asyncio.sleep(60)
        await listen(node, "a")
        found = sorted(node.streams())
        assert [(one.sub, one.iss, one.topics) for one in found] == [
            ("", "", ("a",)),
            ("ann", "idp", ("a", "b/*")),
        ]
        assert {one.position for one in found} == {node.window.position(2)}
        assert {one.address for one in found} == {None}
        assert round((found[0].since - found[1].since).total_seconds()) == 60
        assert abs(found[0].since.timestamp() - time.time()) < 10
