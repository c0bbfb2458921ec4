"""
Kicks and revocations: the records that end streams, and which grants they concern. No I/O and no clock.

Rule 1: a kick ends the streams that are open, and forbids nothing. Its record is only for nodes that
        hear of it late.
Rule 2: a revoked token is refused until it would have expired. A revoked subject is refused by the
        time of issue, since a user who logs in again must be let in.
Rule 3: without an issuer, a kick or a revocation is for every issuer. One that names too little would
        otherwise end nothing, and nobody would notice.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from ..errors import InvalidInput, Unauthorized
from ..log.entries import Draft, NewRecord, Record
from ..log.records import KICK, RECORDS, REVOCATION, Records
from .access import expired
from .grants import Grant, check_text

# Seconds that a kick is kept.
KICK_LIFETIME = 60.0
# Seconds that a revocation lasts longer than its token: the clocks of nodes and issuers differ.
MARGIN = 60.0


class Target(NamedTuple):
    """Whom a record is for: a token by its `jti`, or a subject; `iss` is None for that of any issuer."""

    jti: str = ""
    sub: str = ""
    iss: str | None = None


def kick_draft(sub: str, iss: str | None, reason: str) -> Draft:
    """Return the draft that ends the open streams of a subject. Raises `InvalidInput`."""
    check_text("reason", reason, 1)
    return record_draft(KICK, subject_name(iss, sub), reason, KICK_LIFETIME)


def token_draft(jti: str, lifetime: float) -> Draft:
    """Return the draft that revokes a token for `lifetime` seconds, at least. Raises `InvalidInput`."""
    if not math.isfinite(lifetime):
        raise InvalidInput(
            "the end of a revocation must be a time in seconds since 1970", code="invalid_until"
        )
    return record_draft(REVOCATION, token_name(jti), "", max(lifetime, 0) + MARGIN)


def subject_draft(sub: str, iss: str | None, now: float, lifetime: float) -> Draft:
    """
    Return the draft that revokes what a subject was given until `now`. Raises `InvalidInput`.

    `now`: in seconds since 1970; `lifetime`: seconds that a token lives at most.
    """
    return record_draft(REVOCATION, subject_name(iss, sub), repr(now), lifetime + MARGIN)


def record_draft(kind: str, name: str, value: str, lifetime: float) -> Draft:
    return Draft(RECORDS, record=NewRecord(kind, name, value, lifetime))


def subject_name(iss: str | None, sub: str) -> str:
    check_text("sub", sub, 1)
    if iss is not None:
        check_text("iss", iss, 1)
    return name_of(iss, sub)


def token_name(jti: str) -> str:
    check_text("jti", jti, 1)
    return json.dumps(jti)


def name_of(iss: str | None, sub: str) -> str:
    return json.dumps([iss, sub])


@lru_cache(maxsize=4096)
def names_for(iss: str, sub: str, jti: str) -> tuple[str, ...]:
    """Return the names of all records that may be for a grant. Each publish asks for them."""
    of_subject = (name_of(None, sub), name_of(iss, sub)) if sub else ()
    return (*of_subject, json.dumps(jti)) if jti else of_subject


def target_of(record: Record) -> Target:
    """Return whom a kick or a revocation is for."""
    name = json.loads(record.name)
    return Target(jti=name) if isinstance(name, str) else Target(iss=name[0], sub=name[1])


def concerns(record: Record, grant: Grant) -> bool:
    """Whether a kick or a revocation is for the bearer of `grant`."""
    jti, sub, iss = target_of(record)
    if jti:
        return grant.jti == jti
    if grant.sub != sub or iss not in (None, grant.iss):
        return False
    return record.kind == KICK or grant.iat is None or grant.iat <= float(record.value)


def records_for(kind: str, grant: Grant, records: Records) -> Iterator[Record]:
    """Yield the records of a kind that concern `grant`."""
    for name in names_for(grant.iss, grant.sub, grant.jti):
        record = records.get(kind, name)
        if record is not None and concerns(record, grant):
            yield record


def refusal_of(grant: Grant, records: Records, now: float) -> Unauthorized | None:
    """Return why `grant` is refused at `now`, in seconds since 1970, or None: it ended or was revoked."""
    if grant.is_over(now):
        return expired()
    for record in records_for(REVOCATION, grant, records) if records.count(REVOCATION) else ():
        if record.until > now:
            return Unauthorized("the token was revoked; log in again", code="token_revoked")
    return None
