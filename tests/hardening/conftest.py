"""The hub that the tests attack: both ways to the socket, with memory and with SQLite."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.ways import Served, served, tracebacks

# A way to the socket and an engine. Each is in one of them: all four would take twice as long.
KINDS = [("takeover", "memory"), ("uvicorn", "sqlite")]


@pytest.fixture(scope="module", params=KINDS, ids="-".join)
def kind(request: pytest.FixtureRequest) -> tuple[str, str]:
    way, engine = request.param
    return way, engine


@pytest.fixture(scope="module")
def url(kind: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of the engine."""
    return "memory" if kind[1] == "memory" else f"sqlite:///{tmp_path_factory.mktemp('log')}/log.db"


@pytest.fixture(scope="module")
def hub(kind: tuple[str, str], url: str) -> Iterator[Served]:
    """A hub with the default limits, which accepts any host name and one other origin."""
    with served(kind[0], url=url, allowed_origins=["https://friend.example"]) as running:
        yield running
        assert tracebacks(running.process.output) == 0
