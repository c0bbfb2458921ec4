"""
The makers of page one, one per page view, and the faults its buttons cause.

In hub mode a view is a topic `demo/<name>`. Its maker works while the topic has a
stream and 10 seconds longer, so that one that was cut off finds something to
replay; then, or after the last event, the topic is ended. In the article's way
the maker is a generator, and closing the stream closes it. Nothing is kept of a
view but a few numbers for its page, and those for a minute.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from random import Random
from typing import Any

from ..delivery.subscriber import Subscriber, Wire
from ..errors import NotFound, TidewireError
from ..event_stream import Event
from ..hub import Hub
from .makers import random_events

PREFIX = "demo/"
GRACE = 10.0
KEPT = 60.0
SILENCE = 10.0
REFUSAL = 5.0


class View:
    """What was made for one page view, and what its connections said and were told."""

    def __init__(self, topic: str, of: int) -> None:
        self.topic = topic
        self.of = of
        self.made = 0
        self.made_before = 0  # how many were made when its stream could take them, at first or again
        self.maker = "waiting"  # then working, and at the end done or stopped
        self.connections = 0
        self.last_event_id: str | None = None
        self.retry: int | None = None
        self.silent_until = 0.0
        self.refused_until = 0.0
        self.stops_at: float | None = None
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None

    @property
    def over(self) -> bool:
        return self.maker in ("done", "stopped")

    def connected(self, last_event_id: str | None, retry: int | None) -> None:
        """Note what a new stream brought and what it was sent."""
        self.connections += 1
        self.last_event_id = last_event_id
        self.retry = retry
        self.made_before = self.made

    def status(self, now: float) -> dict[str, Any]:
        fault = "refuse" if now < self.refused_until else "silent" if now < self.silent_until else None
        return {
            "made": self.made,
            "of": self.of,
            "made_before": self.made_before,
            "maker": self.maker,
            "stops_in": None if self.stops_at is None else max(0, math.ceil(self.stops_at - now)),
            "connections": self.connections,
            "last_event_id": self.last_event_id,
            "retry": self.retry,
            "fault": fault,
        }


class Views:
    """All page views of one server."""

    def __init__(self, hub: Hub, seed: int | None, interval: float, events: int) -> None:
        self.hub = hub
        self.seed = seed
        self.interval = interval
        self.events = events
        self.articles = 0  # streams of the article's way that are open now
        self._views: dict[str, View] = {}
        self._ends: set[asyncio.Task[Any]] = set()
        hub.on_first(f"{PREFIX}*")(self._arrived)
        hub.on_last(f"{PREFIX}*")(self._left)

    def __len__(self) -> int:
        return len(self._views)

    def get(self, topic: str) -> View | None:
        return self._views.get(topic)

    def open(self, topic: str) -> View:
        """Return the view of a topic that is asked for. If no stream comes of it, it is soon forgotten."""
        view = self._views.get(topic)
        if view is None:
            view = self._views[topic] = View(topic, self.events)
            self._forget_later(view)
        return view

    # -- the hub's way

    def _arrived(self, topic: str) -> None:
        view = self.open(topic)
        if view.over:
            return
        self._keep(view)
        view.stops_at = None
        if view.task is None:
            view.maker = "working"
            view.task = asyncio.create_task(self._make(view))

    def _left(self, topic: str) -> None:
        view = self._views.get(topic)
        if view is None or view.over:
            return
        loop = asyncio.get_running_loop()
        self._keep(view)
        view.stops_at = loop.time() + GRACE
        view.timer = loop.call_later(GRACE, self._abandon, view)

    def _abandon(self, view: View) -> None:
        if view.task is not None:
            view.task.cancel()
        self._over(view, "stopped")
        # Whoever comes back later still is told that it is over, instead of waiting for ever.
        task = asyncio.create_task(self.hub.end(view.topic, "left"))
        self._ends.add(task)
        task.add_done_callback(self._ends.discard)

    async def _make(self, view: View) -> None:
        try:
            for event in random_events(self._random(), view.of):
                await self.hub.publish(view.topic, event.data, event=event.event)
                view.made += 1
                await asyncio.sleep(self.interval)
            await self.hub.end(view.topic, "complete")
        except TidewireError:
            # The topic was ended by somebody else, or the process stops.
            self._over(view, "stopped")
        else:
            self._over(view, "done")

    # -- the article's way

    async def article(self, view: View) -> AsyncIterator[Event]:
        """Make the events of one stream. The last has the id -1: there the page may close."""
        view.made = 0
        view.maker = "working"
        self.articles += 1
        self._keep(view)
        how = "stopped"
        try:
            for event in random_events(self._random(), view.of):
                view.made += 1
                yield event
                await asyncio.sleep(self.interval)
            yield Event("That was the last one.", id="-1")
            how = "done"
        finally:
            self.articles -= 1
            self._over(view, how)

    # -- breaking things

    async def drop(self, topic: str) -> float:
        """Reset the connections of a view's streams."""
        for _, wire in await self._streams(self._existing(topic)):
            wire.abort()
        return 0

    async def silence(self, topic: str) -> float:
        """Hold back all bytes of a view's streams for some seconds; return how many."""
        view, loop = self._existing(topic), asyncio.get_running_loop()
        view.silent_until = loop.time() + SILENCE
        for subscriber, _ in await self._streams(view):
            subscriber.pause_writing()
            loop.call_later(SILENCE, self._speak, view, subscriber)
        return SILENCE

    def _speak(self, view: View, subscriber: Subscriber) -> None:
        if subscriber.open:
            view.made_before = view.made
            subscriber.resume_writing()

    async def refuse(self, topic: str) -> float:
        """End a view's streams and turn new ones away for some seconds; return how many."""
        view = self._existing(topic)
        view.refused_until = asyncio.get_running_loop().time() + REFUSAL
        for _, wire in await self._streams(view):
            wire.end()
        return REFUSAL

    def _existing(self, topic: str) -> View:
        if (view := self._views.get(topic)) is None:
            raise NotFound("there is no such page view")
        return view

    async def _streams(self, view: View) -> list[tuple[Subscriber, Wire]]:
        node = await self.hub.open()
        return [(found, found.wire) for found in node.subscribers_of(view.topic) if found.wire]

    # -- the life of a view

    def _random(self) -> Random:
        # Each view begins at the seed, so that what one page shows does not depend on the others.
        return Random(self.seed)

    def _keep(self, view: View) -> None:
        if view.timer is not None:
            view.timer.cancel()
            view.timer = None

    def _over(self, view: View, how: str) -> None:
        view.maker = how
        view.stops_at = None
        self._forget_later(view)

    def _forget_later(self, view: View) -> None:
        self._keep(view)
        view.timer = asyncio.get_running_loop().call_later(KEPT, self._views.pop, view.topic, None)
