"""`tidewire.integrations.flask` and `.wsgi`: a Flask program on gunicorn, and a real hub beside it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from support.documents import blocks
from support.ports import free_port
from support.processes import Process
from support.tokens import SECRET
from tidewire.client.sync import connect, history
from tidewire.errors import InvalidInput, NotFound, StreamRefused
from tidewire.event_stream import Decoder, Event
from tidewire.integrations.wsgi import HubBeside

flask = pytest.importorskip("flask", reason="flask is not installed")
pytest.importorskip("gunicorn", reason="gunicorn is not installed")

ROOT = Path(__file__).parents[2]
PAGE = "docs/how-to/flask.md"


class Pair(NamedTuple):
    """A program and the hub beside it, by their URLs."""

    program: str
    hub: str
    process: Process


@contextmanager
def hub_beside(*options: str) -> Iterator[str]:
    command = [sys.executable, "-m", "tidewire", "serve", "--port", "0", *options]
    with Process(command) as process:
        yield process.wait_line(r"http://[^ /]+").group()


@contextmanager
def pair(app: str, *options: str, cwd: Path = ROOT, port: int | None = None, **config: str) -> Iterator[Pair]:
    port = port or free_port()
    with hub_beside(*options) as hub:
        command = [sys.executable, "-m", "gunicorn", app, "--threads", "4", "--bind", f"127.0.0.1:{port}"]
        given = {"url": hub, **config}
        env = {f"FLASK_TIDEWIRE__{name}": value for name, value in given.items()}
        with Process(command, cwd=cwd, env=env) as process:
            process.wait_port(port)
            yield Pair(f"http://127.0.0.1:{port}", hub, process)


@pytest.fixture(scope="module")
def example() -> Iterator[Pair]:
    with pair("examples.frameworks.flask_orders:app") as running:
        yield running


def check(program: str) -> None:
    with connect(f"{program}/orders/7/events") as stream:
        assert httpx2.post(f"{program}/orders/7/pay").status_code == 204
        event = next(iter(stream))
        assert (event.event, event.json()) == ("status", {"status": "paid"})


def test_the_example(example: Pair) -> None:
    check(example.program)


def test_a_short_stream_goes_through_the_program(example: Pair) -> None:
    answer = httpx2.get(f"{example.program}/clock")
    assert answer.headers["content-type"] == "text/event-stream"
    events = [item for item in Decoder().feed(answer.content) if isinstance(item, Event)]
    assert [event.event for event in events] == ["tick"] * 3


def test_a_stream_is_a_redirect_that_no_cache_keeps(example: Pair) -> None:
    path = "/orders/7/events?last_event_id=AAAAAA.1&control=open&other=x"
    answer = httpx2.get(example.program + path, headers={"Last-Event-ID": "AAAAAA.2"})
    assert (answer.status_code, answer.headers["cache-control"]) == (307, "no-store")
    target = urlsplit(answer.headers["location"])
    assert f"{target.scheme}://{target.netloc}{target.path}" == f"{example.hub}/events"
    assert parse_qs(target.query) == {
        "topic": ["orders/7"],
        "last_event_id": ["AAAAAA.1", "AAAAAA.2"],
        "control": ["open"],
    }


def test_a_stream_resumes(example: Pair) -> None:
    with connect(f"{example.program}/orders/8/events") as stream:
        httpx2.post(f"{example.program}/orders/8/pay")
        first = next(iter(stream))
    httpx2.post(f"{example.program}/orders/8/pay")
    with connect(f"{example.program}/orders/8/events", last_event_id=first.id) as stream:
        assert next(iter(stream)).event == "status"


def test_refusals_are_problems(example: Pair) -> None:
    refused = httpx2.post(f"{example.program}/orders/*/pay")
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_topic")
    assert refused.json()["stored"] is False
    assert refused.headers["content-type"] == "application/problem+json"
    no_topic = httpx2.get(f"{example.program}/orders/*/events")
    assert (no_topic.status_code, no_topic.json()["code"]) == (404, "no_such_topic")
    assert "Traceback" not in example.process.output


def test_a_hub_that_is_away_is_503() -> None:
    app = flask.Flask("away")
    app.config["TIDEWIRE"] = {"url": f"http://127.0.0.1:{free_port()}", "retry_for": 0}
    from tidewire.integrations.flask import install, publish

    install(app)
    app.add_url_rule("/", view_func=lambda: publish("news", "x"), methods=["POST"])
    answer = app.test_client().post("/")
    assert (answer.status_code, answer.json["code"]) == (503, "unreachable")


@pytest.mark.parametrize("config", [None, "http://127.0.0.1:8080", {}])
def test_a_config_without_a_hub(config: Any) -> None:
    from tidewire.integrations.flask import install

    app = flask.Flask("wrong")
    app.config["TIDEWIRE"] = config
    with pytest.raises(ValueError, match="must be a dict such as"):
        install(app)


# -- a hub with a key

ORIGIN = "http://shop.example"


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    key = tmp_path_factory.mktemp("key") / "hub.key"
    key.write_text(SECRET)
    options = ("--token-key", str(key), "--allowed-origin", ORIGIN)
    with pair("examples.frameworks.flask_orders:app", *options, token_key=str(key)) as running:
        yield running


def test_a_locked_hub_streams_by_ticket(locked: Pair) -> None:
    assert httpx2.get(f"{locked.hub}/events/orders/7").status_code == 401
    check(locked.program)


def test_a_ticket_is_for_the_topics_of_the_view_and_good_once(locked: Pair) -> None:
    location = httpx2.get(f"{locked.program}/orders/7/events").headers["location"]
    with pytest.raises(StreamRefused) as refused, connect(location.replace("7&", "8&"), reconnect=False):
        pass
    assert refused.value.status == 403
    location = httpx2.get(f"{locked.program}/orders/7/events").headers["location"]
    with connect(location, reconnect=False):
        pass
    with pytest.raises(StreamRefused) as refused, connect(location, reconnect=False):
        pass
    assert refused.value.status == 401


def status_for(page: dict[str, str], location: str) -> int:
    with httpx2.stream("GET", location, headers=page) as answer:
        return answer.status_code


@pytest.mark.parametrize("site", ["same-origin", None])
def test_a_ticket_is_for_the_page_that_asked(locked: Pair, site: str | None) -> None:
    """A page of the program is known by its host; the browser names the page to the hub."""
    asks = {"Sec-Fetch-Site": site, "Host": "shop.example"} if site else {"Origin": ORIGIN}
    for page, status in [({"Origin": ORIGIN}, 200), ({}, 401)]:
        location = httpx2.get(f"{locked.program}/orders/7/events", headers=asks).headers["location"]
        assert status_for(page, location) == status


def test_a_ticket_for_a_hub_on_the_host_of_the_program(locked: Pair) -> None:
    """Behind a proxy that gives both one origin, the browser sends the hub no `Origin`."""
    hub = HubBeside(locked.hub, public_url="/hub", token_key=SECRET)
    environ = {"wsgi.url_scheme": "https", "HTTP_HOST": "shop.example", "HTTP_SEC_FETCH_SITE": "same-origin"}
    url = hub.stream_url(environ, "orders/7", since="start")
    assert url.startswith("/hub/events?topic=orders%2F7&since=start&ticket=twt_")
    assert status_for({}, url.replace("/hub", locked.hub)) == 200
    hub.close()


def test_a_wrong_key_is_a_fault_of_the_program(locked: Pair) -> None:
    with app_beside(locked.hub, token_key=SECRET[::-1]) as program:
        assert program.test_client().post("/").status_code == 500
        assert program.test_client().get("/").status_code == 500


@contextmanager
def app_beside(hub: str, **config: str) -> Iterator[Any]:
    from tidewire.integrations.flask import install, publish, stream

    app = flask.Flask("one")
    app.config["TIDEWIRE"] = {"url": hub, **config}
    install(app)
    app.add_url_rule("/", "publish", lambda: publish("news", "x"), methods=["POST"])
    app.add_url_rule("/", "stream", lambda: stream(flask.request, "news"))
    yield app
    app.extensions["tidewire"].close()


def test_a_key_that_is_none_is_refused_at_the_start() -> None:
    with pytest.raises(InvalidInput):
        HubBeside("http://127.0.0.1:8080", token_key="short")


def test_patterns_are_a_list() -> None:
    hub = HubBeside("http://127.0.0.1:8080/")
    environ = {"wsgi.url_scheme": "http"}
    url = hub.stream_url(environ, "news", patterns=["orders/*"])
    assert url == "http://127.0.0.1:8080/events?topic=news&topic=orders%2F%2A"
    with pytest.raises(TypeError):
        hub.stream_url(environ, patterns="orders/*")
    with pytest.raises(NotFound):
        hub.stream_url(environ, "orders/*")


# -- the page


def of_section(name: str) -> str:
    (block,) = [block for block in blocks("python", PAGE) if block.section == name]
    return block.text


def test_the_program_of_the_page(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(of_section("publish-and-stream"))
    with pair("main:app", cwd=tmp_path) as running:
        check(running.program)


def test_the_locked_program_of_the_page(tmp_path: Path) -> None:
    (tmp_path / "hub.key").write_text(SECRET)
    (tmp_path / "main.py").write_text(of_section("a-hub-with-a-key"))
    key = str(tmp_path / "hub.key")
    with pair("main:app", "--token-key", key, cwd=tmp_path) as running:
        with httpx2.Client(base_url=running.program) as session:
            assert session.get("/events").status_code == 401
            session.post("/login/ada").raise_for_status()
            with connect(session.get("/events").headers["location"], reconnect=False) as stream:
                session.post("/messages/ada", data={"text": "tea?"}).raise_for_status()
                assert next(iter(stream)).data == "tea?"


def test_the_short_stream_of_the_page() -> None:
    program: dict[str, Any] = {"__name__": "__main__"}
    exec(of_section("short-streams"), program)
    answer = program["app"].test_client().get("/progress")
    events = [item for item in Decoder().feed(answer.data) if isinstance(item, Event)]
    assert [event.json() for event in events] == [{"percent": percent} for percent in (0, 50, 100)]


def test_the_plain_wsgi_program_of_the_page() -> None:
    program: dict[str, Any] = {}
    with hub_beside() as hub:
        exec(of_section("any-other-wsgi-program").replace("http://127.0.0.1:8080", hub), program)
        http = httpx2.Client(transport=httpx2.WSGITransport(program["application"]), base_url="http://shop")
        assert http.post("/").status_code == 204
        assert http.get("/").headers["location"] == f"{hub}/events?topic=news"
        assert [event.data for event in history(hub, "news").events] == ["hello"]
        program["hub"].close()


def test_the_test_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "main.py").write_text(of_section("publish-and-stream"))
    monkeypatch.syspath_prepend(tmp_path)
    program: dict[str, Any] = {}
    exec(of_section("test-it"), program)
    try:
        program["test_a_paid_order_is_told"]()
        program["test_the_stream_of_an_order"]()
    finally:
        sys.modules.pop("main").app.extensions["tidewire"].close()
    assert json.loads(json.dumps(program["published"]))[0]["topic"] == "orders/7"
