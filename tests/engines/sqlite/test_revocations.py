"""Kicks and revocations on one log file: they reach every process, and outlive all of them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from support.log_workers import LogWorker, Refused, log_workers
from support.waiting import wait_until

LIMIT = 5.0  # seconds, promise G10


def wait_ended(worker: LogWorker, name: str, reason: str) -> None:
    wait_until(lambda: worker.ask("auth", name) == [[reason], True])


def test_a_kick_reaches_every_process(tmp_path: Path) -> None:
    with log_workers(tmp_path / "log.db", 3) as workers:
        for worker in workers:
            for number in range(3):
                worker.ask("subscribe_as", f"ann{number}", {"sub": "ann"})
            worker.ask("subscribe_as", "bob", {"sub": "bob"})
        began = time.monotonic()
        workers[0].ask("kick", "ann", "logged out")
        for worker in workers:
            for number in range(3):
                wait_ended(worker, f"ann{number}", "logged out")
        assert time.monotonic() - began < LIMIT
        workers[1].ask("publish", "a", ["1"])
        for worker in workers:
            worker.wait_seen("bob", "1")
            worker.ask("subscribe_as", "again", {"sub": "ann"})
            assert worker.ask("auth", "again") == [[], False]


def test_a_revocation_reaches_every_process_and_those_that_come_later(tmp_path: Path) -> None:
    token, session = {"jti": "t1"}, {"sub": "ann", "iat": time.time() - 60}
    with log_workers(tmp_path / "log.db", 2) as workers:
        for worker in workers:
            worker.ask("subscribe_as", "token", token)
            worker.ask("subscribe_as", "session", session)
        workers[0].ask("revoke", {"jti": "t1", "until": time.time() + 3600})
        workers[1].ask("revoke", {"sub": "ann"})
        for worker in workers:
            wait_ended(worker, "token", "revoked")
            wait_ended(worker, "session", "revoked")
        workers[0].kill()
        check_refused(workers[1], token, session)
    with log_workers(tmp_path / "log.db", 1) as (worker,):
        check_refused(worker, token, session)
        worker.ask("subscribe_as", "new login", {"sub": "ann", "iat": time.time() + 60})


def test_a_revocation_outlives_its_entry(tmp_path: Path) -> None:
    with log_workers(tmp_path / "log.db", 2, retention_entries=10) as workers:
        workers[0].ask("revoke", {"jti": "t1"})
        workers[0].ask("publish", "a", ["x"] * 100)
        check_refused(workers[1], {"jti": "t1"})
    with log_workers(tmp_path / "log.db", 1, retention_entries=10) as (worker,):
        check_refused(worker, {"jti": "t1"})


def check_refused(worker: LogWorker, *whose: dict[str, object]) -> None:
    for one in whose:
        with pytest.raises(Refused, match="token_revoked"):
            worker.ask("subscribe_as", "again", one)
