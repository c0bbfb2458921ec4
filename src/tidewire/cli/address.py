"""Where a hub listens: the options that `serve` and `demo` share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

host_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--host", default="127.0.0.1", show_default=True, envvar="TIDEWIRE_HOST", help="Where to listen."
)
port_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    envvar="TIDEWIRE_PORT",
    help="The port; 0 takes a free one.",
)
