"""A real server for the tests of this folder, and the URL of a log of each test's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.redis_server import RedisServer, redis_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def url(server: RedisServer, request: pytest.FixtureRequest) -> str:
    return server.log_url(request.node.name.partition("[")[0])
