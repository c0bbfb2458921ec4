"""Grants from a function of the program."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Mapping
from typing import Any

import pytest

from tidewire.auth import by_callable as module
from tidewire.auth.by_callable import MAX_THREADS, ByCallable
from tidewire.auth.grants import Grant
from tidewire.errors import TooMany, Unauthorized, Unavailable

GRANT = Grant(subscribe=["a"])
SCOPE: Mapping[str, Any] = {"type": "http", "headers": []}


class Object:
    async def __call__(self, scope: Mapping[str, Any]) -> Grant:
        return GRANT


async def asynchronous(scope: Mapping[str, Any]) -> Grant:
    return GRANT


def synchronous(scope: Mapping[str, Any]) -> Grant:
    assert threading.current_thread() is not threading.main_thread()
    return GRANT


@pytest.mark.parametrize("function", [asynchronous, synchronous, Object(), lambda scope: asynchronous(scope)])
async def test_what_it_may_be(function: Any) -> None:
    access = ByCallable(function)
    assert await access.grant(SCOPE) is GRANT
    assert access.remember(SCOPE) is None
    assert access.refusal(GRANT, "publish", "a").members == {"topic": "a", "grant": "publish"}


async def test_it_gets_the_scope() -> None:
    seen = []
    await ByCallable(lambda scope: seen.append(scope) or GRANT).grant(SCOPE)
    assert seen == [SCOPE]


async def test_none_is_nobody() -> None:
    with pytest.raises(Unauthorized) as refusal:
        await ByCallable(lambda scope: None).grant(SCOPE)
    assert refusal.value.code == "unauthorized"


async def test_its_own_refusal_is_passed_on() -> None:
    def refuse(scope: Mapping[str, Any]) -> Grant:
        raise TooMany("not so fast")

    with pytest.raises(TooMany):
        await ByCallable(refuse).grant(SCOPE)


def fail(scope: Mapping[str, Any]) -> Grant:
    raise RuntimeError("the secret of the database")


async def fail_later(scope: Mapping[str, Any]) -> Grant:
    raise TypeError("the secret of the database")


@pytest.mark.parametrize("function", [fail, fail_later, lambda scope: True, lambda scope: {"sub": "ada"}])
async def test_a_failure_is_503_and_says_nothing(function: Any, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(Unavailable) as refusal:
        await ByCallable(function).grant(SCOPE)
    assert refusal.value.code == "auth_unavailable"
    assert "secret" not in str(refusal.value.problem())
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


async def test_it_has_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 0.01)

    async def forever(scope: Mapping[str, Any]) -> Grant:
        await asyncio.Event().wait()
        return GRANT

    with pytest.raises(Unavailable):
        await ByCallable(forever).grant(SCOPE)


async def test_threads_are_bounded() -> None:
    running, most, lock = 0, 0, threading.Lock()

    def slow(scope: Mapping[str, Any]) -> Grant:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.005)
        with lock:
            running -= 1
        return GRANT

    access = ByCallable(slow)
    await asyncio.gather(*(access.grant(SCOPE) for _ in range(10 * MAX_THREADS)))
    assert most == MAX_THREADS
