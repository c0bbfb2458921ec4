"""The worker lock, between processes with and without a shared socket. With servers: test_stopping."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from support.waiting import PATIENCE
from tidewire.engines import ENGINES
from tidewire.workers import REFUSAL, is_bound, lock, shared_descriptors

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux locks sockets")

# Opens a hub, prints the result, and keeps the hub open until its standard input ends.
WORKER = """
import asyncio, sys
from tidewire import Hub, workers
from tidewire.errors import StartRefused

async def main(timeout, per_process, url):
    workers.LOCK_TIMEOUT = float(timeout)
    hub = Hub(url, per_process=per_process == "True")
    try:
        await hub.open()
    except StartRefused as refusal:
        print(refusal, flush=True)
    else:
        print("open", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        await hub.close()

asyncio.run(main(*sys.argv[1:]))
"""


class Worker:
    def __init__(
        self,
        *sockets: socket.socket,
        timeout: float = 0.3,
        per_process: bool = False,
        url: str = "memory",
    ) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(timeout), str(per_process), url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=[sock.fileno() for sock in sockets],
        )

    def line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def stop(self) -> None:
        self.process.communicate(timeout=PATIENCE)


@contextmanager
def stopped(*workers: Worker) -> Iterator[Sequence[Worker]]:
    with ExitStack() as stack:
        for worker in workers:
            stack.callback(worker.stop)
        yield workers


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with listening() as sock:
        yield sock


def listening() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def test_a_second_worker_of_the_same_server_is_refused(listener: socket.socket) -> None:
    with stopped(Worker(listener)) as (first,):
        assert first.line() == "open"
        with stopped(Worker(listener), Worker(listener)) as others:
            assert [worker.line() for worker in others] == [REFUSAL, REFUSAL]


def test_the_refusal_suggests_only_what_exists() -> None:
    for advice in ('Hub("sqlite:///events.db")', "Hub(per_process=True)"):
        assert advice in REFUSAL
    assert set(re.findall(r"(\w+)://", REFUSAL)) <= ENGINES.keys()


def test_a_worker_can_replace_one_that_ended(listener: socket.socket) -> None:
    with stopped(Worker(listener)) as (first,):
        assert first.line() == "open"
        with stopped(Worker(listener, timeout=PATIENCE)) as (second,):
            first.process.kill()
            assert second.line() == "open"


def test_with_a_log_in_a_file_all_workers_start(listener: socket.socket, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/events.db"
    with stopped(*(Worker(listener, url=url) for _ in range(3))) as workers:
        assert [worker.line() for worker in workers] == ["open"] * 3


def test_with_per_process_all_workers_start(listener: socket.socket) -> None:
    with stopped(*(Worker(listener, per_process=True) for _ in range(3))) as workers:
        assert [worker.line() for worker in workers] == ["open"] * 3


def test_servers_of_one_parent_with_their_own_sockets_all_start() -> None:
    with (
        listening() as one,
        listening() as two,
        stopped(Worker(one), Worker(two), Worker(), Worker()) as workers,
    ):
        assert [worker.line() for worker in workers] == ["open"] * 4


def test_connections_are_not_taken_for_listening_sockets(listener: socket.socket) -> None:
    with socket.create_connection(listener.getsockname()) as client:
        accepted, _ = listener.accept()
        with accepted, socket.socket() as unbound, socket.socket(type=socket.SOCK_DGRAM) as datagram:
            datagram.bind(("127.0.0.1", 0))
            found = [is_bound(sock.fileno()) for sock in (listener, client, accepted, unbound, datagram)]
    assert found == [True, False, False, False, False]


def test_checking_does_not_change_the_socket(listener: socket.socket) -> None:
    socket.setdefaulttimeout(5)
    try:
        assert os.get_blocking(listener.fileno())
        assert listener.fileno() in shared_descriptors()
        assert os.get_blocking(listener.fileno())
        listener.getsockname()
    finally:
        socket.setdefaulttimeout(None)


def test_a_process_may_lock_twice(listener: socket.socket) -> None:
    assert lock(listener.fileno())
    assert lock(listener.fileno())
    # A descriptor that cannot be locked counts as not shared.
    assert lock(10_000)
