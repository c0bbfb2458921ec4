"""How many connections without a stream an address may have."""

from __future__ import annotations

import socket

import httptools
import pytest

from support.stream_server import FIRST, Serving, StreamApp, closed, get, read_until
from support.waiting import wait_until
from tidewire.server.crowd import Crowd
from tidewire.server.protocol import StreamProtocol
from tidewire.settings import Settings


def test_each_address_is_counted_for_itself() -> None:
    crowd = Crowd(Settings())
    far, near = crowd.counted("203.0.113.1"), crowd.counted("203.0.113.2")
    assert far
    assert near
    assert [crowd.enter(far) for _ in range(1001)] == [True] * 1000 + [False]
    assert crowd.enter(near)
    crowd.leave(far)
    assert [crowd.enter(far) for _ in range(2)] == [True, False]
    # One host may own a whole /64.
    assert crowd.counted("2001:db8:1:2::1") == crowd.counted("2001:db8:1:2:3::9")


def test_loopback_is_counted_once_the_limit_is_set() -> None:
    default, off, given = (
        Crowd(Settings()),
        *(Crowd(Settings(max_connections_per_address=limit)) for limit in (0, 5)),
    )
    for address in ("127.0.0.1", "::1"):
        assert default.counted(address) is None
        assert given.counted(address)
    assert off.counted("203.0.113.1") is None
    assert given.counted(None) is None  # a Unix socket


def is_open(client: socket.socket) -> bool:
    client.sendall(get("/"))
    return bool(client.recv(65536))


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_streams_do_not_count_and_ended_connections_make_room(loop: str) -> None:
    protocol = StreamProtocol.configured(Settings(max_connections_per_address=3))
    with Serving(StreamApp(), loop=loop, protocol=protocol) as serving:
        for _ in range(5):
            stream = serving.connect()
            stream.sendall(get())
            read_until(stream, FIRST)
        clients = [serving.connect() for _ in range(3)]
        assert all(map(is_open, clients))
        assert closed(serving.connect())
        clients[0].close()

        def has_room() -> bool:
            with serving.connect() as client:
                try:
                    return is_open(client)
                except OSError:
                    return False

        wait_until(has_room)


def test_a_refused_connection_gets_no_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    made = 0

    class Parser(httptools.HttpRequestParser):  # type: ignore[misc]
        def __new__(cls, *args: object) -> Parser:
            nonlocal made
            made += 1
            return super().__new__(cls, *args)

    monkeypatch.setattr(httptools, "HttpRequestParser", Parser)
    protocol = StreamProtocol.configured(Settings(max_connections_per_address=1))
    with Serving(StreamApp(), protocol=protocol) as serving:
        assert is_open(serving.connect())
        before = made
        assert all(closed(serving.connect()) for _ in range(5))
    assert before
    assert made == before
