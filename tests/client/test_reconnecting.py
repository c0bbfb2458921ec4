"""When the clients reconnect and when they stop: lines D of docs/reference/client-behaviour.md."""

from __future__ import annotations

import threading
import time

import pytest

from support.clients import QUICK, Client, data, follow, in_thread
from support.scripted import HOLD, RESET, Scripted, answer, chunked, stream
from support.waiting import wait_until
from tidewire.client.core.reconnect import Change
from tidewire.client.sync import Opened, Policy, Stop, Timeouts, Wait
from tidewire.errors import Unavailable

# -- end and reconnection


def test_D1_D2_D10_after_the_end_of_a_stream_it_reconnects(client: Client) -> None:
    changes: list[Change] = []
    scripts = [stream(b"id: 1\ndata: a\n\n"), chunked(b"id: 2\ndata: b\n\n"), stream(b"data: c\n\n")]
    with Scripted(*scripts) as server, follow(client, server, on_change=changes.append) as events:
        assert data(events) == ["a", "b", "c"]
    assert [type(change) for change in changes] == [Opened, Wait] * 3 + [Stop]
    reasons = {change.reason for change in changes if isinstance(change, Wait)}
    assert reasons == {"the server ended the stream"}


def test_a_body_that_is_cut_off_is_a_failure(client: Client) -> None:
    changes: list[Change] = []
    cut = chunked(b"id: 1\ndata: a\n\n", end=False)
    with Scripted(cut, [*stream(b"data: b\n\n"), RESET]) as server:
        with follow(client, server, on_change=changes.append) as events:
            assert data(events)[:1] == ["a"]
    waits = [change for change in changes if isinstance(change, Wait)]
    assert [wait.failures for wait in waits] == [1, 2]
    assert "the connection broke" in waits[0].reason


def test_D4_D6_it_waits_the_servers_retry(client: Client) -> None:
    changes: list[Change] = []
    with (
        Scripted(stream(b"retry: 200\ndata: a\n\n")) as server,
        follow(client, server, on_change=changes.append) as events,
    ):
        began = time.monotonic()
        assert data(events) == ["a"]
    assert time.monotonic() - began >= 0.2
    assert isinstance(changes[1], Wait)
    assert 0.2 <= changes[1].seconds <= 0.22


def test_with_reconnect_false_the_iterator_ends_with_the_stream(client: Client) -> None:
    with Scripted(stream(b"data: a\n\n")) as server, follow(client, server, reconnect=False) as events:
        assert data(events) == ["a"]
    assert len(server.requests) == 1
    with (
        Scripted(chunked(b"data: a\n\n", end=False)) as server,
        follow(client, server, reconnect=False) as events,
    ):
        assert next(events).data == "a"
        with pytest.raises(Unavailable, match="the connection broke"):
            next(events)


def test_D13_h08_silence_of_two_and_a_half_heartbeats_is_a_failure(client: Client) -> None:
    changes: list[Change] = []
    silent = stream(b"data: a\n\n", HOLD, headers=["Tidewire-Heartbeat: 0.4"])
    with (
        Scripted(silent, stream(b"data: b\n\n")) as server,
        follow(client, server, on_change=changes.append) as events,
    ):
        assert data(events) == ["a", "b"]
    assert changes[0] == Opened(server.url + "/", 1.0)
    assert isinstance(changes[1], Wait)
    assert changes[1].reason == "nothing was received for 1 s"


def test_D13_any_byte_is_a_sign_of_life(client: Client) -> None:
    """Half a line is enough."""
    ticks = [threading.Event() for _ in range(10)]

    def tick() -> None:
        for each in ticks:
            time.sleep(0.2)
            each.set()

    script = [part for each in ticks for part in (b":", each)]
    with (
        Scripted(stream(*script, b"\ndata: a\n\n")) as server,
        follow(client, server, timeouts=Timeouts(silence=1.5)) as events,
    ):
        in_thread(tick)
        assert next(events).data == "a"
    assert len(server.requests) == 1


def test_a_server_without_heartbeat_may_be_silent(client: Client) -> None:
    changes: list[Change] = []
    with Scripted(stream(HOLD)) as server, follow(client, server, on_change=changes.append):
        assert changes == [Opened(server.url + "/", None)]


def test_D7_the_caller_controls_the_backoff(client: Client) -> None:
    """The other tests of backoff need no network: tests/client/core/test_reconnect.py."""
    policy = Policy(retry=0.02, shortest=0.01, cap=0.0, stable=0.0)
    changes: list[Change] = []
    with Scripted(*[answer("503 Full")] * 4, stream(b"data: a\n\n", HOLD)) as server:
        with follow(client, server, reconnect=policy, on_change=changes.append) as events:
            assert next(events).data == "a"
    waits = [(change.seconds, change.failures) for change in changes if isinstance(change, Wait)]
    assert waits == [(0.02, 1), (0.02, 2), (0.02, 3), (0.02, 4)]


def test_D3_the_first_reconnection_comes_after_a_few_seconds() -> None:
    assert Policy().retry == 3.0


def test_D4_retry_may_have_leading_zeros_and_invalid_ones_are_ignored(client: Client) -> None:
    waits = waits_of(client, [b"retry:0100\n\n", b"retry:-5\n\nretry:9x\n\n", b"retry:200\n\n"])
    assert [round(wait.seconds, 1) for wait in waits] == [0.1, 0.1, 0.2]


def test_D5_retry_zero_is_bounded_by_the_policy(client: Client) -> None:
    """`shortest` may be 0."""
    assert waits_of(client, [b"retry: 0\n\n"], Policy(shortest=0.3))[0].seconds >= 0.3
    assert waits_of(client, [b"retry: 0\n\n"], Policy(shortest=0))[0].seconds == 0


def waits_of(client: Client, bodies: list[bytes], policy: Policy = QUICK) -> list[Wait]:
    """Return the waits after streams with these bodies. Each stream has one event."""
    changes: list[Change] = []
    scripts = [stream(body + b"data: x\n\n") for body in bodies]
    with Scripted(*scripts) as server:
        events = follow(client, server, reconnect=policy, on_change=changes.append)
        assert data(events) == ["x"] * len(bodies)
    return [change for change in changes if isinstance(change, Wait)]


def test_D12_restart_reconnects_at_once_without_an_error(client: Client) -> None:
    changes: list[Change] = []
    scripts = [stream(b"id: 1\ndata: a\n\ndata: half", HOLD), stream(b"data: b\n\n", HOLD)]
    with Scripted(*scripts) as server, follow(client, server, on_change=changes.append) as events:
        assert next(events).data == "a"
        events.restart()
        assert next(events).data == "b"
    assert server.requests[1].get("Last-Event-ID") == b"1"
    assert [type(change) for change in changes] == [Opened, Opened]


def test_D12_restart_wakes_a_reader(client: Client) -> None:
    changes: list[Change] = []
    with Scripted(stream(HOLD), stream(b"data: a\n\n", HOLD)) as server:
        with follow(client, server, on_change=changes.append) as events:
            result = in_thread(lambda: next(events).data)
            events.restart()
            assert result() == "a"
    assert [type(change) for change in changes] == [Opened, Opened]


def test_D12_restart_ends_a_wait(client: Client) -> None:
    changes: list[Change] = []
    full = answer("503 Full", "Retry-After: 60")
    with Scripted(full, stream(b"data: a\n\n", HOLD)) as server:
        events = follow(client, server, on_change=changes.append)
        result = in_thread(lambda: next(events).data)
        wait_until(lambda: changes)
        events.restart()
        assert result() == "a"
        events.close()


def test_D12_restart_of_a_request_without_an_answer(client: Client) -> None:
    with Scripted([HOLD], stream(b"data: a\n\n", HOLD)) as server:
        events = follow(client, server)
        result = in_thread(lambda: next(events).data)
        wait_until(lambda: server.requests)
        events.restart()
        assert result() == "a"
        events.close()
        events.restart()
        assert data(events) == []


def test_D16_a_slow_reader_loses_nothing(client: Client) -> None:
    """Ten events over four connections, and twice as many in one chunk."""
    bodies = [b"id: 1\ndata: 1\n\n", events_of(2, 5), events_of(5, 8), events_of(8, 31)]
    with Scripted(*map(stream, bodies)) as server, follow(client, server) as events:
        seen = []
        for event in events:
            seen.append(event.data)
            time.sleep(0.005)
    assert seen == [str(n) for n in range(1, 31)]
    assert len(server.requests) == 5


def events_of(first: int, last: int) -> bytes:
    return b"".join(b"id: %d\ndata: %d\n\n" % (n, n) for n in range(first, last))
