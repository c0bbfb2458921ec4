from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from tidewire.errors import InvalidInput
from tidewire.settings import ROWS, Settings


@pytest.mark.parametrize("name", ROWS)
def test_every_row_has_a_help_text_and_a_reason(name: str) -> None:
    row = ROWS[name]
    assert type(row.default) in (int, float)
    for text in (row.metadata["help"], row.metadata["why"]):
        assert text.endswith(".")
        assert len(text) > 8


@pytest.mark.parametrize("name", ROWS)
def test_every_row_has_a_minimum(name: str) -> None:
    row = ROWS[name]
    least = row.metadata["least"]
    Settings(**{name: least or 0})
    with pytest.raises(InvalidInput) as refusal:
        Settings(**{name: -1})
    assert refusal.value.code == "invalid_setting"
    assert name in refusal.value.detail
    if row.metadata["off"] is not None:
        assert getattr(Settings(**{name: 0}), name) == 0
    elif least > 0:
        with pytest.raises(InvalidInput):
            Settings(**{name: 0})


@pytest.mark.parametrize("value", [True, "5", None, math.nan, math.inf, 10**400, [], 5 + 0j])
@pytest.mark.parametrize("name", ["heartbeat", "max_batch"])
def test_values_that_are_not_numbers(name: str, value: Any) -> None:
    with pytest.raises(InvalidInput) as refusal:
        Settings(**{name: value})
    assert refusal.value.code == "invalid_setting"


def test_whole_numbers() -> None:
    assert Settings(heartbeat=5).heartbeat == 5  # an int is a number of seconds
    with pytest.raises(InvalidInput, match="whole number"):
        Settings(max_batch=5.5)  # type: ignore[arg-type]


def test_settings_from_texts() -> None:
    read = Settings.from_texts({"heartbeat": "5", "max_batch": "7", "drain": "0.5"})
    assert (read.heartbeat, read.max_batch, read.drain) == (5.0, 7, 0.5)
    assert read == Settings(heartbeat=5, max_batch=7, drain=0.5)
    assert Settings.from_texts({}) == Settings()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("max_batch", "5.5"),
        ("max_batch", ""),
        ("heartbeat", "often"),
        ("heartbeat", "nan"),
        ("drain", "-1"),
        ("max_batch", "9" * 400),
        ("max_batch", "9" * 4301),
    ],
)
def test_invalid_texts(name: str, text: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        Settings.from_texts({name: text})
    assert refusal.value.code == "invalid_setting"
    assert name in refusal.value.detail


def test_settings_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().heartbeat = 1  # type: ignore[misc]


def test_the_defaults() -> None:
    s = Settings()
    assert (s.retry, s.heartbeat, s.drain, s.max_age, s.max_age_portable) == (2, 15, 10, 3600, 600)
    assert (s.window_entries, s.window_bytes) == (10_000, 64 * 1024**2)
    assert (s.retention_entries, s.retention_bytes, s.retention_age) == (1_000_000, 1024**3, 86_400)
    assert (s.key_age, s.max_keys, s.max_topics) == (600, 1_000_000, 100)
    assert (s.max_event, s.max_body, s.max_batch, s.max_line) == (262_144, 1_048_576, 1_000, 262_144)
    assert (s.stuck_timeout, s.send_timeout, s.engine_timeout, s.max_publishes) == (30, 120, 4, 1_000)
    assert (s.head_timeout, s.body_timeout, s.line_timeout) == (10, 30, 30)
    assert (s.stream_rate, s.stream_burst, s.max_streams_per_address) == (200, 400, 100)
