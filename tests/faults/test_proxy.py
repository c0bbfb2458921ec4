"""The fault proxy does to a connection what it is set to do, and nothing else."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest
from faults.proxy import Proxy

from support.waiting import PATIENCE, wait_until

SOON = 0.3  # long enough to see that nothing comes


class Echo:
    """Sends back what it gets, and ends when its client does."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = self._listener.getsockname()
        self.ends: list[str] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            try:
                while data := client.recv(65536):
                    client.sendall(data)
                self.ends.append("end")
            except OSError:
                self.ends.append("reset")

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    with Proxy(echo.address) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: Proxy) -> Iterator[socket.socket]:
    with socket.create_connection(proxy.address, PATIENCE) as client:
        yield client


def take(client: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (part := client.recv(size - len(data))):
        data += part
    return data


def silent(client: socket.socket) -> bool:
    client.settimeout(SOON)
    try:
        client.recv(1)
    except TimeoutError:
        return True
    finally:
        client.settimeout(PATIENCE)
    return False


def test_passes_on_bytes_and_the_end(client: socket.socket, echo: Echo, proxy: Proxy) -> None:
    data = bytes(range(256)) * 4096
    threading.Thread(target=client.sendall, args=(data,)).start()
    assert take(client, len(data)) == data
    client.shutdown(socket.SHUT_WR)
    assert client.recv(1) == b""
    assert echo.ends == ["end"]
    wait_until(lambda: not proxy.connections)


def test_latency(client: socket.socket, proxy: Proxy) -> None:
    proxy.up.latency = proxy.down.latency = 0.5
    begun = time.monotonic()
    client.sendall(b"a")
    assert take(client, 1) == b"a"
    assert time.monotonic() - begun >= 1


def test_latency_does_not_add_up(client: socket.socket, proxy: Proxy) -> None:
    proxy.down.latency = 1
    begun = time.monotonic()
    for _ in range(8):
        client.sendall(b"a")
        time.sleep(0.05)
    assert take(client, 8) == b"a" * 8
    assert time.monotonic() - begun < 7


def test_rate(client: socket.socket, proxy: Proxy) -> None:
    proxy.down.rate = 10_000
    begun = time.monotonic()
    client.sendall(b"a" * 20_000)
    assert len(take(client, 20_000)) == 20_000
    assert time.monotonic() - begun >= 1.8


def test_slices(client: socket.socket, proxy: Proxy) -> None:
    proxy.down.slices = 3
    client.sendall(b"a" * 100)
    assert take(client, 100) == b"a" * 100


def test_a_stopped_direction_fills_up(client: socket.socket, proxy: Proxy, echo: Echo) -> None:
    proxy.down.stopped = True
    client.sendall(b"first")
    assert silent(client)
    proxy.down.stopped = False
    assert take(client, 5) == b"first"
    proxy.up.stopped = True
    client.settimeout(1)
    with pytest.raises(TimeoutError):
        for _ in range(1000):  # more than all buffers hold
            client.sendall(bytes(65536))


def test_a_blackhole_passes_nothing_on(client: socket.socket, echo: Echo, proxy: Proxy) -> None:
    client.sendall(b"a")
    assert take(client, 1) == b"a"
    proxy.blackhole = True
    client.sendall(b"lost?")
    with socket.create_connection(proxy.address, PATIENCE) as second:
        second.sendall(b"b")
        assert silent(client)
        assert silent(second)
        client.close()
        time.sleep(SOON)
        assert not echo.ends
        proxy.blackhole = False
        assert take(second, 1) == b"b"
    wait_until(lambda: len(echo.ends) == 2)


def test_reset_after_a_number_of_bytes(client: socket.socket, echo: Echo, proxy: Proxy) -> None:
    proxy.down.reset_after = 10
    client.sendall(b"a" * 15)
    assert take(client, 10) == b"a" * 10
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    wait_until(lambda: echo.ends == ["reset"])


def test_reset_of_all_connections(client: socket.socket, echo: Echo, proxy: Proxy) -> None:
    client.sendall(b"a")
    assert take(client, 1) == b"a"
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    wait_until(lambda: echo.ends == ["reset"])
    assert not proxy.connections


def test_half_close_leaves_the_other_direction(client: socket.socket, echo: Echo, proxy: Proxy) -> None:
    proxy.up.half_close_after = 4
    client.sendall(b"ping and more")
    assert take(client, 5) == b"ping"  # and then the end, as the echo ends too
    assert echo.ends == ["end"]


def test_a_target_that_refuses_is_a_reset(proxy: Proxy) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        proxy.target = closed.getsockname()
        # The reset may come while the client still looks at its new connection.
        with pytest.raises(ConnectionResetError), socket.create_connection(proxy.address, PATIENCE) as client:
            client.recv(1)
