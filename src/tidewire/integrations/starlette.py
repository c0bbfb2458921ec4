"""
A hub in a Starlette program: `install(app, hub)` opens it with the program and answers its errors.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from ..errors import TidewireError
from ..http.responses import ProblemResponse
from ..hub import Hub
from .refusals import refusal


def install(app: Any, hub: Hub) -> None:
    """
    Open `hub` with the program and make the errors that it raises in routes problem+json.

    `app` is a `Starlette` or `FastAPI` object. Call it once, before the program starts. The hub
    opens before the program's own lifespan starts and closes after that has ended.
    """
    own = app.router.lifespan_context

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[Any]:
        async with hub.lifespan(), own(app) as state:
            yield state

    app.router.lifespan_context = lifespan
    app.add_exception_handler(TidewireError, answer)


async def answer(request: Any, error: TidewireError) -> ProblemResponse:
    """Return the response to a request in which `error` was raised. Raises `error` if it is no refusal."""
    if request.scope["type"] != "http":  # a WebSocket has no response
        raise error
    return refusal(error, request.method)
