"""What FastAPI programs do around streams: background tasks, generator endpoints, dependencies, OpenAPI."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from support.waiting import wait_until
from support.ways import WAYS, Served, served
from tidewire.event_stream import Event

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
