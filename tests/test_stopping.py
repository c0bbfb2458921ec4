"""
Whole servers are told to stop while streams are open; and several workers of one server refuse to start.

Two seconds are promised for a stop, on a machine that has time. Five are asserted here: whoever
waits for a stream waits for ever.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.client import IncompleteRead
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI, Request

from support import Process, free_port, wait_until
from tidewire import EventStreamResponse, Hub
from tidewire.server.protocol import StreamProtocol
from tidewire.streams import DrainFirst, streams_of_loop
from tidewire.workers import REFUSAL
from ways import APPS, Listener, Served

SOON = 5.0
START = 40.0

UVICORN = "uvicorn {app} --port {port} --no-access-log"
TAKEOVER = f"{UVICORN} --http tidewire.server.protocol:StreamProtocol"
GRANIAN = "granian {app} --port {port} --interface asgi --no-ws"
GUNICORN = "gunicorn {app} --bind 127.0.0.1:{port} --worker-class uvicorn_worker.UvicornWorker"
HYPERCORN = "hypercorn {app} --bind 127.0.0.1:{port}"
PROGRAM = f"python {APPS}/programs.py {{app}} {{port}}"

# What each server prints when a worker has started.
STARTED = re.compile(r"Application startup complete|Started worker-|Running on http\S+ \(CTRL|Tidewire \S+ on")

ORDERS = "/orders/7/events"
FIFTY = {"hub": [ORDERS] * 50, "generators": ["/clock"] * 40 + ["/sync-clock"] * 10}


def start(command: str, app: str = "stopping:app", **options: Any) -> Served:
    port = free_port()
    program, *arguments = command.format(app=app, port=port).split()
    argv = [str(Path(sys.executable).parent / program), *arguments]
    process = Process(argv, env={"HUB_OPTIONS": json.dumps(options), "PYTHONPATH": str(APPS)})
    return Served(port, process, program)


@contextmanager
def running(command: str, app: str = "stopping:app", workers: int = 1, **options: Any) -> Iterator[Served]:
    """Run a server, and go on when all its workers have started: granian loses a signal that comes earlier."""
    if workers > 1:
        command += f" --workers {workers}"
        options["per_process"] = True
    served = start(command, app, **options)
    with served.process as process:
        process.wait_port(served.port, START)
        wait_until(lambda: len(STARTED.findall(process.output)) >= workers, START)
        yield served
        assert "Traceback" not in process.output


def listen(served: Served, stack: ExitStack, paths: list[str]) -> list[Listener]:
    """Open streams, and go on when each has had its first event."""

    def open_one(path: str) -> Listener:
        listener = stack.enter_context(served.listen(path))
        listener.take(1)
        return listener

    with ThreadPoolExecutor(len(paths)) as pool:
        return list(pool.map(open_one, paths))


def ends(listeners: list[Listener]) -> list[int]:
    """Read all streams to the proper end of their bodies; return the `retry:` that each was left with."""
    with ThreadPoolExecutor(len(listeners)) as pool:
        list(pool.map(lambda listener: listener.rest(SOON), listeners))
    return [listener.decoder.retry or 0 for listener in listeners]


def check_spread(retries: list[int]) -> None:
    """Nobody can come back before the process does, and then not all at once."""
    assert all(2000 <= retry <= 12_000 for retry in retries)
    assert max(retries) - min(retries) > 5000


# -- by a signal


@pytest.mark.parametrize(
    ("command", "workers", "number", "code"),
    [
        # The exit codes are those of the same servers with no stream open; -15 is a shell's 143.
        pytest.param(UVICORN, 1, signal.SIGTERM, -15, id="uvicorn"),
        pytest.param(TAKEOVER, 1, signal.SIGTERM, -15, id="takeover"),
        pytest.param(f"{UVICORN} --reload", 1, signal.SIGTERM, 0, id="reload"),
        pytest.param(f"{UVICORN} --reload", 1, signal.SIGINT, 0, id="reload-sigint"),
        pytest.param(UVICORN, 2, signal.SIGTERM, 0, id="uvicorn-workers"),
        pytest.param(GRANIAN, 1, signal.SIGTERM, 0, id="granian"),
        pytest.param(GRANIAN, 2, signal.SIGTERM, 0, id="granian-workers"),
        pytest.param(GUNICORN, 1, signal.SIGTERM, 0, id="gunicorn"),
        pytest.param(GUNICORN, 2, signal.SIGTERM, 0, id="gunicorn-workers"),
    ],
)
def test_a_signal_ends_all_streams(command: str, workers: int, number: int, code: int) -> None:
    with running(command, workers=workers) as served, ExitStack() as stack:
        hub = listen(served, stack, FIFTY["hub"])
        generators = listen(served, stack, FIFTY["generators"])
        served.process.send_signal(number)
        check_spread(ends(hub))
        check_spread(ends(generators))
        assert served.process.wait(SOON) == code


@pytest.mark.parametrize("command", [UVICORN, TAKEOVER, GRANIAN], ids=["uvicorn", "takeover", "granian"])
def test_a_program_with_generators_and_no_hub(command: str) -> None:
    with running(command, "generators:app") as served, ExitStack() as stack:
        listeners = listen(served, stack, ["/stream/ticks"] * 25 + ["/bare/stream/sync_ticks"] * 25)
        served.process.send_signal(signal.SIGTERM)
        check_spread(ends(listeners))
        served.process.wait(SOON)


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("command", [UVICORN, TAKEOVER], ids=["uvicorn", "takeover"])
def test_a_second_signal_does_no_harm(command: str, second: int) -> None:
    with running(command) as served, ExitStack() as stack:
        # A thread that sleeps makes the drain last a second.
        listeners = listen(served, stack, [ORDERS, "/sync-clock?pause=3"])
        served.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        served.process.send_signal(second)
        ends(listeners)
        served.process.wait(SOON)


def test_tidewire_serve() -> None:
    with running("tidewire serve --port {port}") as served, ExitStack() as stack:
        listeners = listen(served, stack, ["/events/news"] * 50)
        served.process.send_signal(signal.SIGTERM)
        check_spread(ends(listeners))
        assert served.process.wait(SOON) == 0


def test_hypercorn_tells_its_workers_nothing() -> None:
    """The streams are cut off when its graceful timeout of 3 s is over; `hub.drain()` would end them."""
    with start(HYPERCORN) as served, ExitStack() as stack:
        ...


@pytest.mark.parametrize("program", ["opened_first", "no_handlers"])
def test_programs_that_run_their_server_themselves(program: str) -> None:
    with running(PROGRAM, program) as served, ExitStack() as stack:
        listeners = listen(served, stack, FIFTY["hub"] + FIFTY["generators"])
        served.process.send_signal(signal.SIGTERM)
        check_spread(ends(listeners))
        assert served.process.wait(SOON) == -15
