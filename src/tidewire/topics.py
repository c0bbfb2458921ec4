"""
Topic names, patterns, and which subscriptions match an event.

Rule 1: names are compared byte by byte and never normalised. `a/b`, `a/b/` and `/a/b` are three
        topics, and an accent in composed and in decomposed spelling makes two.
Rule 2: `/` separates levels, and an empty level is a level. In a pattern `*` is one whole level,
        and `**`, as the last level, is one or more. So `a/*` matches `a/` but not `a`, `a/**` matches
        `a/b/c` but not `a`, and `**` alone matches everything without a special rule.
Rule 3: reserved names belong to the hub. Nobody can publish to them or name them in a selector, and
        no pattern matches them, not even `**`: what the hub may send there in the future must not
        reach clients that subscribed to everything.
Rule 4: matching is linear in the bytes of topic and pattern. No pattern ever becomes a regular
        expression. tests/test_topics.py compares the matcher and the index with a ten-line version.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Hashable, Iterable, Iterator
from itertools import islice
from typing import Generic, TypeVar

from .errors import InvalidInput, Reserved
from .pattern_table import PatternTable

MAX_BYTES = 512
# What one step of a search compares with patterns: this many topics, or this many levels of them. Several
# searches may take a step before a publish gets its turn.
SCAN, SCAN_LEVELS = 300, 15_000
MAX_TERMS = 100
RESERVED = ("$", "/.well-known/")

# Control, format and surrogate characters: they are invisible, reverse the text direction or cannot
# be encoded as UTF-8. Unicode does not class the line and paragraph separators (U+2028, U+2029) as
# controls, but editors, logs and `str.splitlines` break the line at them, so one name would look
# like two.
REFUSED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})

V = TypeVar("V", bound=Hashable)


def is_pattern(term: str) -> bool:
    return "*" in term


def check_topic(name: str) -> str:
    """
    Return `name` if it is a valid topic name, reserved or not.

    Raises `InvalidInput` (`invalid_topic`) if it is empty or longer than 512 bytes of UTF-8, or if it
    has a control, format or line-separating character, a lone surrogate, or a `*`.
    """
    _check_text(name, "topic")
    if is_pattern(name):
        raise InvalidInput("a topic must not have a `*`: only subscribers use patterns", code="invalid_topic")
    return name


def check_publish_topic(name: str) -> str:
    """
    Return `name` if events may be published to it.

    Raises as `check_topic`, and `Reserved` (`reserved_topic`) if the name is reserved.
    """
    # Nearly all names are printable ASCII. Of those characters only `*` is refused.
    plain = isinstance(name, str) and name.isascii() and name.isprintable() and 0 < len(name) <= MAX_BYTES
    if plain and "*" not in name and not name.startswith(RESERVED):
        return name
    return _check_unreserved(check_topic(name))


def check_term(term: str) -> str:
    """
    Return `term` if a client may subscribe to it: a topic or a pattern that is not reserved.

    Raises `InvalidInput` if it is not valid (`invalid_pattern` if it has a `*`, else `invalid_topic`)
    and `Reserved` (`reserved_topic`) if it begins with `$` or `/.well-known/`.
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
            "in a pattern `*` must be a whole level and `**` the whole last level", code="invalid_pattern"
        )
    return term


def _check_text(text: str, kind: str) -> None:
    fault = _fault(text)
    if fault:
        raise InvalidInput(f"a {kind} {fault}", code=f"invalid_{kind}")


def _fault(text: str) -> str:
    """Return what is wrong with `text`, or "". The text is not repeated: anyone may have sent it."""
    if not isinstance(text, str):  # JSON may hold any type
        return "must be text"
    if not text:
        return "must not be empty"
    # Characters are counted first, so that megabytes are neither scanned nor encoded.
    if len(text) > MAX_BYTES:
        return f"must have at most {MAX_BYTES} bytes of UTF-8"
    # isprintable is much faster, but also refuses spaces and private and unassigned characters.
    if not text.isprintable():
        for char in text:
            if unicodedata.category(char) in REFUSED:
                return f"must not contain control or format characters, such as U+{ord(char):04X}"
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
    The topics and patterns of one subscription.

    `terms` are all of them, sorted; `topics` are the plain ones; `patterns` the others, sorted.
    `single` is true for exactly one plain topic: then all events have the same topic, and frames
    need not name it.

    Selectors with the same set of terms are equal and have the same hash. Never change one. Code
    that makes many can share them: `selector = known.setdefault(selector, selector)`.

    Raises `InvalidInput` if there are no terms (`missing_topic`) or more than `limit`
    (`too_many_topics`), and what `check_term` raises.
    """

    __slots__ = ("_hash", "_table", "patterns", "scan", "single", "terms", "topics")

    terms: tuple[str, ...]
    topics: frozenset[str]
    patterns: tuple[str, ...]
    single: bool

    def __init__(self, terms: Iterable[str], limit: int = MAX_TERMS) -> None:
        # A str is an iterable of str too: Selector("ab") would wait for `a` and `b` forever.
        if isinstance(terms, str):
            raise TypeError("pass an iterable of terms to Selector, not a str")
        # All are counted before any is checked, duplicates too: refusing must cost next to nothing.
        given = list(islice(terms, limit + 1))
        if not given:
            raise InvalidInput("subscribe to at least one topic", code="missing_topic")
        if len(given) > limit:
            raise InvalidInput(f"subscribe to at most {limit} topics and patterns", code="too_many_topics")
        self.terms = tuple(sorted({check_term(term) for term in given}))
        self.patterns = tuple(filter(is_pattern, self.terms))
        self.topics = frozenset(self.terms).difference(self.patterns)
        self.single = not self.patterns and len(self.terms) == 1
        self._table: PatternTable | None = None
        deepest = max((pattern.count("/") + 1 for pattern in self.patterns), default=1)
        # How many topics one step of a search may be compared with: 1 us each, and 25 us for the deepest.
        self.scan = min(SCAN, SCAN_LEVELS // deepest)
        self._hash = hash(self.terms)

    def matches(self, topic: str) -> bool:
        if self.single:
            return topic == self.terms[0]
        if topic in self.topics:
            return True
        if not self.patterns or topic.startswith(RESERVED):
            return False
        return self.table.matches(topic)

    @property
    def table(self) -> PatternTable:
        """The patterns, compiled at first use. They never match a reserved topic: ask `matches`."""
        if self._table is None:
            self._table = PatternTable(self.patterns)
        return self._table

    def release_table(self) -> None:
        """Free the memory of the compiled patterns, up to 400 KiB. The next use compiles them again."""
        self._table = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Selector):
            return NotImplemented
        return self is other or self.terms == other.terms

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"Selector({list(self.terms)!r})"


def _advance(wanted: list[str], levels: list[str], start: int) -> int:
    """Match levels from `start` on. Return the index after the last match, or -1 if they do not match."""
    end = start + len(wanted)
    if end > len(levels):
        return -1
    # `*` first: in the worst case, a pattern with 256 of them, that halves the time.
    for want, level in zip(wanted, levels[start:end], strict=True):
        if want != "*" and want != level and want != "**":
            return -1
    return len(levels) if wanted[-1] == "**" else end


class TopicIndex(Generic[V]):
    """
    Finds the values whose selectors match a topic: `add(selector, value)`, then `match(topic)`.

    A value is hashable and may be added with several selectors; `match` returns it once. Values
    come in the order in which they were added. Discarded pairs leave nothing behind.

    Plain topics are found by one lookup, patterns by walking a trie. At each level the walk can
    follow at most two branches, the level's name and `*`, so a topic of n levels takes at most
    2**n paths, no matter how many patterns there are, and visits no node twice.
    """

    __slots__ = ("_next", "_numbers", "_root", "_topics")

    def __init__(self) -> None:
        # Each pair has a number, which is its key under each of its terms. So the numbers alone
        # make the results of several terms unique and put them in order.
        self._numbers: dict[tuple[Selector, V], int] = {}
        self._next = 0
        self._topics: dict[str, dict[int, V]] = {}
        self._root: _Node[V] = _Node("")

    def add(self, selector: Selector, value: V) -> None:
        """Have `match` return `value` for the topics of `selector`. Adding a pair again does nothing."""
        if (selector, value) in self._numbers:
            return
        number = self._numbers[selector, value] = self._next
        self._next += 1
        for topic in selector.topics:
            self._topics.setdefault(topic, {})[number] = value
        for pattern in selector.patterns:
            self._root.grow(pattern).values[number] = value

    def discard(self, selector: Selector, value: V) -> None:
        """Undo an `add` of the same pair; do nothing if there was none."""
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
        """Return the values whose selectors match, each once, in the order in which they were added."""
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
    # A value added with two selectors has two numbers. That is rare, and one number needs no check.
    return tuple(values.values() if len(values) == 1 else dict.fromkeys(values.values()))


class _Node(Generic[V]):
    """
    One node in the trie of patterns: the levels that lead to it, and what ends or continues there.

    Several levels without a fork are one node: otherwise 100 patterns in one request of 8 KiB
    would take 4,000 nodes and a megabyte, for every stream that subscribes to them. So every node
    except the root has values or at least two children. Labels are text, not tuples of levels: a
    tuple of short strings takes 20 times the memory.
    """

    __slots__ = ("children", "label", "values")

    def __init__(self, label: str) -> None:
        self.label = label
        self.children: dict[str, _Node[V]] = {}  # by the first level of their labels
        self.values: dict[int, V] = {}

    def grow(self, pattern: str) -> _Node[V]:
        """Return the node of `pattern` below this one; create it if necessary."""
        node, levels = self, pattern.split("/")
        while levels:
            child = node.children.get(levels[0])
            if child is None:
                child = node.children[levels[0]] = _Node("/".join(levels))
                return child
            common = _common_length(child.label.split("/"), levels)
            node.children[levels[0]] = node = child.split(common)
            levels = levels[common:]
        return node

    def split(self, after: int) -> _Node[V]:
        """Return a node for the first `after` levels of the label; this one keeps the rest, as its child."""
        levels = self.label.split("/")
        if after == len(levels):
            return self
        upper: _Node[V] = _Node("/".join(levels[:after]))
        self.label = "/".join(levels[after:])
        upper.children[levels[after]] = self
        return upper

    def prune(self, pattern: str, number: int) -> None:
        """Remove a value from the node of `pattern`, then the nodes that are no longer needed."""
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
        """Return the values of each pattern below this node that matches all of `levels`."""
        found = []
        reached = [(self, 0)]
        for node, at in reached:  # the loop appends to it
            if at == len(levels):
                found.append(node.values)
                continue
            # A set, since an engine may hold a name that no hub accepts: `*/*/*` would take each path twice.
            for key in {levels[at], "*"}:
                child = node.children.get(key)
                if child is not None and (end := child.past(levels, at)) > 0:
                    reached.append((child, end))
            rest = node.children.get("**")
            if rest is not None:
                found.append(rest.values)
        return [values for values in found if values]

    def past(self, levels: list[str], at: int) -> int:
        """Return the index after this node's levels, or -1 if one differs. The first is known to match."""
        if "/" not in self.label:
            return at + 1
        return _advance(self.label.split("/"), levels, at)


def _common_length(one: list[str], other: list[str]) -> int:
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count
