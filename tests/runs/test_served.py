"""Runs behind real servers, on both ways to the socket."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, IncompleteRead
from pathlib import Path

import pytest

from support.waiting import PATIENCE, wait_until
from support.ways import Answer, Served, served
from tidewire.event_stream import Decoder, Event

LONG = "count=100000&pause=0.01"


@pytest.fixture(scope="module", params=["takeover", "uvicorn"])
def hub(request: pytest.FixtureRequest) -> Iterator[Served]:
    with served(request.param, "runs_app:app") as hub:
        yield hub


@pytest.fixture
def chat(request: pytest.FixtureRequest) -> str:
    """The path of a chat of this test's own."""
    return f"/chat/{request.node.name.partition('[')[0]}"


def events_in(answer: Answer) -> list[Event]:
    assert answer.status == 200, answer
    return [event for event in Decoder().feed(answer.body) if isinstance(event, Event)]


def texts(events: list[Event]) -> list[str]:
    return [event.data for event in events if event.event == "message"]


def tokens(count: int) -> list[str]:
    return [f"token {number}" for number in range(count)]


def start_and_leave(hub: Served, path: str) -> None:
    """Start a run, wait for its first bytes, and close the connection."""
    connection = HTTPConnection("127.0.0.1", hub.port, timeout=PATIENCE)
    connection.request("POST", path)
    response = connection.getresponse()
    assert response.status == 200
    while b"token 0" not in response.read1():
        pass
    response.close()
    connection.close()


def test_the_answer_to_the_post_is_the_whole_run(hub: Served, chat: str) -> None:
    answer = hub.ask("POST", f"{chat}?key=1&count=10")
    events = events_in(answer)
    assert texts(events) == tokens(10)
    assert events[-1].event == "run.done"
    assert not any(event.event.startswith("hub.") for event in events)


def test_a_repeated_post_starts_nothing(hub: Served, chat: str) -> None:
    first = events_in(hub.ask("POST", f"{chat}?key=1&count=10"))
    again = events_in(hub.ask("POST", f"{chat}?key=1&count=99"))
    assert again == first
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(hub.ask, "POST", f"{chat}?key=2&count=20&pause=0.01") for _ in range(8)]
        answers = [events_in(answer.result()) for answer in asked]
    assert texts(answers[0]) == tokens(20)
    assert all(answer == answers[0] for answer in answers)


def test_a_run_goes_on_when_its_client_leaves(hub: Served, chat: str) -> None:
    start_and_leave(hub, f"{chat}?key=1&count=100&pause=0.01")
    with hub.listen(chat) as one, hub.listen(chat) as other:
        events = one.rest()
        assert texts(events) == tokens(100)
        assert events[-1].event == "run.done"
        assert other.rest() == events
    assert hub.ask("GET", chat).status == 204


def test_attaching_with_a_position(hub: Served, chat: str) -> None:
    events = events_in(hub.ask("POST", f"{chat}?key=1&count=10"))
    brought = {"Last-Event-ID": str(events[3].id)}
    assert events_in(hub.ask("GET", chat, headers=brought)) == events[4:]
    assert hub.ask("GET", chat, headers={"Last-Event-ID": str(events[-1].id)}).status == 204
    assert hub.ask("GET", chat, headers={"Last-Event-ID": "AAAAAA.1"}).status == 204
    assert events_in(hub.ask("POST", f"{chat}?key=1", headers=brought)) == events[4:]
    start_and_leave(hub, f"{chat}?key=2&count=100&pause=0.01")
    # A position of the run before is not one of this run.
    with hub.listen(chat, brought) as stream:
        assert texts(stream.rest()) == tokens(100)


def test_each_stream_of_a_topic_has_its_own_run(hub: Served, chat: str) -> None:
    start_and_leave(hub, f"{chat}?key=1&count=100&pause=0.01")
    with hub.listen(chat) as first:
        first.take(1)
        second = events_in(hub.ask("POST", f"{chat}?key=2&count=5&replace=true"))
        rest = first.rest()
    assert rest[-1].event == "run.cancelled"
    assert json.loads(rest[-1].data)["reason"] == "replaced"
    assert "token 0" not in texts(rest)
    assert texts(second) == tokens(5)


def test_another_run_while_one_is_open_is_refused(hub: Served, chat: str) -> None:
    start_and_leave(hub, f"{chat}?key=1&{LONG}")
    answer = hub.ask("POST", f"{chat}?key=2")
    assert (answer.status, answer.json()["code"], answer.json()["key"]) == (409, "run_active", "1")
    hub.ask("DELETE", chat)
    assert texts(events_in(hub.ask("POST", f"{chat}?key=2&count=3"))) == tokens(3)


def test_cancelling_ends_the_streams_and_the_producer(hub: Served, chat: str) -> None:
    start_and_leave(hub, f"{chat}?key=1&{LONG}")
    with hub.listen(chat) as one, hub.listen(chat) as other:
        one.take(1)
        assert hub.ask("DELETE", chat).json() == {"state": "cancelled"}
        assert one.rest()[-1].event == "run.cancelled"
        assert other.rest()[-1].event == "run.cancelled"
    wait_until(lambda: "producer got CancelledError" in hub.process.output)
    assert hub.ask("GET", chat).status == 204
    assert hub.ask("DELETE", chat).json() == {"state": "cancelled"}


def test_admins_list_and_cancel_runs(hub: Served, chat: str) -> None:
    topic = chat.removeprefix("/")
    assert hub.ask("DELETE", f"/hub/runs?topic={topic}").status == 404
    start_and_leave(hub, f"{chat}?key=1&{LONG}&sdk=true")
    run = next(run for run in hub.ask("GET", "/hub/runs").json()["runs"] if run["topic"] == topic)
    assert (run["key"], run["state"], run["dialect"], run["stopped"]) == ("1", "running", "ai_sdk", None)
    with hub.listen(chat) as stream:
        stream.take(1)
        answer = hub.ask("DELETE", f"/hub/runs?topic={topic}&reason=enough")
        *_, abort, done = texts(stream.rest())
    assert answer.status == 200
    stopped = answer.json()
    assert (stopped["run"], stopped["state"], stopped["reason"]) == (run["run"], "cancelled", "enough")
    assert (abort, done) == ('{"type":"abort"}', "[DONE]")
    assert hub.ask("DELETE", f"/hub/runs?topic={topic}").json() == stopped
    assert hub.ask("DELETE", "/hub/runs").status == 400
    assert hub.ask("POST", "/hub/runs").headers["allow"] == "GET, HEAD, DELETE, OPTIONS"
    foreign = {"Origin": "https://other.example"}
    assert hub.ask("DELETE", f"/hub/runs?topic={topic}", headers=foreign).status == 403


def test_a_failure_is_told_without_its_text(hub: Served, chat: str) -> None:
    events = events_in(hub.ask("POST", f"{chat}?key=1&count=3&fail=true"))
    assert texts(events) == tokens(3)
    assert events[-1].event == "run.failed"
    assert json.loads(events[-1].data)["reason"] == "producer_failed"
    assert "secret" not in events[-1].data
    wait_until(lambda: "RuntimeError: a secret" in hub.process.output)


def test_a_normal_stream_is_told_of_start_and_stop(hub: Served, chat: str) -> None:
    hub.ask("POST", f"{chat}?key=1&count=2")
    path = chat.replace("/chat/", "/events/")
    with hub.listen(path) as stream:
        events = stream.take(6)
    assert [event.event for event in events] == [
        "hub.position",
        "hub.run",
        "message",
        "message",
        "run.done",
        "hub.run",
    ]
    told = [json.loads(event.data) for event in events if event.event == "hub.run"]
    assert [(item["key"], item["state"]) for item in told] == [("1", "running"), ("1", "done")]


def test_the_streams_of_a_run_are_told_its_end_when_the_process_stops() -> None:
    with served("takeover", "runs_app:app") as hub:
        start_and_leave(hub, f"/chat/1?key=1&{LONG}")
        with hub.listen("/chat/1") as stream:
            stream.take(1)
            hub.process.send_signal(signal.SIGTERM)
            last = stream.rest()[-1]
        assert (last.event, json.loads(last.data)["reason"]) == ("run.lost", "draining")


@pytest.mark.parametrize("way", ["takeover", "uvicorn"])
def test_a_run_may_end_by_itself_while_the_process_stops(way: str) -> None:
    with served(way, "runs_app:app", run_grace=60) as hub:
        start_and_leave(hub, "/chat/1?key=1&count=100&pause=0.03")
        with hub.listen("/chat/1") as one, hub.listen("/chat/1") as other:
            first = one.take(1)
            hub.process.send_signal(signal.SIGTERM)
            events = first + one.rest()
            assert other.rest() == events
        assert texts(events) == tokens(100)
        assert events[-1].event == "run.done"
        # With no open run, the process does not wait any longer.
        hub.process.wait()


def test_a_run_that_outlasts_the_grace_is_lost() -> None:
    with served("takeover", "runs_app:app", run_grace=1) as hub:
        start_and_leave(hub, f"/chat/1?key=1&{LONG}")
        with hub.listen("/chat/1") as stream:
            stream.take(1)
            hub.process.send_signal(signal.SIGTERM)
            last = stream.rest()[-1]
        assert (last.event, json.loads(last.data)["reason"]) == ("run.lost", "draining")


def test_a_run_that_is_longer_than_the_window_is_read_from_the_log(tmp_path: Path) -> None:
    for way in ("takeover", "uvicorn"):
        with served(way, "runs_app:app", log=f"sqlite:///{tmp_path}/{way}.db", window_entries=100) as hub:
            start_and_leave(hub, "/chat/1?key=1&count=1000")
            with hub.listen("/chat/1") as stream:
                events = stream.rest()
            assert texts(events) == tokens(1000)
            # The page that has its end has the next run, too.
            hub.ask("POST", "/chat/1?key=2&count=50")
            assert events_in(hub.ask("POST", "/chat/1?key=1")) == events


def test_a_run_whose_beginning_is_trimmed_is_refused() -> None:
    with served("takeover", "runs_app:app", retention_entries=100) as hub:
        hub.ask("POST", "/chat/1?key=1&count=10")
        # One run of as many events may itself be trimmed before this client has read it.
        for number in range(2, 52):
            hub.ask("POST", f"/chat/{number}?key=1&count=10")
        answer = hub.ask("POST", "/chat/1?key=1")
        assert (answer.status, answer.json()["code"]) == (410, "gap")
        assert hub.ask("GET", "/chat/1").status == 204


def test_nothing_is_attached_to_without_a_run(hub: Served, chat: str) -> None:
    assert hub.ask("GET", chat).status == 204
    assert hub.ask("DELETE", chat).json() == {"state": None}


def test_the_ui_message_stream_of_the_ai_sdk(hub: Served, chat: str) -> None:
    answer = hub.ask("POST", f"{chat}?key=1&count=2&sdk=true")
    assert answer.headers["x-vercel-ai-ui-message-stream"] == "v1"
    *parts, done = texts(events_in(answer))
    assert done == "[DONE]"
    kinds = [json.loads(part)["type"] for part in parts]
    assert kinds == ["start", "text-start", "text-delta", "text-delta", "text-end", "finish"]


# -- OpenAI's Responses, by the numbers of their events


def numbers(events: list[Event]) -> list[int]:
    return [json.loads(event.data)["sequence_number"] for event in events]


def ask_response(hub: Served, input: str) -> Answer:
    body, headers = json.dumps({"input": input}), {"Content-Type": "application/json"}
    return hub.ask("POST", "/v1/responses", body, headers)


def test_attaching_by_the_number_of_an_event(hub: Served) -> None:
    with ThreadPoolExecutor(1) as pool:
        whole = pool.submit(ask_response, hub, "300 numbers")
        path = "/v1/responses/resp_300_numbers?stream=true"
        wait_until(lambda: "resp_300_numbers" in hub.ask("GET", "/hub/runs").body.decode())
        with hub.listen(path) as everything:
            events = everything.take(30)
            with hub.listen(f"{path}&starting_after=20") as some:
                assert numbers(some.rest())[0] == 21
            events += everything.rest()
        assert events == events_in(whole.result())
    last = numbers(events)[-1]
    assert numbers(events) == list(range(last + 1))
    assert hub.ask("GET", path).status == 204
    assert numbers(events_in(hub.ask("GET", f"{path}&starting_after={last - 2}"))) == [last - 1, last]
    for beyond in (last, last + 1, 2**53 - 1):
        assert hub.ask("GET", f"{path}&starting_after={beyond}").status == 204
    for invalid in ("", "x", "-1", "1" * 30, "1&starting_after=2"):
        answer = hub.ask("GET", f"{path}&starting_after={invalid}")
        assert (answer.status, answer.json()["code"]) == (400, "invalid_query")


def test_a_number_is_found_in_what_is_no_longer_in_memory(tmp_path: Path) -> None:
    log = f"sqlite:///{tmp_path}/log.db"
    with served("takeover", "runs_app:app", log=log, window_entries=100) as hub:
        events = events_in(ask_response(hub, "1200"))
        for after in (3, 777):
            answer = hub.ask("GET", f"/v1/responses/resp_1200?starting_after={after}")
            assert events_in(answer) == events[after + 1 :]


# -- text


def test_a_run_as_text(hub: Served, chat: str) -> None:
    path = chat.replace("/chat/", "/text/")
    for _ in range(2):
        answer = hub.ask("POST", f"{path}?question=10")
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.body.decode() == "".join(tokens(10))


@pytest.mark.parametrize("how", ["fail", "cancel"])
def test_text_that_is_not_whole_never_ends_properly(hub: Served, chat: str, how: str) -> None:
    path = f"{chat.replace('/chat/', '/text/')}-{how}?question={'fail' if how == 'fail' else '100000'}"
    connection = HTTPConnection("127.0.0.1", hub.port, timeout=PATIENCE)
    connection.request("POST", path)
    response = connection.getresponse()
    assert response.read(7) == b"token 0"
    if how == "cancel":
        hub.ask("DELETE", f"{chat}-{how}")
    with pytest.raises(IncompleteRead):
        response.read()
    connection.close()
