"""
What there is to know about the streams that are open, for programs and admins.
"""

from __future__ import annotations

import datetime
from typing import NamedTuple

from ..log.window import Window
from ..position import Position
from .subscriber import Subscriber


class OpenStream(NamedTuple):
    """One open stream of this process."""

    sub: str
    """The subject of its grant, "" if it has none."""
    iss: str
    """The issuer of its grant, "" if it has none."""
    address: str | None
    """Its client, as the server shows it."""
    topics: tuple[str, ...]
    """The topics and patterns that it asked for."""
    position: Position | None
    """Through here everything was written to it; None while that is not known."""
    since: datetime.datetime
    """When it began, in UTC."""


def describe(subscriber: Subscriber, window: Window, now: float, wall: float) -> OpenStream:
    """Describe an open stream; `now` is on the loop's clock, `wall` the same moment in seconds since 1970."""
    grant = None if subscriber.bearer is None else subscriber.bearer.grant
    offset = subscriber.stands
    return OpenStream(
        "" if grant is None else grant.sub,
        "" if grant is None else grant.iss,
        subscriber.client,
        subscriber.selector.terms,
        None if offset is None else window.position(offset),
        datetime.datetime.fromtimestamp(wall - (now - subscriber.opened), datetime.UTC),
    )
