"""
The response to one request: its `send`, and the headers that every response to it has.
"""

from __future__ import annotations

from typing import Any

import orjson

from ..auth.grants import Grant
from ..errors import TidewireError
from .answers import content_head, problem
from .asgi import Headers, Scope, Send

JSON = b"application/json"


class Reply:
    """
    Sends the response to one request.

    `common` headers, such as those of CORS, are in every response. `grant` is that of the client, once it
    is known.
    """

    def __init__(self, scope: Scope, send: Send, common: Headers) -> None:
        self.common = common
        self.grant: Grant | None = None
        self._send = send
        self._method: str = scope["method"]

    async def send(self, status: int, headers: Headers, body: bytes = b"") -> None:
        """Send a complete response; without its body if the method is HEAD."""
        body = b"" if self._method == "HEAD" else body
        await self._send({"type": "http.response.start", "status": status, "headers": headers + self.common})
        await self._send({"type": "http.response.body", "body": body})

    async def send_content(self, kind: bytes, content: bytes, status: int = 200) -> None:
        await self.send(status, content_head(kind, len(content)), content)

    async def send_json(self, value: Any, status: int = 200) -> None:
        await self.send_content(JSON, orjson.dumps(value), status)

    async def refuse(self, error: TidewireError) -> None:
        await self.send(*problem(error, publish=self._method in ("POST", "DELETE")))
