"""
How the bytes of a stream are wrapped for its socket.
"""

from __future__ import annotations

from typing import Literal

# HTTP/1.1 chunks, nothing (HTTP/1.0), or nothing because an ASGI server wraps them itself.
Framing = Literal["chunked", "raw", "asgi"]

LAST_CHUNK = b"0\r\n\r\n"


def framed(data: bytes, framing: Framing) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data) if framing == "chunked" else data
