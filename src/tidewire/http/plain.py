"""
Plain publishes without ASGI, for our own server, which has the whole request.

Rule 1: the same code as with ASGI judges what a head means, but only once for all
        requests with the same head, since that depends on nothing else.
Rule 2: a request that is not served here is served with ASGI, from its first byte. So
        all refusals are made there, except those of the engine.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple

import orjson

from ..auth.grants import Grant
from ..delivery import tracing
from ..errors import TidewireError
from ..log.drafts import check_data
from ..log.entries import Draft, Receipt
from .admission import Admission
from .answers import problem, receipt_fields
from .asgi import Headers, Scope
from .hub_like import HubLike
from .requests import PublishRequest, Request, read_publication, topic_of


class Plain(NamedTuple):
    """
    What a head means: an event without its data. `common` headers are in every response to it.

    `grant` returns what its client may do now, None if ASGI must find that out.
    """

    draft: Draft
    common: Headers
    grant: Callable[[], Grant | None]


class PlainPublishes:
    """`judge` a head once; then `submit` the body of each request with that head, and send its `receipt`."""

    def __init__(
        self,
        hub: HubLike,
        check: Callable[[Request], None],
        headers: Callable[[Request], Headers],
        admission: Admission,
    ) -> None:
        self._hub = hub
        self._check = check
        self._headers = headers
        self._admission = admission

    def judge(self, scope: Scope) -> Plain | None:
        """Return what the head in `scope` means, or None if it is not that of a plain publish."""
        try:
            request = Request(scope)
            self._check(request)
            wanted = read_publication(request, topic_of(request)) if request.method == "POST" else None
            # The key is different in each publish, so such a head does not repeat.
            if not isinstance(wanted, PublishRequest) or wanted.key is not None:
                return None
            if tracing.HEADER in request.headers or tracing.recording():
                return None
            grant = self._hub.access.remember(scope)
            if grant is None:
                return None
            empty = Draft(wanted.topic, "", wanted.event, wanted.retry)
            return Plain(empty, self._headers(request), grant)
        except TidewireError:
            return None

    def submit(self, plain: Plain, body: bytes) -> asyncio.Future[list[Receipt]] | None:
        """Start to store an event. Return None if it is refused; then nothing is stored."""
        empty = plain.draft
        try:
            node = self._hub.node
            # Asked for each publish: a grant ends or is revoked, and a key is removed.
            grant = plain.grant()
            if grant is None or not grant.may_publish(empty.topic) or node.bearers.refusal(grant) is not None:
                return None
            data = check_data(body, self._hub.settings.max_event)
            if self._admission.publish_refusal(grant, 1, time.monotonic()) is not None:
                return None
            return node.submit([Draft(empty.topic, data, empty.event, empty.retry)])
        except TidewireError:
            return None

    def receipt(self, outcome: asyncio.Future[list[Receipt]]) -> bytes:
        """Return the body of the response. Raises what the engine raised if it refused the event."""
        (receipt,) = outcome.result()
        return orjson.dumps(receipt_fields(receipt, self._hub.node.engine.durability))

    def problem(self, plain: Plain, error: TidewireError) -> tuple[int, Headers, bytes]:
        """Return status, headers and body of the response to a publish that the engine refused."""
        self._hub.metrics.refused.labels(error.code).inc()
        status, headers, body = problem(error, publish=True)
        return status, headers + plain.common, body
