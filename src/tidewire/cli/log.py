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
from .log_text import Progress, entries, size, summary

EXIT_CODES = """
\b
Exit codes:
  0    success
  1    failed: the log is in use or damaged, or a line is not a valid event
  2    wrong usage, or no such file
  3    temporary failure: the disk is full, or another program has locked the log
  130  interrupted (Ctrl-C)
  141  broken pipe: the reader of the output is gone
"""

# More problems than this are not printed.
MAX_PROBLEMS = 100
# More entries, bytes and seconds than any log has.
NO_LIMIT = 2**62


@click.group(epilog=EXIT_CODES)
def log() -> None:
    """
    Inspect, check, copy and trim a log file.

    PATH is the file or its sqlite:/// URL. By default it is the log of `tidewire serve`: the one in
    TIDEWIRE_ENGINE if that is set, otherwise tidewire.db in the current folder.
    """


def path_in(text: str | None = None) -> str:
    """Return the path that an argument stands for; without one, that of the log of `tidewire serve`."""
    text = text or os.environ.get("TIDEWIRE_ENGINE") or DEFAULT_LOG
    if text == "memory":
        raise click.UsageError("a log in memory has no file; give a PATH")
    return path_of(text) if text.startswith("sqlite:") else text


def existing(context: click.Context, parameter: click.Parameter, text: str | None) -> str:
    path = path_in(text)
    if not os.path.isfile(path):
        raise click.BadParameter(f"no such file: {path}")
    return path


path_argument = click.argument("path", required=False, callback=existing)


@log.command("info", epilog=EXIT_CODES, short_help="Print a summary of a log.")
@path_argument
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def info_command(path: str, as_json: bool) -> None:
    """Print a summary of a log. A hub may be using it."""
    with Progress("read") as progress:
        found = info(path, progress)
    click.echo(orjson.dumps(found) if as_json else summary(found))


@log.command("check", epilog=EXIT_CODES, short_help="Check a log for damage.")
@path_argument
def check_command(path: str) -> None:
    """
    Check a log for damage. Print one line for each problem; the exit code is 1 if there are any.

    A hub may be using the log. Its WAL grows until the check is done.
    """
    with contextlib.closing(ReadOnly(path)) as opened, Progress("checked") as progress:
        progress.show("checking the file")
        found = 0
        for problem in islice(problems(opened, progress), MAX_PROBLEMS):
            found += 1
            progress.clear()
            click.echo(printable(problem))
        if not found:
            extent = opened.extent()
    if found:
        many = "1 problem" if found == 1 else f"{found}{' or more' * (found == MAX_PROBLEMS)} problems"
        raise StartRefused(
            f"the log {opened.path} is damaged, {many} found: restore it from a backup", code="log_damaged"
        )
    click.echo(f"{opened.path} is sound: {entries(extent.entries)}, from {extent.floor} to {extent.head}")


@log.command("export", epilog=EXIT_CODES, short_help="Write the entries of a log as lines of JSON.")
@path_argument
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    help="Write to FILE instead of stdout. FILE is replaced when the export is complete.",
)
@click.option(
    "-t",
    "--topic",
    "terms",
    multiple=True,
    metavar="TOPIC",
    help="Export only this topic or pattern. Repeatable.",
)
@click.option(
    "--since",
    default="start",
    show_default=True,
    metavar="WHEN",
    help="Where to start: start, last:N, 10m, an ISO time or a position.",
)
def export_command(path: str, output: str | None, terms: tuple[str, ...], since: str) -> None:
    """
    Write the entries of a log as lines of JSON. A hub may be using the log.

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
            f"{entries(export.missed)} were removed before they could be exported: export more often,"
            " or let the hub keep more"
        )


@contextlib.contextmanager
def destination(path: str | None, log: str) -> Iterator[BinaryIO]:
    """Open stdout, or a file that gets its name when it is complete."""
    if path is None:
        yield sys.stdout.buffer
        return
    for end in ("", "-wal", "-shm", ".lock"):
        if os.path.exists(path) and os.path.exists(log + end) and os.path.samefile(path, log + end):
            raise click.UsageError("the output would overwrite the log; choose another file")
    # A device or a pipe must not be replaced by a file.
    part = path if os.path.exists(path) and not os.path.isfile(path) else f"{path}.part"
    try:
        with open(part, "wb") as file:
            yield file
            if part != path:
                os.fsync(file.fileno())
                os.replace(part, path)
    except OSError as error:
        raise click.ClickException(f"cannot write {path}: {error.strerror}") from None
    finally:
        if part != path:
            with contextlib.suppress(OSError):
                os.unlink(part)


@log.command("import", epilog=EXIT_CODES, short_help="Append exported lines to a log.")
@click.argument("path", nargs=-1, metavar="[PATH]")
@click.argument("file", type=click.File("rb"))
def import_command(path: tuple[str, ...], file: BinaryIO) -> None:
    """
    Append the lines of FILE (`-` for stdin) to a log, which is created if it does not exist. No hub may be
    using it.

    The lines are those of `tidewire log export`, or those that `tidewire publish --ndjson` accepts. The
    entries get new ids in a new life of the log. They keep their times, unless time would go backwards.

    \b
      tidewire log import copy.db backup.ndjson
    """
    if len(path) > 1:
        raise click.UsageError("give one PATH and one FILE")
    task = Import(path_in(*path))
    try:
        with Progress("imported") as progress:
            task.run(file, progress)
    finally:
        click.echo(imported(task))


def imported(task: Import) -> str:
    notes = [f"{entries(task.count)} imported into {task.path}"]
    if task.duplicates:
        notes.append(f"including {task.duplicates:,} duplicate{'s' * (task.duplicates > 1)}")
    if task.first:
        notes.append(f"first id {task.first}, last id {task.last}")
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


@log.command("trim", epilog=EXIT_CODES, short_help="Remove old entries and free their disk space.")
@path_argument
@click.option("--entries", "most", type=click.IntRange(min=1), metavar="N", help="Keep at most N entries.")
@click.option("--bytes", "volume", type=click.IntRange(min=1024), metavar="N", help="Keep at most N bytes.")
@click.option("--age", type=Duration(), metavar="TIME", help="Keep entries no older than TIME, such as 12h.")
def trim_command(path: str, most: int | None, volume: int | None, age: float | None) -> None:
    """
    Remove old entries from a log and free their disk space. No hub may be using the log.

    This removes what a hub with the same retention would remove. A client that resumes before the oldest
    entry kept gets a gap.
    """
    if most is None and volume is None and age is None:
        raise click.UsageError("pass --entries, --bytes or --age")
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
