"""A program that says whose its streams are, as the query tells it; the rest is the hub's app."""

import json
import os
import time
from urllib.parse import parse_qsl

from tidewire import Grant, Hub

hub = Hub(**json.loads(os.environ.get("HUB_OPTIONS", "{}")))


def grant_in(query: dict[str, str]) -> Grant:
    seconds = query.get("seconds")
    until = None if seconds is None else time.time() + float(seconds)
    iat = float(query["iat"]) if "iat" in query else None
    return Grant(
        sub=query.get("sub", ""), iss=query.get("iss", ""), jti=query.get("jti", ""), until=until, iat=iat
    )


async def app(scope, receive, send):
    if (
        scope["type"] != "http"
        or not scope["path"].startswith(("/stream", "/kick"))
        or scope["path"] == "/streams"
    ):
        await hub.app(scope, receive, send)
        return
    query = dict(parse_qsl(scope["query_string"].decode()))
    if scope["path"] == "/kick":
        await hub.kick(query["sub"], reason=query.get("reason", "kicked"))
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})
    else:
        stream = hub.stream(scope, "news", grant=grant_in(query), control="plain" not in query)
        await stream(scope, receive, send)
