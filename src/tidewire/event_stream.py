"""
The text/event-stream format, with no I/O: `Event`, `encode`, `Decoder`.

Rule 1: bytes in, events out; events in, bytes out. No sockets, no asyncio and
        no clock in this file.
Rule 2: how the bytes are split never changes the events. `feed(a + b)` returns the
        same as `feed(a)` and `feed(b)` together. tests/test_event_stream.py checks
        this at every position.
Rule 3: work is linear in the bytes received. Memory is bounded by `limit` and the
        size of one chunk, whatever a server sends.
Rule 4: the decoder has two paths and one result. The exact path (`_lines`, `_field`,
        `_dispatch`) is the standard, line by line. The quick path (`_blocks`) decodes
        whole blocks with one regular expression and leaves anything irregular to
        the exact path. The tests compare both with a third decoder.
Rule 5: an encoded event is one event. Text that would end a line early, or is not
        valid UTF-8, is refused here for all callers: HTTP, the library, entries of
        foreign writers.

Standard: https://html.spec.whatwg.org/multipage/server-sent-events.html, quoted
at the lines that implement it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, ClassVar, cast

import orjson

from .data import as_text
from .errors import InvalidInput, Reserved, TooLarge

# Below half a second clients would hammer the server, above ten minutes they would seem dead.
RETRY_MIN = 500
RETRY_MAX = 600_000

# As for topics. The format has no limit, but a type is a name that programs compare, and it is not data.
MAX_TYPE_BYTES = 512

LIMIT = 16 * 1024 * 1024

# The header of https://www.w3.org/TR/trace-context/; ids of zeros are not valid.
TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")

BOM = b"\xef\xbb\xbf"

CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
# CR and LF end a line; clients ignore an id with NUL; a lone surrogate has no UTF-8.
NOT_IN_A_LINE = re.compile("[\r\n\0\ud800-\udfff]")

# A regular block: event, id and topic (other servers write id before event), then one line
# of data and a blank line. From the first irregular block on, everything matches as the
# last group, so nothing is left out. An empty id or topic is irregular, since an empty
# group means that it did not match. `(?:x|)` is faster than `(?:x)?`; the possessive
# forms (`?+`, `*+`) never backtrack.
BLOCK = re.compile(
    r"(?:id: ?+([^\n\0]++)\n|)"
    r"(?:event: ?+(.*+)\n|)"
    r"(?:id: ?+([^\n\0]++)\n|)"
    r"(?:topic: ?+(.++)\n|)"
    r"data: ?+(.*+)\n"
    r"\n"
    r"|((?s:.++))"
)

# An incomplete block whose lines have no effect before its blank line, so it can be kept as it is.
DEFERRABLE = re.compile(rb"(?:(?:data|event|id|topic):.*+\n)*+.*+")

# "If the line contains a U+003A COLON character (:): Collect the characters on the
# line before the first U+003A COLON character (:), and let field be that string.
# Collect the characters on the line after the first U+003A COLON character (:), and
# let value be that string. If value starts with a U+0020 SPACE character, remove it
# from value. [...] Otherwise, the string is not empty but does not contain a U+003A
# COLON character (:): Process the field [...] using the whole line as the field name,
# and the empty string as the field value."
# In this pattern a value after a colon keeps the LF of its line, so only a blank line
# has neither field nor value.
LINE = re.compile(rb"([^:\n]*+)(?:: ?+(.*+\n)|\n)")


@dataclass(slots=True)
class Event:
    """
    One event. The event that a client decodes equals the one that the server encoded.

    `data` is text of any length; encoding turns its line ends into LF. Data that is not
    text is taken too, and encoded as `Hub.publish` does. `event` is the
    type. With `id` None no `id:` line is written; a decoded event has the last event
    id, or "" if there was none. `retry` is the reconnection time in milliseconds; a
    decoder keeps it itself and does not set it on events. `topic` is our own field,
    which browsers ignore. `traceparent` is the trace that the event belongs to: see `Traced`.
    """

    data: str = ""
    event: str = "message"
    id: str | None = None
    retry: int | None = None
    topic: str | None = None
    # The last one, so that it is the last of the fields of `Traced`.
    traceparent: ClassVar[str | None] = None

    if TYPE_CHECKING:
        # The data of an event that was received is always text.
        def __init__(
            self,
            data: Any = "",
            event: str = "message",
            id: str | None = None,
            retry: int | None = None,
            topic: str | None = None,
        ) -> None: ...

    def json(self) -> Any:
        """Return `data` parsed as JSON. Raises `ValueError` if it is not JSON."""
        return orjson.loads(self.data)


@dataclass(slots=True)
class Traced(Event):
    """An event that carries the `traceparent` of its publish. Other events have no room for one."""

    traceparent: str | None = None  # type: ignore[misc]


def with_trace(event: Event, traceparent: str) -> Event:
    """Return `event` as one of the trace `traceparent`."""
    return Traced(event.data, event.event, event.id, event.retry, event.topic, traceparent)


def is_traceparent(text: str) -> bool:
    return TRACEPARENT.fullmatch(text) is not None


@dataclass(slots=True)
class Comment:
    """One comment line, without the colon and the space after it."""

    text: str


def encode(event: Event) -> bytes:
    """
    Return an event as the bytes of one block.

    Raises `InvalidInput`, with a code for the field, if a block cannot carry it.
    """
    # Joined with `+` and not formatted: a subclass of str may format itself as anything.
    head = ""
    if event.event not in ("message", ""):
        head = "event: " + check_type(event.event) + "\n"
    if event.id is not None:
        head += "id: " + _check_id(event.id) + "\n"
    if event.topic is not None:
        head += "topic: " + _check_topic(event.topic) + "\n"
    if event.traceparent is not None:
        head += "traceparent: " + _check_trace(event.traceparent) + "\n"
    if event.retry is not None:
        head += f"retry: {check_retry(event.retry)}\n"
    data = event.data
    if not isinstance(data, str):
        data = as_text(data)
    # Split at CRLF, CR and LF and nothing else: str.splitlines knows eight more line ends
    # and drops the last one. Always a space after the colon, since data may begin with one.
    if "\r" in data:
        data = data.replace("\r\n", "\n").replace("\r", "\n")
    if "\n" in data:
        data = data.replace("\n", "\ndata: ")
    try:
        return (head + "data: " + data + "\n\n").encode()
    except UnicodeEncodeError:
        # The other fields were checked, so it is the data.
        raise InvalidInput(
            "data contains a lone surrogate, which is not valid UTF-8", code="invalid_utf8"
        ) from None


def comment(text: str = "") -> bytes:
    """
    Return a comment as bytes; clients ignore it. Raises `InvalidInput` if it is more than one line.

    No blank line follows, since many decoders take any block, even an empty one, for a message.
    """
    if not _is_line(text):
        raise InvalidInput("a comment must be text without CR, LF and NUL", code="invalid_comment")
    return b": %b\n" % text.encode() if text else b":\n"


def check_type(text: str) -> str:
    """Return an event type, "message" for an empty one. Raises `InvalidInput` if no line can carry it."""
    if not _is_line(text):
        raise InvalidInput("an event type must be text without CR, LF and NUL", code="invalid_type")
    return text or "message"


def check_publish_type(text: str) -> str:
    """
    Return an event type for a publisher.

    Raises `InvalidInput` as `check_type` and if it is longer than 512 bytes of UTF-8, and `Reserved` if it
    is `hub.*`.
    """
    if text == "message":  # nearly all are
        return text
    text = check_type(text)
    # Characters are counted first, so that megabytes are not encoded.
    if len(text) > MAX_TYPE_BYTES or (not text.isascii() and len(text.encode()) > MAX_TYPE_BYTES):
        raise InvalidInput(
            f"an event type must have at most {MAX_TYPE_BYTES} bytes of UTF-8", code="invalid_type"
        )
    if text.startswith("hub."):
        raise Reserved("event types that begin with hub. belong to the hub", code="reserved_type")
    return text


def check_retry(value: int) -> int:
    """Return a reconnection time in ms. Raises `InvalidInput` if it is not an int from 500 to 600,000."""
    # In Python True is an int.
    if not isinstance(value, int) or isinstance(value, bool) or not RETRY_MIN <= value <= RETRY_MAX:
        raise InvalidInput(
            f"retry must be an int from {RETRY_MIN} to {RETRY_MAX} (milliseconds)", code="invalid_retry"
        )
    return int(value)


def _check_id(text: str) -> str:
    if not _is_line(text):
        raise InvalidInput("an event id must be text without CR, LF and NUL", code="invalid_id")
    return text


def _check_topic(text: str) -> str:
    if not _is_line(text) or CONTROL.search(text):
        raise InvalidInput("a topic must be text without control characters", code="invalid_topic")
    return text


def _check_trace(text: str) -> str:
    if not is_traceparent(text):
        raise InvalidInput("this is not a traceparent", code="invalid_event")
    return text


def _is_line(text: str) -> bool:
    # Nearly all text is printable, which is quick to check and excludes those characters.
    return isinstance(text, str) and (text.isprintable() or not NOT_IN_A_LINE.search(text))


class Decoder:
    """
    Turn a stream of bytes into events: `for event in decoder.feed(chunk)`.

    `last_event_id` is the id to send when reconnecting; `retry` is the reconnection
    time in milliseconds that the server sent, or None. `reset` keeps both. `limit` is
    the most bytes that a line, or the data of an event, may have; comments and unknown
    fields count only as lines. With `comments=True`, comments are returned among the
    events, in order, as items of type `Comment`.
    """

    def __init__(self, limit: int = LIMIT, last_event_id: str = "", comments: bool = False) -> None:
        self.last_event_id = last_event_id
        self.retry: int | None = None
        self._limit = limit
        self._comments = comments
        self.reset()

    def reset(self) -> None:
        """Start a new connection: forget an incomplete block, keep `last_event_id` and `retry`."""
        self._failed = False
        self._started = False  # past the place of a BOM
        self._start = b""  # what may become a BOM
        self._after_cr = False  # an LF that comes next belongs to the line end before it
        self._tail = b""  # an incomplete block that is kept as it is
        self._exact = False  # in a block on the exact path, whose state is:
        self._line = bytearray()  # the incomplete line
        self._data = bytearray()  # "the data buffer"
        self._type = ""  # "the event type buffer"
        self._id: str | None = None  # "the last event ID buffer"; None while the block has no id
        self._topic: str | None = None
        self._trace: str | None = None

    def feed(self, chunk: bytes) -> list[Event]:
        """
        Return the events that this chunk completes.

        Raises `TooLarge` (`event_too_large`) if a line or event exceeds the limit, and on
        each call after that until `reset`. No complete event is lost: if the chunk has
        some before the excess, they are returned, and the next call raises.
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
        # line at once; if an LF follows, it belongs to the same line end.
        if self._after_cr and chunk:
            self._after_cr = False
            chunk = chunk.removeprefix(b"\n")
        if b"\r" in chunk:
            self._after_cr = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return chunk

    def _blocks(self, blocks: bytes, events: list[Event]) -> None:
        """Decode complete blocks on the quick path."""
        try:
            text = blocks.decode()
        except UnicodeDecodeError:
            return self._lines(blocks, events)
        # If the total fits the limit, so does each part.
        if len(blocks) > self._limit:
            return self._lines(blocks, events)
        found = BLOCK.findall(text)
        if rest := found[-1][-1]:
            found.pop()
        new, append, last_id = Event.__new__, events.append, self.last_event_id
        for early_id, type_, id_, topic, data, _ in found:
            if id_ or early_id:
                last_id = id_ or early_id
            # `Event(...)` in steps, since the call of __init__ would take a tenth of the time.
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
        """Keep an incomplete block as it is if that is possible, else decode its lines now."""
        if len(part) <= self._limit and DEFERRABLE.fullmatch(part):
            self._tail = part
        else:
            self._exact = True
            self._part(part, events)

    def _resume(self, chunk: bytes, events: list[Event]) -> bytes:
        """Continue the incomplete block; return what follows its blank line."""
        if self._tail:
            tail, self._tail = self._tail, b""
            # Reading the block again from its start at most doubles the work.
            if len(tail) <= len(chunk):
                return tail + chunk
            self._exact = True
            self._part(tail, events)
        end = self._block_end(chunk)
        self._part(chunk[:end] if end else chunk, events)
        self._exact = not end
        return chunk[end:] if end else b""

    def _block_end(self, chunk: bytes) -> int:
        """Return where the incomplete block ends in the chunk, after its blank line; 0 if it does not."""
        if not self._line and chunk.startswith(b"\n"):
            return 1
        border = chunk.find(b"\n\n")
        return border + 2 if border >= 0 else 0

    def _part(self, part: bytes, events: list[Event]) -> None:
        """Decode a part of a block: its complete lines now, the rest when its line ends."""
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
        """Decode complete lines on the exact path."""
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
                # line." Only with `comments=True` does the list hold anything but
                # events.
                events.append(cast(Event, Comment(_text(value[:-1]))))
        if end < len(lines):
            raise self._too_large()

    def _allowed(self, lines: bytes) -> int:
        """Return where the first line over the limit begins, or the end if there is none."""
        if len(lines) <= self._limit:
            return len(lines)
        end = 0
        for line in BytesIO(lines):
            if len(line) - 1 > self._limit:
                break
            end += len(line)
        return end

    def _field(self, name: bytes, value: bytes) -> None:
        """Apply a field other than data."""
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
        elif name == b"traceparent":
            trace = _text(value)
            self._trace = trace if is_traceparent(trace) else None
        elif name == b"retry" and value.isdigit():
            # "If the field value consists of only ASCII digits, then interpret the field
            # value as an integer in base ten, and set the event stream's reconnection
            # time to that integer." For bytes, isdigit is ASCII only, and False if empty.
            # 18 digits are 30 million years; int() of a very long number takes too long.
            self.retry = int(value.lstrip(b"0")[:18] or b"0")
        # "Otherwise: The field is ignored."

    def _dispatch(self, events: list[Event]) -> None:
        # "Set the last event ID string of the event source to the value of the last
        # event ID buffer." This comes before the check for data: a block with only an
        # id sets it too.
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
            event = Event(_text(self._data), type_, self.last_event_id, None, self._topic)
            events.append(event if self._trace is None else with_trace(event, self._trace))
            self._data.clear()
        self._type, self._id, self._topic, self._trace = "", None, None, None

    def _too_large(self) -> TooLarge:
        return TooLarge(f"a line or an event has more than {self._limit} bytes", code="event_too_large")


def _text(value: bytes | bytearray) -> str:
    # "Streams must be decoded using the UTF-8 decode algorithm", which puts U+FFFD for
    # each error. No character spans a line end, so the result does not depend on how many
    # lines are decoded at once.
    return value.decode("utf-8", "replace")
