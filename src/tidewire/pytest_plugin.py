"""
Fixtures of pytest for programs with streams. pytest loads them by itself where Tidewire is installed.

    async def test_payment(hub, sse_client):
        async with sse_client(make_app(hub)) as c, c.sse("/orders/7/events") as events:
            await c.post("/orders/7/pay")
            assert (await events.next(timeout=1)).event == "status"
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .hub import Hub
    from .testing.asgi_client import Client

try:
    import pytest
except ImportError:  # only pytest needs this module
    pass
else:
    # The imports are in the fixtures, so that a run of tests without them costs nothing.

    @pytest.fixture
    def hub() -> Iterator[Hub]:
        """A new hub in memory, for this test alone. What it did to the handlers of signals is undone."""
        from .delivery.stopping import SIGNALS
        from .hub import Hub

        handlers = {number: signal.getsignal(number) for number in SIGNALS}
        yield Hub(per_process=True)
        for number, handler in handlers.items():
            if signal.getsignal(number) is not handler:
                signal.signal(number, handler)

    @pytest.fixture
    def sse_client() -> Callable[..., Client]:
        """`tidewire.testing.client`: `async with sse_client(app) as c, c.sse("/path") as events`."""
        from .testing.asgi_client import client

        return client
