from __future__ import annotations

from support.fakes import RecordingWire
from tidewire.delivery.framing import Framing
from tidewire.delivery.subscriber import Subscriber
from tidewire.topics import Selector


class Owner:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def attached(self, subscriber: Subscriber, framing: Framing) -> None:
        assert subscriber.wire
        self.calls.append(f"attached {framing}")

    def paused(self, subscriber: Subscriber) -> None:
        self.calls.append("paused")

    def resumed(self, subscriber: Subscriber) -> None:
        self.calls.append("resumed")

    def lost(self, subscriber: Subscriber) -> None:
        self.calls.append("lost")

    def tick(self, subscriber: Subscriber, now: float) -> float | None:
        return now + 7

    def server_stopping(self) -> None:
        self.calls.append("stopping")


def made() -> tuple[Owner, Subscriber]:
    owner = Owner()
    return owner, Subscriber(owner, Selector(["a"]), None, 5)


def test_the_owner_is_notified_of_what_happens_on_the_socket() -> None:
    owner, subscriber = made()
    subscriber.attach(RecordingWire(), "chunked")
    subscriber.pause_writing()
    subscriber.pause_writing()
    subscriber.resume_writing()
    subscriber.resume_writing()
    subscriber.server_stopping()
    subscriber.lost()
    assert owner.calls == ["attached chunked", "paused", "resumed", "stopping", "lost"]
    assert not subscriber.open
    assert subscriber.tick(1.0) == 8.0


def test_a_subscriber_starts_behind() -> None:
    _, subscriber = made()
    assert (subscriber.open, subscriber.live, subscriber.paused) == (True, False, False)
    assert (subscriber.offset, subscriber.announced) == (5, 5)


def test_a_subscriber_has_no_dictionary() -> None:
    # There may be ten thousand subscribers, and a dictionary costs more than what it would hold.
    _, subscriber = made()
    assert not hasattr(subscriber, "__dict__")
