"""`tidewire publish`"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from io import BufferedReader

import click
import orjson

from ..client.core.publishing import Receipt
from ..client.sync.publisher import Publisher
from ..errors import InvalidInput
from . import EXIT_CODES, url_option

# Bytes read at once. A pipe returns what it has, so slow lines are sent one by one and fast ones together.
CHUNK = 1024 * 1024

# A longer line is taken for a file that is not NDJSON.
MAX_LINE = 16 * 1024 * 1024


@click.command(epilog=EXIT_CODES)
@click.argument("topic", required=False)
@click.argument("data", required=False)
@url_option
@click.option("-e", "--event", metavar="TYPE", help="Type of the event.")
@click.option(
    "-k",
    "--key",
    metavar="KEY",
    help="Idempotency key. An event published again with the same key within 10 minutes is stored once.",
)
@click.option(
    "--retry",
    type=click.IntRange(min=0),
    metavar="MS",
    help="Reconnection time for subscribers, sent with the event.",
)
@click.option(
    "--ndjson",
    "file",
    is_flag=False,
    flag_value="-",
    type=click.File("rb"),
    metavar="[FILE]",
    help='Publish each line of FILE (or stdin): {"topic": …, "data": …, "event"?, "key"?, "retry"?}.'
    " Lines without a topic go to TOPIC.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the whole receipt instead of the id.")
def publish(
    topic: str | None,
    data: str | None,
    url: str,
    event: str | None,
    key: str | None,
    retry: int | None,
    file: BufferedReader | None,
    as_json: bool,
) -> None:
    """
    Publish DATA to TOPIC and print the event's id.

    DATA is text; with `-` it is read from stdin, without the last line end.

    \b
      tidewire publish orders/7 '{"status": "paid"}' --event status
      date | tidewire publish clock -
      tidewire publish --ndjson < events.ndjson
    """
    if file is not None:
        if (data, event, key, retry) != (None, None, None, None):
            raise click.UsageError(
                "--ndjson takes data, event, key and retry from the lines: do not pass them"
            )
        publish_lines(url, file, topic)
        return
    if topic is None or data is None:
        raise click.UsageError("give a TOPIC and DATA (`-` reads it from stdin), or use --ndjson")
    text = read_data() if data == "-" else data
    with publisher(url) as hub:
        receipt = hub.publish(topic, text, event=event, key=key, retry=retry)
    click.echo(orjson.dumps(receipt).decode() if as_json else str(receipt.get("id")))


def publisher(url: str) -> Publisher:
    # One attempt and no key: a person who types the command sees the error and decides.
    return Publisher(url, retry_for=0)


def read_data() -> str:
    """Return stdin as text without its last line end, which `echo` adds. Raises `InvalidInput`."""
    data = sys.stdin.buffer.read()
    data = data.removesuffix(b"\n").removesuffix(b"\r") if data.endswith(b"\n") else data
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"stdin is not valid UTF-8 (byte {error.start + 1})", code="invalid_utf8"
        ) from error


def publish_lines(url: str, file: BufferedReader, topic: str | None) -> None:
    """Publish the lines of a file. Print the receipts as they arrive, and a summary on stderr."""
    progress = Progress()
    number = 1
    try:
        with publisher(url) as hub:
            for lines in read_lines(file):
                events = lines if topic is None else [with_topic(line, topic) for line in lines]
                for receipt in hub.publish_many(events, first=number):
                    click.echo(orjson.dumps(receipt))
                    start, through = receipt["lines"]
                    stored = filter(bytes.strip, events[start - number : through - number + 1])
                    progress.add(receipt, sum(1 for _ in stored))
                number += len(lines)
    finally:
        progress.end()


def read_lines(file: BufferedReader) -> Iterator[list[bytes]]:
    """Yield lines as they are read, as many as are available at a time."""
    rest = b""
    while chunk := file.read1(CHUNK):
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > MAX_LINE:
            raise InvalidInput(
                f"a line is longer than {MAX_LINE} bytes: is this NDJSON?", code="event_too_large"
            )
        if lines:
            yield lines
    if rest:
        yield [rest]


def with_topic(line: bytes, topic: str) -> bytes:
    """Return a line, with `topic` if it has none. An invalid line is left to the hub to refuse."""
    try:
        event = orjson.loads(line)
    except orjson.JSONDecodeError:
        return line
    return orjson.dumps({"topic": topic, **event}) if isinstance(event, dict) else line


class Progress:
    """The number of events stored: a line on stderr that is rewritten, and a summary at the end."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._count = self._duplicates = 0
        self._last = ""
        # If stdout is a terminal too, the receipts themselves show the progress.
        self._visible = sys.stderr.isatty() and not sys.stdout.isatty()

    def add(self, receipt: Receipt, count: int) -> None:
        self._count += count
        self._duplicates += receipt.get("duplicates", 0)
        self._last = str(receipt.get("last", ""))
        if self._visible:
            click.echo(f"\r\x1b[K{self._so_far()}", err=True, nl=False)

    def end(self) -> None:
        notes = []
        if self._duplicates:
            notes.append(f"including {self._duplicates:,} duplicate{'s' * (self._duplicates > 1)}")
        if self._last:
            notes.append(f"last id {self._last}")
        clear = "\r\x1b[K" if self._visible else ""
        click.echo(clear + ", ".join([self._so_far(), *notes]), err=True)

    def _so_far(self) -> str:
        seconds = time.monotonic() - self._started
        events = "1 event" if self._count == 1 else f"{self._count:,} events"
        return f"{events} published in {seconds:.1f} s ({self._count / max(seconds, 0.001):,.0f}/s)"
