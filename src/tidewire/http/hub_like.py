"""
What the HTTP layer needs of a hub. It cannot import `Hub`, which is above this folder.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from ..auth.access import Access, Permit
from ..delivery.node import Node
from ..log.runs import Run
from ..metrics import Metrics
from ..settings import Settings
from .asgi import Receive, Scope, Send
from .reply import Reply
from .requests import Request


class HubLike(Protocol):
    """Implemented by `Hub`."""

    @property
    def settings(self) -> Settings: ...

    @property
    def metrics(self) -> Metrics: ...

    @property
    def access(self) -> Access:
        """Who may use the hub over HTTP."""

    @property
    def node(self) -> Node:
        """The open node. Raises `StartRefused` if the hub is not open."""

    async def opened(self) -> Node:
        """Return the open node, even if it is draining; open the hub if no lifespan did."""

    async def revoke(self, *, jti: str | None, sub: str | None, iss: str | None, until: float | None) -> None:
        """Refuse a token or a subject. Raises `InvalidInput`."""

    async def kick(self, sub: str, *, iss: str | None, reason: str) -> None:
        """End the open streams of a subject. Raises `InvalidInput`."""

    async def runs(self) -> list[Run]:
        """Return the runs that are known, the one whose state changed last at the end."""

    async def cancel(self, topic: str, *, reason: str) -> Run | None:
        """Cancel the open run of a topic. Return its newest one, None if none is known."""

    def lifespan(self) -> AbstractAsyncContextManager[None]: ...


class InspectorLike(Protocol):
    """What answers below `/inspect`. Implemented by `Inspector`."""

    def methods(self, path: str) -> tuple[str, ...]:
        """Return the methods of a path. Raises `NotFound` if there is nothing."""

    def is_shell(self, path: str) -> bool:
        """Whether the path is that of the page or one of its files, which have nothing of the hub."""

    async def answer(
        self,
        request: Request,
        reply: Reply,
        scope: Scope,
        receive: Receive,
        send: Send,
        permit: Permit | None,
    ) -> None:
        """
        Answer a client that may see everything.

        `permit`: what says that it may; None if that is where it is.
        """
