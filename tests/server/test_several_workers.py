"""A program with a log in a file, in several workers of each server: they have one log, and no owner."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple

import pytest

from support.ports import free_port
from support.processes import Process, group_members, paused
from support.waiting import PATIENCE, wait_until
from support.ways import APPS, Listener, Served
from tidewire.event_stream import Event
from tidewire.position import parse_position

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="on Windows a hub is one process")

# A worker that a test has stopped for a moment does not answer, and is not to be replaced for that.
UVICORN = (
    "uvicorn several_workers:app --port {port} --workers 4 --ws none --no-access-log"
    " --timeout-keep-alive 120 --timeout-worker-healthcheck 30"
)
GUNICORN = (
    "gunicorn several_workers:app --bind 127.0.0.1:{port} --workers 4 --no-control-socket"
    " --worker-class uvicorn_worker.UvicornWorker --timeout 120 --keep-alive 120"
)
GRANIAN = (
    "granian several_workers:app --port {port} --workers 2 --interface asgi --no-ws --respawn-failed-workers"
)


class Server(NamedTuple):
    command: str
    workers: int
    # Whether all accept from one socket: then, while some are stopped, what comes goes to the others.
    one_socket: bool = True


SERVERS = {
    "uvicorn": Server(UVICORN, 4),
    "gunicorn": Server(GUNICORN, 4),
    "gunicorn-preload": Server(f"{GUNICORN} --preload", 4),
    "granian": Server(GRANIAN, 2, one_socket=False),
}


class Worker:
    """One of the workers: a connection for publishing that ends there, and a stream that begins there."""

    def __init__(self, port: int, pid: int, others: Iterable[int]) -> None:
        self.pid = pid
        self._port = port
        with paused(*others):
            self._connection = connect(port, lambda found: found == pid)[0]
            self.stream = Listener(port, "/events/news")
            while worker_of(self.stream) != pid:
                self.stream.close()
                self.stream = Listener(port, "/events/news")
            (start,) = self.stream.take(1)
        self.last_id = start.id
        self.read: list[tuple[str | None, str]] = []

    def _ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        self._connection.request(method, path, body)
        response = self._connection.getresponse()
        answer = response.read()
        assert response.status == 200, answer
        return int(response.headers["x-worker"]), answer

    def publish(self, *texts: str) -> list[tuple[str, str]]:
        """Publish through this worker. Return the ids and the texts."""
        published = []
        for text in texts:
            pid, answer = self._ask("POST", "/events/news", text.encode())
            assert pid == self.pid
            published.append((json.loads(answer)["id"], text))
        return published

    def take(self, count: int) -> None:
        self._keep(self.stream.take(count))

    def resume(self, rest: list[Event]) -> None:
        """Keep the `rest` of a stream that is over, and continue it wherever the server likes."""
        self._keep(rest)
        self.stream.close()
        self.stream = wait_until(self._reopen)

    def _reopen(self) -> Listener | None:
        try:
            stream = Listener(self._port, "/events/news", {"Last-Event-ID": str(self.last_id)})
        except ConnectionError:  # a worker that stops had accepted it
            return None
        if stream.status == 503:
            stream.close()
            return None
        return stream

    def _keep(self, events: list[Event]) -> None:
        for event in events:
            if event.id is not None:
                self.last_id = event.id
            assert not event.event.startswith("hub."), event
            self.read.append((event.id, event.data))

    def close(self) -> None:
        self._connection.close()
        self.stream.close()


class Program:
    """A server that runs the program, and its workers."""

    def __init__(self, server: Server, process: Process, port: int) -> None:
        self._server = server
        self.process = process
        self.port = port
        self.workers: list[Worker] = []

    def find_worker(self, others: Collection[int]) -> int:
        """Return a worker that is none of the `others`.

        The server must have started it already: uvicorn starts no worker while it waits for a paused one to
        answer its health check.
        """
        with paused(*(others if self._server.one_socket else ())):
            connection, pid = connect(self.port, lambda found: found not in others)
        connection.close()
        return pid

    def worker(self, pid: int, all: Collection[int]) -> Worker:
        return Worker(self.port, pid, {*all} - {pid} if self._server.one_socket else ())


def worker_of(stream: Listener) -> int:
    return int(stream.headers["x-worker"])


def connect(port: int, wanted: Callable[[int], bool]) -> tuple[HTTPConnection, int]:
    """Return a connection that ends at a worker that is `wanted`, and that worker."""
    while True:
        connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        connection.request("GET", "/worker")
        response = connection.getresponse()
        response.read()
        pid = int(response.headers["x-worker"])
        if wanted(pid):
            return connection, pid
        connection.close()


@contextmanager
def running(server: Server, log: Path) -> Iterator[Program]:
    """Run a server, and find all its workers."""
    port = free_port()
    program, *arguments = server.command.format(port=port).split()
    argv = [str(Path(sys.executable).parent / program), *arguments]
    python_path = os.pathsep.join(filter(None, [str(APPS), os.environ.get("PYTHONPATH")]))
    with (
        Process(argv, env={"LOG": f"sqlite:///{log}", "PYTHONPATH": python_path}) as process,
        ExitStack() as stack,
    ):
        process.wait_port(port)
        running = Program(server, process, port)
        pids: set[int] = set()
        while len(pids) < server.workers:
            pids.add(running.find_worker(pids))
        for pid in pids:
            worker = running.worker(pid, pids)
            stack.callback(worker.close)
            running.workers.append(worker)
        yield running


def texts(worker: Worker, count: int) -> list[str]:
    return [f"{worker.pid}: {number}" for number in range(count)]


def publish_through(workers: Sequence[Worker], count: int) -> list[tuple[str, str]]:
    """Publish through all of them at once. Return what was acknowledged, in the order of the log."""
    with ThreadPoolExecutor(len(workers)) as pool:
        answers = [*pool.map(lambda worker: worker.publish(*texts(worker, count)), workers)]
    published = sorted((pair for answer in answers for pair in answer), key=offset)
    assert len({id for id, _ in published}) == len(workers) * count
    # What one publisher sent is in its order.
    for worker, answer in zip(workers, answers, strict=True):
        assert [pair for pair in published if pair[1].startswith(f"{worker.pid}:")] == answer
    return published


def offset(pair: tuple[str, str]) -> int:
    return parse_position(pair[0]).offset


@pytest.mark.parametrize("server", SERVERS)
def test_each_event_arrives_once_and_in_order_at_every_worker_and_a_killed_one_leaves_no_hole(
    server: str, tmp_path: Path
) -> None:
    with running(SERVERS[server], tmp_path / "log.db") as program:
        killed, *others = program.workers
        published = publish_through(program.workers, 25)
        for worker in program.workers:
            worker.take(25 * len(program.workers))
            assert worker.read == published

        with ThreadPoolExecutor(1) as pool:
            more = pool.submit(publish_through, others, 50)
            others[0].take(1)  # it has begun
            before = {*group_members(program.process.pid)}
            os.kill(killed.pid, signal.SIGKILL)
            killed.resume(killed.stream.rest_until_cut())
            published += more.result()
        for worker in program.workers:
            worker.take(len(published) - len(worker.read))
            assert worker.read == published

        # The server has replaced it, and the new one has the same log.
        living = {worker.pid for worker in others}
        # If it was killed while uvicorn asked for its health, uvicorn waits that long before it looks again.
        wait_until(lambda: {*group_members(program.process.pid)} - before, 2 * PATIENCE)
        pid = program.find_worker(living)
        assert pid != killed.pid
        with closing(program.worker(pid, living)) as new:
            published += new.publish("from the new one")
            for worker in (new, *program.workers):
                worker.take(1)
                assert worker.read[-1] == published[-1]


def test_a_reload_of_gunicorn_replaces_all_workers_and_loses_nothing(tmp_path: Path) -> None:
    with running(SERVERS["gunicorn"], tmp_path / "log.db") as program:
        published = publish_through(program.workers, 5)
        old = {worker.pid for worker in program.workers}
        program.process.send_signal(signal.SIGHUP)
        for worker in program.workers:
            # One that is told to stop later may have taken it in the meantime.
            while worker_of(worker.stream) in old:
                worker.resume(worker.stream.rest())
        published.append((Served(program.port, program.process, "").publish("news", "after"), "after"))
        for worker in program.workers:
            worker.take(len(published) - len(worker.read))
            assert worker.read == published
