"""`hub.app` below a mount point: in Litestar, and behind middleware that rewrites the path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from tidewire import Hub


def in_litestar(hub: Hub) -> Any:
    litestar = pytest.importorskip("litestar")
    mount = litestar.asgi("/hub", is_mount=True, copy_scope=True)
    return litestar.Litestar([mount(hub.app)])


def rewritten(hub: Hub) -> Any:
    """A program whose paths begin with `/hub`, in front of a hub that is served alone."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"].removeprefix("/hub")
        await hub.app({**scope, "path": path}, receive, send)

    return app


def rewritten_before_a_mount(hub: Hub) -> Any:
    inner = Starlette(routes=[Mount("/inner", hub.app)])

    async def app(scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"].replace("/hub", "/inner", 1)
        await inner({**scope, "path": path}, receive, send)

    return app


@pytest.mark.parametrize("program", [in_litestar, rewritten, rewritten_before_a_mount])
@pytest.mark.parametrize("topic", ["news", "orders/7", "a%20b", "news/"])
async def test_topics_are_those_of_the_path(program: Callable[[Hub], Any], topic: str) -> None:
    async with (hub := Hub()).lifespan():
        transport = httpx2.ASGITransport(program(hub))
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
            assert (await client.post(f"/hub/events/{topic}", content=b"x")).status_code == 200
            assert (await client.get("/hub/health/live")).json() == {"status": "live"}
            json = {"Accept": "application/json"}
            page = (await client.get("/hub/events?topic=**", headers=json)).json()
            assert [event["topic"] for event in page["events"]] == [topic.replace("%20", " ")]
            own = (await client.get(f"/hub/events/{topic}", headers=json)).json()
            assert own["events"] == page["events"]
