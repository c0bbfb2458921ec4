"""Topics and patterns: the first line of an input is a topic, the others are the terms of a selector."""

from __future__ import annotations

from fuzz.running import refused
from tidewire.auth.grants import Grant
from tidewire.topic_names import pattern, topic
from tidewire.topics import Selector, TopicIndex, check_publish_topic, check_term

SEEDS = [
    b"a/b/c\na/*/c\na/**\n**",
    b"a\na/**\na/*",
    b"/\n*/*\n**",
    b"$sys/x\n**\n$sys/**",
    "\u00e4/\u202e\n*".encode(),
    b"a/" * 200 + b"\n" + b"*/" * 200,
]


def check(data: bytes) -> None:
    name, *terms = data.decode("utf-8", "surrogateescape").split("\n")
    refused(lambda: topic("users", name))
    refused(lambda: pattern("users", name))
    if refused(lambda: check_publish_topic(name)):
        return
    valid = [term for term in terms if not refused(lambda term=term: check_term(term))][:100]
    if not valid:
        return
    selector = Selector(valid)
    expected = any(matches(term.split("/"), name.split("/")) for term in valid)
    assert selector.matches(name) == expected, (valid, name)
    index: TopicIndex[str] = TopicIndex()
    index.add(selector, "x")
    assert bool(index.match(name)) == expected, (valid, name)
    index.discard(selector, "x")
    assert not index.match(name)
    grant = Grant(subscribe=valid, publish=valid)
    assert grant.may_publish(name) == expected, (valid, name)
    for term in valid:
        assert grant.may_subscribe(term), (valid, term)


def matches(wanted: list[str], levels: list[str]) -> bool:
    """Say what a pattern means, in the simplest way."""
    if wanted == ["**"]:
        return len(levels) >= 1
    if not wanted or not levels:
        return wanted == levels
    return wanted[0] in ("*", levels[0]) and matches(wanted[1:], levels[1:])
