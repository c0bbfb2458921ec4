"""What a run speaks without a dialect: the events that its producer yields, and one that tells of its end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

import orjson

from ...data import Encoder, as_text
from ...errors import InvalidInput
from ...event_stream import Event
from ...http.asgi import Headers
from ...log.runs import Run
from .protocol import Spelled

FIELDS = {"data", "event"}


class Events:
    """The end of the run is an event `run.done`, `run.failed`, `run.cancelled` or `run.lost`."""

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
            yield "message", item
            return
        if isinstance(item, Mapping) and item.keys() <= FIELDS:
            item = Event(**item)
        if not isinstance(item, Event):
            raise InvalidInput(
                f"yield an Event, str, or dict with data and event, not {type(item).__name__}",
                code="invalid_event",
            )
        yield item.event, item.data if isinstance(item.data, str) else as_text(item.data, self.encoder)

    def last(self) -> Iterator[Spelled]:
        return iter(())
