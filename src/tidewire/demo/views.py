"""
The random events of page one, made for each page view, and the faults that its buttons cause.

In hub mode a view is a topic `demo/<name>`. Events are made while the topic has a
stream and for 10 seconds after that, so that a client that was cut off has something
to replay; then, or after the last event, the topic is ended. In classic mode the
events come from a generator, which is closed with its stream. Of a view only a few
numbers for its page are kept, and those for a minute. There is a view only once it has
had a stream, and only the newest are kept: anyone may make up names.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator
from random import Random
from typing import Any

from ..delivery.subscriber import Subscriber, Wire
from ..delivery.tasks import start
from ..errors import NotFound, TidewireError
from ..event_stream import Event
from ..hub import Hub
from .random_events import random_events

PREFIX = "demo/"
GRACE = 10.0  # seconds for which events are still made after the last stream has gone
KEPT = 60.0  # seconds for which the numbers of a finished view are kept
SILENCE = 10.0  # seconds of the fault "silent"
REFUSAL = 5.0  # seconds of the fault "refuse"
MOST_VIEWS = 500  # views kept, but for those that have a stream open


class View:
    """The events of one page view, and what its connections sent and received."""

    def __init__(self, topic: str, of: int) -> None:
        self.topic = topic
        self.of = of
        self.made = 0
        self.made_before = 0  # events made before its stream was last opened or unblocked
        self.generator = "waiting"  # then running, and at the end done or stopped
        self.watched = 0  # by streams that are open; in hub mode 1 stands for all of them
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
        return self.generator in ("done", "stopped")

    def connected(self, last_event_id: str | None, retry: int | None) -> None:
        """Record the id that a new stream sent and the `retry:` that it received."""
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
            "generator": self.generator,
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
        self.classic_streams = 0  # open now
        self._views: dict[str, View] = {}
        self._ends: set[asyncio.Task[Any]] = set()
        hub.on_first(f"{PREFIX}*")(self._on_first)
        hub.on_last(f"{PREFIX}*")(self._on_last)

    def __len__(self) -> int:
        return len(self._views)

    def get(self, topic: str) -> View | None:
        return self._views.get(topic)

    def open(self, topic: str) -> View:
        """Return the view of a topic that gets a stream, made if it is new."""
        view = self._views.get(topic)
        if view is None:
            self._make_room()
            view = self._views[topic] = View(topic, self.events)
            self._forget_later(view)
        return view

    # -- hub mode

    def _on_first(self, topic: str) -> None:
        view = self.open(topic)
        view.watched = 1
        if view.over:
            return
        self._cancel_timer(view)
        view.stops_at = None
        if view.task is None:
            view.generator = "running"
            view.task = start(self._publish(view))

    def _on_last(self, topic: str) -> None:
        view = self._views.get(topic)
        if view is None:
            return
        view.watched = 0
        if view.over:
            return
        loop = asyncio.get_running_loop()
        self._cancel_timer(view)
        view.stops_at = loop.time() + GRACE
        view.timer = loop.call_later(GRACE, self._abandon, view)

    def _abandon(self, view: View) -> None:
        if view.task is not None:
            view.task.cancel()
        self._finish(view, "stopped")
        # A client that reconnects after that gets the end instead of waiting forever.
        task = asyncio.create_task(self._end(view.topic))
        self._ends.add(task)
        task.add_done_callback(self._ends.discard)

    async def _end(self, topic: str) -> None:
        with contextlib.suppress(TidewireError):  # for example, the process is stopping
            await self.hub.end(topic, "left")

    async def _publish(self, view: View) -> None:
        try:
            for event in random_events(self._random(), view.of):
                await self.hub.publish(view.topic, event.data, event=event.event)
                view.made += 1
                await asyncio.sleep(self.interval)
            await self.hub.end(view.topic, "complete")
        except TidewireError:
            # Another client ended the topic, or the process is stopping.
            self._finish(view, "stopped")
        else:
            self._finish(view, "done")

    # -- classic mode

    async def classic(self, view: View) -> AsyncIterator[Event]:
        """Yield the events of one stream. The last one has the id -1, at which the page closes the stream."""
        view.made = 0
        view.generator = "running"
        self.classic_streams += 1
        view.watched += 1
        self._cancel_timer(view)
        how = "stopped"
        try:
            for event in random_events(self._random(), view.of):
                view.made += 1
                yield event
                await asyncio.sleep(self.interval)
            yield Event("That was the last one.", id="-1")
            how = "done"
        finally:
            self.classic_streams -= 1
            view.watched -= 1
            self._finish(view, how)

    # -- faults

    async def drop(self, topic: str) -> float:
        """Reset the connections of a view's streams."""
        for _, wire in await self._streams(self._existing(topic)):
            wire.abort()
        return 0

    async def silence(self, topic: str) -> float:
        """Hold back all bytes of a view's streams for some seconds. Return the number of seconds."""
        view, loop = self._existing(topic), asyncio.get_running_loop()
        view.silent_until = loop.time() + SILENCE
        for subscriber, _ in await self._streams(view):
            subscriber.pause_writing()
            loop.call_later(SILENCE, self._end_silence, view, subscriber)
        return SILENCE

    def _end_silence(self, view: View, subscriber: Subscriber) -> None:
        if subscriber.open:
            view.made_before = view.made
            subscriber.resume_writing()

    async def refuse(self, topic: str) -> float:
        """End a view's streams and refuse new ones for some seconds. Return the number of seconds."""
        view = self._existing(topic)
        view.refused_until = asyncio.get_running_loop().time() + REFUSAL
        for _, wire in await self._streams(view):
            wire.end()
        return REFUSAL

    def _existing(self, topic: str) -> View:
        if (view := self._views.get(topic)) is None:
            raise NotFound("no such page view")
        return view

    async def _streams(self, view: View) -> list[tuple[Subscriber, Wire]]:
        node = await self.hub.opened()
        return [(found, found.wire) for found in node.subscribers_of(view.topic) if found.wire]

    # -- the life of a view

    def _random(self) -> Random:
        # Each view starts from the seed, so it does not depend on other views.
        return Random(self.seed)

    def _cancel_timer(self, view: View) -> None:
        if view.timer is not None:
            view.timer.cancel()
            view.timer = None

    def _finish(self, view: View, how: str) -> None:
        view.generator = how
        view.stops_at = None
        self._forget_later(view)

    def _forget_later(self, view: View) -> None:
        self._cancel_timer(view)
        view.timer = asyncio.get_running_loop().call_later(KEPT, self._forget, view)

    def _make_room(self) -> None:
        if len(self._views) >= MOST_VIEWS:
            oldest = next((view for view in self._views.values() if not view.watched), None)
            if oldest is not None:
                self._forget(oldest)

    def _forget(self, view: View) -> None:
        self._cancel_timer(view)
        if view.task is not None:
            view.task.cancel()
        if self._views.get(view.topic) is view:
            del self._views[view.topic]
