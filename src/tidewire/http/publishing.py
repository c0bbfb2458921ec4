"""
Storing what a request publishes, and its receipts.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from ..auth.access import Permit
from ..delivery.node import Node
from ..delivery.step_budget import budget_of_loop, cost_of_body
from ..delivery.tracing import traced
from ..errors import TidewireError
from ..log.drafts import check_batch, check_data, check_key, draft_of, end_draft
from ..log.entries import Draft, Receipt
from ..log.json_text import read_json
from .admission import Admission
from .answers import content_head, receipt_fields
from .asgi import Headers, Receive, Send
from .body import BOM, body_of
from .ingest import Ingestion, with_key
from .requests import EndRequest, IngestRequest, PublishJsonRequest, PublishRequest, Request

NDJSON = b"application/x-ndjson"


class Publishing:
    """One request that publishes. Its methods raise the refusal if it is refused."""

    def __init__(
        self, node: Node, permit: Permit, admission: Admission, request: Request, receive: Receive
    ) -> None:
        self._node = node
        self._permit = permit
        self._admission = admission
        self._request = request
        self._receive = receive
        self._settings = node.settings

    async def ingest(self, wanted: IngestRequest, common: Headers, send: Send) -> None:
        """Store the lines of the body, and send their receipts as they come."""
        head = content_head(NDJSON, None) + common
        await Ingestion(self._node, self._permit, wanted, head, self._admit, self._receive, send).run()

    async def store(self, wanted: EndRequest | PublishRequest | PublishJsonRequest) -> Any:
        """Store an end, an event, or the events of a JSON body. Return the receipt, or the list of them."""
        if isinstance(wanted, PublishJsonRequest):
            return await self._store_json(wanted)
        self._admit(1)
        if isinstance(wanted, PublishRequest):
            (receipt,) = await self._append([await self._read_event(wanted)])
        else:
            end = end_draft(*wanted, max_event=self._settings.max_event)
            (receipt,) = self._receipts(await self._node.append([end]))
        return receipt

    async def _store_json(self, wanted: PublishJsonRequest) -> Any:
        body = await body_of(self._request, self._receive, self._settings)
        await budget_of_loop().take(cost_of_body(body))
        fields = read_json(body.removeprefix(BOM))
        if not isinstance(fields, list):
            event = draft_of(fields, max_event=self._settings.max_event)
            self._permit.check_publish(event.topic)
            if event.key is None and wanted.key is not None:
                event = event._replace(key=check_key(wanted.key))
            self._admit(1)
            (receipt,) = await self._append([event])
            return receipt
        check_batch(fields, self._settings.max_batch)
        drafts = [self._draft_of_batch(item, index, wanted.key) for index, item in enumerate(fields)]
        self._admit(len(drafts))
        return await self._append(drafts) if drafts else []

    async def _append(self, drafts: list[Draft]) -> list[dict[str, Any]]:
        """Store events, with the trace of the request; return their receipts."""
        return self._receipts(await traced(self._node.append, drafts, self._request.header(b"traceparent")))

    def _receipts(self, receipts: Sequence[Receipt]) -> list[dict[str, Any]]:
        durability = self._node.engine.durability
        return [receipt_fields(receipt, durability) for receipt in receipts]

    async def _read_event(self, wanted: PublishRequest) -> Draft:
        body = await body_of(self._request, self._receive, self._settings)
        return Draft(wanted.topic, check_data(body, self._settings.max_event), *wanted[1:])

    def _draft_of_batch(self, item: Any, index: int, key: str | None) -> Draft:
        try:
            event = draft_of(item, max_event=self._settings.max_event)
            self._permit.check_publish(event.topic)
            return with_key(event, key, index)
        except TidewireError as error:
            error.members["index"] = index
            raise

    def _admit(self, events: int) -> None:
        """Raise `TooMany` if the subject of the request published too much lately; else count `events`."""
        refusal = self._admission.publish_refusal(self._permit.grant, events, time.monotonic())
        if refusal is not None:
            raise refusal
