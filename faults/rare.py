"""Many readers on disk that look for rare topics: F8 (G12)."""

from __future__ import annotations

import time
from collections.abc import Iterator

from faults.beside import Beside
from faults.load import Awaited, Load, ask
from faults.patterns import fill
from faults.scenario import Context, Fault, Result, at_most, exactly
from faults.served import Served

EVENTS = 1_000_000
READERS = 100
TOPICS = 1_000
LINES = 1_000
# Each of these many lines has an event of a topic that is read honestly, and of a rare one.
RARE = 100_000
QUIET = 15.0
# Seconds in which the readers stay, and in which half of them leave each second and others come.
STAYING = 10.0
SECONDS = 20.0
# Seconds for the disk to settle after the fill.
SETTLE = 5.0
STAY = 1.0
TIMEOUT = 60.0
HONEST = "honest?since=last:5"
MARK = b"~"
OPTIONS = ("--retention-entries", f"{2 * EVENTS}", "--retention-bytes", "4000000000")


def rare(context: Context) -> Result:
    """F8: 100 readers look through the whole log, each for topics of its own; then half leave each second."""
    engine = f"sqlite:///{context.folder}/events.db"
    with (
        Served(context.folder, engine, *OPTIONS) as hub,
        Beside(hub, context.folder) as beside,
        Load((hub.host, hub.port)) as load,
    ):
        fill(hub, body())
        load.run(SETTLE)
        beside.quiet()
        load.run(QUIET)
        alone = honest(load)
        beside.disturb()
        readers = look(load, 0)
        answers = ask_for(STAYING, load)
        asked, end, stayed = 0, time.monotonic() + SECONDS, time.monotonic()
        while time.monotonic() < end:
            answers += ask_for(STAY, load)
            asked += READERS // 2
            load.drop(readers[: READERS // 2])
            readers = readers[READERS // 2 :] + look(load, READERS // 2 + asked, READERS // 2)
        page = hub.get("/events?topic=t/*/nowhere&since=start", 10.0, {"Accept": "application/json"})
        return Result(
            happened=asked + READERS,
            unit=f"readers of rare topics, {READERS} at a time",
            acked=beside.acked,
            figures=[f"an honest resume alone {alone:.2g} s", *beside.figures()],
            bars=[
                at_most("longest honest resume", max(answers), 1.0),
                beside.publish_bar(2.0, until=stayed, text="publishes p99 while all stay"),
                *beside.bars(2.0, 20.0),
                exactly("status of a page of history", page[0], 200),
            ],
        )


def look(load: Load, first: int, count: int = READERS) -> list[Awaited]:
    """Request streams that have to look through the whole log, each from an address of its own."""
    wanted = ["?topic=t/*/y&topic=own/{}&since=last:5", "?topic=t/7/y&topic=t/*/z&topic=own/{}&since=start"]
    readers = []
    for number in range(first, first + count):
        source, what = f"127.0.1.{1 + number % 200}", wanted[number % len(wanted)].format(number)
        sock = ask(load.address, what=what, source=source)
        readers.append(Awaited(sock, 0.0, MARK))
    load.watch(readers)
    return readers


def ask_for(seconds: float, load: Load) -> list[float]:
    """Ask for one topic again and again, for that long. Return the seconds that each answer took."""
    answers, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        answers.append(honest(load))
    return answers


def honest(load: Load) -> float:
    """Return how many seconds it takes to get the last five events of one topic."""
    begun = time.monotonic()
    stream = Awaited(ask(load.address, what=HONEST), begun, MARK, 5)
    load.watch([stream])
    load.run(TIMEOUT, lambda: stream.seconds is not None)
    load.drop([stream])
    return TIMEOUT if stream.seconds is None else stream.seconds


def body() -> Iterator[bytes]:
    """Yield events of a thousand topics, and now and then one of another."""
    data = "0123456789" * 10
    common = b"".join(
        b'{"topic": "t/%d/x", "data": "%b"}\n' % (number % TOPICS, data.encode()) for number in range(LINES)
    )
    for start in range(0, EVENTS, LINES):
        if start % RARE == 0:
            yield b'{"topic": "t/%d/y", "data": "rare"}\n{"topic": "honest", "data": "~"}\n' % (start // RARE)
        yield common


TITLE = "100 readers of rare topics in 1,000,000 events on disk, half of which leave"
FAULTS = [Fault("F8", TITLE, "full", rare, least_acked=100)]
