"""What an agent of pydantic-ai yields is a run's output as it is, encoded or not."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from support.fakes import until
from tidewire import Hub
from tidewire.runs.dialects import Dialect, ag_ui, ai_sdk

pydantic_ai = pytest.importorskip("pydantic_ai")
test_models = pytest.importorskip("pydantic_ai.models.test")
of_ag_ui = pytest.importorskip("pydantic_ai.ui.ag_ui")
of_vercel = pytest.importorskip("pydantic_ai.ui.vercel_ai")

QUESTION = "What is the tide?"
VERCEL = {
    "trigger": "submit-message",
    "id": "1",
    "messages": [{"id": "1", "role": "user", "parts": [{"type": "text", "text": QUESTION}]}],
}
AG_UI = {
    "threadId": "1",
    "runId": "1",
    "state": {},
    "messages": [{"id": "1", "role": "user", "content": QUESTION}],
    "tools": [],
    "context": [],
    "forwardedProps": {},
}


def adapter(dialect: Dialect) -> Any:
    """Return the adapter of an agent that calls a tool, and then answers."""
    agent = pydantic_ai.Agent(test_models.TestModel(custom_output_text="It is high tide."))

    @agent.tool_plain
    def tide() -> str:
        return "high"

    kind, body = (of_vercel.VercelAIAdapter, VERCEL) if dialect is ai_sdk else (of_ag_ui.AGUIAdapter, AG_UI)
    return kind(agent=agent, run_input=kind.build_run_input(json.dumps(body).encode()))


@pytest.mark.parametrize("dialect", [ag_ui, ai_sdk], ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("encoded", [True, False], ids=["encoded", "events"])
async def test_an_agent_with_a_tool(dialect: Dialect, encoded: bool) -> None:
    async def produce() -> AsyncIterator[Any]:
        made = adapter(dialect)
        stream = made.run_stream()
        async for item in made.encode_stream(stream) if encoded else stream:
            yield item

    hub = Hub()
    async with hub.lifespan():
        run = await hub.run("a", produce, key="1", dialect=dialect)
        await until(lambda: not hub.node.window.records.newest_run("a").open, 0.01)  # type: ignore[union-attr]
        assert [run.state for run in await hub.runs()] == ["done"], run
        events = [event for event in await hub.history("a") if event.event == "message"]
    parts = [json.loads(event.data) for event in events if event.data != "[DONE]"]
    first, last = ("start", "finish") if dialect is ai_sdk else ("RUN_STARTED", "RUN_FINISHED")
    kinds = [part["type"] for part in parts]
    assert (kinds[0], kinds[-1], kinds.count(first), kinds.count(last)) == (first, last, 1, 1)
    tool = "tool-output-available" if dialect is ai_sdk else "TOOL_CALL_RESULT"
    assert tool in kinds
    said = ("text-delta", "TEXT_MESSAGE_CONTENT")
    assert "".join(part["delta"] for part in parts if part["type"] in said) == "It is high tide."
    assert not any("message_id" in part or None in part.values() for part in parts)
    assert [event.data for event in events].count("[DONE]") == (dialect is ai_sdk)
