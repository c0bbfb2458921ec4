"""
Two readers of an event stream that share no code with the package.

`Strict` accepts what the hub promises to write and nothing else: LF only, fields in their order, one
space after each colon. `Native` does what a browser's EventSource does with any stream.
"""

from __future__ import annotations

import re
from typing import NamedTuple, Protocol


class Malformed(Exception):
    """The hub wrote what it promises never to write."""


class Got(NamedTuple):
    """One event that arrived. `event` is its type; a browser does not know the `topic`."""

    id: str
    event: str
    data: str
    topic: str | None = None


class Reader(Protocol):
    """`retry` is in seconds, None until the server sends one."""

    retry: float | None
    last_event_id: str

    def feed(self, chunk: bytes) -> list[Got]: ...

    def reset(self) -> None: ...


# What may stand in front of a block. It counts at the end of its own line.
LOOSE = re.compile(rb"(?::[^\r\n]*|retry: ([0-9]{1,6}))\n")
BLOCK = re.compile(
    rb"(?:event: ([^\r\n\0]+)\n)?"
    rb"id: ([A-Za-z0-9.]{1,40})\n"
    rb"(?:topic: ([^\r\n\0]+)\n)?"
    rb"(?:retry: ([0-9]{1,6})\n)?"
    rb"((?:data: [^\r\n]*\n)+)"
)
# The only event without an id: nothing comes after it.
AUTH = re.compile(rb'event: (hub\.auth)\ndata: (\{"reason":"[a-z]+"\})\n')


class Strict:
    """Accepts what docs/reference/wire.md says, and nothing more."""

    def __init__(self, last_event_id: str = "") -> None:
        self.retry: float | None = None
        self.last_event_id = last_event_id
        self.reset()

    def reset(self) -> None:
        self._buffer = b""

    def feed(self, chunk: bytes) -> list[Got]:
        self._buffer += chunk
        got = []
        while True:
            while loose := LOOSE.match(self._buffer):
                self.retry = int(loose[1]) / 1000 if loose[1] else self.retry
                self._buffer = self._buffer[loose.end() :]
            block, blank, rest = self._buffer.partition(b"\n\n")
            if not blank:
                return got
            self._buffer = rest
            got.append(self._block(block + b"\n"))

    def _block(self, block: bytes) -> Got:
        if auth := AUTH.fullmatch(block):
            return Got(self.last_event_id, auth[1].decode(), auth[2].decode())
        found = BLOCK.fullmatch(block)
        if found is None:
            raise Malformed(f"not a block that a hub writes: {block[:200]!r}")
        event, id_, topic, retry, data = found.groups()
        if retry:
            self.retry = int(retry) / 1000
        self.last_event_id = id_.decode()
        lines = [line.removeprefix("data: ") for line in data.decode().split("\n")[:-1]]
        type_, topic = (event or b"message").decode(), topic.decode() if topic else None
        return Got(self.last_event_id, type_, "\n".join(lines), topic)


class Native:
    """Section 9.2.6 of the HTML standard, line by line."""

    def __init__(self, last_event_id: str = "") -> None:
        self.retry: float | None = None
        self.last_event_id = last_event_id
        self.reset()

    def reset(self) -> None:
        self._buffer = b""
        self._type, self._data, self._id = "", "", self.last_event_id

    def feed(self, chunk: bytes) -> list[Got]:
        *lines, self._buffer = (self._buffer + chunk).split(b"\n")
        return [got for line in lines if (got := self._line(line.removesuffix(b"\r").decode()))]

    def _line(self, line: str) -> Got | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._type = value
        elif name == "data":
            self._data += value + "\n"
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and re.fullmatch("[0-9]+", value):
            self.retry = int(value) / 1000
        return None

    def _dispatch(self) -> Got | None:
        self.last_event_id = self._id
        type_, data, self._type, self._data = self._type, self._data, "", ""
        return Got(self.last_event_id, type_ or "message", data[:-1]) if data else None


SIZE = re.compile(rb"[0-9a-fA-F]{1,8}")


class Chunked:
    """Decodes HTTP/1.1 chunks; `ended` once the last one has arrived."""

    def __init__(self) -> None:
        self.ended = False
        self._buffer = b""

    def feed(self, data: bytes) -> bytes:
        """Return the content of the chunks that are complete. Raises `Malformed` if one is not valid."""
        self._buffer += data
        whole = []
        while (chunk := self._chunk()) is not None:
            whole.append(chunk)
        return b"".join(whole)

    def _chunk(self) -> bytes | None:
        size, line_end, rest = self._buffer.partition(b"\r\n")
        if not line_end or self.ended:
            return None
        if not SIZE.fullmatch(size):
            raise Malformed(f"not a chunk size: {size[:50]!r}")
        length = int(size, 16)
        if len(rest) < length + 2:
            return None
        if rest[length : length + 2] != b"\r\n":
            raise Malformed(f"a chunk does not end where its size says: {rest[length : length + 2]!r}")
        self.ended, self._buffer = length == 0, rest[length + 2 :]
        return rest[:length]
