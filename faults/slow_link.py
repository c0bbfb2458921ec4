"""Clients behind a link that carries only a fraction of their events: F9."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence

from faults.gauges import Gauges, resident
from faults.history import history
from faults.netns import Network
from faults.outcome import MIB
from faults.publishers import Publisher
from faults.scenario import Context, Fault, Result, at_most, exactly
from faults.served import Served, wait_until
from faults.sockets import Crowd, SocketSubscriber
from faults.witness import Witness
from tidewire.testing.checker import check
from tidewire.testing.recorder import Recorder

KIB = 1024
SUBSCRIBERS = 50
TOPICS = [f"far/{number}" for number in range(4)]
# 256 kbit/s for each subscriber, over one link of 64 kbit/s for all.
RATE = 32.0
SIZE = KIB
LINK = "64kbit"
# Clients consider a stream dead after two and a half heartbeats.
OPTIONS = ("--open", "--heartbeat", "10")
BEFORE = 5.0
SLOW = 40.0
CATCH_UP = 60.0
# MiB: some KiB per waiting stream, and the log's newest entries.
GROWTH = 12.0


class Far:
    """Subscribers in a separate network, publishers for them, and what both recorded."""

    def __init__(self, hub: Served, net: Network, crowd: Crowd) -> None:
        self.hub = hub
        self.crowd = crowd
        self.recorder = Recorder()
        self.witnesses = [Witness(self.recorder, f"far-{n}", TOPICS) for n in range(SUBSCRIBERS)]
        # None with a browser's rules: it would wait forever if the reset of its connection was dropped.
        self.subscribers = [
            SocketSubscriber([(net.hub, hub.port)], witness, native=False) for witness in self.witnesses
        ]
        self.publishers = [
            Publisher(number, hub.host, hub.port, [topic], self.recorder, RATE / len(TOPICS), SIZE)
            for number, topic in enumerate(TOPICS)
        ]
        crowd.loop.call_soon_threadsafe(net.move_in)

    def start(self) -> None:
        self.ends = [self.crowd.start(one.run()) for one in self.subscribers]
        wait_until(lambda: all(one.is_open for one in self.witnesses), 30, "all streams are open")
        for publisher in self.publishers:
            publisher.start()

    def stop_publishing(self) -> list[tuple[str, str, str]]:
        """Stop publishing, and return the whole log."""
        for publisher in self.publishers:
            publisher.stop()
        for publisher in self.publishers:
            publisher.join()
        return list(history(self.hub))

    def lagging(self, newest: Sequence[str]) -> list[str]:
        """Return the names of subscribers that lack one of these events."""
        return [one.name for one in self.witnesses if not all(map(one.has, newest))]

    def leave(self) -> None:
        for one in self.subscribers:
            self.crowd.loop.call_soon_threadsafe(one.close)
        for end in self.ends:
            end.result(10)

    @property
    def streams(self) -> int:
        return sum(one.streams for one in self.witnesses)


def slow_link(context: Context) -> Result:
    """F9: 50 subscribers behind 64 kbit/s, and 256 kbit/s of events."""
    with (
        Network() as net,
        Served(context.folder, context.engine_url(), *OPTIONS, host="0.0.0.0") as hub,
        Crowd() as crowd,
    ):
        far = Far(hub, net, crowd)
        far.start()
        time.sleep(BEFORE)
        before, streams = resident(hub), far.streams
        with Gauges(hub) as gauges:
            far.recorder.fault(f"{LINK} link")
            net.limit(LINK)
            time.sleep(SLOW)
            dropped, lagging = net.dropped(), len(far.lagging(newest_acks(far)))
            net.unlimit()
        log = far.stop_publishing()
        newest = list({topic: id for id, topic, _ in log}.values())
        begun = time.monotonic()
        with contextlib.suppress(TimeoutError):
            wait_until(lambda: not far.lagging(newest), CATCH_UP, "all subscribers have caught up")
        caught_up, late = time.monotonic() - begun, far.lagging(newest)
        far.leave()
        faulty = [what for one in far.witnesses for what in one.faulty]
        return Result(
            happened=lagging,
            unit="subscribers held back",
            acked=sum(len(publisher.acked) for publisher in far.publishers),
            reports=[check(far.recorder.records, log)],
            figures=[
                f"{dropped} packets dropped",
                f"{far.streams - streams} streams reopened",
                f"{sum(len(one.gaps) for one in far.witnesses)} gaps",
                f"all caught up {caught_up:.1f} s after the link was restored",
            ],
            bars=[
                at_most("memory grew by", (most_of(gauges) - before) / MIB, GROWTH, "MiB"),
                exactly("subscribers that never caught up", len(late), 0),
                exactly("broken streams", "; ".join(faulty[:3]) or 0, 0),
            ],
        )


def newest_acks(far: Far) -> list[str]:
    return [publisher.acked[-1][2] for publisher in far.publishers]


def most_of(gauges: Gauges) -> int:
    return max(memory for _, memory, _, _ in gauges.samples)


FAULTS = [
    Fault("F9", "50 subscribers behind a 64 kbit/s link", "full", slow_link, needs=("root", "ip", "tc")),
]
