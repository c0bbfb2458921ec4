"""A hub and an empty page with a strict policy, for the tests of sharing: `uvicorn sharing_app:app`."""

from __future__ import annotations

from typing import Any

from tidewire import Hub

hub = Hub(heartbeat=2, retry=0.5)

POLICY = (
    b"default-src 'none'; script-src 'self'; connect-src 'self'; base-uri 'none';"
    b" require-trusted-types-for 'script'; trusted-types 'none'"
)
PAGE = b"<!doctype html><title>empty</title>"


async def app(scope: Any, receive: Any, send: Any) -> None:
    path = scope.get("path")
    if path == "/":
        await answer(send, b"text/html", PAGE)
    elif path == "/favicon.ico":
        await answer(send, b"image/x-icon", b"")
    elif path == "/streams":
        await answer(send, b"text/plain", b"%d" % (await hub.open()).streams_open)
    elif path == "/own":
        await hub.stream(scope, "news")(scope, receive, send)
    else:
        await hub.app(scope, receive, send)


async def answer(send: Any, kind: bytes, body: bytes) -> None:
    headers = [(b"content-type", kind), (b"content-security-policy", POLICY)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
