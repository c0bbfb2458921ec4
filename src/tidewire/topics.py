"""
Topic names, patterns, and which subscriptions an event is for.

Rule 1: names are compared byte by byte and never normalised. `a/b`, `a/b/` and `/a/b` are three
        topics, and so are the composed and the decomposed spelling of an accent.
Rule 2: `/` separates levels, and an empty level is a level. In a pattern `*` is one whole level,
        `**` as the last level is one or more. So `a/*` matches `a/` and not `a`, `a/**` matches
        `a/b/c` and not `a`, and `**` alone needs no rule of its own to match everything.
Rule 3: reserved names are the hub's own. They are neither published nor named in a selector, and
        no pattern matches them, `**` neither: what the hub may say there one day must not reach
        those who asked for everybody's events.
Rule 4: matching is linear in the bytes of topic and pattern. No pattern ever becomes a regular
        expression. tests/test_topics.py holds the matcher and the index against ten plain lines.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Hashable, Iterable, Iterator
from itertools import islice
from typing import Generic, TypeVar

from .errors import InvalidInput, Reserved

MAX_BYTES = 512
MAX_TERMS = 100
RESERVED = ("$", "/.well-known/")

# Control, format and surrogate characters: what hides in a name, turns its direction round or
# cannot be written as UTF-8. The line and paragraph separators (U+2028, U+2029) are not called
# controls by Unicode but act as such: editors, logs and `str.splitlines` break the line there, and
# one name would look like two.
REFUSED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})

V = TypeVar("V", bound=Hashable)


def is_pattern(term: str) -> bool:
    return "*" in term


def check_topic(name: str) -> str:
    """
    Return `name` if it may name a topic, reserved ones included.

    Raises InvalidInput `invalid_topic`: empty, more than 512 bytes of UTF-8, a control, format or
    line-separating character, a lone surrogate, or a `*`.
    """
    _check_text(name, "topic")
    if is_pattern(name):
        raise InvalidInput("a topic must not have a `*`: patterns are for subscribing", code="invalid_topic")
    return name


def check_publish_topic(name: str) -> str:
    """Return `name` if it may be published to. Raises as check_topic does, and Reserved `reserved_topic`."""
    # Nearly all are ASCII, and of those no printable one is refused for its characters, but for a `*`.
    plain = isinstance(name, str) and name.isascii() and name.isprintable() and 0 < len(name) <= MAX_BYTES
    if plain and "*" not in name and not name.startswith(RESERVED):
        return name
    return _check_unreserved(check_topic(name))


def check_term(term: str) -> str:
    """
    Return `term` if it may be subscribed to: a topic or a pattern, and not a reserved one.

    Raises InvalidInput `invalid_topic` or `invalid_pattern` (when there is a `*` in it), and
    Reserved `reserved_topic` for `$...` and `/.well-known/...`.
    """
    if isinstance(term, str) and is_pattern(term):
        return _check_unreserved(_check_pattern(term))
    return _check_unreserved(check_topic(term))


def _check_pattern(term: str) -> str:
    _check_text(term, "pattern")
    *levels, last = term.split("/")
    if any(is_pattern(level) and level != "*" for level in levels) or (
        is_pattern(last) and last not in ("*", "**")
    ):
        raise InvalidInput(
            "in a pattern `*` is a whole level, and `**` the whole last level", code="invalid_pattern"
        )
    return term


def _check_text(text: str, kind: str) -> None:
    fault = _fault(text)
    if fault:
        raise InvalidInput(f"a {kind} {fault}", code=f"invalid_{kind}")


def _fault(text: str) -> str:
    """Say what is wrong, without repeating the text: it may come from anybody and go anywhere."""
    if not isinstance(text, str):  # a JSON body brings any type
        return "must be text"
    if not text:
        return "must not be empty"
    # Characters first: megabytes are neither looked through nor encoded.
    if len(text) > MAX_BYTES:
        return f"must have at most {MAX_BYTES} bytes of UTF-8"
    # isprintable is much faster, and refuses more than we do: spaces, private and unassigned characters.
    if not text.isprintable():
        for char in text:
            if unicodedata.category(char) in REFUSED:
                return f"must not have control or format characters, such as its U+{ord(char):04X}"
    if not text.isascii() and len(text.encode()) > MAX_BYTES:
        return f"must have at most {MAX_BYTES} bytes of UTF-8"
    return ""


def _check_unreserved(term: str) -> str:
    if term.startswith(RESERVED):
        raise Reserved(
            "topics that begin with `$` or `/.well-known/` belong to the hub", code="reserved_topic"
        )
    return term


class Selector:
    """
    The topics and patterns of one subscription: a set that can be asked what it matches.

    `terms` are all of them, sorted; `topics` the plain ones; `patterns` the others, sorted. `single`
    is true for exactly one plain topic: then every event has the same topic, and frames need not
    say which.

    Equal and of one hash if the terms are the same set. Do not change one: they are made to be
    shared, by a dict of whoever makes many: `selector = known.setdefault(selector, selector)`.

    Raises InvalidInput `missing_topic` (no terms), `too_many_topics` (more than `limit`), and what
    check_term raises.
    """

    __slots__ = ("_hash", "_wild", "patterns", "single", "terms", "topics")

    terms: tuple[str, ...]
    topics: frozenset[str]
    patterns: tuple[str, ...]
    single: bool

    def __init__(self, terms: Iterable[str], limit: int = MAX_TERMS) -> None:
        # A str is an iterable of str: Selector("ab") would wait for `a` and `b` for ever.
        if isinstance(terms, str):
            raise TypeError("Selector takes terms, not one str")
        # Counted before anything is looked at, doubles too: refusing must cost next to nothing.
        asked = list(islice(terms, limit + 1))
        if not asked:
            raise InvalidInput("subscribe to at least one topic", code="missing_topic")
        if len(asked) > limit:
            raise InvalidInput(f"subscribe to at most {limit} topics and patterns", code="too_many_topics")
        self.terms = tuple(sorted({check_term(term) for term in asked}))
        self.patterns = tuple(filter(is_pattern, self.terms))
        self.topics = frozenset(self.terms).difference(self.patterns)
        self.single = not self.patterns and len(self.terms) == 1
        self._wild = tuple(map(_at_first_star, self.patterns))
        self._hash = hash(self.terms)

    def matches(self, topic: str) -> bool:
        if self.single:
            return topic == self.terms[0]
        if topic in self.topics:
            return True
        if not self._wild or topic.startswith(RESERVED):
            return False
        # The first comparison turns away most, so a scan of a log costs little more than that.
        for prefix, wild in self._wild:
            if topic.startswith(prefix) and _matches(wild, topic[len(prefix) :]):
                return True
        return False

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Selector):
            return NotImplemented
        return self is other or self.terms == other.terms

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"Selector({list(self.terms)!r})"


def _at_first_star(pattern: str) -> tuple[str, str]:
    prefix = pattern.partition("*")[0]
    return prefix, pattern.removeprefix(prefix)


def _matches(wild: str, text: str) -> bool:
    # Nearly every pattern ends in one of these two, and then no level need be cut out.
    if wild == "**":
        return True
    if wild == "*":
        return "/" not in text
    # Too few levels, and so nearly everything against a pattern made deep to be slow.
    if text.count("/") < wild.count("/"):
        return False
    wanted = wild.split("/")
    levels = text.split("/", len(wanted))  # one more than wanted is as bad as a hundred more
    return _advance(wanted, levels, 0) == len(levels)


def _advance(wanted: list[str], levels: list[str], start: int) -> int:
    """Match levels from `start` on. Return where the next one stands, or -1 if they are not as wanted."""
    end = start + len(wanted)
    if end > len(levels):
        return -1
    # `*` first: with 256 of them, the worst there is, that halves the time.
    for want, level in zip(wanted, levels[start:end], strict=True):
        if want != "*" and want != level and want != "**":
            return -1
    return len(levels) if wanted[-1] == "**" else end


class TopicIndex(Generic[V]):
    """
    Which values want a topic: `add(selector, value)`, then `match(topic)`.

    A value is hashable and may be added with several selectors; `match` gives it once. The order
    is that of adding. Nothing is kept of what was discarded.

    Plain topics are found by one lookup, patterns by walking a trie. Each step of the walk has at
    most two ways to go on, the level's name and `*`, so a topic of n levels has at most 2**n ways
    through it, however many patterns there are, and no node is met twice.
    """

    __slots__ = ("_next", "_numbers", "_root", "_topics")

    def __init__(self) -> None:
        # Every pair has a number: it is the key under each of its terms, so that what several
        # terms find is made unique and put in order by the numbers alone.
        self._numbers: dict[tuple[Selector, V], int] = {}
        self._next = 0
        self._topics: dict[str, dict[int, V]] = {}
        self._root: _Node[V] = _Node("")

    def add(self, selector: Selector, value: V) -> None:
        """Let `match` give `value` for what `selector` matches. Adding the same pair again does nothing."""
        if (selector, value) in self._numbers:
            return
        number = self._numbers[selector, value] = self._next
        self._next += 1
        for topic in selector.topics:
            self._topics.setdefault(topic, {})[number] = value
        for pattern in selector.patterns:
            self._root.grow(pattern).values[number] = value

    def discard(self, selector: Selector, value: V) -> None:
        """Take back an `add` of the same pair; without one do nothing."""
        number = self._numbers.pop((selector, value), None)
        if number is None:
            return
        for topic in selector.topics:
            values = self._topics[topic]
            del values[number]
            if not values:
                del self._topics[topic]
        for pattern in selector.patterns:
            self._root.prune(pattern, number)

    def match(self, topic: str) -> tuple[V, ...]:
        """Return the values whose selectors match, each once, in the order of adding."""
        named = self._topics.get(topic)
        if not self._root.children or topic.startswith(RESERVED):
            return _unique(named) if named else ()
        found = self._root.find(topic.split("/"))
        if named:
            found.append(named)
        if len(found) == 1:
            return _unique(found[0])
        merged: dict[int, V] = {}
        for values in found:
            merged.update(values)
        return _unique(dict(sorted(merged.items())))


def _unique(values: dict[int, V]) -> tuple[V, ...]:
    # One value under two selectors stands here under two numbers. Hardly ever, and alone never.
    return tuple(values.values() if len(values) == 1 else dict.fromkeys(values.values()))


class _Node(Generic[V]):
    """
    One place in the trie of patterns: the levels that lead to it, and what ends or goes on there.

    Several levels without a fork are one node: 100 patterns in one request of 8 KiB would else
    cost 4,000 nodes and a megabyte, for every stream that asks for them. So every node but
    the root has values or at least two children. Labels are text, not tuples of levels: a tuple of
    short strings takes 20 times the memory.
    """

    __slots__ = ("children", "label", "values")

    def __init__(self, label: str) -> None:
        self.label = label
        self.children: dict[str, _Node[V]] = {}  # by the first level of their labels
        self.values: dict[int, V] = {}

    def grow(self, pattern: str) -> _Node[V]:
        """Return the node of `pattern` below this one, made if need be."""
        node, levels = self, pattern.split("/")
        while levels:
            child = node.children.get(levels[0])
            if child is None:
                child = node.children[levels[0]] = _Node("/".join(levels))
                return child
            shared = _shared(child.label.split("/"), levels)
            node.children[levels[0]] = node = child.cut(shared)
            levels = levels[shared:]
        return node

    def cut(self, after: int) -> _Node[V]:
        """Return a node for the first `after` levels of the label; this one keeps the others, below it."""
        levels = self.label.split("/")
        if after == len(levels):
            return self
        upper: _Node[V] = _Node("/".join(levels[:after]))
        self.label = "/".join(levels[after:])
        upper.children[levels[after]] = self
        return upper

    def prune(self, pattern: str, number: int) -> None:
        """Remove a value from the node of `pattern`, and the nodes that then have no reason to be."""
        path = list(self._path(pattern))
        del path[-1].values[number]
        for parent, node in zip(path[-2::-1], path[:0:-1], strict=True):
            if node.values or len(node.children) > 1:
                return
            first = node.label.partition("/")[0]
            if not node.children:
                del parent.children[first]
            else:
                (child,) = node.children.values()
                child.label = f"{node.label}/{child.label}"
                parent.children[first] = child

    def _path(self, pattern: str) -> Iterator[_Node[V]]:
        node, levels = self, pattern.split("/")
        yield node
        while levels:
            node = node.children[levels[0]]
            yield node
            levels = levels[node.label.count("/") + 1 :]

    def find(self, levels: list[str]) -> list[dict[int, V]]:
        """Return the values of every pattern below this node that matches all of `levels`."""
        found = []
        reached = [(self, 0)]
        for node, at in reached:  # grows as we go
            if at == len(levels):
                found.append(node.values)
                continue
            # A set: a name that no hub accepts but an engine may hold, `*/*/*`, must not go every way twice.
            for key in {levels[at], "*"}:
                child = node.children.get(key)
                if child is not None and (end := child.past(levels, at)) > 0:
                    reached.append((child, end))
            rest = node.children.get("**")
            if rest is not None:
                found.append(rest.values)
        return [values for values in found if values]

    def past(self, levels: list[str], at: int) -> int:
        """Return where the levels after this node's begin, or -1. The first is known to match."""
        if "/" not in self.label:
            return at + 1
        return _advance(self.label.split("/"), levels, at)


def _shared(one: list[str], other: list[str]) -> int:
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count
