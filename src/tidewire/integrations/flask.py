"""
A hub beside a Flask program: `install(app)`; views call `publish("news", …)` and `stream(request, "news")`.

The hub is that of `app.config["TIDEWIRE"]`, a dict with the arguments of `HubBeside`:

    app.config["TIDEWIRE"] = {"url": "http://127.0.0.1:8080"}
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..client.core.publishing import Receipt
from ..errors import Forbidden, TidewireError, Unauthorized
from ..http.answers import problem
from .wsgi import HubBeside

try:
    from flask import Flask, Request, Response, current_app
    from flask import request as current_request
except ImportError:
    raise ImportError("tidewire.integrations.flask needs Flask: pip install flask") from None

# The name of the hub in `app.extensions`.
EXTENSION = "tidewire"


def install(app: Flask) -> None:
    """
    Give the program the hub of its config, and make the hub's errors in views problem+json.

    Call it once, when the config is complete. Raises `ValueError` if `TIDEWIRE` is not a dict with a `url`.
    """
    given = app.config.get("TIDEWIRE")
    if not isinstance(given, dict) or "url" not in given:
        raise ValueError('app.config["TIDEWIRE"] must be a dict such as {"url": "http://127.0.0.1:8080"}')
    app.extensions[EXTENSION] = HubBeside(**given)
    app.register_error_handler(TidewireError, answer)


def publish(
    topic: str, data: Any, *, event: str | None = None, key: str | None = None, retry: int | None = None
) -> Receipt:
    """Publish one event and return its receipt, as `Publisher.publish`."""
    return get_hub().publisher.publish(topic, data, event=event, key=key, retry=retry)


def stream(
    request: Request,
    *topics: str,
    patterns: Iterable[str] = (),
    since: str | None = None,
    sub: str | None = None,
) -> Response:
    """Return the redirect to the stream of `topics` and `patterns`, as `HubBeside.stream_url` says."""
    url = get_hub().stream_url(request.environ, *topics, patterns=patterns, since=since, sub=sub)
    return Response(status=307, headers={"Location": url, "Cache-Control": "no-store"})


def get_hub() -> HubBeside:
    """Return the hub of the program."""
    hub: HubBeside = current_app.extensions[EXTENSION]
    return hub


def answer(error: TidewireError) -> Response:
    # What has no status of its own belongs in the program's log, and so does a token of its that is refused.
    if error.status == TidewireError.status or isinstance(error, Unauthorized | Forbidden):
        raise error
    status, headers, body = problem(error, publish=current_request.method not in ("GET", "HEAD"))
    # The server that runs the program decides about its connections.
    kept = [(name.decode(), value.decode()) for name, value in headers if name != b"connection"]
    return Response(body, status, kept)
