"""
Publishing from sync code, after the transaction.

Rule 1: an event is checked, and its data written as text, when `publish_on_commit` is called. What is wrong
        with it is raised there, so that the transaction is rolled back.
Rule 2: where an ASGI server runs, its event loop publishes. Any other process, such as a management command
        or a worker of Celery, opens the log for each event, or posts it to the hub beside.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from functools import partial
from typing import Any

from django.db import transaction

from ...errors import StartRefused
from ...log.drafts import draft
from ...log.entries import Draft
from .configured import arguments, get_hub, get_publisher, hub_beside

logger = logging.getLogger("tidewire")

NO_SERVER = (
    "the log of this hub is in memory, and no ASGI server runs in this process: name a log file, or the URL "
    "of a hub beside, in settings.TIDEWIRE"
)

# The event loop of the ASGI server, once it has served a request.
_loop: asyncio.AbstractEventLoop | None = None
# Two threads may publish, each with an event loop of its own, and the hub is open on one at a time.
_alone = threading.Lock()


async def remember_loop(scope: object = None, **_: object) -> None:
    """Note the event loop of an ASGI server; under WSGI there is no `scope`."""
    global _loop
    if scope is not None:
        _loop = asyncio.get_running_loop()


def publish_on_commit(
    topic: str,
    data: Any = "",
    *,
    event: str = "message",
    retry: int | None = None,
    key: str | None = None,
    using: str | None = None,
) -> None:
    """
    Publish one event when the transaction is committed, and never if it is rolled back.

    Outside a transaction it is published at once. `using` is the name of the database; the other arguments
    are those of `Hub.publish`. Call it in sync code, as `transaction.atomic`. It waits until the log has the
    event. The data of the transaction is stored by then, so a publish that fails is logged as an error and
    not raised. Raises `InvalidInput`, `Reserved` or `TooLarge` if the event is not valid, and
    `StartRefused` if this process has nowhere to publish to.
    """
    beside = hub_beside()
    # A hub beside has a limit of its own.
    max_event = sys.maxsize if beside else get_hub().settings.max_event
    encoder = None if beside else arguments().get("encoder")
    item = draft(topic, data, event=event, retry=retry, key=key, max_event=max_event, encoder=encoder)
    if not beside and not is_served() and get_hub().durability == "memory":
        raise StartRefused(NO_SERVER)
    transaction.on_commit(partial(publish_committed, item), using=using)


def publish_committed(item: Draft) -> None:
    try:
        publish_now(item)
    except Exception:
        logger.exception("An event of %s was not published, and its transaction is committed", item.topic)


def publish_now(item: Draft) -> None:
    if hub_beside():
        get_publisher().publish(item.topic, item.data, event=item.event, retry=item.retry, key=item.key)
    elif _loop is not None and is_served():
        asyncio.run_coroutine_threadsafe(publish(item), _loop).result()
    else:
        with _alone:
            asyncio.run(publish_alone(item))


async def publish(item: Draft) -> None:
    await get_hub().publish(item.topic, item.data, event=item.event, retry=item.retry, key=item.key)


async def publish_alone(item: Draft) -> None:
    async with get_hub().lifespan():
        await publish(item)


def is_served() -> bool:
    """Whether an ASGI server runs in this process."""
    return _loop is not None and _loop.is_running()
