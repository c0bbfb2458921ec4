"""
Streaming ingest: NDJSON lines in, receipts out, while the body is still being sent.

Rule 1: the lines of one read are one commit, and the next ones are read in the
        meantime. Limits apply to each line.
Rule 2: a bad line ends the ingest and is named; the lines before it are stored.
Rule 3: a client may send everything before it reads any receipt. So receipts that
        wait to be read merge into ranges; only `receipts=each` may pause reading.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import orjson

from ..auth.access import Permit
from ..delivery.node import Node
from ..delivery.step_budget import budget_of_loop
from ..delivery.tasks import start
from ..delivery.tracing import traced
from ..errors import TidewireError, Timeout, TooLarge, TooMany
from ..log.drafts import check_key, draft_of, drafts_of
from ..log.entries import Draft, Receipt
from ..log.json_text import read_json
from .asgi import Headers, Message, Receive, Send
from .body import BOM, ClientGone, Lines
from .requests import IngestRequest

# Bytes of receipts that may wait to be read, with `receipts=each`.
MAX_WAITING = 64 * 1024


class Batch(NamedTuple):
    """The drafts of one commit, and the numbers of their lines."""

    lines: Sequence[int]
    drafts: Sequence[Draft]


class BadLine(Exception):
    """The ingest ends at this line."""

    def __init__(self, line: int, error: TidewireError) -> None:
        self.line = line
        self.error = error


class Ingestion:
    """One streaming ingest, from the head of the response to its last receipt."""

    def __init__(
        self,
        node: Node,
        permit: Permit,
        ingest: IngestRequest,
        headers: Headers,
        admit: Callable[[int], None],
        receive: Receive,
        send: Send,
    ) -> None:
        self._node = node
        self._permit = permit
        self._key = ingest.key
        self._traceparent = ingest.traceparent
        self._receipts: Merged | Each = Each() if ingest.each else Merged(node.engine.durability)
        self._headers = headers
        self._admit = admit
        self._receive = receive
        self._send = send
        self._lines = Lines(node.settings.max_line)
        self._line = 0  # the number of the current line, from 1
        # One batch is read ahead. The last item is why there are no more: None at the end of the body.
        self._ahead: asyncio.Queue[Batch | Exception | None] = asyncio.Queue(1)
        self._receipts_added = asyncio.Event()
        self._receipts_taken = asyncio.Event()

    async def run(self) -> None:
        head = {"type": "http.response.start", "status": 200, "headers": self._headers}
        await self._send(head)
        reader = start(self._read())
        writer = start(self._write())
        try:
            await self._store()
        except BadLine as bad:
            self._node.metrics.refused.labels(bad.error.code).inc()
            self._receipts.add_error(self._error(bad.line, bad.error))
        except BaseException as error:
            writer.cancel()
            if isinstance(error, ClientGone):
                return
            raise
        finally:
            reader.cancel()
        self._receipts.closed = True
        self._receipts_added.set()
        await writer

    def _error(self, line: int, error: TidewireError) -> dict[str, Any]:
        return {"line": line, "code": error.code, "stored": error.stored, "detail": error.detail}

    # -- lines in

    async def _read(self) -> None:
        """Read the body, one batch ahead of what is being stored."""
        why: Exception | None = None
        stop = asyncio.ensure_future(self._node.stopping.wait())
        try:
            await self._read_body(stop)
        except Exception as error:
            why = error
        finally:
            stop.cancel()
        await self._ahead.put(why)

    async def _read_body(self, stop: asyncio.Future[Any]) -> None:
        more = True
        while more:
            message = await self._next_message(stop)
            if message["type"] == "http.disconnect":
                raise ClientGone
            more = message.get("more_body", False)
            lines = self._lines.feed(message.get("body", b""))
            await self._read_lines(lines if more else [*lines, *self._lines.end()])
            if self._lines.too_long:
                raise BadLine(self._line + 1, self._line_too_large())

    async def _next_message(self, stop: asyncio.Future[Any]) -> Message:
        """Return the next part of the body. Stop waiting for it if a drain starts."""
        timeout = self._node.settings.line_timeout
        if not self._node.draining:
            part = asyncio.ensure_future(self._receive())
            try:
                await asyncio.wait([part, stop], timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
                if part.done():
                    return part.result()
            finally:
                part.cancel()
        # The error names the line that did not come.
        raise BadLine(self._line + 1, self._node.refusal() or Timeout(f"received no line for {timeout:g} s"))

    async def _read_lines(self, lines: list[bytes]) -> None:
        """Pass on the drafts of `lines`. Raises `BadLine` if one is bad; those before it are passed on."""
        if lines and self._line == 0:
            lines[0] = lines[0].removeprefix(BOM)
        limit = self._node.settings.max_batch
        for first in range(0, len(lines), limit):
            part = lines[first : first + limit]
            await budget_of_loop().take(len(part))
            self._check_still_accepted()
            batch, bad = self._batch(part)
            if batch.drafts:
                self._admit_batch(batch)
                await self._ahead.put(batch)
            if bad is not None:
                raise bad

    def _check_still_accepted(self) -> None:
        """Raise `BadLine` if the grant has ended since the ingest began, or memory has become short."""
        refusal = self._node.bearers.refusal(self._permit.grant) or self._node.memory_refusal()
        if refusal:
            raise BadLine(self._line + 1, refusal)

    def _admit_batch(self, batch: Batch) -> None:
        """Raise `BadLine` if the client has published too much of late."""
        try:
            self._admit(len(batch.drafts))
        except TooMany as refusal:
            raise BadLine(batch.lines[0], refusal) from None

    def _batch(self, lines: list[bytes]) -> tuple[Batch, BadLine | None]:
        settings = self._node.settings
        if self._key is None and max(map(len, lines)) <= settings.max_line:
            # Nearly always all lines are events. One by one they would take twice as long.
            try:
                drafts = drafts_of(lines, max_event=settings.max_event)
                for topic in {draft.topic for draft in drafts}:
                    self._permit.check_publish(topic)
            except (ValueError, TidewireError):
                pass  # blank, bad or forbidden lines
            else:
                first, self._line = self._line + 1, self._line + len(lines)
                return Batch(range(first, self._line + 1), drafts), None
        return self._batch_line_by_line(lines)

    def _batch_line_by_line(self, lines: list[bytes]) -> tuple[Batch, BadLine | None]:
        numbers: list[int] = []
        drafts: list[Draft] = []
        for line in lines:
            self._line += 1
            if not line.strip():
                continue  # blank lines are not events, but they are counted
            try:
                drafts.append(self._draft(line))
            except TidewireError as error:
                return Batch(numbers, drafts), BadLine(self._line, error)
            numbers.append(self._line)
        return Batch(numbers, drafts), None

    def _draft(self, line: bytes) -> Draft:
        if len(line) > self._node.settings.max_line:
            raise self._line_too_large()
        draft = read_event(line, self._node.settings.max_event)
        self._permit.check_publish(draft.topic)
        return with_key(draft, self._key, self._line - 1)

    def _line_too_large(self) -> TooLarge:
        limit = self._node.settings.max_line
        return TooLarge(f"a line must not exceed {limit} bytes", code="line_too_large")

    # -- into the log

    async def _store(self) -> None:
        """Store all batches. Raises what stopped the reading before the end of the body."""
        while isinstance(batch := await self._ahead.get(), Batch):
            await self._append(batch)
        if batch is not None:
            raise batch

    async def _append(self, batch: Batch) -> None:
        """Store a batch. If the engine refuses a draft, its line is bad and those before it are stored."""
        lines, drafts = batch
        if not drafts:
            return
        try:
            # The append of the log, not of the node: it stores lines read before a drain started.
            receipts = await traced(self._node.log.append, drafts, self._traceparent)
        except TidewireError as error:
            bad = error.members.get("index", 0)
            await self._append(Batch(lines[:bad], drafts[:bad]))
            raise BadLine(lines[bad], error) from None
        self._receipts.add(lines, receipts)
        self._receipts_added.set()
        await self._wait_for_room()

    async def _wait_for_room(self) -> None:
        """Pause reading while too many receipts wait to be read."""
        try:
            async with asyncio.timeout(self._node.settings.line_timeout):
                while self._receipts.size > MAX_WAITING:
                    self._receipts_taken.clear()
                    await self._receipts_taken.wait()
        except TimeoutError:
            raise ClientGone from None

    # -- receipts out

    async def _write(self) -> None:
        while True:
            await self._receipts_added.wait()
            self._receipts_added.clear()
            closed = self._receipts.closed
            body = self._receipts.take()
            self._receipts_taken.set()
            if body or closed:
                await self._send({"type": "http.response.body", "body": body, "more_body": not closed})
            if closed:
                return


class Merged:
    """Receipts as ranges: those that wait to be read become one."""

    size = 0

    def __init__(self, durability: str) -> None:
        self._durability = durability
        self._waiting: dict[str, Any] | None = None
        self._error = b""
        self.closed = False

    def add(self, lines: Sequence[int], receipts: Sequence[Receipt]) -> None:
        duplicates = sum(receipt.duplicate for receipt in receipts)
        first = str(receipts[0].position)
        waiting = self._waiting or {"lines": [lines[0], 0], "first": first, "duplicates": 0}
        waiting["lines"][1] = lines[-1]
        waiting["last"] = str(receipts[-1].position)
        waiting["duplicates"] += duplicates
        self._waiting = waiting

    def add_error(self, error: dict[str, Any]) -> None:
        self._error = as_line(error)

    def take(self) -> bytes:
        waiting, self._waiting = self._waiting, None
        error, self._error = self._error, b""
        if waiting is None:
            return error
        fields = {name: waiting[name] for name in ("lines", "first", "last", "duplicates")}
        return as_line({**fields, "durability": self._durability}) + error


class Each:
    """A receipt for every line."""

    def __init__(self) -> None:
        self._waiting: deque[bytes] = deque()
        self.size = 0
        self.closed = False

    def add(self, lines: Sequence[int], receipts: Sequence[Receipt]) -> None:
        for number, receipt in zip(lines, receipts, strict=True):
            fields = {"line": number, "id": str(receipt.position), "duplicate": receipt.duplicate}
            self._hold(as_line(fields))

    def add_error(self, error: dict[str, Any]) -> None:
        self._hold(as_line(error))

    def take(self) -> bytes:
        data = b"".join(self._waiting)
        self._waiting.clear()
        self.size = 0
        return data

    def _hold(self, line: bytes) -> None:
        self._waiting.append(line)
        self.size += len(line)


def as_line(fields: dict[str, Any]) -> bytes:
    return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)


def read_event(text: bytes, max_event: int) -> Draft:
    return draft_of(read_json(text), max_event=max_event)


def with_key(draft: Draft, key: str | None, index: int) -> Draft:
    """Set the key of one draft of many to `key#index`, from the request's header, unless it has one."""
    if key is None or draft.key is not None:
        return draft
    return draft._replace(key=f"{check_key(key)}#{index}")
