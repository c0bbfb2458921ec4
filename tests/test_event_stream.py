"""The text/event-stream format: every case whole, in pieces and cut at every position."""

from __future__ import annotations

import base64
import json
import random
import re
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tidewire.errors import InvalidInput, Reserved, TooLarge
from tidewire.event_stream import (
    Comment,
    Decoder,
    Event,
    check_publish_type,
    check_retry,
    check_type,
    comment,
    encode,
)

CASES = json.loads((Path(__file__).parent / "vectors" / "event_stream.json").read_text())

# Seconds of CPU for linear work, on a slow and busy machine. Quadratic work takes minutes.
SOON = 10


def by_name(cases: list[dict[str, Any]]) -> Any:
    return pytest.mark.parametrize("case", cases, ids=[case["name"] for case in cases])


def sliced(stream: bytes, size: int) -> Iterator[bytes]:
    return (stream[start : start + size] for start in range(0, len(stream), size))


def decoded(chunks: Iterable[bytes], **options: Any) -> tuple[list[Event], int | None, str]:
    """Return the events, and the retry and the last event id after them."""
    decoder = Decoder(**options)
    events = [event for chunk in chunks for event in decoder.feed(chunk)]
    return events, decoder.retry, decoder.last_event_id


def every_cut(stream: bytes) -> Iterator[tuple[bytes, bytes]]:
    return ((stream[:cut], stream[cut:]) for cut in range(len(stream) + 1))


# -- the cases of the vectors


class Case:
    def __init__(self, case: dict[str, Any]) -> None:
        self.chunks = [base64.b64decode(chunk) for chunk in case["chunks_b64"]]
        self.stream = b"".join(self.chunks)
        self.case = case

    def check(self, chunks: Iterable[bytes]) -> None:
        events, retry, last_event_id = decoded(
            chunks, last_event_id=self.case.get("initial_last_event_id", "")
        )
        assert [{"type": e.event, "data": e.data, "id": e.id} for e in events] == self.case["expect"]
        assert last_event_id == self.case["expect_last_event_id"]
        if not self.case.get("retry_free"):
            assert retry == self.case["expect_retry"]


@by_name(CASES)
def test_case(case):
    """In its own chunks, whole, and in pieces of one and two bytes."""
    case = Case(case)
    case.check(case.chunks)
    case.check([case.stream])
    case.check(sliced(case.stream, 1))
    case.check(sliced(case.stream, 2))


@by_name(CASES)
def test_case_cut_at_every_position(case):
    case = Case(case)
    for pieces in every_cut(case.stream):
        case.check(pieces)


@by_name([case for case in CASES if "expect_counts" in case])
def test_an_event_is_returned_at_its_blank_line(case):
    decoder = Decoder(last_event_id=case.get("initial_last_event_id", ""))
    count, counts = 0, []
    for chunk in Case(case).chunks:
        count += len(decoder.feed(chunk))
        counts.append(count)
    assert counts == case["expect_counts"]


def test_an_empty_chunk_changes_nothing():
    stream = b"\xef\xbb\xbfdata: x\r\nid: 1\r\n\r\ndata: y\n\n"
    chunks = [piece for byte in sliced(stream, 1) for piece in (b"", byte)]
    assert decoded(chunks) == decoded([stream]) == ([Event("x", id="1"), Event("y", id="1")], None, "1")


# -- a third decoder, which reads whole streams only


def decode_simply(stream: bytes, last_id: str = "") -> tuple[list[Event | Comment], int | None, str]:
    """The standard in its simplest form: the whole text, then line by line."""
    text = stream.decode("utf-8", "replace").removeprefix("\ufeff")
    *lines, _ = re.split("\r\n|\r|\n", text)
    items: list[Event | Comment] = []
    retry = None
    data, kind, topic, id_buffer = "", "", None, last_id
    for line in lines:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if line == "":
            last_id = id_buffer
            if data:
                items.append(Event(data[:-1], kind or "message", last_id, None, topic))
            data, kind, topic = "", "", None
        elif name == "":
            items.append(Comment(value))
        elif name == "data":
            data += value + "\n"
        elif name == "event":
            kind = value
        elif name == "topic":
            topic = value
        elif name == "id" and "\0" not in value:
            id_buffer = value
        elif name == "retry" and re.fullmatch("[0-9]+", value):
            retry = int(value)
    return items, retry, last_id


# Half of these make regular blocks, which take the quick path; the others leave it in every
# possible way.
PIECES = [
    *["event: tick\n", "id: 1\n", "topic: a/b\n", 'data: {"a": 1}\n\n', "data: x\n\n", "\n"] * 3,
    *["event:tick\n", "id:2\n", "data:x\n\n", "data:  x\n", "data\n", "data:\n", "data: \n\n"],
    *["id\n", "id: \n", "id: \0\n", "id: a\0b\n", "event\n", "event: \n", "topic:\n", "topic\n"],
    *["retry: 5\n", "retry: 5x\n", "retry\n", ": ping\n\n", ":\n", "::x\n", "x: y\n", "Data: x\n"],
    *["\r", "\r\n", "\r\r\n", "\n\r", "\n\n", "data: é☃\U0001f600\n\n", "data: \u2028\x0b\x85\n\n"],
    *["\ufeff", "data: \ufeffx\n", "da", "data", ":", " ", "\0", "i", "d: 3\n", "dataset: 1\n"],
]
BROKEN = [b"\xff", b"\xe2\x82", b"\xf0\x9f\x98", b"\xc0\xaf", b"\xed\xa0\x80", b"\xef\xbb", b"data: \x80\n\n"]
streams = st.lists(
    st.sampled_from([piece.encode() for piece in PIECES]) | st.sampled_from(BROKEN), max_size=30
).map(b"".join)
noise = st.binary(max_size=60) | st.text("daetivn: \r\n\0\ufeffé", max_size=60).map(str.encode)


@st.composite
def cut_streams(draw: Callable[..., Any]) -> list[bytes]:
    stream = draw(streams | noise)
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    return [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


@settings(max_examples=800)
@given(cut_streams())
def test_random_streams_in_random_pieces(chunks):
    stream = b"".join(chunks)
    items, *state = decode_simply(stream)
    for pieces in (chunks, [stream], sliced(stream, 1)):
        assert decoded(pieces, comments=True) == (items, *state)
    assert decoded(chunks) == ([item for item in items if isinstance(item, Event)], *state)


@settings(max_examples=100)
@given(streams)
@example(b"event: a\nid: 1\ndata: x\n\n" * 5)
@example(b"event: a\r\nid: 1\r\ndata: x\r\n\r\n" * 5)
def test_random_streams_cut_at_every_position(stream):
    expected = decode_simply(stream)
    for pieces in every_cut(stream):
        assert decoded(pieces, comments=True) == expected


@given(cut_streams(), st.text("ab\u2026", max_size=3))
def test_random_streams_of_a_second_connection(chunks, last_id):
    """`reset` forgets everything except the last event id and the retry."""
    decoder = Decoder(last_event_id=last_id)
    for chunk in chunks:
        decoder.feed(chunk)
    last_id, retry = decoder.last_event_id, decoder.retry
    decoder.reset()
    assert (decoder.last_event_id, decoder.retry) == (last_id, retry)
    stream = b"".join(chunks)
    items, _, last_id = decode_simply(stream, last_id)
    assert decoder.feed(stream) == [item for item in items if isinstance(item, Event)]
    assert decoder.last_event_id == last_id


class Probe(Decoder):
    """Counts how often lines take the exact path."""

    lines = 0

    def _lines(self, lines: bytes, events: list[Event]) -> None:
        self.lines += 1
        super()._lines(lines, events)


def test_regular_blocks_take_the_quick_path():
    """Otherwise the tests above would compare one path with itself."""
    block = b"event: a\nid: 1\ntopic: t\ndata: x\n\n"
    event = Event("x", "a", "1", None, "t")
    quick = Probe()
    assert quick.feed(block * 2 + block[:20]) == [event] * 2
    assert quick.feed(block[20:] + block) == [event] * 2
    assert quick.lines == 0
    exact = Probe()
    assert exact.feed(b":\n" + block * 2) == [event] * 2
    assert exact.lines == 1
    assert exact.feed(block + b":\n") == [event]
    assert exact.feed(b"\n" + block * 2) == [event] * 2
    assert exact.feed(block) == [event]
    assert exact.lines == 3


# -- from encode to decode


def one_line(controls: bool = True) -> st.SearchStrategy[str]:
    left_out = "\r\n\0" if controls else "".join(map(chr, [*range(32), *range(127, 160)]))
    return st.text(st.characters(exclude_categories=["Cs"], exclude_characters=left_out), max_size=8)


events = st.builds(
    Event,
    data=st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    | st.text(" \r\n:datx\0\ufeff\u2028", max_size=20),
    event=one_line(),
    id=st.none() | one_line(),
    retry=st.none() | st.integers(500, 600_000),
    topic=st.none() | one_line(controls=False),
)


def normalised(event: Event, last_id: str) -> Event:
    return Event(
        data=event.data.replace("\r\n", "\n").replace("\r", "\n"),
        event=event.event or "message",
        id=last_id if event.id is None else event.id,
        topic=event.topic,
    )


@settings(max_examples=200)
@given(st.lists(events, min_size=1, max_size=3))
def test_decode_of_encode_is_the_event(sent):
    stream = b"".join(map(encode, sent))
    expected, last_id, retry = [], "", None
    for event in sent:
        expected.append(normalised(event, last_id))
        last_id = expected[-1].id
        retry = event.retry or retry
    for pieces in [*every_cut(stream), sliced(stream, 1)]:
        assert decoded(pieces) == (expected, retry, last_id)


@pytest.mark.parametrize(
    ("data", "read"),
    [
        pytest.param("a\rb", "a\nb", id="attack A04 CR"),
        pytest.param("a\r\nb", "a\nb", id="attack A04 CRLF"),
        pytest.param("a\nb", "a\nb", id="attack A04 LF"),
        *[
            pytest.param(data, data, id=f"attack {row} {data!r}")
            for row, values in {
                "A05": ["x\n\nevent: admin\ndata: {}\n\n"],
                "A06": [" x", "\tx", ":x", "data: x", "  "],
                "A07": [""],
                "A08": ["a\n", "\n", "\n\n"],
                "A09": ["a\u2028b", "a\u2029b", "a\x85b", "a\x0bb", "a\x0cb", "a\x1cb", "a\x1db", "a\x1eb"],
                "A10": ["a\0b", "\0", "\ufeffx"],
            }.items()
            for data in values
        ],
    ],
)
def test_data_arrives_unchanged(data, read):
    stream = comment() + encode(Event(data, "tick"))
    for pieces in every_cut(stream):
        assert decoded(pieces)[0] == [Event(read, "tick", "")]


def test_injected_lines_stay_data():
    """Attack A05 with each line end: one event, its type unchanged."""
    for end in ("\n", "\r", "\r\n"):
        attack = end.join(["x", "", "event: admin", "id: 9", "data: {}", "", ""])
        assert decoded([encode(Event(attack, "tick", "1"))])[0] == [
            Event("x\n\nevent: admin\nid: 9\ndata: {}\n\n", "tick", "1")
        ]


# -- what encode writes


def test_the_order_of_fields():
    event = Event("a\nb", "tick", "k.1", 2000, "orders/7")
    assert encode(event) == b"event: tick\nid: k.1\ntopic: orders/7\nretry: 2000\ndata: a\ndata: b\n\n"


@pytest.mark.parametrize(
    ("event", "block"),
    [
        (Event(), b"data: \n\n"),
        (Event("x", "message"), b"data: x\n\n"),
        (Event("x", ""), b"data: x\n\n"),
        (Event("x", " message"), b"event:  message\ndata: x\n\n"),
        (Event("x", id=""), b"id: \ndata: x\n\n"),
        (Event("x", topic=""), b"topic: \ndata: x\n\n"),
        (Event(" x"), b"data:  x\n\n"),
        (Event("a\n"), b"data: a\ndata: \n\n"),
        (Event("\r\r\n\n"), b"data: \ndata: \ndata: \ndata: \n\n"),
        (Event("é☃\U0001f600"), "data: é☃\U0001f600\n\n".encode()),
    ],
)
def test_encoded_block(event, block):
    assert encode(event) == block


def test_types_that_are_an_enum():
    class Kind(str, Enum):  # noqa: UP042 - formats as "Kind.PAID", as StrEnum does not
        PAID = "paid"

    assert encode(Event("x", Kind.PAID)) == b"event: paid\ndata: x\n\n"


# -- what encode refuses, and the validators that the hub shares with it

NOT_A_LINE = [
    *["x\nevent: admin", "x\r", "\rx", "a\0b", "\0", "\n", "\r\n", "\ud800", "é\udfff", "x\n"],
    *[None, 5, b"x", ["x"]],
]


@pytest.mark.parametrize("text", NOT_A_LINE, ids=repr)
def test_refused_type(text):
    """Attacks A01, A02 and A17: an InvalidInput, which is a ValueError, with one code from all callers."""
    for refuse in (check_type, check_publish_type, lambda text: encode(Event("x", text))):
        with pytest.raises(InvalidInput) as refused:
            refuse(text)
        assert isinstance(refused.value, ValueError)
        assert refused.value.code == "invalid_type"


@pytest.mark.parametrize("text", [text for text in NOT_A_LINE if text is not None], ids=repr)
def test_refused_id(text):
    with pytest.raises(InvalidInput) as refused:
        encode(Event("x", id=text))
    assert refused.value.code == "invalid_id"


@pytest.mark.parametrize(
    "text", [*(text for text in NOT_A_LINE if text is not None), "\x1b[2J", "\x7f", "\x9b", "\t"], ids=repr
)
def test_refused_topic(text):
    with pytest.raises(InvalidInput) as refused:
        encode(Event("x", topic=text))
    assert refused.value.code == "invalid_topic"


@pytest.mark.parametrize("value", [0, -1, 1, 499, 600_001, 10**12, 1e12, True, 1.5, 500.0, "5\nid: x", "500"])
def test_refused_retry(value):
    """Attack A13."""
    for refuse in (check_retry, lambda value: encode(Event("x", retry=value))):
        with pytest.raises(InvalidInput) as refused:
            refuse(value)
        assert refused.value.code == "invalid_retry"


@pytest.mark.parametrize("value", [500, 2000, 600_000])
def test_allowed_retry(value):
    assert check_retry(value) == value
    assert decoded([encode(Event("x", retry=value))])[1] == value


@pytest.mark.parametrize("data", [1j, object(), float("nan")], ids=lambda data: type(data).__name__)
def test_refused_data(data):
    with pytest.raises(InvalidInput) as refused:
        encode(Event(data))
    assert refused.value.code == "invalid_data"


@pytest.mark.parametrize("data", ["\ud800", "a\udfffb\n", "\ud83d \ude00"], ids=repr)
def test_refused_surrogates(data):
    with pytest.raises(InvalidInput) as refused:
        encode(Event(data))
    assert refused.value.code == "invalid_utf8"


@pytest.mark.parametrize("text", ["x", "hub", "hubs.x", "Hub.gap", " hub.gap", "é", "a:b", "x\t"])
def test_allowed_publish_type(text):
    assert check_publish_type(text) == text


@pytest.mark.parametrize("text", ["t" * 513, "é" * 257])
def test_a_publish_type_of_more_than_512_bytes(text):
    """Attack F21. The encoder accepts it: the limit is for publishers."""
    with pytest.raises(InvalidInput) as refused:
        check_publish_type(text)
    assert refused.value.code == "invalid_type"
    assert check_publish_type(text[:256]) == check_type(text[:256])
    assert encode(Event("", text)).startswith(b"event: ")


def test_an_empty_type_is_message():
    assert check_type("") == check_publish_type("") == "message"


@pytest.mark.parametrize("text", ["hub.gap", "hub.", "hub.mine"])
def test_reserved_type(text):
    """Attack A14. The encoder accepts them, since the hub writes them."""
    with pytest.raises(Reserved) as refused:
        check_publish_type(text)
    assert refused.value.code == "reserved_type"
    assert check_type(text) == text
    assert encode(Event("", text)).startswith(b"event: hub.")


# -- comments


def test_comment():
    assert comment() == b":\n"
    assert comment("ping") == b": ping\n"
    assert comment(" é:") == ":  é:\n".encode()


@pytest.mark.parametrize("text", NOT_A_LINE, ids=repr)
def test_refused_comment(text):
    """Attack A19."""
    with pytest.raises(InvalidInput) as refused:
        comment(text)
    assert refused.value.code == "invalid_comment"


def test_comments_come_in_order_and_at_their_line():
    decoder = Decoder(comments=True)
    assert decoder.feed(b"data: a\n: one\nda") == [Comment("one")]
    assert decoder.feed(b"ta: b\n\n:two\n") == [Event("a\nb", id=""), Comment("two")]
    assert decoder.feed(b"data: c\n\n:  three\n\n::\n:\n") == [
        Event("c", id=""),
        *[Comment(" three"), Comment(":"), Comment("")],
    ]


def test_comments_are_returned_only_if_asked_for():
    assert Decoder().feed(b": a\n\ndata: x\n: b\n\n: c\n") == [Event("x", id="")]


def test_encoded_comments_round_trip():
    assert decoded(sliced(comment("ping é") + comment(), 1), comments=True)[0] == [
        Comment("ping é"),
        Comment(""),
    ]


# -- retry, ids, topics, json


@pytest.mark.parametrize(
    ("value", "retry"),
    [
        (b"0", 0),
        (b"1", 1),
        (b"2500", 2500),
        (b"007", 7),
        (b"000", 0),
        (b"99999999999", 99_999_999_999),
        (b"0" * 5000 + b"3000", 3000),
        *[(value, None) for value in (b"-1", b"1.5", b"+5", b" 5", b"5 ", b"", b"1e3", b"1_0", b"0x1")],
        *[(value.encode(), None) for value in ("\uff15", "\u00b2", "\u0665")],
    ],
)
def test_retry_is_ascii_digits(value, retry):
    """Attack H03 in the format: other values are ignored; the client sets the bounds."""
    assert decoded([b"retry: " + value + b"\n\ndata: x\n\n"]) == ([Event("x", id="")], retry, "")


def test_retry_of_a_megabyte_of_digits():
    decoder = Decoder()
    before = time.process_time()
    decoder.feed(b"retry: " + b"9" * 1_000_000 + b"\n")
    assert time.process_time() - before < SOON
    assert decoder.retry is not None
    assert decoder.retry > 10**9


def test_retry_takes_effect_at_its_own_line():
    decoder = Decoder()
    decoder.feed(b"data: x\nretry: 1234")
    assert decoder.retry is None
    decoder.feed(b"\n")
    assert decoder.retry == 1234


def test_the_id_of_an_unfinished_block_is_not_kept():
    """Attack H04: a block that the end of the connection cuts short has no effect."""
    for block in (b"id: 2\n", b"id: 2\ndata: x\n", b": c\nid: 2\n", b"id: 2\ndata: x"):
        decoder = Decoder(last_event_id="1")
        assert decoder.feed(block) == []
        assert decoder.last_event_id == "1"
        decoder.reset()
        assert decoder.feed(b"data: y\n\n") == [Event("y", id="1")]


def test_a_block_with_only_an_id_sets_the_last_event_id():
    decoder = Decoder()
    assert decoder.feed(b"id: 7\n\n") == []
    assert decoder.last_event_id == "7"
    assert decoder.feed(b"id\n\n") == []
    assert decoder.last_event_id == ""


def test_topic_belongs_to_its_event():
    stream = b"topic: a/b\ndata: 1\n\ndata: 2\n\ntopic: c\n\ndata: 3\n\ntopic\ndata: 4\n\n"
    topics = [event.topic for event in decoded([stream])[0]]
    assert topics == [event.topic for event in decoded(sliced(stream, 1))[0]] == ["a/b", None, None, ""]


def test_the_rest_of_the_last_connection_is_forgotten():
    """Lines D8 and D9: half a character, a CR, half a line; and a BOM is stripped again."""
    for rest in (b"data: \xe2\x82", b"data: x\r", b"data: x\nevent: y\nda", b"\xef\xbb", b"topic: t\n"):
        decoder = Decoder()
        decoder.feed(rest)
        decoder.reset()
        assert decoder.feed(b"\xef\xbb\xbfdata: z\n\n") == [Event("z", id="")]


def test_json():
    assert Event('{"a": [1, null]}').json() == {"a": [1, None]}
    for text in ("", "{", "NaN", "x"):
        with pytest.raises(json.JSONDecodeError):
            Event(text).json()


def test_events_are_values():
    event = Event("x")
    assert event == Event("x", "message", None, None, None)
    assert replace(event, id="1") == Event("x", id="1")


# -- limits


def limited(chunks: Iterable[bytes], limit: int) -> tuple[list[Event], bool, int | None, str]:
    """Return the events, whether the limit was exceeded, and the state after that."""
    decoder = Decoder(limit=limit, comments=True)
    got: list[Event] = []
    passed = False
    try:
        # If events came before the excess, only the next call raises.
        for chunk in [*chunks, b""]:
            got += decoder.feed(chunk)
    except TooLarge:
        passed = True
    return got, passed, decoder.retry, decoder.last_event_id


@settings(max_examples=400)
@given(cut_streams(), st.integers(1, 30))
def test_the_limit_does_not_depend_on_the_pieces(chunks, limit):
    stream = b"".join(chunks)
    by_byte = limited(sliced(stream, 1), limit)
    assert limited(chunks, limit) == by_byte
    assert limited([stream], limit) == by_byte
    if not by_byte[1]:
        assert by_byte[0] == decode_simply(stream)[0]


@pytest.mark.parametrize(
    ("stream", "limit", "passed"),
    [
        (b"data: xxxx\n\n", 10, False),
        (b"data: xxxxx\n\n", 10, True),
        (b"data: xxxxx", 10, True),
        (b"data: xxxx", 10, False),
        (b": comments are lines\n", 10, True),
        (b"unknown: x fields too", 10, True),
        ("data: ééé\n\n".encode(), 12, False),
        ("data: éééx\n\n".encode(), 12, True),
        (b"data: aaa\ndata: bbb\n\n", 9, False),
        (b"data: aaa\ndata: bbb\ndata: c\n\n", 9, True),
        (b"data\n" * 9 + b"\n", 9, False),
        (b"data\n" * 10 + b"\n", 9, True),
        (b"data\n" * 10, 9, True),
        (b"data: aaa\n\n" * 100, 9, False),
        (b"data: a\n: aaaaa\nx: aaaaa\nevent: a\nid: 1\nretry: 5\n" * 2 + b"\n", 9, False),
        (b"\xef\xbb\xbfdata: xxxx\n\n", 10, False),
        (b"\xef\xbb\xbfdata: xxxx", 10, False),
    ],
)
def test_limit(stream, limit, passed):
    """It applies to the bytes of a line, and to those of an event's data with an LF for each line."""
    for pieces in every_cut(stream):
        assert limited(pieces, limit)[1] == passed


def test_events_before_the_excess_are_not_lost():
    decoder = Decoder(limit=10)
    assert decoder.feed(b"id: 1\ndata: a\n\ndata: 89abcdef\n\ndata: c\n\n") == [Event("a", id="1")]
    for _ in range(2):
        with pytest.raises(TooLarge):
            decoder.feed(b"data: d\n\n")
    assert decoder.last_event_id == "1"


def test_a_decoder_is_usable_again_after_an_excess():
    decoder = Decoder(limit=10)
    with pytest.raises(TooLarge, match="more than 10 bytes") as refused:
        decoder.feed(b"retry: 700\n\ndata: 89abcdef")
    assert refused.value.code == "event_too_large"
    decoder.reset()
    assert decoder.feed(b"data: x\n\n") == [Event("x", id="")]
    assert decoder.retry == 700


def memory_of(feed: Callable[[], object]) -> tuple[int, int]:
    """Return how many bytes a call left allocated, and its peak."""
    tracemalloc.start()
    try:
        feed()
        return tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("line", [b": ping\n", b"unknown: field\n", b"event: x\n", b"id: 1\n", b"\n"])
def test_lines_without_data_take_no_memory(line):
    """Attack H01: their number has no limit, so none may be kept."""
    decoder = Decoder(limit=1000)
    chunk = (line * 100)[:700]

    def feed() -> None:
        for _ in range(1000):
            assert decoder.feed(chunk) == []

    assert memory_of(feed)[1] < 200_000
    assert decoder.feed(b"\n\ndata: x\n\n")[-1].data == "x"


@pytest.mark.parametrize("line", [b"x", b": ", b"data: x\n"])
def test_an_excess_takes_no_more_memory_than_the_limit(line):
    """Attack H01: an endless line or event."""
    decoder = Decoder(limit=100_000)

    def feed() -> None:
        with pytest.raises(TooLarge):
            for _ in range(10_000):
                decoder.feed(line * 100)

    kept, most = memory_of(feed)
    assert most < 400_000
    assert kept < 10_000


# -- linear time


def timed(chunks: Iterable[bytes], **options: Any) -> list[Event]:
    before = time.process_time()
    events = decoded(chunks, **options)[0]
    assert time.process_time() - before < SOON
    return events


def test_a_long_line_in_small_chunks():
    data = "0123456789" * 1_000_000
    (event,) = timed(sliced(b"data: " + data.encode() + b"\n\n", 64))
    assert event.data == data


def test_an_event_as_large_as_the_limit_in_two_chunks():
    line = "é" * 4_000_000
    stream = f"data: {line}\ndata: {line}\n\n".encode()
    (event,) = timed([stream[:9_000_001], stream[9_000_001:]])
    assert event.data == f"{line}\n{line}"


@pytest.mark.parametrize("size", [1, 7, 64, 16384, 1 << 20])
def test_many_lines_of_data(size):
    stream = b"".join(b"data: %d\n" % number for number in range(10_000)) + b"\n"
    (event,) = timed(sliced(stream, size))
    assert event.data.split("\n") == [str(number) for number in range(10_000)]


def test_many_events_in_a_chunk():
    stream = b"".join(b"id: %d\ndata: x\n\n" % number for number in range(2000))
    assert [event.id for event in timed([stream])] == [str(number) for number in range(2000)]


@pytest.mark.parametrize(
    "block",
    [
        b"event:  x\nid:  y\ntopic:  z\nfoo\n",
        b"event: x\n",
        b"event:" + b" " * 1000 + b"\n",
        b"data: x\ndata: y\n",
        b"data: x\nid: 1\n",
        b"id: \0\n",
        b"data:",
        b"\n",
        b"\r",
        b"\r\n",
        b":\n",
        b"data: x\n\n: ping\n\n",
        b"data: x\n\n\n",
        b"\xff\n",
    ],
)
@pytest.mark.parametrize("size", [64, 16384, 1 << 20])
def test_long_input_takes_linear_time(block, size):
    """Nothing that a server can send makes the regular expressions backtrack again and again."""
    stream = block * (400_000 // len(block)) + b"\n\n"
    timed(sliced(stream, size))


@pytest.mark.parametrize("seed", range(20))
def test_chunks_of_all_sizes(seed):
    """Blocks that end just before, at and after the end of a chunk."""
    numbers = random.Random(seed)
    sent = [
        Event("x" * numbers.choice([0, 5, 60, 700]), numbers.choice(["message", "é"]), str(number))
        for number in range(200)
    ]
    stream, chunks = b"".join(map(encode, sent)), []
    while stream:
        size = numbers.choice([1, 2, 13, 64, 900, 5000])
        chunks.append(stream[:size])
        stream = stream[size:]
    assert timed(chunks) == sent
