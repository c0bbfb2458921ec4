"""The programs and the SQL of docs/how-to/postgres.md run on a real server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import httpx2
import pytest

from support.documents import blocks, code_spans, serving
from support.postgres_server import VERSIONS, PostgresServer, postgres_server
from support.waiting import wait_until
from tidewire.client.sync import connect

pytest.importorskip("psycopg")

PAGE = "docs/how-to/postgres.md"
(SET_UP, GRANTS) = (block.text for block in blocks("sql", PAGE))
(FASTAPI, DJANGO) = (
    block.text for block in blocks("py", PAGE) if block.section == "publish-within-a-transaction"
)
(BY_HAND,) = (span for span in code_spans(PAGE) if span.startswith("INSERT INTO"))

# What the page takes for granted: a program's own role and table.
PROGRAM = """
CREATE ROLE app LOGIN;
CREATE TABLE orders (id integer PRIMARY KEY, status text);
ALTER TABLE orders OWNER TO app;
INSERT INTO orders VALUES (7, 'open'), (8, 'open');
"""

# A project of Django around the lines of the page, with a hub that is open meanwhile.
PROJECT = """
import asyncio, sys
import django
from django.conf import settings

port, name = sys.argv[1:]
settings.configure(DATABASES={"default": {
    "ENGINE": "django.db.backends.postgresql", "HOST": "127.0.0.1", "PORT": port, "NAME": name, "USER": "app",
}})
django.setup()
from django.db import models
from tidewire import Hub

class Order(models.Model):
    status = models.TextField()
    class Meta:
        app_label, db_table, managed = "shop", "orders", False

hub, id = Hub(f"postgresql://tidewire@127.0.0.1:{port}/{name}"), 8
async def main():
    async with hub.lifespan():
        await asyncio.to_thread(exec, sys.stdin.read(), {"Order": Order, "hub": hub, "id": id})
asyncio.run(main())
"""


class Database:
    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self.name = server.new_database()

    def sql(self, text: str) -> str:
        return self.server.sql(self.name, text)


@pytest.fixture
def database() -> Iterator[Database]:
    if not VERSIONS:
        pytest.skip("PostgreSQL is not installed")
    # A server of its own would take longer. Roles belong to the whole server.
    database = Database(postgres_server(VERSIONS[-1]))
    database.sql(SET_UP)
    database.sql(PROGRAM)
    try:
        yield database
    finally:
        database.server.end_connections(database.name)
        database.sql("DROP OWNED BY app, tidewire; DROP ROLE app, tidewire")


def test_the_page(database: Database) -> None:
    place = f"127.0.0.1:{database.server.port}/{database.name}"
    program: dict[str, object] = {}
    exec(compile(FASTAPI.replace("db.example/app", place), PAGE, "exec"), program)
    with serving(program["app"]) as url, connect(f"{url}/orders/7/events") as stream:
        events = iter(stream)
        # The hub has made its tables by now.
        database.sql(GRANTS)
        httpx2.post(f"{url}/orders/7/pay").raise_for_status()
        event = next(events)
        assert (event.event, event.json()) == ("status", {"status": "paid"})
        database.sql(f"SET ROLE app; {BY_HAND}")
        assert next(events).data == "paid"
        with connect(f"{url}/orders/8/events") as other:
            command = [sys.executable, "-c", PROJECT, str(database.server.port), database.name]
            subprocess.run(command, input=DJANGO, text=True, check=True)
            event = next(iter(other))
            assert (event.event, event.json()) == ("status", {"status": "paid"})
    wait_until(lambda: database.sql("SELECT count(*) FROM tidewire.outbox") == "0")
    assert database.sql("SELECT DISTINCT status FROM orders") == "paid"
