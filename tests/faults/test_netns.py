"""The network of the faults: what it breaks is broken, what it heals works, and nothing of it is left."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from faults.netns import PREFIX, Network, kill_sockets

from support.waiting import PATIENCE

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0 or not all(map(shutil.which, ["ip", "nft", "tc", "ss"])),
    reason="needs root on Linux, and the programs ip, nft, tc and ss",
)


@pytest.fixture
def net() -> Iterator[Network]:
    with Network() as net:
        yield net


@pytest.fixture
def pair(net: Network) -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server((net.hub, 0)) as listener:
        with net.inside():
            client = socket.create_connection(listener.getsockname(), PATIENCE)
        server, peer = listener.accept()
        assert peer[0] == net.client
        server.settimeout(PATIENCE)
        with client, server:
            yield server, client


def test_the_hub_is_reached_and_this_thread_is_home_again(
    pair: tuple[socket.socket, socket.socket], net: Network
) -> None:
    server, client = pair
    server.sendall(b"a")
    assert client.recv(1) == b"a"
    home = socket.create_server((net.hub, 0))  # the address of this side
    home.close()


def test_a_blackhole_drops_everything_until_it_is_healed(
    pair: tuple[socket.socket, socket.socket], net: Network
) -> None:
    server, client = pair
    net.blackhole()
    server.sendall(b"a")
    client.sendall(b"b")
    client.settimeout(1)
    with pytest.raises(TimeoutError):
        client.recv(1)
    net.heal()
    client.settimeout(PATIENCE)
    server.settimeout(PATIENCE)
    assert client.recv(1) == b"a"
    assert server.recv(1) == b"b"


def test_a_slow_link(pair: tuple[socket.socket, socket.socket], net: Network) -> None:
    server, client = pair
    net.limit("256kbit")
    begun = time.monotonic()
    server.sendall(bytes(64 * 1024))
    server.shutdown(socket.SHUT_WR)
    while client.recv(65536):
        pass
    assert time.monotonic() - begun > 1
    net.unlimit()


def test_sockets_are_killed_on_both_ends(pair: tuple[socket.socket, socket.socket]) -> None:
    server, client = pair
    assert kill_sockets("dst", server.getpeername()[0], "sport", "=", f":{server.getsockname()[1]}") == 1
    with pytest.raises(OSError, match="abort"):
        server.recv(1)
    client.settimeout(PATIENCE)
    with pytest.raises(ConnectionResetError):
        client.recv(1)


def test_nothing_is_left() -> None:
    with Network() as net:
        with net.inside():
            still_open = socket.socket()
        assert net.name in subprocess.check_output(["ip", "netns"], text=True)
    with still_open:
        listed = subprocess.check_output(["ip", "netns"], text=True)
        listed += subprocess.check_output(["ip", "addr"], text=True)
    assert net.name not in listed
    assert net.hub not in listed
    assert PREFIX in net.name
