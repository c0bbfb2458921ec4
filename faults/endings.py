"""More topics end than marks are kept for: F32."""

from __future__ import annotations

import contextlib
import json
import socket

from faults.patterns import fill
from faults.scenario import Context, Fault, Result, exactly
from faults.served import Served

ENDED = 110_000
KEPT = 5_000
CONNECTIONS, PIPELINED = 50, 100
REQUEST = b"DELETE /events/run/%d HTTP/1.1\r\nHost: localhost\r\n\r\n"
TIMEOUT = 60.0
# Those that are published to afterwards, as parts of all that have ended.
PLACES = (0.0, 0.01, 0.5, 0.99)
OPTIONS = ("--retention-entries", f"{KEPT}", "--window-entries", f"{KEPT}")


def endings(context: Context) -> Result:
    """F32: topics end, and retention takes everything of them (attack C14)."""
    engine = f"sqlite:///{context.folder}/events.db"
    with Served(context.folder, engine, *OPTIONS) as hub:
        ended = end_all(hub)
        fill(hub, (b'{"topic": "other", "data": "x"}\n' * 1_000 for _ in range(2 * KEPT // 1_000)))
        before = refused(hub)
        hub.kill()
        hub.start()
        return Result(
            happened=ended,
            unit="topics ended and trimmed, then a kill -9",
            acked=ended,
            figures=[f"memory {hub.memory() / 2**20:.0f} MiB after the restart"],
            bars=[
                exactly("topics ended", ended, ENDED),
                exactly("publishes to them", before, "all 409 topic_ended"),
                exactly("after the restart", refused(hub), "all 409 topic_ended"),
            ],
        )


def end_all(hub: Served) -> int:
    """End the topics on many connections at once; return how many ends were acknowledged."""
    done = 0
    with contextlib.ExitStack() as stack:
        socks = [
            stack.enter_context(socket.create_connection((hub.host, hub.port), TIMEOUT))
            for _ in range(CONNECTIONS)
        ]
        for start in range(0, ENDED, CONNECTIONS * PIPELINED):
            for number, sock in enumerate(socks):
                first = start + number * PIPELINED
                sock.sendall(b"".join(REQUEST % name for name in range(first, first + PIPELINED)))
            done += sum(map(acks, socks))
    return done


def acks(sock: socket.socket) -> int:
    """Read the answers to what was sent together. Raises `RuntimeError` if an end was refused."""
    answers = b""
    while answers.count(b'"id":"') < PIPELINED:
        data = sock.recv(1 << 18)
        answers += data
        if not data or b'"code"' in answers:
            raise RuntimeError(f"not ended: {answers[-500:]!r}")
    return PIPELINED


def refused(hub: Served) -> str:
    """Publish to topics that have ended, and say how that was answered."""
    answers = []
    for place in PLACES:
        status, answer = hub.post(f"/events/run/{int(place * ENDED)}", b"again")
        answers.append(f"{status} {json.loads(answer).get('code', '')}".strip())
    return f"all {answers[0]}" if len(set(answers)) == 1 else ", ".join(answers)


FAULTS = [Fault("F32", "110,000 topics ended and trimmed, then a restart", "full", endings)]
