"""The attacks C of docs/reference/attacks.md: names of topics and patterns."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from support.ways import Served


@pytest.mark.parametrize("topic", ["a/*", "a*b", "*", "**", "a/**"])
def test_c01_publishing_to_a_pattern(hub: Served, topic: str) -> None:
    for answer in (
        hub.ask("POST", f"/events?topic={quote(topic)}", b"x"),
        hub.ask("POST", "/events", json.dumps({"topic": topic})),
        hub.ask("DELETE", f"/events?topic={quote(topic)}"),
    ):
        assert (answer.status, answer.json()["code"]) == (400, "invalid_topic")


@pytest.mark.parametrize("topic", ["a.>", "a/#", "+", "a?b", "[a]", "{x}", "a b", "é", "中"])
def test_c01_c11_patterns_of_other_systems_are_plain_topics(hub: Served, topic: str) -> None:
    with hub.listen(f"/events?topic={quote(topic)}") as listener:
        listener.take(1)
        hub.ask("POST", f"/events?topic={quote(topic)}", b"x")
        assert listener.take(1)[0].data == "x"


@pytest.mark.parametrize("topic", ["x" * 513, "é" * 257, "a\u200bb", "a\u200eb", "a\x7f"])
def test_c03_lengths_and_invisible_characters(hub: Served, topic: str) -> None:
    assert hub.ask("POST", f"/events?topic={quote(topic)}", b"x").json()["code"] == "invalid_topic"
    assert hub.ask("GET", f"/events?topic={quote(topic)}").json()["code"] == "invalid_topic"


@pytest.mark.parametrize("topic", ["x" * 512, "a\\b", ".."])
def test_c03_allowed_names(hub: Served, topic: str) -> None:
    assert hub.ask("POST", f"/events?topic={quote(topic)}", b"x").status == 200


def test_c03_names_are_compared_byte_by_byte(hub: Served) -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    with hub.listen(f"/events?topic={quote(composed)}") as listener:
        listener.take(1)
        hub.publish(quote(decomposed), "other")
        expected = hub.publish(quote(composed), "ours")
        assert listener.take(1)[0].id == expected


def test_c03_dots_in_a_path_do_not_leave_events(hub: Served) -> None:
    with hub.listen("/events?topic=**") as listener:
        listener.take(1)
        assert hub.ask("POST", "/events/%2e%2e/health", b"x").status == 200
        assert listener.take(1)[0].topic == "../health"


def test_c06_too_many_topics(hub: Served) -> None:
    many = "&".join(f"topic=t{number}" for number in range(101))
    answer = hub.ask("GET", f"/events?{many}")
    assert (answer.status, answer.json()["code"]) == (400, "too_many_topics")
    # Ten thousand do not even fit in a URL.
    assert hub.ask("GET", "/events?" + "topic=t&" * 10_000).status in (400, 414, 431)


@pytest.mark.parametrize("pattern", ["(a+)+$", "{/a*}{/b*}", "*" * 1000, "a/**/b", "**/a", "***"])
def test_c07_pattern_bombs(hub: Served, pattern: str) -> None:
    answer = hub.ask("GET", f"/events?topic={quote(pattern)}", headers={"Accept": "application/json"})
    if pattern == "(a+)+$":  # no regular expressions here: a topic like any other
        assert answer.status == 200
    else:
        assert (answer.status, answer.json()["code"]) in [(400, "invalid_pattern"), (400, "invalid_topic")]
