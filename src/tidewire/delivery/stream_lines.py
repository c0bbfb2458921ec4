"""
One line in the log for each stream that ends or is refused.

A line has no text of the client's but its subject, quoted where that is not plain: no topic,
position or token. Its fields are on the record too, for formats other than text.
"""

from __future__ import annotations

import json
import logging
import re

from ..auth.grants import Grant
from .subscriber import Subscriber

logger = logging.getLogger("tidewire.streams")

# The attribute of a record that holds its fields.
FIELDS = "tidewire_fields"

Field = str | int | float | None

# Text that needs no quotes.
PLAIN = re.compile(r"[\w.:/@%+-]+", re.ASCII)


def log_ended(subscriber: Subscriber, reason: str, seconds: float) -> None:
    """Log that a stream has ended; `seconds` is how long it was open."""
    # Asked first: ten thousand streams may end at once.
    if logger.isEnabledFor(logging.INFO):
        grant = None if subscriber.bearer is None else subscriber.bearer.grant
        log(
            "stream ended",
            reason=reason,
            subject=subject_of(grant),
            address=subscriber.client,
            topics=len(subscriber.selector.terms),
            seconds=round(seconds, 3),
            events=subscriber.events,
        )


def log_refused(code: str, grant: Grant | None, address: str | None, topics: int) -> None:
    """Log that a stream was refused; `grant` is its client's, None if that is not known."""
    if logger.isEnabledFor(logging.INFO):
        log("stream refused", code=code, subject=subject_of(grant), address=address, topics=topics)


def subject_of(grant: Grant | None) -> str | None:
    return grant.sub or None if grant is not None else None


def log(what: str, **fields: Field) -> None:
    text = " ".join(f"{name}={as_text(value)}" for name, value in fields.items())
    logger.info("%s: %s", what, text, extra={FIELDS: {"what": what, **fields}})


def as_text(value: Field) -> str:
    if value is None:
        return "-"
    if isinstance(value, str):
        return value if PLAIN.fullmatch(value) else json.dumps(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
