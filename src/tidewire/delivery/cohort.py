"""
Live subscribers that want exactly the same bytes.

Rule 1: an entry is encoded once, a round is joined once, and the same bytes
        object is written to every member.
Rule 2: a cohort holds no entries. It holds the topics that have news, and the offset through
        which its members have everything: the bytes are read from the window.
Rule 3: a round holds a snapshot of the members. A member that leaves before its turn
        is taken out of the snapshot and keeps the offset from before the round.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..topics import Selector
from .framing import Framing
from .joins import Join
from .round import NO_ROUND, Round
from .subscriber import Subscriber, WriteMethod

if TYPE_CHECKING:
    from .rounds import Rounds


class Cohort:
    """
    The streams of one selector and framing: members, and those that are behind.

    Those of a `plain` cohort get no `hub.*` event. Those of a `run` get nothing after its last event, and end
    with it.

    `news` are the topics with entries that the members have not been sent, each with
    the offset of its newest one. `waiting` are streams that are behind and yet ahead of
    `sent`: they started at the head while older entries were pending. `announced` is the
    offset of the last id that a round brought, and `oldest` that of the oldest last id that
    a member has: it may have joined after that round. `events` counts those of all rounds.
    `silent` is set when a heartbeat is due. `due` belongs to the timer.
    """

    __slots__ = (
        "_before",
        "_last",
        "_round",
        "_rounds",
        "_since",
        "_start",
        "announced",
        "announcements",
        "behind",
        "due",
        "events",
        "framing",
        "members",
        "news",
        "oldest",
        "plain",
        "run",
        "scheduled",
        "selector",
        "silent",
        "silent_since",
        "waiting",
    )

    def __init__(
        self,
        rounds: Rounds,
        selector: Selector,
        framing: Framing,
        plain: bool = False,
        run: str | None = None,
    ) -> None:
        self._rounds = rounds
        self.selector = selector
        self.framing = framing
        self.plain = plain
        self.run = run
        self._last = math.inf
        self.members: dict[Subscriber, WriteMethod] = {}
        self.behind: set[Subscriber] = set()
        self.waiting: list[Subscriber] = []
        self.news: dict[str, int] = {}
        self._since = 0  # the offset before the first entry of `news`, if there is any
        self._start = rounds.head  # what arrived earlier was not marked here
        self.scheduled = False
        self.silent = False
        self.silent_since = 0.0
        self.announced = 0
        self.announcements = 0  # how many rounds brought an id
        self.events = 0
        self.oldest = 0
        self.due = 0
        self._round = NO_ROUND
        self._before = (0, 0, 0, 0)  # `_progress` from before the round

    def __len__(self) -> int:
        return len(self.members) + len(self.behind)

    @property
    def sent(self) -> int:
        """The offset through which the members have everything once the current round is done."""
        horizon = self.horizon
        return min(self._since, horizon) if self.news else horizon

    @property
    def _progress(self) -> tuple[int, int, int, int]:
        return self.sent, self.announced, self.announcements, self.events

    @property
    def horizon(self) -> int:
        """The offset through which `news` is complete."""
        return self._within_run(max(self._rounds.horizon, self._start))

    @property
    def last(self) -> float:
        """The offset of the last event of its run; infinity while the run is open, or if there is none."""
        # Once it is known it is kept: records of runs are forgotten after a day.
        if self.run is not None and self._last == math.inf:
            self._last = self._rounds.last_of_run(self.run)
        return self._last

    def _within_run(self, offset: int) -> int:
        return offset if self.run is None or offset <= self.last else int(self.last)

    @property
    def is_finished(self) -> bool:
        """Whether all its topics or its run have ended, and its members have everything."""
        sent = self.sent
        return sent >= self.last or self._rounds.all_ended_by(self.selector, sent)

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
        subscriber.events -= self.events  # what it was not sent
        subscriber.live = True

    def leave(self, subscriber: Subscriber) -> None:
        """Move a member to those that are behind, at the offset and with the last id that it really has."""
        unwritten = self._round.skip(subscriber)
        subscriber.offset, announced, announcements, events = self._before if unwritten else self._progress
        subscriber.events += events
        if announcements > subscriber.joined:
            subscriber.announced = announced
            # If it left while it was being written a hub.end, it needs no other one.
            subscriber.end_sent = self._rounds.is_end(self.selector, announced)
        subscriber.silent_since = self.silent_since
        subscriber.live = False
        del self.members[subscriber]
        self.behind.add(subscriber)

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

    # -- news

    def mark(self, topic: str, first: int, last: int) -> None:
        """Note that `topic` has new entries from offset `first` to `last`."""
        if self.run is not None:
            last = self._within_run(last)
            if first > last:
                return
        if last > self._start:
            before = first - 1 if first > self._start else self._start
            if not self.news or before < self._since:
                self._since = before
            self.news[topic] = last

    def pass_over(self, through: int) -> None:
        """Forget the news through an offset: it is sent, or there is no member to send it to."""
        for last in self.news.values():
            if last > through:
                self.news = {topic: last for topic, last in self.news.items() if last > through}
                break
        else:
            self.news.clear()
        self._since = through

    def forget(self) -> None:
        """Forget all news: the log was replaced."""
        self.news.clear()
        self.waiting.clear()
        self._start = 0

    def overtaken(self, start: int) -> bool:
        """Whether the window, which starts at offset `start`, may have dropped entries of `news`."""
        return bool(self.news) and self._since < start - 1

    # -- rounds

    def next_join(self, horizon: int) -> Join | None:
        """Return what the members are to be sent next, or None; `horizon` is that of the rounds."""
        if self._start > horizon:
            horizon = self._start
        if self.run is not None:
            horizon = self._within_run(horizon)
        if not self.members:
            self.pass_over(horizon)
        elif self.news:
            with_topic = not self.selector.single
            return self._rounds.joins.of(
                self.news, self._since, horizon, with_topic, self.framing, self.plain
            )
        elif self.silent:
            return self._rounds.heartbeat(self)
        self.silent = False
        return None

    def begin(self, join: Join, round: Round) -> None:
        """Let `round` write `join` to all members."""
        sent = self._since if self.news else self.sent
        self._before = (sent, self.announced, self.announcements, self.events)
        self._round = round
        round.add(self, self.members)
        if join.last:
            self.announced = self.oldest = join.last
            self.announcements += 1
            self.events += join.events
        if self.news:
            self.pass_over(join.through)
        self.silent = False

    def end_round(self) -> None:
        """Let go of the round: all members have had it."""
        self._round = NO_ROUND
