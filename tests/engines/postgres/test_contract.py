"""The engine on PostgreSQL passes the suite that admits an engine, on each server that is installed."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

pytest.importorskip("psycopg")

from support.postgres_server import VERSIONS, postgres_server
from tidewire.engines.postgres import PostgresEngine, retention
from tidewire.log.engine import Engine
from tidewire.settings import Settings
from tidewire.testing.contract import EngineContract


class OnPostgres:
    version: ClassVar[int]
    clocked = True
    reborn = False

    @pytest.fixture(autouse=True)
    def _database(self, monkeypatch: pytest.MonkeyPatch) -> None:
        server = postgres_server(self.version)
        self.url = server.url(server.new_database())
        # A dozen of these tests wait this long.
        monkeypatch.setattr(retention, "TRIM_EVERY", 0.05)

    async def new_engine(self, settings: Settings, **options: Any) -> Engine:
        return PostgresEngine(self.url, settings, options["clock"])

    async def kill(self, engine: Engine) -> None:
        """End its connections without a word, which is what the server sees of a crash."""
        assert isinstance(engine, PostgresEngine)
        for link in engine._links:
            link.abandon()
        await engine.close()


@pytest.mark.skipif(18 not in VERSIONS, reason="PostgreSQL 18 is not installed")
class TestPostgres18(OnPostgres, EngineContract):
    version = 18


@pytest.mark.slow
@pytest.mark.skipif(15 not in VERSIONS, reason="PostgreSQL 15 is not installed")
class TestPostgres15(OnPostgres, EngineContract):
    version = 15
