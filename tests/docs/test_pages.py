"""The documentation is correct: links, settings, options, error codes, events, signatures."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
from collections.abc import Callable
from functools import cache
from http import HTTPStatus
from typing import Any

import click
import pytest
import uvicorn

import tidewire
from support.documents import PAGES, ROOT, blocks, code_spans, links, read, tables
from support.error_codes import SRC, calls, raised, words
from tidewire import Event, Hub, Position, encode, hub_events
from tidewire.cli import EXIT_CODES, main
from tidewire.cli import log as log_module
from tidewire.cli import serve as serve_module
from tidewire.client import sync
from tidewire.http.answers import stream_head
from tidewire.http.app import FIXED_PATHS
from tidewire.metrics import Metrics
from tidewire.settings import ROWS, Settings

HTTP = "docs/reference/http.md"
LIBRARY = "docs/reference/library.md"
PYTHON = "docs/reference/python-client.md"
WIRE = "docs/reference/wire.md"
CLI = "docs/reference/cli.md"


# -- links


@pytest.mark.parametrize("page", PAGES)
def test_links_have_targets(page: str) -> None:
    for link in links(page):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent.joinpath(path).resolve() if path else ROOT / page
        assert target.is_file(), link
        if anchor:
            assert anchor in read(target.relative_to(ROOT).as_posix()).anchors, link


def test_limits_name_the_codes_and_reasons_by_which_they_are_counted() -> None:
    reasons = {"age", "stuck", "memory", "too_many_connections"}
    known = {code for _, code in raised(without=())} | reasons
    found = tables("docs/reference/limits.md", "limit", "default", "answer", "counted as")
    assert len(found) == 3
    for row in [row for table in found for row in table]:
        assert set(re.findall(r"`(\w+)`", row[3])) <= known, row


NAMED = re.compile(r"((?:`\w+`(?:,| and)? )+)in \[[^\]]*\]\(([^)#]+\.(?:py|js))\)")


def test_what_a_contributor_is_led_to_is_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    found = [(name, path) for names, path in NAMED.findall(text) for name in re.findall(r"\w+", names)]
    assert len(found) > 15
    for name, path in found:
        assert re.search(rf"\b{name}\b", (ROOT / path).read_text("utf-8")), f"{path} has no {name}"


def test_the_readme_links_every_page() -> None:
    assert set(PAGES) - {"README.md"} <= set(links("README.md"))


# -- settings


def page_script(name: str) -> Any:
    """Return the script that writes a page."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


@pytest.mark.parametrize("name", ["settings_page", "openapi_page"])
def test_generated_pages_are_up_to_date(name: str) -> None:
    script = page_script(name)
    assert script.PAGE.read_text("utf-8") == script.page(), f"generate it again: python scripts/{name}.py"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("retry", "2 s, at least 0.5 s"),
        ("max_age_portable", "10 min, at least 1 s"),
        ("retention_age", "24 h, at least 1 s"),
        ("window_bytes", "64 MiB, at least 1 KiB"),
        ("window_entries", "10,000"),
        ("stream_rate", "200 per second, 0 means no limit"),
        ("max_streams", "0, which means 80 % of the descriptor limit"),
    ],
)
def test_defaults_are_readable(name: str, text: str) -> None:
    part = page_script("settings_page").page().partition(f"### {name}\n")[2].partition("###")[0]
    assert f"- Default: {text}\n" in part


# -- the command line

OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
ANY_OPTION = re.compile(r"(?<![\w-])--?[a-zA-Z][a-z-]*")


def command_of(name: str) -> click.Command:
    command = main.get_command(click.Context(main), name)
    assert command is not None, name
    return command


COMMANDS = {name: command_of(name) for name in main.list_commands(click.Context(main))}


def options(command: click.Command) -> list[click.Option]:
    """Return the options of a command and of its subcommands."""
    own = [item for item in command.params if isinstance(item, click.Option)]
    below = command.commands.values() if isinstance(command, click.Group) else ()
    return [*own, *(option for item in below for option in options(item))]


def names(command: click.Command) -> set[str]:
    return {"--help", *(name for option in options(command) for name in option.opts)}


def sections(page: str) -> dict[str, str]:
    """Return the text below each second-level heading."""
    parts = re.split(r"^## (.+)\n", "\n".join(read(page).prose), flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


@pytest.mark.parametrize("page", PAGES)
def test_options_exist(page: str) -> None:
    known = {name for command in [main, uvicorn.main, *COMMANDS.values()] for name in names(command)}
    benchmarks = (ROOT / "benchmarks" / "run.py").read_text()
    # (`sh` blocks are for other programs, and so is a server that a tutorial starts.)
    shown = [block.text for block in read(page).blocks if block.language != "sh"]
    text = re.sub(r"^\$ redis-server .*", "", "\n".join([*code_spans(page), *shown]), flags=re.MULTILINE)
    assert set(OPTION.findall(text)) <= known | set(re.findall(r'"(--[a-z-]+)"', benchmarks))


@pytest.mark.parametrize("page", PAGES)
def test_options_belong_to_their_command(page: str) -> None:
    text = "\n".join([*code_spans(page), *(block.text for block in blocks("console", page))])
    for name, below, rest in re.findall(
        r"^(?:\$ )?tidewire ([a-z]+)\b(?: ([a-z]+)\b)?(.*)", text, re.MULTILINE
    ):
        command = COMMANDS[name]
        if isinstance(command, click.Group) and below:
            command = command.commands[below]
        assert set(OPTION.findall(rest)) <= names(command)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_in_the_reference(name: str) -> None:
    documented = set(ANY_OPTION.findall(sections(CLI)[name]))
    for option in options(COMMANDS[name]):
        assert option.name in ROWS or set(option.opts) <= documented


def test_variables_exist() -> None:
    known = {str(option.envvar) for command in COMMANDS.values() for option in options(command)}
    for page in PAGES:
        # With an underscore before it, it is one of the completion of click.
        assert set(re.findall(r"(?<!_)TIDEWIRE_[A-Z_]+", (ROOT / page).read_text("utf-8"))) <= known


@pytest.mark.parametrize(
    ("section", "codes"),
    [
        ("serve", serve_module.EXIT_CODES),
        ("log", log_module.EXIT_CODES),
        ("Exit codes of publish and listen", EXIT_CODES),
    ],
)
def test_exit_codes(section: str, codes: str) -> None:
    documented = re.findall(r"^\| ([0-9]+) \|", sections(CLI)[section], re.MULTILINE)
    assert documented == re.findall(r"^  ([0-9]+) ", codes, re.MULTILINE)


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        assert {span[5:] for span in code_spans(page) if span.startswith("make ")} <= targets


def test_every_example_is_in_the_list() -> None:
    (rows,) = tables("examples/README.md", "program", "shows")
    folders = {f"{path.parent.name}/" for path in ROOT.glob("examples/*/app.py")}
    assert {row[0].strip("`") for row in rows} == {path.name for path in ROOT.glob("examples/*.py")} | folders


# -- errors

# Modules whose errors are not answers of a hub: clients, start-up, programs beside it, and the demo.
NO_ANSWERS = (
    "integrations/",
    "cli/",
    "client/",
    "delivery/local",
    "engines/sqlite/door",
    "engines/sqlite/file_lock",
    "engines/sqlite/nodes",
    "demo/",
    "http/stream_topics",  # in routes of programs
    "hub",
    "items",
    "position",
    "reconnect",
    "server/run",
    "server/supervisor",
    "settings",
    "testing/",
    "workers",
)

# Errors of the other modules that no request can cause.
FOR_PROGRAMS = {
    "invalid_comment",
    "invalid_connection",
    "invalid_dialect",
    "invalid_engine",
    "invalid_event",
    "invalid_id",
    "invalid_jwks_url",
    "invalid_origin",
    "invalid_token_key",
    "log_damaged",
    "other_loop",
    "run_active",
    "run_over",
    "start_refused",
    "too_many_grants",
}


def documented(page: str, *header: str) -> set[tuple[str, ...]]:
    """Return the columns left of the codes in a page's tables, and each code."""
    rows = [row for table in tables(page, *header) for row in table]
    return {(*row[:-2], code) for row in rows for code in re.findall(r"`([a-z0-9_]+)`", row[-2])}


def test_every_answer_is_documented() -> None:
    answers = {(str(status), code) for status, code in raised(without=NO_ANSWERS) if code not in FOR_PROGRAMS}
    assert documented(HTTP, "status", "code", "when") == answers


def test_every_other_error_is_documented() -> None:
    listed = documented(LIBRARY, "code", "when") | documented(PYTHON, "code", "when")
    answers = {code for _, code in documented(HTTP, "status", "code", "when")}
    made = {code for _, code in raised(without=("demo/",))}
    passed_on = {"not_a_stream", "redirected"}  # made without an error class's name
    assert made - answers == {code for (code,) in listed} - passed_on


def test_statuses_are_those_of_http() -> None:
    for status, _ in documented(HTTP, "status", "code", "when"):
        assert HTTPStatus(int(status)) >= 400


# -- the wire


def test_head_by_value() -> None:
    (block,) = blocks("http", WIRE)
    shown = [line.split(": ") for line in block.text.splitlines()]
    head = stream_head("1.1", Settings().heartbeat)
    assert [(name.lower().encode(), value.encode()) for name, value in shown] == head


@cache
def event_types() -> set[str]:
    """Return the types of all events of the hub itself."""
    made = {hub_events.END, hub_events.RUN}
    for path in SRC.rglob("*.py"):
        for call in calls(ast.parse(path.read_text("utf-8"))):
            if ast.unparse(call.func) in ("control", "hub_events.control"):
                made.update(hub_events.RESERVED + word for word in words(call.args[0]))
    return made


def test_every_event_of_the_hub_is_documented() -> None:
    assert {line[4:] for line in read(WIRE).prose if line.startswith("### ")} == event_types()


@pytest.mark.parametrize("page", PAGES)
def test_events_of_the_hub_exist(page: str) -> None:
    named = {span for span in code_spans(page) if re.fullmatch(r"hub\.[a-z_]+", span)}
    assert named <= event_types() | {f"hub.{member}" for member in dir(Hub)}


def test_an_event_as_it_is_shown() -> None:
    block, stream = blocks("", WIRE)
    event = Event('{"status":"paid"}', "status", "q7Zp2K.42", topic="orders/7")
    assert encode(event).decode() == block.text + "\n"
    start = hub_events.retry(2) + hub_events.GREETING + hub_events.position(Position("q7Zp2K", 0))
    whole = start + hub_events.HEARTBEAT * 2 + encode(Event("hello", id="q7Zp2K.1"))
    assert whole.decode() == stream.text + "\n"


def test_every_path_is_in_the_reference() -> None:
    for path in FIXED_PATHS:
        assert f"`GET {path}`" in "\n".join(read(HTTP).prose)


# -- signatures

HOMES = {LIBRARY: (tidewire, Hub), PYTHON: (sync, sync.Publisher)}

Signature = list[tuple[str, Any, object]]


def shown_calls(page: str) -> list[str]:
    """Return the calls that a page shows with their parameters and defaults."""
    spans = [span for span in code_spans(page) if re.fullmatch(r"(await )?[A-Za-z_]+\(.*\)", span)]
    return [span for span in spans if "=" in span and "Event(" not in span]


@pytest.mark.parametrize("page", HOMES)
def test_signatures(page: str) -> None:
    for call in shown_calls(page):
        text = call.removeprefix("await ")
        name = text.partition("(")[0]
        functions = [getattr(home, name) for home in HOMES[page] if hasattr(home, name)]
        shown = signature(defined(text, name)), call.startswith("await ")
        assert shown in [(signature(item), inspect.iscoroutinefunction(item)) for item in functions], call


def defined(text: str, name: str) -> Callable[..., Any]:
    program: dict[str, Any] = {}
    exec(f"def {text}: ...", program)
    function: Callable[..., Any] = program[name]
    return function


def signature(function: Callable[..., Any]) -> Signature:
    items = inspect.signature(function).parameters.values()
    return [(item.name, item.kind, item.default) for item in items if item.name != "self"]


def test_every_member_of_the_hub_exists() -> None:
    (rows,) = tables(LIBRARY, "member", "")
    assert {name for row in rows for name in re.findall(r"`(?:await )?([a-z_]+)", row[0])} <= set(dir(Hub))


def test_every_public_name_is_shown() -> None:
    (first, *_) = blocks("python", LIBRARY)
    assert set(re.findall(r"^    (\w+),$", first.text, re.MULTILINE)) == set(tidewire.__all__)


# -- logs and metrics


def test_every_metric_is_documented() -> None:
    (rows,) = tables("docs/how-to/logs-and-metrics.md", "metric", "")
    metrics = Metrics()
    names = {metric.name for metric in metrics.registry.collect()}
    gauges = set(
        re.findall(r'metrics\.gauge\("(\w+)"', "".join(p.read_text("utf-8") for p in SRC.rglob("*.py")))
    )
    shown = {row[0].strip("`").removesuffix("_total") for row in rows}
    assert shown == names | {f"tidewire_{name}" for name in gauges}


def test_every_reason_of_an_end_is_documented() -> None:
    (rows,) = tables("docs/how-to/logs-and-metrics.md", "reason", "the stream ended because")
    shown = {name for row in rows for name in re.findall(r"`(\w+)`", row[0])}
    made = set()
    for path in (SRC / "delivery").rglob("*.py"):
        for call in calls(ast.parse(path.read_text("utf-8"))):
            name = ast.unparse(call.func).rpartition(".")[2]
            if name in ("finish", "_forget", "_abort", "_end_access", "_end"):
                made.update(word for arg in call.args[:2] for word in words(arg))
    assert shown == made
