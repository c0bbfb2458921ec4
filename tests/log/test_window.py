from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tidewire.errors import InvalidInput
from tidewire.event_stream import Decoder, Event
from tidewire.log.entries import Draft, Entry, Head, Marks, Record, Since
from tidewire.log.records import END
from tidewire.log.window import LOOK_BACK, Verdict, Window
from tidewire.position import Position
from tidewire.topics import SCAN, Selector

A, B, ALL = Selector(["a"]), Selector(["b"]), Selector(["**"])


def entry(offset: int, topic: str = "a", data: str = "", life: str = "life01", **fields: Any) -> Entry:
    check = fields.pop("check", "")
    return Entry(Position(life, offset, check), topic, data, **fields)


def opened(
    offset: int = 0,
    floor: int = 1,
    lives: tuple[tuple[str, int], ...] = (("life01", 1),),
    marks: Marks | None = None,
    ended: dict[str, int] | None = None,
    *,
    check: str = "",
    max_entries: int = 100,
    max_bytes: int = 1_000_000,
) -> Window:
    window = Window(max_entries, max_bytes)
    position = Position(lives[-1][0], offset, check)
    ends = [Record(END, topic, "", 0.0, offset) for topic, offset in (ended or {}).items()]
    window.reset(Head(position, floor, lives, Marks() if marks is None else marks, ends))
    return window


def filled(topics: Iterable[str], **limits: Any) -> Window:
    window = opened(**limits)
    window.append([entry(offset, topic, topic) for offset, topic in enumerate(topics, 1)])
    return window


def trim(window: Window, *trimmed: Entry) -> None:
    """Trim entries as an engine does: the marks first, then the floor."""
    for item in trimmed:
        window.marks.set(item.topic, item.offset)
    window.trimmed(trimmed[-1].offset + 1, window.marks)


def offsets(found: tuple[list[Entry], int]) -> tuple[list[int], int]:
    return [item.offset for item in found[0]], found[1]


# -- entries and drafts


def test_an_entry_has_two_spellings_each_encoded_once() -> None:
    item = entry(7, "a/b", "x\ny", event="news", retry=700)
    plain = item.frame(with_topic=False)
    assert plain == b"event: news\nid: life01.7\nretry: 700\ndata: x\ndata: y\n\n"
    named = item.frame(with_topic=True)
    assert named == b"event: news\nid: life01.7\ntopic: a/b\nretry: 700\ndata: x\ndata: y\n\n"
    assert item.frame(with_topic=False) is plain
    assert item.frame(with_topic=True) is named


def test_the_end_of_a_topic_is_an_event_of_the_hub() -> None:
    item = entry(7, "a", 'sold "out"\n', end=True)
    assert item.as_event() == Event(
        '{"topic":"a","reason":"sold \\"out\\"\\n"}', "hub.end", "life01.7", topic="a"
    )
    assert [event.json() for event in Decoder().feed(item.frame(False))] == [
        {"topic": "a", "reason": 'sold "out"\n'}
    ]


@pytest.mark.parametrize(
    "fields", [{"event": "x\r\ndata: y"}, {"event": "\0"}, {"retry": 5}, {"topic": "a\nb"}]
)
def test_a_frame_that_would_inject_a_line_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        entry(1, **{"topic": "a", **fields}).frame(with_topic=True)


def test_a_digest_tells_drafts_apart() -> None:
    drafts = [
        Draft("a", "b"),
        Draft("ab", ""),
        Draft("", "ab"),
        Draft("a", "b", "other"),
        Draft("a", "b", retry=1000),
        Draft("a", "1000b"),
        Draft("a", "", "messageb"),
        Draft("a", "é"),
        Draft("a", "e\u0301"),
    ]
    assert len({draft.digest() for draft in drafts}) == len(drafts)
    assert Draft("a", "b", key="1").digest() == Draft("a", "b", key="2").digest()


def test_which_starts_only_the_engine_knows() -> None:
    asked = {
        kind: Since(kind).asks_engine for kind in ("now", "start", "last", "ago", "at", "after", "invalid")
    }  # type: ignore[arg-type]
    assert [kind for kind, asks in asked.items() if asks] == ["last", "ago", "at"]


# -- marks


def test_marks_hold_the_newest_trimmed_offset_of_each_topic() -> None:
    marks = Marks()
    for offset, topic in enumerate("abca", 1):
        marks.set(topic, offset)
    assert [marks.of(topic) for topic in "abcd"] == [4, 2, 3, 0]
    assert (len(marks), marks.dropped) == (3, 0)
    assert [topic for topic, _ in marks.items()] == ["b", "c", "a"]


def test_a_dropped_mark_stands_for_all_that_are_not_kept() -> None:
    marks = Marks(limit=2)
    marks.set("a", 1)
    marks.set("b", 2)
    marks.set("c", 3)
    assert (len(marks), marks.dropped) == (2, 1)
    assert [marks.of(topic) for topic in ("a", "b", "c", "never seen")] == [1, 2, 3, 1]
    # A topic that is trimmed again is the newest again, so `c` goes before it.
    marks.set("b", 4)
    marks.set("d", 5)
    assert (marks.of("b"), marks.of("c"), marks.dropped) == (4, 3, 3)


# -- append and drop


def test_the_window_keeps_the_newest_entries() -> None:
    window = filled("abcabc", max_entries=4)
    assert (window.start, window.head, window.floor) == (3, 6, 1)
    assert [window.holds(after) for after in range(7)] == [False, False, True, True, True, True, True]
    assert offsets(window.read(2, 6, ALL, 10**6)) == ([3, 4, 5, 6], 6)
    assert offsets(window.read(2, 6, A, 10**6)) == ([4], 6)


def test_a_large_window_drops_several_at_once_and_never_holds_more_than_its_limit() -> None:
    window = opened(max_entries=640)
    for offset in range(1, 2001):
        window.append([entry(offset, "ab"[offset % 2])])
        assert min(offset, 640 - 10) <= window.head - window.start + 1 <= 640
    read = offsets(window.read(1995, 2000, Selector(["a"]), 10**6))
    assert read == ([1996, 1998, 2000], 2000)


def test_the_window_is_bounded_by_bytes_and_keeps_its_newest_entry() -> None:
    window = opened(max_bytes=2 * entry(1, data="x" * 700).size)
    for offset in range(1, 11):
        window.append([entry(offset, data="x" * 700)])
    assert window.start == 9
    window.append([entry(11, data="x" * 1_000_000)])
    assert (window.start, window.head) == (11, 11)
    window.append([entry(12)])
    assert window.start == 12


def test_text_counts_in_bytes() -> None:
    assert entry(1, data="é" * 100).size - entry(1).size == 200
    assert entry(1, data="\U0001f30a" * 100).size - entry(1).size == 400


def test_frames_of_dropped_entries_are_freed() -> None:
    window = opened(max_entries=1)
    first = entry(1)
    window.append([first])
    first.frame(False)
    window.append([entry(2)])
    assert first.frames == (None, None)


def test_a_hole_is_a_fault() -> None:
    window = filled("ab")
    with pytest.raises(AssertionError):
        window.append([entry(4)])


def test_a_new_life_starts_with_its_first_entry() -> None:
    window = filled("ab")
    window.append([entry(3, life="life02")])
    assert window.lives == [("life01", 1), ("life02", 3)]
    assert [window.life_of(offset) for offset in (0, 1, 2, 3, 99)] == ["life01"] * 3 + ["life02"] * 2
    assert [str(window.position(offset)) for offset in (0, 2, 3)] == ["life01.0", "life01.2", "life02.3"]


def test_positions_carry_the_check_if_it_is_known() -> None:
    window = opened(9, check="zz", max_entries=2)
    assert str(window.position(9)) == "life01.9.zz"  # the engine reports the head's check
    window.append([entry(offset, check=f"c{offset % 10}") for offset in (10, 11, 12)])
    assert [str(window.position(offset)) for offset in (9, 10, 11, 12)] == [
        "life01.9",
        "life01.10",
        "life01.11.c1",
        "life01.12.c2",
    ]
    trim(window, *(entry(offset) for offset in range(1, 13)))
    assert str(window.position(12)) == "life01.12.c2"


def test_retention_moves_the_floor_and_empties_the_window() -> None:
    window = filled("abab")
    trim(window, entry(1, "a"), entry(2, "b"))
    assert (window.floor, window.start, window.head) == (3, 3, 4)
    trim(window, entry(3, "a"), entry(4, "b"))
    assert (window.floor, window.start, window.head) == (5, 5, 4)
    assert offsets(window.read(4, 4, ALL, 100)) == ([], 4)
    window.append([entry(5, "a")])
    assert offsets(window.read(4, 5, A, 100)) == ([5], 5)


def test_retention_of_entries_that_the_window_never_had() -> None:
    window = opened(100, floor=1, max_entries=5)
    trim(window, entry(50))
    assert (window.floor, window.start) == (51, 101)
    assert not window.holds(99)


# -- the ends of topics


def test_ended_topics() -> None:
    window = filled("ab")
    window.append([entry(3, "a", "sold", end=True)])
    assert (window.is_ended("a"), window.is_ended("b"), window.end_of("a")) == (True, False, 3)
    assert window.all_ended(A)
    assert not window.all_ended(Selector(["a", "b"]))
    assert not window.all_ended(Selector(["a", "a/*"])), "a pattern may match what does not exist yet"
    # Trimming its entry leaves the record.
    trim(window, entry(1, "a"), entry(2, "b"), entry(3, "a", end=True))
    assert (window.is_ended("a"), window.is_ended("b"), window.end_of("a")) == (True, False, 3)
    window.append([entry(4, "b", end=True)])
    assert window.all_ended(Selector(["a", "b"]))


def test_ended_topics_that_the_engine_still_keeps_are_known_at_the_start() -> None:
    window = opened(10, floor=4, ended={"b": 8, "a": 5})
    assert window.all_ended(Selector(["a", "b"]))
    assert (window.end_of("a"), window.end_of("b")) == (5, 8)
    trim(window, entry(4, "c"), entry(5, "a", end=True))
    assert window.is_ended("a")
    window.forgotten([Record(END, "a", "", 0.0, 5)])
    assert not window.is_ended("a")
    assert window.is_ended("b")


# -- judging, in the order of the design


def judged() -> Window:
    """Offsets 1..20: a and b in turn; lives from 1, 8 and 15; trimmed through 6."""
    window = opened(lives=(("life01", 1), ("life02", 8), ("life03", 15)))
    lives = ["life01"] * 7 + ["life02"] * 7 + ["life03"] * 6
    topics = ["c" if offset == 6 else "ba"[offset % 2] for offset in range(1, 21)]
    window.append(
        [
            entry(offset, topic, life=life, check=f"{offset:02}")
            for offset, (topic, life) in enumerate(zip(topics, lives, strict=True), 1)
        ]
    )
    trim(window, *(entry(offset, topics[offset - 1]) for offset in range(1, 7)))
    return window


JUDGED = {
    "unreadable": (None, ALL, Verdict(20, "invalid", ("**",))),
    "the head": (("life03", 20, "20"), A, Verdict(20)),
    "without a check": (("life03", 20, ""), A, Verdict(20)),
    "in the middle": (("life02", 10, "10"), A, Verdict(10)),
    "just before the oldest kept": (("life01", 6, ""), ALL, Verdict(6)),
    "an unknown life": (("other1", 10, "10"), A, Verdict(6, "foreign", ("a",))),
    "an unknown life, in the future": (("other1", 99, "10"), A, Verdict(6, "foreign", ("a",))),
    "an older life, beyond its end": (("life02", 17, "17"), A, Verdict(14, "foreign", ("a",))),
    "an older life, its end trimmed": (("life01", 9, "09"), A, Verdict(7, "foreign", ("a",))),
    "a later life, before its start": (("life03", 9, "09"), A, Verdict(6, "foreign", ("a",))),
    "beyond the head": (("life03", 21, "21"), A, Verdict(20, "future", ("a",))),
    "beyond the head, far": (("life03", 2**62, ""), A, Verdict(20, "future", ("a",))),
    "a wrong check": (("life03", 18, "xx"), A, Verdict(6, "foreign", ("a",))),
    "a wrong check at the head": (("life03", 20, "xx"), A, Verdict(6, "foreign", ("a",))),
    "a check that cannot be compared": (("life01", 5, "05"), A, Verdict(6, "trimmed", ("a",))),
    "older than the mark": (("life01", 2, ""), ALL, Verdict(6, "trimmed", ("**",))),
    "older than one mark of two": (("life01", 4, ""), Selector(["a", "b"]), Verdict(6, "trimmed", ("a",))),
    "trimmed, but nothing of this topic": (("life01", 5, ""), B, Verdict(6)),
    "before the first": (("life01", 0, ""), ALL, Verdict(6, "trimmed", ("**",))),
    "before the first, of a topic never trimmed": (("life01", 0, ""), Selector(["z"]), Verdict(6)),
    "before the first belongs to the first life": (("life03", 0, ""), A, Verdict(6, "foreign", ("a",))),
}


@pytest.mark.parametrize("case", JUDGED)
def test_judging(case: str) -> None:
    brought, selector, expected = JUDGED[case]
    position = None if brought is None else Position(*brought)
    assert judged().judge(position, selector) == expected


def test_a_position_at_the_head_is_compared_even_if_everything_is_trimmed() -> None:
    window = filled([], check="")
    window.append([entry(1, check="c1")])
    trim(window, entry(1))
    assert window.judge(Position("life01", 1, "c1"), A) == Verdict(1)
    assert window.judge(Position("life01", 1, "xx"), A) == Verdict(1, "foreign", ("a",))


def test_a_check_is_foreign_if_the_log_has_none() -> None:
    assert filled("ab").judge(Position("life01", 1, "xx"), A) == Verdict(0, "foreign", ("a",))


def test_a_busy_neighbour_causes_no_gap_on_a_quiet_topic() -> None:
    window = filled("a" + "b" * 50)
    trim(window, entry(1, "a"), *(entry(offset, "b") for offset in range(2, 41)))
    assert window.judge(Position("life01", 1), A) == Verdict(40)
    assert window.judge(Position("life01", 0), A).reason == "trimmed"
    assert window.judge(Position("life01", 1), B).reason == "trimmed"


def test_dropped_marks_make_every_older_position_a_gap() -> None:
    window = opened(marks=Marks(limit=1))
    window.append([entry(offset, topic) for offset, topic in enumerate("abc", 1)])
    trim(window, entry(1, "a"), entry(2, "b"))
    assert window.judge(Position("life01", 0), Selector(["z", "b"])) == Verdict(2, "trimmed", ("b", "z"))
    assert window.judge(Position("life01", 1), Selector(["z"])) == Verdict(2)


class Written(NamedTuple):
    topic: str
    life: int
    end: bool


TOPICS = ["a", "b", "a/1", "a/2", "a/1/x", "b/1"]
TERMS = [*TOPICS, "*", "a/*", "a/**", "*/1", "**"]
selectors = st.lists(st.sampled_from(TERMS), min_size=1, max_size=3).map(Selector)
steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(TOPICS), st.booleans()),
        st.sampled_from(["new life"]),
        st.integers(1, 3),  # trim this many
    ),
    max_size=25,
)


@settings(max_examples=300)
@given(steps, st.integers(1, 6), selectors)
@example([("a", False), "new life", ("a", False), 1], 1, A)
def test_judging_agrees_with_a_naive_log(log: list[Any], max_entries: int, selector: Selector) -> None:
    window = opened(lives=(("life00", 1),), max_entries=max_entries)
    written: list[Written] = []
    lives = [1]
    floor = 1
    for step in log:
        if step == "new life":
            if lives[-1] <= len(written):  # a life without entries is not kept
                lives.append(len(written) + 1)
        elif isinstance(step, int):
            gone = [
                entry(floor + n, *written[floor + n - 1][:1])
                for n in range(min(step, len(written) - floor + 1))
            ]
            if gone:
                trim(window, *gone)
                floor += len(gone)
        else:
            written.append(Written(step[0], len(lives) - 1, step[1]))
            window.append([entry(len(written), step[0], life=f"life{len(lives) - 1:02}", end=step[1])])

    head, known = len(written), lives if lives[-1] <= len(written) or len(lives) == 1 else lives[:-1]
    life_at = [
        max(n for n, first in enumerate(known) if first <= max(offset, 1)) for offset in range(head + 3)
    ]
    for life in range(len(known) + 1):
        for offset in range(head + 3):
            verdict = window.judge(Position(f"life{life:02}", offset), selector)
            missed = [item.topic for item in written[offset : floor - 1] if selector.matches(item.topic)]
            if life_at[offset] != life:
                reason = "foreign"
            elif offset > head:
                reason = "future"
            else:
                reason = "trimmed" if missed else None
            assert verdict.reason == reason
            if reason == "trimmed":
                assert verdict.offset == floor - 1
                assert verdict.terms == tuple(
                    t for t in selector.terms if any(map(Selector([t]).matches, missed))
                )
            elif reason is None:
                assert verdict.offset == max(offset, floor - 1)
    for offset in range(max(window.start - 1, 0), head + 1):
        expected = [n for n, item in enumerate(written, 1) if n > offset and selector.matches(item.topic)]
        assert offsets(window.read(offset, head, selector, 10**9)) == (expected, head)


# -- reading


def test_reading_stops_before_the_byte_limit_but_never_without_an_entry() -> None:
    window = opened()
    window.append([entry(offset, "ab"[offset % 2], "x" * 1000) for offset in range(1, 11)])
    frame = len(entry(1, data="x" * 1000).frame(False))
    assert offsets(window.read(0, 10, Selector(["b"]), 2 * frame)) == ([1, 3], 3)
    assert offsets(window.read(0, 10, Selector(["b"]), 3 * frame)) == ([1, 3, 5], 5)
    assert offsets(window.read(0, 10, Selector(["b"]), 1)) == ([1], 1)
    assert offsets(window.read(0, 10, Selector(["b"]), 10 * frame)) == ([1, 3, 5, 7, 9], 10)
    assert offsets(window.read(4, 8, ALL, 10**6)) == ([5, 6, 7, 8], 8)
    assert offsets(window.read(10, 10, ALL, 10**6)) == ([], 10)


@pytest.mark.parametrize("data", ["é" * 1000, "\n" * 1000])
def test_reading_counts_the_bytes_that_will_be_written(data: str) -> None:
    # 1,000 line ends are 7,000 bytes on the wire.
    window = opened()
    window.append([entry(offset, data=data) for offset in range(1, 11)])
    found, _ = window.read(0, 10, A, 15_000)
    assert sum(len(item.frame(False)) for item in found) <= 15_000


def test_a_read_for_patterns_looks_at_a_limited_number_of_entries() -> None:
    """A hundred patterns that match nothing: ten thousand entries take many reads, not one long step."""
    window = filled(["t"] * 10_000, max_entries=10_000, max_bytes=1 << 30)
    selector = Selector([f"nothing/{n}/*" for n in range(100)])
    after, reads = 0, 0
    while after < window.head:
        found, through = window.read(after, window.head, selector, 10**6)
        assert found == []
        assert 0 < through - after <= selector.scan <= SCAN
        after, reads = through, reads + 1
    assert reads == math.ceil(10_000 / SCAN)


def test_the_newest_events_of_topics_are_found_in_memory() -> None:
    window = filled("abcabcab", max_entries=6)
    assert window.newest(["a"], 5) == ([4, 7], 3)
    assert window.newest(["a", "b"], 5) == ([4, 5, 7, 8], 3)
    assert window.newest(["nothing"], 5) == ([], 3)
    window.append([entry(9, "a", end=True)])
    found, lowest = window.newest(["a"], 1)
    assert (found[-1], lowest) == (7, window.start)


def test_nothing_older_than_the_newest_events_is_looked_for_if_nothing_older_is_kept() -> None:
    window = filled("aab")
    assert window.newest(["a"], 5) == ([1, 2], 1)
    trim(window, entry(1))
    assert window.newest(["a"], 5) == ([2], 1)


def test_looking_for_the_newest_events_is_bounded() -> None:
    window = filled("a" * (LOOK_BACK + 10), max_entries=2 * LOOK_BACK, max_bytes=1 << 30)
    found, lowest = window.newest(["a"], 2 * LOOK_BACK)
    assert (len(found), lowest) == (LOOK_BACK, 11)
    assert len(window.newest(["a"], 5)[0]) == 6
