"""Opening, closing, releasing: lines F of docs/reference/client-behaviour.md."""

from __future__ import annotations

import gc
import inspect
import os
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
import trustme

import tidewire.client
from support.clients import Client, Stream, data, follow, in_thread
from support.ports import free_port
from support.scripted import HOLD, Action, Request, Scripted, answer, stream
from support.waiting import wait_until
from tidewire.client import aio, sync
from tidewire.client.core.reconnect import Change
from tidewire.client.sync import Opened, Wait
from tidewire.errors import StreamRefused, Unavailable

# -- lifecycle


def test_the_stream_is_open_when_the_block_starts(client: Client) -> None:
    changes: list[Change] = []
    with Scripted(stream(HOLD)) as server, follow(client, server, on_change=changes.append):
        assert isinstance(changes[0], Opened)


def test_F2_closing_twice_is_not_an_error(client: Client) -> None:
    changes: list[Change] = []
    with Scripted(stream(b"data: a\n\n", HOLD)) as server:
        events = follow(client, server, on_change=changes.append)
        assert next(events).data == "a"
        events.close()
        events.close()
        assert data(events) == []
    assert [type(change) for change in changes] == [Opened]


def test_F5_open_and_error_are_ordinary_event_types(client: Client) -> None:
    script = stream(b"event: open\ndata: 1\n\nevent: error\ndata: 2\n\n")
    with Scripted(script) as server, follow(client, server) as events:
        assert [(event.event, event.data) for event in events] == [("open", "1"), ("error", "2")]


def test_no_connection_is_made_before_it_is_needed(client: Client) -> None:
    with Scripted() as server:
        follow(client, server)
    assert server.requests == []


def test_the_last_event_id_is_that_of_the_newest_event_taken(client: Client) -> None:
    with Scripted(stream(b"id: 1\ndata: a\n\nid: 2\ndata: b\n\nid: 3\n\n", HOLD)) as server:
        with follow(client, server, last_event_id="0") as events:
            ids = [events.last_event_id]
            for _ in range(2):
                next(events)
                ids.append(events.last_event_id)
    assert ids == ["0", "1", "2"]


def test_raw_bytes(client: Client) -> None:
    scripts = [stream(b": hi\n\nid: 7\ndata: a\n\nda"), stream(b"data: b\n\n")]
    with Scripted(*scripts) as server, follow(client, server) as events:
        assert b"".join(events.raw()) == b": hi\n\nid: 7\ndata: a\n\ndadata: b\n\n"
        assert events.last_event_id == "7"
    assert server.requests[1].get("Last-Event-ID") == b"7"


def opened_then(changes: list[Change]) -> Callable[[], bool]:
    return lambda: any(isinstance(change, Opened) for change in changes)


@pytest.mark.parametrize("read", [list, lambda events: list(events.raw())], ids=["events", "raw"])
def test_F6_F2_D14_close_from_another_thread_wakes_the_reader(
    client: Client, read: Callable[[Stream], list[Any]]
) -> None:
    changes: list[Change] = []
    with Scripted(stream(HOLD)) as server:
        events = follow(client, server, on_change=changes.append)
        result = in_thread(lambda: read(events))
        wait_until(opened_then(changes))
        events.close()
        events.close()
        assert result() == []
        assert data(events) == []
    assert len(server.requests) == 1
    assert [type(change) for change in changes] == [Opened]


def test_close_wakes_a_reader_that_waits_to_reconnect(client: Client) -> None:
    changes: list[Change] = []
    with Scripted(answer("503 Full", "Retry-After: 60")) as server:
        events = follow(client, server, on_change=changes.append)
        result = in_thread(lambda: data(events))
        wait_until(lambda: changes)
        events.close()
        assert result() == []
    assert len(server.requests) == 1


def test_close_wakes_a_reader_that_waits_for_the_head(client: Client) -> None:
    with Scripted([HOLD]) as server:
        events = follow(client, server)
        result = in_thread(lambda: data(events))
        wait_until(lambda: server.requests)
        events.close()
        assert result() == []


@pytest.mark.parametrize("kind", [Opened, Wait])
def test_D14_close_within_the_callback(client: Client, kind: type[Change]) -> None:
    def react(change: Change) -> Any:
        return close() if isinstance(change, kind) else None

    with Scripted(stream(b"data: a\n\n")) as server:
        events = follow(client, server, on_change=react)
        close = client.within(events.close)
        assert data(events) == ([] if kind is Opened else ["a"])
    assert len(server.requests) == 1


def test_F6_close_between_request_and_connection() -> None:
    """There is no socket yet that could be shut down."""
    with (
        Scripted([HOLD]) as server,
        httpx2.Client(event_hooks={"request": [lambda _: events.close()]}) as http,
    ):
        events = sync.connect(server.url, client=http)
        assert in_thread(lambda: list(events))() == []


def test_F7_leaving_the_block_ends_the_connection(client: Client) -> None:
    left = threading.Event()

    def script(_: Request) -> Iterator[Action]:
        yield from stream(b"data: a\n\n", HOLD)
        left.set()

    with Scripted(script) as server:
        with follow(client, server) as events:
            for event in events:
                assert event.data == "a"
                break
        assert left.wait(10)


def test_F8_a_callers_client_stays_open(client: Client) -> None:
    with Scripted(stream(b"data: a\n\n"), answer("204 No"), stream(b"data: b\n\n")) as server:
        with client.http() as http:
            with follow(client, server, client=http) as events:
                assert data(events) == ["a"]
            with follow(client, server, client=http) as events:
                assert next(events).data == "b"
            assert not http.is_closed


def test_F9_both_clients_have_the_same_surface() -> None:
    assert sync.__all__ == aio.__all__ == tidewire.client.__all__
    for name in sync.__all__:
        ours, theirs = getattr(sync, name), getattr(aio, name)
        assert getattr(tidewire.client, name) is theirs
        if ours is not theirs:
            assert parameters(ours) == parameters(theirs), name
            assert members(ours) == members(theirs), name


def parameters(function: Callable[..., Any]) -> list[tuple[str, Any, Any]]:
    found = inspect.signature(function).parameters.values()
    return [(item.name, item.kind, item.default) for item in found if not item.name.startswith("own_")]


def members(kind: Any) -> dict[str, list[tuple[str, Any, Any]]]:
    if not isinstance(kind, type):
        return {}
    public = [name for name in dir(kind) if not name.startswith("_")]
    return {name: parameters(member) for name in public if callable(member := getattr(kind, name))}


def test_a_server_in_the_process(client: Client) -> None:
    """Any transport of httpx2 works."""
    transport = httpx2.MockTransport(
        lambda _: httpx2.Response(200, headers={"Content-Type": "text/event-stream"}, content=b"data: a\n\n")
    )
    with client.http(transport=transport) as http:
        with client.connect("http://example.test/", client=http, reconnect=False) as events:
            assert data(events) == ["a"]


def test_requests_to_this_machine_ignore_proxies(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with Scripted(stream(b"data: a\n\n")) as server, follow(client, server) as events:
        assert data(events) == ["a"]


def test_nothing_is_left_open(client: Client) -> None:
    with Scripted(stream(b"data: a\n\n"), stream(b"data: b\n\n", HOLD)) as server:
        with follow(client, server) as events:
            next(events)
            next(events)
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            with follow(client, server) as events:
                assert data(events) == []
        gc.collect()
        assert len(os.listdir("/proc/self/fd")) <= before


# -- TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def tls_server(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def test_F6_close_wakes_a_reader_behind_tls(client: Client, authority: trustme.CA) -> None:
    changes: list[Change] = []
    script = stream(b"data: a\n\n", HOLD)
    with (
        Scripted(script, tls=tls_server(authority), host="localhost") as server,
        client.http(verify=trusting(authority)) as http,
    ):
        events = follow(client, server, client=http, on_change=changes.append)
        assert next(events).data == "a"
        result = in_thread(lambda: data(events))
        events.close()
        assert result() == []
    assert [type(change) for change in changes] == [Opened]


def test_the_error_names_an_unknown_certificate(client: Client, authority: trustme.CA) -> None:
    with Scripted(tls=tls_server(authority), host="localhost") as server:
        with pytest.raises(Unavailable, match="certificate: "):
            next(follow(client, server, reconnect=False))


def test_C6_h10_a_key_does_not_leave_https(client: Client, authority: trustme.CA) -> None:
    with Scripted(stream(b"data: a\n\n")) as there, client.http(verify=trusting(authority)) as http:
        away = answer("307 Temporary", f"Location: {there.url}")
        with Scripted(away, away, tls=tls_server(authority), host="localhost") as server:
            with pytest.raises(StreamRefused, match=f"redirects to {there.url}, another origin"):
                next(follow(client, server, headers={"X-Api-Key": "k"}, client=http))
            assert there.requests == []
            with follow(client, server, client=http) as events:
                assert next(events).data == "a"
