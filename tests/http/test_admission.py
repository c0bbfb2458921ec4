"""http.admission: whether a stream may be opened now."""

from __future__ import annotations

import pytest

from tidewire.auth.grants import Grant
from tidewire.http.admission import MAX_ADDRESSES, Admission, Rates, is_loopback, network
from tidewire.settings import Settings

FAR = "203.0.113.7"


def refusal(
    admission: Admission,
    address: str | None = FAR,
    *,
    mine: int = 0,
    subjects: int = 0,
    open_: int = 0,
    now: float = 0.0,
):
    found = admission.refusal(address, mine, open_, now, subjects)
    return found and (found.status, found.code)


def test_the_node_is_full() -> None:
    admission = Admission(Settings(), max_streams=10)
    assert refusal(admission, open_=9) is None
    assert refusal(admission, open_=10) == (503, "full")
    assert refusal(admission, "127.0.0.1", open_=10) == (503, "full")


def test_streams_of_an_address() -> None:
    admission = Admission(Settings(), max_streams=1000)
    assert refusal(admission, mine=99) is None
    assert refusal(admission, mine=100) == (429, "too_many_streams")
    assert refusal(admission, "127.0.0.1", mine=100) is None


def test_loopback_is_counted_once_the_limit_is_set() -> None:
    admission = Admission(Settings(max_streams_per_address=5), max_streams=1000)
    assert refusal(admission, "127.0.0.1", mine=5) == (429, "too_many_streams")
    assert refusal(Admission(Settings(max_streams_per_address=0), 1000), mine=5000) is None


def test_the_rate_of_new_streams() -> None:
    admission = Admission(Settings(stream_rate=10, stream_burst=20), max_streams=1000)
    assert [refusal(admission, now=1.0) for _ in range(20)] == [None] * 20
    assert refusal(admission, now=1.0) == (503, "too_fast")
    assert refusal(admission, "::1", now=1.0) is None
    assert [refusal(admission, now=1.5) for _ in range(6)] == [None] * 5 + [(503, "too_fast")]
    # Even after a long silence there are no more tokens than the burst.
    assert [refusal(admission, now=1000.0) for _ in range(21)].count(None) == 20


def test_each_address_has_its_own_rate() -> None:
    admission = Admission(Settings(stream_rate=1, stream_burst=2), max_streams=1000)
    for address in (FAR, "203.0.113.8", "2001:db8:1:2::1"):
        assert [refusal(admission, address) for _ in range(3)] == [None, None, (503, "too_fast")]
    # One host may own a whole /64.
    assert refusal(admission, "2001:db8:1:2:3::9") == (503, "too_fast")
    assert refusal(admission, "2001:db8:1:3::9") is None


def test_the_rate_may_be_off() -> None:
    admission = Admission(Settings(stream_rate=0, stream_burst=1), max_streams=1000)
    assert [refusal(admission) for _ in range(50)] == [None] * 50


def test_idle_addresses_are_forgotten() -> None:
    rates = Rates(rate=2, burst=10)
    for second in range(100):
        assert rates.take(f"address {second}", float(second))
        # The last five seconds: after that a bucket is full again.
        assert len(rates) == min(second + 1, 5)


def test_the_number_of_addresses_is_bounded() -> None:
    rates = Rates(rate=1, burst=2)
    for _ in range(2):
        assert rates.take("first", 0.0)
    assert not rates.take("first", 0.0)
    for number in range(MAX_ADDRESSES - 1):
        assert rates.take(str(number), 0.0)
    assert not rates.take("first", 0.0)
    for number in range(MAX_ADDRESSES):
        rates.take(f"other {number}", 0.0)
    assert len(rates) == MAX_ADDRESSES
    assert rates.take("first", 0.0)


def test_a_rate_beyond_all_clocks() -> None:
    rates = Rates(rate=1e300, burst=1)
    assert [rates.take("a", 1.0) for _ in range(3)] == [True] * 3


def test_a_refused_stream_takes_no_token() -> None:
    admission = Admission(Settings(stream_rate=1, stream_burst=1), max_streams=10)
    assert refusal(admission, open_=10, now=0.0) == (503, "full")
    assert refusal(admission, mine=100, now=0.0) == (429, "too_many_streams")
    assert refusal(admission, now=0.0) is None


def test_streams_of_a_subject() -> None:
    admission = Admission(Settings(), max_streams=1000)
    for address in (FAR, "127.0.0.1", None):
        assert refusal(admission, address, subjects=19) is None
        assert refusal(admission, address, subjects=20) == (429, "too_many_streams_of_subject")
    assert refusal(Admission(Settings(max_streams_per_subject=0), 1000), subjects=5000) is None


def published(admission: Admission, sub: str, events: int = 1, now: float = 0.0) -> str | None:
    found = admission.publish_refusal(Grant(sub=sub), events, now)
    return found and found.code


def test_publishes_of_a_subject() -> None:
    admission = Admission(Settings(publish_rate=10, publish_burst=3), max_streams=1)
    assert [published(admission, "ada") for _ in range(4)] == [None] * 3 + ["too_many_publishes"]
    assert published(admission, "bob") is None
    assert admission.publish_refusal(Grant(sub="ada", iss="https://id.example"), 1, 0.0) is None
    assert published(admission, "ada", now=0.09) == "too_many_publishes"
    assert published(admission, "ada", now=0.1) is None
    assert [published(admission, "") for _ in range(10)] == [None] * 10


def test_a_batch_may_be_larger_than_the_burst_and_is_paid_off() -> None:
    admission = Admission(Settings(publish_rate=10, publish_burst=3), max_streams=1)
    assert published(admission, "ada", 1000) is None
    refused = admission.publish_refusal(Grant(sub="ada"), 1, 1.0)
    assert refused
    assert refused.retry_after == pytest.approx(98.8)
    for number in range(5):  # the bucket of a subject that owes is not forgotten
        assert published(admission, f"other {number}", now=99.0) is None
    assert published(admission, "ada", now=99.7) == "too_many_publishes"
    assert published(admission, "ada", now=99.9) is None


def test_without_a_rate_everybody_may_publish() -> None:
    admission = Admission(Settings(), max_streams=1)
    assert [published(admission, "ada", 1000) for _ in range(10)] == [None] * 10


def test_unix_sockets_have_no_address() -> None:
    assert refusal(Admission(Settings(), 10), None, mine=1000) is None


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:0db8:0001:0002::/64"),
        ("2001:db8:1:2::1", "2001:0db8:0001:0002::/64"),
        ("::ffff:203.0.113.7", "::ffff:203.0.113.7"),
        ("unix:", "unix:"),
        ("x" * 8000, "x" * 64),
        ("::ffff:203.0.113.7%" + "x" * 8000, "::ffff:203.0.113.7%" + "x" * 45),
    ],
)
def test_how_addresses_are_counted(address: str, counted: str) -> None:
    assert network(address) == counted


@pytest.mark.parametrize(
    ("address", "loopback"), [("127.9.9.9", True), ("::1", True), (FAR, False), ("x", False)]
)
def test_loopback(address: str, loopback: bool) -> None:
    assert is_loopback(address) is loopback
