"""`tidewire serve`"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from tidewire import __version__

from ..auth.grants import Grant
from ..engines.by_url import url_of
from ..errors import InvalidInput
from ..http.admission import is_loopback
from ..hub import Hub
from ..server.listeners import listening
from ..server.logs import LOG_FORMATS, LOG_LEVELS, configure_logging
from ..server.run import raise_descriptor_limit, serve_on
from ..server.supervisor import ONE_PROCESS, supervise
from ..settings import ROWS, Settings, parse
from .access import token_options, tokens_of, without_token
from .address import host_option, port_option
from .data import DEFAULT_LOG, default_engine, place_of

if TYPE_CHECKING:
    from ..auth.tokens import Tokens

EXIT_CODES = """
\b
Exit codes:
  0    stopped by SIGTERM or SIGINT (Ctrl-C); all streams were ended cleanly
  1    cannot start (address in use, TLS files, engine), or the disk or the workers failed
  2    wrong usage
"""

DURABILITY = {
    "memory": "events are lost when the process that holds them stops",
    "process": "acknowledged events survive a crash of the process",
    "disk": "acknowledged events survive a power cut",
    "quorum": "acknowledged events survive the loss of a minority of machines",
}


class ServeCommand(click.Command):
    """A command whose help lists the settings after the other options."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {"Options": [], "Settings": []}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                sections["Settings" if param.name in ROWS else "Options"].append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


class SettingType(click.ParamType[float]):
    """A number that `settings` accepts for this setting."""

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
    """Add an option to `command` for each row of `settings`."""
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


@click.command(cls=ServeCommand, epilog=EXIT_CODES)
@host_option
@port_option
@click.option(
    "--uds",
    metavar="PATH",
    envvar="TIDEWIRE_UDS",
    show_envvar=True,
    help="Listen on this Unix socket instead of a port.",
)
@click.option(
    "--ssl-certfile",
    metavar="PATH",
    envvar="TIDEWIRE_SSL_CERTFILE",
    show_envvar=True,
    help="Serve TLS with this certificate chain (PEM).",
)
@click.option(
    "--ssl-keyfile",
    metavar="PATH",
    envvar="TIDEWIRE_SSL_KEYFILE",
    show_envvar=True,
    help="Private key of the certificate (PEM), if it is in another file.",
)
@click.option(
    "--engine",
    metavar="URL",
    envvar="TIDEWIRE_ENGINE",
    show_envvar=True,
    show_default=f"{DEFAULT_LOG} in the current folder",
    help="Where to keep the log: a path such as ./log.db, its sqlite:/// URL, or `memory`.",
)
@click.option(
    "--workers",
    metavar="N",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    envvar="TIDEWIRE_WORKERS",
    show_envvar=True,
    help="Serve the port with this number of processes, which share the log.",
)
@click.option(
    "--open",
    "is_open",
    is_flag=True,
    envvar="TIDEWIRE_OPEN",
    show_envvar=True,
    help="Let anyone who can reach the address publish and subscribe. Without a key, required unless it"
    " is a loopback address or a Unix socket.",
)
@token_options
@click.option(
    "--allowed-host",
    "allowed_hosts",
    multiple=True,
    metavar="NAME",
    envvar="TIDEWIRE_ALLOWED_HOST",
    show_envvar=True,
    help="Accept requests for this host name, besides localhost. Repeatable.",
)
@click.option(
    "--allowed-origin",
    "allowed_origins",
    multiple=True,
    metavar="ORIGIN",
    envvar="TIDEWIRE_ALLOWED_ORIGIN",
    show_envvar=True,
    help="Let web pages of this origin, such as https://example.com, use the hub. Repeatable.",
)
@click.option(
    "--log-level",
    type=click.Choice(LOG_LEVELS),
    default="info",
    show_default=True,
    envvar="TIDEWIRE_LOG_LEVEL",
    show_envvar=True,
    help="Log messages of this level and above.",
)
@click.option(
    "--log-format",
    type=click.Choice(LOG_FORMATS),
    default="text",
    show_default=True,
    envvar="TIDEWIRE_LOG_FORMAT",
    show_envvar=True,
    help="Log lines of text, or a JSON object a line.",
)
@click.option(
    "--access-log",
    is_flag=True,
    envvar="TIDEWIRE_ACCESS_LOG",
    show_envvar=True,
    help="Log every request.",
)
@setting_options
def serve(
    host: str,
    port: int,
    uds: str | None,
    ssl_certfile: str | None,
    ssl_keyfile: str | None,
    engine: str | None,
    workers: int,
    is_open: bool,
    token_keys: Sequence[str],
    token_issuer: str | None,
    token_audience: str | None,
    jwks_url: str | None,
    anonymous_subscribe: Sequence[str],
    anonymous_publish: Sequence[str],
    allowed_hosts: Sequence[str],
    allowed_origins: Sequence[str],
    log_level: str,
    log_format: str,
    access_log: bool,
    **settings: Any,
) -> None:
    """
    Run a hub.

    Subscribe and publish with any HTTP client, for example curl:

    \b
      curl -N localhost:8000/events/news
      curl -d hello localhost:8000/events/news
    """
    local = uds is not None or loopback(host)
    anonymous = Grant(anonymous_subscribe, anonymous_publish)
    tokens = tokens_of(token_keys, token_issuer, token_audience, jwks_url, anonymous)
    if tokens is not None and is_open:
        raise click.UsageError("--open lets everybody do everything; leave it out, since there are keys")
    if not (local or is_open or tokens):
        raise click.UsageError(
            f"anyone who can reach {host} could publish and subscribe; give the hub a key with --token-key"
            " (`tidewire token key` makes one), or pass --open to allow that"
        )
    if ssl_keyfile and not ssl_certfile:
        raise click.UsageError("--ssl-keyfile needs --ssl-certfile")
    raise_descriptor_limit()  # first, since the hub derives its maximum of streams from the limit
    url = engine or default_engine()
    check_workers(workers, url)
    # On loopback the Host header is checked: a web page could resolve its own name to this machine.
    names = allowed_hosts if allowed_hosts or (local and uds is None) else None
    make_auth = partial(tokens_of, token_keys, token_issuer, token_audience, jwks_url, anonymous)
    make_hub = partial(
        new_hub, url, make_auth, allowed_origins=allowed_origins, allowed_hosts=names, **given(settings)
    )
    options = {
        "ssl_certfile": ssl_certfile,
        "ssl_keyfile": ssl_keyfile,
        "log_level": log_level,
        "log_format": log_format,
        "access_log": access_log,
    }
    # With several workers this one is not opened: a wrong setting is refused before any of them starts.
    hub = make_hub()

    def started(urls: Sequence[str]) -> None:
        who = "every program on this machine" if local else "ANYONE who can reach this address"
        everybody = f"{who}, without a token"
        opened = everybody if tokens is None else f"clients with a token; {without_token(anonymous)}"
        click.echo(banner(hub, urls, workers, opened, allowed_origins))

    with listening(host, port, uds) as listeners:
        if workers == 1:
            run(hub, options, listeners, started)
        else:
            configure_logging(log_level, access_log, log_format)
            supervise(partial(work, make_hub, options), listeners, workers, started)


def new_hub(url: str, make_auth: Callable[[], Tokens | None], **options: Any) -> Hub:
    """Make a hub. Each worker makes its own, since keys cannot be passed to another process."""
    return Hub(url, auth=make_auth(), **options)


def check_workers(workers: int, url: str) -> None:
    if workers > 1 and ONE_PROCESS:
        raise click.UsageError("on Windows a hub is one process; leave --workers at 1")
    if workers > 1 and url_of(url) == "memory":
        raise click.UsageError(
            "several workers need a log in a file, such as --engine ./tidewire.db:"
            " in memory, each would have its own events"
        )


def run(
    hub: Hub,
    options: Mapping[str, Any],
    listeners: Sequence[socket.socket],
    started: Callable[[Sequence[str]], object],
) -> None:
    serve_on(
        listeners, hub.app, settings=hub.settings, started=started, failure=lambda: hub.failure, **options
    )


def work(
    make_hub: Callable[[], Hub],
    options: Mapping[str, Any],
    listeners: Sequence[socket.socket],
    started: Callable[[Sequence[str]], object],
) -> None:
    """What each of several workers does, in its own process."""
    run(make_hub(), options, listeners, started)


def given(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that the user gave. They count as given even if they equal the default."""
    source = click.get_current_context().get_parameter_source
    return {name: value for name, value in settings.items() if source(name) is not ParameterSource.DEFAULT}


def loopback(host: str) -> bool:
    return host == "localhost" or is_loopback(host)


def banner(hub: Hub, urls: Sequence[str], workers: int, opened: str, origins: Sequence[str]) -> str:
    """Return what is printed at the start. `opened`: to whom the hub is open."""
    pages = ", ".join(["same origin", *origins])
    return "\n".join(
        [
            f"Tidewire {__version__} on {' and '.join(urls)} (press Ctrl-C to stop it)",
            *([f"  workers  {workers} processes, which share the log"] if workers > 1 else []),
            f"  log      {place_of(hub.url)}; durability {hub.durability}: {DURABILITY[hub.durability]}",
            f"  open to  {opened}; web pages: {pages}",
        ]
    )
