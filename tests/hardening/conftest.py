"""The hub that the tests attack: on our own server, to which all rows apply."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.ways import Served, served


@pytest.fixture(scope="module")
def hub() -> Iterator[Served]:
    """A hub with the default limits, which accepts any host name and one other origin."""
    with served("takeover", allowed_origins=["https://friend.example"]) as running:
        yield running
