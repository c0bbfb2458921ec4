"""Many resumes with many patterns that match nothing: F8 (G12)."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator

from faults.beside import Beside
from faults.load import Awaited, Load, ask
from faults.scenario import Context, Fault, Result, exactly
from faults.served import Served

KEPT = 10_000
TRIMMED = 100_000
RESUMES = 100
PATTERNS = 100
LINES = 1_000
QUIET = 10.0
SECONDS = 20.0
TIMEOUT = 60.0
OPTIONS = ("--window-entries", f"{KEPT}", "--retention-entries", f"{KEPT}")
# The names begin as the topics do, so that each has to be compared to its end.
NEVER = "&".join(f"topic=t/*/level/{number}" for number in range(PATTERNS))
OPEN = b"event: hub.open"


def never(context: Context) -> Result:
    """F8: 100 resumes at once, each with 100 patterns that match nothing (attack C13)."""
    with (
        Served(context.folder, "memory", *OPTIONS) as hub,
        Beside(hub, context.folder) as beside,
        Load((hub.host, hub.port)) as load,
    ):
        first = fill(hub, body())
        beside.quiet()
        load.run(QUIET)
        beside.disturb()
        end = time.monotonic() + SECONDS
        answered, longest = 0, 0.0
        while time.monotonic() < end:
            took = resume_all(load, first)
            answered, longest = answered + len(took), max(longest, *took)
        return Result(
            happened=answered,
            unit=f"resumes with {PATTERNS} patterns",
            acked=beside.acked,
            figures=[f"answered after {longest:.2g} s at most", *beside.figures()],
            bars=[
                *beside.bars(2.0, 20.0),
                exactly("resumes not answered", answered % RESUMES, 0),
            ],
        )


def resume_all(load: Load, first: str) -> list[float]:
    """Resume from the first event, which is trimmed; return how long each resume took to be judged."""
    starts = [(first, ""), ("", "&since=start"), ("", "&since=last:5")]
    streams = []
    for number in range(RESUMES):
        position, since = starts[number % len(starts)]
        begun = time.monotonic()
        sock = ask(load.address, last_event_id=position, what=f"?{NEVER}{since}&control=open")
        streams.append(Awaited(sock, begun, OPEN))
    load.watch(streams)
    load.run(TIMEOUT, lambda: all(stream.seconds is not None for stream in streams))
    load.run(0.5)
    load.drop(streams)
    return [stream.seconds for stream in streams if stream.seconds is not None]


def body() -> Iterator[bytes]:
    """Yield one event of each of many topics: most of them are trimmed at once."""
    for start in range(0, KEPT + TRIMMED, LINES):
        yield b"".join(
            b'{"topic": "t/%d/level/x", "data": "0123456789"}\n' % number
            for number in range(start, start + LINES)
        )


def fill(hub: Served, lines: Iterator[bytes]) -> str:
    """Store events as fast as one connection can, and return the id of the first."""
    connection = http.client.HTTPConnection(hub.host, hub.port, timeout=TIMEOUT)
    kind = {"Content-Type": "application/x-ndjson"}
    connection.request("POST", "/events", lines, kind, encode_chunked=True)
    answer = connection.getresponse()
    receipts = answer.read()
    connection.close()
    if answer.status != 200 or b'"code"' in receipts:
        raise RuntimeError(f"could not fill the log: {answer.status} {receipts[-500:]!r}")
    life = receipts.partition(b'"id":"')[2].partition(b".")[0].decode()
    return f"{life}.1"


FAULTS = [
    Fault("F8", "100 resumes with 100 patterns each, beside live streams", "full", never, least_acked=100)
]
