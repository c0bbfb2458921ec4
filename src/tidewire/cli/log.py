"""`tidewire log`"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from itertools import islice
from typing import Any, BinaryIO

import click
import orjson

from ..engines.sqlite.check import problems
from ..engines.sqlite.engine import path_of
from ..engines.sqlite.maintenance import info, trim
from ..engines.sqlite.read_only import ReadOnly, explained
from ..engines.sqlite.transfer import Export, Import
from ..errors import InvalidInput, NotFound, StartRefused
from ..http.requests import read_since
from ..log.entries import Since
from ..position import Position
from ..settings import Settings
from ..topics import Selector
from . import printable
from .data import DEFAULT_LOG
from .log_text import Progress, entries, in_lines, size

EXIT_CODES = """
\b
Exit codes:
  0    done
  1    refused or failed: a log in use, a damaged one, a line that is no event
  2    the command line is wrong, or there is no such file
  3    another time perhaps: the disk is full, another program has locked the log
  130  interrupted (Ctrl-C)
  141  whoever read the output is gone
"""

# Problems that are said one by one.
MOST_PROBLEMS = 100
# More than any log has, and older than any entry.
NO_LIMIT = 2**62


@click.group(epilog=EXIT_CODES)
def log() -> None:
    """
    Look at, check, copy and trim a log file.

    PATH is the file, or its sqlite:/// URL. Without one it is the log of `tidewire serve`: what
    TIDEWIRE_ENGINE names, else tidewire.db in the current folder.
    """


def path_in(text: str | None = None) -> str:
    """Return the path that an argument means, or the one that stands for none."""
    text = text or os.environ.get("TIDEWIRE_ENGINE") or DEFAULT_LOG
    if text == "memory":
        raise click.UsageError("a log in memory has no file: give a PATH")
    return path_of(text) if text.startswith("sqlite:") else text


def existing(context: click.Context, parameter: click.Parameter, text: str | None) -> str:
    path = path_in(text)
    if not os.path.isfile(path):
        raise click.BadParameter(f"there is no log {path}")
    return path


path_argument = click.argument("path", required=False, callback=existing)


@log.command("info", epilog=EXIT_CODES, short_help="Print what is in a log.")
@path_argument
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def info_command(path: str, as_json: bool) -> None:
    """Print what is in a log. It may run beside a hub."""
    with Progress("looked at") as progress:
        found = info(path, progress)
    click.echo(orjson.dumps(found) if as_json else in_lines(found))


@log.command("check", epilog=EXIT_CODES, short_help="Look for damage.")
@path_argument
def check_command(path: str) -> None:
    """
    Look through a log and print each problem in a line; the exit code is 1 if there is any.

    It may run beside a hub. The hub's WAL grows until it is done.
    """
    with contextlib.closing(ReadOnly(path)) as opened, Progress("checked") as progress:
        progress.say("looking through the file")
        found = 0
        for problem in islice(problems(opened, progress), MOST_PROBLEMS):
            found += 1
            progress.clear()
            click.echo(printable(problem))
        if not found:
            extent = opened.extent()
    if found:
        many = "1 problem" if found == 1 else f"{found}{' or more' * (found == MOST_PROBLEMS)} problems"
        raise StartRefused(
            f"the log {opened.path} is damaged, {many}: restore it from a backup", code="log_damaged"
        )
    click.echo(f"{opened.path} is sound: {entries(extent.entries)}, from {extent.floor} to {extent.head}")


@log.command("export", epilog=EXIT_CODES, short_help="Write the entries as lines of JSON.")
@path_argument
@click.option("-o", "--output", metavar="FILE", help="Write to a file, which is there once it is complete.")
@click.option(
    "-t", "--topic", "terms", multiple=True, metavar="TOPIC", help="A topic or a pattern. Repeatable."
)
@click.option(
    "--since",
    default="start",
    show_default=True,
    metavar="WHEN",
    help="Where to start: start, last:N, 10m, an ISO time, a position.",
)
def export_command(path: str, output: str | None, terms: tuple[str, ...], since: str) -> None:
    """
    Write the entries of a log as lines of JSON. It may run beside a hub.

    \b
      tidewire log export --output backup.ndjson
      tidewire log export --topic 'orders/*' --since 24h | jq .data
    """
    progress = Progress("exported", output=output is None)
    with contextlib.closing(ReadOnly(path)) as opened, progress:
        with explained(opened.path):
            export = Export(opened, Selector(terms) if terms else None, read_since(since))
            with destination(output, opened.path) as file:
                for page in export.pages(progress):
                    file.write(page)
                file.flush()
    click.echo(f"{entries(export.count)} exported", err=True)
    if export.missed:
        raise NotFound(
            f"{entries(export.missed)} went while they were to be read: the hub keeps less than that."
            " Export oftener, or let it keep more"
        )


@contextlib.contextmanager
def destination(path: str | None, log: str) -> Iterator[BinaryIO]:
    """Open stdout, or a file that takes its name when it is complete."""
    if path is None:
        yield sys.stdout.buffer
        return
    if os.path.exists(path) and os.path.samefile(path, log):
        raise click.UsageError("the output would take the place of the log: choose another file")
    # A device or a pipe must not be replaced.
    part = path if os.path.exists(path) and not os.path.isfile(path) else f"{path}.part"
    try:
        with open(part, "wb") as file:
            yield file
            if part != path:
                os.fsync(file.fileno())
                os.replace(part, path)
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error.strerror}") from None
    finally:
        if part != path:
            with contextlib.suppress(OSError):
                os.unlink(part)


@log.command("import", epilog=EXIT_CODES, short_help="Append such lines.")
@click.argument("path", nargs=-1, metavar="[PATH]")
@click.argument("file", type=click.File("rb"))
def import_command(path: tuple[str, ...], file: BinaryIO) -> None:
    """
    Append the lines of FILE, `-` is stdin, to a log that no hub uses, or to a new one.

    A line is one of `tidewire log export`, or one that `tidewire publish --ndjson` takes. The entries
    get new ids, in a new life of the log. They keep their times, unless these would go backwards.

    \b
      tidewire log import copy.db backup.ndjson
    """
    if len(path) > 1:
        raise click.UsageError("say one PATH and one FILE")
    task = Import(path_in(*path))
    try:
        with Progress("imported") as progress:
            task.run(file, progress)
    finally:
        click.echo(imported(task))


def imported(task: Import) -> str:
    notes = [f"{entries(task.count)} imported into {task.path}"]
    notes += [f"{task.duplicates:,} of them were there"] if task.duplicates else []
    notes += [f"the first is {task.first}, the last {task.last}"] if task.first else []
    return ", ".join(notes)


class Duration(click.ParamType[float]):
    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        since: Since | Position = Since("invalid")
        with contextlib.suppress(InvalidInput):
            since = read_since(value)
        if isinstance(since, Position) or since.kind != "ago" or since.value < 1:
            self.fail("a duration is a number with s, m, h or d, such as 12h", param, ctx)
        return since.value


@log.command("trim", epilog=EXIT_CODES, short_help="Forget old entries, and give their space back.")
@path_argument
@click.option("--entries", "most", type=click.IntRange(min=1), metavar="N", help="Keep so many entries.")
@click.option("--bytes", "volume", type=click.IntRange(min=1024), metavar="N", help="Keep so many bytes.")
@click.option("--age", type=Duration(), metavar="TIME", help="Keep what is no older, such as 12h.")
def trim_command(path: str, most: int | None, volume: int | None, age: float | None) -> None:
    """
    Trim a log that no hub uses, and give its space back to the disk.

    What goes is what retention would take. Clients that come back to it are told.
    """
    if most is None and volume is None and age is None:
        raise click.UsageError("say what to keep: --entries, --bytes or --age")
    keep = Settings(
        retention_entries=most or NO_LIMIT, retention_bytes=volume or NO_LIMIT, retention_age=age or NO_LIMIT
    )
    with Progress("trimmed") as progress:
        done = trim(path, keep, progress)
    click.echo(
        f"{entries(done.entries)} trimmed; the file is {size(done.bytes)} smaller, {size(done.size)} now"
    )
    if done.shortage:
        raise done.shortage
