"""The events of AG-UI."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from ...data import Encoder, as_text
from ...http.asgi import Headers
from ...log.runs import DONE, Run
from .protocol import INCOMPLETE, Spelled, part
from .yielded import Fields, Yielded

ENDS = {"RUN_FINISHED", "RUN_ERROR"}


class AgUi:
    """
    The events of AG-UI, which the `HttpAgent` of `@ag-ui/client` reads.

    A `dict` that is yielded is such an event and is sent as it is. A `str` is more of the answer's text. The
    key of the run is its `runId`, and its topic the `threadId`.
    """

    name = "ag_ui"
    headers: ClassVar[Headers] = []

    def speaker(self, run: Run, encoder: Encoder | None) -> AgUiSpeaker:
        return AgUiSpeaker(run, encoder)

    def closing(self, run: Run, state: str, reason: str) -> Iterator[Spelled]:
        if state != DONE:
            yield part({"type": "RUN_ERROR", "message": INCOMPLETE, "code": state})


class AgUiSpeaker:
    def __init__(self, run: Run, encoder: Encoder | None) -> None:
        self._ids = {"threadId": run.topic, "runId": run.key}
        self._run = run.id
        self._encoder = encoder
        self._yielded = Yielded(first="RUN_STARTED")
        self._text = 0  # how many texts there were
        self._in_text = self._started = self._over = False

    def item(self, item: Any) -> Iterator[Spelled]:
        for piece in self._yielded.read(item):
            if not self._started and (isinstance(piece, str) or piece.get("type") != "RUN_STARTED"):
                yield self._start()
            self._started = True
            yield from self._more_text(piece) if isinstance(piece, str) else self._event(piece)

    def _start(self) -> Spelled:
        return part({"type": "RUN_STARTED", **self._ids})

    def _event(self, fields: Fields) -> Iterator[Spelled]:
        if self._in_text:
            yield self._end_text()
        self._over = fields.get("type") in ENDS
        yield "message", as_text(fields, self._encoder)

    def _more_text(self, text: str) -> Iterator[Spelled]:
        if not text:  # which the protocol forbids
            return
        if not self._in_text:
            self._in_text, self._text = True, self._text + 1
            yield part({"type": "TEXT_MESSAGE_START", "messageId": self._message, "role": "assistant"})
        yield part({"type": "TEXT_MESSAGE_CONTENT", "messageId": self._message, "delta": text})

    @property
    def _message(self) -> str:
        return f"{self._run}-{self._text}"

    def _end_text(self) -> Spelled:
        self._in_text = False
        return part({"type": "TEXT_MESSAGE_END", "messageId": self._message})

    def last(self) -> Iterator[Spelled]:
        self._yielded.check_whole()
        if not self._started:
            yield self._start()
        if self._in_text:
            yield self._end_text()
        if not self._over:
            yield part({"type": "RUN_FINISHED", **self._ids})
