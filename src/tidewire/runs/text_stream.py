"""
A run as text: the data of its events is the body of the response, and only a whole answer ends it properly.

Rule 1: text cannot say that it is complete, so the body of an answer that is not done is never finished.
Rule 2: a stream of events writes the text as well as the events; here what it writes is read again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from ..event_stream import Decoder, Event
from ..http.asgi import Receive, Scope, Send
from ..http.hub_stream import HubStream
from ..http.offer import Offer, finish_cut, offer_in, send_cut
from ..log.runs import DONE, Run


class TextStream(HubStream):
    """`newest` returns the run as it is now, None if nobody knows it any more."""

    media_type = "text/plain"
    takes_over = False

    def __init__(self, newest: Callable[[], Run | None], *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._newest = newest
        # The dialect's comes last.
        kinds = [item for item in self.raw_headers if item[0] == b"content-type"]
        self.raw_headers = [item for item in self.raw_headers if item not in kinds[:-1]]

    async def begin(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None] | None:
        return await super().begin(scope, receive, TextSend(send, offer_in(scope), self._newest))


class TextSend:
    """The `send` of a stream of events, for a client that wants their text."""

    def __init__(self, send: Send, offer: Offer | None, newest: Callable[[], Run | None]) -> None:
        self._send = send
        self._offer = offer
        self._newest = newest
        self._decoder = Decoder()
        self._streaming = False

    async def __call__(self, message: Any) -> None:
        kind = message["type"]
        if kind == "http.response.body" and message.get("more_body"):
            self._streaming = True
            found = self._decoder.feed(message["body"])
            text = "".join(item.data for item in found if isinstance(item, Event))
            if text:
                await self._send({**message, "body": text.encode()})
        elif kind == "http.response.body" and self._streaming and not self._is_whole():
            await send_cut(self._send)
            await finish_cut(self._offer)
        else:
            await self._send(message)

    def _is_whole(self) -> bool:
        run = self._newest()
        return run is not None and run.state == DONE
