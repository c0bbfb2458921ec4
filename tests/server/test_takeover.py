"""The takeover, over real sockets: how it starts, and every reason not to do it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from support.stream_clients import SOON, Way, ask, portable, receive_slowly, write
from support.stream_server import (
    FIRST,
    HEADERS,
    PORTABLE_BODY,
    FakeSubscriber,
    Serving,
    StreamApp,
    dechunk,
    get,
    head_of,
    post,
    read_all,
    read_until,
    responses,
)
from support.waiting import wait_until

# -- taken over


def test_a_stream_is_taken_over_and_ended(way: Way, app: StreamApp) -> None:
    client = way.connect()
    client.sendall(way.request())
    data = read_until(client, way.framed(FIRST))
    subscriber = app.subscriber
    assert subscriber.framing == way.framing
    state = way.serving.server.server_state
    wait_until(lambda: app.taken == [True] and not state.tasks and app.disconnects == 1)
    assert state.total_requests == 1
    assert list(state.connections) == [subscriber.wire]

    write(way.serving, subscriber, b"data: later\n\n")
    data = read_until(client, way.framed(b"data: later\n\n"), data)
    way.serving.call(subscriber.wire.end)
    data += read_all(client)

    status, headers, body = head_of(data)
    assert status == 200
    assert ("transfer-encoding" in headers) == (way.framing == "chunked")
    assert way.body(body) == (FIRST + b"data: later\n\n", True)
    wait_until(lambda: not state.connections)
    assert subscriber.calls == ["attach", "lost"]
    client.close()


def test_a_line_end_after_the_request_is_not_a_request(app: StreamApp) -> None:
    with Serving(app) as serving, serving.connect() as client:
        client.sendall(get() + b"\r\n")
        read_until(client, FIRST)
        assert app.subscriber.calls == ["attach"]


def test_the_second_of_two_pipelined_streams_is_taken_over(app: StreamApp) -> None:
    with Serving(app) as serving, serving.connect() as client:
        client.sendall(get() + get())
        data = read_until(client, b"0\r\n\r\n")
        data = read_until(client, b": hello\n\n\r\n", data[data.index(b"0\r\n\r\n") + 5 :])
        wait_until(lambda: app.taken == [False, True])
        assert head_of(data)[0] == 200


def test_a_write_pause_in_force_at_the_takeover_is_adopted(app: StreamApp, loop: str) -> None:
    app.first = b": %b\n\n" % (b"x" * 16_000_000)
    with Serving(app, loop=loop) as serving, serving.connect(receive_buffer=4096) as client:
        client.sendall(get())
        wait_until(lambda: app.subscriber.calls == ["attach", "pause"])
        data = read_until(client, b"\r\n\r\n")
        rest = len(head_of(data)[2])
        receive_slowly(client, len(b"f42404\r\n") + len(app.first) + 2 - rest)
        wait_until(lambda: app.subscriber.calls == ["attach", "pause", "resume"])


def test_paused_reading_resumes_at_the_takeover(app: StreamApp, loop: str) -> None:
    """If the app does not read a body of over 64 KiB, the transport pauses and does not report a close."""
    with Serving(app, loop=loop) as serving:
        client = serving.connect()
        client.sendall(get("/stream", "Content-Length: 65546") + b"b" * 65546)
        read_until(client, FIRST)
        subscriber = app.subscriber
        client.close()
        wait_until(lambda: subscriber.calls == ["attach", "lost"], timeout=SOON)


def test_a_pending_receive_returns_a_disconnect(loop: str) -> None:
    subscriber = FakeSubscriber()
    received: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        waiting = asyncio.create_task(receive())
        await asyncio.sleep(0)
        offer = scope["extensions"]["tidewire.stream"]
        offer.arm(FIRST, subscriber)
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await send({"type": "http.response.body", "body": FIRST, "more_body": True})
        received.append((await waiting)["type"])

    with Serving(app, loop=loop) as serving, serving.connect() as client:
        client.sendall(get())
        read_until(client, FIRST)
        wait_until(lambda: received == ["http.disconnect"])
        assert subscriber.calls == ["attach"]


# -- not taken over, and not affected


def test_head_does_not_open_a_stream(app: StreamApp) -> None:
    response = ask(app, get(method="HEAD") + get("/next", "Connection: close"))
    assert app.taken == [False]
    assert response.count(b"HTTP/1.1 200 OK") == 2
    assert FIRST not in response


def test_post_is_portable(app: StreamApp) -> None:
    response = ask(app, post(b"", "Connection: close", path="/stream"))
    assert app.taken == [False]
    portable(response)


@pytest.mark.parametrize("second", [get("/next"), get("/next")[:20], b"X"])
def test_a_pipelined_request_keeps_the_stream_portable(second: bytes, app: StreamApp, loop: str) -> None:
    with Serving(app, loop=loop) as serving, serving.connect() as client:
        client.sendall(get() + second)
        data = read_until(client, b"0\r\n\r\n")
        if second == get("/next"):
            data = read_until(client, b"ok /next", data)
            (_, stream), (_, following) = responses(data)
            assert following == b"ok /next"
        else:
            ((_, stream),) = responses(data)
    assert stream == PORTABLE_BODY
    assert app.taken == [False]


def test_arming_after_the_first_chunk_is_too_late() -> None:
    subscriber = FakeSubscriber()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await send({"type": "http.response.body", "body": FIRST, "more_body": True})
        offer = scope["extensions"]["tidewire.stream"]
        offer.arm(FIRST, subscriber)
        assert not await offer.settled(5)
        await send({"type": "http.response.body", "body": b"data: 0\n\n"})

    response = ask(app, get("/stream", "Connection: close"))
    assert dechunk(head_of(response)[2]) == (FIRST + b"data: 0\n\n", True)
    assert subscriber.calls == []


def test_a_portable_stream_is_notified_of_the_stop_too() -> None:
    stopping = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["extensions"]["tidewire.stream"].on_stopping(stopping.set)
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await send({"type": "http.response.body", "body": FIRST, "more_body": True})
        await stopping.wait()
        await send({"type": "http.response.body", "body": b"data: bye\n\n"})

    with Serving(app) as serving, serving.connect() as client:
        client.sendall(get())
        data = read_until(client, FIRST + b"\r\n")
        serving.stop()
        data += read_all(client)
    assert dechunk(head_of(data)[2]) == (FIRST + b"data: bye\n\n", True)


def test_http_1_0_is_answered_without_chunks(serving: Serving) -> None:
    """uvicorn alone sends chunks even to HTTP/1.0 clients."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one ", "more_body": True})
        await send({"type": "http.response.body", "body": b"two"})

    with Serving(app) as server, server.connect() as client:
        client.sendall(get(version="1.0"))
        _, headers, body = head_of(read_all(client))
    assert body == b"one two"
    assert "transfer-encoding" not in headers
    assert headers["connection"] == "close"
