"""The streams that the faults read: what counts as a hole, a repeat and an end."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from faults.load import Awaited, RawStream, stream_bars

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, RawStream]]:
    hub, client = socket.socketpair()
    client.setblocking(False)
    with hub, client:
        yield hub, RawStream(client)


def chunk(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(body), body)


def event(offset: int, type_: bytes = b"") -> bytes:
    line = b"event: %b\n" % type_ if type_ else b""
    return chunk(b"%bid: abcdef.%d\ndata: 0.0 x\n\n" % (line, offset))


def fed(pair: tuple[socket.socket, RawStream], *parts: bytes) -> RawStream:
    hub, stream = pair
    for part in parts:
        hub.sendall(part)
        stream.receive()
    return stream


def test_a_whole_stream(pair: tuple[socket.socket, RawStream]) -> None:
    start = event(4, b"hub.position")
    stream = fed(pair, HEAD[:30], HEAD[30:] + start, event(5) + event(6)[:9], event(6)[9:])
    assert stream.is_open
    assert (stream.events, stream.at, stream.last_event_id) == (2, 6, "abcdef.6")
    assert all(bar.met for bar in stream_bars([stream]))
    assert not fed(pair, b"0\r\n\r\n").is_open


def test_a_hole_and_a_repeat(pair: tuple[socket.socket, RawStream]) -> None:
    stream = fed(pair, HEAD + event(4, b"hub.position") + event(5) + event(8) + event(8))
    assert (stream.holes, stream.repeats) == (2, 1)
    assert [bar.met for bar in stream_bars([stream])] == [False, False, True]


def test_a_gap_covers_a_hole(pair: tuple[socket.socket, RawStream]) -> None:
    stream = fed(pair, HEAD + event(4, b"hub.position") + event(7, b"hub.gap") + event(8))
    assert (stream.holes, stream.gaps) == (0, 1)


def test_a_resumed_stream_knows_where_it_starts() -> None:
    hub, client = socket.socketpair()
    with hub, client:
        stream = fed((hub, RawStream(client, "abcdef.4")), HEAD + event(6))
    assert stream.holes == 1


@pytest.mark.parametrize(
    "data",
    [
        HEAD + event(5),  # without where it starts
        HEAD + chunk(b"data:no space\n\n"),
        HEAD + b"zz\r\n",
        HEAD.replace(b"200 OK", b"404 Not Found"),
    ],
)
def test_what_a_hub_never_writes(pair: tuple[socket.socket, RawStream], data: bytes) -> None:
    assert fed(pair, data).malformed


def test_a_refusal_is_not_malformed(pair: tuple[socket.socket, RawStream]) -> None:
    stream = fed(pair, b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 3\r\n\r\n")
    assert stream.refused
    assert not stream.is_open
    assert not stream.malformed


def test_a_reset_ends_a_stream() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        hub, _ = listener.accept()
        with client:
            hub.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            hub.close()
            stream = RawStream(client)
            stream.receive()
            assert stream.ended_at


@pytest.mark.parametrize("mark", [b"~", b"event: hub.open"])
def test_a_mark_is_counted_once_wherever_it_is_cut(mark: bytes) -> None:
    for cut in range(len(mark) + 1):
        hub, client = socket.socketpair()
        with hub, client:
            stream = Awaited(client, 0.0, mark, 2)
            for part in (b"a " + mark[:cut], mark[cut:] + b" b ", mark):
                assert stream.seconds is None
                hub.sendall(part)
                stream.receive()
            assert stream.left == 0
            assert stream.seconds is not None
