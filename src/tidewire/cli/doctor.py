"""`tidewire doctor`"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import click
import orjson

from ..doctor.clients import FIRST
from ..doctor.examine import Report, examine
from ..doctor.findings import Finding, counted
from . import printable
from .listen import parse_headers
from .status import colours

CODES = """
\b
Exit codes:
  0  no fault was found
  1  something was found, or the endpoint cannot be tested
  2  wrong usage
"""


@click.command(epilog=CODES)
@click.argument("url")
@click.option(
    "-H",
    "--header",
    "headers",
    multiple=True,
    metavar="'NAME: VALUE'",
    help="Send this header. Repeatable.",
)
@click.option(
    "--origin", metavar="ORIGIN", help="Test as a page of this origin too, such as https://example.com."
)
@click.option(
    "--wait",
    "seconds",
    type=click.FloatRange(min=1, max=600),
    default=20.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to watch the stream. A missing heartbeat shows after 16 s.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def doctor(url: str, headers: tuple[str, ...], origin: str | None, seconds: float, as_json: bool) -> None:
    """
    Test an SSE endpoint of any server, and say what is wrong and what to do.

    It opens the stream a few times: to watch it, to see whether something on the way holds events back, to
    come back with a Last-Event-ID, and with --origin as a page of another site. Events should come while it
    watches.

    \b
      tidewire doctor http://127.0.0.1:8000/events/news
      tidewire doctor https://example.org/stream -H 'Authorization: Bearer …' --origin https://example.com
      tidewire doctor https://example.org/stream --json | jq -e '.findings == []'   # in CI
    """
    if not url.startswith(("http://", "https://")):
        raise click.UsageError("the URL must start with http:// or https://")
    try:
        report = asyncio.run(examine(url, parse_headers(headers), origin, seconds, say))
    except ConnectionError as error:
        raise click.ClickException(printable(str(error))) from None
    if as_json:
        options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
        sys.stdout.buffer.write(orjson.dumps(fields_of(report), option=options))
    else:
        for line in lines_of(report, colours(sys.stdout)):
            click.echo(line)
    click.get_current_context().exit(1 if report.findings else 0)


def say(step: str) -> None:
    if sys.stderr.isatty():
        click.echo(click.style(f"{step} …", dim=True), err=True)


def fields_of(report: Report) -> dict[str, Any]:
    found, blocks = report.found, report.blocks
    return {
        "url": found.url,
        "status": found.status,
        "http_version": found.http_version,
        "http2": report.http2,
        "head_seconds": round(found.head_at, 3),
        "first_byte_seconds": round(found.pieces[0].at, 3) if found.pieces else None,
        "watched_seconds": round(found.through, 1),
        "end": found.end,
        "blocks": len(blocks.found),
        "events": len(blocks.events),
        "longest_silence_seconds": round(max(found.silences, default=0.0), 1),
        "findings": [finding._asdict() for finding in report.findings],
        "not_tested": report.notes,
        "clients": [reading._asdict() for reading in report.readings],
    }


def lines_of(report: Report, colour: bool) -> list[str]:
    """Return the report for people."""

    def paint(text: str, **style: Any) -> str:
        text = printable(text)
        return click.style(text, **style) if colour else text

    found, blocks = report.found, report.blocks
    lines = [
        f"{found.status} {printable(found.headers.get('content-type', ''))}, {version_of(report)}",
        f"the head came after {found.head_at:.2f} s"
        + (f", the first byte after {found.pieces[0].at:.2f} s" if found.pieces else ""),
    ]
    if found.is_stream:
        lines.append(
            f"in {found.through:.0f} s: {counted(len(blocks.events), 'event')} in "
            f"{counted(len(blocks.found), 'block')}, "
            f"the longest silence {max(found.silences, default=0.0):.1f} s"
            + {"open": "", "ended": "; then it ended", "cut": "; then it broke off"}[found.end]
        )
    lines.append("")
    lines += [line for finding in report.findings for line in lines_of_finding(finding, paint)]
    if not report.findings:
        lines.append(paint("no fault was found", fg="green"))
    lines += [paint(f"  {note}", dim=True) for note in report.notes]
    if blocks.found:
        lines += ["", f"What clients make of the first {counted(min(len(blocks.found), FIRST), 'block')}:"]
        for client, messages, problem in report.readings:
            lines.append(
                f"  {client}: {counted(messages, 'message')}" + (f"; {printable(problem)}" if problem else "")
            )
    return lines


def lines_of_finding(finding: Finding, paint: Any) -> list[str]:
    fg = "red" if finding.level == "error" else "yellow"
    return [paint(f"{finding.level}: {finding.what}", fg=fg, bold=True), f"  {printable(finding.advice)}"]


def version_of(report: Report) -> str:
    if report.http2:
        return "HTTP/2"
    return f"{report.found.http_version}: a browser opens at most six such streams"
