"""Programs that run their servers themselves: `python programs.py NAME PORT...`"""

import asyncio
import multiprocessing
import signal
import sys

import hypercorn.asyncio
import hypercorn.config
import stopping
import uvicorn


def opened_first(port):
    """The hub opens before the server replaces the signal handlers with its own."""

    async def main():
        async with stopping.hub.lifespan():
            await uvicorn.Server(uvicorn.Config(stopping.app, port=port)).serve()

    asyncio.run(main())


def no_handlers(port):
    """Only the hub handles SIGTERM."""
    config = hypercorn.config.Config()
    config.bind = [f"127.0.0.1:{port}"]
    asyncio.run(hypercorn.asyncio.serve(stopping.app, config, shutdown_trigger=asyncio.Event().wait))


def on_port(port):
    uvicorn.run("stopping:app", port=port)


def two_ports(method, first, second):
    """Two servers with one parent, which stops them when it stops."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    context = multiprocessing.get_context(method)
    children = [context.Process(target=on_port, args=(port,), daemon=True) for port in (first, second)]
    for child in children:
        child.start()
    for child in children:
        child.join()


def two_ports_by_fork(first, second):
    two_ports("fork", first, second)


def two_ports_by_spawn(first, second):
    two_ports("spawn", first, second)


def granian_by_spawn(port):
    """As on Python 3.14: each worker of granian has its own socket."""
    from granian.cli import entrypoint

    multiprocessing.set_start_method("spawn")
    options = ["stopping:bare", "--port", str(port), "--interface", "asgi", "--no-ws", "--workers", "2"]
    sys.argv = ["granian", *options]
    entrypoint()


if __name__ == "__main__":
    globals()[sys.argv[1]](*map(int, sys.argv[2:]))
