"""
Live subscribers that want exactly the same bytes, and the rounds that write to them.

Rule 1: an entry is encoded once, a round is joined once, and the same bytes
        object is written to every member.
Rule 2: `sent` is never stored. Everything before the first pending entry has been
        written (or is in the current round), so `sent` follows from `pending` and
        cannot disagree with it.
Rule 3: a round holds a snapshot of the members. A member that leaves before its turn
        is taken out of the snapshot and keeps the offset from before the round.
Rule 4: entries are pending only while there are members. Entries that come while there
        are none are not added, so keeping older ones would leave a hole.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING

from ..log.entries import Entry
from ..log.window import Window
from ..topics import Selector
from .framing import Framing, framed
from .subscriber import Subscriber, WriteMethod

if TYPE_CHECKING:
    from .rounds import Rounds

# A join holds at most this much, or one event: more pending means more rounds.
JOIN_BYTES = 64 * 1024


class Cohort:
    """
    The streams of one selector and framing: members, and those that are behind.

    `pending` are the entries that the members have not been sent. `waiting` are
    streams that are behind and yet ahead of `sent`: they started at the head while
    older entries were pending. `announced` is the offset of the last id that a round
    brought, and `oldest` that of the oldest last id that a member has: it may have
    joined after that round. `due` belongs to the timer.
    """

    __slots__ = (
        "_before",
        "_round",
        "_rounds",
        "_window",
        "announced",
        "announcements",
        "behind",
        "due",
        "framing",
        "members",
        "oldest",
        "pending",
        "scheduled",
        "selector",
        "silent_since",
        "waiting",
    )

    def __init__(self, rounds: Rounds, selector: Selector, framing: Framing, window: Window) -> None:
        self._rounds = rounds
        self.selector = selector
        self.framing = framing
        self.members: dict[Subscriber, WriteMethod] = {}
        self.behind: set[Subscriber] = set()
        self.waiting: list[Subscriber] = []
        self.pending: deque[Entry] = deque()
        self.scheduled = False
        self.silent_since = 0.0
        self.announced = 0
        self.announcements = 0  # how many rounds brought an id
        self.oldest = 0
        self.due = 0
        self._window = window
        self._round = Round(b"", {})
        self._before = (0, 0, 0)  # `_progress` from before the round

    def __len__(self) -> int:
        return len(self.members) + len(self.behind)

    @property
    def sent(self) -> int:
        """The offset through which the members have everything once the current round is done."""
        return self.pending[0].offset - 1 if self.pending else self._window.head

    @property
    def _progress(self) -> tuple[int, int, int]:
        return self.sent, self.announced, self.announcements

    @property
    def in_round(self) -> bool:
        return self._round.left > 0

    def tick(self, now: float) -> float | None:
        return self._rounds.tick_cohort(self, now)

    # -- membership

    def join(self, subscriber: Subscriber) -> None:
        """Make `subscriber`, which has everything through `sent`, a member from the next round on."""
        assert subscriber.offset == self.sent
        assert subscriber.wire
        # For all members the oldest id and the longest silence count.
        if not self.members:
            self.oldest, self.silent_since = subscriber.announced, subscriber.silent_since
        self.oldest = min(self.oldest, subscriber.announced)
        self.silent_since = min(self.silent_since, subscriber.silent_since)
        self.behind.discard(subscriber)
        self.members[subscriber] = subscriber.wire.write
        subscriber.joined = self.announcements
        subscriber.live = True

    def leave(self, subscriber: Subscriber) -> None:
        """Move a member to those that are behind, at the offset and with the last id that it really has."""
        unwritten = self._round.skip(subscriber)
        subscriber.offset, announced, announcements = self._before if unwritten else self._progress
        if announcements > subscriber.joined:
            subscriber.announced = announced
        subscriber.silent_since = self.silent_since
        subscriber.live = False
        del self.members[subscriber]
        self.behind.add(subscriber)
        if not self.members:
            self.pending.clear()

    def remove(self, subscriber: Subscriber) -> None:
        """Forget `subscriber`."""
        if subscriber.live:
            self.leave(subscriber)
        self.behind.discard(subscriber)

    def fall_behind(self) -> list[Subscriber]:
        """Move all members to those that are behind, and return them."""
        members = list(self.members)
        for member in members:
            self.leave(member)
        return members

    # -- rounds

    def begin(self) -> bool:
        """Join what is pending into a round. Return False if nothing is pending."""
        if not self.pending:
            return False
        before = self._progress
        frames: list[bytes] = []
        size = 0
        with_topic = not self.selector.single
        while self.pending:
            frame = self.pending[0].frame(with_topic)
            if frames and size + len(frame) > JOIN_BYTES:
                break
            frames.append(frame)
            size += len(frame)
            last = self.pending.popleft()
        self._announce(last.offset)
        self._start(b"".join(frames), before)
        return True

    def begin_with(self, data: bytes, announced: int) -> None:
        """Begin a round of bytes that are not an entry: a heartbeat, or the position of `announced`."""
        before = self._progress
        if announced > self.oldest:  # a comment brings no id
            self._announce(announced)
        self._start(data, before)

    def _announce(self, offset: int) -> None:
        """Note that a round brings the id of `offset`."""
        self.announced = self.oldest = offset
        self.announcements += 1

    def _start(self, data: bytes, before: tuple[int, int, int]) -> None:
        self._before = before
        self._round = Round(framed(data, self.framing), self.members)

    def step(self, count: int) -> int:
        """Write the round to up to `count` more members. Return how many were written to."""
        return self._round.step(count)


class Round:
    """
    One write of the same bytes to every member at its start, in the order in which they joined.

    It uses lists and an iterator, so that nothing but the write itself is done for
    each member: taking each out of a dictionary made a delivery 5 % slower.
    """

    __slots__ = ("_chunk", "_index", "_members", "_reached", "_turns", "_writes", "left")

    def __init__(self, chunk: bytes, members: Mapping[Subscriber, WriteMethod]) -> None:
        self._chunk = chunk
        self._members = list(members)
        self._writes = list(members.values())
        self._turns = iter(self._writes)
        self._reached = 0
        # The index of each member. Made when the first one leaves, which is rare.
        self._index: dict[Subscriber, int] | None = None
        self.left = len(self._members)

    def step(self, count: int) -> int:
        """Write to up to `count` more members. Return how many were written to."""
        chunk, start = self._chunk, self._reached
        # `_reached` includes the current write: a member that pauses during its own write has these bytes.
        # The iterator reads the live list: a member that left before its turn has `write_nothing` there.
        for self._reached, write in enumerate(islice(self._turns, count), start + 1):  # noqa: B020
            try:
                write(chunk)
            except Exception:
                # A closed transport raises; the members after it must still get their bytes.
                self._members[self._reached - 1].lost()
        skipped = self._writes[start : self._reached].count(write_nothing) if self._index is not None else 0
        written = self._reached - start - skipped
        self.left -= written
        return written

    def awaits(self, member: Subscriber) -> bool:
        """Whether the round still has to reach `member`."""
        if not self.left or (self._reached and member is self._members[self._reached - 1]):
            return False
        if self._index is None:
            self._index = {other: place for place, other in enumerate(self._members)}
        return self._index.get(member, -1) >= self._reached

    def skip(self, member: Subscriber) -> bool:
        """Take `member` out of the round. Return whether the round had not reached it."""
        if not self.awaits(member):
            return False
        assert self._index is not None
        self._writes[self._index.pop(member)] = write_nothing
        self.left -= 1
        return True


def write_nothing(data: bytes, /) -> None:
    """Stand in for a member that left before its turn."""
