"""The events of OpenAI's Responses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import orjson

from ...data import Encoder, as_text
from ...http.asgi import Headers
from ...log.runs import DONE, Run
from .protocol import INCOMPLETE, Spelled
from .yielded import COMPLETE, FAILED, Fields, Yielded, is_response_event

# The number of an event that is written when nobody knows how many came before: more than all of them, and
# the largest that JavaScript writes exactly.
LAST_NUMBER = 2**53 - 1


class OpenAiResponses:
    """
    The events of OpenAI's Responses, which its SDKs read with `stream=True`.

    A `dict` that is yielded is such an event and is sent as it is, and so is one that OpenAI's SDK read. A
    `str` is more of the answer's text, in a response whose id is the key of the run.
    """

    name = "openai_responses"
    headers: ClassVar[Headers] = []

    def speaker(self, run: Run, encoder: Encoder | None) -> OpenAiResponsesSpeaker:
        return OpenAiResponsesSpeaker(run, encoder)

    def closing(self, run: Run, state: str, reason: str) -> Iterator[Spelled]:
        if state == DONE:
            return
        # The SDKs raise an error for whatever has a member `error`.
        error = {"type": "server_error", "code": state, "message": INCOMPLETE}
        yield event(
            "error", LAST_NUMBER, {"code": state, "message": INCOMPLETE, "param": None, "error": error}
        )


class OpenAiResponsesSpeaker:
    def __init__(self, run: Run, encoder: Encoder | None) -> None:
        self._id = run.key
        self._created = int(run.started)
        self._message = f"msg_{run.id}"
        self._encoder = encoder
        self._yielded = Yielded(is_response_event)
        self._texts: list[str] = []
        self._number = 0
        self._started = self._over = False
        self._own = True  # nothing but text was yielded

    def item(self, item: Any) -> Iterator[Spelled]:
        for piece in self._yielded.read(item):
            if isinstance(piece, str):
                yield from self._more_text(piece)
            else:
                yield self._passed_on(piece)

    def last(self) -> Iterator[Spelled]:
        self._yielded.check_whole()
        if self._own:
            yield from self._end()
        elif not self._over:
            raise EOFError("the events of the response ended without the last one")

    def _passed_on(self, fields: Fields) -> Spelled:
        kind = str(fields.get("type"))
        number = fields.get("sequence_number")
        self._own = False
        self._over = kind in COMPLETE or kind in FAILED
        self._number = (number if isinstance(number, int) else self._number) + 1
        return kind, as_text(fields, self._encoder)

    # -- a response of text alone

    def _more_text(self, text: str) -> Iterator[Spelled]:
        yield from self._start()
        self._texts.append(text)
        yield self._event("response.output_text.delta", {**self._place, "delta": text, "logprobs": []})

    def _start(self) -> Iterator[Spelled]:
        if self._started:
            return
        self._started = True
        yield self._event("response.created", {"response": self._response("in_progress", [])})
        yield self._event("response.in_progress", {"response": self._response("in_progress", [])})
        item = {**self._item("in_progress", []), "content": []}
        yield self._event("response.output_item.added", {"output_index": 0, "item": item})
        yield self._event("response.content_part.added", {**self._place, "part": text_part("")})

    def _end(self) -> Iterator[Spelled]:
        yield from self._start()
        text = "".join(self._texts)
        item = self._item("completed", [text_part(text)])
        yield self._event("response.output_text.done", {**self._place, "text": text, "logprobs": []})
        yield self._event("response.content_part.done", {**self._place, "part": text_part(text)})
        yield self._event("response.output_item.done", {"output_index": 0, "item": item})
        yield self._event("response.completed", {"response": self._response("completed", [item])})

    def _event(self, kind: str, fields: Fields) -> Spelled:
        number, self._number = self._number, self._number + 1
        return event(kind, number, fields)

    @property
    def _place(self) -> dict[str, Any]:
        return {"item_id": self._message, "output_index": 0, "content_index": 0}

    def _item(self, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self._message,
            "type": "message",
            "role": "assistant",
            "status": status,
            "content": content,
        }

    def _response(self, status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "model": "",
            "output": output,
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "metadata": {},
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
        }


def text_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def event(kind: str, number: int, fields: Mapping[str, Any]) -> Spelled:
    return kind, orjson.dumps({"type": kind, "sequence_number": number, **fields}).decode()


def number_in(data: str) -> int | None:
    """Return the `sequence_number` of an event; None if it has none."""
    try:
        fields = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    number = fields.get("sequence_number") if isinstance(fields, dict) else None
    return number if isinstance(number, int) else None
