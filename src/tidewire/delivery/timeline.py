"""
The steps of a stream: what changed for it, and where it stood.

Rule 1: a step is noted when the state of a stream changes, never for an event that is written to it.
Rule 2: whether an event was written to a stream follows from the offsets of its steps. The newest are kept,
        and the first one, which says where the stream started. If one between is forgotten, so is what was
        written before the oldest of the newest.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Kind = Literal["judged", "live", "paused", "resumed", "behind", "gap", "reset", "ended"]

# Steps that are kept of one stream, besides the first one.
MOST = 32
# Steps that repeat, such as `paused`, `resumed` and `live` in turns, are noted once, with their number.
LONGEST_CYCLE = 3


class Step(NamedTuple):
    """
    One change. `time` is on the loop's clock.

    `offset`: where the stream stood, or went on; None while that was not known. `detail`: a verdict, or the
    reason. `stood`: of a gap, where the stream stood before it. `times`: how often it happened in turn.
    """

    time: float
    kind: Kind
    offset: int | None
    detail: str = ""
    stood: int = 0
    times: int = 1


class Timeline:
    """The steps of one stream, the oldest first. `forgotten`: how many are not kept, after the first one."""

    __slots__ = ("forgotten", "steps")

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.forgotten = 0

    def note(self, time: float, kind: Kind, offset: int | None, detail: str = "", stood: int = 0) -> None:
        steps = self.steps
        steps.append(Step(time, kind, offset, detail, stood))
        if len(steps) > 2 and kind in CYCLIC:
            self._fold()
        if len(steps) > MOST + 1:
            self.forgotten += steps[1].times
            del steps[1]

    def _fold(self) -> None:
        """Make one of the last steps and equal ones just before them."""
        steps = self.steps
        for length in range(1, LONGEST_CYCLE + 1):
            before, last = steps[-2 * length : -length], steps[-length:]
            if [step.kind for step in before] == [step.kind for step in last]:
                if all(step.kind in CYCLIC for step in last):
                    steps[-2 * length :] = [
                        new._replace(times=old.times + new.times)
                        for old, new in zip(before, last, strict=True)
                    ]
                return


# Steps that may be folded: between two of them the stream went on without a gap.
CYCLIC = frozenset(("live", "paused", "resumed", "behind"))
