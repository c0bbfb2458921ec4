"""
Dialects: how the output of a run is spelled for the client that reads it.

Without one, what a producer yields is published as events, and the end of the run is an event `run.done`,
`run.failed`, `run.cancelled` or `run.lost`. A dialect has no state: a run may be ended by another process
than the one that makes it. What must be remembered from item to item is in its `Speaker`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NamedTuple, Protocol

import orjson

from ..data import Encoder, as_text
from ..errors import InvalidInput
from ..event_stream import Event
from ..http.asgi import Headers
from ..log.runs import CANCELLED, DONE, Run

# The type and the data of an event.
Spelled = tuple[str, str]

FIELDS = {"data", "event"}
INCOMPLETE = "The answer could not be completed."


class Speaker(Protocol):
    """Spells the output of one run."""

    def item(self, item: Any) -> Iterator[Spelled]:
        """Spell what the producer yielded. Raises `InvalidInput` if it cannot be spelled."""

    def last(self) -> Iterator[Spelled]:
        """Spell what comes once the producer has returned, before the closing events."""


class Dialect(Protocol):
    """`name` is kept with each run; `headers` are added to the responses that stream it."""

    name: str
    headers: ClassVar[Headers]

    def speaker(self, run: Run, encoder: Encoder | None) -> Speaker:
        """Return what spells the output of `run`; `encoder` is that of the hub."""

    def closing(self, run: Run, state: str, reason: str) -> Iterator[Spelled]:
        """Spell the end of `run`, in its `state`."""


class Events:
    """What a run speaks without a dialect."""

    name = ""
    headers: ClassVar[Headers] = []

    def speaker(self, run: Run, encoder: Encoder | None) -> EventSpeaker:
        return EventSpeaker(encoder)

    def closing(self, run: Run, state: str, reason: str) -> Iterator[Spelled]:
        fields = {"run": run.id, "key": run.key}
        yield f"run.{state}", orjson.dumps({**fields, "reason": reason} if reason else fields).decode()


class EventSpeaker(NamedTuple):
    encoder: Encoder | None

    def item(self, item: Any) -> Iterator[Spelled]:
        if isinstance(item, str):
            item = Event(item)
        elif isinstance(item, Mapping) and item.keys() <= FIELDS:
            item = Event(**item)
        if not isinstance(item, Event):
            raise InvalidInput(
                f"yield an Event, str, or dict with data and event, not {type(item).__name__}",
                code="invalid_event",
            )
        yield item.event, item.data if isinstance(item.data, str) else as_text(item.data, self.encoder)

    def last(self) -> Iterator[Spelled]:
        return iter(())


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
        self._text = 0  # how many texts there were
        self._in_text = self._started = self._finished = False

    def item(self, item: Any) -> Iterator[Spelled]:
        if not isinstance(item, str | Mapping):
            raise InvalidInput(
                f"yield a str, or a dict that is a part of a UI message stream, not {type(item).__name__}",
                code="invalid_event",
            )
        kind = item.get("type") if isinstance(item, Mapping) else None
        if not self._started and kind != "start":
            yield part({"type": "start", "messageId": self._run})
        self._started = True
        if isinstance(item, str):
            yield from self._more_text(item)
            return
        if self._in_text:
            yield self._end_text()
        self._finished = kind == "finish"
        yield "message", as_text(item, self._encoder)

    def _more_text(self, text: str) -> Iterator[Spelled]:
        if not self._in_text:
            self._in_text, self._text = True, self._text + 1
            yield part({"type": "text-start", "id": str(self._text)})
        yield part({"type": "text-delta", "id": str(self._text), "delta": text})

    def _end_text(self) -> Spelled:
        self._in_text = False
        return part({"type": "text-end", "id": str(self._text)})

    def last(self) -> Iterator[Spelled]:
        if self._in_text:
            yield self._end_text()
        if not self._finished:
            yield part({"type": "finish"})


class OpenAiChat:
    """
    The chunks of OpenAI's chat completions, which its SDKs read with `stream=True`.

    What is not a `str` is sent as it is, such as a chunk that the model's own API sent. A `str` is more of
    the answer's text; if there is nothing but text, a last chunk says that the answer is complete.
    """

    name = "openai_chat"
    headers: ClassVar[Headers] = []

    def speaker(self, run: Run, encoder: Encoder | None) -> OpenAiChatSpeaker:
        return OpenAiChatSpeaker(run, encoder)

    def closing(self, run: Run, state: str, reason: str) -> Iterator[Spelled]:
        if state == DONE:
            yield "message", "[DONE]"
        else:
            # The SDKs raise an error for it. Without `[DONE]`, nothing looks complete.
            yield part({"error": {"message": INCOMPLETE, "type": "server_error", "code": state}})


class OpenAiChatSpeaker:
    def __init__(self, run: Run, encoder: Encoder | None) -> None:
        self._run = run
        self._encoder = encoder
        self._only_text = True

    def item(self, item: Any) -> Iterator[Spelled]:
        if isinstance(item, str):
            yield self._chunk({"content": item}, None)
        else:
            self._only_text = False
            yield "message", as_text(item, self._encoder)

    def last(self) -> Iterator[Spelled]:
        if self._only_text:
            yield self._chunk({}, "stop")

    def _chunk(self, delta: Mapping[str, str], finish: str | None) -> Spelled:
        return part(
            {
                "id": self._run.id,
                "object": "chat.completion.chunk",
                "created": int(self._run.started),
                "model": "",
                "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
            }
        )


def part(fields: Mapping[str, Any]) -> Spelled:
    return "message", orjson.dumps(fields).decode()


events = Events()
ai_sdk = AiSdk()
openai_chat = OpenAiChat()

BY_NAME: dict[str, Dialect] = {dialect.name: dialect for dialect in (events, ai_sdk, openai_chat)}


def dialect_of(run: Run) -> Dialect:
    """Return the dialect of a run; one that this program does not know is none."""
    return BY_NAME.get(run.dialect, events)
