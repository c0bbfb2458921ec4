"""Every program in examples/ runs and does what its docstring says."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from support.ports import free_port
from support.processes import Process
from tidewire.client.sync import connect

EXAMPLES = Path(__file__).parents[2] / "examples"
PROTOCOL = "tidewire.server.protocol:StreamProtocol"


@contextmanager
def running(name: str, **env: str) -> Iterator[str]:
    port = free_port()
    argv = [sys.executable, "-m", "uvicorn", f"examples.{name}:app", "--port", str(port), "--http", PROTOCOL]
    with Process(argv, cwd=EXAMPLES.parent, env=env) as server:
        server.wait_port(port)
        yield f"http://127.0.0.1:{port}"


def check_orders(url: str) -> None:
    with connect(f"{url}/orders/7/events") as stream:
        httpx2.post(f"{url}/orders/7/pay").raise_for_status()
        event = next(iter(stream))
        assert (event.event, event.json()) == ("status", {"status": "paid"})


def check_clock(url: str) -> None:
    with connect(f"{url}/clock") as stream:
        assert next(iter(stream)).event == "tick"


def check_foreign(url: str) -> None:
    with connect(f"{url}/ticks") as stream:
        assert next(iter(stream)).event == "tick"


def check_tokens(url: str) -> None:
    with connect(f"{url}/answer?question=why", reconnect=False) as stream:
        events = list(stream)
    assert events[-1].event == "done"
    assert [event.json()["text"] for event in events[:3]] == ["You", "ask", "why?"]


def check_progress(url: str) -> None:
    httpx2.post(f"{url}/jobs/import").raise_for_status()
    with connect(f"{url}/jobs/import") as stream:
        events = list(stream)
    assert [event.json() for event in events[:-1]] == [{"percent": percent} for percent in range(0, 101, 20)]
    assert events[-1].event == "hub.end"


def check_dashboard(url: str) -> None:
    before = httpx2.get(f"{url}/state").json()
    with connect(f"{url}/changes", last_event_id=before["position"]) as stream:
        changes = iter(stream)
        for expected in range(before["state"]["visitors"] + 1, 4):
            assert json.loads(next(changes).data) == {"visitors": expected}


CHECKS: dict[str, Callable[[str], None]] = {
    "clock": check_clock,
    "dashboard": check_dashboard,
    "foreign": check_foreign,
    "orders": check_orders,
    "progress": check_progress,
    "tokens": check_tokens,
}


def test_every_example_is_checked() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == CHECKS.keys()


@pytest.mark.parametrize("name", CHECKS)
def test_example(name: str) -> None:
    with running(name) as url:
        CHECKS[name](url)


@pytest.mark.parametrize("name", CHECKS)
def test_examples_are_short(name: str) -> None:
    lines = (EXAMPLES / f"{name}.py").read_text().splitlines()
    code = [line for line in lines if line.strip() and not line.strip().startswith("#")]
    assert len(code) <= 25


def test_the_chat(tmp_path: Path) -> None:
    """With its page and several workers: tests/browser/test_chat.py."""
    with running("chat.app", CHAT_LOG=f"sqlite:///{tmp_path}/chat.db", MODEL_PAUSE="0.01") as url:
        for path, kind in {"/": "text/html", "/chat.js": "text/javascript", "/chat.css": "text/css"}.items():
            assert httpx2.get(url + path).headers["content-type"].startswith(kind)
        chat = f"{url}/chats/tides"
        assert ask(chat, "1", "a long answer") == 202
        assert ask(chat, "2", "another one") == 409
        assert httpx2.delete(chat).status_code == 204
        assert ask(chat, "3", "why?") == 202
        assert ask(chat, "3", "why?") == 202  # a POST that is repeated
        with connect(chat) as stream:
            events = []
            for event in stream:
                events.append(event)
                if event.event == "run.done":
                    break
    ends = [event.event for event in events if event.event.startswith("run.")]
    questions = [event.json()["text"] for event in events if event.event == "question"]
    assert (ends, questions) == (["run.cancelled", "run.done"], ["a long answer", "why?"])


def ask(chat: str, id: str, text: str) -> int:
    return httpx2.post(chat, json={"id": id, "text": text}).status_code
