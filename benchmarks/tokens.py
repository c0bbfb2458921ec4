"""The rows of the table for runs: what a token costs its producer, and when a viewer has it."""

from __future__ import annotations

import json
import re
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

from benchmarks.load import TIMEOUT, Lost, head
from benchmarks.measure import Size
from benchmarks.process import ROOT, Server, take_server_core
from benchmarks.publishing import in_ms, p99
from benchmarks.systems import OUR_PROTOCOL, uvicorn
from benchmarks.table import Bar, Row

Say = Callable[[str], None]

EVERY = 0.01
TOKEN = re.compile(rb"^data: ([0-9]+\.[0-9]+)\n", re.MULTILINE)
LOGS = {"memory": "memory", "sqlite": "sqlite:///{folder}/log.db"}


def rows(size: Size, say: Say) -> Iterator[Row]:
    yield cost_row(size, say)
    yield delay_row(size, say)


def cost_row(size: Size, say: Say) -> Row:
    loop, threads, texts, commits, bare = {}, {}, [], [], []
    for name, log in LOGS.items():
        say(f"cost of a token, {name}")
        with tempfile.TemporaryDirectory() as folder:
            found = costs(log.format(folder=folder), size)
            loop[name], threads[name] = (
                median(made[which] - alone[which] for alone, made in found) * 1e6 for which in (0, 1)
            )
            bare += [alone[0] for alone, _ in found]
            commits = [cpu for _, cpu in bare_commits(folder, size.delays)]
        texts.append(f"{name} {loop[name]:.0f} us on the event loop, {threads[name]:.0f} us with all threads")
    return Row(
        "a run of 100 tokens a second: CPU per token, beyond that of the producer",
        "; ".join(texts),
        f"the producer alone {median(bare) * 1e6:.0f} us; "
        f"SQLite alone, a commit of one row {median(commits) * 1e6:.0f} us",
        [
            Bar(f"{name} <= 1 % of a core", us * 100 / 1e6 * 100, 1, "%")
            for name, us in (
                ("memory", threads["memory"]),
                ("sqlite, event loop", loop["sqlite"]),
                ("sqlite, all threads", threads["sqlite"]),
            )
        ],
    )


def costs(log: str, size: Size) -> list[list[list[float]]]:
    command = [sys.executable, "-m", "benchmarks.servers.tokens", log, str(size.delays), str(size.rounds)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, preexec_fn=take_server_core)
    found: list[list[list[float]]] = json.loads(done.stdout)
    return found


def bare_commits(folder: str, count: int) -> Iterator[tuple[float, float]]:
    """Commit one row after another, 100 a second; yield the seconds that each took, and its CPU seconds."""
    db = sqlite3.connect(Path(folder) / "bare.db", isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("CREATE TABLE entries (offset INTEGER PRIMARY KEY, topic TEXT, time REAL, data TEXT)")
    for number in range(count):
        start, cpu = time.perf_counter(), time.thread_time()
        db.execute("BEGIN IMMEDIATE")
        db.execute("INSERT INTO entries VALUES (?, 'bench', ?, 'token')", (number, start))
        db.execute("COMMIT")
        yield time.perf_counter() - start, time.thread_time() - cpu
        time.sleep(EVERY)
    db.close()


def delay_row(size: Size, say: Say) -> Row:
    texts, bars, commits = [], [], [0.0]
    for name, log in LOGS.items():
        say(f"from token to viewer, {name}")
        delays = []
        with Server(f"env TOKENS_LOG={log} {uvicorn('tokens:app', OUR_PROTOCOL)}") as server:
            for _ in range(size.repeats):
                delays += viewed(server.port, size.delays)
                if name == "sqlite":
                    folder = tempfile.mkdtemp(dir=server.folder.name)
                    commits += [took for took, _ in bare_commits(folder, size.delays)]
        texts.append(f"{name} {in_ms(delays)}")
        beyond = max(0.0, p99(delays) - p99(commits))
        bars.append(Bar(f"{name}: p99 beyond the commit <= 20 ms", beyond * 1e3, 20, "ms"))
    title = "a run of 100 tokens a second: from a token to its viewer"
    return Row(title, ", ".join(texts), f"SQLite alone, a commit of one row {in_ms(commits)}", bars)


def viewed(port: int, count: int) -> list[float]:
    """Start a run and view it; return how long each token took. Raises `Lost` if one did not come."""
    found: list[float] = []
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT) as sock:
        sock.sendall(head("POST", f"/{count}", port, "Content-Length: 0\r\n"))
        received, ended = b"", False
        while not ended:
            data = sock.recv(65536)
            if not data:
                raise Lost(f"the stream ended: {received[-300:]!r}")
            now, received = time.perf_counter(), received + data
            for token in TOKEN.finditer(received):
                found.append(now - float(token[1]))
            ended = b"event: run." in received
            received = received[received.rfind(b"\n\n") + 1 :]
    if len(found) != count:
        raise Lost(f"{len(found)} of {count} tokens came")
    return found
