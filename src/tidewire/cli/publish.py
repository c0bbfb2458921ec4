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

# Bytes read at once. From a pipe comes what is there, so slow lines go out one by one and fast ones together.
CHUNK = 1024 * 1024

# A line of this length is a file without line ends.
MAX_LINE = 16 * 1024 * 1024


@click.command(epilog=EXIT_CODES)
@click.argument("topic", required=False)
@click.argument("data", required=False)
@url_option
@click.option("-e", "--event", metavar="TYPE", help="The event's type.")
@click.option("-k", "--key", help="Published again with the same key within 10 minutes, it is stored once.")
@click.option(
    "--retry", type=click.IntRange(min=0), metavar="MS", help="The reconnection time to send along."
)
@click.option(
    "--ndjson",
    "file",
    is_flag=False,
    flag_value="-",
    type=click.File("rb"),
    metavar="[FILE]",
    help='Publish each line of a file, or of stdin: {"topic": …, "data": …, "event"?, "key"?, "retry"?}.'
    " With TOPIC, lines need not name one.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the whole receipt, not its id alone.")
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

    DATA is text; `-` reads it from stdin, without its last line end.

    \b
      tidewire publish orders/7 '{"status": "paid"}' --event status
      date | tidewire publish clock -
      tidewire publish --ndjson < events.ndjson
    """
    if file is not None:
        if (data, event, key, retry) != (None, None, None, None):
            raise click.UsageError("with --ndjson the lines say it all: no DATA, --event, --key or --retry")
        publish_lines(url, file, topic)
        return
    if topic is None or data is None:
        raise click.UsageError("say a TOPIC and the DATA, `-` to read the data from stdin, or --ndjson")
    text = read_data() if data == "-" else data
    with publisher(url) as hub:
        receipt = hub.publish(topic, text, event=event, key=key, retry=retry)
    click.echo(orjson.dumps(receipt).decode() if as_json else str(receipt.get("id")))


def publisher(url: str) -> Publisher:
    # One attempt, without a key: whoever types the command sees what is wrong, and decides.
    return Publisher(url, retry_for=0)


def read_data() -> str:
    """Return stdin as text, without its last line end: `echo` adds one that nobody means."""
    data = sys.stdin.buffer.read()
    data = data.removesuffix(b"\n").removesuffix(b"\r") if data.endswith(b"\n") else data
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"stdin is not UTF-8 (byte {error.start + 1})", code="invalid_utf8") from error


def publish_lines(url: str, file: BufferedReader, topic: str | None) -> None:
    """Publish the lines of a file and print the receipts as they come; the sum goes to stderr."""
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
    """Yield the lines that are there, as many as come at once."""
    rest = b""
    while chunk := file.read1(CHUNK):
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > MAX_LINE:
            raise InvalidInput(
                f"a line of more than {MAX_LINE} bytes: is this NDJSON?", code="event_too_large"
            )
        if lines:
            yield lines
    if rest:
        yield [rest]


def with_topic(line: bytes, topic: str) -> bytes:
    """Return a line with a topic if it names none. What is wrong with it the hub says better."""
    try:
        event = orjson.loads(line)
    except orjson.JSONDecodeError:
        return line
    return orjson.dumps({"topic": topic, **event}) if isinstance(event, dict) else line


class Progress:
    """How many events are stored: a line on stderr, written again and again, and the sum at the end."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._count = self._duplicates = 0
        self._last = ""
        # Where the receipts can be seen they are the progress.
        self._visible = sys.stderr.isatty() and not sys.stdout.isatty()

    def add(self, receipt: Receipt, count: int) -> None:
        self._count += count
        self._duplicates += receipt.get("duplicates", 0)
        self._last = str(receipt.get("last", ""))
        if self._visible:
            click.echo(f"\r\x1b[K{self._so_far()}", err=True, nl=False)

    def end(self) -> None:
        notes = [f"{self._duplicates:,} of them duplicates"] if self._duplicates else []
        notes += [f"the last is {self._last}"] if self._last else []
        clear = "\r\x1b[K" if self._visible else ""
        click.echo(clear + ", ".join([self._so_far(), *notes]), err=True)

    def _so_far(self) -> str:
        seconds = time.monotonic() - self._began
        events = "1 event" if self._count == 1 else f"{self._count:,} events"
        return f"{events} published in {seconds:.1f} s ({self._count / max(seconds, 0.001):,.0f}/s)"
