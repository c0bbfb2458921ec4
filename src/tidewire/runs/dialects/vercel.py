"""The UI message stream of Vercel's AI SDK."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from ...data import Encoder, as_text
from ...http.asgi import Headers
from ...log.runs import CANCELLED, DONE, Run
from .protocol import INCOMPLETE, Spelled, part
from .yielded import Fields, Yielded


class AiSdk:
    """
    The UI message stream of Vercel's AI SDK, which `useChat` and `DefaultChatTransport` read.

    A `dict` that is yielded is a part of that stream, such as a tool call, and is sent as it is. A `str` is
    more of the answer's text.
    """

    name = "ai_sdk"
    headers: ClassVar[Headers] = [(b"x-vercel-ai-ui-message-stream", b"v1")]

    def speaker(self, run: Run, encoder: Encoder | None) -> AiSdkSpeaker:
        return AiSdkSpeaker(run.id, encoder)

    def closing(self, run: Run, state: str, reason: str) -> Iterator[Spelled]:
        if state == CANCELLED:
            yield part({"type": "abort"})
        elif state != DONE:
            yield part({"type": "error", "errorText": INCOMPLETE})
        yield "message", "[DONE]"


class AiSdkSpeaker:
    def __init__(self, run: str, encoder: Encoder | None) -> None:
        self._run = run
        self._encoder = encoder
        self._yielded = Yielded(first="start")
        self._text = 0  # how many texts there were
        self._in_text = self._started = self._finished = False

    def item(self, item: Any) -> Iterator[Spelled]:
        for piece in self._yielded.read(item):
            if not self._started and (isinstance(piece, str) or piece.get("type") != "start"):
                yield part({"type": "start", "messageId": self._run})
            self._started = True
            yield from self._more_text(piece) if isinstance(piece, str) else self._part(piece)

    def _part(self, fields: Fields) -> Iterator[Spelled]:
        if fields.get("type") == "done":  # what pydantic-ai writes as [DONE], which the closing has
            return
        if self._in_text:
            yield self._end_text()
        self._finished = fields.get("type") == "finish"
        yield "message", as_text(fields, self._encoder)

    def _more_text(self, text: str) -> Iterator[Spelled]:
        if not self._in_text:
            self._in_text, self._text = True, self._text + 1
            yield part({"type": "text-start", "id": str(self._text)})
        yield part({"type": "text-delta", "id": str(self._text), "delta": text})

    def _end_text(self) -> Spelled:
        self._in_text = False
        return part({"type": "text-end", "id": str(self._text)})

    def last(self) -> Iterator[Spelled]:
        self._yielded.check_whole()
        if self._in_text:
            yield self._end_text()
        if not self._finished:
            yield part({"type": "finish"})
