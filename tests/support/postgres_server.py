"""Real PostgreSQL servers: one for each version that is installed, started once per test process."""

from __future__ import annotations

import functools

from faults.postgres_server import installed

from faults import postgres_server as faults
from support.endings import AT_END

VERSIONS = sorted(installed())


class PostgresServer(faults.PostgresServer):
    """A server that is quick, and not safe from a power cut."""

    def __init__(self, version: int, **settings: str) -> None:
        super().__init__(version, fsync="off", **settings)


@functools.cache
def postgres_server(version: int) -> PostgresServer:
    """Return the server of that version which the tests of this process share. It ends with the run."""
    server = PostgresServer(version)
    AT_END.callback(server.remove)
    return server
