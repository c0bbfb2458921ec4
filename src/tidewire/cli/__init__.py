"""The `tidewire` command. Each subcommand is one file, imported only when it is used."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from importlib import import_module
from typing import Any

import click

from tidewire import __version__

from ..errors import TidewireError, Unavailable

# Name: (import path, help text). The text is repeated here so that `tidewire --help` need not import
# the commands, which import the server and the clients.
COMMANDS = {
    "serve": ("tidewire.cli.serve:serve", "Run a hub."),
    "demo": ("tidewire.cli.demo:demo", "Run a hub with demo pages."),
    "publish": ("tidewire.cli.publish:publish", "Publish events to a hub."),
    "listen": ("tidewire.cli.listen:listen", "Print events from a hub or any other SSE server."),
    "doctor": ("tidewire.cli.doctor:doctor", "Test an SSE endpoint of any server."),
    "token": ("tidewire.cli.token:token", "Make keys and tokens, and explain a token."),
    "log": ("tidewire.cli.log:log", "Inspect, check, copy and trim a log file."),
}

EXIT_CODES = """
\b
Exit codes:
  0    success
  1    failed, for example because the hub refused the request
  2    wrong usage
  3    temporary failure: no answer, or the server is busy; try again later
  130  interrupted (Ctrl-C)
  141  broken pipe: the reader of the output is gone
"""

FAILED, UNAVAILABLE, INTERRUPTED, BROKEN_PIPE = 1, 3, 130, 141

# 4xx that may succeed later, as in the clients.
TRANSIENT = frozenset({408, 425, 429})


class Commands(click.Group):
    """A group whose commands are imported at first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.exceptions.NoSuchCommand as error:
            # click looks for similar names among commands that are imported.
            raise click.exceptions.NoSuchCommand(args[0], possibilities=COMMANDS, ctx=ctx) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except TidewireError as error:
            click.echo(f"Error: {printable(message_of(error))}", err=True)
            ctx.exit(exit_code(error))
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:
            discard_output()
            ctx.exit(BROKEN_PIPE)


@click.group(
    cls=Commands,
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=lambda ctx, param, wanted: print_versions(ctx) if wanted else None,
    help="Show the versions of Tidewire, SQLite and Python, and exit.",
)
def main() -> None:
    """A Server-Sent Events hub that never loses an event silently, and tools to use it."""


url_option = click.option(
    "--url",
    metavar="URL",
    envvar="TIDEWIRE_URL",
    default="http://127.0.0.1:8000",
    show_default=True,
    show_envvar=True,
    help="URL of the hub.",
)


def print_versions(ctx: click.Context) -> None:
    import platform
    import sqlite3

    python = f"{platform.python_implementation()} {platform.python_version()}"
    system = f"{platform.system()} {platform.machine()}"
    click.echo(f"tidewire {__version__} (SQLite {sqlite3.sqlite_version}, {python}, {system})")
    ctx.exit()


def message_of(error: TidewireError) -> str:
    if error.code == "unreachable":
        return f"{error.detail}. Start a hub with `tidewire serve`, or pass its URL with --url."
    return error.detail if error.code == type(error).code else f"{error.detail} ({error.code})"


def exit_code(error: TidewireError) -> int:
    transient = isinstance(error, Unavailable) or error.status in TRANSIENT or error.status > 500
    return UNAVAILABLE if transient else FAILED


# A terminal obeys control characters, and Unicode's direction marks can make a text look like another.
# (Not `str.isprintable`: it would take apart joined emoji.)
UNPRINTABLE = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Return untrusted text as one line that is safe to print."""
    return UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def discard_output() -> None:
    """Discard what is left in the buffer of stdout. Otherwise Python reports the broken pipe as it exits."""
    with contextlib.suppress(OSError, io.UnsupportedOperation):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
