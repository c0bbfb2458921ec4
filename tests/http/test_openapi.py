"""openapi: the description has every route that the hub serves, with its methods."""

from __future__ import annotations

import ast
import inspect
import json
import re
from typing import Any

from tidewire import Hub
from tidewire.http import app
from tidewire.http.openapi import REASONS, description
from tidewire.inspect import inspector
from tidewire.settings import Settings

PATHS = description(Settings(), "")["paths"]
NOT_DESCRIBED = {"HEAD", "OPTIONS"}


async def ask(hub: Hub, method: str, path: str, root: str = "") -> tuple[int, dict[str, str], Any]:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": root + path,
        "root_path": root,
        "query_string": b"",
        "client": ("127.0.0.1", 5),
        "headers": [(b"accept", b"application/json")],
    }
    await hub.app(scope, receive, send)
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    body = b"".join(message.get("body", b"") for message in sent)
    return sent[0]["status"], headers, json.loads(body or b"null")


def served_paths() -> set[str]:
    """Return every path that is named in app.py, and those of the inspector."""
    words = (
        node.value for node in ast.walk(ast.parse(inspect.getsource(app))) if isinstance(node, ast.Constant)
    )
    found = {word for word in words if isinstance(word, str) and re.fullmatch(r"/[a-z./]+", word)}
    found = {"/events/{topic}" if path == "/events/" else path for path in found}
    return found | inspector.READING | {inspector.STREAMS + "{stream}"}


def test_every_route_is_described() -> None:
    assert served_paths() == PATHS.keys()


async def test_every_method_of_a_route_is_described() -> None:
    hub = Hub(per_process=True)
    async with hub.lifespan():
        for path, operations in PATHS.items():
            status, headers, _ = await ask(hub, "PATCH", path.replace("{topic}", "a"))
            assert status == 405, path
            allowed = set(headers["allow"].split(", ")) - NOT_DESCRIBED
            assert allowed == {method.upper() for method in operations}, path


async def test_it_is_served_below_the_mount_point() -> None:
    hub = Hub(per_process=True, max_topics=7)
    async with hub.lifespan():
        for root, url in (("", "/"), ("/hub", "/hub")):
            status, headers, found = await ask(hub, "GET", "/openapi.json", root)
            assert (status, headers["content-type"]) == (200, "application/json")
            assert found["servers"] == [{"url": url}]
            (topic,) = (
                one for one in found["paths"]["/events"]["get"]["parameters"] if one["name"] == "topic"
            )
            assert topic["schema"]["maxItems"] == 7


def test_every_reference_has_its_schema() -> None:
    found = description(Settings(), "")
    named = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(found)))
    assert named == found["components"]["schemas"].keys()


def test_every_reason_of_a_refusal_is_used() -> None:
    statuses = {
        int(status) for path in PATHS.values() for one in path.values() for status in one["responses"]
    }
    assert statuses - {200, 204} == REASONS.keys()
