"""Engines by their URLs: which there are, what is missing, and what is shown of a URL."""

from __future__ import annotations

import sys

import pytest

from tidewire.engines.by_url import ENGINES, make_engine, without_password
from tidewire.errors import InvalidInput
from tidewire.settings import Settings


def test_a_missing_driver_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    monkeypatch.setitem(ENGINES, "other", "redis.not_imported_yet:Engine")
    with pytest.raises(InvalidInput) as refusal:
        make_engine("other://localhost", Settings())
    assert refusal.value.code == "invalid_engine"
    assert "pip install 'tidewire[redis]'" in refusal.value.detail


def test_another_missing_module_is_an_error_of_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENGINES, "other", "no_such_module:Engine")
    with pytest.raises(ModuleNotFoundError):
        make_engine("other://localhost", Settings())


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost:6379/1", "redis://localhost:6379/1"),
        ("redis://:secret@localhost", "redis://:***@localhost"),
        ("rediss://ann:se:cr@et@[::1]:1/2?prefix=a", "rediss://ann:***@[::1]:1/2?prefix=a"),
        ("unix:///run/redis.sock?password=secret&db=1", "unix:///run/redis.sock?password=***&db=1"),
        ("redis://h/?a=1&sentinel_Password=secret", "redis://h/?a=1&sentinel_Password=***"),
        ("sqlite:///a b.db", "sqlite:///a b.db"),
        ("memory", "memory"),
    ],
)
def test_a_password_is_not_shown(url: str, shown: str) -> None:
    assert without_password(url) == shown
