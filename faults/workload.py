"""
The standard workload: publishers that do not give up and three kinds of subscribers, all recorded.

    with Served(context.folder, context.engine_url()) as hub, Workload(hub, scale) as work:
        work.steady(scale.before)
        with work.fault("kill -9"):
            hub.kill()
            hub.start()
        work.steady(scale.after)
        outcome = work.finish()
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from faults.clients import ClientSubscriber
from faults.gauges import Gauges, sockets
from faults.history import history
from faults.outcome import Outcome
from faults.probe import Probe
from faults.publishers import LAST_CHANCE, Publisher
from faults.scenario import LEAST_ACKED, Context
from faults.served import Served, wait_until
from faults.sockets import Crowd, SocketSubscriber
from faults.witness import Witness
from tidewire.client.sync import Policy
from tidewire.testing.checker import check
from tidewire.testing.recorder import Recorder

DEFAULT_POLICY = Policy()

# Seconds after which a hub has freed a connection that we closed.
SETTLE = 0.3

# Seconds for what comes about at once on a machine that has time.
PATIENCE = 60.0


@dataclass(frozen=True)
class Scale:
    """
    The size of a workload. `rate` is events per second in total, `each` topics per subscriber, `size`
    bytes of filler per event. Half of the subscribers are the Python client with `policy`, a quarter
    strict sockets, a quarter native. Times are in seconds; faults use `before` and `during`.
    It goes on until `least_acked` events are acked, which takes longer on a busy machine.
    """

    publishers: int = 4
    rate: float = 200.0
    topics: int = 20
    subscribers: int = 50
    each: int = 2
    size: int = 200
    before: float = 15.0
    during: float = 30.0
    policy: Policy = DEFAULT_POLICY
    catch_up: float = 90.0
    least_acked: int = LEAST_ACKED["full"]
    options: tuple[str, ...] = ()


STANDARD = Scale()
# Clients reconnect fast, so that a short run covers many reconnects.
SMOKE = Scale(
    subscribers=16,
    before=1.0,
    during=4.0,
    policy=Policy(cap=0.5),
    catch_up=60.0,
    least_acked=LEAST_ACKED["smoke"],
    options=("--retry", "0.5"),
)


def scale_of(context: Context) -> Scale:
    return SMOKE if context.smoke else STANDARD


class Workload:
    """
    Publishers and subscribers of one hub, from the `with` line until `finish`.

    `beside` are other processes on the same log: they have their share of the publishers and subscribers,
    and a subscriber on a plain socket goes to the next process each time that it reconnects.
    """

    def __init__(self, hub: Served, scale: Scale, beside: Sequence[Served] = ()) -> None:
        self.hub = hub
        self.hubs = [hub, *beside]
        self.scale = scale
        self.recorder = Recorder()
        self.topics = [f"rooms/{number}" for number in range(scale.topics)]
        self.witnesses: list[Witness] = []
        self.clients: list[ClientSubscriber] = []
        self.on_sockets: list[tuple[SocketSubscriber, Future[None]]] = []
        self.gauges = Gauges(hub)
        # (begin, end) of every fault.
        self.faults: list[tuple[float, float]] = []
        self._stack = contextlib.ExitStack()
        rate = scale.rate / scale.publishers
        # The events in the log at the end: (id, topic, data).
        self.log: list[tuple[str, str, str]] = []
        self.publishers = [
            Publisher(number, at.host, at.port, self.topics, self.recorder, rate, scale.size)
            for number, at in enumerate(self._spread(scale.publishers))
        ]

    def __enter__(self) -> Self:
        try:
            self._begin()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    @property
    def acked(self) -> int:
        """How many events were acked so far."""
        return sum(len(publisher.acked) for publisher in self.publishers)

    # -- what a fault uses

    def steady(self, seconds: float) -> None:
        """Let the load run for a while."""
        time.sleep(seconds)

    @contextlib.contextmanager
    def fault(self, name: str) -> Iterator[None]:
        """The fault is what is done in this block."""
        begun = time.monotonic()
        self.recorder.fault(name)
        yield
        self.faults.append((begun, time.monotonic()))

    def finish(self, *, loss_allowed: bool = False, trimmed: bool = False) -> Outcome:
        """
        Stop publishing, let all subscribers catch up, read the log back and judge.

        `trimmed`: retention has trimmed the start of the log, as it should.
        """
        with contextlib.suppress(TimeoutError):
            wait_until(lambda: self.acked >= self.scale.least_acked, PATIENCE, "enough is acked")
        for publisher in self.publishers:
            publisher.stop()
        for publisher in self.publishers:
            publisher.join(LAST_CHANCE + 15)
        self.log = list(history(self.hub))
        late = self._catch_up(self.log)
        self._leave()
        left_over = self._left_over()
        trimmed_through = offset_of(self.log[0][0]) - 1 if trimmed else 0
        report = check(
            self.recorder.records,
            self.log,
            trimmed_through=trimmed_through,
            retention_or_loss=loss_allowed,
        )
        return Outcome(self, report, late, left_over, self.probe)

    # -- implementation

    def _spread(self, count: int) -> list[Served]:
        """Return the hub of each of `count` clients."""
        return [self.hubs[number % len(self.hubs)] for number in range(count)]

    def _begin(self) -> None:
        time.sleep(SETTLE)
        self.sockets_before = sum(map(sockets, self.hubs))
        self.crowd = self._stack.enter_context(Crowd())
        for number, hub in enumerate(self._spread(self.scale.subscribers)):
            self._subscribe(number, hub)
        wait_until(lambda: all(w.is_open for w in self.witnesses), PATIENCE, "all streams are open")
        self.probe = self._stack.enter_context(
            Probe(self.hub.host, self.hub.port, self.hub.log.with_suffix(".probe"))
        )
        self._stack.enter_context(self.gauges)
        for publisher in self.publishers:
            publisher.start()

    def _subscribe(self, number: int, hub: Served) -> None:
        first = number * self.scale.each
        topics = [self.topics[(first + i) % len(self.topics)] for i in range(self.scale.each)]
        # Every hub has subscribers of all kinds.
        kind = ("client", "strict", "client", "native")[number // len(self.hubs) % 4]
        witness = Witness(self.recorder, f"{kind}-{number}", topics)
        self.witnesses.append(witness)
        if kind == "client":
            client = ClientSubscriber(hub.url, witness, self.scale.policy)
            self.clients.append(client)
            client.start()
        else:
            turn = self.hubs.index(hub)
            addresses = [(at.host, at.port) for at in self.hubs[turn:] + self.hubs[:turn]]
            plain = SocketSubscriber(addresses, witness, kind == "native")
            self.on_sockets.append((plain, self.crowd.start(plain.run())))

    def _catch_up(self, log: list[tuple[str, str, str]]) -> list[str]:
        """Wait until all subscribers have the newest event of each topic; return those that do not."""
        newest = {topic: id for id, topic, _ in log}

        def late() -> list[str]:
            return [
                witness.name
                for witness in self.witnesses
                if not all(witness.has(newest[topic]) for topic in witness.topics if topic in newest)
            ]

        with contextlib.suppress(TimeoutError):
            wait_until(lambda: not late(), self.scale.catch_up, "all subscribers have caught up")
        return late()

    def _leave(self) -> None:
        for plain, _ in self.on_sockets:
            self.crowd.loop.call_soon_threadsafe(plain.close)
        for client in self.clients:
            client.close()
        for client in self.clients:
            client.join(10)
        for _, task in self.on_sockets:
            with contextlib.suppress(TimeoutError):
                task.result(10)

    def _left_over(self) -> int:
        """Return how many sockets and streams the hub still has after all clients have left."""
        self.probe.__exit__(None, None, None)

        def left() -> int:
            streams = sum(int(hub.metric("tidewire_open_streams")) for hub in self.hubs)
            time.sleep(SETTLE)
            return sum(map(sockets, self.hubs)) - self.sockets_before + streams

        with contextlib.suppress(TimeoutError):
            wait_until(lambda: left() <= 0, PATIENCE, "nothing is left over")
        return max(0, left())

    def _end(self) -> None:
        for publisher in self.publishers:
            publisher.stop()
        for client in self.clients:
            client.close()
        self._stack.close()


def offset_of(id_: str) -> int:
    return int(id_.split(".")[1])
