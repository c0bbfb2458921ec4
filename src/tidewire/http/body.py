"""
Request bodies: read as a whole under limits, or line by line for a streaming ingest.
"""

from __future__ import annotations

import asyncio

from ..errors import Timeout, TooLarge
from ..settings import Settings
from .asgi import Receive
from .requests import Request

# A byte order mark, which some editors and shells write before JSON. "Implementations that parse JSON texts
# MAY ignore the presence of a byte order mark rather than treating it as an error" (RFC 8259, section 8.1).
BOM = b"\xef\xbb\xbf"


class ClientGone(Exception):
    """The client disconnected before its body was complete."""


async def body_of(request: Request, receive: Receive, settings: Settings) -> bytes:
    """Return the body of a request. Raises as `read_body`, which has the limits of `settings` then."""
    declared = request.header(b"content-length")
    return await read_body(receive, declared, settings.max_body, settings.body_timeout)


async def read_body(receive: Receive, declared: str | None, limit: int, timeout: float) -> bytes:
    """
    Return the body.

    `declared` is the Content-Length header: a body that is too large by its own
    account is refused before it is read. Raises `TooLarge` if the body has more than
    `limit` bytes, `Timeout` if it takes longer than `timeout` seconds, and
    `ClientGone` if the client disconnects.
    """
    if declared is not None and declares_more(declared, limit):
        raise too_large(limit)
    parts: list[bytes] = []
    size = 0
    more = True
    try:
        async with asyncio.timeout(timeout):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                if part := message.get("body"):
                    parts.append(part)
                    size += len(part)
                    if size > limit:
                        raise too_large(limit)
                more = message.get("more_body", False)
    except TimeoutError:
        raise Timeout(f"the body took longer than {timeout:g} s") from None
    return parts[0] if len(parts) == 1 else b"".join(parts)


def declares_more(declared: str, limit: int) -> bool:
    """Return whether a Content-Length is a number greater than `limit`. Other text declares nothing."""
    # `isdigit` alone allows `²`, and int() raises for that and for 4,301 digits.
    if not (declared.isascii() and declared.isdigit()):
        return False
    digits = declared.lstrip("0")
    return len(digits) > 18 or int(digits or "0") > limit


class Lines:
    """Splits a body into lines of up to `limit` bytes. The last line needs no line end."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rest: list[bytes] = []
        self._size = 0

    def feed(self, part: bytes) -> list[bytes]:
        """Return the lines that `part` completes."""
        first, newline, rest = part.partition(b"\n")
        self._hold(first)
        if not newline:
            return []
        lines = [b"".join(self._rest), *rest.split(b"\n")]
        self._rest, self._size = [], 0
        self._hold(lines.pop())
        return lines

    def end(self) -> list[bytes]:
        rest = b"".join(self._rest)
        return [rest] if rest else []

    @property
    def too_long(self) -> bool:
        """Whether the incomplete line is over the limit already."""
        return self._size > self._limit

    def _hold(self, part: bytes) -> None:
        if part and not self.too_long:
            self._rest.append(part)
            self._size += len(part)


def too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body must not exceed {limit} bytes", code="body_too_large")
