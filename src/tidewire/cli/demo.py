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
@click.option(
    "--seed", metavar="NUMBER", type=int, help="Generate the same random events for every page view."
)
@click.option(
    "--interval",
    metavar="SECONDS",
    type=click.FloatRange(min=0.01, max=3600),
    default=1.0,
    show_default=True,
    help="Seconds between two random events.",
)
@click.option(
    "--open",
    "is_open",
    is_flag=True,
    help="Let anyone who can reach the address use the demo. Required unless it is a loopback address.",
)
def demo(host: str, port: int, seed: int | None, interval: float, is_open: bool) -> None:
    """
    Run a hub with demo pages.

    The pages show random events of four types, how a stream ends, how it
    recovers from failures, a broadcast to all listeners, many tabs on one
    connection, and an answer that survives its page. The log is in memory.
    """
    local = host == "localhost" or is_loopback(host)
    if not (local or is_open):
        raise click.UsageError(
            f"anyone who can reach {host} could publish and subscribe; pass --open to allow that"
        )
    # On loopback the Host header is checked: a web page could resolve its own name to this machine.
    names = () if local else None
    hub = Hub(allowed_hosts=names)

    def started(urls: Sequence[str]) -> None:
        click.echo(f"The demo is at {urls[0]}/demo (press Ctrl-C to stop it)")

    app = Demo(hub, seed=seed, interval=interval, allowed_hosts=names)
    serve(app, settings=hub.settings, host=host, port=port, started=started)
