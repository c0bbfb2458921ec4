"""
The bearers of grants: whose streams are open, and ending them when their grant ends.

Rule 1: the end of a grant is turned into a time of the loop's clock once, at the opening. Whatever the
        wall clock does later changes nothing.
Rule 2: streams are found by subject and by token, never by looking at all of them. Many are ended a few
        milliseconds at a time.
Rule 3: they are ended in the order of the records, one task for all, so a stream ends for what came first.
Rule 4: a stream takes a while to open. What was kicked or revoked in the meantime counts when it begins.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import partial
from typing import Any, Protocol

from ..auth.grants import Grant
from ..auth.revocations import concerns, records_for, refusal_of, target_of
from ..errors import Unauthorized
from ..log.entries import Record
from ..log.node_log import NodeLog
from ..log.records import KICK, REVOCATION
from .deadlines import STEP
from .subscriber import Subscriber
from .tasks import Tasks

logger = logging.getLogger("tidewire")

# Seconds between two looks at whether grants are still valid.
CHECK_EVERY = 5.0


class EndMethod(Protocol):
    def __call__(self, subscriber: Subscriber, why: str, reason: str) -> None:
        """End a stream; `why` is for the metrics, `reason` for the client."""


class Bearer:
    """
    The grant of one stream.

    `expires`: when it ends, on the loop's clock. `checked`: records through this offset were applied to it
    when the stream was asked for.
    """

    __slots__ = ("checked", "expires", "grant")

    def __init__(self, grant: Grant, expires: float, checked: int) -> None:
        self.grant = grant
        self.expires = expires
        self.checked = checked


class Bearers:
    """All streams of a node that have a grant, by subject and by token. `end` ends one."""

    def __init__(self, log: NodeLog, tasks: Tasks, end: EndMethod) -> None:
        self._log = log
        self._tasks = tasks
        self._end = end
        self._loop = asyncio.get_running_loop()
        self._by_subject: dict[str, set[Subscriber]] = {}
        self._by_token: dict[str, set[Subscriber]] = {}
        self._by_check: dict[Callable[[], bool], set[Subscriber]] = {}
        self._timer: asyncio.TimerHandle | None = None
        # Each list shrinks: to free ten thousand streams at once would be a long step.
        self._due: deque[tuple[list[Subscriber], Callable[[Subscriber], object]]] = deque()
        self._working = False

    def refusal(self, grant: Grant) -> Unauthorized | None:
        """Return why a grant is refused now, or None."""
        return refusal_of(grant, self._log.window.records, time.time())

    def bearer(self, grant: Grant) -> Bearer:
        """Return the bearer of a stream that is to open. Raises `Unauthorized` if the grant is refused."""
        if refusal := self.refusal(grant):
            raise refusal
        left = math.inf if grant.until is None else grant.until - time.time()
        return Bearer(grant, self._loop.time() + left, self._log.window.head)

    # -- which streams there are

    def __len__(self) -> int:
        """How many subjects, tokens and checks have streams."""
        return len(self._by_subject) + len(self._by_token) + len(self._by_check)

    def add(self, subscriber: Subscriber) -> bool:
        """Add a stream that begins. Return whether it goes on: its grant may have ended in the meantime."""
        if subscriber.bearer is None:
            return True
        for index, name in self._places(subscriber.bearer.grant):
            index.setdefault(name, set()).add(subscriber)
        if self._by_check and self._timer is None:
            self._timer = self._loop.call_later(CHECK_EVERY, self._check)
        checked = subscriber.bearer.checked
        return not self._end_by_any(subscriber, lambda record: record.offset > checked)

    def remove(self, subscriber: Subscriber) -> None:
        if subscriber.bearer is None:
            return
        for index, name in self._places(subscriber.bearer.grant):
            of_name = index.get(name, set())
            of_name.discard(subscriber)
            if not of_name:
                index.pop(name, None)
        if self._timer is not None and not self._by_check:
            self._timer.cancel()
            self._timer = None

    def _places(self, grant: Grant) -> Iterable[tuple[dict[Any, set[Subscriber]], Hashable]]:
        if grant.sub:
            yield self._by_subject, grant.sub
        if grant.jti:
            yield self._by_token, grant.jti
        if grant.check is not None:
            yield self._by_check, grant.check

    # -- ending them

    def on_records(self, records: Sequence[Record]) -> None:
        """End the streams that new records are for."""
        for record in records:
            if record.kind in (KICK, REVOCATION):
                target = target_of(record)
                index, name = (self._by_token, target.jti) if target.jti else (self._by_subject, target.sub)
                if name in index:
                    self._for_all(list(index[name]), partial(self._apply, record))

    def after_reset(self) -> None:
        """Judge all streams again: records may be new that no entry brought."""
        for index in (self._by_subject, self._by_token):
            subscribers = [item for of_name in index.values() for item in of_name]
            if subscribers:
                self._for_all(subscribers, self._judge_again)

    def _check(self) -> None:
        """End the streams of grants that are not valid any more, such as those of a key that was removed."""
        self._timer = self._loop.call_later(CHECK_EVERY, self._check)
        for check, subscribers in list(self._by_check.items()):
            try:
                valid = check()
            except Exception:
                logger.exception("cannot check a grant; its streams go on")
                continue
            if not valid:
                self._for_all(list(subscribers), self._revoke)

    def _revoke(self, subscriber: Subscriber) -> None:
        self._end(subscriber, "revoked", "revoked")

    def _for_all(self, subscribers: list[Subscriber], do: Callable[[Subscriber], object]) -> None:
        self._due.append((subscribers, do))
        if not self._working:
            self._working = True
            self._tasks.spawn(self._work())

    async def _work(self) -> None:
        while self._due:
            # Finding ten thousand streams was a step of the event loop, too.
            await asyncio.sleep(0)
            until = self._loop.time() + STEP
            while self._due and self._loop.time() <= until:
                self._do_next()
        self._working = False

    def _do_next(self) -> None:
        subscribers, do = self._due[0]
        if not subscribers:
            self._due.popleft()
            return
        subscriber = subscribers.pop()
        if subscriber.open:
            try:
                do(subscriber)
            except Exception:
                # The others must not live on because of one.
                logger.exception("cannot end a stream")

    def _apply(self, record: Record, subscriber: Subscriber) -> None:
        if subscriber.bearer is not None and concerns(record, subscriber.bearer.grant):
            self._end_by(record, subscriber)

    def _judge_again(self, subscriber: Subscriber) -> None:
        # The offsets of another log cannot be compared. A stream that is kicked twice comes back twice.
        now = time.time()
        self._end_by_any(subscriber, lambda record: record.until > now)

    def _end_by_any(self, subscriber: Subscriber, counts: Callable[[Record], bool]) -> bool:
        """End a stream that a record which counts is for. Return whether there is one."""
        assert subscriber.bearer
        records = self._log.window.records
        for kind in (REVOCATION, KICK):
            for record in records_for(kind, subscriber.bearer.grant, records):
                if counts(record):
                    self._end_by(record, subscriber)
                    return True
        return False

    def _end_by(self, record: Record, subscriber: Subscriber) -> None:
        if record.kind == KICK:
            self._end(subscriber, "kicked", record.value)
        else:
            self._revoke(subscriber)
