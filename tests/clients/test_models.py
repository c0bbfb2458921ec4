"""SDKs of models read a plain stream of a hub and an EventStreamResponse exactly, through silence too."""

from __future__ import annotations

import json
import signal
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import pytest

from support.client_matrix import MODELS, Client
from support.foreign_clients import (
    TEXTS,
    Kept,
    Programs,
    Results,
    Server,
    check_installed,
    is_installed,
    wait_each,
)
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


class Case(NamedTuple):
    """A client, and whether the answer is a topic of a hub (`plain`) or a generator (`generated`)."""

    client: Client
    kind: str

    @property
    def id(self) -> str:
        return f"{self.client.id}-{self.kind}"


CASES = [Case(client, kind) for client in MODELS for kind in ("plain", "generated")]
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)


class Answers:
    """The answers that all clients read at the same time."""

    def __init__(self, server: Server, programs: Programs) -> None:
        self._server = server
        self._topics = {case: uuid.uuid4().hex for case in CASES if is_installed(case.client)}
        self._readers = {
            case: programs.open(case.client, f"{server.url}/{case.kind}/{topic}")
            for case, topic in self._topics.items()
        }

    def send(self, part: Callable[[Dialect], list[tuple[str, str]]]) -> None:
        for case, topic in self._topics.items():
            publish = self._server.publish if case.kind == "plain" else self._server.feed
            for event, data in part(DIALECTS[case.client.package]):
                publish(topic, data, event)

    def send_half(self) -> None:
        self.send(lambda dialect: [*dialect.before, *dialect.texts[:3]])
        wait_each(self._readers.values(), lambda reader: len(reader.texts()) == 3)

    def end(self) -> None:
        for case, topic in self._topics.items():
            (self._server.end if case.kind == "plain" else self._server.end_feed)(topic)

    def taken(self) -> Results:
        """Wait until each is over."""
        wait_each(self._readers.values(), lambda reader: False)
        return Results({case: Kept(reader, self._topics[case], []) for case, reader in self._readers.items()})


@pytest.fixture(scope="module")
def programs() -> Iterator[Programs]:
    with Programs("models") as programs:
        yield programs


@pytest.fixture(scope="module")
def whole(server: Server, programs: Programs) -> Results:
    answers = Answers(server, programs)
    answers.send_half()
    server.stay_silent()
    answers.send(lambda dialect: [*dialect.texts[3:], *dialect.after])
    answers.end()
    return answers.taken()


@each_case
def test_an_answer_with_silence_inside_is_read_exactly(whole: Results, case: Case) -> None:
    assert whole[case].texts() == TEXTS
    assert whole[case].over() == "end"


@pytest.fixture(scope="module", params=[signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def half(request: pytest.FixtureRequest, server: Server, programs: Programs) -> Results:
    answers = Answers(server, programs)
    answers.send_half()
    server.restart(request.param)
    return answers.taken()


@each_case
def test_half_an_answer_is_an_error(half: Results, case: Case) -> None:
    assert half[case].texts() == TEXTS[:3]
    assert half[case].over() == "error"


@pytest.mark.parametrize("client", MODELS, ids=lambda client: client.id)
def test_a_position_that_cannot_be_continued_is_an_error(
    server: Server, programs: Programs, client: Client
) -> None:
    check_installed(client)
    url = f"{server.url}/plain/{uuid.uuid4().hex}?last_event_id=AAAAAA.5&path="
    reader = programs.open(client, url)
    wait_until(reader.is_over)
    assert reader.over() == "error"
    (last,) = reader.lines()
    assert "410" in last["why"]
