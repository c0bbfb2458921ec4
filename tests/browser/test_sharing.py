"""One connection for all tabs, counted at a real hub, while tabs and servers come and go."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest

from support.browser_pages import new_context, wait_until, wait_until_equal
from support.browsers import close_context
from support.processes import Process
from support.ways import APPS

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page, Route

TABS = 12
HISTORY = re.compile("[?&]since=")

LISTEN = """
async (options) => {
  const { EventStream } = await import("/tidewire.js");
  globalThis.got = [];
  globalThis.gaps = 0;
  globalThis.reasons = [];
  globalThis.stream = new EventStream("/events", { share: "ada", ...options });
  stream.addEventListener("hub.gap", () => (gaps += 1));
  stream.addEventListener("error", ({ reason }) => reasons.push(reason));
  stream.addEventListener("message", (event) => got.push(event.data));
}
"""


class Hub:
    """The hub of sharing_app.py, as a process."""

    def __init__(self) -> None:
        server = [sys.executable, "-m", "uvicorn", "sharing_app:app", "--port", "0", "--ws", "none"]
        protocol = ["--http", "tidewire.server.protocol:StreamProtocol", "--app-dir", APPS]
        self.process = Process([*server, *protocol])
        self.url = self.process.wait_line(r"running on (http://[^ /]+)").group(1)

    def publish(self, *data: object, topic: str = "news") -> None:
        for one in data:
            urlopen(Request(f"{self.url}/events?{urlencode({'topic': topic})}", str(one).encode())).close()

    def streams(self) -> int:
        with urlopen(f"{self.url}/streams") as answer:
            return int(answer.read())


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    hub = Hub()
    with hub.process:
        yield hub


class Tabs:
    """Tabs of one browser, with an empty page."""

    def __init__(self, context: BrowserContext, hub: Hub) -> None:
        self.context = context
        self.hub = hub
        self.pages: list[Page] = []
        self.asked: set[str] = set()
        context.on("request", lambda request: self.asked.add(request.url.split("/")[2]))

    def open(self, count: int = 1, topics: tuple[str, ...] = ("news",), **options: Any) -> list[Page]:
        opened = []
        for _ in range(count):
            page = self.context.new_page()
            page.goto(f"{self.hub.url}/")
            page.evaluate(LISTEN, {"topics": list(topics), **options})
            opened.append(page)
        self.pages += opened
        for page in opened:
            wait_until(lambda page=page: page.evaluate("stream.readyState") == 1)
        return opened

    def roles(self) -> list[str]:
        return [page.evaluate("stream.role") for page in self.pages]

    def settle(self) -> None:
        """Wait until one tab leads, the others follow, and the hub has one stream of them all."""
        settled = ["follower"] * (len(self.pages) - 1) + ["leader"], 1
        wait_until_equal(lambda: (sorted(self.roles()), self.hub.streams()), settled)

    def leader(self) -> Page:
        """Return the tab that leads, once they agree on it."""
        self.settle()
        return next(page for page in self.pages if page.evaluate("stream.role") == "leader")

    def close(self, page: Page) -> None:
        self.pages.remove(page)
        page.close()

    def expect(self, *data: object) -> None:
        """Assert that each tab received exactly these events and no gap."""
        expected = [str(one) for one in data]
        for page in self.pages:
            wait_until(lambda page=page: len(page.evaluate("got")) >= len(expected))
            assert (page.evaluate("got"), page.evaluate("gaps")) == (expected, 0)


@pytest.fixture
def tabs(browser: Browser, hub: Hub) -> Iterator[Tabs]:
    context = new_context(browser)
    tabs = Tabs(context, hub)
    yield tabs
    asked = tabs.asked
    close_context(context)
    assert asked == {hub.url.removeprefix("http://")}  # no requests to other servers
    wait_until(lambda: hub.streams() == 0)


@pytest.mark.slow_in("firefox")
def test_twelve_tabs_have_one_connection(tabs: Tabs, hub: Hub) -> None:
    tabs.open(TABS)
    tabs.settle()
    hub.publish(*range(5))
    tabs.expect(*range(5))
    tabs.settle()


def test_when_the_leader_closes_nothing_is_missed_or_repeated(tabs: Tabs, hub: Hub) -> None:
    tabs.open(4)
    for number in range(3):
        hub.publish(f"{number}a")
        tabs.close(tabs.leader())
        hub.publish(f"{number}b")
    tabs.expect("0a", "0b", "1a", "1b", "2a", "2b")
    tabs.settle()


def test_a_visible_tab_takes_the_lead_from_a_hidden_one(tabs: Tabs, hub: Hub) -> None:
    leader, other = tabs.open(2)
    hub.publish(1)
    tabs.expect(1)
    hide = """() => {
      Object.defineProperty(document, "visibilityState", { value: "hidden", configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }"""
    leader.evaluate(hide)
    hub.publish(2)
    wait_until(lambda: other.evaluate("stream.role") == "leader")
    wait_until(lambda: leader.evaluate("stream.role") == "follower")
    hub.publish(3)
    tabs.expect(1, 2, 3)
    wait_until(lambda: hub.streams() == 1)


def test_a_frozen_leader_hands_over_and_catches_up(tabs: Tabs, hub: Hub) -> None:
    leader, other = tabs.open(2)
    hub.publish(1)
    tabs.expect(1)
    leader.evaluate("document.dispatchEvent(new Event('freeze'))")
    wait_until(lambda: other.evaluate("stream.role") == "leader")
    hub.publish(2)
    wait_until(lambda: other.evaluate("got.length") == 2)
    leader.evaluate("document.dispatchEvent(new Event('resume'))")
    hub.publish(3)
    tabs.expect(1, 2, 3)


def test_a_leader_that_hangs_is_replaced(tabs: Tabs, hub: Hub) -> None:
    leader, other = tabs.open(2)
    hub.publish(1)
    tabs.expect(1)
    leader.evaluate("setTimeout(() => { const end = Date.now() + 4000; while (Date.now() < end); }, 0); 0")
    hub.publish(2)
    other.evaluate(
        "document.dispatchEvent(new Event('visibilitychange'))"
    )  # it announces itself and gets no answer
    wait_until(lambda: other.evaluate("stream.role") == "leader")
    hub.publish(3)
    tabs.expect(1, 2, 3)
    wait_until(lambda: sorted(tabs.roles()) == ["follower", "leader"])


def test_of_two_that_lead_at_once_one_stays(tabs: Tabs, hub: Hub) -> None:
    tabs.open(2)
    hub.publish(1)
    tabs.expect(1)
    # Repeat a message of the leader as if another tab had begun to lead after it. The fields have short
    # names as the client is served, so they are known by their values: a time, and a fraction.
    leader = tabs.leader()
    leader.evaluate(
        """async () => {
          const { held } = await navigator.locks.query();
          const another = new BroadcastChannel(held[0].name);
          another.onmessage = ({ data }) => {
            // The leader's connection may be silent for long, so no tab looks after it soon.
            const changed = (v) => (v > 1e12 ? v + 10 : v > 100 ? 600_000 : v > 0 && v < 1 ? v / 2 : v);
            if (!Object.values(data).some((value) => value > 1e12)) return;
            another.onmessage = undefined;
            const fields = Object.entries(data).map(([name, value]) => [name, changed(value)]);
            another.postMessage(Object.fromEntries(fields));
          };
        }"""
    )
    (other,) = (page for page in tabs.pages if page is not leader)
    other.evaluate("document.dispatchEvent(new Event('visibilitychange'))")  # the leader answers it
    wait_until(lambda: leader.evaluate("stream.role") == "follower")
    tabs.settle()
    hub.publish(2)
    tabs.expect(1, 2)


@pytest.mark.slow_in("firefox")
def test_each_tab_gets_its_topics_from_one_stream(tabs: Tabs, hub: Hub) -> None:
    (first,) = tabs.open(topics=("a",))
    hub.publish("early", topic="b")  # no tab listens to it yet
    hub.publish("a1", topic="a")
    (second,) = tabs.open(topics=("b", "c/*"))
    hub.publish("a2", topic="a")
    hub.publish("b1", topic="b")
    hub.publish("c1", topic="c/1")
    wait_until(lambda: second.evaluate("got") == ["b1", "c1"])
    wait_until(lambda: first.evaluate("got") == ["a1", "a2"])
    tabs.settle()
    tabs.close(first)
    wait_until(lambda: second.evaluate("stream.role") == "leader")
    hub.publish("b2", topic="b")
    wait_until(lambda: second.evaluate("got") == ["b1", "c1", "b2"])


@pytest.mark.slow_in("firefox")
def test_a_refused_topic_fails_only_its_own_tab(tabs: Tabs, hub: Hub) -> None:
    (first,) = tabs.open(topics=("a",))
    bad = tabs.context.new_page()
    bad.goto(f"{hub.url}/")
    bad.evaluate(LISTEN, {"topics": ["not**a*pattern"]})
    wait_until(lambda: bad.evaluate("stream.readyState") == 2)
    assert bad.evaluate("reasons") == ["status"]
    hub.publish(1, topic="a")
    wait_until(lambda: first.evaluate("got.length") == 1)
    assert first.evaluate("stream.readyState") == 1


def refuse_history(tabs: Tabs, *answers: str | int) -> list[str]:
    """Refuse the first requests for a history, by a status or `abort`. Return all such requests."""
    refusals, asked = list(answers), []

    def answer(route: Route) -> None:
        asked.append(route.request.url)
        if not refusals:
            route.continue_()
        elif isinstance(refusal := refusals.pop(0), int):
            route.fulfill(status=refusal)
        else:
            route.abort()

    tabs.context.route(HISTORY, answer)
    return asked


@pytest.mark.slow_in("firefox")
def test_a_history_that_cannot_be_read_is_read_later(tabs: Tabs, hub: Hub) -> None:
    tabs.open()
    asked = refuse_history(tabs, "abort", 503)
    tabs.open()
    tabs.settle()
    hub.publish(1)
    tabs.expect(1)
    assert (sorted(tabs.roles()), len(asked)) == (["follower", "leader"], 3)


def test_a_tab_is_not_open_before_it_has_caught_up(tabs: Tabs, hub: Hub) -> None:
    (leader,) = tabs.open()
    waiting: list[Route] = []
    tabs.context.route(HISTORY, lambda route: waiting.append(route))
    tab = tabs.context.new_page()
    tab.goto(f"{hub.url}/")
    tab.evaluate("new BroadcastChannel('seen').onmessage = () => (globalThis.seen = true); 0")
    tab.evaluate(LISTEN, {"topics": ["news"]})
    wait_until(lambda: tab.evaluate("stream.role") and waiting)
    hub.publish(1)  # the leader hands it on, with the state of its open connection
    wait_until(lambda: leader.evaluate("got.length") == 1)
    leader.evaluate("new BroadcastChannel('seen').postMessage(1)")
    wait_until(lambda: tab.evaluate("globalThis.seen"))
    assert tab.evaluate("stream.readyState") == 0
    waiting[0].continue_()
    wait_until(lambda: tab.evaluate("stream.readyState") == 1)


@pytest.mark.slow_in("firefox")
@pytest.mark.parametrize("refusals", [[403], ["abort", 500, 429, "abort"]], ids=["final", "each-time"])
def test_a_tab_without_a_history_has_its_own_connection(
    tabs: Tabs, hub: Hub, refusals: list[str | int]
) -> None:
    tabs.open()
    asked = refuse_history(tabs, *refusals)
    tabs.open()
    wait_until(lambda: hub.streams() == 2)
    hub.publish(1)
    tabs.expect(1)
    assert (tabs.roles(), len(asked)) == (["leader", "solo"], len(refusals))


@pytest.mark.slow_in("firefox")
def test_the_end_of_a_topic_closes_its_tab(tabs: Tabs, hub: Hub) -> None:
    ends, goes_on = (f"{name}-{time.monotonic_ns()}" for name in ("ends", "goes-on"))
    (first,) = tabs.open(topics=(ends,))
    (second,) = tabs.open(topics=(goes_on,))
    urlopen(Request(f"{hub.url}/events/{ends}", method="DELETE")).close()
    wait_until(lambda: first.evaluate("stream.readyState") == 2)
    assert first.evaluate("reasons") == ["done"]
    hub.publish(1, topic=goes_on)
    wait_until(lambda: second.evaluate("got.length") == 1)
    urlopen(Request(f"{hub.url}/events/{goes_on}", method="DELETE")).close()
    wait_until(lambda: second.evaluate("stream.readyState") == 2)


@pytest.mark.slow_in("firefox")
def test_accounts_do_not_share(tabs: Tabs, hub: Hub) -> None:
    tabs.open(2)
    tabs.open(1, share="grace")
    tabs.open(1, headers={"X-Account": "joan"})
    wait_until(lambda: sorted(tabs.roles()) == ["follower", "leader", "leader", "leader"])
    wait_until(lambda: hub.streams() == 3)


def test_a_reloaded_tab_gets_what_it_missed(tabs: Tabs, hub: Hub) -> None:
    _, other = tabs.open(2, persist="news")
    hub.publish(1)
    tabs.expect(1)
    other.goto("about:blank")
    hub.publish(2, 3)
    other.goto(f"{hub.url}/")
    other.evaluate(LISTEN, {"topics": ["news"], "persist": "news"})
    wait_until(lambda: other.evaluate("got") == ["2", "3"])
    hub.publish(4)
    wait_until(lambda: other.evaluate("got") == ["2", "3", "4"])
    tabs.settle()


def test_a_server_that_is_suspended_for_a_while(tabs: Tabs, hub: Hub) -> None:
    tabs.open(3)
    hub.publish(1)
    tabs.expect(1)
    os.kill(hub.process.pid, signal.SIGSTOP)
    try:
        # The connection is half-open: the network reports nothing, and the leader notices the silence.
        for page in tabs.pages:
            wait_until(lambda page=page: "silent" in page.evaluate("reasons"))
    finally:
        os.kill(hub.process.pid, signal.SIGCONT)
    hub.publish(2)
    tabs.expect(1, 2)


@pytest.mark.slow_in("firefox")
def test_offline_and_back(tabs: Tabs, hub: Hub) -> None:
    tabs.open(2)
    hub.publish(1)
    tabs.expect(1)
    # Playwright does not cut open streams. A page that is online again must not wait for its backoff.
    tabs.context.set_offline(True)
    tabs.leader().evaluate("stream.reconnect()")
    tabs.context.set_offline(False)
    hub.publish(2)
    tabs.expect(1, 2)


@pytest.mark.slow_in("firefox")
def test_a_laptop_that_sleeps(tabs: Tabs, hub: Hub) -> None:
    tabs.open(2)
    hub.publish(1)
    tabs.expect(1)
    group = browser_group(tabs.context.browser.browser_type.name)  # type: ignore[union-attr]
    os.killpg(group, signal.SIGSTOP)
    try:
        hub.publish(2)
        time.sleep(8)  # four heartbeats, more than the timeout of two and a half
    finally:
        os.killpg(group, signal.SIGCONT)
    hub.publish(3)
    tabs.expect(1, 2, 3)
    # What arrived in the meantime was read first, so there was no reason to reconnect.
    assert [page.evaluate("reasons") for page in tabs.pages] == [[], []]


def browser_group(browser: str) -> int:
    """Return the process group of this browser, which this process drives."""
    parents, names = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            head, _, rest = stat.read_text().rpartition(")")
        except OSError:  # it has exited
            continue
        pid, _, names[int(stat.parent.name)] = head.partition(" (")
        parents[int(pid)] = int(rest.split()[1])
    mine = {os.getpid()}
    while grown := {pid for pid, parent in parents.items() if parent in mine} - mine:
        mine |= grown
    (group, *_) = {os.getpgid(pid) for pid in mine if names[pid].startswith(browser[:5])} - {os.getpgid(0)}
    return group
