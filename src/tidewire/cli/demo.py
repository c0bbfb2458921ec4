"""`tidewire demo`"""

from __future__ import annotations

import click
import uvicorn

from ..demo import Demo
from ..hub import Hub


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=8000, show_default=True, help="The port; 0 takes a free one.")
@click.option("--seed", type=int, help="Make the same random events each time.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.01, max=3600),
    default=1.0,
    show_default=True,
    help="Seconds from one random event to the next.",
)
def demo(host: str, port: int, seed: int | None, interval: float) -> None:
    import socket

    hosts = None
    hub = Hub(allowed_hosts=hosts)
    app = Demo(hub, seed=seed, interval=interval, allowed_hosts=hosts)

    async def serve(scope, receive, send):  # type: ignore
        await app(scope, receive, send)

    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((host, port))
    sock.listen(100)
    print(f"http://{host}:{sock.getsockname()[1]}/demo", flush=True)
    uvicorn.Server(
        uvicorn.Config(
            serve, http="tidewire.server.protocol:StreamProtocol", log_level="warning", lifespan="off"
        )
    ).run([sock])
