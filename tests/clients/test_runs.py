"""The SDKs of models start runs, and are told of each of their ends; the AI SDK comes back to them, too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from support.nodejs import CLIENTS, node, node_clients
from support.processes import Process
from support.waiting import wait_until
from support.ways import Served, served


@pytest.fixture(scope="module")
def hub() -> Iterator[Served]:
    with served("takeover", "runs_app:app") as hub:
        yield hub


class Chat(Process):
    """The transport, in a process of its own."""

    def __init__(self, hub: Served, what: str, *args: str) -> None:
        node_clients()
        program = CLIENTS / "programs" / "runs.mjs"
        super().__init__([node(), program, f"http://127.0.0.1:{hub.port}", what, *args])

    def chunks(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.output.splitlines() if line.startswith("{")]

    def all_chunks(self) -> list[dict[str, Any]]:
        assert self.wait() == 0, self.output
        return self.chunks()


def text_in(chunk: dict[str, Any]) -> str:
    return "".join(part["text"] for part in chunk["message"]["parts"] if part["type"] == "text")


def tokens(count: int) -> str:
    return "".join(f"token {number}" for number in range(count))


def test_a_whole_answer(hub: Served) -> None:
    with Chat(hub, "send", "whole", "10") as chat:
        *chunks, message = chat.all_chunks()
    assert [chunk["type"] for chunk in (chunks[0], chunks[-1])] == ["start", "finish"]
    assert text_in(message) == tokens(10)
    assert message["message"]["parts"][0]["state"] == "done"


def test_coming_back_to_an_answer(hub: Served) -> None:
    with Chat(hub, "send", "back", "100000") as first:
        wait_until(lambda: len(first.chunks()) > 5)
        first.kill()
    with Chat(hub, "reconnect", "back") as second:
        wait_until(lambda: len(second.chunks()) > 5)
        hub.ask("DELETE", "/chat/back")
        *_, abort, message = second.all_chunks()
    assert abort == {"type": "abort"}
    assert text_in(message).startswith(tokens(5))
    with Chat(hub, "reconnect", "back") as third:
        assert third.all_chunks() == [{"nothing": True}]


def test_an_answer_that_is_stopped_by_another_client(hub: Served) -> None:
    with Chat(hub, "send", "stopped", "100000") as chat:
        wait_until(lambda: len(chat.chunks()) > 5)
        assert hub.ask("DELETE", "/chat/stopped").json() == {"state": "cancelled"}
        *_, abort, _ = chat.all_chunks()
    assert abort == {"type": "abort"}


def test_an_answer_that_fails(hub: Served) -> None:
    with Chat(hub, "send", "failed", "fail") as chat:
        *_, error, _ = chat.all_chunks()
    assert error == {"type": "error", "errorText": "The answer could not be completed."}


# -- chunks of chat completions


def pieces(hub: Served, question: str) -> Iterator[str]:
    import openai  # it takes a second, in each process of `make test`

    client = openai.OpenAI(base_url=f"http://127.0.0.1:{hub.port}/v1", api_key="key", max_retries=0)
    with client:
        messages: Any = [{"role": "user", "content": question}]
        for chunk in client.chat.completions.create(model="m", messages=messages, stream=True):
            (choice,) = chunk.choices
            yield choice.delta.content or choice.finish_reason or ""


def test_chunks_of_a_whole_answer(hub: Served) -> None:
    expected = [*(f"token {number}" for number in range(10)), "stop"]
    assert list(pieces(hub, "10")) == expected
    assert list(pieces(hub, "10")) == expected, "a repeated request gets the same answer"


def test_chunks_of_an_answer_that_fails(hub: Served) -> None:
    from openai import APIError

    with pytest.raises(APIError, match="could not be completed"):
        list(pieces(hub, "fail"))


def test_chunks_of_an_answer_that_is_cancelled(hub: Served) -> None:
    from openai import APIError

    answer = pieces(hub, "100000")
    next(answer)
    hub.ask("DELETE", "/chat/100000")
    with pytest.raises(APIError, match="could not be completed"):
        list(answer)
