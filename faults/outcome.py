"""The outcome of a run under the workload: the checker's report, and the figures of every run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from faults.probe import Probe
from faults.scenario import Bar, exactly
from tidewire.testing.checker import Report

if TYPE_CHECKING:
    from faults.workload import Workload

MIB = 2**20


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that `share` of the values do not exceed; 0 if there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


class Outcome:
    """`late`: subscribers that never got the newest event; `left_over`: sockets and streams not freed."""

    def __init__(
        self, work: Workload, report: Report, late: Sequence[str], left_over: int, probe: Probe
    ) -> None:
        self.work = work
        self.report = report
        self.late = late
        self.left_over = left_over
        self.probe = probe
        self.answers = sorted(
            (answer for publisher in work.publishers for answer in publisher.answers), key=lambda a: a.at
        )

    @property
    def acked(self) -> int:
        return self.report.acked

    @property
    def happened(self) -> int:
        return len(self.work.faults)

    @property
    def outage(self) -> float:
        """The longest time without an ack of any publisher, in seconds."""
        acks = [answer.at for answer in self.answers if answer.acked]
        return max((b - a for a, b in pairwise(acks)), default=0.0)

    @property
    def recoveries(self) -> list[float]:
        """For each fault and subscriber, the time from the end of the fault to the first new delivery."""
        return [seconds for _, end in self.work.faults for seconds in self._after(end)]

    def _after(self, end: float) -> list[float]:
        # A subscriber that was still waiting when the next fault came recovers from that one.
        until = min((begin for begin, _ in self.work.faults if begin > end), default=float("inf")) - end
        found = (witness.first_new_after(end) for witness in self.work.witnesses)
        return [seconds for seconds in found if seconds is not None and seconds < until]

    @property
    def recoveries_of_hub(self) -> list[float]:
        """The same from the start of the fault, without the time that the client chose to wait."""
        found = []
        for begin, end in self.work.faults:
            until = min((other for other, _ in self.work.faults if other > end), default=float("inf"))
            for witness in self.work.witnesses:
                seconds = witness.first_new_after(end)
                if seconds is not None and end + seconds < until:
                    found.append(end - begin + seconds - witness.wait_before(end, end + seconds))
        return found

    def statuses(self, begin: float = 0.0, end: float = float("inf")) -> Counter[int]:
        """Count the answers that publishers got between two moments, by status; 0 is no answer."""
        return Counter(answer.status for answer in self.answers if begin <= answer.at <= end)

    def figures(self) -> list[str]:
        recoveries, lags = self.recoveries, self.probe.lags()
        acks = [answer.took for answer in self.answers if answer.acked]
        return [
            f"{self.acked} acked",
            f"ack p99 {percentile(acks, 0.99) * 1000:.0f} ms",
            f"longest time without an ack {self.outage:.2f} s",
            f"first new delivery p50 {percentile(recoveries, 0.5):.2f} s",
            f"p99 {percentile(recoveries, 0.99):.2f} s",
            f"high water {self.work.hub.note_high_water() / MIB:.0f} MiB",
            f"{self.work.gauges.descriptors} descriptors",
            f"loop lag p99 {percentile(lags, 0.99) * 1000:.0f} ms, max {max(lags, default=0) * 1000:.0f} ms",
        ]

    def bars(self) -> list[Bar]:
        """Return what must hold in every run, whatever the fault."""
        faulty = [what for witness in self.work.witnesses for what in witness.faulty]
        unfinished = [publisher.unfinished for publisher in self.work.publishers if publisher.unfinished]
        return [
            bar
            for bar in [
                exactly("subscribers that never caught up", len(self.late), 0),
                exactly("broken streams", "; ".join(faulty[:3]) or 0, 0),
                exactly("publishes never acked", len(unfinished), 0),
                exactly("sockets and streams left over", self.left_over, 0),
            ]
            if not bar.met
        ]
