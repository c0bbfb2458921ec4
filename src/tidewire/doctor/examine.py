"""
Asking an endpoint: each request that is needed, in order, and a report of what they showed.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import httpx2

from . import checks
from .blocks import Block, Blocks, blocks_of
from .clients import Reading, readings
from .findings import Finding
from .seen import Transfer
from .transfer import transfer

# Seconds for a response that is expected at once.
SHORT = 5.0

Headers = Mapping[str, str]


class Report(NamedTuple):
    """What the doctor found. `notes` say what was not tested, and why."""

    found: Transfer
    blocks: Blocks
    findings: list[Finding]
    notes: list[str]
    readings: list[Reading]
    http2: bool | None
    """Whether the server speaks HTTP/2; None if that is not known, since it is not TLS."""


async def examine(
    url: str, headers: Headers, origin: str | None, seconds: float, step: Callable[[str], None]
) -> Report:
    """
    Test the endpoint `url`, and watch it for `seconds`. `step` is told what is being done.

    Raises `ConnectionError` if it cannot be reached.
    """
    async with httpx2.AsyncClient(timeout=None) as client:
        return await Examination(client, url, headers, origin, seconds, step).run()


class Examination:
    def __init__(
        self,
        client: httpx2.AsyncClient,
        url: str,
        headers: Headers,
        origin: str | None,
        seconds: float,
        step: Callable[[str], None],
    ) -> None:
        self._client = client
        self._url = url
        self._origin = origin
        self._seconds = seconds
        self._step = step
        page = {"Origin": origin} if origin else {}
        self._headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity", **page, **headers}
        self._notes: list[str] = []

    async def run(self) -> Report:
        self._step(f"watching the stream for {self._seconds:g} s, plain and compressed")
        found, zipped = await asyncio.gather(
            self._get(self._seconds), self._get(self._seconds, {"Accept-Encoding": "gzip"})
        )
        blocks = blocks_of(found.pieces)
        findings = [*checks.check_head(found)]
        if found.is_stream:
            findings += [
                *checks.check_buffering(found, blocks),
                *checks.check_heartbeat(found),
                *checks.check_blocks(blocks),
                *checks.check_gzip(zipped, blocks),
                *await self._check_resume(found, blocks.events),
                *await self._check_end(found, blocks.events),
            ]
        findings += await self._check_cors(found)
        self._note_what_was_not_seen(found, blocks)
        return Report(
            found, blocks, findings, self._notes, readings(blocks.found), await self._speaks_http2()
        )

    async def _get(self, seconds: float, more: Headers | None = None) -> Transfer:
        return await transfer(self._client, self._url, {**self._headers, **(more or {})}, seconds)

    async def _check_resume(self, found: Transfer, events: Sequence[Block]) -> list[Finding]:
        """Come back with the id of an event in the middle: what came after it must come again."""
        with_id = [event for event in events if event.id]
        if len(with_id) < 2:
            self._notes.append("resuming was not tested: that takes two events with ids")
            return []
        cursor = (len(with_id) - 1) // 2
        self._step("coming back with a Last-Event-ID")
        again = await self._get(SHORT, last_event_id(with_id[cursor]))
        return [*checks.check_resume(with_id, cursor, again)]

    async def _check_end(self, found: Transfer, events: Sequence[Block]) -> list[Finding]:
        if found.end == "open":
            return []
        self._step("coming back after the end")
        with_id = [event for event in events if event.id]
        again = await self._get(SHORT, last_event_id(with_id[-1]) if with_id else None)
        return [*checks.check_end(found, events, again)]

    async def _check_cors(self, found: Transfer) -> list[Finding]:
        if self._origin is None:
            self._notes.append("pages of other origins were not tested: pass --origin")
            return []
        self._step("asking as a page of another origin")
        asked = {
            "Origin": self._origin,
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": "last-event-id",
        }
        preflight = await transfer(self._client, self._url, asked, SHORT, "OPTIONS")
        return [*checks.check_cors(self._origin, found, preflight)]

    def _note_what_was_not_seen(self, found: Transfer, blocks: Blocks) -> None:
        if found.is_stream and found.end == "open" and max(found.silences, default=0.0) < checks.SILENCE:
            # A comment at the beginning is a greeting.
            comments = any(
                not name
                for block in blocks.found
                if block.at > found.pieces[0].at + checks.REPLAY
                for name, _ in block.fields
            )
            if not comments and self._seconds < checks.SILENCE:
                self._notes.append(f"the heartbeat was not tested: watch for more than {checks.SILENCE:g} s")
            elif not comments and blocks.found:
                self._notes.append("no heartbeat was seen: the stream was never silent for long")
        if found.is_stream and not blocks.events:
            self._notes.append("no event came: publish some while it watches, to test more")

    async def _speaks_http2(self) -> bool | None:
        url = httpx2.URL(self._url)
        if url.scheme != "https":
            return None
        context = ssl.create_default_context()
        context.set_alpn_protocols(["h2", "http/1.1"])
        try:
            async with asyncio.timeout(SHORT):
                _, writer = await asyncio.open_connection(url.host, url.port or 443, ssl=context)
        except (OSError, TimeoutError):
            return None
        chosen: str | None = writer.get_extra_info("ssl_object").selected_alpn_protocol()
        writer.close()
        return chosen == "h2"


def last_event_id(event: Block) -> Headers:
    return {"Last-Event-ID": event.id or ""}
