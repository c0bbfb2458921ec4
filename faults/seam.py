"""The seam between history and live: F21."""

from __future__ import annotations

import random
import time

from faults.load import Load, RawStream, stream_bars
from faults.scenario import Context, Fault, Result, exactly
from faults.served import Served

RATE = 2000.0
# On a single connection they would be committed one by one.
PUBLISHERS = 16
WAITING = 4
SIZE = 60
AT_ONCE = 8
# How far back streams resume: within the window, beyond it, and at the newest event.
WINDOW = 1000
BACK = 3000
# A stream has crossed the seam once it has this many events that were published after its request.
BEYOND = 100
TIMEOUT = 60.0


def open_while_publishing(context: Context) -> Result:
    """F21: streams opened during 2,000 events per second, from now or from any point in the past."""
    times = context.times(smoke=150, full=1000)
    with (
        Served(context.folder, context.engine_url(), "--window-entries", str(WINDOW)) as hub,
        Load((hub.host, hub.port)) as load,
    ):
        for _ in range(PUBLISHERS):
            load.publish(RATE / PUBLISHERS, SIZE, WAITING)
        begun = time.monotonic()
        load.run(TIMEOUT, lambda: acks(load) > BACK)
        crossings = Crossings(load)
        crossings.run(times)
        seconds, acked = time.monotonic() - begun, acks(load)
    done = [*crossings.crossed, *crossings.failed]
    return Result(
        happened=len(crossings.crossed),
        unit="streams opened",
        acked=acked,
        figures=[
            f"{acked / seconds:.0f} events/s",
            f"{sum(stream.events for stream in done)} events read",
        ],
        bars=[
            *stream_bars(done),
            exactly("gaps", sum(stream.gaps for stream in done), 0),
            exactly("streams that did not cross the seam", len(crossings.failed), 0),
        ],
    )


class Crossings:
    """Streams that are opened one after another, each with the offset that it must reach."""

    def __init__(self, load: Load) -> None:
        self.crossed: list[RawStream] = []
        self.failed: list[RawStream] = []
        self._load = load
        self._targets: dict[RawStream, int] = {}
        self._choice = random.Random(1)

    def run(self, times: int) -> None:
        for _ in range(times):
            if len(self._targets) == AT_ONCE:
                self._wait()
            self._open()
        while self._targets:
            self._wait()

    def _open(self) -> None:
        acks = self._choice.choice(self._load.publishers).acks
        start = self._choice.choice(["", acks[-1], acks[-self._choice.randint(1, BACK // PUBLISHERS)]])
        (stream,) = self._load.open(last_event_id=start)
        self._targets[stream] = sum(one.sent for one in self._load.publishers) + BEYOND

    def _wait(self) -> None:
        """Run the load until at least one stream has crossed or failed."""
        self._load.run(TIMEOUT, lambda: any(map(self._is_done, self._targets)))
        done = [stream for stream in self._targets if self._is_done(stream)]
        for stream in done or list(self._targets):
            (self.crossed if self._has_crossed(stream) else self.failed).append(stream)
            del self._targets[stream]
            self._load.close([stream])

    def _has_crossed(self, stream: RawStream) -> bool:
        return stream.at is not None and stream.at >= self._targets[stream] and not stream.malformed

    def _is_done(self, stream: RawStream) -> bool:
        return self._has_crossed(stream) or bool(stream.ended_at or stream.malformed)


def acks(load: Load) -> int:
    return sum(len(steady.acks) for steady in load.publishers)


FAULTS = [
    Fault("F21", "the seam: streams opened during 2,000 events/s", "smoke", open_while_publishing),
]
