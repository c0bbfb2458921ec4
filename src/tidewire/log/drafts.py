"""
Turning a publisher's input into a `Draft`: the one validator for HTTP, the library and the command line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import orjson

from ..data import Encoder, as_text
from ..errors import InvalidInput, TooLarge
from ..event_stream import check_publish_type, check_retry
from ..topics import check_publish_topic
from .entries import Draft, make
from .json_text import has_json_data, may_change, read_json

T = TypeVar("T")

MAX_KEY = 128
FIELDS = {"topic", "data", "event", "retry", "key"}
PLAIN_FIELDS = {"topic", "data", "event"}
# Of all fields of a draft after its topic and its data.
DEFAULTS = Draft("", "")[2:]


def draft(
    topic: str,
    data: Any = "",
    *,
    event: str = "message",
    retry: int | None = None,
    key: str | None = None,
    max_event: int,
    encoder: Encoder | None = None,
) -> Draft:
    """
    Return a checked draft of one event.

    `data` is `str`, UTF-8 `bytes`, or anything that `data.as_text` writes as JSON. Raises
    `InvalidInput`, `Reserved` or `TooLarge` if a field is not allowed.
    """
    return Draft(
        check_publish_topic(topic),
        check_data(data, max_event, encoder),
        check_publish_type(event),
        None if retry is None else check_retry(retry),
        None if key is None else check_key(key),
    )


def draft_of(fields: object, *, max_event: int, encoder: Encoder | None = None) -> Draft:
    """Return a checked draft of a JSON object with the fields topic, data, event, retry and key."""
    # Nearly all events have only these fields, and this path costs a third of the general one.
    if type(fields) is dict and "topic" in fields and fields.keys() <= PLAIN_FIELDS:
        event = fields.get("event")
        return Draft(
            check_publish_topic(fields["topic"]),
            check_data(fields.get("data", ""), max_event, encoder),
            "message" if event is None else check_publish_type(event),
        )
    if not isinstance(fields, Mapping):
        raise InvalidInput("an event is a JSON object with a topic and data", code="invalid_json")
    if "id" in fields:
        raise InvalidInput(
            "the hub assigns the id; to make a publish repeatable, pass a key", code="id_not_allowed"
        )
    if unknown := sorted(str(name) for name in fields.keys() - FIELDS):
        raise InvalidInput(f"unknown field {unknown[0][:40]!r}", code="invalid_json")
    if "topic" not in fields:
        raise InvalidInput("the topic is missing", code="missing_topic")
    given = {name: fields[name] for name in FIELDS - {"topic", "data"} if fields.get(name) is not None}
    return draft(fields["topic"], fields.get("data", ""), **given, max_event=max_event, encoder=encoder)


def drafts_of(lines: Sequence[bytes], *, max_event: int) -> list[Draft]:
    """
    Return what `draft_of` returns for the JSON object in each line, in half the time if they share topics.

    Raises `ValueError` if a line is not JSON, and as `draft_of`.
    """
    found: list[Draft] = []
    topics: set[str] = set()  # already checked
    exactly: bool | None = None  # whether lines must be read exactly: all are searched at once, if at all
    for line, fields in zip(lines, map(orjson.loads, lines), strict=True):
        if type(fields) is dict and len(fields) == 2:
            topic, data = fields.get("topic"), fields.get("data")
            if type(topic) is str and type(data) is str and data.isascii() and len(data) <= max_event:
                if topic not in topics:
                    topics.add(check_publish_topic(topic))
                found.append(make(Draft, (topic, data, *DEFAULTS)))
                continue
        if exactly is None and has_json_data(fields):
            exactly = may_change(b"\n".join(lines))
        found.append(draft_of(read_json(line) if exactly else fields, max_event=max_event))
    return found


def check_batch(batch: list[T], limit: int) -> list[T]:
    """Return `batch`. Raises `InvalidInput` if it is larger than an atomic batch may be."""
    if len(batch) > limit:
        raise InvalidInput(
            f"a batch may have at most {limit} events; send more as application/x-ndjson",
            code="batch_too_large",
        )
    return batch


def end_draft(topic: str, reason: str, *, max_event: int) -> Draft:
    """Return the draft of a topic's end."""
    return Draft(topic=check_publish_topic(topic), data=check_data(reason, max_event), end=True)


def check_data(data: Any, max_event: int, encoder: Encoder | None = None) -> str:
    text = data if isinstance(data, str) else as_text(data, encoder)
    try:
        size = len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError:
        raise InvalidInput(
            "the data has a lone surrogate, which is not valid UTF-8", code="invalid_utf8"
        ) from None
    if size > max_event:
        raise TooLarge(
            f"the event has {size} bytes of data, but only {max_event} are allowed; send a link instead",
            code="event_too_large",
        )
    return text


def check_key(key: object) -> str:
    if not isinstance(key, str) or not key or not key.isprintable() or len(key.encode()) > MAX_KEY:
        raise InvalidInput(f"a key must be 1 to {MAX_KEY} bytes of printable text", code="invalid_key")
    return key
