"""
Live subscribers that want exactly the same bytes, and the rounds in which they get them.

Rule 1: an entry is encoded once, a round is joined once, and the same bytes
        object is written to every member.
Rule 2: `sent` is never stored. What is before the first pending entry has gone
        out (or is in the round that is being written), so `sent` follows from
        `pending` and cannot disagree with it.
Rule 3: a round holds a snapshot of the members. Whoever leaves before its turn
        is taken out of the snapshot and keeps the offset from before the round.
Rule 4: something is pending only while there are members. What comes when there
        are none is not put there, so what was left would be followed by a hole.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from itertools import islice
from typing import Protocol

from ..log.entries import Entry
from ..log.window import Window
from ..topics import Selector
from .framing import Framing, framed
from .subscriber import Subscriber, WriteMethod

# A join holds at most this much, or one event: more pending means more rounds.
JOIN_BYTES = 64 * 1024


class Owner(Protocol):
    """Who acts on a cohort's deadlines: the node."""

    def tick_cohort(self, cohort: Cohort, now: float) -> float | None: ...


class Cohort:
    """The members of one selector and framing, those of them who are behind, and what is pending for them."""

    __slots__ = (
        "_before",
        "_owner",
        "_round",
        "_window",
        "announced",
        "behind",
        "due",
        "framing",
        "members",
        "pending",
        "scheduled",
        "selector",
        "silent_since",
        "waiting",
    )

    def __init__(self, owner: Owner, selector: Selector, framing: Framing, window: Window) -> None:
        self._owner = owner
        self.selector = selector
        self.framing = framing
        self.members: dict[Subscriber, WriteMethod] = {}
        self.behind: set[Subscriber] = set()
        # Behind, but ahead of `sent`: they began at the head while older entries were pending.
        self.waiting: list[Subscriber] = []
        self.pending: deque[Entry] = deque()
        self.scheduled = False
        self.silent_since = 0.0
        self.announced = 0
        self.due = 0
        self._window = window
        self._round = Round(b"", {})
        self._before = (0, 0)  # `sent` and `announced` from before the round

    def __len__(self) -> int:
        return len(self.members) + len(self.behind)

    @property
    def sent(self) -> int:
        """Through which offset the members have everything, once the round going on is done."""
        return self.pending[0].offset - 1 if self.pending else self._window.head

    @property
    def in_round(self) -> bool:
        return self._round.awaited > 0

    def tick(self, now: float) -> float | None:
        return self._owner.tick_cohort(self, now)

    # -- membership

    def join(self, subscriber: Subscriber) -> None:
        """Make `subscriber` a member from the next round on; it has everything through `sent`."""
        assert subscriber.offset == self.sent
        assert subscriber.wire
        # The one who heard least, and the longest silence, count for all.
        if not self.members:
            self.announced, self.silent_since = subscriber.announced, subscriber.silent_since
        self.announced = min(self.announced, subscriber.announced)
        self.silent_since = min(self.silent_since, subscriber.silent_since)
        self.behind.discard(subscriber)
        self.members[subscriber] = subscriber.wire.write
        subscriber.live = True

    def leave(self, subscriber: Subscriber) -> None:
        """Make a member one that is behind, at the offset it really reached."""
        unwritten = self._round.skip(subscriber)
        subscriber.offset, subscriber.announced = self._before if unwritten else (self.sent, self.announced)
        subscriber.silent_since = self.silent_since
        subscriber.live = False
        del self.members[subscriber]
        self.behind.add(subscriber)
        if not self.members:
            self.pending.clear()

    def remove(self, subscriber: Subscriber) -> None:
        """Forget `subscriber` altogether."""
        if subscriber.live:
            self.leave(subscriber)
        self.behind.discard(subscriber)

    def fall_behind(self) -> list[Subscriber]:
        """Make all members ones that are behind, and return them."""
        members = list(self.members)
        for member in members:
            self.leave(member)
        return members

    # -- rounds

    def begin(self) -> bool:
        """Join what is pending into a round; return whether there is one."""
        if not self.pending:
            return False
        before = (self.sent, self.announced)
        frames: list[bytes] = []
        size = 0
        with_topic = not self.selector.single
        while self.pending:
            frame = self.pending[0].frame(with_topic)
            if frames and size + len(frame) > JOIN_BYTES:
                break
            frames.append(frame)
            size += len(frame)
            self.announced = self.pending.popleft().offset
        self._start(b"".join(frames), before)
        return True

    def begin_with(self, data: bytes, announced: int) -> None:
        """Begin a round of bytes that are no entry: a heartbeat, or the position `announced` of the idle."""
        before = (self.sent, self.announced)
        self.announced = announced
        self._start(data, before)

    def _start(self, data: bytes, before: tuple[int, int]) -> None:
        self._before = before
        self._round = Round(framed(data, self.framing), self.members)

    def step(self, count: int) -> int:
        """Write the round to up to `count` members that have not had it; return to how many."""
        return self._round.step(count)


class Round:
    """
    One write of the same bytes to all who are members when it begins, in the order in which they joined.

    Lists and an iterator, so that nothing but the write itself is done for each
    member: to take each out of a dictionary made a delivery 5 % dearer.
    """

    __slots__ = ("_chunk", "_members", "_places", "_reached", "_turns", "_writes", "awaited")

    def __init__(self, chunk: bytes, members: Mapping[Subscriber, WriteMethod]) -> None:
        self._chunk = chunk
        self._members = list(members)
        self._writes = list(members.values())
        self._turns = iter(self._writes)
        self._reached = 0
        # Where each stands; made when the first one leaves, which most rounds never see.
        self._places: dict[Subscriber, int] | None = None
        self.awaited = len(self._members)

    def step(self, count: int) -> int:
        """Write to up to `count` more members; return to how many."""
        chunk, start = self._chunk, self._reached
        # `_reached` counts the write that is going on: who pauses in its own write has these bytes.
        # The iterator reads the list as it is then: who left before its turn has `write_nothing` there.
        for self._reached, write in enumerate(islice(self._turns, count), start + 1):  # noqa: B020
            try:
                write(chunk)
            except Exception:
                # A closed transport raises; it must not rob all who come after it.
                self._members[self._reached - 1].lost()
        skipped = self._writes[start : self._reached].count(write_nothing) if self._places is not None else 0
        written = self._reached - start - skipped
        self.awaited -= written
        return written

    def awaits(self, member: Subscriber) -> bool:
        """Whether the round has not reached `member` yet, but will."""
        if not self.awaited or (self._reached and member is self._members[self._reached - 1]):
            return False
        if self._places is None:
            self._places = {other: place for place, other in enumerate(self._members)}
        return self._places.get(member, -1) >= self._reached

    def skip(self, member: Subscriber) -> bool:
        """Take `member` out of the round; return whether it had not been reached."""
        if not self.awaits(member):
            return False
        assert self._places is not None
        self._writes[self._places.pop(member)] = write_nothing
        self.awaited -= 1
        return True


def write_nothing(data: bytes, /) -> None:
    """Take the turn of a member that left before it."""
