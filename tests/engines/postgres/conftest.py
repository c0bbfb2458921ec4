"""A real server for the tests of this folder, and the URL of an empty database of each test's own."""

from __future__ import annotations

import pytest

from support.postgres_server import VERSIONS, PostgresServer, postgres_server

pytest.importorskip("psycopg")


@pytest.fixture
def server() -> PostgresServer:
    if not VERSIONS:
        pytest.skip("PostgreSQL is not installed")
    return postgres_server(VERSIONS[-1])


@pytest.fixture
def url(server: PostgresServer) -> str:
    return server.url(server.new_database())
