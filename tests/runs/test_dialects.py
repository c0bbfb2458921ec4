"""What each dialect makes of text, of parts of its own protocol, and of what SDKs of models yield."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, TypeAdapter

from tidewire import Event, Run
from tidewire.errors import InvalidInput
from tidewire.runs.dialects import (
    AiSdk,
    Dialect,
    ag_ui,
    ai_sdk,
    openai_chat,
    openai_responses,
    plain_text,
    register,
)

RUN = Run("chat/1", "key", "id", "node", "", 1, 1_000_000.0)


def spell(dialect: Dialect, items: Iterable[Any]) -> list[tuple[str, Any]]:
    """Return the types and data of a run that is done, with its data read as JSON if it is JSON."""
    speaker = dialect.speaker(RUN, None)
    spelled = [found for item in items for found in speaker.item(item)]
    spelled += [*speaker.last(), *dialect.closing(RUN, "done", "")]
    return [(event, json.loads(data) if data.startswith("{") else data) for event, data in spelled]


def chat_chunks(*texts: str, finish: bool = True) -> list[Any]:
    chunks: list[dict[str, Any]] = [{"delta": {"content": text}, "finish_reason": None} for text in texts]
    chunks += [{"delta": {}, "finish_reason": "stop"}] if finish else []
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    usage = {**head, "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}
    bodies = [{**head, "choices": [{"index": 0, **chunk}]} for chunk in chunks]
    # Each process of `make test` reads this file, and few need these imports, which take two seconds.
    from openai.types.chat import ChatCompletionChunk

    return [ChatCompletionChunk.model_validate(body) for body in [*bodies, *([usage] if finish else [])]]


def messages(*texts: str, finish: bool = True) -> list[Any]:
    message = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": []}
    usage = {"input_tokens": 1, "output_tokens": 1}
    start = {**message, "stop_reason": None, "stop_sequence": None, "usage": usage}
    deltas = [{"type": "text_delta", "text": text} for text in texts]
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": 0},
    ]
    if finish:
        ended = {"stop_reason": "end_turn", "stop_sequence": None}
        events += [{"type": "message_delta", "delta": ended, "usage": usage}, {"type": "message_stop"}]
    from anthropic.types import RawMessageStreamEvent

    read: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
    return [read.validate_python(event) for event in events]


def responses(*texts: str, finish: bool = True) -> list[Any]:
    from openai.types.responses import ResponseStreamEvent

    spelled = spell(openai_responses, texts)
    read: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
    return [read.validate_python(data) for _, data in (spelled if finish else spelled[:-1])]


MODELS = {"openai": chat_chunks, "anthropic": messages, "openai responses": responses}
each_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)


def texts(dialect: Dialect, spelled: list[tuple[str, Any]]) -> list[str]:
    found: dict[Dialect, Callable[[Any], Any]] = {
        ai_sdk: lambda data: data.get("delta"),
        ag_ui: lambda data: data.get("delta"),
        openai_chat: lambda data: data["choices"] and data["choices"][0]["delta"].get("content"),
        openai_responses: lambda data: isinstance(data.get("delta"), str) and data["delta"],
    }
    if dialect is plain_text:
        return [data for _, data in spelled]
    return [text for _, data in spelled if isinstance(data, dict) and (text := found[dialect](data))]


DIALECTS = [ag_ui, ai_sdk, openai_chat, openai_responses, plain_text]
each_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)


@each_dialect
@each_model
def test_the_text_of_every_model(dialect: Dialect, model: Callable[..., list[Any]]) -> None:
    assert texts(dialect, spell(dialect, model("one ", "two"))) == ["one ", "two"]


@each_dialect
@each_model
def test_an_answer_of_a_model_that_is_cut_is_not_whole(
    dialect: Dialect, model: Callable[..., list[Any]]
) -> None:
    with pytest.raises(EOFError):
        spell(dialect, model("one ", "two", finish=False))


@each_dialect
def test_a_second_call_of_a_model_is_whole_or_not_by_itself(dialect: Dialect) -> None:
    with pytest.raises(EOFError):
        spell(dialect, [*messages("one"), *messages("two", finish=False)])


@each_dialect
def test_what_no_dialect_takes(dialect: Dialect) -> None:
    for item in (1, None, object(), Event("x"), SimpleNamespace(text="x")):
        with pytest.raises(InvalidInput):
            spell(dialect, [item])


def test_what_a_model_sent_is_sent_as_it_is_in_its_own_protocol() -> None:
    chunks = [data for _, data in spell(openai_chat, chat_chunks("one"))]
    assert chunks == [*(chunk.to_dict(mode="json") for chunk in chat_chunks("one")), "[DONE]"]
    events = responses("one")
    assert spell(openai_responses, events) == [(event.type, event.to_dict(mode="json")) for event in events]


def test_the_events_of_ag_ui() -> None:
    ids = {"threadId": "chat/1", "runId": "key"}
    tool = {"type": "TOOL_CALL_START", "toolCallId": "t", "toolCallName": "tide"}
    assert [data for _, data in spell(ag_ui, ["one", "", tool, "two"])] == [
        {"type": "RUN_STARTED", **ids},
        {"type": "TEXT_MESSAGE_START", "messageId": "id-1", "role": "assistant"},
        {"type": "TEXT_MESSAGE_CONTENT", "messageId": "id-1", "delta": "one"},
        {"type": "TEXT_MESSAGE_END", "messageId": "id-1"},
        tool,
        {"type": "TEXT_MESSAGE_START", "messageId": "id-2", "role": "assistant"},
        {"type": "TEXT_MESSAGE_CONTENT", "messageId": "id-2", "delta": "two"},
        {"type": "TEXT_MESSAGE_END", "messageId": "id-2"},
        {"type": "RUN_FINISHED", **ids},
    ]
    for own in ("RUN_FINISHED", "RUN_ERROR"):
        assert [data["type"] for _, data in spell(ag_ui, [{"type": own}])] == ["RUN_STARTED", own]
    assert [data["type"] for _, data in spell(ag_ui, [])] == ["RUN_STARTED", "RUN_FINISHED"]


def test_the_events_of_responses() -> None:
    spelled = spell(openai_responses, ["one ", "two"])
    assert [event for event, _ in spelled] == [data["type"] for _, data in spelled]
    assert [data["sequence_number"] for _, data in spelled] == list(range(len(spelled)))
    last = spelled[-1][1]["response"]
    assert (last["id"], last["status"]) == ("key", "completed")
    assert last["output"][0]["content"][0]["text"] == "one two"
    with pytest.raises(EOFError):
        spell(openai_responses, [{"type": "response.created", "sequence_number": 0}])


def test_an_end_that_is_not_done_is_an_error_in_each_protocol() -> None:
    def closing(dialect: Dialect) -> list[Any]:
        return [json.loads(data) for _, data in dialect.closing(RUN, "lost", "") if data != "[DONE]"]

    assert closing(ag_ui)[0]["type"] == "RUN_ERROR"
    (error,) = closing(openai_responses)
    assert (error["type"], error["error"]["code"]) == ("error", "lost")
    assert error["sequence_number"] == 2**53 - 1
    assert closing(plain_text) == [], "the body is not finished instead"


# -- as pydantic-ai encodes


class Chunk(BaseModel):
    """As the events of pydantic-ai and AG-UI are written: by alias, and without what is None."""

    model_config = ConfigDict(alias_generator=lambda name: {"message_id": "messageId"}.get(name, name))
    type: str
    message_id: str | None = None
    delta: str | None = None

    def encoded(self) -> str:
        return f"data: {self.model_dump_json(by_alias=True, exclude_none=True)}\n\n"


@pytest.mark.parametrize(
    ("dialect", "first", "last"),
    [(ai_sdk, "start", "finish"), (ag_ui, "RUN_STARTED", "RUN_FINISHED")],
    ids=["ai_sdk", "ag_ui"],
)
def test_events_that_are_encoded_or_not_are_the_same(dialect: Dialect, first: str, last: str) -> None:
    chunks = [Chunk(type=first, messageId="1"), Chunk(type="x", delta="one"), Chunk(type=last)]
    expected = [{"type": first, "messageId": "1"}, {"type": "x", "delta": "one"}, {"type": last}]
    encoded = [chunk.encoded() for chunk in chunks] + ["data: [DONE]\n\n"]
    for items in (chunks, encoded):
        assert [data for _, data in spell(dialect, items) if data != "[DONE]"] == expected


def test_text_that_looks_like_an_event_is_text() -> None:
    looks_so = Chunk(type="start").encoded()
    assert texts(ai_sdk, spell(ai_sdk, ["one", looks_so])) == ["one", looks_so]
    other = Chunk(type="tool-input-start").encoded()
    assert texts(ai_sdk, spell(ai_sdk, [other])) == [other]


def test_a_name_is_registered_once() -> None:
    register(ai_sdk)
    with pytest.raises(InvalidInput, match="another dialect named 'ai_sdk'"):
        register(AiSdk())
