"""`tidewire serve`"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click
from click.core import ParameterSource

from tidewire import __version__

from ..errors import InvalidInput
from ..http.admission import is_loopback
from ..hub import Hub
from ..server.logs import LOG_LEVELS
from ..server.run import raise_descriptor_limit
from ..server.run import serve as run
from ..settings import ROWS, Settings, parse
from .address import host_option, port_option
from .data import DEFAULT_LOG, default_engine, place_of

EXIT_CODES = """
\b
Exit codes:
  0    stopped by SIGTERM or SIGINT (Ctrl-C), all streams ended in good order
  1    it could not start (an address in use, a TLS file, an engine), or its disk failed
  2    the command line is wrong
"""

DURABILITY = {
    "memory": "events are lost when it stops",
    "process": "acknowledged events survive a crash of the process",
    "disk": "acknowledged events survive a power cut",
    "quorum": "acknowledged events survive the loss of a minority of machines",
}


class SettingType(click.ParamType[float]):
    """A number that `settings` accepts under this name."""

    name = "number"

    def __init__(self, setting: str) -> None:
        self.setting = setting

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            number = parse(self.setting, value)
            Settings(**{self.setting: number})
        except InvalidInput as error:
            self.fail(error.detail, param, ctx)
        return number


def setting_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give `command` an option for every row of `settings`."""
    for name, item in reversed(ROWS.items()):
        off = item.metadata["off"]
        option = click.option(
            f"--{name.replace('_', '-')}",
            name,
            type=SettingType(name),
            default=item.default,
            envvar=f"TIDEWIRE_{name.upper()}",
            show_default=True,
            show_envvar=True,
            help=item.metadata["help"] + (f" 0: {off}." if off else ""),
        )
        command = option(command)
    return command


@click.command(epilog=EXIT_CODES)
@host_option
@port_option
@click.option("--uds", metavar="PATH", envvar="TIDEWIRE_UDS", help="Listen on a unix socket instead.")
@click.option("--ssl-certfile", metavar="PATH", envvar="TIDEWIRE_SSL_CERTFILE", help="TLS: the certificates.")
@click.option("--ssl-keyfile", metavar="PATH", envvar="TIDEWIRE_SSL_KEYFILE", help="TLS: their key.")
@click.option(
    "--engine",
    metavar="URL",
    envvar="TIDEWIRE_ENGINE",
    show_envvar=True,
    help="Where the log is kept: a path such as ./log.db, its sqlite:/// URL, or memory to keep none."
    f"  [default: {DEFAULT_LOG} in the current folder]",
)
@click.option(
    "--open",
    "is_open",
    is_flag=True,
    envvar="TIDEWIRE_OPEN",
    help="Let everyone who reaches it publish and subscribe. Another address than loopback needs it.",
)
@click.option(
    "--allowed-host",
    "allowed_hosts",
    multiple=True,
    metavar="NAME",
    envvar="TIDEWIRE_ALLOWED_HOST",
    help="A name, besides localhost, that requests may be for. Repeatable.",
)
@click.option(
    "--allowed-origin",
    "allowed_origins",
    multiple=True,
    metavar="ORIGIN",
    envvar="TIDEWIRE_ALLOWED_ORIGIN",
    help="An origin, such as https://example.com, whose pages may use the hub. Repeatable.",
)
@click.option(
    "--log-level",
    type=click.Choice(LOG_LEVELS),
    default="info",
    show_default=True,
    envvar="TIDEWIRE_LOG_LEVEL",
    help="How much to log.",
)
@click.option("--access-log", is_flag=True, envvar="TIDEWIRE_ACCESS_LOG", help="Log every request.")
@setting_options
def serve(
    host: str,
    port: int,
    uds: str | None,
    ssl_certfile: str | None,
    ssl_keyfile: str | None,
    engine: str | None,
    is_open: bool,
    allowed_hosts: Sequence[str],
    allowed_origins: Sequence[str],
    log_level: str,
    access_log: bool,
    **settings: Any,
) -> None:
    """
    Run a hub.

    \b
    tidewire serve &
    curl -N localhost:8000/events/news &
    curl -d hello localhost:8000/events/news
    """
    local = uds is not None or loopback(host)
    if not (local or is_open):
        raise click.UsageError(
            f"everyone who reaches {host} could publish and subscribe: say --open if that is meant"
        )
    if ssl_keyfile and not ssl_certfile:
        raise click.UsageError("--ssl-keyfile needs --ssl-certfile")
    raise_descriptor_limit()  # the hub reads it to know how many streams it may have
    # Names are checked where a web page could point one of its own at this machine.
    names = allowed_hosts if allowed_hosts or (local and uds is None) else None
    hub = Hub(
        engine or default_engine(),
        allowed_origins=allowed_origins,
        allowed_hosts=names,
        **given(settings),
    )

    def started(urls: Sequence[str]) -> None:
        click.echo(banner(hub, urls, local, allowed_origins))

    run(
        hub.app,
        settings=hub.settings,
        host=host,
        port=port,
        uds=uds,
        ssl_certfile=ssl_certfile,
        ssl_keyfile=ssl_keyfile,
        log_level=log_level,
        access_log=access_log,
        started=started,
        failure=lambda: hub.failure,
    )


def given(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that the user gave: an explicit value is more than a default that it equals."""
    source = click.get_current_context().get_parameter_source
    return {name: value for name, value in settings.items() if source(name) is not ParameterSource.DEFAULT}


def loopback(host: str) -> bool:
    return host == "localhost" or is_loopback(host)


def banner(hub: Hub, urls: Sequence[str], local: bool, origins: Sequence[str]) -> str:
    who = "every program on this machine" if local else "EVERYONE who reaches this address"
    pages = ", ".join(["its own", *origins])
    return "\n".join(
        [
            f"Tidewire {__version__} on {' and '.join(urls)} (Ctrl-C stops it)",
            f"  log      {place_of(hub.url)}; durability {hub.durability}: {DURABILITY[hub.durability]}",
            f"  open to  {who}, without a token; web pages: {pages}",
        ]
    )
