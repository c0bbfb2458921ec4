"""The hub that is attacked: on our own server, where every row holds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.ways import Served, served


@pytest.fixture(scope="module")
def hub() -> Iterator[Served]:
    """A hub with the default limits, which any page and any program may talk to."""
    with served("takeover", allowed_origins=["https://friend.example"]) as running:
        yield running
