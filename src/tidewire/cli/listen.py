"""`tidewire listen`"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, Literal

import click
import orjson

from ..client.sync.functions import connect
from ..client.sync.stream import Stream
from ..event_stream import Event
from ..topics import is_pattern
from . import EXIT_CODES, printable, url_option
from .status import Status, colours

Style = Literal["pretty", "json", "raw"]


@click.command(epilog=EXIT_CODES)
@click.argument("topics", nargs=-1)
@click.option(
    "-t",
    "--topic",
    "named",
    multiple=True,
    metavar="TOPIC",
    help="A topic, even one that looks like a URL. Repeatable.",
)
@url_option
@click.option(
    "--since",
    metavar="WHEN",
    help="Where to start: now, start, last:N, 10m, an ISO time or a position.",
)
@click.option("--last-event-id", metavar="ID", help="Continue after the event with this id.")
@click.option(
    "-H",
    "--header",
    "headers",
    multiple=True,
    metavar="'NAME: VALUE'",
    help="Send this header. Repeatable.",
)
@click.option(
    "--json", "style", flag_value="json", help="Print each event as a line of JSON: id, topic, event, data."
)
@click.option("--raw", "style", flag_value="raw", help="Print the bytes as they arrive.")
@click.option(
    "--event",
    "types",
    multiple=True,
    metavar="NAME",
    help="Print only events of this type; `message` is that of events without one. Repeatable.",
)
@click.option("-n", "--count", type=click.IntRange(min=1), metavar="N", help="Exit after N events.")
@click.option("-q", "--quiet", is_flag=True, help="Do not report on the connection on stderr.")
def listen(
    topics: tuple[str, ...],
    named: tuple[str, ...],
    url: str,
    since: str | None,
    last_event_id: str | None,
    headers: tuple[str, ...],
    style: Style | None,
    types: tuple[str, ...],
    count: int | None,
    quiet: bool,
) -> None:
    """
    Print the events of TOPICS, or of any SSE endpoint, as they arrive.

    A topic may be a pattern: `*` matches one level, `**` as the last level matches the rest, and `**` alone
    matches everything. An argument that starts with http:// or https:// is the URL of an SSE endpoint.

    If the connection is lost, the command reconnects and continues after the last event.

    \b
      tidewire listen orders/7 'invoices/*' --since 10m
      tidewire listen https://example.org/stream --json | jq .data
      tidewire listen news --count 1 --json     # wait for one event in a script
    """
    if style == "raw" and (types or count is not None):
        raise click.UsageError(f"{'--event' if types else '--count'} and --raw cannot be used together")
    target, terms = address(topics, named, url)
    status = Status(bool(terms), quiet, colours(sys.stderr))
    stream = connect(
        target,
        topics=terms,
        since=since,
        last_event_id=last_event_id,
        headers=parse_headers(headers),
        on_change=status.changed,
    )
    with stream:
        if style == "raw":
            print_bytes(stream)
        else:
            topic = only_topic(terms)
            write = as_json(topic) if style == "json" else pretty(colours(sys.stdout))
            print_events(stream, write, status, types, count)


def address(topics: Sequence[str], named: Sequence[str], url: str) -> tuple[str, list[str]]:
    """Return the URL to connect to and the topics to subscribe to; no topics for an SSE endpoint."""
    endpoints = [topic for topic in topics if topic.startswith(("http://", "https://"))]
    if not topics and not named:
        raise click.UsageError("give at least one TOPIC; '**' matches all topics")
    if not endpoints:
        return url, [*topics, *named]
    if len(topics) > 1 or named:
        raise click.UsageError(
            "an SSE endpoint must be the only argument; use --topic for a topic that looks like a URL"
        )
    return endpoints[0], []


def only_topic(terms: Sequence[str]) -> str | None:
    """Return the topic of all events if there is only one. The hub does not send it with each event then."""
    return terms[0] if len(set(terms)) == 1 and not is_pattern(terms[0]) else None


def parse_headers(lines: Iterable[str]) -> dict[str, str]:
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise click.UsageError("write a header as 'NAME: VALUE'")
        headers[name.strip()] = value.strip()
    return headers


def print_bytes(stream: Stream) -> None:
    for chunk in stream.raw():
        emit(chunk)


def print_events(
    stream: Stream,
    write: Callable[[Event], bytes],
    status: Status,
    types: Sequence[str],
    count: int | None,
) -> None:
    seen = 0
    for event in stream:
        status.hub_event(event)
        if types and event.event not in types:
            continue
        emit(write(event))
        # The hub's own events do not count, unless they were asked for.
        seen += bool(types) or not event.event.startswith("hub.")
        if seen == count:
            return
    if count is not None:
        raise click.ClickException(f"the stream ended after {seen} of {count} events")


def emit(data: bytes) -> None:
    # Flush at once: a program at the other end of a pipe waits for this event, not for a full buffer.
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def as_json(topic: str | None) -> Callable[[Event], bytes]:
    """Return a function that formats an event as a line of JSON. `topic` is that of a single-topic stream."""

    def write(event: Event) -> bytes:
        fields = {
            "id": event.id,
            "topic": topic if event.topic is None else event.topic,
            "event": event.event,
            "data": event.data,
        }
        return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)

    return write


def pretty(colour: bool) -> Callable[[Event], bytes]:
    """Return a function that formats an event for people: time, id, topic, type and data, if present."""

    def paint(text: str | None, **style: Any) -> str:
        text = printable(text or "")
        return click.style(text, **style) if colour and text else text

    def write(event: Event) -> bytes:
        if event.event.startswith("hub."):
            return b""  # described on stderr
        first, *more = [printable(line) for line in event.data.split("\n")]
        words = [
            paint(f"{datetime.now():%H:%M:%S}", dim=True),
            paint(event.id, dim=True),
            paint(event.topic, fg="cyan"),
            paint(event.event if event.event != "message" else None, bold=True),
            first,
        ]
        lines = ["  ".join(filter(None, words)), *(f"    {line}" for line in more)]
        return "\n".join([*lines, ""]).encode("utf-8")

    return write
