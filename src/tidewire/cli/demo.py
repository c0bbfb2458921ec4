"""`tidewire demo`"""

from __future__ import annotations

from collections.abc import Sequence

import click

from ..demo.app import Demo
from ..http.admission import is_loopback
from ..hub import Hub
from ..server.run import serve
from .address import host_option, port_option


@click.command()
@host_option
@port_option
@click.option("--seed", type=int, help="Make the same random events for every page view.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.01, max=3600),
    default=1.0,
    show_default=True,
    help="Seconds from one random event to the next.",
)
@click.option(
    "--open",
    "is_open",
    is_flag=True,
    help="Let everyone who reaches it in. Another address than loopback needs it.",
)
def demo(host: str, port: int, seed: int | None, interval: float, is_open: bool) -> None:
    """
    Run a hub with the demo pages.

    Random events of four types, how a stream ends, and how it survives what
    breaks it; and a broadcast to everyone who listens. The log is in memory.
    """
    local = host == "localhost" or is_loopback(host)
    if not (local or is_open):
        raise click.UsageError(
            f"everyone who reaches {host} could publish and subscribe: say --open if that is meant"
        )
    # On loopback names are checked: a web page could point one of its own at this machine.
    names = () if local else None
    hub = Hub(allowed_hosts=names)

    def started(urls: Sequence[str]) -> None:
        click.echo(f"The demo is at {urls[0]}/demo (Ctrl-C stops it)")

    app = Demo(hub, seed=seed, interval=interval, allowed_hosts=names)
    serve(app, settings=hub.settings, host=host, port=port, started=started)
