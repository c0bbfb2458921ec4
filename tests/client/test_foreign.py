"""The clients with other servers: sse-starlette, and APIs of language models."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from itertools import islice
from typing import Any

import orjson
import pytest
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from support.clients import QUICK, Client, data
from support.documents import blocks, serving
from support.scripted import Scripted, answer, chunked, stream
from tidewire.client import sync
from tidewire.client.core.reconnect import Change
from tidewire.client.sync import Comment, Opened, Policy, Wait
from tidewire.errors import StreamRefused, Unavailable

TOKENS = ["The", " moon", " pulls", "\nthe", " sea."]


async def numbers(request: Request) -> Response:
    """Three events per connection, after the client's last one; ten in all."""
    begin = int(request.headers.get("last-event-id", "0")) + 1
    if begin > 10:
        return Response(status_code=204)

    async def events() -> AsyncIterator[dict[str, Any]]:
        for n in range(begin, min(begin + 3, 11)):
            yield {"id": str(n), "event": "number", "data": f"{n}\r\n{n}", "retry": 10}

    return EventSourceResponse(events())


async def quiet(_: Request) -> Response:
    async def events() -> AsyncIterator[dict[str, Any]]:
        yield {"comment": "hello"}
        yield {"data": "a"}

    return EventSourceResponse(events(), sep="\n")


async def completions(request: Request) -> Response:
    """Like a model's API: a key, a JSON body, tokens, and a final marker."""
    if request.headers.get("authorization") != "Bearer secret":
        return JSONResponse({"error": {"message": "wrong key"}}, 401, {"x-request-id": "r1"})
    asked = await request.json()

    async def events() -> AsyncIterator[dict[str, Any]]:
        assert asked["stream"]
        for token in TOKENS:
            yield {"data": json.dumps({"choices": [{"delta": {"content": token}}]})}
        yield {"data": "[DONE]"}

    return EventSourceResponse(events())


APP = Starlette(
    routes=[
        Route("/numbers", numbers),
        Route("/quiet", quiet),
        Route("/v1/chat/completions", completions, methods=["POST"]),
    ]
)


@pytest.fixture(scope="module")
def theirs() -> Any:
    with serving(APP) as url:
        yield url


def test_sse_starlette_is_resumed_until_it_says_204(client: Client, theirs: str) -> None:
    changes: list[Change] = []
    with client.connect(f"{theirs}/numbers", reconnect=QUICK, on_change=changes.append) as events:
        got = [(event.id, event.event, event.data) for event in events]
    assert got == [(str(n), "number", f"{n}\n{n}") for n in range(1, 11)]
    assert [type(change) for change in changes if not isinstance(change, Wait)].count(Opened) == 4


def test_comments_of_sse_starlette(client: Client, theirs: str) -> None:
    with client.connect(f"{theirs}/quiet", reconnect=False, comments=True) as events:
        assert [getattr(event, "data", None) for event in events if not isinstance(event, Comment)] == ["a"]


def ask(client: Client, url: str, key: str = "secret", **options: Any) -> Any:
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "Why is there a tide?"}]}
    headers = {"Authorization": f"Bearer {key}"}
    return client.connect(url + "/v1/chat/completions", headers=headers, body=body, **options)


def test_the_tokens_of_a_model(client: Client, theirs: str) -> None:
    with ask(client, theirs) as events:
        received = [event.data for event in events]
    assert received.pop() == "[DONE]"
    assert [json.loads(item)["choices"][0]["delta"]["content"] for item in received] == TOKENS


def test_the_error_of_a_wrong_key_has_the_headers_of_the_answer(client: Client, theirs: str) -> None:
    with pytest.raises(StreamRefused, match="401") as caught:
        next(ask(client, theirs, key="wrong"))
    assert (caught.value.status, caught.value.headers["x-request-id"]) == (401, "r1")


def test_a_busy_model_is_retried(client: Client) -> None:
    busy = answer("429 Too Many Requests", "Retry-After: 0", "Content-Type: application/json", body=b"{}")
    received = stream(b'data: {"a": 1}\n\ndata: [DONE]\n\n')
    with Scripted(busy, answer("529 Overloaded"), received) as server:
        policy = Policy(retry=0.02, reconnect=False, attempts=4)
        assert data(ask(client, server.url, reconnect=policy)) == ['{"a": 1}', "[DONE]"]
    assert len({request.body for request in server.requests}) == 1
    assert len(server.requests) == 3


def test_an_answer_that_breaks_off_is_not_requested_again(client: Client) -> None:
    with Scripted(chunked(b"data: a\n\n", end=False)) as server:
        events = ask(client, server.url)
        assert next(events).data == "a"
        with pytest.raises(Unavailable) as caught:
            next(events)
    assert caught.value.code == "stream_lost"
    assert len(server.requests) == 1


def test_named_events_and_pings(client: Client) -> None:
    script = chunked(
        b'event: message_start\ndata: {"type":"message_start"}\n\nevent: ping\ndata: {"type": "ping"}\n\n',
        b'event: content_block_delta\ndata: {"delta":{"type":"text_delta","text":"\xf0\x9f',
        b'\x8c\x99"}}\n\n',
        b'event: error\ndata: {"type":"error"}\n\nevent: message_stop\ndata: {}\n\n',
    )
    with Scripted(script) as server, ask(client, server.url) as events:
        first = list(islice(events, 3))
        rest = [event.event for event in events]
    assert [event.event for event in first] == ["message_start", "ping", "content_block_delta"]
    assert first[2].json()["delta"]["text"] == "\U0001f319"
    assert rest == ["error", "message_stop"]


# -- the page of the documentation


def program(number: int) -> dict[str, Any]:
    block = blocks("python", "docs/how-to/llm.md")[number]
    names: dict[str, Any] = {"__name__": "main"}
    exec(compile(block.text, block.place, "exec"), names)
    return names


def test_the_page_on_models_reads_one(theirs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", "secret")
    received = program(0)["tokens"](theirs + "/v1/chat/completions", "Why is there a tide?")
    assert "".join(received) == "".join(TOKENS)


def test_the_page_on_models_relays_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    deltas = [{"choices": [{"delta": {"content": token}}]} for token in TOKENS]
    script = stream(*[f"data: {json.dumps(item)}\n\n".encode() for item in deltas], b"data: [DONE]\n\n")
    with Scripted(script) as model:
        monkeypatch.setenv("MODEL_URL", model.url)
        with serving(program(1)["app"]) as url:
            received = list(sync.connect(f"{url}/answer?question=why", reconnect=False))
    assert [event.event for event in received] == ["token"] * len(TOKENS) + ["done"]
    assert [event.json()["content"] for event in received[:-1]] == TOKENS
    assert orjson.loads(model.requests[0].body)["messages"][0]["content"] == "why"
