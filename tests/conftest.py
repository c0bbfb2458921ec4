"""Fixtures and rules for the whole suite."""

from __future__ import annotations

import importlib
import logging
import os
import signal
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from support.browsers import BROWSERS, OpenBrowsers, browser_options
from support.endings import AT_END

# They are made of plain asserts: a failed one shows its values.
pytest.register_assert_rewrite("tidewire.testing", "support.client_scenarios")

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from support.clients import Client

# A shell without job control has its background jobs ignore SIGINT. Children inherit what is ignored, and
# only that: with a handler here, the programs that the tests start and interrupt begin with the default.
signal.signal(signal.SIGINT, signal.default_int_handler)

if os.environ.get("EAGER_TASKS"):
    importlib.import_module("support.eager.sitecustomize")

TESTS = Path(__file__).parent

IN_CI = os.environ.get("CI", "").lower() not in ("", "0", "false")

# Two busy cores are no place to measure one example's time. In CI the examples
# are the same each time: there a red run says something about the change.
hypothesis.settings.register_profile("default", deadline=None, print_blob=True)
hypothesis.settings.register_profile(
    "ci", parent=hypothesis.settings.get_profile("default"), derandomize=True
)
hypothesis.settings.load_profile("ci" if IN_CI else "default")


def _skip_is_failure(report: pytest.TestReport | pytest.CollectReport) -> None:
    """In CI everything is installed, so a test that did not run is a fault there, not a courtesy."""
    if IN_CI and report.outcome == "skipped" and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"skipped, and in CI no test may be: {reason.removeprefix('Skipped: ')}"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _skip_is_failure(report)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _skip_is_failure(report)
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what drives a browser, and what `make test` leaves to `make slow`: `slow_in` names browsers."""
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker("browser")
        slow_in = item.get_closest_marker("slow_in")
        if slow_in and item.callspec.params["browser"] in slow_in.args:  # type: ignore[attr-defined]
            item.add_marker("slow")
    _order_files(items)


# The files that take longest, for a minute or more. One process runs all tests of a file: none of these
# must be what the others wait for at the end. Those that wait stand between those that need the cores.
LONG = [
    "cli/test_doctor.py",
    "browser/test_private_topic.py",
    "faults/test_run.py",
    "browser/test_sharing.py",
    "docs/test_code.py",
    "browser/test_demo_random.py",
    "delivery/test_stopping.py",
    "browser/test_demo_answer.py",
    "clients/test_pages.py",
    "browser/test_inspector.py",
    "engines/test_nodes.py",
    "browser/test_webkit.py",
    "clients/test_models.py",
    "js/test_package.py",
]


def _order_files(items: list[pytest.Item]) -> None:
    """Put the long files first, and then those with browsers, which need the cores, between the others,
    most of which wait.
    """
    files: tuple[dict[Path, None], dict[Path, None]] = ({}, {})
    for item in items:
        files[item.path.parent.name == "browser"][item.path] = None
    place = {path: number / len(paths) for paths in files for number, path in enumerate(paths)}
    place |= {TESTS / path: number - len(LONG) for number, path in enumerate(LONG)}
    items.sort(key=lambda item: place[item.path])


def pytest_sessionfinish() -> None:
    AT_END.close()


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """Undo what the program of a test, such as one of Litestar, does to the logging of all programs."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    root.setLevel(level)
    for handler in set(root.handlers).difference(handlers):
        # pytest removes its own.
        if type(handler).__module__ != "_pytest.logging":
            root.removeHandler(handler)


@pytest.fixture(scope="session")
def open_browsers() -> Iterator[OpenBrowsers]:
    with OpenBrowsers() as browsers:
        yield browsers


# For synchronous tests, and per module: in between, asynchronous ones can run.
@pytest.fixture(scope="module", params=list(BROWSERS))
def browser(request: pytest.FixtureRequest, open_browsers: OpenBrowsers) -> Iterator[Browser]:
    """Chromium, then Firefox: the installed browsers, without a window, driven by Playwright."""
    options = browser_options(request.param)
    if options is None:
        pytest.skip(f"{request.param} is not installed: `make test` as root installs it")
    with open_browsers.lend(request.param, options) as browser:
        yield browser


@pytest.fixture(params=["sync", "async"])
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    """Both Python clients, one after the other, behind one face."""
    from support.clients import CLIENTS

    with CLIENTS[request.param]() as opened:
        yield opened
