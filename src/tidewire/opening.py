"""
The node of a hub, and the event loop that it is open on.

Rule 1: a node belongs to the loop that opened it. Once that loop is closed, the node is given up
        at the next use, and a new one opens: a program may call `asyncio.run` several times.
Rule 2: while that loop is not closed, nothing else may use the node: what it does would wake nobody
        there, and wait forever here.
Rule 3: a forked child leaves the node to its parent. What is given up is released before a fork,
        because the child may want the same log.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from typing import Any

from .delivery.memory_watch import memory_share
from .delivery.node import Node
from .delivery.stopping import drains_of_loop
from .delivery.tasks import start
from .delivery.topic_hooks import TopicHook
from .engines.by_url import make_engine
from .errors import StartRefused
from .inspect.sampling import Sampler
from .log.engine import Engine
from .metrics import Metrics
from .runs.node_runs import NodeRuns
from .settings import Settings
from .workers import check_only_worker

OTHER_LOOP = (
    "this hub is open on another event loop, which is not closed: publish from here with "
    "hub.publish_soon(...), or close the hub there"
)


class Opening:
    """`per_process`: each of several workers may have a log of its own."""

    def __init__(self, url: str, settings: Settings, per_process: bool) -> None:
        self._url = url
        self._settings = settings
        self._per_process = per_process
        self.hooks: list[TopicHook] = []
        self._given_up: list[Engine] = []
        # Two threads may meet a new hub, each with its loop.
        self._lock = threading.Lock()
        self._attempt: asyncio.Task[Node] | None = None  # the last one; only its creator writes this
        self._begin()
        _openings.add(self)

    def _begin(self) -> None:
        """Start with a new engine, as if nothing had been open."""
        self.engine = make_engine(self._url, self._settings)
        self.metrics = Metrics()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._node: Node | None = None
        self._runs: NodeRuns | None = None
        self.sampler: Sampler | None = None

    @property
    def runs(self) -> NodeRuns | None:
        """The runs of the open node, from any thread."""
        return self._runs if self.node is not None else None

    @property
    def node(self) -> Node | None:
        """The open node, from any thread."""
        node = self._node
        return None if node is None or node.loop.is_closed() else node

    def here(self, *, claim: bool = False) -> Node | None:
        """
        Return the node if it is open on the running loop, None if it is not open.

        With `claim`, it is this loop that will open it. Raises `StartRefused` if another has it.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            with self._lock:
                self._leave_closed_loop()
                if self._loop is None and claim:
                    self._loop = loop
            if self._loop not in (loop, None):
                raise StartRefused(OTHER_LOOP, code="other_loop")
        return self._node

    def _leave_closed_loop(self) -> None:
        if self._loop is not None and self._loop.is_closed():
            self._given_up.append(self.engine)
            self._attempt = None
            self._begin()

    async def open(self) -> Node:
        """Return the node that is open on the running loop; open one if none is. Raises `StartRefused`."""
        if (node := self.here(claim=True)) is not None:
            return node
        if self._attempt is None or self._attempt.done():
            self._attempt = start(self._open())
        # The first caller may be cancelled; the others wait for the same task.
        return await asyncio.shield(self._attempt)

    async def _open(self) -> Node:
        engine = self.engine
        try:
            await self.release()
            if not (engine.shared or self._per_process):
                await check_only_worker()
            memory = memory_share(self._settings.max_memory)
            node = Node(engine, self._settings, self.metrics, memory)
            await node.open()
        except BaseException:
            # Unless the loop was closed in the meantime, and the next one has begun already.
            if self.engine is engine:
                self._given_up.append(engine)
                self._begin()
            raise
        for hook in self.hooks:
            node.add_hook(hook)
        self._node, self._runs, self.sampler = node, NodeRuns(node), Sampler(node)
        return node

    async def release(self) -> None:
        """Release the logs and threads of what was given up."""
        while self._given_up:
            engine = self._given_up.pop()
            await asyncio.get_running_loop().run_in_executor(None, engine.release)

    async def close(self) -> None:
        """Drain and close the node. The next one starts with a new engine."""
        node = self.here()
        await self.release()
        if node is None:
            return
        # The node is kept until it is closed, so requests in the meantime are refused as draining.
        await node.close()
        if self.sampler is not None:
            self.sampler.stop()
        if self._node is node:
            self._begin()

    async def reopen(self) -> Node:
        """As `open`, but the program goes on: a node that was drained is replaced."""
        node = self.here()
        if node is None or node.draining:
            await self.close()
            drains_of_loop().go_on()
        return await self.open()

    # -- forks

    def before_fork(self) -> None:
        with self._lock:
            self._leave_closed_loop()
        while self._given_up:
            self._given_up.pop().release()

    def after_fork(self) -> None:
        """Forget everything, in the child."""
        self._lock = threading.Lock()
        if self._loop is not None:
            # Collecting them would close files and connections that the parent uses.
            _left_to_parents.append((self.engine, self._node, self._attempt))
            self._attempt = None
            self._begin()


_openings: weakref.WeakSet[Opening] = weakref.WeakSet()
_left_to_parents: list[Any] = []


def before_fork() -> None:
    for opening in list(_openings):
        opening.before_fork()


def after_fork() -> None:
    for opening in list(_openings):
        opening.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=before_fork, after_in_child=after_fork)
