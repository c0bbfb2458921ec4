"""
A program with a hub on a log that other processes share.

    light_worker.py FILE publish COUNT     publish COUNT events, 50 a second; print how long each took
    light_worker.py FILE hold              keep Python's lock most of the time, and publish meanwhile
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time

from tidewire import Hub

EVERY = 0.02
# A sum that runs in C, and keeps the lock, for a tenth of a second or more.
LONG = 5_000_000


def keep_lock() -> None:
    while True:
        sum(range(LONG))


async def publish(hub: Hub, count: int) -> list[float]:
    took = []
    for _ in range(count):
        begun = time.perf_counter()
        await hub.publish("light", "x" * 100)
        took.append(time.perf_counter() - begun)
        await asyncio.sleep(EVERY)
    return took


async def main(file: str, what: str, count: str = "0") -> None:
    hub = Hub(f"sqlite:///{file}")
    await publish(hub, 5)
    if what == "publish":
        print(json.dumps(await publish(hub, int(count))), flush=True)
        await hub.close()
    else:
        threading.Thread(target=keep_lock, daemon=True).start()
        print("ready", flush=True)
        await publish(hub, 1_000_000)


asyncio.run(main(*sys.argv[1:]))
