"""Plain text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from ...data import Encoder
from ...http.asgi import Headers
from ...log.runs import Run
from .protocol import Spelled
from .yielded import Yielded, not_taken


class PlainText:
    """
    The answer's text as the body of the response, without events, as `fetch` and `curl` read it.

    Text has no way to say that it is complete: the body of an answer that is not done never ends properly,
    and the client gets a network error.
    """

    name = "plain_text"
    headers: ClassVar[Headers] = [(b"content-type", b"text/plain; charset=utf-8")]

    def speaker(self, run: Run, encoder: Encoder | None) -> PlainTextSpeaker:
        return PlainTextSpeaker()

    def closing(self, run: Run, state: str, reason: str) -> Iterator[Spelled]:
        return iter(())


class PlainTextSpeaker:
    def __init__(self) -> None:
        self._yielded = Yielded()

    def item(self, item: Any) -> Iterator[Spelled]:
        for piece in self._yielded.read(item):
            if not isinstance(piece, str):
                raise not_taken(item)
            if piece:
                yield "message", piece

    def last(self) -> Iterator[Spelled]:
        self._yielded.check_whole()
        return iter(())
