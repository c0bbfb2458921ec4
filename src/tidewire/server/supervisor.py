"""
Several processes that serve one port: `tidewire serve --workers N`.

This process binds the sockets, starts the workers and serves nothing itself. Each worker is
a new process with a hub of its own; the log is what they share.

Rule 1: SIGTERM and SIGINT stop all workers, and this process ends after the last one.
Rule 2: a worker that ends by itself is started again, unless its start was refused or too many
        workers have ended lately: then all stop.
Rule 3: no worker outlives this process: each stops when its end of a pipe says that the other
        end is closed, and the system closes that however this process ends.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from types import FrameType
from typing import Any

from ..errors import StartRefused, TidewireError

logger = logging.getLogger("tidewire.server")

# Serves on the sockets and calls its second argument with the URLs once it does. It and what it needs
# must be picklable. Raises `StartRefused`, and `TidewireError` for other ends that it can explain.
Work = Callable[[Sequence[socket.socket], Callable[[Sequence[str]], object]], object]

# A pipe that a process closes as it ends, and sockets that it hands on, are not there on Windows.
ONE_PROCESS = os.name == "nt"

# This number of deaths within this number of seconds is not bad luck: starting again would not help.
MAX_DEATHS = 5
DEATHS_WITHIN = 60.0

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def supervise(
    work: Work,
    listeners: Sequence[socket.socket],
    count: int,
    started: Callable[[Sequence[str]], object] = lambda urls: None,
) -> None:
    """
    Run `work` in `count` new processes until SIGTERM or SIGINT; return once all have stopped.

    `started` is called once, with the URLs, when all workers serve. Raises `StartRefused` if
    a worker could not start and `TidewireError` if they ended again and again.
    """
    Supervisor(work, listeners, count, started).run()


class Worker:
    """A process that serves."""

    def __init__(self, work: Work, listeners: Sequence[socket.socket]) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.serves = False
        self.last_words: TidewireError | None = None
        self._process = context.Process(target=run_worker, args=(work, listeners, theirs), daemon=True)
        # Ctrl-C goes to all processes of a terminal, and would end one that is still importing with a
        # traceback. A new process keeps the mask; what multiprocessing starts with the first one resets it.
        resource_tracker.ensure_running()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        theirs.close()

    def stop(self) -> None:
        self._process.terminate()

    def join(self) -> str:
        """Wait until the process has ended and return how it did."""
        self._process.join()
        code = self._process.exitcode or 0
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        words = f" ({self.last_words.detail})" if self.last_words else ""
        return f"worker process {self._process.pid} {how}{words}"


class Supervisor:
    def __init__(
        self,
        work: Work,
        listeners: Sequence[socket.socket],
        count: int,
        started: Callable[[Sequence[str]], object],
    ) -> None:
        self._work = work
        self._listeners = listeners
        self._count = count
        self._started = started
        self._workers: dict[Connection, Worker] = {}
        self._deaths: list[float] = []
        self._announced = self._stopping = False
        self._error: TidewireError | None = None

    def run(self) -> None:
        with signals() as caught:
            for _ in range(self._count):
                self._start_worker()
            while self._workers:
                for pipe in wait([caught, *self._workers]):
                    if pipe is caught:
                        caught.recv_bytes()
                        self._stop()
                    else:
                        self._read(self._workers[pipe])  # type: ignore[index]
        if self._error is not None:
            raise self._error

    def _start_worker(self) -> None:
        worker = Worker(self._work, self._listeners)
        self._workers[worker.pipe] = worker

    def _stop(self, error: TidewireError | None = None) -> None:
        if not self._stopping:
            self._stopping, self._error = True, error
        for worker in self._workers.values():
            worker.stop()

    def _read(self, worker: Worker) -> None:
        try:
            message = worker.pipe.recv()
        except (EOFError, ConnectionResetError):
            self._on_end(worker)
            return
        if isinstance(message, Ended):
            worker.last_words = message.error()
        else:
            worker.serves = True
            self._on_serving(message)

    def _on_serving(self, urls: Sequence[str]) -> None:
        if not self._announced and all(worker.serves for worker in self._workers.values()):
            self._announced = True
            self._started(urls)

    def _on_end(self, worker: Worker) -> None:
        del self._workers[worker.pipe]
        worker.pipe.close()
        how = worker.join()
        if self._stopping:
            return
        if isinstance(worker.last_words, StartRefused):
            self._stop(worker.last_words)
            return
        now = time.monotonic()
        self._deaths = [*(then for then in self._deaths if then > now - DEATHS_WITHIN), now]
        if len(self._deaths) >= MAX_DEATHS:
            text = f"stopped, since {MAX_DEATHS} workers ended within {DEATHS_WITHIN:.0f} s: the last {how}"
            self._stop(TidewireError(text, code="workers_failed"))
            return
        logger.error("%s; it is started again", how)
        self._start_worker()


@contextlib.contextmanager
def signals() -> Iterator[Connection]:
    """Catch SIGTERM and SIGINT, and give a pipe that has a byte for each."""
    reader, writer = multiprocessing.Pipe(duplex=False)

    def on_signal(number: int, frame: FrameType | None) -> None:
        writer.send_bytes(b"!")

    before = [signal.signal(number, on_signal) for number in SIGNALS]
    try:
        yield reader
    finally:
        for number, handler in zip(SIGNALS, before, strict=True):
            signal.signal(number, handler)
        reader.close()
        writer.close()


# -- in a worker


class Ended:
    """Why a worker ends: an exception with keyword arguments cannot be pickled."""

    def __init__(self, error: TidewireError) -> None:
        self._refused = isinstance(error, StartRefused)
        self._detail, self._code = error.detail, error.code

    def error(self) -> TidewireError:
        return (StartRefused if self._refused else TidewireError)(self._detail, code=self._code)


def run_worker(work: Work, listeners: Sequence[socket.socket], pipe: Connection) -> None:
    """The main function of a worker's process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # until the server handles it
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=stop_with_parent, args=(pipe,), daemon=True).start()

    def tell(message: Any) -> None:
        with contextlib.suppress(OSError):  # the parent has ended
            pipe.send(message)

    try:
        work(listeners, tell)
    except TidewireError as error:
        tell(Ended(error))
        raise SystemExit(1) from None


def stop_with_parent(pipe: Connection) -> None:
    with contextlib.suppress(EOFError, OSError):
        pipe.recv()  # nothing comes but the end
    os.kill(os.getpid(), signal.SIGTERM)
