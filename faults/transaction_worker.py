"""
A process with a hub on PostgreSQL that publishes within transactions: a third of them are rolled back.

    python -m faults.transaction_worker URL NAME FIRST LAST

Each transaction also writes a row of a table `done`, with the number of the transaction that was newest there
when it published. It prints "done" at the end, and goes on to move what others put into the outbox.
"""

from __future__ import annotations

import asyncio
import sys

import psycopg

from tidewire import Hub


async def run(url: str, name: str, first: int, last: int) -> None:
    hub = Hub(url)
    async with hub.lifespan():
        async with await psycopg.AsyncConnection.connect(url) as connection:
            for number in range(first, last):
                row = await (await connection.execute("SELECT array_agg(name) FROM done")).fetchone()
                before = (row and row[0]) or []
                await hub.publish(f"t/{name}", f"{name}.{number}", connection=connection)
                await connection.execute("INSERT INTO done VALUES (%s, %s)", (f"{name}.{number}", before))
                await (connection.rollback() if number % 3 == 0 else connection.commit())
        print("done", flush=True)
        await asyncio.Event().wait()


asyncio.run(run(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
