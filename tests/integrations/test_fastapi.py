"""What FastAPI programs do around streams: background tasks, generator endpoints, dependencies, OpenAPI."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pydantic
import pytest
from fastapi import FastAPI

from support.waiting import wait_until
from support.ways import WAYS, Served, served
from tidewire import EventStreamResponse, HubStream
from tidewire.event_stream import Event
from tidewire.integrations.fastapi import events_of

STREAMS, POOL = 25, 11


@pytest.fixture(scope="module", params=WAYS)
def hub(request: pytest.FixtureRequest) -> Iterator[Served]:
    with served(request.param, "fastapi_habits:app") as running:
        yield running


def notes(hub: Served, name: str) -> int:
    return int(hub.ask("GET", "/notes").json().get(name, 0))


# -- background tasks


def test_background_tasks_run_after_the_client_has_left(hub: Served) -> None:
    with hub.listen("/tasks/left") as listener:
        hub.ask("POST", "/hub/events/left", b"x")
        assert listener.take(2)[1].data == "x"
        assert notes(hub, "left") == 0
    wait_until(lambda: notes(hub, "left") == 2)


def test_background_tasks_run_after_the_end_of_the_topic(hub: Served) -> None:
    with hub.listen("/tasks/ended") as listener:
        listener.take(1)
        hub.ask("DELETE", "/hub/events/ended")
        assert [event.event for event in listener.rest()] == ["hub.end"]
    wait_until(lambda: notes(hub, "ended") == 2)
    assert hub.ask("GET", "/tasks/ended").status == 204
    wait_until(lambda: notes(hub, "ended") == 4)


def test_background_tasks_run_where_the_stream_is_refused(hub: Served) -> None:
    assert hub.ask("GET", "/tasks/*").status == 404
    wait_until(lambda: notes(hub, "*") == 2)


def test_a_background_task_that_fails_is_logged(hub: Served) -> None:
    with hub.listen("/fails/failing") as listener:
        listener.take(1)
    wait_until(lambda: notes(hub, "failing") == 1)
    hub.process.wait_line("ValueError: invalid literal")
    assert hub.ask("GET", "/notes").status == 200


# -- generator endpoints


def test_an_endpoint_that_yields(hub: Served) -> None:
    with hub.listen("/yields") as listener:
        events = listener.rest()
    assert [(event.event, event.data) for event in events] == [
        ("message", "text"),
        ("kind", "typed"),
        ("message", '{"a":1}'),
    ]
    assert listener.headers["content-type"] == "text/event-stream"
    assert listener.headers["x-own"] == "yes"
    wait_until(lambda: notes(hub, "yields") > 0)
    with hub.listen("/sync-yields") as listener:
        assert [event.data for event in listener.rest()] == ["text"]


# -- dependencies


@pytest.mark.parametrize("path", ["/pool/many", "/pool-generator"])
def test_more_streams_than_connections_of_a_pool(hub: Served, path: str) -> None:
    with ExitStack() as stack:
        listeners = [stack.enter_context(hub.listen(path)) for _ in range(STREAMS)]
        first: list[Event] = [listener.take(1)[0] for listener in listeners]
        assert len(first) == STREAMS > POOL
        assert notes(hub, "taken") == 0


# -- OpenAPI


def test_streams_in_the_description_of_the_api(hub: Served) -> None:
    paths: Any = hub.ask("GET", "/openapi.json").json()["paths"]
    for path in ("/tasks/{topic}", "/yields", "/sync-yields"):
        assert [*paths[path]["get"]["responses"]["200"]["content"]] == ["text/event-stream"]


class Item(pydantic.BaseModel):
    name: str


class Order(pydantic.BaseModel):
    items: list[Item]


class Note(pydantic.BaseModel):
    text: str


class Folder(pydantic.BaseModel):
    folders: list[Folder]


@pytest.mark.parametrize("response_class", [HubStream, EventStreamResponse])
def test_the_type_of_the_events_in_the_description_of_the_api(response_class: Any) -> None:
    app = FastAPI()
    app.get("/", response_class=response_class, responses=events_of(Order | Note))(lambda: None)
    content = app.openapi()["paths"]["/"]["get"]["responses"]["200"]["content"]
    event = content["text/event-stream"]["itemSchema"]
    assert event["required"] == ["data"]
    assert event["properties"]["data"]["contentMediaType"] == "application/json"
    order, note = event["properties"]["data"]["contentSchema"]["anyOf"]
    assert order["properties"]["items"]["items"]["properties"] == {
        "name": {"title": "Name", "type": "string"}
    }
    assert note["required"] == ["text"]


def test_a_type_that_contains_itself() -> None:
    with pytest.raises(ValueError, match="^Folder contains itself"):
        events_of(Folder)
