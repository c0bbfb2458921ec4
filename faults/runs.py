"""Runs over four processes that share one log: F31."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from faults.history import events
from faults.outcome import percentile
from faults.run_hub import items
from faults.scenario import Context, Fault, Result, at_most, exactly
from faults.served import Served, several, wait_until
from faults.viewers import PATIENCE, Viewer, text_of
from tidewire.testing.checker import check
from tidewire.testing.recorder import Recorder

PROCESSES = 4
# Two clients post each run at once, as retries do, and two others attach to it.
POSTS, ATTACHED = 2, 2
COUNT, WAIT = 60, 0.03
# How many of the runs are cancelled in the middle, and after how many seconds.
CANCELLED, MIDDLE = 0.2, 0.8
STOPPED = 3.0
DOWN = 6.0
# Seconds within which every viewer is told that the process of its run was killed. The smoke tier runs among
# other tests.
LOST = {"smoke": 30.0, "full": 5.0, "soak": 5.0}


class Chat(threading.Thread):
    """
    One topic, with one run after another until `stop`.

    `running` is the key of the run that has viewers now; `viewers` are those of all runs.
    """

    def __init__(self, number: int, hubs: Sequence[Served], recorder: Recorder) -> None:
        super().__init__(name=f"chat-{number}", daemon=True)
        self.topic = f"chat/{number}"
        self.running = ""
        self.viewers: list[Viewer] = []
        self.count = 0
        self._hubs = hubs
        self._recorder = recorder
        self._random = random.Random(number)
        self._ending = threading.Event()

    def stop(self) -> None:
        self._ending.set()

    def run(self) -> None:
        while not self._ending.is_set():
            self.count += 1
            key = f"{self.topic}/{self.count}"
            self._recorder.planned(key, self.topic, items(key, COUNT))
            self._view(key)

    def _view(self, key: str) -> None:
        query = f"?key={key}&count={COUNT}&pause={WAIT}"
        viewers = [self._viewer(f"post-{number}", key, query) for number in range(POSTS)]
        for viewer in viewers:
            viewer.start()
        self.running = key
        for number in range(ATTACHED):
            self._ending.wait(self._random.uniform(0, COUNT * WAIT / 2))
            viewers.append(self._viewer(f"attach-{number}", key))
            viewers[-1].start()
        if self._random.random() < CANCELLED:
            self._ending.wait(MIDDLE)
            self._cancel()
        for viewer in viewers:
            viewer.join(PATIENCE)
        self.running = ""
        self.viewers += viewers

    def _viewer(self, name: str, key: str, query: str = "") -> Viewer:
        return Viewer(f"{key} {name}", self._hubs, self._recorder, self.topic, key, query)

    def _cancel(self) -> None:
        hub = self._random.choice(self._hubs)
        connection = http.client.HTTPConnection(hub.host, hub.port, timeout=5)
        with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
            connection.request("DELETE", f"/{self.topic}")
            connection.getresponse().read()


@contextlib.contextmanager
def chats(context: Context, recorder: Recorder) -> Iterator[tuple[list[Served], list[Chat]]]:
    engine = f"sqlite:///{context.folder}/events.db"
    with several(context.folder, engine, PROCESSES, module="faults.run_hub") as hubs:
        found = [Chat(number, hubs, recorder) for number in range(2 if context.smoke else 6)]
        for chat in found:
            chat.start()
        try:
            yield hubs, found
        finally:
            for chat in found:
                chat.stop()


def run(context: Context, times: int, unit: str, deeds: Sequence[Callable[[Served], None]]) -> Result:
    chance, recorder = random.Random(31), Recorder()
    killed: list[tuple[float, list[str]]] = []
    with chats(context, recorder) as (hubs, found):
        for number in range(times):
            # Not earlier than everybody is back from the last one.
            time.sleep(chance.uniform(1.0, 3.0))
            hub, made = victim(hubs, found, chance, maker=number % 2 == 0)
            recorder.fault(unit)
            killed.append((time.monotonic(), made))
            deeds[number % len(deeds)](hub)
            context.say(f"  {unit} {number + 1}: it made {len(made)} of {len(found)} runs")
        for chat in found:
            chat.stop()
        for chat in found:
            chat.join(2 * PATIENCE)
        left = int(wait_for_streams(hubs))
        log = list(events(hubs[0]))
        producers = Counter(key for hub in hubs for key in started(hub))
    viewers = [viewer for chat in found for viewer in chat.viewers]
    return judge(context, recorder, log, viewers, killed, unit, producers, left)


def victim(
    hubs: Sequence[Served], found: Sequence[Chat], chance: random.Random, maker: bool
) -> tuple[Served, list[str]]:
    """Return a process and the keys of the runs that it makes: one that makes some if a `maker` is wanted."""
    running = {chat.running for chat in found}
    made = [(hub, sorted(running.intersection(started(hub)))) for hub in hubs]
    return chance.choice(
        [each for each in made if each[1]] if maker and any(keys for _, keys in made) else made
    )


def judge(
    context: Context,
    recorder: Recorder,
    log: list[dict[str, str]],
    viewers: Sequence[Viewer],
    killed: Sequence[tuple[float, list[str]]],
    unit: str,
    producers: Counter[str],
    left: int,
) -> Result:
    output = [
        (event["id"], event["topic"], text_of(event["event"], event["data"]))
        for event in log
        if event["event"] != "hub.run"
    ]
    stops = Counter(data["key"] for data in told(log) if data["state"] != "running")
    report = check(recorder.records, output, left=[viewer.name for viewer in viewers if viewer.left])
    faulty = [f"{viewer.name}: {viewer.faulty}" for viewer in viewers if viewer.faulty]
    lost = list(seconds_until_lost(viewers, killed))
    ends = Counter(viewer.end.event for viewer in viewers if viewer.end)
    makers = sum(bool(made) for _, made in killed)
    return Result(
        happened=len(killed),
        unit=unit,
        acked=len(output),
        reports=[report],
        figures=[
            f"{len(output)} items and ends stored",
            f"{makers} of the processes made a run",
            f"ends seen by viewers: {', '.join(f'{count} {name}' for name, count in sorted(ends.items()))}",
            f"told of a lost run p50 {percentile(lost, 0.5):.2f} s",
        ],
        bars=[
            at_most("told of a lost run", max(lost, default=0.0), LOST[context.tier]),
            exactly("viewers without an end, or refused", "; ".join(faulty[:3]) or 0, 0),
            exactly("producers of a run", max(producers.values()), 1),
            exactly("stops told of a run", sorted(set(stops.values())), [1]),
            exactly("streams left over", left, 0),
        ],
    )


def told(log: Iterable[dict[str, str]]) -> Iterator[dict[str, str]]:
    """Yield what the `hub.run` events of a log say."""
    return (json.loads(event["data"]) for event in log if event["event"] == "hub.run")


def seconds_until_lost(
    viewers: Sequence[Viewer], killed: Sequence[tuple[float, list[str]]]
) -> Iterator[float]:
    """Yield how long after the fault each viewer was told that its run was lost."""
    for at, made in killed:
        for viewer in viewers:
            if viewer.key in made and viewer.end and viewer.end.event == "run.lost":
                yield viewer.ended_at - at


def started(hub: Served) -> list[str]:
    """Return the keys of the runs whose producers a process has started, over all its lives."""
    lines = hub.output().splitlines()
    return [line.partition(": ")[2] for line in lines if line.startswith("producer started: ")]


def wait_for_streams(hubs: Sequence[Served]) -> float:
    """Wait until all viewers have gone; return how many streams are left."""

    def left() -> float:
        return sum(hub.metric("tidewire_open_streams", timeout=10) for hub in hubs)

    with contextlib.suppress(TimeoutError):
        wait_until(lambda: not left(), PATIENCE, "no stream is left over")
    return left()


# -- what is done to a process


def kill(hub: Served) -> None:
    hub.kill()
    hub.start()


def kill_for_a_while(hub: Served) -> None:
    """Its runs are ended by the others."""
    hub.kill()
    time.sleep(DOWN)
    hub.start()


def drain(hub: Served) -> None:
    hub.stop()
    hub.start()


def pause(hub: Served) -> None:
    hub.signal(signal.SIGSTOP)
    time.sleep(STOPPED)
    hub.signal(signal.SIGCONT)


# -- the faults


def kills(context: Context) -> Result:
    """F31: kill -9 of a random process, restarted at once or later."""
    return run(context, context.times(smoke=2, full=20), "kills", [kill_for_a_while, kill])


def drains_and_stops(context: Context) -> Result:
    """F31: a random process is drained and restarted, or stopped for a while."""
    return run(context, context.times(smoke=2, full=20), "drains and stops", [drain, pause])


FAULTS = [
    Fault("F31", "runs: four processes on one log, kill -9 of a random one", "smoke", kills),
    Fault("F31", "runs: four processes on one log, one drained or stopped for 3 s", "full", drains_and_stops),
]
