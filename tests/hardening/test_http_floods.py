"""
Attacks F01 to F04, F06, F13, F15, F18 and F19 (docs/reference/attacks.md).

What a client can do before, after and instead of a request.

Everything goes over real sockets. The deadlines are the shortest that the settings allow.
"""

from __future__ import annotations

import json
import os
import re
import resource
import select
import socket
import struct
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest

from support.processes import Process
from support.stream_server import (
    FIRST,
    LOOPS,
    PORTABLE_BODY,
    Serving,
    StreamApp,
    closed,
    dechunk,
    get,
    head_of,
    post,
    read_all,
    read_until,
    responses,
)
from support.waiting import PATIENCE, wait_until
from tidewire.server import socket_wire
from tidewire.server.protocol import MAX_PIPELINE, StreamProtocol
from tidewire.server.socket_wire import SWALLOW_LIMIT
from tidewire.settings import Settings

DEADLINE = 1.0
# Seconds that a busy machine may take beyond it. What the server does not end stays open for ever.
SLACK = 20.0
QUICK = StreamProtocol.configured(Settings(head_timeout=DEADLINE, body_timeout=DEADLINE))
LIMITS = Settings()


@pytest.fixture
def app() -> StreamApp:
    return StreamApp()


class Switch:
    """An app that tests can replace: starting a server for each of 200 tests would take most of the time."""

    app: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


@pytest.fixture(scope="module", params=LOOPS)
def server(request: pytest.FixtureRequest) -> Iterator[Serving]:
    with Serving(Switch(), loop=request.param, protocol=QUICK) as serving:
        yield serving


@pytest.fixture
def serving(server: Serving, app: StreamApp) -> Iterator[Serving]:
    server.app.app = app
    yield server
    for client in server.clients:
        client.close()
    server.clients.clear()
    wait_until(lambda: not server.connections)


def exchange(serving: Serving, data: bytes) -> bytes:
    """Send as much as the server accepts, and return everything that it sends until it closes."""
    with serving.connect() as client:
        try:
            client.sendall(data)
        except OSError:
            pass
        return read_all(client)


def problem(response: bytes) -> tuple[int, dict[str, Any]]:
    """Return the status and body of a refusal, which must be the last response on its connection."""
    status, headers, body = head_of(response)
    assert headers["content-type"] == "application/problem+json"
    assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")
    assert (headers["vary"], headers["connection"]) == ("origin", "close")
    assert len(body) == int(headers["content-length"])
    fields = json.loads(body)
    assert fields["status"] == status
    return status, fields


def paths(app: StreamApp) -> list[str]:
    return [scope["path"] for scope in app.scopes]


# -- F01: slow heads


def test_f01_500_slow_heads_are_closed_in_time_and_others_are_served(app: StreamApp) -> None:
    with Serving(app, protocol=QUICK) as serving:
        began = time.monotonic()
        slow = [serving.connect() for _ in range(500)]
        for client in slow:
            client.sendall(b"GET /stream HTTP/1.1\r\nHost: localhost\r\nX-")
        waiting = set(slow)
        while waiting and time.monotonic() < began + DEADLINE + SLACK:
            with serving.connect() as other:
                other.sendall(get("/other", "Connection: close"))
                assert head_of(read_all(other))[0] == 200
            answered, _, _ = select.select(list(waiting), [], [], 0.1)
            for client in answered:
                assert problem(read_all(client))[0] == 408
                waiting.discard(client)
            for client in waiting:
                client.sendall(b"a")  # one more byte does not help
        assert not waiting
        assert set(paths(app)) == {"/other"}
        wait_until(lambda: not serving.connections)


@pytest.mark.parametrize("dribble", [b"", b"\r\n"], ids=["nothing", "line ends"])
def test_f01_a_connection_without_a_request_is_closed(serving: Serving, dribble: bytes) -> None:
    with serving.connect() as client:
        deadline = time.monotonic() + DEADLINE + SLACK
        client.settimeout(0.1)
        while time.monotonic() < deadline:
            try:
                if dribble:
                    client.sendall(dribble)
                assert client.recv(100) == b"", "an answer to nothing"
                return
            except TimeoutError:
                continue
            except OSError:
                return
        pytest.fail("still open")


def test_f01_the_second_head_of_a_connection_has_the_same_deadline(serving: Serving) -> None:
    with serving.connect() as client:
        client.sendall(get("/first") + b"GET /second HT")
        first = read_until(client, b"ok /first")
        assert head_of(first)[0] == 200
        assert problem(read_all(client))[0] == 408


def test_f01_a_deadline_does_not_outlive_its_head(serving: Serving, app: StreamApp) -> None:
    """It affects neither a slow request nor a stream that was taken over."""
    with serving.connect() as client, serving.connect() as stream:
        stream.sendall(get())
        client.sendall(get("/slow"))
        assert not closed(client, DEADLINE + 0.5)
        app.go_on = True
        client.settimeout(PATIENCE)
        read_until(client, b"ok /slow")
        assert app.subscribers[0].calls == ["attach"]


# -- F02: slow bodies


def test_f02_a_slow_body_is_refused(serving: Serving, app: StreamApp) -> None:
    with serving.connect() as client:
        began = time.monotonic()
        client.sendall(post(b"", length=100))
        client.settimeout(0.1)
        response = b""
        while not response and time.monotonic() < began + DEADLINE + SLACK:
            client.sendall(b"x")
            try:
                response = client.recv(65536)
            except TimeoutError:
                continue
        client.settimeout(PATIENCE)
        status, fields = problem(response + read_all(client))
        assert (status, fields["code"], fields["stored"]) == (408, "request_timeout", False)
        assert time.monotonic() - began < DEADLINE + SLACK
        wait_until(lambda: app.disconnects == 1)


def test_f02_a_body_at_a_fair_rate_may_take_longer(serving: Serving) -> None:
    parts = [b"p" * 1000] * 12
    with serving.connect() as client:
        client.sendall(post(b"", "Connection: close", length=12_000))
        for part in parts:
            assert not closed(client, 0.2)
            client.sendall(part)
        client.settimeout(PATIENCE)
        assert head_of(read_all(client))[2] == b"".join(parts)


def test_f02_an_ingest_may_be_as_slow_as_its_events(serving: Serving) -> None:
    with serving.connect() as client:
        client.sendall(post(b"", "Content-Type: application/x-ndjson", "Connection: close", length=8))
        for _ in range(8):
            assert not closed(client, 0.25)
            client.sendall(b"\n")
        client.settimeout(PATIENCE)
        assert head_of(read_all(client))[2] == b"\n" * 8


def test_f02_a_silent_ingest_is_refused(serving: Serving) -> None:
    with serving.connect() as client:
        client.sendall(post(b"", "Content-Type: application/x-ndjson", length=6))
        client.settimeout(2 * DEADLINE + SLACK)
        assert problem(read_all(client))[0] == 408


def test_f02_an_app_that_reads_slowly_is_not_the_clients_fault() -> None:
    chunks: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        import asyncio

        await asyncio.sleep(DEADLINE + 0.5)
        more = True
        while more:
            message = await receive()
            assert message["type"] == "http.request"
            chunks.append(len(message["body"]))
            more = message["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    with Serving(app, protocol=QUICK) as serving, serving.connect() as client:
        client.sendall(post(b"b" * 10_000_000, "Connection: close"))
        assert head_of(read_all(client))[0] == 200
    assert sum(chunks) == 10_000_000


# -- F03: big heads


HUGE_HEADS = {
    "64 KiB header": (431, get("/", "X: " + "h" * 65536)),
    "64 KiB in many headers": (431, get("/", *[f"X{n}: " + "h" * 1000 for n in range(64)])),
    "200 headers": (431, get("/", *[f"X{n}: h" for n in range(200)])),
    "header without end": (431, get("/")[:-2] + b"X: " + b"h" * 600_000),
    "name without end": (431, get("/")[:-2] + b"h" * 600_000),
    "16 KiB URL": (414, get("/" + "u" * 16384)),
    "URL without end": (414, b"GET /" + b"u" * 600_000),
    "method without end": (400, b"G" * 600_000),
    "trailers": (
        431,
        get("/echo", "Transfer-Encoding: chunked", method="POST")
        + b"0\r\n"
        + b"".join(b"T%d: %b\r\n" % (n, b"t" * 1000) for n in range(64)),
    ),
    "trailer without end": (
        431,
        get("/echo", "Transfer-Encoding: chunked", method="POST") + b"0\r\nT: " + b"t" * 600_000,
    ),
    "chunk extension without end": (
        431,
        get("/echo", "Transfer-Encoding: chunked", method="POST") + b"5;" + b"e" * 600_000,
    ),
}


@pytest.mark.parametrize("name", HUGE_HEADS)
def test_f03_a_head_over_the_limit_is_refused(serving: Serving, app: StreamApp, name: str) -> None:
    status, request = HUGE_HEADS[name]
    assert problem(exchange(serving, request))[0] == status
    assert paths(app) in ([], ["/echo"])


@pytest.mark.parametrize("loop", LOOPS)
def test_f03_a_head_in_pieces_is_counted_too(app: StreamApp, loop: str) -> None:
    # With the usual deadline: forty pieces may take longer than the short one.
    with Serving(app, loop=loop) as serving, serving.connect() as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ")
        for _ in range(40):
            try:
                client.sendall(b"h" * 1024)
            except OSError:
                break
            time.sleep(0.001)
        assert problem(read_all(client))[0] == 431


def test_f03_a_head_at_the_limit_is_fine(serving: Serving) -> None:
    url = "/" + "u" * (LIMITS.max_url_bytes - 1)
    headers = [f"X{n}: h" for n in range(LIMITS.max_headers - 2)]  # plus Host and Connection
    assert head_of(exchange(serving, get(url, *headers, "Connection: close")))[0] == 200
    big = "B: " + "h" * (LIMITS.max_head_bytes - 200)
    assert head_of(exchange(serving, get("/", big, "Connection: close")))[0] == 200


def test_f03_thousands_of_pipelined_requests_are_not_kept(serving: Serving, app: StreamApp) -> None:
    with serving.connect() as client:
        client.sendall(get("/slow") + get("/n") * 5000)
        wait_until(lambda: app.scopes)
        (connection,) = serving.connections
        assert len(connection.pipeline) <= MAX_PIPELINE
        app.go_on = True
        answers = list(responses(read_all(client)))
    assert answers == [(200, b"ok /slow")] + [(200, b"ok /n")] * MAX_PIPELINE


def test_f03_what_comes_after_too_many_requests_does_not_take_their_answers(
    serving: Serving, app: StreamApp
) -> None:
    with serving.connect() as client:
        client.sendall(get("/slow") + get("/n") * (MAX_PIPELINE + 1))
        wait_until(lambda: app.scopes)
        client.sendall(b"x" * (SWALLOW_LIMIT * 2))
        app.go_on = True
        answers = list(responses(read_all(client)))
    assert answers == [(200, b"ok /slow")] + [(200, b"ok /n")] * MAX_PIPELINE


# -- F19: requests that do not come one by one

BIG = 34 * 1024  # more than a head may have


def test_f19_a_head_that_begins_behind_a_large_body(serving: Serving, app: StreamApp) -> None:
    first, second = post(b"x" * BIG), post(b"y" * BIG)
    with serving.connect() as client:
        client.sendall(first + second[:40])
        read_until(client, b"x" * BIG)
        client.sendall(second[40:] + get("/next", "Connection: close"))
        assert list(responses(read_all(client))) == [(200, b"y" * BIG), (200, b"ok /next")]
    assert paths(app) == ["/echo", "/echo", "/next"]


@pytest.mark.parametrize("seed", range(2))
def test_f19_requests_cut_at_random_are_answered_in_order(serving: Serving, seed: int) -> None:
    random = Random(seed)
    bodies = [b"%d:" % number + b"b" * random.choice([0, 10, 1000, BIG]) for number in range(60)]
    stream = b"".join(post(body) for body in bodies) + get("/last", "Connection: close")
    cuts = sorted(random.sample(range(1, len(stream)), 100))
    with serving.connect() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reader = ThreadPoolExecutor(1).submit(read_all, client)
        for start, end in pairwise([0, *cuts, len(stream)]):
            client.sendall(stream[start:end])
        answers = list(responses(reader.result()))
    assert answers == [*((200, body) for body in bodies), (200, b"ok /last")]


# -- F04: unwanted bodies


def test_f04_a_refused_body_is_not_read_and_the_response_arrives(serving: Serving, app: StreamApp) -> None:
    """The app responds before it reads. Closing at once would reset the connection and lose the response."""
    for _ in range(20):
        with serving.connect() as client:
            client.sendall(post(b"x" * 300_000, path="/refuse", length=10_000_000))
            status, _, body = head_of(read_all(client))
        assert (status, body) == (413, b"too much")
    assert paths(app) == ["/refuse"] * 20
    wait_until(lambda: not serving.connections)


def test_f04_an_endless_chunked_body_is_cut_off(serving: Serving) -> None:
    with serving.connect() as client:
        client.sendall(get("/refuse", "Transfer-Encoding: chunked", method="POST"))
        sent = 0
        began = time.monotonic()
        try:
            while sent < 1_000_000_000:
                client.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")
                sent += 65536
        except OSError:
            pass
        assert sent < 50_000_000
        assert time.monotonic() - began < SLACK
    wait_until(lambda: not serving.connections)


# -- F06: two readings of one request

POST = b"POST /echo HTTP/1.1\r\nHost: localhost\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"


def chunked(body: bytes, coding: bytes = b"Transfer-Encoding: chunked\r\n") -> bytes:
    return POST + coding + b"\r\n" + body


AMBIGUOUS = {
    "CL and TE": chunked(b"0\r\n\r\n", b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n"),
    "TE and CL": chunked(b"0\r\n\r\n", b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n"),
    "xchunked": chunked(b"0\r\n\r\n", b"Transfer-Encoding: xchunked\r\n"),
    "VT chunked": chunked(b"0\r\n\r\n", b"Transfer-Encoding: \x0bchunked\r\n"),
    "folded chunked": chunked(b"0\r\n\r\n", b"Transfer-Encoding:\r\n chunked\r\n"),
    "chunked, identity": chunked(b"0\r\n\r\n", b"Transfer-Encoding: chunked, identity\r\n"),
    "gzip, chunked": chunked(b"0\r\n\r\n", b"Transfer-Encoding: gzip, chunked\r\n"),
    "identity": chunked(b"0\r\n\r\n", b"Transfer-Encoding: identity\r\n"),
    "chunked twice": chunked(b"0\r\n\r\n", b"Transfer-Encoding: chunked\r\n" * 2),
    "no coding": chunked(b"0\r\n\r\n", b"Transfer-Encoding:\r\n"),
    "TE on HTTP/1.0": chunked(b"0\r\n\r\n").replace(b"HTTP/1.1", b"HTTP/1.0"),
    "two lengths": POST + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcd",
    "one length twice": POST + b"Content-Length: 4\r\nContent-Length: 4\r\n\r\nabcd",
    "length list": POST + b"Content-Length: 4, 4\r\n\r\nabcd",
    "length +4": POST + b"Content-Length: +4\r\n\r\nabcd",
    "length -4": POST + b"Content-Length: -4\r\n\r\nabcd",
    "length 0x4": POST + b"Content-Length: 0x4\r\n\r\nabcd",
    "length 2^80": POST + b"Content-Length: 1208925819614629174706176\r\n\r\nabcd",
    "space before colon": POST + b"Content-Length : 4\r\n\r\nabcd",
    "folded header": POST + b"X: a\r\n b\r\n\r\n",
    "space before header": b"POST /echo HTTP/1.1\r\n X: y\r\nHost: localhost\r\n\r\n",
    "bare LF": b"POST /echo HTTP/1.1\nHost: localhost\n\n",
    "bare LF in a header": POST + b"X: a\nContent-Length: 0\r\n\r\n",
    "bare LF at the end": POST + b"X: a\r\n\n",
    "bare CR": POST + b"X: a\rb\r\n\r\n",
    "NUL in a value": POST + b"X: a\0b\r\n\r\n",
    "NUL in a name": POST + b"X\0: ab\r\n\r\n",
    "no colon": POST + b"X\r\n\r\n",
    "no name": POST + b": x\r\n\r\n",
    "two hosts": POST + b"Host: evil\r\nContent-Length: 0\r\n\r\n",
    "no host": b"POST /echo HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    "chunk 0x5": chunked(b"0x5\r\nhello\r\n0\r\n\r\n"),
    "chunk -5": chunked(b"-5\r\nhello\r\n0\r\n\r\n"),
    "chunk 2^64 + 5": chunked(b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
    "chunk with a space": chunked(b"5 \r\nhello\r\n0\r\n\r\n"),
    "chunk size, bare LF": chunked(b"5\nhello\r\n0\r\n\r\n"),
    "chunk extension, bare LF": chunked(b"5;a\nb\r\nhello\r\n0\r\n\r\n"),
    "chunk, no CRLF behind": chunked(b"5\r\nhello0\r\n\r\n"),
    "chunk, bare LF behind": chunked(b"5\r\nhello\n0\r\n\r\n"),
    "HTTP/0.9": b"GET /smuggled\r\n",
    "HTTP/1.2": POST.replace(b"1.1", b"1.2") + b"\r\n",
    "unknown method": POST.replace(b"POST", b"PoST") + b"\r\n",
    "control character in the URL": POST.replace(b"/echo", b"/ec\x01ho") + b"\r\n",
}


@pytest.mark.parametrize("bytewise", [False, True], ids=["at once", "byte by byte"])
@pytest.mark.parametrize("name", AMBIGUOUS)
def test_f06_an_ambiguous_request_is_refused(
    serving: Serving, app: StreamApp, name: str, bytewise: bool
) -> None:
    request = AMBIGUOUS[name]
    with serving.connect() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            if bytewise:
                for byte in request:
                    client.sendall(bytes([byte]))
            client.sendall(b"" if bytewise else request)
            client.sendall(SMUGGLED)
        except OSError:
            pass
        status, _ = problem(read_all(client))
    assert status == 400
    assert set(paths(app)) <= {"/echo"}


OTHERS = {
    "HTTP/2 preface": (400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "HTTP/2.0 in text": (505, POST.replace(b"1.1", b"2.0") + b"\r\n"),
    "CONNECT": (405, b"CONNECT evil:80 HTTP/1.1\r\nHost: evil\r\n\r\n"),
    "TLS to a plain port": (400, bytes.fromhex("16030102000100")),
}


@pytest.mark.parametrize("name", OTHERS)
def test_f06_other_protocols_get_a_response(serving: Serving, app: StreamApp, name: str) -> None:
    status, request = OTHERS[name]
    assert problem(exchange(serving, request + SMUGGLED))[0] == status
    assert paths(app) == []


def test_f06_nothing_is_read_after_a_request_that_closes(serving: Serving, app: StreamApp) -> None:
    """uvicorn would continue to read: it sets its parser to be lenient here."""
    response = exchange(serving, get("/last", "Connection: close") + SMUGGLED)
    assert list(responses(response)) == [(200, b"ok /last")]
    assert paths(app) == ["/last"]


def test_f06_requests_before_a_bad_one_are_answered(serving: Serving, app: StreamApp) -> None:
    response = exchange(serving, get("/a") + get("/b") + b"nonsense\r\n\r\n" + SMUGGLED)
    assert list(responses(response)) == [(200, b"ok /a"), (200, b"ok /b")]
    assert paths(app) == ["/a", "/b"]


def test_f06_a_bad_body_behind_a_slow_request_is_dropped(serving: Serving, app: StreamApp) -> None:
    """The head of the second request was already accepted when its body turned out to be bad."""
    with serving.connect() as client:
        client.sendall(get("/slow") + chunked(b"zz\r\n") + SMUGGLED)
        wait_until(lambda: app.scopes)
        app.go_on = True
        assert list(responses(read_all(client))) == [(200, b"ok /slow")]
    assert paths(app) == ["/slow"]


def test_f06_a_trailer_is_not_a_header(serving: Serving, app: StreamApp) -> None:
    """uvicorn would add it to the headers after they were checked."""
    body = b"5\r\nhello\r\n0\r\nOrigin: https://evil.example\r\nContent-Type: evil\r\n\r\n"
    with serving.connect() as client:
        client.sendall(chunked(body))
        read_until(client, b"hello")
    assert {name for name, _ in app.scopes[0]["headers"]} == {b"host", b"transfer-encoding"}


def test_f06_a_portable_stream_survives_bytes_after_its_request(app: StreamApp) -> None:
    with Serving(app, protocol=QUICK) as serving:
        response = exchange(serving, get() + b"\x00\x01\x02")
    assert dechunk(head_of(response)[2]) == (PORTABLE_BODY, True)


# -- F13: bytes into a stream


def test_f13_bytes_into_a_stream_are_discarded_and_then_it_is_closed(
    serving: Serving, app: StreamApp
) -> None:
    with serving.connect() as client:
        client.sendall(get())
        read_until(client, FIRST + b"\r\n")
        subscriber = app.subscriber
        client.sendall(get("/next") + b"\x00" * 60_000)
        serving.call(subscriber.wire.write, subscriber.frame(b"data: on\n\n"))
        assert read_until(client, b"on\n\n\r\n") == subscriber.frame(b"data: on\n\n")
        assert subscriber.calls == ["attach"]
        client.sendall(b"\x00" * 10_000)
        assert closed(client)
        wait_until(lambda: subscriber.calls == ["attach", "lost"])
    assert paths(app) == ["/stream"]


@pytest.mark.parametrize("how", ["close", "reset"])
def test_f13_a_close_after_discarded_bytes_is_noticed(serving: Serving, app: StreamApp, how: str) -> None:
    client = serving.connect()
    client.sendall(get())
    read_until(client, FIRST + b"\r\n")
    client.sendall(b"\x00" * 60_000)
    if how == "reset":
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    wait_until(lambda: app.subscriber.calls == ["attach", "lost"], timeout=SLACK)


def test_f13_bytes_after_a_malformed_request_are_bounded(serving: Serving, app: StreamApp) -> None:
    with serving.connect() as client:
        client.sendall(get("/slow") + b"\x00" * (socket_wire.SWALLOW_LIMIT // 2))
        assert not closed(client, 0.2)
        with pytest.raises(OSError):  # noqa: PT011 - a reset or a broken pipe
            for _ in range(1000):
                client.sendall(b"\x00" * 10_000)
    app.go_on = True


# -- F15: upgrades and expectations

UPGRADES = {
    "websocket": [
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Key: x",
        "Sec-WebSocket-Version: 13",
    ],
    "h2c": ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"],
    "close and h2c": ["Connection: close, Upgrade", "Upgrade: h2c"],
    "unknown": ["Connection: upgrade", "Upgrade: TLS/1.3, spdy"],
}


@pytest.mark.parametrize("bytewise", [False, True], ids=["at once", "byte by byte"])
@pytest.mark.parametrize("name", UPGRADES)
def test_f15_an_upgrade_is_ignored_and_the_request_answered(
    serving: Serving, app: StreamApp, name: str, bytewise: bool
) -> None:
    request = get("/up", *UPGRADES[name]) if name == "websocket" else post(b"hello", *UPGRADES[name])
    with serving.connect() as client:
        for part in [bytes([byte]) for byte in request] if bytewise else [request]:
            client.sendall(part)
        data = read_until(client, b"ok /up" if name == "websocket" else b"hello")
        assert head_of(data)[0] == 200
        if name == "close and h2c":
            assert read_all(client) == b""
        else:
            client.sendall(get("/next"))
            read_until(client, b"ok /next")
    assert b"upgrade" not in dict(app.scopes[0]["headers"])


def test_f15_a_stream_that_asks_for_an_upgrade_is_taken_over(serving: Serving, app: StreamApp) -> None:
    with serving.connect() as client:
        client.sendall(get("/stream", *UPGRADES["h2c"]))
        read_until(client, FIRST)
        assert app.subscriber.calls == ["attach"]


def test_f15_a_program_keeps_its_websockets() -> None:
    """Only `tidewire serve` sets `ws="none"`; a program may have WebSockets."""
    accepted: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "websocket.connect"
        accepted.append(scope["type"])
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close"})

    key = ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13"]
    with Serving(app, protocol=QUICK, ws="wsproto") as serving, serving.connect() as client:
        client.sendall(get("/ws", "Connection: Upgrade", "Upgrade: websocket", *key))
        assert b"101 Switching Protocols" in read_until(client, b"\r\n\r\n")
        client.sendall(bytes.fromhex("8880000000000000")[:6])
        read_all(client)
    assert accepted == ["websocket"]


def test_f15_expect_continue_and_then_nothing(serving: Serving) -> None:
    with serving.connect() as client:
        client.sendall(post(b"", "Expect: 100-continue", length=10))
        interim = read_until(client, b"\r\n\r\n")
        assert interim == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert problem(read_all(client))[0] == 408


def test_f15_another_expectation_is_refused(serving: Serving) -> None:
    assert problem(exchange(serving, post(b"x", "Expect: a-miracle")))[0] == 417


# -- F18: no descriptors

SERVER = """
import asyncio, sys
sys.path.insert(0, sys.argv[2])
from support.stream_server import StreamApp
import uvicorn
from tidewire.server.run import Server
from tidewire.server.listeners import bind_tcp
from tidewire.server.logs import configure_logging
from tidewire.server.protocol import StreamProtocol

async def app(scope, receive, send, inner=StreamApp()):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
    else:
        await inner(scope, receive, send)

configure_logging("info", False)
listeners = bind_tcp("127.0.0.1", 0)
config = uvicorn.Config(app, http=StreamProtocol, ws="none", loop=sys.argv[1], log_config=None, backlog=4096)
server = Server(config, listeners, 10)
server.on_started = lambda: print("port", listeners[0].getsockname()[1], flush=True)
server.run()
"""


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.skipif(
    not hasattr(resource, "prlimit"), reason="lowers a running process's limit, which is Linux"
)
@pytest.mark.parametrize("loop", LOOPS)
def test_f18_a_server_without_descriptors_does_not_spin_and_recovers(loop: str) -> None:
    tests = Path(__file__).parents[1]
    with Process([sys.executable, "-c", SERVER, loop, tests]) as server:
        port = int(server.wait_line(r"port (\d+)").group(1))
        with socket.create_connection(("127.0.0.1", port)) as stream:
            stream.sendall(get())
            read_until(stream, FIRST)
            used = len(os.listdir(f"/proc/{server.pid}/fd"))
            _, hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
            resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (used + 10, hard))

            exhausted = time.monotonic()
            herd = [socket.create_connection(("127.0.0.1", port)) for _ in range(100)]
            before, began = cpu_seconds(server.pid), time.monotonic()
            time.sleep(2)
            assert cpu_seconds(server.pid) - before < 0.3 * (time.monotonic() - began)
            assert not select.select([stream], [], [], 0)[0], "the open stream was closed"

            for client in herd:
                client.close()
            wait_until(lambda: answers(port))
        # A line each ten seconds, and a busy machine may need more than ten.
        allowed = 1 + (time.monotonic() - exhausted) // 10
        assert len(re.findall("cannot accept connections", server.output)) <= allowed
        assert "Traceback" not in server.output


def answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
            client.sendall(get("/up", "Connection: close"))
            return b"ok /up" in read_all(client)
    except OSError:
        return False
