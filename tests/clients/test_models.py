"""SDKs of models read a plain stream of a hub and an EventStreamResponse exactly, through silence too."""

from __future__ import annotations

import json
import signal
import uuid
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import pytest

from support.client_matrix import MODELS, Client
from support.foreign_clients import TEXTS, Reader, Server
from support.waiting import wait_until

DONE = ("message", "[DONE]")

# The characters themselves are on the wire.
dumps = partial(json.dumps, ensure_ascii=False)


def openai(text: str) -> tuple[str, str]:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "m", "choices": [choice]}
    return "message", dumps(chunk)


def anthropic(type: str, **fields: object) -> tuple[str, str]:
    return type, dumps({"type": type, **fields})


def plain(type: str, **fields: object) -> tuple[str, str]:
    return "message", dumps({"type": type, **fields})


class Dialect(NamedTuple):
    """What a model's API sends: events before the texts, one for each text, and those after them."""

    before: list[tuple[str, str]]
    texts: list[tuple[str, str]]
    after: list[tuple[str, str]]


MESSAGE = {
    "id": "m",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [],
    "stop_reason": None,
}
USAGE = {"input_tokens": 1, "output_tokens": 1}
OPENAI = Dialect([], [openai(text) for text in TEXTS], [DONE])
ANTHROPIC = Dialect(
    [
        anthropic("message_start", message={**MESSAGE, "usage": USAGE}),
        anthropic("content_block_start", index=0, content_block={"type": "text", "text": ""}),
    ],
    [anthropic("content_block_delta", index=0, delta={"type": "text_delta", "text": text}) for text in TEXTS],
    [
        anthropic("content_block_stop", index=0),
        anthropic("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage=USAGE),
        anthropic("message_stop"),
    ],
)
UI_MESSAGES = Dialect(
    [plain("start"), plain("text-start", id="1")],
    [plain("text-delta", id="1", delta=text) for text in TEXTS],
    [plain("text-end", id="1"), plain("finish"), DONE],
)
AG_UI = Dialect(
    [
        plain("RUN_STARTED", threadId="t", runId="r"),
        plain("TEXT_MESSAGE_START", messageId="1", role="assistant"),
    ],
    [plain("TEXT_MESSAGE_CONTENT", messageId="1", delta=text) for text in TEXTS],
    [plain("TEXT_MESSAGE_END", messageId="1"), plain("RUN_FINISHED", threadId="t", runId="r")],
)
DIALECTS = {
    "openai": OPENAI,
    "anthropic": ANTHROPIC,
    "@anthropic-ai/sdk": ANTHROPIC,
    "ai": UI_MESSAGES,
    "@ag-ui/client": AG_UI,
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("models")) as server:
        yield server


class Answer:
    """The answer that one client reads, from a topic of a hub (`plain`) or from a generator (`generated`)."""

    def __init__(self, server: Server, kind: str, client: Client) -> None:
        self._server = server
        self._topic = uuid.uuid4().hex
        self._publish = server.publish if kind == "plain" else server.feed
        self._end = server.end if kind == "plain" else server.end_feed
        self.dialect = DIALECTS[client.package]
        self.reader = Reader(client, "models", f"{server.url}/{kind}/{self._topic}")

    def send(self, events: list[tuple[str, str]]) -> None:
        for event, data in events:
            self._publish(self._topic, data, event)

    def end(self) -> None:
        self._end(self._topic)


@pytest.mark.parametrize("kind", ["plain", "generated"])
@pytest.mark.parametrize("client", MODELS, ids=lambda client: client.id)
def test_an_answer_with_silence_inside_is_read_exactly(server: Server, client: Client, kind: str) -> None:
    answer = Answer(server, kind, client)
    with answer.reader as reader:
        answer.send([*answer.dialect.before, *answer.dialect.texts[:3]])
        wait_until(lambda: len(reader.texts()) == 3 or reader.is_over())
        server.stay_silent()
        answer.send([*answer.dialect.texts[3:], *answer.dialect.after])
        answer.end()
        assert reader.over() == "end", reader.output
    assert reader.texts() == TEXTS


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
@pytest.mark.parametrize("kind", ["plain", "generated"])
@pytest.mark.parametrize("client", MODELS, ids=lambda client: client.id)
def test_half_an_answer_is_an_error(
    request: pytest.FixtureRequest, server: Server, client: Client, kind: str, number: signal.Signals
) -> None:
    answer = Answer(server, kind, client)
    with answer.reader as reader:
        answer.send([*answer.dialect.before, *answer.dialect.texts[:3]])
        wait_until(lambda: len(reader.texts()) == 3 or reader.is_over())
        server.restart(number)
        assert reader.over() == "error", reader.output
    assert reader.texts() == TEXTS[:3]


@pytest.mark.parametrize("client", MODELS, ids=lambda client: client.id)
def test_a_position_that_cannot_be_continued_is_an_error(server: Server, client: Client) -> None:
    url = f"{server.url}/plain/{uuid.uuid4().hex}?last_event_id=AAAAAA.5&path="
    with Reader(client, "models", url) as reader:
        assert reader.over() == "error"
    (last,) = reader.lines()
    assert "410" in last["why"]
