"""
Tickets: what a browser's own EventSource sends to another site in place of a token. No I/O and no clock.

Rule 1: a ticket is in a URL, which others keep: so it is good once, and not for long.
Rule 2: the log has only the hash of a ticket, so it cannot be used by a reader of the log.
Rule 3: the engine judges whether a ticket is still good, so of two nodes only one takes it.
"""

from __future__ import annotations

import hashlib
import re
import secrets

import orjson

from ..errors import InvalidInput
from ..log.entries import Draft, NewRecord, Record
from ..log.records import RECORDS, SPENT, TICKET, not_good
from .grants import Grant

# Seconds for which a ticket is good.
LIFETIME = 60.0
# A prefix by which logs and scanners for secrets recognise one, and 128 random bits.
TICKET_SHAPE = re.compile(r"twt_[A-Za-z0-9_-]{22}", re.ASCII)
# Characters of the grant that a ticket stands for. No token is longer.
MAX_GRANT = 32 * 1024


def new_ticket() -> str:
    return "twt_" + secrets.token_urlsafe(16)


def issue_draft(ticket: str, grant: Grant, page: str, key: str) -> Draft:
    """
    Return the draft that makes a ticket good for one stream of `grant`.

    `page`: the origin of the pages that may use it; "" for those of the hub and for programs. `key`: the
    name of the key with which the grant ends: see `Access.key_of`. Raises `InvalidInput` if the grant is too
    large.
    """
    fields = {
        "page": page,
        "key": key,
        "subscribe": grant.subscribe,
        "until": grant.until,
        "iss": grant.iss,
        "sub": grant.sub,
        "jti": grant.jti,
        "iat": grant.iat,
    }
    value = orjson.dumps(fields).decode()
    if len(value) > MAX_GRANT:
        raise InvalidInput(
            "this grant is too large for a ticket; grant patterns instead of topics", code="too_many_grants"
        )
    return Draft(RECORDS, record=NewRecord(TICKET, name_of(ticket), value, LIFETIME))


def redeem_draft(ticket: str) -> Draft:
    """
    Return the draft that spends a ticket. The engine refuses it if the ticket is not good any more.

    Raises `Unauthorized` if the text is not a ticket.
    """
    if not TICKET_SHAPE.fullmatch(ticket):
        raise not_good()
    return Draft(RECORDS, record=NewRecord(TICKET, name_of(ticket), SPENT, 0))


def name_of(ticket: str) -> str:
    return hashlib.sha256(ticket.encode()).hexdigest()


def grant_of(record: Record, page: str | None) -> tuple[Grant, str]:
    """
    Return the grant of a ticket that `page` has just spent, and the name of its key.

    Raises `Unauthorized` if the ticket is another page's.
    """
    fields = orjson.loads(record.value.removeprefix(SPENT))
    if fields.pop("page") != page:
        raise not_good()
    key = fields.pop("key", "")  # tickets of an older version have none
    return Grant(**fields), key
