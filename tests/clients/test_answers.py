"""Real clients read runs: a whole answer is whole, and one that is cut in the middle is an error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from support.nodejs import CLIENTS, node, node_clients
from support.processes import Process
from support.waiting import wait_until
from support.ways import Served, served

from .test_runs import Chat, tokens


class Client(NamedTuple):
    language: str
    what: str


ALL = [
    Client("js", "chat"),
    Client("js", "responses"),
    Client("js", "ag-ui"),
    Client("js", "text"),
    Client("py", "chat"),
    Client("py", "responses"),
]
each_client = pytest.mark.parametrize("client", ALL, ids=lambda client: f"{client.language}-{client.what}")
each_responses = pytest.mark.parametrize(
    "client", [Client("js", "responses"), Client("py", "responses")], ids=lambda client: client.language
)
MIDDLE = 5


class Reader(Process):
    """A client that reads an answer, in a process of its own."""

    def __init__(self, hub: Served, client: Client, question: str, *start: str) -> None:
        if client.language == "js":
            node_clients()
        command: str | object = node() if client.language == "js" else sys.executable
        extension = "mjs" if client.language == "js" else "py"
        program = CLIENTS / "programs" / f"answers.{extension}"
        url = f"http://127.0.0.1:{hub.port}"
        super().__init__([command, program, client.what, url, question, *start])

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.output.splitlines() if line.startswith("{")]

    def text(self) -> str:
        return "".join(line.get("text", "") for line in self.lines())

    def wait_for_middle(self) -> None:
        wait_until(lambda: tokens(MIDDLE) in self.text())

    def over(self) -> str:
        wait_until(lambda: "over" in (self.lines() or [{}])[-1])
        return str(self.lines()[-1]["over"])


@pytest.fixture(scope="module")
def hub() -> Iterator[Served]:
    with served("takeover", "runs_app:app") as hub:
        yield hub


def question(client: Client, what: str) -> str:
    """Return a question of this client's own."""
    return f"{what} {client.language}-{client.what}"


def topic(client: Client, asked: str) -> str:
    return f"resp_{asked.replace(' ', '_')}" if client.what == "responses" else asked


def stop(hub: Served, client: Client, asked: str) -> None:
    answer = hub.ask("DELETE", f"/chat/{topic(client, asked).replace(' ', '%20')}")
    assert answer.json() == {"state": "cancelled"}


@each_client
def test_a_whole_answer(hub: Served, client: Client) -> None:
    with Reader(hub, client, question(client, "10")) as reader:
        assert reader.over() == "end", reader.output
        assert reader.text() == tokens(10)


@each_client
def test_an_answer_that_fails_is_an_error(hub: Served, client: Client) -> None:
    with Reader(hub, client, question(client, "fail")) as reader:
        assert reader.over() == "error", reader.output
        assert reader.text() == tokens(3)


@each_client
def test_an_answer_that_is_stopped_is_an_error(hub: Served, client: Client) -> None:
    asked = question(client, "100000")
    with Reader(hub, client, asked) as reader:
        reader.wait_for_middle()
        stop(hub, client, asked)
        assert reader.over() == "error", reader.output


def test_an_answer_whose_server_is_killed_is_an_error() -> None:
    with served("takeover", "runs_app:app") as hub:
        readers = {client: Reader(hub, client, question(client, "100000")) for client in ALL}
        try:
            for reader in readers.values():
                reader.wait_for_middle()
            with Chat(hub, "send", "killed", "100000") as chat:
                wait_until(lambda: len(chat.chunks()) > MIDDLE)
                hub.process.kill()
                assert chat.wait() != 0, "the transport of the AI SDK takes it for an answer"
            assert {client: reader.over() for client, reader in readers.items()} == dict.fromkeys(
                ALL, "error"
            )
        finally:
            for reader in readers.values():
                reader.kill()


# -- resuming a response


@each_responses
def test_going_on_after_an_event_of_a_response(hub: Served, client: Client) -> None:
    asked = question(client, "400")
    with Reader(hub, client, asked) as first:
        first.wait_for_middle()
        first.kill()
        had = [line for line in first.lines() if "text" in line]
    with Reader(hub, client, topic(client, asked), str(had[-1]["number"])) as second:
        assert second.over() == "end", second.output
        assert "".join(line["text"] for line in had) + second.text() == tokens(400)
        assert second.lines()[0]["number"] == had[-1]["number"] + 1


def test_cancelling_a_response_with_the_sdk(hub: Served) -> None:
    import openai  # it takes a second, in each process of `make test`

    client = Client("py", "responses")
    asked = "100000 cancelled by the SDK"
    with Reader(hub, client, asked) as reader:
        reader.wait_for_middle()
        with openai.OpenAI(base_url=f"http://127.0.0.1:{hub.port}/v1", api_key="key") as sdk:
            assert sdk.responses.cancel(topic(client, asked)).status == "cancelled"
        assert reader.over() == "error"
        assert "could not be completed" in reader.lines()[-1]["why"]
