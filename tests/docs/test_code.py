"""The code in the documentation runs: programs, commands, JSON. JavaScript is tested in tests/browser."""

from __future__ import annotations

import asyncio
import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest

from support.documents import PAGES, ROOT, Block, blocks, read, serving
from support.identity_provider import AUDIENCE, identity_provider
from support.processes import Process
from support.terminal import Terminal
from support.tokens import bearer
from support.waiting import PATIENCE, wait_until
from tidewire import Hub, Tokens
from tidewire.client.sync import Stream, connect, end, publish
from tidewire.engines.sqlite.read_only import ReadOnly
from tidewire.engines.sqlite.transfer import Export, Import
from tidewire.errors import StreamRefused
from tidewire.event_stream import Decoder, Event
from tidewire.log.drafts import draft_of
from tidewire.log.entries import Since

Program = dict[str, Any]

# Checked here or in tests/browser/test_docs_js.py.
# The programs of other projects, which the tests do not install, are `py`: they are compiled.
CHECKED = {"", "console", "html", "http", "js", "json", "py", "python"}

# Proxies, which are tested in tests/browser; what the tests do not install, such as Docker; and SQL.
UNCHECKED = {"nginx", "haproxy", "caddy", "sh", "sql"}

# In test_deployment.py.
DEPLOYMENT = {"systemd", "yaml"}

TUTORIAL = "docs/tutorials/first-stream.md"
SECOND_PAGE = "docs/tutorials/four-workers.md"
THIRD_PAGE = "docs/tutorials/two-nodes.md"
BACKUP = "docs/how-to/backup.md"
AUTH = "docs/how-to/auth.md"
SESSIONS = "docs/how-to/sessions.md"
FROM_SSE_STARLETTE = "docs/how-to/from-sse-starlette.md"
FROM_POLLING = "docs/how-to/from-polling.md"
FRAMEWORK_PAGES = ["docs/how-to/aiohttp.md", "docs/how-to/quart.md", "docs/how-to/litestar.md"]


def test_every_language_is_known() -> None:
    assert {
        block.language for page in PAGES for block in read(page).blocks
    } <= CHECKED | UNCHECKED | DEPLOYMENT


# -- Python


def is_sketch(block: Block) -> bool:
    """Whether a block is from an explanation, which shows how something is built and not a program."""
    return block.page.startswith("docs/explanation/")


PROGRAMS = [block for block in blocks("python") if not is_sketch(block)]


def run(block: Block, text: str | None = None) -> Program:
    """Run a block as a program and return its names."""
    program: Program = {"__name__": "main"}
    exec(compile(text or block.text, block.place, "exec"), program)
    return program


def check_starts(program: Program, url: str) -> None:
    assert httpx2.get(f"{url}/openapi.json").status_code == 200
    assert program["hub"].node.ready


def check_orders(program: Program, url: str) -> None:
    with connect(f"{url}/orders/7/events") as stream:
        httpx2.post(f"{url}/orders/7/pay").raise_for_status()
        event = next(iter(stream))
        assert (event.event, event.json()) == ("status", {"status": "paid"})


def check_may_read(program: Program, url: str) -> None:
    assert httpx2.get(f"{url}/orders/7/events").status_code == 403
    with connect(f"{url}/orders/7/events", headers={"X-User": "ada"}) as stream:
        program["hub"].publish_soon("orders/8", "not yours").result(PATIENCE)
        program["hub"].publish_soon("announcements", "hello").result(PATIENCE)
        event = next(iter(stream))
        assert (event.topic, event.data) == ("announcements", "hello")


def check_described(program: Program, url: str) -> None:
    route = httpx2.get(f"{url}/openapi.json").json()["paths"]["/orders/{id}/events"]["get"]
    event = route["responses"]["200"]["content"]["text/event-stream"]["itemSchema"]
    assert event["properties"]["data"]["contentSchema"]["required"] == ["status"]


def check_mounted(program: Program, url: str) -> None:
    with connect(f"{url}/hub/events/orders/7") as stream:
        httpx2.post(f"{url}/hub/events/orders/7", content="paid").raise_for_status()
        assert next(iter(stream)).data == "paid"
    origin = {"Origin": "https://app.example.com"}
    assert httpx2.post(f"{url}/hub/events/orders/7", content="paid", headers=origin).status_code == 200


def check_other_framework(program: Program, url: str) -> None:
    with connect(url) as stream:
        program["hub"].publish_soon("news", "hello").result(PATIENCE)
        assert next(iter(stream)).data == "hello"


def check_clock(program: Program, url: str) -> None:
    with connect(f"{url}/clock") as stream:
        assert next(iter(stream)).event == "tick"


def check_words(program: Program, url: str) -> None:
    with connect(f"{url}/answer") as stream:
        assert next(iter(stream)).json() == {"text": "the"}


def check_state(program: Program, url: str) -> None:
    httpx2.put(f"{url}/orders/7", params={"status": "open"}).raise_for_status()
    state = httpx2.get(f"{url}/orders").json()
    assert state["orders"] == {"7": "open"}
    httpx2.put(f"{url}/orders/7", params={"status": "paid"}).raise_for_status()
    with connect(f"{url}/orders/changes", last_event_id=state["position"]) as stream:
        assert next(iter(stream)).json() == {"id": "7", "status": "paid"}


def check_polled(program: Program, url: str) -> None:
    httpx2.put(f"{url}/orders/7", params={"status": "paid"}).raise_for_status()
    assert httpx2.get(f"{url}/orders").json() == {"orders": {"7": "paid"}}


def check_told_when_to_ask(program: Program, url: str) -> None:
    with connect(f"{url}/orders/changes") as stream:
        check_polled(program, url)
        assert next(iter(stream)).data == "changed"


def check_room(program: Program, url: str) -> None:
    with connect(f"{url}/rooms/kitchen/events") as stream:
        said = {"text": "tea?"}
        httpx2.post(f"{url}/rooms/kitchen/messages", json=said).raise_for_status()
        event = next(iter(stream))
        assert (event.event, event.json()) == ("said", said)
    assert httpx2.post(f"{url}/rooms/*/messages", json=said).status_code == 400


def check_signed_in(program: Program, url: str) -> None:
    page = {"Accept": "application/json"}
    assert httpx2.get(f"{url}/hub/events/users/ada/1", headers=page).status_code == 401
    ada = {**page, "X-Session": "s3cret"}
    assert httpx2.get(f"{url}/hub/events/users/ada/1", headers=ada).status_code == 200
    assert httpx2.get(f"{url}/hub/events/users/bob/1", headers=ada).status_code == 403


def check_logout(program: Program, url: str) -> None:
    def listen(user: str) -> Stream:
        return connect(f"{url}/events", headers={"Cookie": f"session=secret-of-{user}"})

    for user in ("ann", "bob"):
        httpx2.post(f"{url}/login/{user}").raise_for_status()
    with listen("ann") as one, listen("ann") as two, listen("bob") as other:
        wait_until(lambda: len(program["hub"].streams()) == 3)
        httpx2.post(f"{url}/logout", headers={"Cookie": "session=secret-of-ann"}).raise_for_status()
        wait_until(lambda: [stream.sub for stream in program["hub"].streams()] == ["bob"])
        for stream in (one, two):
            with pytest.raises(StreamRefused) as refused:
                next(iter(stream))
            assert refused.value.status == 401
        program["hub"].publish_soon("users/bob", "hello").result(PATIENCE)
        assert next(iter(other)).data == "hello"


def check_database(program: Program, url: str) -> None:
    """A logout ends the streams, and no stream holds a connection to the database."""
    connections: list[sqlite3.Connection] = []

    class Recorded(sqlite3.Connection):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            connections.append(self)

    program["sqlite3"] = SimpleNamespace(
        connect=partial(sqlite3.connect, factory=Recorded), Connection=sqlite3.Connection
    )
    with httpx2.Client() as ann, httpx2.Client() as bob:
        for user, http in (("ann", ann), ("bob", bob)):
            http.post(f"{url}/login/{user}").raise_for_status()
        assert httpx2.get(f"{url}/events").status_code == 401
        listen = partial(connect, f"{url}/events")
        with listen(client=ann) as one, listen(client=ann) as two, listen(client=bob) as other:
            wait_until(lambda: len(program["hub"].streams()) == 3)
            assert len(connections) == 6
            for connection in connections:
                with pytest.raises(sqlite3.ProgrammingError, match="closed"):
                    connection.execute("SELECT 1")
            ann.post(f"{url}/logout").raise_for_status()
            for tab in (one, two):
                with pytest.raises(StreamRefused) as refused:
                    next(iter(tab))
                assert refused.value.status == 401
            program["hub"].publish_soon("users/bob", "hello").result(PATIENCE)
            assert next(iter(other)).data == "hello"


def check_starlette_session(program: Program, url: str) -> None:
    page = {"Accept": "application/json"}
    with httpx2.Client(headers=page) as ada:
        assert ada.get(f"{url}/hub/events/users/ada/1").status_code == 401
        ada.post(f"{url}/login/ada").raise_for_status()
        assert ada.get(f"{url}/hub/events/users/ada/1").status_code == 200
        assert ada.get(f"{url}/hub/events/users/bob/1").status_code == 403
        evil = {"Origin": "https://evil.example"}
        assert ada.get(f"{url}/hub/events/users/ada/1", headers=evil).status_code == 403
        with connect(f"{url}/hub/events/users/ada/1", client=ada) as stream:
            wait_until(lambda: [item.sub for item in program["hub"].streams()] == ["ada"])
            ada.post(f"{url}/logout").raise_for_status()
            with pytest.raises(StreamRefused) as refused:
                next(iter(stream))
            assert refused.value.status == 401


def check_identity_provider(program: Program, url: str) -> None:
    page = {"Accept": "application/json"}
    with identity_provider() as provider:
        provider.add("k1")
        program["tokens"] = Tokens(jwks_url=provider.url, issuer=provider.issuer, audience=AUDIENCE)
        ada = bearer(provider.token("k1", sub="ada", tidewire=None))
        assert httpx2.get(f"{url}/hub/events/users/ada/1", headers=page).status_code == 401
        assert httpx2.get(f"{url}/hub/events/users/ada/1", headers={**page, **ada}).status_code == 200
        assert httpx2.get(f"{url}/hub/events/users/bob/1", headers={**page, **ada}).status_code == 403


def check_responses(program: Program, url: str) -> None:
    import openai  # it takes a second, in each process of `make test`

    with openai.OpenAI(base_url=f"{url}/v1", api_key="key", max_retries=0) as client:
        events = list(client.responses.create(model="m", input="Why is there a tide?", stream=True))
        (whole,) = (event.response for event in events if event.type == "response.completed")
        assert whole.output_text == "Because of the moon."
        rest = list(client.responses.retrieve(whole.id, stream=True, starting_after=5))
        assert [event.sequence_number for event in rest] == list(range(6, len(events)))
        assert client.responses.cancel(whole.id).status == "completed"


def check_words_dialect(program: Program, url: str) -> None:
    answer = httpx2.post(f"{url}/answers/1")
    assert answer.headers["x-words"] == "1"
    events = [event for event in Decoder().feed(answer.content) if isinstance(event, Event)]
    spelled = [(event.event, event.data) for event in events]
    words = [("word", word) for word in ("because", "of", "the", "moon")]
    assert spelled == [*words, ("count", "4"), ("end", '{"complete": true}')]


# The check of each program that has an app, by its place in the documentation.
SERVED: dict[str, Callable[[Program, str], None]] = {
    "README.md#a-running-stream": check_orders,
    "docs/index.md#ten-lines": check_orders,
    f"{TUTORIAL}#in-your-own-program": check_orders,
    f"{SECOND_PAGE}#one-log-for-all": check_orders,
    f"{AUTH}#in-a-program": check_signed_in,
    "docs/how-to/fastapi.md#open-it-with-the-program": check_starts,
    "docs/how-to/fastapi.md#stream": check_may_read,
    "docs/how-to/fastapi.md#database-sessions-and-other-dependencies": check_may_read,
    "docs/how-to/fastapi.md#describe-it-in-openapi": check_described,
    "docs/how-to/fastapi.md#mount-the-whole-http-interface": check_mounted,
    "docs/how-to/fastapi.md#other-frameworks": check_other_framework,
    "docs/how-to/ending-streams.md#end-streams-when-a-user-logs-out": check_logout,
    f"{SESSIONS}#fastapi-and-a-database": check_database,
    f"{SESSIONS}#starlettes-session-cookie": check_starlette_session,
    f"{SESSIONS}#an-identity-provider": check_identity_provider,
    "docs/how-to/generators.md#stream-from-a-generator": check_clock,
    "docs/how-to/generators.md#a-route-that-yields": check_words,
    "docs/how-to/state.md#give-a-state-and-the-changes-after-it": check_state,
    "docs/how-to/workers.md#run-several-workers": check_orders,
    "docs/how-to/dialects.md#openais-responses": check_responses,
    "docs/how-to/dialects.md#a-dialect-of-your-own": check_words_dialect,
    # The programs of others and ours, side by side.
    f"{FROM_SSE_STARLETTE}#a-generator-for-each-client": check_clock,
    f"{FROM_SSE_STARLETTE}#one-event-for-many-clients": check_orders,
    f"{FROM_POLLING}#before": check_polled,
    f"{FROM_POLLING}#first-step-say-when-to-ask": check_told_when_to_ask,
    "docs/how-to/from-socketio.md#side-by-side": check_room,
}


async def check_publishing(program: Program) -> None:
    async with program["hub"].lifespan():
        await program["pay"](7)
        await asyncio.to_thread(program["from_a_thread"], 7)
        await program["hub"].publish("orders/7", "last")
        assert (await program["hub"].head()).offset == 3


async def check_stopping(program: Program) -> None:
    async with program["hub"].lifespan():
        await program["stop"]()
        assert program["hub"].node.draining


async def check_customer_is_told(program: Program) -> None:
    await asyncio.to_thread(program["test_the_customer_is_told"])


async def check_contract(program: Program) -> None:
    suite = program["TestMemory"]()
    tests = [name for name in dir(suite) if name.startswith("test_") and getattr(suite, name)]
    assert len(tests) > 40
    await asyncio.to_thread(suite.test_pages)


# The check of each program that has coroutines to call.
CALLED = {
    "docs/how-to/fastapi.md#publish": check_publishing,
    "docs/how-to/stopping.md#stop-cleanly": check_stopping,
    "docs/reference/testing.md#a-program-and-its-subscribers": check_customer_is_told,
    "docs/reference/testing.md#admit-an-engine": check_contract,
}

# Programs that connect to a hub or a model have other tests, below or in tests/client/test_foreign.py.
CLIENT_PAGE = "docs/reference/python-client.md"
CLIENTS = {block.place for block in PROGRAMS if block.page in (CLIENT_PAGE, "docs/how-to/llm.md")}
CLIENTS.add(f"{AUTH}#in-python")
# Run by tests/browser/test_private_topic.py.
CLIENTS.add(f"{AUTH}#in-the-browser")
# Run by tests/integrations/test_django.py.
CLIENTS.add(f"{SESSIONS}#django")
# Run by tests/integrations/test_moving.py.
CLIENTS.add("docs/how-to/from-django-eventstream.md#side-by-side")
CLIENTS.add("docs/how-to/from-flask-sse.md#side-by-side")
CLIENTS.add(f"{FROM_POLLING}#clients-that-go-on-polling")
# Run by tests/integrations/test_django_page.py.
CLIENTS |= {block.place for block in PROGRAMS if block.page == "docs/how-to/django.md"}
# Run by tests/integrations/test_flask.py.
CLIENTS |= {block.place for block in PROGRAMS if block.page == "docs/how-to/flask.md"}
# Run by tests/integrations/test_frameworks.py, on the servers of their frameworks.
CLIENTS |= {block.place for block in PROGRAMS if block.page in FRAMEWORK_PAGES}


@pytest.mark.parametrize(
    "block", [block for block in PROGRAMS if block.place not in CLIENTS], ids=lambda b: b.place
)
def test_program(block: Block, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)  # some have a log there
    program = run(block)
    assert ("app" in program) == (block.place in SERVED)
    if "app" in program:
        with serving(program["app"]) as url:
            SERVED[block.place](program, url)
    elif block.place in CALLED:
        asyncio.run(CALLED[block.place](program))


def test_every_check_has_its_program() -> None:
    assert {*SERVED, *CALLED} <= {block.place for block in PROGRAMS}


def test_the_programs_of_the_client_page_print_what_it_says(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)  # one of them writes a position file
    with serving(Hub(per_process=True).app) as url:
        receipt = publish(url, "orders/7", {"status": "paid"}, event="status")
        end(url, "orders/7")
        for block in blocks("python", CLIENT_PAGE):
            run(block, block.text.replace("http://localhost:8000", url))
    printed = capsys.readouterr().out.splitlines()
    listened = [f'{receipt["id"]} status {{"status":"paid"}}', f"{receipt['id'][:-1]}2 hub.end"]
    assert [line.partition(' {"topic')[0] for line in printed[:4]] == listened * 2
    assert printed[4:6] == ["status {'status': 'paid'}", "orders/7 is over: ended"]
    assert [line.partition("] ")[0] for line in printed[7:10]] == ["[1, 1000", "[1001, 2000", "[2001, 2500"]
    assert printed[10:] == ["10 False"]


@pytest.mark.parametrize(
    "block",
    [*(block for block in blocks("python") if is_sketch(block)), *blocks("py")],
    ids=lambda block: block.place,
)
def test_sketch(block: Block) -> None:
    compile(block.text, block.place, "exec")


# -- JSON


@pytest.mark.parametrize("block", blocks("json"), ids=lambda block: block.place)
def test_json(block: Block) -> None:
    json.loads(block.text)


def test_the_event_of_the_reference_can_be_published() -> None:
    (block,) = [item for item in blocks("json") if item.section == "publish"]
    draft = draft_of(json.loads(block.text), max_event=1000)
    assert (draft.topic, draft.event, draft.key) == ("orders/7", "status", "paid-7")


def test_the_line_of_an_export_is_real(tmp_path: Path) -> None:
    (block,) = blocks("json", "docs/reference/cli.md")
    path = tmp_path / "log.db"
    task = Import(str(path))
    task.run(io.BytesIO(block.text.encode()), lambda done, of: None)
    with closing(ReadOnly(str(path))) as log:
        export = Export(log, None, Since("start"))
        (line,) = [json.loads(page) for page in export.pages(lambda done, of: None)]
    assert {**line, "id": "q7Zp2K.42"} == json.loads(block.text)


def test_the_page_of_history_is_real() -> None:
    (block,) = [item for item in blocks("json") if item.section == "a-page-of-history"]
    with serving(Hub(per_process=True).app) as url:
        publish(url, "news", "hello")
        page = httpx2.get(f"{url}/events/news", headers={"Accept": "application/json"})
    life = page.json()["head"].partition(".")[0]
    assert json.loads(page.text.replace(life, "q7Zp2K")) == json.loads(block.text)


# -- commands

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


@needs_curl
def test_readme(tmp_path: Path) -> None:
    with Terminal(tmp_path) as terminal:
        for block in read("README.md").blocks:
            if block.language == "sh":
                terminal.paste(block.text)
            elif block.language == "":
                terminal.expect_printed(block.text)


@needs_curl
def test_first_stream(tmp_path: Path) -> None:
    with Terminal(tmp_path) as terminal:
        for block in read(TUTORIAL).blocks:
            if block.language == "console":
                terminal.read_out(block.text)
            elif block.language == "python":
                terminal.stop_server()
                (tmp_path / "main.py").write_text(block.text)
            else:
                terminal.expect_printed(block.text)


@needs_curl
def test_four_workers(tmp_path: Path) -> None:
    with Terminal(tmp_path) as terminal:
        for block in read(SECOND_PAGE).blocks:
            if block.language == "python":
                (tmp_path / "main.py").write_text(block.text)
            elif block.language == "console":
                if block.section == "stop-and-start-again" and "uvicorn" in block.text:
                    terminal.stop_server()
                terminal.read_out(block.text)
            else:
                terminal.expect_printed(block.text)
        terminal.stop_server()


@needs_curl
@pytest.mark.skipif(
    shutil.which("redis-server") is None or shutil.which("nginx") is None,
    reason="redis-server or nginx is not installed: `make test` as root installs them",
)
def test_two_nodes(tmp_path: Path) -> None:
    """The node that the page tells its reader to stop in a section is stopped first."""
    stopped = {"stop-a-node": 8001, "stop-the-other-one": 8002}
    with Terminal(tmp_path, ports=(8000, 8001, 8002, 6400)) as terminal:
        for block in read(THIRD_PAGE).blocks:
            if block.language == "nginx":
                (tmp_path / "nginx.conf").write_text(terminal.as_run(block.text))
            elif block.language == "console":
                if node := stopped.pop(block.section, None):
                    terminal.stop_server(node)
                terminal.read_out(block.text)
            else:
                terminal.expect_printed(block.text)
    assert not stopped


def test_backup(tmp_path: Path) -> None:
    with Terminal(tmp_path) as terminal:
        terminal.read_out("$ tidewire serve &\n$ tidewire publish news one\n$ tidewire publish news two\n")
        for block in blocks("console", BACKUP):
            if block.section == "restore-it":
                terminal.stop_server()
            terminal.read_out(block.text)


@needs_curl
def test_a_private_topic(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The commands and the Python client of the page about tokens, on one hub."""
    start, use, explain, *_ = (block.text for block in blocks("sh", AUTH))
    make, serve = start.splitlines()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    shell = partial(
        subprocess.run, shell=True, executable="/bin/bash", cwd=tmp_path, text=True, capture_output=True
    )
    shell(make, env={"PATH": path}, check=True)
    with Process([*serve.split(), "--port", "0"], cwd=tmp_path, env={"PATH": path}) as hub:
        url = hub.wait_line(r"http://[^ /]+").group()
        # A stream has no end: stop at the event.
        use = use.replace("curl -N", "timeout 60 curl -sN").replace("localhost:8000", url).rstrip()
        seen = shell(
            f"{use} | grep -m1 'data: paid'\n{explain}\necho -n $READER > reader", env={"PATH": path}
        )
        assert '"durability":"disk"' in seen.stdout
        assert "data: paid" in seen.stdout
        assert "accepts it" in seen.stdout
        (block,) = [block for block in blocks("python", AUTH) if block.section == "in-python"]
        reader = (tmp_path / "reader").read_text()
        run(block, block.text.replace("the token", reader).replace("http://localhost:8000", url))
    assert capsys.readouterr().out == "orders/7 paid\n"


def test_examples(tmp_path: Path) -> None:
    with Terminal(tmp_path, cwd=ROOT) as terminal:
        for block in blocks("console", "examples/README.md"):
            terminal.read_out(block.text)


def test_every_command_is_run() -> None:
    assert {block.page for block in blocks("console")} == {
        TUTORIAL,
        SECOND_PAGE,
        THIRD_PAGE,
        BACKUP,
        "examples/README.md",
    }
    assert "README.md" in {block.page for block in blocks("sh")}
