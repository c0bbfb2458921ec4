"""
The parameters of the inspector's requests. No I/O: a request in, values out.
"""

from __future__ import annotations

from typing import NamedTuple, get_args

from ..errors import InvalidInput
from ..http.requests import Request
from ..log.drafts import check_data
from ..position import Position, parse_position
from ..topics import check_publish_topic
from .outcomes import Outcome

MOST = 1_000
SHOWN = 50
EVENTS_SHOWN = 20
# Characters of a reason.
MAX_REASON = 512

SPANS = ("minute", "hour", "day")
TOPIC_SORTS = ("events", "rate", "streams", "newest", "topic")
STREAM_SORTS = ("newest", "oldest", "behind", "events")
STATES = ("open", "slow", "ended")
VIEWS = ("topics", "topic", "streams", "stream")
OUTCOMES: tuple[str, ...] = get_args(Outcome)


class TopicsWanted(NamedTuple):
    """`text` is in lower case."""

    text: str
    sort: str
    limit: int


class TopicWanted(NamedTuple):
    topic: str
    limit: int


class StreamsWanted(NamedTuple):
    """`text` is in lower case."""

    text: str
    topic: str | None
    state: str
    sort: str
    limit: int


class EventWanted(NamedTuple):
    position: Position
    outcome: str | None
    limit: int


def read_span(request: Request) -> str:
    return one_of(request, "span", SPANS)


def read_topics(request: Request) -> TopicsWanted:
    return TopicsWanted(read_text(request), one_of(request, "sort", TOPIC_SORTS), read_limit(request))


def read_topic(request: Request) -> TopicWanted:
    topic = request.one("topic")
    if topic is None:
        raise InvalidInput("name the topic: topic=", code="missing_topic")
    return TopicWanted(check_publish_topic(topic), read_limit(request, EVENTS_SHOWN))


def read_streams(request: Request) -> StreamsWanted:
    topic = request.one("topic") or None
    return StreamsWanted(
        read_text(request),
        None if topic is None else check_publish_topic(topic),
        one_of(request, "state", STATES),
        one_of(request, "sort", STREAM_SORTS),
        read_limit(request),
    )


def read_event(request: Request) -> EventWanted:
    """Raises `InvalidPosition` if the id is not a position."""
    outcome = one_of(request, "outcome", OUTCOMES) if request.one("outcome") else None
    return EventWanted(parse_position(request.one("id") or ""), outcome, read_limit(request))


def read_view(request: Request) -> str | None:
    return one_of(request, "view", VIEWS) if request.one("view") else None


def read_number(text: str) -> int:
    """Return the number of a stream, 0 if `text` is not one: no stream has that."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0


def read_reason(request: Request) -> str:
    reason = request.one("reason") or "kicked"
    if len(reason) > MAX_REASON:
        raise InvalidInput(f"reason must have at most {MAX_REASON} characters", code="invalid_query")
    check_data(reason, MAX_REASON * 4)
    return reason


def read_text(request: Request) -> str:
    return (request.one("q") or "").lower()


def read_limit(request: Request, default: int = SHOWN) -> int:
    text = request.one("limit")
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= MOST):
        raise InvalidInput(f"limit must be a number from 1 to {MOST}", code="invalid_limit")
    return int(text)


def one_of(request: Request, name: str, values: tuple[str, ...]) -> str:
    """Return the parameter `name`, which is one of `values`; the first of them if it was not given."""
    value = request.one(name) or values[0]
    if value not in values:
        raise InvalidInput(f"{name} must be one of: {', '.join(values)}", code="invalid_query")
    return value
