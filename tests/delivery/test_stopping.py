"""
Whole servers are stopped while streams are open, and several workers of one server refuse to start.

Two seconds are promised for a stop on an idle machine. Twenty are asserted here: a server that waited
for its streams would wait forever, or for 30 s (gunicorn).
"""

from __future__ import annotations

import asyncio
import importlib
import json
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from support.fakes import virtual
from support.ports import free_port
from support.processes import Process
from support.waiting import wait_until, wait_until_async
from support.ways import APPS, HYPERCORN_CUTS, UVICORN, Listener, Served, tracebacks
from tidewire import Hub
from tidewire.delivery.stopping import DrainFirst, drains_of_loop
from tidewire.workers import REFUSAL

SOON = 20.0

PROTOCOL = "tidewire.server.protocol:StreamProtocol"
TAKEOVER = f"{UVICORN} --http {PROTOCOL}"
GRANIAN = "granian {app} --port {port} --interface asgi --no-ws"
GUNICORN = "gunicorn {app} --bind 127.0.0.1:{port} --no-control-socket -k uvicorn_worker.UvicornWorker"
HYPERCORN = "hypercorn {app} --bind 127.0.0.1:{port}"
PROGRAM = f"python {APPS}/programs.py {{app}} {{port}}"

# What each server prints when a worker has started.
STARTED = re.compile(r"Application startup complete|Started worker-|Running on http|^Tidewire \S+ on", re.M)

ORDERS = "/orders/7/events"
HUB = [ORDERS] * 50
GENERATORS = ["/clock"] * 40 + ["/sync-clock"] * 10


def start(command: str, app: str = "stopping:app", **options: Any) -> Served:
    port = free_port()
    program, *arguments = command.format(app=app, port=port).split()
    argv = [str(Path(sys.executable).parent / program), *arguments]
    process = Process(argv, env={"HUB_OPTIONS": json.dumps(options), "PYTHONPATH": str(APPS)})
    return Served(port, process, program)


@contextmanager
def running(command: str, app: str = "stopping:app", workers: int = 1, **options: Any) -> Iterator[Served]:
    """Run a server, and continue once all workers have started: granian loses a signal sent before that."""
    if workers > 1:
        command += f" --workers {workers}"
        options["per_process"] = True
    served = start(command, app, **options)
    with served.process as process:
        process.wait_port(served.port)
        wait_until(lambda: len(STARTED.findall(process.output)) >= workers)
        yield served


def listen(served: Served, stack: ExitStack, paths: Sequence[str]) -> list[Listener]:
    """Open streams, and continue once each has had its first event."""

    def open_one(path: str) -> Listener:
        listener = stack.enter_context(served.listen(path))
        listener.take(1)
        return listener

    with ThreadPoolExecutor(len(paths)) as pool:
        return list(pool.map(open_one, paths))


def ends(listeners: Sequence[Listener]) -> list[int]:
    """Read all streams to the end; return the `retry:` that each was left with."""
    with ThreadPoolExecutor(len(listeners)) as pool:
        list(pool.map(rest, listeners))
    return [listener.decoder.retry or 0 for listener in listeners]


def rest(listener: Listener) -> None:
    """Read a stream of a hub to its proper end, and one of a generator until it is cut."""
    if listener.path.startswith((ORDERS, "/events")):
        listener.rest(SOON)
    else:
        listener.rest_until_cut(SOON)


def check_spread(retries: Sequence[int]) -> None:
    """Clients must not reconnect before the process is back, nor all at once."""
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
        pytest.param(GUNICORN, 2, signal.SIGTERM, 0, id="gunicorn-workers"),
    ],
)
def test_a_signal_ends_all_streams(command: str, workers: int, number: int, code: int) -> None:
    with running(command, workers=workers) as served, ExitStack() as stack:
        hub = listen(served, stack, HUB)
        generators = listen(served, stack, GENERATORS)
        served.process.send_signal(number)
        check_spread(ends(hub))
        check_spread(ends(generators))
        assert served.process.wait(SOON) == code
        assert tracebacks(served.process.output) == 0


def test_a_reader_that_reads_nothing_does_not_hold_up_a_stop() -> None:
    """With our protocol. uvicorn alone waits for it, as it does for every other response."""
    with running(TAKEOVER, "generators:app") as served, served.listen("/stream/flood"):
        time.sleep(0.5)  # until all buffers are full
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(SOON) == -15


CUT = {"uvicorn": UVICORN, "takeover": TAKEOVER, **({"hypercorn": HYPERCORN} if HYPERCORN_CUTS else {})}


@pytest.mark.parametrize("command", CUT.values(), ids=CUT)
def test_generators_that_swallow_cancellations_do_not_hold_up_a_stop(command: str) -> None:
    names = ["swallows_cancellations", "swallows_everything"]
    with running(command, "generators:app") as served, ExitStack() as stack:
        listen(served, stack, [f"/stream/{name}" for name in names])
        served.process.send_signal(signal.SIGTERM)
        served.process.wait(SOON)
        for name in names:
            line = f"a generator still runs 3 seconds after its cancellation, .*: {name}$"
            assert len(re.findall(line, served.process.output, re.M)) == 1
        # Nothing more about them: neither that they failed in the end, nor that their tasks were pending.
        assert "the generator of the stream" not in served.process.output
        assert "Task was destroyed" not in served.process.output


def test_tidewire_serve() -> None:
    with running("tidewire serve --port {port}") as served, ExitStack() as stack:
        listeners = listen(served, stack, ["/events/news"] * 50)
        served.process.send_signal(signal.SIGTERM)
        check_spread(ends(listeners))
        assert served.process.wait(SOON) == 0


@pytest.mark.parametrize("command", [UVICORN, TAKEOVER, GRANIAN], ids=["uvicorn", "takeover", "granian"])
def test_a_program_with_generators_and_no_hub(command: str) -> None:
    with running(command, "generators:app") as served, ExitStack() as stack:
        listeners = listen(served, stack, ["/stream/ticks"] * 25 + ["/bare/stream/sync_ticks"] * 25)
        served.process.send_signal(signal.SIGTERM)
        check_spread(ends(listeners))
        served.process.wait(SOON)


@pytest.mark.parametrize(
    ("command", "app"),
    [(UVICORN, "stopping:app"), (TAKEOVER, "stopping:app"), (PROGRAM, "no_handlers")],
    ids=["uvicorn", "takeover", "no-handlers"],
)
def test_a_second_signal_does_no_harm(command: str, app: str) -> None:
    with running(command, app) as served, ExitStack() as stack:
        # A thread that sleeps makes the drain last a second.
        listeners = listen(served, stack, [ORDERS, "/clock", "/sync-clock?pause=3"])
        served.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        served.process.send_signal(signal.SIGTERM)
        ends(listeners)
        served.process.wait(SOON)
        assert tracebacks(served.process.output) == 0


def test_a_second_ctrl_c_quits_uvicorn_at_once() -> None:
    """As its log offers. Streams that have not ended by then are cut off."""
    with running(TAKEOVER) as served, ExitStack() as stack:
        ended, cut = listen(served, stack, [ORDERS, "/own-clock"])
        served.process.send_signal(signal.SIGINT)
        ends([ended])
        assert served.process.returncode is None
        served.process.send_signal(signal.SIGINT)
        served.process.wait(SOON)
        cut.rest_until_cut()


@pytest.mark.parametrize("paths", [HUB, GENERATORS], ids=["hub", "generators"])
@pytest.mark.parametrize("program", ["opened_first", "no_handlers"])
def test_programs_that_run_their_server_themselves(program: str, paths: list[str]) -> None:
    with running(PROGRAM, program) as served, ExitStack() as stack:
        listeners = listen(served, stack, paths)
        served.process.send_signal(signal.SIGTERM)
        check_spread(ends(listeners))
        assert served.process.wait(SOON) == -15


def test_hypercorn_does_not_notify_its_workers() -> None:
    """Its streams continue until its graceful timeout of 3 s is over; on a newer Python, until they end."""
    with running(HYPERCORN) as served, ExitStack() as stack:
        listeners = listen(served, stack, [ORDERS, "/clock"])
        served.process.send_signal(signal.SIGTERM)
        for listener in listeners:
            if HYPERCORN_CUTS:
                listener.rest_until_cut()
            else:
                listener.close()
        assert served.process.wait(SOON) == 0


def test_a_request_in_flight_when_the_signal_comes() -> None:
    """Its stream starts after the drain has started."""
    with running(UVICORN) as served, ExitStack() as stack:
        listen(served, stack, ["/clock"])
        with late_streams(served):
            served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(SOON) == -15


@contextmanager
def late_streams(served: Served) -> Iterator[None]:
    """Have two requests in flight, and read their streams to the end."""
    before = served.ask("GET", "/waiting").json()
    with ThreadPoolExecutor() as pool:
        late = [pool.submit(served.listen, path) for path in ("/clock?after=1", f"{ORDERS}?after=1")]
        wait_until(lambda: served.ask("GET", "/waiting").json() == before + 2)
        yield
        for future in late:
            with future.result() as listener:
                rest(listener)
                assert listener.decoder.retry


# -- without a signal


@contextmanager
def in_thread(app: Any, **config: Any) -> Iterator[tuple[uvicorn.Server, Served]]:
    """Run uvicorn in a thread, where it gets no signals."""
    port = free_port()
    # Its own configuration of logging would stay for the tests that this process runs later.
    server = uvicorn.Server(uvicorn.Config(app, port=port, http=PROTOCOL, log_config=None, **config))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started)
        yield server, Served(port, None, "uvicorn")  # type: ignore[arg-type]
        thread.join(SOON)
        assert not thread.is_alive()
    finally:
        server.should_exit = server.force_exit = True
        thread.join()


@pytest.fixture
def stopping(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The program, newly imported, with its own hub."""
    monkeypatch.syspath_prepend(APPS)
    monkeypatch.delitem(sys.modules, "stopping", raising=False)
    return importlib.import_module("stopping")


@pytest.mark.parametrize("lifespan", ["on", "off"])
def test_a_server_in_a_thread(stopping: Any, lifespan: str) -> None:
    """With `off` the hub opens at its first use, and nothing closes it."""
    with in_thread(stopping.app, lifespan=lifespan) as (server, served), ExitStack() as stack:
        hub = listen(served, stack, HUB)
        generators = listen(served, stack, GENERATORS)
        server.should_exit = True
        check_spread(ends(hub))
        check_spread(ends(generators))


def test_a_request_in_flight_when_the_server_stops(stopping: Any) -> None:
    with in_thread(stopping.app) as (server, served), late_streams(served):
        server.should_exit = True


def test_limit_max_requests() -> None:
    # Each stream that is taken over counts as a finished request.
    with running(f"{TAKEOVER} --limit-max-requests 50") as served, ExitStack() as stack:
        check_spread(ends(listen(served, stack, HUB)))
        assert served.process.wait(SOON) == 0


async def test_after_a_drain_its_streams_have_really_ended() -> None:
    """A program that awaits `hub.drain()` may stop the server next."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        await asyncio.sleep(0.1)  # the server's own way to the socket
        sent.append(message)

    hub = Hub()
    request = asyncio.create_task(hub.stream(scope(), "news")(scope(), asyncio.Event().wait, send))
    await wait_until_async(lambda: len(sent) == 2)
    await hub.drain()
    assert sent[-1]["more_body"] is False
    await request
    await hub.close()


@virtual
async def test_a_drain_waits_a_second_for_a_reader_that_reads_nothing() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        if len(sent) == 2:
            await asyncio.Event().wait()
        sent.append(message)

    hub = Hub()
    request = asyncio.create_task(hub.stream(scope(), "news")(scope(), asyncio.Event().wait, send))
    await wait_until_async(lambda: len(sent) == 2)
    await hub.publish("news", "stuck")
    await asyncio.wait_for(hub.drain(), 3)
    await asyncio.wait_for(request, 3)
    await hub.close()


def scope() -> dict[str, Any]:
    return {
        "type": "http", "method": "GET", "path": "/", "raw_path": b"/", "query_string": b"", "headers": [],
        "http_version": "1.1",
    }  # fmt: skip


@pytest.fixture
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
def test_handlers_of_finished_loops_do_not_pile_up() -> None:
    async def use() -> None:
        async with Hub().lifespan():
            pass

    for _ in range(10):
        asyncio.run(use())
    depth, handler = 0, signal.getsignal(signal.SIGTERM)
    while isinstance(handler, DrainFirst):
        depth, handler = depth + 1, handler.before
    assert depth == 1


@pytest.mark.usefixtures("handlers")
async def test_a_handler_is_called_once_and_ignored_signals_stay_ignored() -> None:
    called = []
    signal.signal(signal.SIGTERM, lambda number, frame: called.append(number))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for _ in range(3):
        drains_of_loop().chain_signals()
    signal.raise_signal(signal.SIGTERM)
    assert called == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


# -- several workers


def test_a_memory_hub_refuses_to_be_one_of_several_workers() -> None:
    """Each server then stops by itself. Its exit code is up to the server (uvicorn's is 0)."""
    servers = [
        (f"{UVICORN} --workers 2", "stopping:bare", 0),
        (f"{UVICORN} --workers 2", "stopping:app", 0),
        (f"{GUNICORN} --workers 2", "stopping:bare", 3),
        (f"{GRANIAN} --workers 2", "stopping:bare", 1),
        (PROGRAM, "granian_by_spawn", 1),
    ]
    with ExitStack() as stack:
        # All at once: each gives a worker that it may be replacing 5 s to exit.
        started = [start(command, app) for command, app, _ in servers]
        for served in started:
            stack.enter_context(served.process)
        for served, (_, app, code) in zip(started, servers, strict=True):
            assert served.process.wait() == code
            assert served.process.output.count(REFUSAL) == 1
            # FastAPI shows a traceback whatever the exception; the sentence is its last line.
            assert ("Traceback" in served.process.output) == (app == "stopping:app")


async def test_a_hub_opens_once_even_if_the_first_caller_is_cancelled() -> None:
    hub = Hub()
    first, second = asyncio.create_task(hub.open()), asyncio.create_task(hub.open())
    await asyncio.sleep(0)
    first.cancel()
    third = asyncio.create_task(hub.open())
    assert await second is await third is await hub.open()
    await hub.close()


def test_hubs_of_one_parent_on_different_ports_start() -> None:
    ports = [free_port() for _ in range(4)]
    programs = [
        f"python {APPS}/programs.py two_ports_by_fork {ports[0]} {ports[1]}",
        f"python {APPS}/programs.py two_ports_by_spawn {ports[2]} {ports[3]}",
    ]
    with ExitStack() as stack:
        # These have one parent too: this process.
        started = [start(command) for command in (UVICORN, UVICORN, *programs)]
        for served in started:
            stack.enter_context(served.process)
        for port in (*(served.port for served in started[:2]), *ports):
            wait_until(lambda port=port: ready(port))


def test_the_only_worker_may_be_replaced() -> None:
    """gunicorn starts the new worker before it stops the old one."""
    with running(GUNICORN) as served, ExitStack() as stack:
        listeners = listen(served, stack, [ORDERS])
        served.process.send_signal(signal.SIGHUP)
        ends(listeners)
        wait_until(lambda: len(STARTED.findall(served.process.output)) == 2)
        assert ready(served.port)


def ready(port: int) -> bool:
    try:
        return Served(port, None, "").ask("GET", "/hub/health/ready").status == 200  # type: ignore[arg-type]
    except OSError:
        return False
