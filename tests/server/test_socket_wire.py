"""A stream on its socket after the takeover: flow control, and every way it ends."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from support.stream_clients import SOON, Way, hang_up, receive_slowly, stick, write
from support.stream_server import (
    FIRST,
    Serving,
    StreamApp,
    closed,
    get,
    read_all,
    read_until,
)
from support.waiting import wait_until
from tidewire.server import socket_wire

# -- flow control


def test_a_stuck_reader_pauses_its_subscriber_and_loses_nothing(way: Way, app: StreamApp) -> None:
    client = way.open(receive_buffer=4096)
    subscriber = app.subscriber
    chunk = bytes(range(256)) * 64
    sent = 0

    def fill() -> None:
        nonlocal sent
        while "pause" not in subscriber.calls:
            subscriber.wire.write(subscriber.frame(chunk))
            sent += 1

    way.serving.call(fill)
    wait_until(lambda: "pause" in subscriber.calls)
    assert subscriber.wire.buffered() <= socket_wire.WRITE_LIMIT + 2 * len(chunk)
    expected = way.framed(chunk) * sent
    assert receive_slowly(client, len(expected)) == expected
    wait_until(lambda: subscriber.calls == ["attach", "pause", "resume"])
    client.close()


def test_acknowledged_bytes_are_counted(app: StreamApp, loop: str) -> None:
    with Serving(app, loop=loop) as serving, serving.connect() as client:
        client.sendall(get())
        head = len(read_until(client, FIRST + b"\r\n"))
        subscriber = app.subscriber
        # TCP counts the SYN too.
        wait_until(lambda: subscriber.wire.acknowledged() in (head, head + 1))
        write(serving, subscriber, b"x" * 1000)
        wait_until(lambda: subscriber.wire.acknowledged() - head in (1007, 1008))
        assert subscriber.wire.buffered() == 0


def test_a_unix_socket_has_no_acknowledgements(app: StreamApp, loop: str, tmp_path: Path) -> None:
    with Serving(app, loop=loop, uds=str(tmp_path / "s")) as serving, serving.connect() as client:
        client.sendall(get())
        read_until(client, FIRST)
        assert app.subscriber.wire.acknowledged() is None
        serving.call(app.subscriber.wire.abort)
        assert closed(client)


def test_the_socket_is_tuned(way: Way, app: StreamApp) -> None:
    client = way.open()
    transport = app.subscriber.wire._transport
    assert transport.get_write_buffer_limits()[1] == 1
    if way.name != "unix":
        sock = transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == 65_536
    client.close()


def test_the_kernel_can_be_told_to_tolerate_a_slow_reader(way: Way, app: StreamApp) -> None:
    client = way.open()
    wire = app.subscriber.wire
    sock = wire._transport.get_extra_info("socket")
    for tolerate in (True, True, False):
        way.serving.call(wire.tolerate_stalls, tolerate)
        timeout = 0 if tolerate else 30_000
        wait_until(
            lambda timeout=timeout: (
                way.name == "unix" or sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == timeout
            )
        )
    client.close()


# -- ending


@pytest.mark.parametrize("how", ["close", "half-close", "reset"])
def test_the_peers_close_is_noticed_within_a_second(how: str, way: Way, app: StreamApp) -> None:
    client = way.open()
    subscriber = app.subscriber
    hang_up(client, how)
    wait_until(lambda: subscriber.calls == ["attach", "lost"], timeout=SOON)
    wait_until(lambda: not way.serving.connections, timeout=SOON)
    client.close()


def test_the_close_of_a_stuck_reader_is_noticed_too(app: StreamApp, loop: str) -> None:
    with Serving(app, loop=loop) as serving:
        client = serving.connect(receive_buffer=4096)
        client.sendall(get())
        read_until(client, FIRST)
        subscriber = app.subscriber
        write(serving, subscriber, b"x" * 16_000_000)
        wait_until(lambda: "pause" in subscriber.calls)
        client.shutdown(socket.SHUT_WR)
        wait_until(lambda: subscriber.calls == ["attach", "pause", "lost"], timeout=SOON)
        client.close()


def test_a_stuck_reader_does_not_delay_the_end(way: Way, app: StreamApp) -> None:
    client = way.open(receive_buffer=4096)
    subscriber = app.subscriber
    stick(way, subscriber)
    way.serving.call(subscriber.wire.end)
    wait_until(lambda: "lost" in subscriber.calls, timeout=socket_wire.END_TIMEOUT + SOON)
    client.close()


def test_abort_resets(app: StreamApp, loop: str) -> None:
    with Serving(app, loop=loop) as serving, serving.connect() as client:
        client.sendall(get())
        read_until(client, FIRST + b"\r\n")
        serving.call(app.subscriber.wire.abort)
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        wait_until(lambda: app.subscriber.calls == ["attach", "lost"])


def test_ending_twice_or_after_a_disconnect_does_nothing(way: Way, app: StreamApp) -> None:
    client = way.open()
    subscriber = app.subscriber
    for _ in range(2):
        way.serving.call(subscriber.wire.end)
    assert way.body(read_all(client)) == (b"", True)
    client.close()
    wait_until(lambda: "lost" in subscriber.calls)
    way.serving.call(subscriber.wire.end)
    way.serving.call(subscriber.wire.abort)
    way.serving.call(lambda: subscriber.calls.append(f"acknowledged {subscriber.wire.acknowledged()}"))
    wait_until(lambda: subscriber.calls == ["attach", "lost", "acknowledged None"])
