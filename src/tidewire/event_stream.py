"""
The text/event-stream format, with no I/O: `Event`, `encode`, `Decoder`.

Rule 1: bytes in, events out; events in, bytes out. No sockets, no asyncio and
        no clock in this file.
Rule 2: how the bytes are split never changes the events. `feed(a + b)` and
        `feed(a)` then `feed(b)` give the same. tests/test_event_stream.py checks
        it at every position.
Rule 3: work is linear in the bytes received. Memory is bounded by `limit` and the
        size of one chunk, whatever a server sends.
Rule 4: the decoder has two ways and one result. The exact way (`_lines`, `_field`,
        `_dispatch`) is the standard, line by line. The quick way (`_blocks`) takes
        whole blocks by one regular expression and leaves to the exact way what does
        not look regular. The tests hold both against a third decoder.
Rule 5: an encoded event is one event. What would end a line early, or is no UTF-8,
        is refused here too, whoever asks: HTTP, the library or a foreign writer.

Standard: https://html.spec.whatwg.org/multipage/server-sent-events.html, quoted
at the line that obeys it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from io import BytesIO
from typing import Any, cast

import orjson

from .errors import InvalidInput, Reserved, TooLarge

# Below half a second clients would hammer, above ten minutes they would seem dead.
RETRY_MIN = 500
RETRY_MAX = 600_000

LIMIT = 16 * 1024 * 1024

BOM = b"\xef\xbb\xbf"

CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
# CR and LF end a line; with NUL clients drop an id; half a surrogate pair is no UTF-8.
NO_LINE = re.compile("[\r\n\0\ud800-\udfff]")

# A regular block: event, id and topic, or id before event as others write it, then one
# line of data and a blank line. What is not regular matches as one group together with
# all that follows, so the matches leave nothing out. An empty id or topic is not regular,
# since an empty group is one that did not match. `(?:x|)` is faster than `(?:x)?`, and
# possessive (`?+`, `*+`) tries nothing twice.
BLOCK = re.compile(
    r"(?:id: ?+([^\n\0]++)\n|)"
    r"(?:event: ?+(.*+)\n|)"
    r"(?:id: ?+([^\n\0]++)\n|)"
    r"(?:topic: ?+(.++)\n|)"
    r"data: ?+(.*+)\n"
    r"\n"
    r"|((?s:.++))"
)

# A begun block whose whole lines take effect at its blank line and not before.
PATIENT = re.compile(rb"(?:(?:data|event|id|topic):.*+\n)*+.*+")

# "If the line contains a U+003A COLON character (:): Collect the characters on the
# line before the first U+003A COLON character (:), and let field be that string.
# Collect the characters on the line after the first U+003A COLON character (:), and
# let value be that string. If value starts with a U+0020 SPACE character, remove it
# from value. [...] Otherwise, the string is not empty but does not contain a U+003A
# COLON character (:): Process the field [...] using the whole line as the field name,
# and the empty string as the field value."
# Here a value after a colon keeps the LF of its line, so that a blank line alone has
# neither field nor value.
LINE = re.compile(rb"([^:\n]*+)(?:: ?+(.*+\n)|\n)")


@dataclass(slots=True)
class Event:
    """
    One event. The event that a server encodes equals the event that a client decodes.

    `data` is text of any length; its line ends become LF on the way. `event` is the
    type. `id` None writes no `id:` line; a decoded event has the last event id, ""
    where there was none. `retry` is the reconnection time in milliseconds; on the
    other side it stands on the decoder, not on the event. `topic` is a field of our
    own, which browsers ignore.
    """

    data: str = ""
    event: str = "message"
    id: str | None = None
    retry: int | None = None
    topic: str | None = None

    def json(self) -> Any:
        """Return what `data` means as JSON; raise `ValueError` if it is none."""
        return orjson.loads(self.data)


@dataclass(slots=True)
class Comment:
    """One comment line, without its colon and the space after it."""

    text: str


def encode(event: Event) -> bytes:
    """
    Return the block of bytes that carries an event.

    Raise `InvalidInput`, with the code of the field, for what a block cannot carry.
    """
    # Joined with `+` and not formatted: subclasses of str may format as they like.
    head = ""
    if event.event not in ("message", ""):
        head = "event: " + check_type(event.event) + "\n"
    if event.id is not None:
        head += "id: " + _check_id(event.id) + "\n"
    if event.topic is not None:
        head += "topic: " + _check_topic(event.topic) + "\n"
    if event.retry is not None:
        head += f"retry: {check_retry(event.retry)}\n"
    data = event.data
    if not isinstance(data, str):
        raise InvalidInput(f"data is str, not {type(data).__name__}", code="invalid_data")
    # Split at CRLF, CR and LF and at nothing else: str.splitlines knows eight more
    # and drops the last. Always one space after the colon, as data may begin with one.
    if "\r" in data:
        data = data.replace("\r\n", "\n").replace("\r", "\n")
    if "\n" in data:
        data = data.replace("\n", "\ndata: ")
    try:
        return (head + "data: " + data + "\n\n").encode()
    except UnicodeEncodeError:
        # The head was checked, so it is the data.
        raise InvalidInput(
            "data holds half a surrogate pair, which is no UTF-8", code="invalid_utf8"
        ) from None


def comment(text: str = "") -> bytes:
    """Return a block of one comment, which clients ignore; raise `InvalidInput` for more than a line."""
    if not _is_line(text):
        raise InvalidInput("a comment is text without CR, LF and NUL", code="invalid_comment")
    return b": %b\n\n" % text.encode() if text else b":\n\n"


def check_type(text: str) -> str:
    """Return an event type, "message" for an empty one; raise `InvalidInput` for what no line can carry."""
    if not _is_line(text):
        raise InvalidInput("an event type is text without CR, LF and NUL", code="invalid_type")
    return text or "message"


def check_publish_type(text: str) -> str:
    """Return an event type that a publisher may use: as `check_type`, and `Reserved` for `hub.*`."""
    text = check_type(text)
    if text.startswith("hub."):
        raise Reserved("event types that begin with hub. belong to the hub", code="reserved_type")
    return text


def check_retry(value: int) -> int:
    """Return a reconnection time in ms; raise `InvalidInput` unless it is an int from 500 to 600000."""
    # True is an int in Python.
    if not isinstance(value, int) or isinstance(value, bool) or not RETRY_MIN <= value <= RETRY_MAX:
        raise InvalidInput(
            f"retry is an int from {RETRY_MIN} to {RETRY_MAX} (milliseconds)", code="invalid_retry"
        )
    return int(value)


def _check_id(text: str) -> str:
    if not _is_line(text):
        raise InvalidInput("an event id is text without CR, LF and NUL", code="invalid_id")
    return text


def _check_topic(text: str) -> str:
    if not _is_line(text) or CONTROL.search(text):
        raise InvalidInput("a topic is text without control characters", code="invalid_topic")
    return text


def _is_line(text: str) -> bool:
    # Nearly all are printable, which is quick to ask and none of the others is.
    return isinstance(text, str) and (text.isprintable() or not NO_LINE.search(text))


class Decoder:
    """
    Turn a stream of bytes into events: `for event in decoder.feed(chunk)`.

    `last_event_id` is what a reconnection sends, and `retry` the reconnection time in
    milliseconds that the server asked for, or None: both outlive `reset`. `limit`
    bounds a line, and the data of an event, in bytes; comments and unknown fields
    count for nothing but the limit of their line. With `comments=True` items of type
    `Comment` stand among the events, where they came.
    """

    def __init__(self, limit: int = LIMIT, last_event_id: str = "", comments: bool = False) -> None:
        self.last_event_id = last_event_id
        self.retry: int | None = None
        self._limit = limit
        self._comments = comments
        self.reset()

    def reset(self) -> None:
        """Begin a new connection: forget half a block, keep `last_event_id` and `retry`."""
        self._failed = False
        self._started = False  # past where a BOM may stand
        self._start = b""  # what may yet be a BOM
        self._after_cr = False  # an LF now would belong to the line end before it
        self._tail = b""  # a begun block that can wait
        self._exact = False  # in a block that goes the exact way; these are its state:
        self._line = bytearray()  # the line that has no end yet
        self._data = bytearray()  # "the data buffer"
        self._type = ""  # "the event type buffer"
        self._id: str | None = None  # "the last event ID buffer"; None while the block has no id
        self._topic: str | None = None

    def feed(self, chunk: bytes) -> list[Event]:
        """
        Return the events that this chunk completes.

        Raise `TooLarge` (code `event_too_large`) once a line or event passes the limit,
        and again until `reset`. Events complete before are not lost: if the chunk has
        some they are returned, and the next call raises.
        """
        if self._failed:
            raise self._too_large()
        if not self._started or self._after_cr or b"\r" in chunk:
            chunk = self._plain(chunk)
        events: list[Event] = []
        try:
            if self._exact or self._tail:
                chunk = self._resume(chunk, events)
            border = chunk.rfind(b"\n\n")
            end = border + 2 if border >= 0 else 0
            if end:
                self._blocks(chunk[:end], events)
            if end < len(chunk):
                self._begin(chunk[end:], events)
        except TooLarge:
            self.reset()
            self._failed = True
            if not events:
                raise
        return events

    def _plain(self, chunk: bytes) -> bytes:
        """Return the chunk without a BOM and with LF for every line end."""
        # "The UTF-8 decode algorithm strips one leading UTF-8 Byte Order Mark (BOM),
        # if any."
        if not self._started:
            chunk = self._start + chunk
            if len(chunk) < len(BOM) and BOM.startswith(chunk):
                self._start = chunk
                return b""
            self._started = True
            chunk = chunk.removeprefix(BOM)
        # "Lines must be separated by either a U+000D CARRIAGE RETURN U+000A LINE FEED
        # (CRLF) character pair, a single U+000A LINE FEED (LF) character, or a single
        # U+000D CARRIAGE RETURN (CR) character." A CR at the end of a chunk ends its
        # line at once; if the LF of its pair follows, that ends nothing.
        if self._after_cr and chunk:
            self._after_cr = False
            chunk = chunk.removeprefix(b"\n")
        if b"\r" in chunk:
            self._after_cr = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return chunk

    def _blocks(self, blocks: bytes, events: list[Event]) -> None:
        """Take whole blocks the quick way."""
        try:
            text = blocks.decode()
        except UnicodeDecodeError:
            return self._lines(blocks, events)
        # Nothing in them passes the limit if together they do not.
        if len(blocks) > self._limit:
            return self._lines(blocks, events)
        found = BLOCK.findall(text)
        if rest := found[-1][-1]:
            found.pop()
        new, append, last_id = Event.__new__, events.append, self.last_event_id
        for early_id, type_, id_, topic, data, _ in found:
            if id_ or early_id:
                last_id = id_ or early_id
            # `Event(...)` in steps, since calling __init__ is a tenth of all the work.
            event = new(Event)
            event.data = data
            event.event = type_ or "message"
            event.id = last_id
            event.retry = None
            event.topic = topic or None
            append(event)
        self.last_event_id = last_id
        if rest:
            self._lines(rest.encode(), events)
        return None

    def _begin(self, part: bytes, events: list[Event]) -> None:
        """Keep the beginning of a block, or take its lines now if they cannot wait."""
        if len(part) <= self._limit and PATIENT.fullmatch(part):
            self._tail = part
        else:
            self._exact = True
            self._part(part, events)

    def _resume(self, chunk: bytes, events: list[Event]) -> bytes:
        """Go on with the begun block; return what follows its blank line."""
        if self._tail:
            tail, self._tail = self._tail, b""
            # To read it again from its start at most doubles the work.
            if len(tail) <= len(chunk):
                return tail + chunk
            self._exact = True
            self._part(tail, events)
        end = self._block_end(chunk)
        self._part(chunk[:end] if end else chunk, events)
        self._exact = not end
        return chunk[end:] if end else b""

    def _block_end(self, chunk: bytes) -> int:
        """Return where in the chunk the begun block ends, after its blank line; 0 if it does not."""
        if not self._line and chunk.startswith(b"\n"):
            return 1
        border = chunk.find(b"\n\n")
        return border + 2 if border >= 0 else 0

    def _part(self, part: bytes, events: list[Event]) -> None:
        """Take a part of a block: its whole lines now, the rest when its line ends."""
        end = part.rfind(b"\n") + 1
        if end:
            lines = part[:end]
            if self._line:
                lines = bytes(self._line) + lines
                self._line.clear()
            self._lines(lines, events)
        if end < len(part):
            self._line += part[end:]
            if len(self._line) > self._limit:
                raise self._too_large()

    def _lines(self, lines: bytes, events: list[Event]) -> None:
        """Take whole lines the exact way."""
        end = self._allowed(lines)
        for name, value in LINE.findall(lines, 0, end):
            if name == b"data":
                # "Append the field value to the data buffer, then append a single
                # U+000A LINE FEED (LF) character to the data buffer."
                self._data += value or b"\n"
                if len(self._data) > self._limit:
                    raise self._too_large()
            elif name:
                self._field(name, value[:-1])
            elif not value:
                # "If the line is empty (a blank line): Dispatch the event, as defined
                # below."
                self._dispatch(events)
            elif self._comments:
                # "If the line starts with a U+003A COLON character (:): Ignore the
                # line." Who does not ask for comments gets none, so the list is one of
                # events for all but those who look for `Comment`.
                events.append(cast(Event, Comment(_text(value[:-1]))))
        if end < len(lines):
            raise self._too_large()

    def _allowed(self, lines: bytes) -> int:
        """Return where the first line that passes the limit begins, or the end."""
        if len(lines) <= self._limit:
            return len(lines)
        end = 0
        for line in BytesIO(lines):
            if len(line) - 1 > self._limit:
                break
            end += len(line)
        return end

    def _field(self, name: bytes, value: bytes) -> None:
        """Take a field other than data."""
        # "Field names must be compared literally, with no case folding performed."
        if name == b"event":
            # "Set the event type buffer to the field value."
            self._type = _text(value)
        elif name == b"id":
            # "If the field value does not contain U+0000 NULL, then set the last event
            # ID buffer to the field value. Otherwise, ignore the field."
            if b"\0" not in value:
                self._id = _text(value)
        elif name == b"topic":
            self._topic = _text(value)
        elif name == b"retry" and value.isdigit():
            # "If the field value consists of only ASCII digits, then interpret the field
            # value as an integer in base ten, and set the event stream's reconnection
            # time to that integer." Of bytes, isdigit is ASCII only and false for none.
            # 18 digits are 30 million years; int() of many more takes as long.
            self.retry = int(value.lstrip(b"0")[:18] or b"0")
        # "Otherwise: The field is ignored."

    def _dispatch(self, events: list[Event]) -> None:
        # "Set the last event ID string of the event source to the value of the last
        # event ID buffer." This comes before the question for data: a block with only
        # an id moves it.
        if self._id is not None:
            self.last_event_id = self._id
        # "If the data buffer is an empty string, set the data buffer and the event type
        # buffer to the empty string and return." No data: no event.
        if self._data:
            # "If the data buffer's last character is a U+000A LINE FEED (LF) character,
            # then remove the last character from the data buffer."
            self._data.pop()
            # "If the event type buffer has a value other than the empty string, change
            # the type of the newly created event to equal the value of the event type
            # buffer."
            type_ = self._type or "message"
            events.append(Event(_text(self._data), type_, self.last_event_id, None, self._topic))
            self._data.clear()
        self._type, self._id, self._topic = "", None, None

    def _too_large(self) -> TooLarge:
        return TooLarge(f"a line or an event of more than {self._limit} bytes", code="event_too_large")


def _text(value: bytes | bytearray) -> str:
    # "Streams must be decoded using the UTF-8 decode algorithm", which puts U+FFFD for
    # each error. No character holds a line end, so how many lines are decoded at once
    # makes no difference.
    return value.decode("utf-8", "replace")
