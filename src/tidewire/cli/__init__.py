"""The `tidewire` command. Each sub-command is a file of its own, imported only when it is used."""

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

# Name: (where it is, what the list of commands says of it). Not asked of the command
# itself: `tidewire --help` would import the server, the clients and what they need.
COMMANDS = {
    "serve": ("tidewire.cli.serve:serve", "Run a hub."),
    "demo": ("tidewire.cli.demo:demo", "Run a hub with the demo pages."),
    "publish": ("tidewire.cli.publish:publish", "Publish events to a hub."),
    "listen": ("tidewire.cli.listen:listen", "Print the events of topics, or of any SSE endpoint."),
    "log": ("tidewire.cli.log:log", "Look at, check, copy and trim a log file."),
}

EXIT_CODES = """
\b
Exit codes:
  0    done
  1    failed: refused by the hub, or by whoever answered in its place
  2    the command line is wrong
  3    no answer, or one that may be another later
  130  interrupted (Ctrl-C)
  141  whoever read the output is gone
"""

FAILED, UNAVAILABLE, INTERRUPTED, BROKEN_PIPE = 1, 3, 130, 141

LATER = frozenset({408, 425, 429})


class Commands(click.Group):
    """A group whose commands are imported at their first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except TidewireError as error:
            click.echo(f"Error: {printable(in_words(error))}", err=True)
            ctx.exit(exit_code(error))
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:
            discard_output()
            ctx.exit(BROKEN_PIPE)


@click.group(cls=Commands, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tidewire", message="%(prog)s %(version)s")
def main() -> None:
    """Server-Sent Events that lose nothing in silence: a hub, and what talks to it."""


url_option = click.option(
    "--url",
    envvar="TIDEWIRE_URL",
    default="http://127.0.0.1:8000",
    show_default=True,
    show_envvar=True,
    help="Where the hub is.",
)


def in_words(error: TidewireError) -> str:
    if error.code == "unreachable":
        return f"{error.detail}. Start a hub with `tidewire serve`, or say where it is with --url."
    return error.detail if error.code == type(error).code else f"{error.detail} ({error.code})"


def exit_code(error: TidewireError) -> int:
    passes = isinstance(error, Unavailable) or error.status in LATER or error.status > 500
    return UNAVAILABLE if passes else FAILED


# A terminal obeys control characters, and the directions of Unicode can make text read as another.
# (Not `str.isprintable`: it would take apart emoji that are joined.)
UNPRINTABLE = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Return text of others as one line that is safe to show."""
    return UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def discard_output() -> None:
    """Let what is still in the buffer of stdout go nowhere: Python would complain as it exits."""
    with contextlib.suppress(OSError, io.UnsupportedOperation):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
