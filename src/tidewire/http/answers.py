"""
The heads of responses, problems (RFC 9457) and receipts. No I/O: values in, bytes out.
"""

from __future__ import annotations

from typing import Any

import orjson

from ..errors import MethodNotAllowed, Misdirected, TidewireError, Unauthorized
from ..log.entries import Receipt
from .asgi import Headers

CONTENT_TYPES = {
    "css": b"text/css; charset=utf-8",
    "html": b"text/html; charset=utf-8",
    "js": b"text/javascript; charset=utf-8",
    "svg": b"image/svg+xml",
}


def stream_head(http_version: str, heartbeat: float, *, plain: bool = False) -> Headers:
    """
    Return the headers of every stream; `heartbeat` is the longest silence in seconds.

    `plain`: its end means that it is complete. The fetch of Node before version 24 takes a cut for
    such an end if the head has `Connection: close`, so there is none where chunks show the end.
    """
    headers = [
        (b"content-type", b"text/event-stream"),
        (b"cache-control", b"no-store, no-transform"),
        (b"x-accel-buffering", b"no"),
        (b"x-content-type-options", b"nosniff"),
        (b"tidewire-heartbeat", b"%g" % heartbeat),
    ]
    if http_version.startswith("1") and not (plain and http_version == "1.1"):
        headers.append((b"connection", b"close"))
    return headers


def content_head(kind: bytes, size: int | None) -> Headers:
    """Return the headers of any response but a stream; `size` is None if it is not known yet."""
    headers = [
        (b"content-type", kind),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    return headers if size is None else [*headers, (b"content-length", b"%d" % size)]


def problem(error: TidewireError, *, publish: bool) -> tuple[int, Headers, bytes]:
    """
    Return status, headers and body of the response for `error` (RFC 9457).

    `publish`: whether the request was a publish or the end of a topic.
    """
    body = error.problem()
    if publish:
        body["stored"] = error.stored
    data = orjson.dumps(body)
    headers = content_head(b"application/problem+json", len(data))
    if error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % max(1, round(error.retry_after))))
    if isinstance(error, Unauthorized):
        headers.append((b"www-authenticate", challenge(error)))
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", error.members["allow"].encode()))
    # Part of the body of a publish may still be on its way, and must not be read as another request. A client
    # that asks again after 421 needs another connection, which may lead to another process.
    if publish or isinstance(error, Misdirected):
        headers.append((b"connection", b"close"))
    return error.status, headers, data


def challenge(error: Unauthorized) -> bytes:
    """Return the `WWW-Authenticate` of a 401 (RFC 6750, section 3)."""
    # "If the request lacks any authentication information […], the resource server SHOULD NOT include an
    # error code".
    return b"Bearer" if error.code in ("missing_token", "unauthorized") else b'Bearer error="invalid_token"'


def receipt_fields(receipt: Receipt, durability: str) -> dict[str, Any]:
    """Return the fields of the JSON response to a publish."""
    return {"id": str(receipt.position), "duplicate": receipt.duplicate, "durability": durability}


def content_type(name: str) -> bytes:
    """Return the content type of a file of the package. Raises `KeyError` if it has no such kind."""
    # The lists that the module mimetypes reads are the system's: in them .js may be anything.
    return CONTENT_TYPES[name.rpartition(".")[2]]
