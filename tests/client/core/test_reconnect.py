from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidewire.client.core.reconnect import (
    Connect,
    Ended,
    Ending,
    Failed,
    Policy,
    Refused,
    Restarted,
    Step,
    Stop,
    Wait,
    header_value,
    is_stream,
    reconnect_flow,
    retry_wait,
    silence_limit,
)
from tidewire.errors import StreamRefused, Unavailable
from tidewire.event_stream import Decoder

POLICY = Policy()
CLEAN = Ended(lived=5, received=True)
BROKEN = Ended(lived=5, received=True, error="the connection broke")
REFUSED = Failed("connection refused")


def never() -> float:
    return 0.0


def fully() -> float:
    return 1.0


class Run:
    """A client without a network: the test says how each connection ends and reads the next step."""

    def __init__(self, policy: Policy = POLICY, random: Callable[[], float] = never) -> None:
        self.decoder = Decoder()
        self.flow = reconnect_flow(self.decoder, policy, random)
        self.step: Step = next(self.flow)

    def end(self, *endings: Ending) -> Step:
        """End one connection after another. Return the step after the last."""
        for ending in endings:
            if isinstance(self.step, Wait):
                self.step = self.flow.send(None)
            assert isinstance(self.step, Connect)
            self.step = self.flow.send(ending)
        return self.step

    def wait(self, *endings: Ending) -> float:
        step = self.end(*endings)
        assert isinstance(step, Wait)
        return step.seconds

    def connect(self) -> Connect:
        if isinstance(self.step, Wait):
            self.step = self.flow.send(None)
        assert isinstance(self.step, Connect)
        return self.step


# -- the Last-Event-ID header


def test_the_first_request_has_no_last_event_id() -> None:
    assert Run().connect() == Connect(None)


def test_a_given_id_is_sent_with_the_first_request() -> None:
    flow = reconnect_flow(Decoder(last_event_id="42"), POLICY, never)
    assert next(flow) == Connect(b"42")


def test_the_newest_id_is_sent_as_utf8() -> None:
    run = Run()
    run.decoder.feed("id: …\ndata: x\n\n".encode())
    run.end(CLEAN)
    assert run.connect() == Connect(b"\xe2\x80\xa6")


def test_after_a_reset_there_is_no_header() -> None:
    run = Run()
    run.decoder.feed(b"id: 1\ndata: x\n\nid\ndata: y\n\n")
    run.end(CLEAN)
    assert run.connect() == Connect(None)


def test_half_an_event_and_its_id_are_dropped() -> None:
    run = Run()
    run.decoder.feed(b"id: 1\ndata: x\n\nid: 2\ndata: half")
    run.end(BROKEN)
    assert run.connect() == Connect(b"1")
    assert run.decoder.feed(b"\ndata: y\n\n")[0].data == "y"


@pytest.mark.parametrize(
    ("last_event_id", "header"), [("", None), (" ", None), (" a\tb ", b"a\tb"), ("\u00a0", b"\xc2\xa0")]
)
def test_blanks_around_an_id_are_not_sent(last_event_id: str, header: bytes | None) -> None:
    assert header_value(last_event_id) == header


# -- the wait


def test_after_a_clean_end_it_waits_about_retry() -> None:
    """Line D6: the first reconnection after a clean close has no backoff."""
    for random in never, fully:
        run = Run(random=random)
        run.decoder.feed(b"retry: 500\n\n")
        assert 0.5 <= run.wait(CLEAN) <= 0.55


def test_clean_ends_in_a_row_are_not_failures() -> None:
    assert [Run(random=fully).wait(*[CLEAN] * n) for n in (1, 2, 20)] == [pytest.approx(3.3)] * 3


def test_empty_streams_back_off() -> None:
    empty = Ended(lived=0.01, received=False)
    waits = [Run(random=fully).wait(*[empty] * n) for n in range(1, 7)]
    assert waits == [pytest.approx(3.3), 6, 12, 24, 33, 33]


def test_failures_back_off_with_full_jitter_up_to_the_cap() -> None:
    least = [Run(random=never).wait(*[REFUSED] * n) for n in range(1, 7)]
    most = [Run(random=fully).wait(*[REFUSED] * n) for n in range(1, 7)]
    assert least == [3] * 6
    assert most == [6, 12, 24, 33, 33, 33]


def test_any_number_of_failures_can_be_counted() -> None:
    assert Run(random=fully).wait(*[REFUSED] * 5000) == 33


def test_only_a_stable_connection_resets_the_count_of_failures() -> None:
    short, stable = Ended(29, True, "reset"), Ended(30, True, "reset")
    run = Run(random=fully)
    assert run.wait(*[REFUSED] * 3, short) == 33
    assert run.wait(stable) == 6
    assert run.wait(REFUSED) == 12


def test_a_short_clean_connection_keeps_the_count_of_failures() -> None:
    run = Run(random=fully)
    assert run.wait(REFUSED, REFUSED, CLEAN) == pytest.approx(3.3)
    assert run.wait(REFUSED) == 24


@pytest.mark.parametrize(
    ("line", "seconds"),
    [
        (b"retry: 0", 0.5),
        (b"retry: 1", 0.5),
        (b"retry: 03000", 3),
        (b"retry: 99999999999", 300),
        (b"retry: " + b"9" * 1000, 300),
        (b"retry: -1", 3),
        (b"retry: 1.5", 3),
        (b"retry: +5", 3),
        (b"retry:  5", 3),
        (b"retry:", 3),
        (b"retry", 3),
    ],
)
def test_h03_retry_must_be_digits_and_is_bounded(line: bytes, seconds: float) -> None:
    run = Run()
    run.decoder.feed(line + b"\n\n")
    assert run.wait(CLEAN) == seconds


def test_retry_lasts_until_it_is_replaced() -> None:
    run = Run()
    run.decoder.feed(b"retry: 1000\n\n")
    assert run.wait(CLEAN, REFUSED, CLEAN) == 1
    run.decoder.feed(b"retry: bogus\n\n")
    assert run.wait(CLEAN) == 1
    run.decoder.feed(b"retry: 2000\n\n")
    assert run.wait(CLEAN) == 2


def test_retry_after_is_obeyed_and_spread() -> None:
    asked = Refused(503, "full", retry_after=60)
    assert Run(random=never).wait(asked) == 60
    assert Run(random=fully).wait(asked) == 63


def test_retry_after_never_shortens_the_backoff() -> None:
    assert Run(random=fully).wait(REFUSED, REFUSED, Refused(429, "slow down", retry_after=0)) == 24


def test_an_absurd_retry_after_is_an_hour() -> None:
    assert Run().wait(Refused(503, "full", retry_after=1e12)) == 3600


@given(
    st.lists(
        st.one_of(
            st.builds(Ended, st.floats(0, 100), st.booleans(), st.none() | st.just("reset")),
            st.builds(Refused, st.sampled_from([408, 425, 429, 500, 503, 599]), st.just("later")),
            st.builds(Failed, st.just("refused")),
        ),
        min_size=1,
        max_size=40,
    ),
    st.integers(0, 10**6),
    st.floats(0, 1),
)
def test_every_wait_is_at_least_retry_and_bounded(endings: list[Ending], retry: int, chance: float) -> None:
    run = Run(random=lambda: chance)
    run.decoder.feed(b"retry: %d\n\n" % retry)
    base = min(max(retry, 500), 300_000) / 1000
    for ending in endings:
        assert base <= run.wait(ending) <= base + max(POLICY.cap, base * 0.1)


# -- when it stops


def test_204_stops_without_an_error() -> None:
    """Line B7."""
    step = Run().end(CLEAN, Refused(204, "no content"))
    assert isinstance(step, Stop)
    assert step.error is None


@pytest.mark.parametrize(
    "status", [200, 201, 205, 210, 299, 301, 304, 400, 401, 403, 404, 409, 410, 421, 431]
)
def test_other_answers_stop_with_an_error(status: int) -> None:
    step = Run().end(Refused(status, "because", code="some_code"))
    assert isinstance(step, Stop)
    assert isinstance(step.error, StreamRefused)
    assert (step.error.status, step.error.code, step.error.detail) == (status, "some_code", "because")


@pytest.mark.parametrize("status", [408, 425, 429, 500, 501, 502, 503, 504, 599])
def test_a_transient_status_is_retried(status: int) -> None:
    """Line B8: by the standard a client gives up here; a long-running program must not."""
    assert Run().wait(Refused(status, "later")) == 3


def test_a_request_that_cannot_be_made_stops() -> None:
    step = Run().end(Failed("unsupported", final=True))
    assert isinstance(step, Stop)
    assert isinstance(step.error, StreamRefused)


def test_attempts_count_failures_in_a_row() -> None:
    """Line D15."""
    run = Run(Policy(attempts=3))
    run.wait(REFUSED, REFUSED)
    run.wait(Ended(60, True))
    step = run.end(REFUSED, REFUSED, REFUSED)
    assert isinstance(step, Stop)
    assert isinstance(step.error, Unavailable)
    assert "3 failures" in step.reason
    assert "connection refused" in step.reason


def test_giving_up_after_empty_streams_is_an_error() -> None:
    step = Run(Policy(attempts=2)).end(Ended(0, False), Ended(0, False))
    assert isinstance(step, Stop)
    assert isinstance(step.error, Unavailable)


@pytest.mark.parametrize(("ending", "error"), [(CLEAN, None), (BROKEN, Unavailable), (REFUSED, Unavailable)])
def test_with_reconnect_false_the_first_end_is_final(ending: Ending, error: type | None) -> None:
    step = Run(Policy(reconnect=False)).end(ending)
    assert isinstance(step, Stop)
    assert type(step.error) is (error or type(None))


def test_with_reconnect_false_attempts_count_until_a_stream_is_open() -> None:
    policy = Policy(reconnect=False, attempts=3)
    assert Run(policy).wait(REFUSED, Refused(429, "busy")) > 0
    assert isinstance(Run(policy).end(REFUSED, REFUSED, REFUSED), Stop)
    for ending in (CLEAN, BROKEN):
        assert isinstance(Run(policy).end(REFUSED, ending), Stop)


def test_a_restart_is_neither_an_end_nor_a_failure() -> None:
    run = Run(random=fully)
    run.decoder.feed(b"id: 1\ndata: x\n\nid: 2\ndata: half")
    run.wait(REFUSED)
    run.connect()
    run.step = run.flow.send(Restarted())
    assert run.step == Connect(b"1")
    assert run.wait(REFUSED) == 12  # the second in a row
    assert run.decoder.feed(b"\n\n") == []


def test_a_step_has_the_status_and_headers_of_the_answer() -> None:
    for status, kind in ((503, Wait), (403, Stop)):
        step = Run().end(Refused(status, "no", headers={"X-Node": "7"}))
        assert isinstance(step, kind)
        assert (step.status, step.headers) == (status, {"X-Node": "7"})
    step = Run().end(BROKEN)
    assert isinstance(step, Wait)
    assert (step.status, step.headers) == (None, {})


def test_stop_is_the_last_step() -> None:
    run = Run()
    run.end(Refused(204, "no content"))
    with pytest.raises(StopIteration):
        run.flow.send(None)


# -- recognizing a stream


@pytest.mark.parametrize(
    ("status", "content_type", "stream"),
    [
        (200, "text/event-stream", True),
        (200, "text/event-stream;", True),
        (200, "text/event-stream; charset=windows-1252", True),
        (200, "TEXT/Event-Stream", True),
        (200, " text/event-stream ;charset=utf-8", True),
        (200, "text/event-streamer", False),
        (200, "x bogus", False),
        (200, "text/html", False),
        (200, "", False),
        (201, "text/event-stream", False),
        (404, "text/event-stream", False),
    ],
)
def test_is_stream(status: int, content_type: str, stream: bool) -> None:
    """Lines B2 to B6."""
    assert is_stream(status, content_type) is stream


@pytest.mark.parametrize(
    ("heartbeat", "seconds"),
    [
        ("15", 37.5),
        ("0.2", 0.5),
        (" 15 ", 37.5),
        (None, None),
        ("", None),
        ("0", None),
        ("-1", None),
        ("1e9", None),
    ],
)
def test_the_silence_limit_is_two_and_a_half_heartbeats(heartbeat: str | None, seconds: float | None) -> None:
    assert silence_limit(heartbeat) == seconds


def test_a_request_is_retried_while_there_is_time() -> None:
    policy = Policy(retry=1, cap=10)
    assert [retry_wait(policy, None, n, 100, fully) for n in (1, 2, 3, 9)] == [2, 4, 8, 11]
    assert retry_wait(policy, None, 9, 5, never) == 1
    assert retry_wait(policy, 5, 1, 100, never) == 5
    assert retry_wait(policy, 5, 1, 100, fully) == 6
    assert retry_wait(policy, 5, 1, 4, never) is None
    assert retry_wait(policy, None, 1, 0, never) is None


def test_the_reason_of_a_wait_says_what_happened() -> None:
    reasons = []
    for ending in (CLEAN, BROKEN, REFUSED, Refused(503, "the hub is full")):
        step = Run().end(ending)
        assert isinstance(step, Wait)
        reasons.append((step.reason, step.failures))
    assert reasons == [
        ("the server ended the stream", 0),
        ("the connection broke", 1),
        ("connection refused", 1),
        ("the hub is full", 1),
    ]


def test_there_is_a_wait_between_two_connections() -> None:
    """No path is a busy loop."""
    endings = itertools.cycle([CLEAN, BROKEN, REFUSED, Refused(503, "full"), Ended(0, False)])
    run = Run()
    for ending in itertools.islice(endings, 50):
        assert run.wait(ending) > 0
        run.connect()
