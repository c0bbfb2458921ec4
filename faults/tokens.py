"""Tokens that expire or are revoked while their streams are open: F23."""

from __future__ import annotations

import json
import random
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jwt

from faults.load import TOPIC, Load, RawStream, ended, lost
from faults.scenario import Context, Fault, Result, at_most, exactly
from faults.served import several

RATE = 40.0
SIZE = 200
TIMEOUT = 20.0
# Seconds after its `exp` in which a stream ends, and after a revocation on any process (promise G10). The
# first has more room in the smoke tier, which runs among other tests.
EXPIRED = {"smoke": 5.0, "full": 1.0, "soak": 1.0}
REVOKED = 5.0
HOUR = 3600.0


@dataclass
class Session:
    """One stream and its token; `over` is when that ends on the monotonic clock."""

    stream: RawStream
    token: str
    jti: str
    over: float


class Sessions:
    """Streams with a token each, spread over the processes of one log."""

    def __init__(self, load: Load, addresses: Sequence[tuple[str, int]], secret: str) -> None:
        self._load, self._addresses, self._secret = load, addresses, secret
        self._count = 0

    def token(self, until: float, **claims: Any) -> str:
        own = {"subscribe": [TOPIC], "admin": claims.pop("admin", False)}
        given = {"iat": time.time(), "exp": until, "tidewire": own, **claims}
        return jwt.encode(given, self._secret, "HS256")

    def open(self, seconds: float) -> Session:
        """Open a stream whose token lives for `seconds`."""
        self._count += 1
        jti, until = f"token-{self._count}", time.time() + seconds
        token = self.token(until, jti=jti, sub=f"user-{self._count}")
        return Session(self._ask(token), token, jti, time.monotonic() + seconds)

    def open_again(self, session: Session) -> RawStream:
        """Ask with the same token, and from the last id, as a client does that reconnects."""
        return self._ask(session.token, session.stream.last_event_id)

    def _ask(self, token: str, last_event_id: str = "") -> RawStream:
        address = self._addresses[self._count % len(self._addresses)]
        (stream,) = self._load.open(1, last_event_id, address, token)
        return stream


def tokens_end(context: Context) -> Result:
    """F23: tokens expire at random, and others are revoked at one of two processes."""
    count, longest = (40, 6.0) if context.smoke else (100, 30.0)
    secret = secrets.token_urlsafe(32)
    key = context.folder / "hub.key"
    key.write_text(secret)
    engine = f"sqlite:///{context.folder}/events.db"
    options = ("--token-key", str(key), "--anonymous-publish", TOPIC)
    with several(context.folder, engine, 2, *options) as (one, other), Load((one.host, one.port)) as load:
        sessions = Sessions(load, [(hub.host, hub.port) for hub in (one, other)], secret)
        steady = load.publish(RATE, SIZE)
        lasting = [sessions.open(HOUR) for _ in range(count // 10)]
        expiring = [sessions.open(random.uniform(1.5, longest)) for _ in range(count)]
        revoked = [sessions.open(HOUR) for _ in range(count // 5)]
        load.run(longest / 2)
        admin = {"Authorization": f"Bearer {sessions.token(time.time() + HOUR, admin=True)}"}
        for session in revoked:
            body = json.dumps({"jti": session.jti, "until": time.time() + HOUR}).encode()
            status, _ = one.post("/revocations", body, headers=admin)
            assert status == 204, status
            session.over = time.monotonic()
            load.run(0.02)
        gone = [*expiring, *revoked]
        load.run(longest + TIMEOUT, lambda: all(session.stream.ended_at for session in gone))
        again = [sessions.open_again(session) for session in gone]
        load.run(TIMEOUT, lambda: all(stream.ended_at for stream in again))
        load.settle()
        streams = [session.stream for session in (*lasting, *gone)]
        return Result(
            happened=ended(session.stream for session in gone),
            unit="tokens that ended",
            acked=len(steady.acks),
            figures=[f"{sum(stream.events for stream in streams)} events read"],
            bars=[
                at_most("ended after the end of its token", max(map(late, expiring)), EXPIRED[context.tier]),
                at_most("ended before it", max(-late(session) for session in expiring), 0.01),
                at_most("ended after a revocation, on both processes", max(map(late, revoked)), REVOKED),
                exactly("not told why", sum(not session.stream.told for session in gone), 0),
                exactly("events after that", sum(stream.after_auth for stream in streams), 0),
                exactly("let in again", sum(stream.status != 401 for stream in again), 0),
                exactly("other streams ended", ended(session.stream for session in lasting), 0),
                exactly("events lost", lost(streams, steady.acks), 0),
                exactly("repeats", sum(stream.repeats for stream in streams), 0),
                exactly("malformed", [stream.malformed for stream in streams if stream.malformed], []),
            ],
        )


def late(session: Session) -> float:
    """Return how many seconds after the end of its token a stream has ended."""
    return (session.stream.ended_at or time.monotonic()) - session.over


FAULTS = [
    Fault("F23", "tokens expire at random and are revoked, two processes on one log", "smoke", tokens_end)
]
