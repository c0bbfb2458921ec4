"""
What a program without Tidewire does on the same server: one process adds, another one reads what is new.

    python -m benchmarks.servers.bare_loop URL read COUNT          print the delays of COUNT entries
    python -m benchmarks.servers.bare_loop URL add BATCH SECONDS   print the entries per second

Redis: XADD, and XREAD that blocks. PostgreSQL: INSERT and NOTIFY in one transaction, which is sent at once;
LISTEN, and a SELECT of what is new. Each entry has a topic and its data; for the delays, when it was added.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from typing import Protocol

from benchmarks.load import DATA

DATA_TEXT = DATA.decode()


class Loop(Protocol):
    def add(self, batch: list[str]) -> None:
        """Store the entries together, and return when they are acknowledged."""

    def read(self) -> Iterator[list[str]]:
        """Yield what is new, as it comes; first an empty list, when it is ready."""


class Redis:
    def __init__(self, url: str) -> None:
        import redis

        self._redis = redis.Redis.from_url(url, socket_timeout=None)

    def add(self, batch: list[str]) -> None:
        if len(batch) == 1:
            self._redis.xadd("bare", {"topic": "bench", "data": batch[0]})
            return
        pipeline = self._redis.pipeline(transaction=False)
        for data in batch:
            pipeline.xadd("bare", {"topic": "bench", "data": data})
        pipeline.execute()

    def read(self) -> Iterator[list[str]]:
        newest = self._redis.xrevrange("bare", count=1)
        last = newest[0][0] if newest else "0"
        yield []
        while True:
            found = self._redis.xread({"bare": last}, block=0, count=200)
            entries = found[0][1] if isinstance(found, list) else next(iter(found.values()))[0]
            last = entries[-1][0]
            yield [fields[b"data"].decode() for _, fields in entries]


class Postgres:
    INSERT = "INSERT INTO bare (topic, data) SELECT 'bench', unnest(%s::text[])"
    NEW = 'SELECT "offset", data FROM bare WHERE "offset" > %s ORDER BY "offset"'

    def __init__(self, url: str) -> None:
        import psycopg

        self._db = psycopg.connect(url, autocommit=True)
        self._db.execute(
            'CREATE TABLE IF NOT EXISTS bare ("offset" bigserial PRIMARY KEY, topic text, data text,'
            " time timestamptz DEFAULT clock_timestamp())"
        )

    def add(self, batch: list[str]) -> None:
        with self._db.pipeline():
            self._db.execute("BEGIN")
            self._db.execute(self.INSERT, (batch,))
            self._db.execute("NOTIFY bare")
            self._db.execute("COMMIT")

    def read(self) -> Iterator[list[str]]:
        self._db.execute("LISTEN bare")
        (last,) = self._db.execute('SELECT coalesce(max("offset"), 0) FROM bare').fetchone() or (0,)
        yield []
        while True:
            for _ in self._db.notifies(stop_after=1):
                pass
            if rows := self._db.execute(self.NEW, (last,)).fetchall():
                last = rows[-1][0]
                yield [data for _, data in rows]


def loop(url: str) -> Loop:
    return Redis(url) if url.startswith("redis") else Postgres(url)


def read(url: str, count: int) -> None:
    found: list[float] = []
    for batch in loop(url).read():
        now = time.perf_counter()
        if not batch:
            print("ready", flush=True)
        found += [now - float(data.partition(" ")[0]) for data in batch]
        if len(found) >= count:
            break
    print(json.dumps(found), flush=True)


def add(url: str, size: int, seconds: float) -> None:
    bare, batch = loop(url), [DATA_TEXT] * size
    for _ in range(10):
        bare.add(batch)
    count, start = 0, time.monotonic()
    while time.monotonic() - start < seconds:
        bare.add(batch)
        count += size
    print(json.dumps(count / (time.monotonic() - start)), flush=True)


if __name__ == "__main__":
    _, where, what, *numbers = sys.argv
    if what == "read":
        read(where, int(numbers[0]))
    else:
        add(where, int(numbers[0]), float(numbers[1]))
