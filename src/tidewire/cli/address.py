"""Where a hub listens: the options that `serve` and `demo` share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

host_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--host",
    metavar="HOST",
    default="127.0.0.1",
    show_default=True,
    envvar="TIDEWIRE_HOST",
    show_envvar=True,
    help="Address or host name to listen on.",
)
port_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--port",
    metavar="PORT",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    envvar="TIDEWIRE_PORT",
    show_envvar=True,
    help="Port to listen on; 0 picks a free one.",
)
