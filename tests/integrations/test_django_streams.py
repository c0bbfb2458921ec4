"""`tidewire.integrations.django` behind real servers, with a real database."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from support.ports import free_port
from support.processes import Process
from support.waiting import wait_until
from support.ways import APPS, WAYS, Served, served, tracebacks
from tidewire.client.sync import connect

pytest.importorskip("django", reason="django is not installed")

SERVERS = {
    "takeover": WAYS["takeover"],
    "uvicorn": WAYS["uvicorn"],
    "daphne": "daphne {app} -p {port} -b 127.0.0.1",
}


def server(way: str, folder: Path, **hub: Any) -> Iterator[Served]:
    if find_spec(SERVERS[way].split()[0]) is None:
        pytest.skip(f"{way} is not installed")
    port = free_port()
    command = SERVERS[way].format(app="django_streams:app", port=port).split()
    env = {"FOLDER": str(folder), "TIDEWIRE": json.dumps(hub), "PYTHONPATH": str(APPS)}
    with Process([sys.executable, "-m", *command], env=env) as process:
        process.wait_port(port)
        yield Served(port, process, way)


@pytest.fixture(scope="module", params=SERVERS)
def django(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    yield from server(request.param, tmp_path_factory.mktemp("django"), max_event=1000)


def state(django: Served) -> Any:
    return django.ask("GET", "/state").json()


def test_a_stream_of_a_view(django: Served) -> None:
    with django.listen("/news/orders/1") as listener:
        assert listener.headers["content-type"] == "text/event-stream"
        assert listener.headers["cache-control"] == "no-store, no-transform"
        first = django.ask("POST", "/publish/orders/1", "paid").body.decode()
        assert listener.take(2)[1].data == "paid"
    django.ask("POST", "/publish/orders/1", "sent")
    with django.listen("/news/orders/1", {"Last-Event-ID": first}) as listener:
        assert listener.take(1)[0].data == "sent"
    wait_until(lambda: state(django)["streams"] == [])


def test_a_large_event_arrives_whole(django: Served) -> None:
    text = "x" * 1000
    with django.listen("/news/large") as listener:
        django.ask("POST", "/publish/large", text)
        assert listener.take(2)[1].data == text


def test_the_end_of_a_topic(django: Served) -> None:
    with django.listen("/news/ended") as listener:
        listener.take(1)
        django.ask("POST", "/end/ended")
        assert [event.event for event in listener.rest()] == ["hub.end"]
    assert django.ask("GET", "/news/ended").status == 204


def test_a_refused_stream_has_its_status(django: Served) -> None:
    answer = django.ask("GET", "/news/rooms/*")
    assert (answer.status, answer.json()["code"]) == (404, "no_such_topic")
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_position_that_a_plain_stream_cannot_continue(django: Served) -> None:
    answer = django.ask("GET", "/news/a?plain", headers={"Last-Event-ID": "AAAAAA.1"})
    assert (answer.status, answer.json()["code"]) == (410, "gap")


def test_a_stream_that_the_program_gives_up(django: Served) -> None:
    assert django.ask("GET", "/dropped").body == b"another response"
    wait_until(lambda: state(django)["streams"] == [])


# -- generators


def test_a_generator(django: Served) -> None:
    with django.listen("/words") as listener:
        assert [event.data for event in listener.rest()] == ["first"]


def test_a_generator_that_fails_is_cut(django: Served) -> None:
    before = tracebacks(django.process.output)
    with django.listen("/words?fails") as listener:
        # daphne leaves the connection open after an exception of the program.
        events = listener.take(2) if django.way == "daphne" else listener.rest_until_cut()
        assert [event.event for event in events] == ["message", "hub.error"]
    django.process.wait_line("ValueError: of the program")
    assert tracebacks(django.process.output) == before + 1


def test_a_generator_is_closed_when_its_client_leaves(django: Served) -> None:
    before = len(state(django)["done"])
    with django.listen("/words?waits") as listener:
        listener.take(1)
        assert len(state(django)["done"]) == before
    wait_until(lambda: len(state(django)["done"]) == before + 1)


# -- users


def test_the_topics_of_a_user(django: Served) -> None:
    assert django.ask("GET", "/own").status == 401
    answer = django.ask("POST", "/login/ada")
    ada = answer.json()
    session = {"Cookie": answer.headers["set-cookie"].partition(";")[0]}
    with django.listen("/own", session) as listener:
        listener.take(1)
        assert state(django)["streams"] == [str(ada["user"])]
        names = [f"users/{ada['user']}", f"groups/{ada['group']}", "news"]
        for name in (f"users/{ada['user']}0", f"groups/{ada['group']}0", *names):
            django.ask("POST", f"/publish/{name}", "x")
        assert [event.topic for event in listener.take(3)] == names
        django.ask("POST", f"/kick/{ada['user']}")
        assert [event.event for event in listener.rest()] == ["hub.auth"]


def test_a_stream_keeps_no_connection_to_the_database(django: Served) -> None:
    answer = django.ask("POST", "/login/bob")
    session = {"Cookie": answer.headers["set-cookie"].partition(";")[0]}
    with django.listen("/own", session) as one, django.listen("/own", session) as two:
        one.take(1)
        two.take(1)
        wait_until(lambda: state(django)["connections"] == 0)


# -- transactions


def test_what_is_rolled_back_is_not_published(django: Served) -> None:
    with django.listen("/news/names") as listener:
        listener.take(1)
        assert django.ask("POST", "/rename/one?outcome=rollback").status == 409
        assert "InvalidInput" in django.ask("POST", "/rename/two?outcome=invalid").body.decode()
        # The log has the event before the response is sent.
        assert django.ask("POST", "/rename/three").json() == {"newest": ['{"name":"three"}']}
        (event,) = listener.take(1)
        assert (event.event, event.json()) == ("name", {"name": "three"})
    names = [django.ask("GET", f"/exists/{name}").json() for name in ("one", "two", "three")]
    assert names == [False, False, True]


def test_a_publish_that_fails_after_the_commit_is_logged(django: Served) -> None:
    before = tracebacks(django.process.output)
    django.ask("POST", "/end/names")
    assert django.ask("POST", "/rename/four").status == 200
    assert django.ask("GET", "/exists/four").json() is True
    django.process.wait_line("TopicEnded: ")
    assert tracebacks(django.process.output) == before + 1


def test_async_code_is_told(django: Served) -> None:
    assert django.ask("GET", "/async").body == b"SynchronousOnlyOperation"


def test_nothing_went_wrong(django: Served) -> None:
    """Last in the file: what the servers logged in all tests above."""
    django.process.stop()
    output = django.process.output
    assert "never retrieved" not in output
    assert "was destroyed but it is pending" not in output


# -- processes without an ASGI server


def worker(hub: dict[str, Any], *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "TIDEWIRE": json.dumps(hub)}
    command = [sys.executable, str(APPS / "django_worker.py"), *words]
    return subprocess.run(command, env=env, capture_output=True, text=True)


def test_a_command_publishes_to_the_log_file(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/events.db"
    for way in server("uvicorn", tmp_path, url=url):
        with way.listen("/news/news") as listener:
            listener.take(1)
            done = worker({"url": url}, "publish")
            assert (done.returncode, done.stderr) == (0, "")
            heard = [event.data for event in listener.take(6)]
        assert heard[:2] == ["one", "one too"]
        assert {*heard[2:]} == {"two", "two too", "three", "three too"}


def test_a_wsgi_program_publishes_to_a_hub_beside() -> None:
    with served("uvicorn") as hub, hub.listen("/events/news") as listener:
        listener.take(1)
        done = worker({"url": f"http://127.0.0.1:{hub.port}"}, "publish")
        assert (done.returncode, done.stderr) == (0, "")
        assert [event.data for event in listener.take(2)] == ["one", "one too"]


def test_the_command_has_the_hub_of_the_settings(tmp_path: Path) -> None:
    hub = {"url": f"sqlite:///{tmp_path}/own.db", "heartbeat": 7}
    command = [sys.executable, APPS / "django_worker.py", "serve", "--port", "0"]
    with Process(command, env={"TIDEWIRE": json.dumps(hub), "TIDEWIRE_ENGINE": None}) as process:
        url = process.wait_line(r"http://[^ /]+").group()
        assert (tmp_path / "own.db").exists()
        with connect(f"{url}/events/news") as stream:
            done = worker({"url": url}, "publish", "news", "hello")
            assert done.returncode == 0, done.stderr
            assert next(iter(stream)).data == "hello"
        port = int(url.rpartition(":")[2])
        with Served(port, process, "").listen("/events/news") as listener:
            assert listener.headers["tidewire-heartbeat"] == "7"
        assert process.stop() == 0


def test_a_log_in_memory_of_a_process_without_a_server() -> None:
    done = worker({}, "publish")
    assert done.returncode == 1
    assert "StartRefused: the log of this hub is in memory, and no ASGI server runs" in done.stderr


def test_wsgi_holds_no_streams() -> None:
    assert "ImproperlyConfigured: streams need ASGI" in worker({}, "stream").stderr


@pytest.mark.parametrize(
    ("hub", "message"),
    [
        ({"url": "oracle://x"}, "ImproperlyConfigured: TIDEWIRE: "),
        ({"heartbeats": 1}, "ImproperlyConfigured: TIDEWIRE: "),
        (["sqlite:///events.db"], "ImproperlyConfigured: TIDEWIRE must be a dict"),
        ({"url": "http://127.0.0.1:1", "heartbeat": 1}, "ImproperlyConfigured: TIDEWIRE: "),
    ],
)
def test_a_setting_that_is_wrong(hub: Any, message: str) -> None:
    assert message in worker(hub, "publish").stderr
