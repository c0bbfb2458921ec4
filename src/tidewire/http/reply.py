"""
How one request is answered: its `send`, and the headers that every answer to it carries.
"""

from __future__ import annotations

from typing import Any

import orjson

from ..errors import TidewireError
from .answers import content_head, problem
from .asgi import Headers, Scope, Send

JSON = b"application/json"


class Reply:
    """Sends the answer to one request. `common` are the headers of every answer, such as those of CORS."""

    def __init__(self, scope: Scope, send: Send, common: Headers) -> None:
        self.common = common
        self._send = send
        self._method: str = scope["method"]

    async def send(self, status: int, headers: Headers, body: bytes = b"") -> None:
        """Send a whole answer; HEAD gets it without its body."""
        body = b"" if self._method == "HEAD" else body
        await self._send({"type": "http.response.start", "status": status, "headers": headers + self.common})
        await self._send({"type": "http.response.body", "body": body})

    async def send_content(self, kind: bytes, content: bytes, status: int = 200) -> None:
        await self.send(status, content_head(kind, len(content)), content)

    async def send_json(self, value: Any, status: int = 200) -> None:
        await self.send_content(JSON, orjson.dumps(value), status)

    async def refuse(self, error: TidewireError) -> None:
        await self.send(*problem(error, publish=self._method in ("POST", "DELETE")))
