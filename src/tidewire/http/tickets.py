"""
Issuing tickets, and redeeming them for a grant.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..auth.access import Access
from ..auth.grants import Grant
from ..auth.tickets import LIFETIME, grant_of, issue_draft, name_of, new_ticket, redeem_draft
from ..delivery.node import Node
from ..log.records import TICKET, not_good
from .origins import page_of
from .requests import Request


async def issue(node: Node, access: Access, grant: Grant, request: Request) -> Mapping[str, Any]:
    """Return what the client gets: a ticket for one stream of `grant`, on pages of the same origin."""
    ticket = new_ticket()
    await node.append([issue_draft(ticket, grant, page_of(request) or "", access.key_of(grant))])
    return {"ticket": ticket, "expires_in": int(LIFETIME)}


async def redeem(node: Node, access: Access, ticket: str, request: Request) -> Grant:
    """Spend a ticket and return its grant. Raises `Unauthorized` if it is not good, and as `append`."""
    await node.append([redeem_draft(ticket)])
    # The log had the record before it answered, on this node too.
    record = node.window.records.get(TICKET, name_of(ticket))
    if record is None:
        raise not_good()
    return await access.with_key(*grant_of(record, page_of(request)))
